"""Checks of what a study names: weights, stages, devices and batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT
from effv2_tune.host import Host, Packages
from effv2_tune.session import preflight
from effv2_tune.study import yaml_file

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., object]


TUNED = """\
name: x
data: {name: npz, path: none.npz}
recipe:
  backbone: finetune
  weights: mine/none.h5
search_space:
  variant: {type: choice, values: [b0, m, b1]}
  finetune_from: {type: int, low: 0, high: 7}
trials: 1
"""


NO_STAGE = "finetune_from: there is no stage 7 in b0, b1; give 0 (everything) to 6 ("


@pytest.mark.parametrize("arguments", [("check",), ("run",), ("run", "--dry-run"), ("plan",)])
def test_weights_and_stages_that_are_not_there_are_found_with_all_other_mistakes(
    tune: Tune, folder: Path, arguments: tuple[str, ...]
) -> None:
    (folder / "tuned.yaml").write_text(TUNED)
    before = sorted(folder.rglob("*"))

    done = tune(*arguments, "tuned.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "tuned.yaml:2: data: " in done.err
    assert f"tuned.yaml:5: weights: there is no file {folder / 'mine/none.h5'}; " in done.err
    assert f"tuned.yaml:8: {NO_STAGE}" in done.err
    assert "\n3 errors." in done.err
    assert sorted(folder.rglob("*")) == before


def test_weights_that_are_searched_are_found_where_the_space_is_written(
    tune: Tune, folder: Path
) -> None:
    (folder / "here").mkdir()
    (folder / "here/there.h5").touch()
    values = "[native, imagenet, here/there.h5, here/gone.keras]"
    (folder / "here/space.yaml").write_text(
        f"seed: {{type: choice, values: [1, 2]}}\nweights: {{type: choice, values: {values}}}\n"
    )
    (folder / "tuned.yaml").write_text(
        "name: x\nrecipe: {backbone: finetune}\nsearch_space: here/space.yaml\ntrials: 1\n"
    )

    done = tune("check", "tuned.yaml")

    assert done.code == EXIT_WRONG_INPUT
    gone = f"here/space.yaml:2: weights: there is no file {folder / 'here/gone.keras'}; "
    assert gone in done.err
    assert "\n1 error." in done.err


@pytest.mark.usefixtures("full_cache")
def test_a_stage_that_is_searched_for_the_networks_alone_that_have_it_is_right(
    tune: Tune, folder: Path
) -> None:
    text = TUNED.replace("mine/none.h5", "native").replace("npz, path: none.npz", "digits")
    wrong = text.replace("high: 7}", "high: 7, when: {variant: [b1, m]}}")
    (folder / "wrong.yaml").write_text(wrong)
    (folder / "right.yaml").write_text(wrong.replace("[b1, m]}}", "m}}"))
    (folder / "frozen.yaml").write_text(text.replace("finetune\n", "frozen\n"))

    assert (
        "wrong.yaml:8: finetune_from: there is no stage 7 in b1; "
        in tune("check", "wrong.yaml").err
    )
    assert tune("check", "right.yaml").code == 0
    assert tune("check", "frozen.yaml").code == 0


def test_weights_of_a_training_run_that_are_not_there_are_found_with_its_data(
    tune: Tune, folder: Path
) -> None:
    (folder / "train.yaml").write_text(
        "name: x\ndata: {name: npz, path: none.npz}\nrecipe:\n  backbone: finetune\n"
        "  weights: none.h5\n  finetune_from: 7\n"
    )
    before = sorted(folder.rglob("*"))

    done = tune("train", "train.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "train.yaml:2: data: " in done.err
    assert "train.yaml:5: weights: there is no file " in done.err
    assert "train.yaml:6: finetune_from: there is no stage 7 in b0; " in done.err
    assert sorted(folder.rglob("*")) == before


def test_a_tpu_host_takes_one_worker(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(cpu="", cpu_count=8, gpus=(), tpu_chips=4, tpu_holders=())
    packages = Packages(
        jax=True, jax_cuda=False, libtpu=True, tensorflow=True, tensorflow_cuda=False
    )
    monkeypatch.setattr(preflight, "probe_host", lambda: host)
    monkeypatch.setattr(preflight, "probe_packages", lambda: packages)

    done = tune("run", "study.yaml", "--workers", "2", "--dry-run")

    assert done.code == EXIT_WRONG_INPUT
    assert (
        "workers: 2 is too many for a TPU: one process owns all TPU chips of a machine" in done.err
    )
    assert "Write 'workers: 1'" in done.err
    assert tune("run", "study.yaml", "--dry-run").code == 0
    assert not (folder / "runs").exists()


def test_a_batch_that_the_images_cannot_fill_is_found_by_a_dry_run(tune: Tune) -> None:
    text = Path("study.yaml").read_text()
    Path("study.yaml").write_text(text.replace("epochs: 4", "epochs: 4, batch_size: 5000"))

    done = tune("run", "study.yaml", "--dry-run")

    assert done.code == EXIT_WRONG_INPUT
    assert "batch_size: 5000 exceeds the 1,293 training images; use at most 1293" in done.err


def test_the_study_file_is_parsed_once(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tuned.yaml").write_text(TUNED)
    parsed = []

    def parse(text: str, *, name: str) -> yaml_file.YamlFile:
        parsed.append(name)
        return parse_yaml(text, name=name)

    parse_yaml = yaml_file.parse_yaml
    monkeypatch.setattr(yaml_file, "parse_yaml", parse)

    assert "3 errors." in tune("run", "tuned.yaml").err
    assert parsed == ["tuned.yaml"]
