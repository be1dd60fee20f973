"""Defines the study as an object: load it, run it, read its Pareto front."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.report.quantities import pluralized
from effv2_tune.session.location import RUNS, as_arguments, make_folder, shown
from effv2_tune.session.picking import pick_trial, to_training_run
from effv2_tune.session.preflight import (
    check_storage,
    check_study,
    choose_device,
    describe_images,
    earlier_runs,
)
from effv2_tune.session.results import Results
from effv2_tune.study import load_plan
from effv2_tune.study.space import values_of

if TYPE_CHECKING:
    from collections.abc import Generator

    import pandas as pd

    from effv2_tune.search.events import Event
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.study import Config, StudyPlan
    from effv2_tune.study.training_run import TrainingRun


class Study:
    """A study: its plan, and the folder (or database) of its results.

    Args:
        plan: What is searched.
        base: Folder that the plan's relative paths start from.
        out: Folder of the study; ``runs/<name>`` if left out.
        storage: Database URL for several machines; SQLite in ``out`` if left out.
        warm_start: Folder of an earlier study, whose Pareto front is tried first.

    Attributes:
        plan: As given.
        base: As given.
        out: As given.
    """

    def __init__(
        self,
        plan: StudyPlan,
        *,
        base: Path | None = None,
        out: str | Path | None = None,
        storage: str | None = None,
        warm_start: str | Path | None = None,
    ) -> None:
        self.plan = plan
        self.base = Path.cwd() if base is None else base
        self.out = RUNS / plan.name if out is None else Path(out)
        self._storage = storage
        self._warm_start = warm_start

    @classmethod
    def load(
        cls,
        study: str | Path,
        *,
        out: str | Path | None = None,
        storage: str | None = None,
        trials: int | None = None,
        hours: float | None = None,
        workers: int | None = None,
        warm_start: str | Path | None = None,
    ) -> Study:
        """Read a study file, or a shipped study by its name.

        Args:
            study: Path of a YAML file, or a shipped study's name.
            out: Folder of the study; ``runs/<name>`` if left out.
            storage: Database URL for several machines; SQLite in ``out`` if left out.
            trials: Instead of the file's ``trials:``.
            hours: Instead of the file's ``hours:``.
            workers: Instead of the file's ``workers:``.
            warm_start: Folder of an earlier study, whose Pareto front is tried first.

        Raises:
            MistakesError: With everything that is wrong in the file, before anything is started.
        """
        overrides = {"trials": trials, "hours": hours, "workers": workers}
        loaded = load_plan(study, overrides=overrides)
        session = cls(
            loaded.plan, base=loaded.base, out=out, storage=storage, warm_start=warm_start
        )
        check_study(loaded, begun=session._begun)
        return session

    def events(self) -> Generator[Event]:
        """Run the study, or resume it, and yield its events.

        Stopping the iteration (or Ctrl-C) loses nothing: the next call resumes.

        Raises:
            TuneError: The device cannot be used, or the folder holds another study.
        """
        from effv2_tune.search.supervisor import open_study

        check_storage(self.out, self._storage)
        hardware = choose_device(self.plan)
        first = self._first()
        make_folder(self.out)
        with open_study(
            self.plan, self.out, base=self.base, storage_url=self._storage, first=first
        ) as opened:
            yield from opened.run(hardware=hardware.kind, backend=hardware.backend)

    def _first(self) -> list[Config]:
        """The configs of the earlier study's Pareto front that are inside this one's space.

        Raises:
            TuneError: There are none, or no such study.
        """
        if self._warm_start is None or self._begun:
            return []
        earlier = Results(self._warm_start)
        front = [t for t in earlier.record.trials if t.number in earlier.analysis.front]
        names = self.plan.search_space.parameters
        configs = [{k: v for k, v in t.config.items() if k in names} for t in front]
        inside = [config for config in configs if self.plan.search_space.contains(config)]
        if not inside:
            raise TuneError(
                f"The Pareto front of {shown(self._warm_start)} ({len(front)} trials) has no "
                f"config in the search space of {self.plan.name}.",
                hint="Widen the search space, or omit --warm-start.",
            )
        return inside

    @property
    def _begun(self) -> bool:
        """Whether it was run before, and no longer needs the studies that it started from."""
        from effv2_tune.search.storage.backup import DATABASE

        return self._storage is None and (self.out / DATABASE).is_file()

    def dry_run_lines(self) -> list[str]:
        """A dry run: what :meth:`run` would do, line by line, after all checks; writes nothing.

        Raises:
            TuneError: It would be refused.
        """
        plan = self.plan
        check_storage(self.out, self._storage)
        hardware = choose_device(plan)
        earlier = earlier_runs(plan, self._location)
        first = self._first()
        images = describe_images(plan.data, base=self.base, batch=self._largest_batch())
        pruning = "with pruning" if plan.search.halving.enabled else "without pruning"
        budget = [
            f"{plan.trials} trials" if plan.trials else "",
            f"{plan.hours} h" if plan.hours else "",
            f"{plan.accelerator_hours} accelerator-hours" if plan.accelerator_hours else "",
        ]
        names = [one.name for one in plan.search_space.dimensions()]
        return [
            f"study     {plan.name}",
            f"folder    {self.out}",
            *([f"storage   {as_arguments(self._storage, plan.name)}"] if self._storage else []),
            *_so_far(earlier),
            f"data      {images}",
            f"searches  {', '.join(names)}",
            f"engine    {plan.search.engine} {pruning}",
            f"budget    {', '.join(filter(None, budget)) or 'until the front stops growing'}",
            f"device    {hardware.why}",
            *([] if plan.clock == "measured" else [f"clock     as in {plan.clock.recorded}"]),
            f"workers   {plan.workers}",
            *(
                [f"first     {pluralized(len(first), 'config')} of {self._warm_start}"]
                if first
                else []
            ),
        ]

    def _largest_batch(self) -> int:
        """The largest fixed batch that a trial may have; 1 where it grows with the devices."""
        searched = self.plan.search_space.parameters.get("batch_size")
        sizes = [self.plan.recipe.batch_size] if searched is None else list(values_of(searched))
        return max((size for size in sizes if isinstance(size, int)), default=1)

    def run(self) -> Study:
        """Run the study, or resume it, until its budget is spent; progress goes to stderr."""
        from effv2_tune.session.progress import show_progress

        show_progress(self.events(), self.plan)
        return self

    def results(self) -> Results:
        """The results so far; read-only, safe while the study is running."""
        return Results(self._location, name=self.plan.name)

    @property
    def _location(self) -> str | Path:
        return self.out if self._storage is None else self._storage

    def trials(self) -> pd.DataFrame:
        """All trials, one row each, those on the Pareto front first; with units in the names."""
        return self.results().frame()

    def front(self) -> pd.DataFrame:
        """The trials that no other dominates in quality and training time, fastest first."""
        rows = self.trials()
        return rows[rows["on_front"]]

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file, and return where it is (``report.html`` in ``out``)."""
        path = self.out / "report.html" if path is None else Path(path)
        self.results().report(path)
        return path

    def export(self, pick: str = "knee") -> TrainingRun:
        """The final training of a trial of the Pareto front.

        Args:
            pick: ``knee``, ``most-accurate``, ``fastest`` or ``trial=N``.
        """
        record = self.results().record
        return to_training_run(record, pick_trial(record, pick), pick=pick)

    def _repr_html_(self) -> str:
        """The Pareto front, drawn and listed, for Jupyter, Colab and Kaggle."""
        from effv2_tune.report.html.notebook import study_html

        try:
            return study_html(self.results().input)
        except TuneError as error:
            message = error.message if self.out.exists() else "not run yet."
            return f"<p><strong>{self.plan.name}</strong>: {html.escape(message)}</p>"

    def __repr__(self) -> str:
        """Name and folder."""
        return f"Study({self.plan.name!r}, out={str(self.out)!r})"


def _so_far(earlier: tuple[StudyRecord, list[str]] | None) -> list[str]:
    """What earlier runs recorded, and what was edited since."""
    if earlier is None:
        return ["so far    nothing: it is new"]
    record, changes = earlier
    ended = sum(trial.state != "running" for trial in record.trials)
    unfinished = len(record.trials) - ended
    return [
        f"so far    {pluralized(ended, 'trial')}, {unfinished} unfinished; the study is resumed",
        *(f"changed   {line}" for line in changes),
    ]
