"""What people get wrong: one sentence and a way out, exit code 2, nothing written."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effv2_tune import cli
from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT
from effv2_tune.host import Host, Packages
from effv2_tune.session import preflight
from effv2_tune.session.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., object]

PLACES = [
    ("status", "nowhere"),
    ("trials", "nowhere"),
    ("report", "nowhere"),
    ("export", "nowhere"),
    ("status", "study.yaml"),
    ("run", "study.yaml", "--out", "new", "--warm-start", "nowhere"),
]
WRONG = [
    (("status", "sqlite:///none.db"), "There is no database sqlite:///none.db."),
    (("status", "what://ever"), "'what://ever' is not the URL of a database."),
    (("run", "study.yaml", "--storage", "ever"), "'ever' is not the URL of a database."),
    (("run", "study.yaml", "--storage", "sqlite://"), "names no file"),
    (("run", "study.yaml", "--storage", "sqlite:////no/x.db"), "there is no folder /no."),
    (("run", "study.yaml", "--storage", "oracle://u:secret@h/x"), "oracle://u:***@h/x needs a"),
    (("run", "study.yaml", "--out", "study.yaml"), "study.yaml is a file."),
    (("run", "study.yaml", "--out", "study.yaml/deep/er"), "study.yaml is a file."),
    (("run", "stduy.yaml"), "There is no study file 'stduy.yaml'."),
    (("run", "quickstrat"), "did you mean 'quickstart'?"),
    (("train", "nothing.yaml"), "There is no file nothing.yaml."),
    (
        ("train", "study.yaml"),
        "study.yaml is a study file, not a training run.\nRun the study with: effv2-tune run",
    ),
    (("check", "data.yaml"), "data.yaml:2: data: "),
    (("check", "clock.yaml"), "clock.yaml:3: clock: There is no study in "),
    (("check", "clock.yaml"), "clock.yaml:2: data: "),
    (("check", "hour.yaml"), "hour.yaml:1: clock: "),
    (("init", "quickstrat"), "did you mean 'quickstart'?"),
    (("spaces", "quickstrat"), "did you mean 'quickstart'?"),
    (("run", "study.yaml", "--trials", "0"), "0 is not in the range"),
    (("run", "study.yaml", "--workers", "9999"), "workers: 9999 exceeds the "),
]


@pytest.mark.parametrize("arguments", PLACES, ids=" ".join)
def test_a_place_without_a_study_is_named(
    tune: Callable[..., object], folder: Path, arguments: tuple[str, ...]
) -> None:
    before = sorted(folder.rglob("*"))
    done = tune(*arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert "There is no study in" in done.err
    assert "effv2-tune run" in done.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "sentence"), WRONG, ids=str)
def test_a_mistake_is_told_in_a_sentence_and_nothing_is_written(
    tune: Tune, folder: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (folder / "data.yaml").write_text(
        "name: x\ndata: {name: npz, path: none.npz}\nsearch_space: quickstart\ntrials: 1\n"
    )
    (folder / "clock.yaml").write_text(
        "name: x\ndata: {name: npz, path: none.npz}\nclock: {recorded: nowhere}\n"
        "search_space: quickstart\ntrials: 1\n"
    )
    (folder / "hour.yaml").write_text(
        "clock: hourly\nname: x\nsearch_space: quickstart\ntrials: 1\n"
    )
    before = sorted(folder.rglob("*"))

    done = tune(*arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert sentence in done.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--pick", "kne"), "'kne' is unknown, did you mean 'knee'?"),
        (("--pick", "trial=99"), "Trial 99 does not exist"),
        (("--pick", "trial=-1"), "Trial -1 does not exist"),
        (("--pick", "trial=1", "--max-seconds", "9"), "cannot be combined with limits"),
        (("--max-seconds", "0.001"), "The fastest takes 0.9 s"),
        (("--min-quality", "0.999"), "the best has accuracy 0.5"),
        (("--device", "scriptd"), "did you mean 'scripted'?"),
        (("--name", "other"), "holds no study 'other'"),
        (("-o", "study.yaml"), "study.yaml exists already"),
        (("-o", "none/train.yaml"), "none/train.yaml cannot be written"),
    ],
)
def test_export_says_what_there_is_instead(
    tune: Tune, study: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    written = Path("study.yaml").read_text()

    done = tune("export", str(study), *arguments)

    assert done.code == EXIT_WRONG_INPUT
    assert done.out == ""
    assert sentence in done.err
    assert not Path("train.yaml").exists()
    assert Path("study.yaml").read_text() == written


def test_a_study_without_a_complete_trial_cannot_be_exported_and_fails(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = '{"0": {"outcome": "diverged"}, "1": {"outcome": "infeasible"}}'
    monkeypatch.setenv("SCRIPT", failed)

    ran = tune("run", "study.yaml", "--trials", "2")
    exported = tune("export", "runs/small")

    assert ran.code == EXIT_FAILED
    assert "Next:" not in ran.err
    assert exported.code == EXIT_WRONG_INPUT
    assert "has no complete trial yet" in exported.err
    assert "no trial is complete yet" in tune("status", "runs/small").out
    assert tune("trials", "runs/small").code == 0


def test_a_study_whose_trials_fail_one_after_another_exits_with_1(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = ", ".join(f'"{number}": {{"outcome": "failed"}}' for number in range(1, 9))
    monkeypatch.setenv("SCRIPT", f"{{{failing}}}")

    done = tune("run", "study.yaml", "--trials", "9")

    assert done.code == EXIT_FAILED
    assert "as the script says" in done.err
    assert "Report: " in done.err


def test_the_folder_of_another_study_is_refused_also_by_a_dry_run(tune: Tune, study: Path) -> None:
    for option in ((), ("--dry-run",)):
        done = tune("run", "quickstart", "--out", str(study), *option)

        assert done.code == EXIT_WRONG_INPUT
        assert "holds another study, small" in done.err


def test_a_study_with_another_recipe_is_refused_also_by_a_dry_run(tune: Tune, study: Path) -> None:
    text = Path("study.yaml").read_text()
    Path("study.yaml").write_text(text.replace("epochs: 4", "epochs: 5"))

    for option in ((), ("--dry-run",)):
        done = tune("run", "study.yaml", *option)

        assert done.code == EXIT_WRONG_INPUT
        assert "recipe.epochs: 4 -> 5" in done.err
    assert study.is_dir()


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


@pytest.mark.parametrize("left", ["study.db", "model.keras"])
def test_train_writes_into_no_folder_of_something_else(
    tune: Tune, study: Path, folder: Path, left: str
) -> None:
    assert tune("export", str(study)).code == 0
    (folder / "mine").mkdir()
    (folder / "mine" / left).write_text("precious")

    done = tune("train", "train.yaml", "--out", "mine")

    assert done.code == EXIT_WRONG_INPUT
    assert "The folder mine holds " in done.err
    assert [path.name for path in (folder / "mine").iterdir()] == [left]


def test_train_takes_no_file_for_a_folder(tune: Tune, study: Path) -> None:
    assert tune("export", str(study)).code == 0

    done = tune("train", "train.yaml", "--out", "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "study.yaml is a file" in done.err


def test_every_mistake_of_a_training_run_has_its_line(tune: Tune, study: Path) -> None:
    assert tune("export", str(study)).code == 0
    text = Path("train.yaml").read_text()
    Path("train.yaml").write_text(
        text.replace("epochs: 4", "epoch: 4").replace("dropout: 0.2", "dropout: many")
    )

    done = tune("train", "train.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "unknown key 'epoch', did you mean 'epochs'?" in done.err
    assert "found 'many'" in done.err
    assert "\n2 errors." in done.err
    assert not Path("runs/small-trial-2").exists()


@pytest.mark.parametrize(
    ("error", "said"), [(errno.ENOSPC, "No space left"), (errno.EACCES, "Permission denied")]
)
def test_a_full_disk_is_told_in_a_sentence(
    tune: Tune, monkeypatch: pytest.MonkeyPatch, error: int, said: str
) -> None:
    def fail(_: object) -> None:
        raise OSError(error, os.strerror(error), "runs/small/study.db")

    monkeypatch.setattr(Study, "run", fail)

    done = tune("run", "study.yaml")

    assert done.code == EXIT_FAILED
    assert done.err.startswith(f"Error: {said}")
    assert "runs/small/study.db" in done.err


def test_a_mistake_of_our_own_keeps_its_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", str(folder))

    monkeypatch.setattr(Study, "run", fail)

    with pytest.raises(FileNotFoundError):
        cli.run(["run", "study.yaml"])
