"""The command ``check``: whether the file is valid, and whether the study would start here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_FAILED, EXIT_WRONG_INPUT

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]

HERE = [("check",), ("run", "--dry-run")]
RUN = "'effv2-tune run study.yaml'"


def change(old: str, new: str) -> None:
    text = Path("study.yaml").read_text()
    assert old in text
    Path("study.yaml").write_text(text.replace(old, new))


def test_a_study_that_would_start_is_new_or_resumed(tune: Tune, folder: Path) -> None:
    new = tune("check", "study.yaml")
    assert list(folder.iterdir()) == [folder / "study.yaml"]
    assert tune("run", "study.yaml", "--trials", "2").code == 0
    begun = tune("check", "study.yaml")

    assert (new.code, begun.code) == (0, 0)
    assert new.out.splitlines()[-1] == f"{RUN} would start: a new study, 4 trials."
    assert begun.out.splitlines()[-1] == (
        f"{RUN} would start: resuming after 2 trials, 0 unfinished, 4 trials in all; its last run "
        "ended: All 2 trials of the study are done."
    )


@pytest.mark.parametrize("command", [*HERE, ("run",)])
def test_all_that_keeps_a_study_from_starting_is_reported_at_once(
    tune: Tune, folder: Path, command: tuple[str, ...]
) -> None:
    change("recipe: {", "hardware: tpu\nworkers: 99\nrecipe: {")
    before = sorted(folder.rglob("*"))

    done = tune(*command, "study.yaml", "--out", "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert (
        "study.yaml:2: The study requires 'hardware: tpu', but this machine has none. " in done.err
    )
    assert "study.yaml is a file" in done.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", [*HERE, ("run",)])
def test_a_batch_and_too_many_workers_are_found_at_their_lines(
    tune: Tune, command: tuple[str, ...]
) -> None:
    change("recipe: {", "workers: 999\nrecipe: {batch_size: 4096, ")

    done = tune(*command, "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "study.yaml:2: workers: 999 exceeds the " in done.err
    assert "study.yaml:3: batch_size: 4096 exceeds the 1,293 training images; use " in done.err
    assert "\n2 errors.\n" in done.err
    assert "worker 0" not in done.err
    assert command[0] == "run" or done.out.endswith(f"\n{RUN} would not start.\n")


@pytest.mark.parametrize("command", HERE)
def test_a_searched_batch_is_found_where_it_is_searched(
    tune: Tune, command: tuple[str, ...]
) -> None:
    change("  resolution:", "  batch_size: {type: choice, values: [32, 1294]}\n  resolution:")

    done = tune(*command, "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "study.yaml:5: batch_size: 1294 exceeds the 1,293 training images" in done.err


def test_images_in_folders_are_counted_without_decoding_them(tune: Tune, folder: Path) -> None:
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(10):
            (folder / "photos" / name / f"{number}.png").touch()
    change("recipe: {", "data: {name: folder, path: photos, test: 4}\nrecipe: {batch_size: 15, ")

    done = tune("check", "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "study.yaml:3: batch_size: 15 exceeds the 14 training images; use at most 14" in done.err


@pytest.mark.parametrize("command", [*HERE, ("run",)])
def test_the_folder_of_another_study_is_refused_alike(
    tune: Tune, study: Path, command: tuple[str, ...]
) -> None:
    change("name: small", "name: other")

    done = tune(*command, "study.yaml", "--out", str(study))

    assert done.code == EXIT_WRONG_INPUT
    assert f"{study} holds another study, small." in done.err


@pytest.mark.parametrize("command", [*HERE, ("run",)])
def test_a_lost_database_is_refused_alike(
    tune: Tune, study: Path, command: tuple[str, ...]
) -> None:
    (study / "study.db").unlink()

    done = tune(*command, "study.yaml")

    assert done.code == EXIT_FAILED
    assert "study.db is missing, and its backup" in done.err


def test_a_file_that_is_no_database_is_refused_by_all(tune: Tune, study: Path) -> None:
    (study / "study.db").write_bytes(b"rubbish" * 1000)

    done = [tune(*command, "study.yaml") for command in (*HERE, ("run",))]

    assert len({one.code for one in done}) == 1
    assert done[0].code in (EXIT_FAILED, EXIT_WRONG_INPUT)
    assert all("database" in one.err and "Traceback" not in one.err for one in done)


@pytest.mark.parametrize("command", HERE)
def test_an_empty_database_without_a_backup_is_a_new_study(
    tune: Tune, study: Path, command: tuple[str, ...]
) -> None:
    shutil.rmtree(study)
    study.mkdir()
    (study / "study.db").touch()

    assert tune(*command, "study.yaml").code == 0
    assert tune("run", "study.yaml").code == 0


@pytest.mark.parametrize("command", HERE)
def test_a_plan_that_cannot_be_changed_is_refused(
    tune: Tune, study: Path, command: tuple[str, ...]
) -> None:
    del study
    change("epochs: 4", "epochs: 5")

    done = tune(*command, "study.yaml")

    assert done.code == EXIT_WRONG_INPUT
    assert "recipe.epochs: 4 -> 5" in done.err


def test_a_wrong_database_url_is_refused_without_its_password(tune: Tune) -> None:
    done = tune("check", "study.yaml", "--storage", "oracle://u:secret@h/x")

    assert done.code == EXIT_WRONG_INPUT
    assert "oracle://u:***@h/x needs a" in done.err
    assert done.out.endswith(" would not start.\n")
    assert "secret" not in done.out + done.err


def test_a_database_that_does_not_answer_is_a_failure_of_the_place(
    tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "postgresql+psycopg://u:secret@127.0.0.1:9/x"
    monkeypatch.setenv("EFFV2_TUNE_RUN_STORAGE", url)

    done = tune("check", "study.yaml")

    assert done.code == EXIT_FAILED
    assert "postgresql+psycopg://u:***@127.0.0.1:9/x cannot be read: " in done.err
    assert "secret" not in done.out + done.err


def test_json_has_the_plan_and_whether_it_would_start(tune: Tune) -> None:
    there = json.loads(tune("check", "study.yaml", "--json").out)
    change("recipe: {", "hardware: tpu\nrecipe: {")
    done = tune("check", "study.yaml", "--json")
    gone = json.loads(done.out)
    change("epochs: 4", "epochs: many")
    wrong = json.loads(tune("check", "study.yaml", "--json").out)

    assert there["recipe"]["epochs"] == 4
    assert there["start"]["would_start"] is True
    assert there["start"]["summary"] == "a new study, 4 trials"
    assert done.code == EXIT_WRONG_INPUT
    assert gone["recipe"]["epochs"] == 4
    assert gone["start"]["would_start"] is False
    assert [(one["file"], one["line"]) for one in gone["start"]["errors"]] == [("study.yaml", 2)]
    assert wrong.keys() == {"start"}
    assert wrong["start"]["would_start"] is False
    assert [one["line"] for one in wrong["start"]["errors"]] == [3]


def test_few_validation_images_are_a_hint(tune: Tune, folder: Path) -> None:
    done, as_json = tune("check", "study.yaml"), tune("check", "study.yaml", "--json")

    hint = "144 validation images: differences under 3.5 points are noise (one standard error of a"
    assert f"\nHint: {hint}" in done.out
    assert json.loads(as_json.out)["start"]["hints"][0].startswith(hint)
    assert list(folder.iterdir()) == [folder / "study.yaml"]
