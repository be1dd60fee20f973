"""The trackers themselves read what was logged, of a finished and of a running study."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.search import read_study
from effv2_tune.session.trackers.logging import _log_new, _State, open_tracker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from effv2_tune.search.storage.snapshot import StudyRecord

# Their packages raise warnings of their own.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def record(study: Path) -> StudyRecord:
    return read_study(study)


def log_twice(record: StudyRecord, name: Any, folder: Path) -> None:
    """Log a study while its last trial is running, and again after its end."""
    last = record.trials[-1]
    changes = {"state": "running", "curve": last.curve[:2], "measurement": None}
    running = replace(record, trials=(*record.trials[:-1], last.model_copy(update=changes)))
    for now in (running, record):
        tracker = open_tracker(name, folder, "small")
        _log_new(now, tracker, _State(folder, name))
        tracker.close()


def test_tensorboard_reads_scalars_and_hyperparameters(record: StudyRecord, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    log_twice(record, "tensorboard", tmp_path)

    for trial in record.trials:
        # The files of both calls: TensorBoard itself reads all files of a folder.
        values, hparams, ends = {}, [], []
        for path in sorted((tmp_path / "tensorboard" / f"trial-000{trial.number}").iterdir()):
            found = EventAccumulator(str(path))
            found.Reload()
            if "validation/accuracy" in found.Tags()["scalars"]:
                values |= {one.step: one.value for one in found.Scalars("validation/accuracy")}
            for content in found.PluginTagToContent(metadata.PLUGIN_NAME).values():
                data = plugin_data_pb2.HParamsPluginData.FromString(content)
                if data.HasField("session_start_info"):
                    hparams.append(dict(data.session_start_info.hparams))
                if data.HasField("session_end_info"):
                    ends.append(data.session_end_info.status)
        assert list(values) == [1, 2, 3, 4]
        assert values[4] == pytest.approx(trial.curve[-1].validation.accuracy)
        assert [sorted(one) for one in hparams] == [sorted(trial.config)]
        assert len(ends) == 1


def test_mlflow_reads_parameters_metrics_and_states(
    record: StudyRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")

    log_twice(record, "mlflow", tmp_path)

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("small")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == [f"trial-000{number}" for number in range(4)]
    for trial in record.trials:
        run = runs[f"trial-000{trial.number}"]
        assert trial.measurement is not None
        assert run.info.status == "FINISHED"
        assert run.data.params["weight_decay"] == str(trial.config["weight_decay"])
        assert run.data.metrics["objective/accuracy"] == trial.measurement.quality
        curve = client.get_metric_history(run.info.run_id, "validation/accuracy")
        assert [one.step for one in curve] == [1, 2, 3, 4]


def test_wandb_keeps_the_runs_offline(
    record: StudyRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    from wandb.proto.wandb_internal_pb2 import Record

    log_twice(record, "wandb", tmp_path)

    steps: dict[str, list[int]] = {}
    configs: dict[str, set[str]] = {}
    for path in sorted(tmp_path.rglob("*.wandb")):
        trial = path.stem.rpartition("-")[2]
        for data in leveldb_records(path.read_bytes()):
            found = Record.FromString(data)
            if found.WhichOneof("record_type") == "history":
                steps.setdefault(trial, []).append(found.history.step.num)
            if found.WhichOneof("record_type") == "run":
                keys = {item.key for item in found.run.config.update}
                configs.setdefault(trial, set()).update(keys)
    assert {trial: sorted(numbers) for trial, numbers in steps.items()} == {
        str(number): [1, 2, 3, 4] for number in range(4)
    }
    assert all({"weight_decay", "resolution"} <= keys for keys in configs.values())


def leveldb_records(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log, the format of W&B's offline runs, after its header."""
    at, whole = 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:
            at += left  # a block ends with zeros where no header fits
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield whole
            whole = b""


def test_trackio_keeps_the_runs_on_this_machine(
    record: StudyRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    log_twice(record, "trackio", tmp_path)

    assert sorted(SQLiteStorage.get_runs("small")) == [f"trial-000{n}" for n in range(4)]
    for number in range(4):
        lines = SQLiteStorage.get_logs("small", f"trial-000{number}")
        curve = [one["step"] for one in lines if "validation/accuracy" in one]
        assert sorted(curve) == [1, 2, 3, 4]
        assert any("objective/train_seconds" in one for one in lines)
