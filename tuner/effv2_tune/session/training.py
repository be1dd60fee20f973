"""Runs the final training of a recipe, and compares its results with the search."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.files.atomic import write_text
from effv2_tune.heartbeat import notes_shown
from effv2_tune.host import choose_hardware, probe_host, probe_packages
from effv2_tune.interruption import StopRequest, StudyInterrupt, signals_stop
from effv2_tune.pareto import binomial_error
from effv2_tune.pareto.promise import Comparison
from effv2_tune.report.html.training import TrainingFacts, write_training_page
from effv2_tune.report.model_card import model_card
from effv2_tune.report.promise import promise_sentences
from effv2_tune.session.location import RUNS, check_folder, command_line, make_folder, shown
from effv2_tune.session.mirrors import mirrored_training, restored_training
from effv2_tune.session.models.framework_output import redirected_to
from effv2_tune.session.preflight import check_training
from effv2_tune.study.training_run import (
    CARD_FILE,
    CLASSES_FILE,
    CONFUSION_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    MODEL_FILE,
    PAGE_FILE,
    RECIPE_FILE,
    SCHEDULE_FILE,
    load_training_run,
)

if TYPE_CHECKING:
    from pathlib import Path

    from effv2_tune.host import Hardware
    from effv2_tune.search.mirror.copying import Mirror
    from effv2_tune.session.progress import TrainingProgress
    from effv2_tune.study.training_run import TrainingRun
    from effv2_tune.training.final_training import FinalTrainings

#: Files of training runs and studies, which must not share a folder.
_OUTPUTS = (
    "checkpoints",
    HISTORY_FILE,
    SCHEDULE_FILE,
    CONFUSION_FILE,
    METRICS_FILE,
    MODEL_FILE,
    CLASSES_FILE,
    CARD_FILE,
    PAGE_FILE,
    "study.db",
)


class TrainingSession:
    """A training run, ready to start or to resume.

    Args:
        run: What is trained.
        base: Folder that its relative paths start from.
        out: Folder of its results; ``runs/<name>`` if left out.
        session_hours: Hours after which :meth:`run` writes a checkpoint and returns.
        mirror: Folder or URL that it is copied to, and restored from.
        title: First line of its progress, if it is one of several.

    Attributes:
        out: As given.
        command: The command that runs it; empty where it was not loaded from a file.
        trainings: What further trainings on the same images and device may use; None before the
            first one.
    """

    def __init__(
        self,
        run: TrainingRun,
        *,
        base: Path,
        out: Path | None = None,
        session_hours: float | None = None,
        mirror: str | None = None,
        title: str = "",
    ) -> None:
        self.command = ""
        self._title = title
        self._session_hours = session_hours
        self._mirror = mirror
        self._run = run
        self._base = base
        self.out = RUNS / run.name if out is None else out
        self._metrics: dict[str, Any] = {}
        self.trainings: FinalTrainings | None = None

    @classmethod
    def load(
        cls,
        file: Path,
        *,
        out: Path | None = None,
        session_hours: float | None = None,
        mirror: str | None = None,
        train_on: str | None = None,
    ) -> TrainingSession:
        """Read a training run's file; the other arguments are those of the class.

        Args:
            file: The file.
            out: As of the class.
            session_hours: Likewise.
            mirror: Likewise.
            train_on: The splits to train on, in place of those in the file.

        Raises:
            MistakesError: With everything that is wrong in it, or in what it names.
        """
        loaded = load_training_run(file, train_on=train_on)
        check_training(loaded)
        session = cls(
            loaded.run, base=loaded.base, out=out, session_hours=session_hours, mirror=mirror
        )
        session.command = command_line(
            "train",
            str(file),
            data=train_on,
            out=out,
            session_hours=session_hours,
            mirror=None if mirror is None else shown(mirror),
        )
        return session

    def run(self, *, stop: StopRequest | None = None) -> dict[str, Any] | None:
        """Train, or resume.

        Args:
            stop: Ends the training early; its session starts now if it is left out.

        Returns:
            The content of ``metrics.json``; None where the session ended before the training.

        Raises:
            TuneError: The device cannot be used, the folder holds another run, or the images are
                not those that the recipe was found on.
            StudyInterrupt: After a signal, once a checkpoint is written.
        """
        stop = StopRequest() if stop is None else stop
        stop.limit_session(self._session_hours)
        run = self._run
        hardware = choose_hardware(run.hardware, run.backend, probe_host(), probe_packages())
        check_folder(self.out)
        _refuse_other_outputs(self.out)
        from effv2_tune.session.downloads import download, missing_files
        from effv2_tune.session.progress import TrainingProgress, show_downloads

        # First of all: a training that was finished elsewhere needs no downloads.
        restored = restored_training(self._mirror, self.out, run=run)
        if not (self.out / METRICS_FILE).exists():
            missing = missing_files(run.data, [run.recipe], base=self._base)
            show_downloads(download(missing))
        set_backend(hardware)

        make_folder(self.out)
        with (
            redirected_to(self.out / "train.log") as terminal,
            mirrored_training(self._mirror, self.out, run=run, restored=restored) as mirror,
            TrainingProgress(run.recipe.epochs, run.quality, terminal) as progress,
            signals_stop(stop),
        ):
            if self._title:
                progress.note(self._title)
            is_done = self._train(hardware, progress, stop, mirror)
            if is_done:
                self._write_card()
                self._write_page()
            if mirror is not None:
                progress.show_mirror(mirror.finish())
        if is_done:
            return self._metrics
        if stop.signal is not None:
            raise StudyInterrupt
        return None

    def _train(
        self,
        hardware: Hardware,
        progress: TrainingProgress,
        stop: StopRequest,
        mirror: Mirror | None,
    ) -> bool:
        """Train; whether to the end."""
        from effv2_tune.session.progress import saved_text
        from effv2_tune.training.attempt import TrainingStoppedError
        from effv2_tune.training.final_training import FinalTrainings
        from effv2_tune.workers.messages import Compiled

        def show(event: object) -> None:
            # Until then nothing is lost by an exception, and nobody polls.
            stop.is_deferred = stop.is_deferred or isinstance(event, Compiled)
            if mirror is not None:
                progress.show_mirror(mirror.new_events())
            progress.show(event)

        found = self._run.provenance
        self.trainings = self.trainings or FinalTrainings(
            base=self._base,
            hardware=hardware.kind,
            data_digest=None if found is None else found.data_digest,
        )
        try:
            with notes_shown(progress.note):
                result = self.trainings.train(
                    self._run.full_recipe(),
                    out=self.out,
                    on_event=show,
                    provenance=found,
                    should_stop=stop.is_due,
                )
        except TrainingStoppedError as stopped:
            progress.note(f"{stop.reason}: {saved_text(stopped.step)}")
            return False
        self._metrics = result.metrics
        return True

    def _write_card(self) -> None:
        """Write the model card, unless an earlier call has."""
        path = self.out / CARD_FILE
        if not path.exists():
            write_text(path, model_card(self._run, self._metrics))

    def _write_page(self) -> None:
        """Write the page of the training, unless an earlier call has."""
        path = self.out / PAGE_FILE
        if not path.exists():
            written = (
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC by effv2-tune {version('effv2-tune')}"
            )
            facts = TrainingFacts.read(self.out, self._run, self._metrics, written=written)
            write_training_page(facts, path)

    @property
    def pages(self) -> list[Path]:
        """Its page."""
        return [self.out / PAGE_FILE]

    @property
    def model_folder(self) -> Path:
        """The folder of its model."""
        return self.out

    def summary_lines(self) -> list[str]:
        """The test scores, and whether the promise of the search was kept."""
        test = self._metrics["test"]
        count = self._metrics["test_count"]
        lines = [
            (
                f"test accuracy {test['accuracy']:.4f} "
                f"± {binomial_error(test['accuracy'], count):.4f} (one standard error, "
                f"{count:,} images)"
            ),
            f"test top-5 accuracy {test['top5']:.4f}",
            f"training {self._metrics['train_seconds']:.1f} s",
        ]
        compared = self._metrics.get("promise")
        if compared is not None:
            lines += promise_sentences(Comparison.from_plain(compared))
        return lines


def _refuse_other_outputs(out: Path) -> None:
    """Refuse a folder with other results; training itself compares the recipe of a run."""
    found = (
        [] if (out / RECIPE_FILE).exists() else [name for name in _OUTPUTS if (out / name).exists()]
    )
    if found:
        what = "a study" if "study.db" in found else f"{', '.join(found)} of something else"
        raise TuneError(
            f"The folder {out} holds {what}, and is not overwritten.",
            hint="Choose another folder: --out DIR",
        )


def set_backend(hardware: Hardware) -> None:
    """Set the environment variables that the frameworks read when they are loaded.

    Raises:
        TuneError: Keras is loaded already, with another backend.
    """
    keras = sys.modules.get("keras")
    if keras is not None and keras.config.backend() != hardware.backend:
        raise TuneError(
            f"Keras is already loaded with another backend; this run needs {hardware.backend}.",
            hint=f"Set KERAS_BACKEND={hardware.backend} in the environment, and restart Python.",
        )
    from effv2_tune.workers.launch import worker_environment

    os.environ |= worker_environment(
        hardware.backend, hardware.kind, workers=1, cpu_count=len(os.sched_getaffinity(0))
    )
