"""Final trainings with several seeds: trained once each, compiled once, and summarized."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

import pytest

from effv2_tune.errors import EXIT_WRONG_INPUT, TuneError
from effv2_tune.interruption import StopRequest
from effv2_tune.session.models.finals import final_scores
from effv2_tune.session.models.seeds import SeedsSession
from effv2_tune.session.training import TrainingSession

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
name: final
data: {name: digits, train: 320, validation: 128, test: 100}
recipe: {variant: tiny, batch_size: 64, epochs: 2, step_size_epochs: 1, resolution: 32}
backend: tensorflow
hardware: cpu
"""


def written(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings, and after them a third one."""
    base = tmp_path_factory.mktemp("seeds")
    (base / "train.yaml").write_text(FILE)
    assert SeedsSession.load(base / "train.yaml", [3, 1], out=base / "all").run() is not None
    first = (base / "all" / "seed-3" / "metrics.json").stat().st_mtime_ns
    assert SeedsSession.load(base / "train.yaml", [3, 1, 0], out=base / "all").run() is not None
    assert (base / "all" / "seed-3" / "metrics.json").stat().st_mtime_ns == first
    return base


def test_the_summary_has_mean_and_deviation_of_every_score(base: Path) -> None:
    whole = written(base / "all")

    each = [written(base / "all" / f"seed-{seed}") for seed in (3, 1, 0)]
    assert whole["seeds"] == [3, 1, 0]
    assert whole["folders"] == ["seed-3", "seed-1", "seed-0"]
    for split in ("test", "validation"):
        for name, summary in whole[split].items():
            values = [metrics[split][name] for metrics in each]
            assert summary["values"] == values
            assert summary["mean"] == pytest.approx(statistics.fmean(values))
            assert summary["deviation"] == pytest.approx(statistics.stdev(values))
    assert whole["test"]["loss"]["deviation"] > 0
    assert (whole["test_count"], whole["validation_count"]) == (100, 128)
    assert whole["train_seconds"] == [metrics["train_seconds"] for metrics in each]


def test_the_seeds_share_one_compilation(base: Path) -> None:
    times = [written(base / "all" / f"seed-{seed}")["times"] for seed in (3, 1)]

    assert times[0]["compile"] > 0
    assert (times[1]["compile"], times[1]["measure"]) == (0, 0)
    assert times[1]["step_bucket"] == times[0]["step_bucket"]


def test_a_training_among_others_is_the_one_of_its_own(base: Path) -> None:
    text = FILE.replace("resolution: 32", "resolution: 32, seed: 1")
    (base / "one.yaml").write_text(text)

    alone = TrainingSession.load(base / "one.yaml", out=base / "one").run()

    assert alone is not None
    among = written(base / "all" / "seed-1")
    for name in ("test", "validation", "selected_epoch"):
        assert among[name] == alone[name]
    assert (base / "all" / "seed-1" / "model.keras").is_file()
    assert (base / "all" / "seed-1" / "model_card.md").is_file()


def test_the_terminal_shows_mean_deviation_and_standard_error(base: Path) -> None:
    session = SeedsSession.load(base / "train.yaml", [3, 1, 0], out=base / "all")
    session.run()

    seeds, test, validation, seconds = session.summary_lines()

    accuracy = written(base / "all")["test"]["accuracy"]
    assert seeds == "3 trainings, seeds 3, 1, 0"
    assert test.startswith(
        f"test accuracy {accuracy['mean']:.4f} ± {accuracy['standard_error']:.4f} (mean; one "
        "standard error, for other seeds and images (100)); standard deviation between seeds "
        f"{accuracy['deviation']:.4f}, from "
    )
    assert validation.startswith("validation accuracy ")
    assert seconds.startswith("training ")
    assert session.model_folder == base / "all" / "seed-3"


def test_a_session_that_is_over_trains_no_further_seed(base: Path) -> None:
    session = SeedsSession.load(base / "train.yaml", [3, 7], out=base / "all", session_hours=1e-9)

    assert session.run(stop=StopRequest()) is None

    assert written(base / "all")["seeds"] == [3, 1, 0]
    assert not (base / "all" / "seed-7" / "metrics.json").exists()
    assert "--seeds 3,7 " in session.command


def test_the_folder_of_a_single_training_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")

    with pytest.raises(TuneError, match="holds the training of one seed") as refused:
        SeedsSession.load(base / "train.yaml", [0], out=tmp_path).run()

    assert refused.value.exit_code == EXIT_WRONG_INPUT


def test_the_trainings_of_all_seeds_are_found_beside_the_study(tmp_path: Path) -> None:
    scores = dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "top5", "loss"), 0.5)
    for folder in ("one", "many/seed-0", "many/seed-1"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "recipe.json").write_text("{}")
        metrics = {"trial": {"study": "mine", "number": 4}, "test": scores}
        (tmp_path / folder / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "many" / "metrics.json").write_text("{}")

    assert [final.trial for final in final_scores(tmp_path, study="mine")] == [4, 4, 4]
