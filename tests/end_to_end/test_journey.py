"""From a study file to a model in somebody else's hands: real images, real training."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_INTERRUPTED
from effv2_tune.search import read_study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

STUDY = """\
name: real
data: {name: digits, validation: 0.2, test: 0.2}
recipe:
  variant: tiny
  batch_size: 32
  epochs: 6
  step_size_epochs: 1
  initial_learning_rate: 1e-4
  stochastic_depth: 0.0
  dropout: 0.0
search_space:
  resolution: {type: choice, values: [32, 40]}
  maximal_learning_rate: {type: float, low: 5e-3, high: 3e-2, scale: log}
search: {engine: qmc, halving: {enabled: false}}
trials: 4
"""

# Keras alone: whoever imports effv2_tune here gets an error.
STRANGER = """
import sys
sys.modules["effv2_tune"] = None
import json
import keras
import numpy as np

model = keras.models.load_model(sys.argv[1])
images = np.load(sys.argv[2])
assert images["x"].dtype == np.uint8
right = int((model.predict(images["x"], verbose=0).argmax(-1) == images["y"]).sum())
print(json.dumps({"right": right, "count": len(images["y"])}))
"""


def tune(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "effv2_tune", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def happened(folder: Path) -> list[dict[str, Any]]:
    log = folder / "runs" / "real" / "events.jsonl"
    lines = log.read_text().splitlines() if log.is_file() else []
    return [json.loads(line) for line in lines]


def interrupt_in_the_second_trial(folder: Path) -> subprocess.CompletedProcess[str]:
    """Start the study, and press Ctrl-C while its second trial is in training."""
    command = [sys.executable, "-m", "effv2_tune", "run", "study.yaml", "--json"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and process.poll() is None:
            if any(e["event"] == "EpochTrained" and e["trial"] == 1 for e in happened(folder)):
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that a person does, once: what each command said, and the folder it left."""
    folder = tmp_path_factory.mktemp("journey")
    (folder / "study.yaml").write_text(STUDY)
    done: dict[str, Any] = {"folder": folder}
    done["interrupted"] = interrupt_in_the_second_trial(folder)
    done["between"] = read_study(folder / "runs" / "real")
    done["continued"] = tune("run", "study.yaml", "--json", cwd=folder)
    export = ("export", "runs/real", "--pick", "most-accurate", "-o", "train.yaml")
    done["exported"] = tune(*export, cwd=folder)
    done["trained"] = tune("train", "train.yaml", cwd=folder)
    return done


def test_ctrl_c_exits_with_130_and_keeps_what_is_known(journey: dict[str, Any]) -> None:
    interrupted, between = journey["interrupted"], journey["between"]

    assert interrupted.returncode == EXIT_INTERRUPTED
    assert json.loads(interrupted.stdout)["state"] == between.activity.state == "interrupted"
    assert interrupted.stderr.endswith("Interrupted. Rerun the same command to resume.\n")
    assert [trial.state for trial in between.trials][:2] == ["complete", "running"]


def test_the_same_command_continues_to_the_end(journey: dict[str, Any]) -> None:
    continued = journey["continued"]
    status = json.loads(continued.stdout)
    record = read_study(journey["folder"] / "runs" / "real")

    assert continued.returncode == 0, continued.stderr
    assert "resuming after 1 trial, with 1 unfinished trial" in continued.stderr
    assert status["states"] == {"complete": 4}
    assert [trial.number for trial in record.trials] == [0, 1, 2, 3]
    assert record.trials[1].attempts == 2
    assert [epoch.epoch for epoch in record.trials[1].curve] == [1, 2, 3, 4, 5, 6]


def test_the_checkpoint_of_ctrl_c_is_the_one_that_is_resumed(journey: dict[str, Any]) -> None:
    events = happened(journey["folder"])
    (saved,) = [event for event in events if event["event"] == "TrialInterrupted"]
    trained = [
        event["epoch"]["epoch"]
        for event in events
        if event["event"] == "EpochTrained" and event["trial"] == 1
    ]

    assert saved["trial"] == 1
    assert saved["step"] > 0
    # No epoch is trained twice.
    assert trained == [1, 2, 3, 4, 5, 6]


def test_each_bucket_is_compiled_once_by_each_worker_and_timed_once(
    journey: dict[str, Any],
) -> None:
    folder = journey["folder"]
    events = happened(folder)
    record = read_study(folder / "runs" / "real")
    starts = [n for n, event in enumerate(events) if event["event"] == "StudyStarted"]
    of_each_run = (events[: starts[1]], events[starts[1] :])
    buckets = {trial.bucket.label for trial in record.trials if trial.bucket is not None}

    assert len(buckets) == len(record.bucket_times) == 2
    for run in of_each_run:
        compiled = [e["label"] for e in run if e["event"] == "BucketCompiled" and e["fresh"]]
        assert len(compiled) == len(set(compiled))
    steps = {(t.bucket.label, t.times.step_bucket) for t in record.trials if t.bucket is not None}
    assert len(steps) == 2


def test_a_later_plan_has_the_times_that_the_study_recorded(journey: dict[str, Any]) -> None:
    folder = journey["folder"]
    planned = tune("plan", "study.yaml", "--json", cwd=folder)

    assert planned.returncode == 0, planned.stderr
    times = read_study(folder / "runs" / "real").bucket_times.values()
    found = [one["step_seconds"] for one in json.loads(planned.stdout)["buckets"]]
    origins = {one["time_origin"] for one in json.loads(planned.stdout)["buckets"]}
    assert sorted(found) == sorted(time.step_seconds for time in times)
    assert origins == {"recorded by study real"}


def test_every_view_shows_the_same_front(journey: dict[str, Any]) -> None:
    folder = journey["folder"]
    status = json.loads(tune("status", "runs/real", "--json", cwd=folder).stdout)
    front = [row["trial"] for row in status["front"]]
    rows = json.loads(tune("trials", "runs/real", "--format", "json", cwd=folder).stdout)
    table = csv.DictReader(
        io.StringIO(tune("trials", "runs/real", "--format", "csv", cwd=folder).stdout)
    )

    assert front == read_study(folder / "runs" / "real").front()
    assert [row["trial"] for row in rows if row["on_front"]] == front
    assert [int(row["trial"]) for row in table if row["on_front"] == "True"] == front
    assert (folder / "runs/real/report.html").stat().st_size > 1_000_000


def test_export_fills_in_everything_and_says_where_it_comes_from(journey: dict[str, Any]) -> None:
    exported = journey["exported"]
    text = (journey["folder"] / "train.yaml").read_text()

    assert exported.returncode == 0, exported.stderr
    assert exported.stdout == "train.yaml\n"
    assert exported.stderr.startswith("most-accurate: trial ")
    assert "Next: effv2-tune train train.yaml" in exported.stderr
    assert "beta_2: 0.999" in text
    assert "of study real (most-accurate): validation accuracy 0." in text


def test_the_test_accuracy_is_what_the_search_promised(journey: dict[str, Any]) -> None:
    trained = journey["trained"]
    assert trained.returncode == 0, trained.stderr
    (out,) = (journey["folder"] / "runs").glob("real-trial-*")
    metrics = json.loads((out / "metrics.json").read_text())
    trial = read_study(journey["folder"] / "runs" / "real").trials[int(out.name.split("-")[-1])]

    assert re.search(r"^test accuracy 0\.\d{4} ± 0\.\d{4}", trained.stdout)
    assert trial.scores is not None
    assert "promise kept: test accuracy 0." in trained.stdout
    assert f"the validation accuracy {trial.scores.accuracy:.4f} is the one that" in trained.stdout
    assert "training took " in trained.stdout
    assert metrics["promise"]["test"]["is_kept"]
    assert metrics["promise"]["is_reproduced"]
    assert metrics["promise"]["seconds"]["found"] == metrics["train_seconds"]
    assert (
        f"data_digest: {metrics['data_digest']}" in (journey["folder"] / "train.yaml").read_text()
    )
    assert metrics["validation"]["accuracy"] == trial.scores.accuracy
    accuracy, count = metrics["test"]["accuracy"], metrics["test_count"]
    spread = math.hypot(
        math.sqrt(accuracy * (1 - accuracy) / count),
        math.sqrt(trial.scores.accuracy * (1 - trial.scores.accuracy) / 287),
    )
    assert abs(accuracy - trial.scores.accuracy) <= 2 * spread
    assert len((out / "history.csv").read_text().splitlines()) == 1 + 6


def test_pictures_of_the_test_images_are_predicted_with_the_test_accuracy(
    journey: dict[str, Any], tmp_path: Path
) -> None:
    from PIL import Image

    from effv2_tune.data import load_dataset
    from effv2_tune.study.training_run import load_training_run

    loaded = load_training_run(journey["folder"] / "train.yaml")
    test = load_dataset(loaded.run.data, base=loaded.base).test
    for number, image in enumerate(test.images):
        Image.fromarray(image).save(tmp_path / f"{number:03}.png")
    (out,) = (journey["folder"] / "runs").glob("real-trial-*")
    metrics = json.loads((out / "metrics.json").read_text())

    done = tune("predict", str(out), str(tmp_path), "--top", "1", cwd=journey["folder"])

    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    right = sum(
        row["class_1"] == metrics["classes"][label]
        for row, label in zip(rows, test.labels, strict=True)
    )
    assert (right, len(rows)) == (metrics["test_correct"], metrics["test_count"])


def test_the_model_card_and_the_table_have_the_test_accuracy(journey: dict[str, Any]) -> None:
    (out,) = (journey["folder"] / "runs").glob("real-trial-*")
    accuracy = json.loads((out / "metrics.json").read_text())["test"]["accuracy"]
    card = (out / "model_card.md").read_text()

    done = tune("report", "runs/real", "--table", "networks.csv", cwd=journey["folder"])
    rows = list(csv.DictReader((journey["folder"] / "networks.csv").read_text().splitlines()))

    assert done.returncode == 0, done.stderr
    assert f"| accuracy | {accuracy:.4f} [" in card
    assert "(this recipe)" in card
    assert [row["test_accuracy"] for row in rows if row["test_accuracy"]] == [f"{accuracy:.4f}"]
    assert {row["size"] for row in rows} == {"32", "40"}


def test_a_stranger_reproduces_the_test_accuracy_from_the_model_alone(
    journey: dict[str, Any], tmp_path: Path
) -> None:
    import numpy as np

    from effv2_tune.data import load_dataset
    from effv2_tune.study.training_run import load_training_run

    loaded = load_training_run(journey["folder"] / "train.yaml")
    test = load_dataset(loaded.run.data, base=loaded.base).test
    np.savez(tmp_path / "test.npz", x=test.images, y=test.labels)
    (out,) = (journey["folder"] / "runs").glob("real-trial-*")
    metrics = json.loads((out / "metrics.json").read_text())

    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(out / "model.keras"), "test.npz"],
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"right": metrics["test_correct"], "count": metrics["test_count"]}


def test_a_finished_training_run_is_told_again_and_not_repeated(journey: dict[str, Any]) -> None:
    (out,) = (journey["folder"] / "runs").glob("real-trial-*")
    written = (out / "model.keras").stat().st_mtime_ns

    again = tune("train", "train.yaml", "--json", cwd=journey["folder"])

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == json.loads((out / "metrics.json").read_text())
    assert (out / "model.keras").stat().st_mtime_ns == written


def test_another_recipe_is_not_trained_into_the_same_folder(journey: dict[str, Any]) -> None:
    folder = journey["folder"]
    text = (folder / "train.yaml").read_text().replace("epochs: 6", "epochs: 7")
    (folder / "other.yaml").write_text(text)

    done = tune("train", "other.yaml", cwd=folder)

    assert done.returncode == 2
    assert done.stdout == ""
    assert "holds a training run of another recipe" in done.stderr


@pytest.mark.parametrize(
    "sign", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_an_interrupted_training_run_exits_with_130_and_ends_alike_when_continued(
    journey: dict[str, Any], sign: signal.Signals
) -> None:
    folder = journey["folder"]
    out = folder / f"again-{sign.name}"
    command = [sys.executable, "-m", "effv2_tune", "train", "train.yaml", "--out", out.name]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if line.startswith("epoch 1/6"))
        process.send_signal(sign)
        out_text, err_text = process.communicate(timeout=60)

    assert process.returncode == EXIT_INTERRUPTED
    assert out_text == ""
    assert first.rstrip().endswith(" s")
    assert f"{sign.name} was received: checkpoint of step " in err_text
    assert err_text.endswith("Interrupted. Rerun the same command to resume.\n")
    assert not (out / "metrics.json").exists()
    if sign == signal.SIGTERM:
        return  # what continues is the same; once is enough
    again = json.loads(tune("train", "train.yaml", "--out", out.name, "--json", cwd=folder).stdout)
    (first_out,) = (folder / "runs").glob("real-trial-*")
    without = json.loads((first_out / "metrics.json").read_text())
    assert again["test"] == without["test"]
    assert again["validation"] == without["validation"]


def test_a_script_without_a_main_guard_runs_a_study(
    journey: dict[str, Any], run_python: Callable[..., str], tmp_path: Path
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import os\n"
        "os.environ.pop('KERAS_BACKEND', None)\n"
        "import effv2_tune\n"
        f"study = effv2_tune.Study.load({str(journey['folder'] / 'study.yaml')!r}, "
        f"trials=1, out={str(tmp_path / 'out')!r}).run()\n"
        "print(len(study.front()), study.trials().loc[0, 'state'])\n"
        "print('<svg' in study._repr_html_(), study.report().name)\n"
    )

    said = run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")

    assert said.splitlines()[-2:] == ["1 complete", "True report.html"]
