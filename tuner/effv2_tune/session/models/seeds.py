"""Runs the final training of a recipe with several seeds, one after the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.files.atomic import write_text
from effv2_tune.interruption import StopRequest, StudyInterrupt
from effv2_tune.pareto.seeds import SeedSummary, summarize_seeds
from effv2_tune.plurals import pluralized
from effv2_tune.session.location import RUNS, check_folder, command_line, shown
from effv2_tune.session.preflight import check_training
from effv2_tune.session.training import TrainingSession
from effv2_tune.study.training_run import (
    METRICS_FILE,
    RECIPE_FILE,
    load_training_run,
    seed_folder,
)
from effv2_tune.study.trial import Scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from effv2_tune.study.training_run import TrainingRun


class SeedsSession:
    """Final trainings that differ in their seed alone, ready to start or to resume.

    Args:
        run: What is trained; its own seed does not count.
        seeds: Of the trainings, in their order.
        base: Folder that its relative paths start from.
        out: Folder of the results, with a folder for each seed; ``runs/<name>-seeds`` if left out.
        session_hours: Hours after which :meth:`run` writes a checkpoint and returns.
        mirror: Folder or URL, with a folder for each seed, that they are copied to, and restored
            from.

    Attributes:
        out: As given.
        command: The command that runs it; empty where it was not loaded from a file.
    """

    def __init__(
        self,
        run: TrainingRun,
        seeds: Sequence[int],
        *,
        base: Path,
        out: Path | None = None,
        session_hours: float | None = None,
        mirror: str | None = None,
    ) -> None:
        self.command = ""
        self.out = RUNS / f"{run.name}-seeds" if out is None else out
        self._sessions = {
            seed: TrainingSession(
                run.with_seed(seed),
                base=base,
                out=self.out / seed_folder(seed),
                session_hours=session_hours,
                mirror=None if mirror is None else f"{mirror.rstrip('/')}/{seed_folder(seed)}",
                title=f"seed {seed} ({number} of {len(seeds)}): {self.out / seed_folder(seed)}",
            )
            for number, seed in enumerate(seeds, start=1)
        }
        self._metrics: dict[str, Any] = {}

    @classmethod
    def load(
        cls,
        file: Path,
        seeds: Sequence[int],
        *,
        out: Path | None = None,
        session_hours: float | None = None,
        mirror: str | None = None,
        train_on: str | None = None,
    ) -> SeedsSession:
        """Read a training run's file; arguments as of the class and of `TrainingSession.load`.

        Raises:
            MistakesError: With everything that is wrong in it, or in what it names.
        """
        loaded = load_training_run(file, train_on=train_on)
        check_training(loaded)
        session = cls(
            loaded.run,
            seeds,
            base=loaded.base,
            out=out,
            session_hours=session_hours,
            mirror=mirror,
        )
        session.command = command_line(
            "train",
            str(file),
            seeds=",".join(map(str, seeds)),
            data=train_on,
            out=out,
            session_hours=session_hours,
            mirror=None if mirror is None else shown(mirror),
        )
        return session

    def run(self, *, stop: StopRequest | None = None) -> dict[str, Any] | None:
        """Train with one seed after the other, or resume; finished trainings are not repeated.

        Args:
            stop: Ends the training early; its session starts now if it is left out.

        Returns:
            The content of ``metrics.json`` of all; None where the session ended before them.

        Raises:
            TuneError: As of `TrainingSession.run`.
            StudyInterrupt: After a signal, once a checkpoint is written.
        """
        stop = StopRequest() if stop is None else stop
        check_folder(self.out)
        self._refuse_a_training()
        results: dict[int, dict[str, Any]] = {}
        trainings = None
        for seed, session in self._sessions.items():
            stop.is_deferred = False  # nobody polls before the first step
            # One compilation for all seeds.
            session.trainings = trainings
            metrics = session.run(stop=stop)
            trainings = session.trainings
            if metrics is None:
                return None
            results[seed] = metrics
            if stop.signal is not None:
                raise StudyInterrupt
        self._metrics = _summary(results)
        write_text(self.out / METRICS_FILE, json.dumps(self._metrics, indent=2) + "\n")
        return self._metrics

    def _refuse_a_training(self) -> None:
        if (self.out / RECIPE_FILE).exists():
            raise TuneError(
                f"The folder {self.out} holds the training of one seed, and is not overwritten.",
                hint="Choose another folder: --out DIR",
            )

    @property
    def pages(self) -> list[Path]:
        """The page of each training."""
        return [page for session in self._sessions.values() for page in session.pages]

    @property
    def model_folder(self) -> Path:
        """The folder of the first seed's model: which one is best, the test images do not say."""
        return next(iter(self._sessions.values())).out

    def summary_lines(self) -> list[str]:
        """Mean, standard deviation and standard error of the accuracies, over all seeds."""
        trainings = pluralized(len(self._sessions), "training")
        lines = [f"{trainings}, seeds {', '.join(map(str, self._sessions))}"]
        for split in ("test", "validation"):
            scores = self._metrics[split]
            if scores is not None:
                summary = SeedSummary.from_plain(scores["accuracy"])
                lines.append(_sentence(split, summary, self._metrics[f"{split}_count"]))
        seconds = self._metrics["train_seconds"]
        lines.append(f"training {sum(seconds):.1f} s in all, {max(seconds):.1f} s at most")
        return lines


def _sentence(split: str, summary: SeedSummary, count: int | None) -> str:
    images = "" if count is None else f" and images ({count:,})"
    text = f"{split} accuracy {summary.mean:.4f} ± {summary.standard_error:.4f}"
    text += f" (mean; one standard error, for other seeds{images})"
    if summary.deviation is None:
        return text
    return (
        f"{text}; standard deviation between seeds {summary.deviation:.4f}, from "
        f"{min(summary.values):.4f} to {max(summary.values):.4f}"
    )


def _summary(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The content of ``metrics.json`` of all trainings."""
    every = list(results.values())
    return {
        "seeds": list(results),
        "folders": [seed_folder(seed) for seed in results],
        "test": _scores("test", every),
        "test_count": every[0]["test_count"],
        "validation": _scores("validation", every),
        "validation_count": every[0].get("validation_count"),
        "train_seconds": [metrics["train_seconds"] for metrics in every],
        "trained_on": every[0]["trained_on"],
        "train_count": every[0]["train_count"],
        "data_digest": every[0]["data_digest"],
        "classes": every[0]["classes"],
    }


def _scores(split: str, every: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A summary of each score on a split; None where it was trained on."""
    if any(metrics[split] is None for metrics in every):
        return None
    return {
        name: summarize_seeds(
            [metrics[split][name] for metrics in every],
            [metrics[f"{split}_standard_errors"][name] for metrics in every],
        ).model_dump(mode="json")
        for name in Scores.model_fields
    }
