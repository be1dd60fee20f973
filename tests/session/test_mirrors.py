"""A final training is copied to a mirror, and goes on from it on an empty machine."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import TuneError
from effv2_tune.session.progress import TrainingProgress
from effv2_tune.session.training import TrainingSession

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
name: final
data: {name: digits, train: 320, validation: 128, test: 100}
recipe: {variant: tiny, batch_size: 64, epochs: 4, step_size_epochs: 1, resolution: 32}
backend: tensorflow
hardware: cpu
"""


def train(base: Path, out: str, mirror: str | None = None) -> dict[str, Any]:
    where = None if mirror is None else str(base / mirror)
    session = TrainingSession.load(base / "train.yaml", out=base / out, mirror=where)
    metrics = session.run()
    # What the clock says differs between two runs.
    return {key: metrics[key] for key in ("test", "validation", "selected_epoch")}


@pytest.mark.slow
def test_a_final_training_continues_from_its_mirror_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from effv2_tune.training.trainer import Trainer

    assert Trainer.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Trainer.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)
    (tmp_path / "train.yaml").write_text(FILE)
    undisturbed = train(tmp_path, "undisturbed")
    shown: list[int] = []
    show = TrainingProgress.show

    def interrupt(progress: TrainingProgress, event: Any) -> None:
        show(progress, event)
        epoch = getattr(event, "epoch", None)
        if epoch is not None:
            shown.append(epoch.epoch)
            if shown == [1, 2, 3]:
                raise KeyboardInterrupt

    monkeypatch.setattr(TrainingProgress, "show", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, "first", "mirror")
    shutil.rmtree(tmp_path / "first")

    assert train(tmp_path, "second", "mirror") == undisturbed

    # The checkpoint of the second epoch: the third one was shown before its checkpoint.
    assert shown == [1, 2, 3, 3, 4]
    before = json.loads((tmp_path / "second" / "metrics.json").read_text())
    shutil.rmtree(tmp_path / "second")

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a training that is finished in its mirror needs no downloads")

    monkeypatch.setattr("effv2_tune.session.downloads.missing_files", refuse)
    assert train(tmp_path, "third", "mirror") == undisturbed
    assert shown == [1, 2, 3, 3, 4]
    assert json.loads((tmp_path / "third" / "metrics.json").read_text()) == before
    assert (tmp_path / "third" / "model.keras").is_file()


def test_the_mirror_of_another_training_is_refused(tmp_path: Path) -> None:
    from effv2_tune.session.mirrors import mirrored_training
    from effv2_tune.study.training_run import load_training_run

    for epochs in (4, 5):
        (tmp_path / "train.yaml").write_text(FILE.replace("epochs: 4", f"epochs: {epochs}"))
        run = load_training_run(tmp_path / "train.yaml").run
        out = tmp_path / f"out-{epochs}"
        out.mkdir()
        (out / "recipe.json").write_text("{}")
        if epochs == 4:
            with mirrored_training(str(tmp_path / "mirror"), out, run=run) as mirror:
                assert mirror is not None
                assert list(mirror.finish()) == []
        else:
            with (
                pytest.raises(TuneError, match="another study or training of the name 'final'"),
                mirrored_training(str(tmp_path / "mirror"), out, run=run),
            ):
                pass
