"""Studies are found in folders and in databases."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.session.location import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    Tune = Callable[..., Any]


def test_a_study_in_a_database_is_read_by_its_url(tune: Tune, folder: Path) -> None:
    url = f"sqlite:///{folder}/shared.db"
    for name in ("small", "other"):
        text = Path("study.yaml").read_text().replace("name: small", f"name: {name}")
        Path("named.yaml").write_text(text)
        assert tune("run", "named.yaml", "--storage", url, "--dry-run").code == 0
        ran = tune("run", "named.yaml", "--storage", url)
        assert ran.code == 0
        assert f"Next: effv2-tune export {url} --name {name} --pick knee" in ran.err

    assert "It holds: other, small." in tune("status", url).err
    assert json.loads(tune("status", url, "--name", "other", "--json").out)["study"] == "other"
    assert len(tune("trials", url, "--name", "small", "--format", "csv").out.splitlines()) == 5
    assert tune("report", url, "--name", "small").out == "runs/small/report.html\n"
    assert tune("export", url, "--name", "small").out == "train.yaml\n"
    assert "so far    4 trials" in tune("run", "study.yaml", "--storage", url, "--dry-run").out


def test_the_folder_of_a_study_in_a_database_says_where_its_trials_are(
    tune: Tune, folder: Path
) -> None:
    tune("run", "study.yaml", "--storage", f"sqlite:///{folder}/shared.db")

    done = tune("status", "runs/small")

    assert "whose trials are in a database" in done.err
    assert "--name" in done.err


def test_a_server_that_does_not_answer_is_named_without_its_password(tune: Tune) -> None:
    pytest.importorskip("sqlite3")
    done = tune("status", "postgresql+psycopg://me:secret@127.0.0.1:9/none", "--name", "x")

    assert done.code == 1
    assert "The database postgresql+psycopg://me:***@127.0.0.1:9/none cannot be used" in done.err
    assert "secret" not in done.out + done.err


@pytest.mark.parametrize("written", ["runs/small", "small", "runs/small/study.db"])
def test_a_study_is_found_by_its_folder_its_name_and_its_file(
    tune: Tune, study: Path, written: str
) -> None:
    assert study == Path("runs/small")

    assert json.loads(tune("status", written, "--json").out)["study"] == "small"


ODD_NAMES = ["q?x=1", "a?mode=ro", "50%41x", "file:x", "{x}#y", "a b&c;'d'", "größe"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_may_have_any_name(tune: Tune, folder: Path, name: str) -> None:
    before = set(folder.iterdir())

    ran = tune("run", "study.yaml", "--trials", "6", "--out", name)

    assert ran.code == 0, ran.err
    assert set(folder.iterdir()) - before == {folder / name}
    assert {"study.db", "study.db.backup"} <= {file.name for file in Path(name).iterdir()}
    assert json.loads(tune("status", name, "--json").out)["states"]["complete"] == 6
    assert "so far    6 trials" in tune("run", "study.yaml", "--out", name, "--dry-run").out
    suggested = shlex.split(ran.err.splitlines()[-1].removeprefix("Next: effv2-tune "))
    assert tune(*suggested).out == "train.yaml\n"
    (Path(name) / "study.db.backup").replace(Path(name) / "study.db")
    assert len(tune("trials", name, "--format", "csv").out.splitlines()) == 7
    assert tune("run", "study.yaml", "--trials", "6", "--out", name).code == 0


def test_folders_whose_names_differ_behind_a_question_mark_are_two_studies(
    tune: Tune, folder: Path
) -> None:
    assert tune("run", "study.yaml", "--out", "a?b", "--trials", "2").code == 0

    ran = tune("run", "study.yaml", "--out", "a?mode=ro", "--trials", "1")

    assert ran.code == 0, ran.err
    assert not (folder / "a").exists()
    for name, count in (("a?b", 2), ("a?mode=ro", 1)):
        assert json.loads(tune("status", name, "--json").out)["states"]["complete"] == count


def test_the_working_directory_may_have_any_name(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = folder / "w?mode=ro" / "50%41x{y}"
    odd.mkdir(parents=True)
    shutil.copy(folder / "study.yaml", odd)
    monkeypatch.chdir(odd)

    assert tune("run", "study.yaml", "--trials", "5").code == 0

    assert (odd / "runs" / "small" / "study.db.backup").is_file()
    assert json.loads(tune("status", "small", "--json").out)["states"]["complete"] == 5


def test_an_edited_space_is_applied_in_a_folder_of_any_name(tune: Tune) -> None:
    assert tune("run", "study.yaml", "--out", "q?{x}%41").code == 0
    study = Path("study.yaml")
    study.write_text(study.read_text().replace("values: [32, 64]", "values: [32, 48, 64]"))

    ran = tune("run", "study.yaml", "--out", "q?{x}%41", "--trials", "5")

    assert ran.code == 0, ran.err
    assert json.loads(tune("status", "q?{x}%41", "--json").out)["states"]["complete"] == 5


URLS_WITH_PASSWORDS = [
    "postgresql+psycopg://u:S3cretPW@h:port5/db",
    "postgresql+psycopg://u:S3cretPW@127.0.0.1:9/db",
    "postgresql+psycopg://u:S3cret@PW@127.0.0.1:9/db",
    "postgresql+psycopg://u:x/S3cret@PW?x@127.0.0.1:9/db",
    "postgresql+psycopg://u:x{S3cretPW}@127.0.0.1:9/db",
    "postgresql+psycopg://127.0.0.1:9/db?user=u&password=S3cretPW",
    "postgresql+psycopg://127.0.0.1:9/db?password=S3cret@PW&user=u",
    "postgresql+psycopg://127.0.0.1:9/db?p%61ssword=S3cret&PW",
    "postgresql+psycopg://u:x?sslpassword=S3cret@PW/db",
    "postgresql+psycopg://u:S3cretPW/db",
    "postgresql+psycopg:/u:S3cretPW@h/db",
    "postgresql+psycopg:///u:S3cretPW@h/db",
    "unknown://u:S3cretPW@h/db",
    "postgresql+unknown://u:S3cretPW@h/db?password=S3cretPW",
    "sqlite://u:S3cretPW@h/db",
    "sqlite:///no/such/folder.db?password=S3cretPW",
    "://u:S3cretPW@h/db",
    "u:S3cretPW@h/db",
    "host=h password=S3cretPW dbname=db",
]


@pytest.mark.parametrize("url", URLS_WITH_PASSWORDS)
@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "URL"],
        ["report", "URL", "--name", "x"],
        ["run", "study.yaml", "--storage", "URL"],
        ["run", "study.yaml", "--storage", "URL", "--dry-run"],
        ["run", "study.yaml", "--warm-start", "URL"],
    ],
    ids=" ".join,
)
def test_no_message_has_a_password(tune: Tune, url: str, arguments: list[str]) -> None:
    done = tune(*[url if argument == "URL" else argument for argument in arguments])

    assert done.code in (1, 2)
    assert "S3cret" not in done.out + done.err
    assert "PW" not in done.out + done.err
    assert "***" in done.err


def test_a_url_is_no_folder(tune: Tune, folder: Path) -> None:
    before = set(folder.iterdir())

    done = tune("run", "study.yaml", "--out", "postgresql+psycopg://u:S3cretPW@h/db")

    assert done.code == 2
    assert "is the URL of a database, not a folder" in done.err
    assert "S3cret" not in done.err
    assert set(folder.iterdir()) == before


def test_a_password_as_parameter_is_in_no_output(
    tune: Tune, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "sqlite:///file:shared.db?uri=true&password=S3cretPW"
    monkeypatch.setenv("EFFV2_TUNE_RUN_STORAGE", url)

    dry, ran = tune("run", "study.yaml", "--dry-run"), tune("run", "study.yaml")

    assert (dry.code, ran.code) == (0, 0), dry.err + ran.err
    assert "password=***" in dry.out
    assert "password=***" in ran.err
    assert "S3cret" not in dry.out + dry.err + ran.out + ran.err
    assert tune("report", url).code == 0
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert Path("runs/small/report.html").read_text().count("password=***")
    assert [file for file in files if b"S3cret" in file.read_bytes()] == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://host/database",
        "postgresql+psycopg://user@host:5432/database?passfile=/home/a/.pgpass",
        "postgresql+psycopg://[::1]:5432/database",
        "sqlite:////home/x:y@z/file.db",
    ],
)
def test_a_url_without_a_password_is_shown_unchanged(url: str) -> None:
    assert shown(url) == url
