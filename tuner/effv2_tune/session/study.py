"""Defines the study as an object: load it, run it, read its Pareto front."""

from __future__ import annotations

import html
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from effv2_tune.errors import TuneError
from effv2_tune.interruption import StopRequest, signals_stop
from effv2_tune.plurals import pluralized
from effv2_tune.session.location import (
    RUNS,
    as_arguments,
    command_line,
    is_database,
    make_folder,
    shown,
)
from effv2_tune.session.mirrors import check_mirrors, restore_missing
from effv2_tune.session.picking import pick_trial, to_training_run
from effv2_tune.session.preflight import (
    check_storage,
    check_study,
    earlier_runs,
    possible_settings,
)
from effv2_tune.session.results import Results
from effv2_tune.session.startup import (
    Findings,
    Startup,
    WarmStart,
    budget_text,
    confirm_text,
    read_warm_start,
    target_text,
    workers_text,
)
from effv2_tune.study import load_plan
from effv2_tune.study.batches import check_batches
from effv2_tune.study.bucket import Placement
from effv2_tune.study.continuation import with_workers_of
from effv2_tune.study.plan import ConfirmSpec
from effv2_tune.workers.device_choice import choose_device

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import pandas as pd

    from effv2_tune.data import ImageCounts
    from effv2_tune.files.download import PublishedFile
    from effv2_tune.host import Hardware
    from effv2_tune.search.events import Downloading, Event, StudyRestored
    from effv2_tune.search.mirror.restoration import MirroredStudy
    from effv2_tune.search.storage.snapshot import StudyRecord
    from effv2_tune.search.supervisor import OpenStudy
    from effv2_tune.session.live.following import StudyFollower
    from effv2_tune.study import LoadedPlan, StudyPlan
    from effv2_tune.study.recipe import Recipe
    from effv2_tune.study.training_run import TrainingRun
    from effv2_tune.workers.messages import Ready


class Study:
    """A study: its plan, and the folder (or database) of its results.

    Args:
        plan: What is searched.
        base: Folder that the plan's relative paths start from.
        out: Folder of the study; ``runs/<name>`` if left out.
        storage: Database URL for several machines; SQLite in ``out`` if left out.
        warm_start: Folder of an earlier study, or several: their Pareto fronts are tried first, and
            ``freeze_thaw`` learns from their curves.
        session_hours: Hours after which :meth:`run` saves the running trials and returns.
        retry_failed: Whether the failed trials of earlier runs are tried again.
        mirror: Folder or URL that the study is copied to, and restored from.
        resume_from: Another such folder, that it is only restored from.

    Attributes:
        plan: As given.
        base: As given.
        out: As given.
        command: The command that runs it; empty where it was not loaded from a file.
    """

    def __init__(
        self,
        plan: StudyPlan,
        *,
        base: Path | None = None,
        out: str | Path | None = None,
        storage: str | None = None,
        warm_start: str | Path | Sequence[str | Path] = (),
        session_hours: float | None = None,
        retry_failed: bool = False,
        mirror: str | Path | None = None,
        resume_from: str | Path | None = None,
    ) -> None:
        self.plan = plan
        self.base = Path.cwd() if base is None else base
        self.out = RUNS / plan.name if out is None else Path(out)
        self._storage = storage
        given = (warm_start,) if isinstance(warm_start, str | Path) else warm_start
        self._warm_starts = tuple(given)
        self._loaded: LoadedPlan | None = None
        self._session_hours = session_hours
        self.command = ""
        self._confirmation = ConfirmSpec() if plan.search.confirm is None else plan.search.confirm
        self._retry_failed = retry_failed
        self._mirror = None if mirror is None else str(mirror)
        self._resume_from = None if resume_from is None else str(resume_from)
        self._restored: StudyRestored | None = None

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
        warm_start: str | Path | Sequence[str | Path] = (),
        session_hours: float | None = None,
        retry_failed: bool = False,
        mirror: str | Path | None = None,
        resume_from: str | Path | None = None,
        ray: str | None = None,
    ) -> Study:
        """Read a study file, or a shipped study by its name.

        Args:
            study: Path of a YAML file, or a shipped study's name.
            out: Folder of the study; ``runs/<name>`` if left out.
            storage: Database URL for several machines; SQLite in ``out`` if left out.
            trials: Instead of the file's ``trials:``.
            hours: Instead of the file's ``hours:``; a total over all runs.
            workers: Instead of the file's ``workers:``.
            warm_start: Folder of an earlier study, or several: their Pareto fronts are tried first,
                and ``freeze_thaw`` learns from their curves.
            session_hours: Hours after which :meth:`run` saves the running trials and returns.
            retry_failed: Whether the failed trials of earlier runs are tried again, each as a new
                trial of the same config that does not count towards ``trials:``.
            mirror: Folder or URL that the study is copied to, and restored from where ``out`` is
                empty.
            resume_from: Another such folder, that it is only restored from.
            ray: Instead of the file's ``cluster: ray:``, the Ray cluster that workers run on.

        Raises:
            MistakesError: With everything that is wrong in the file, before anything is started.
        """
        overrides = {"trials": trials, "hours": hours, "workers": workers, "ray": ray}
        loaded = load_plan(study, overrides=overrides)
        session = cls(
            loaded.plan,
            base=loaded.base,
            out=out,
            storage=storage,
            warm_start=warm_start,
            session_hours=session_hours,
            retry_failed=retry_failed,
            mirror=mirror,
            resume_from=resume_from,
        )
        session.command = command_line(
            "run",
            str(study),
            out=out,
            storage=None if storage is None else shown(storage),
            **overrides,
            session_hours=session_hours,
            mirror=None if mirror is None else shown(mirror),
        )
        session._loaded = loaded
        check_study(loaded, begun=session._begun or session._mirrored is not None)
        return session

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        name: str | None = None,
        out: str | Path | None = None,
        trials: int | None = None,
        hours: float | None = None,
        level: float | None = None,
        difference: float | None = None,
        pick: str | None = None,
        workers: int | None = None,
        session_hours: float | None = None,
        mirror: str | Path | None = None,
    ) -> Study:
        """The study in a folder or a database, with the plan of its last run, to be confirmed.

        Args:
            place: Its folder, or the URL of its database.
            name: Of the study, where a database holds several.
            out: Folder for checkpoints and logs, where ``place`` is a database.
            trials: Replicates in all, over all calls; this and the following four instead of the
                study's own (``search: confirm:``).
            hours: Hours of training replicates in all.
            level: A pick is clear when it is the best choice with this probability.
            difference: Differences of quality up to this one do not matter.
            pick: The only one of ``fastest``, ``knee`` and ``most-accurate`` that is to be clear.
            workers: Instead of those of its last run.
            session_hours: As of :meth:`load`.
            mirror: Folder or URL that the study is copied to, and restored from where ``place`` is
                empty.

        Raises:
            TuneError: There is no study.
        """
        restored = None
        if mirror is not None and not is_database(place):
            restored = restore_missing(str(mirror), Path(place))
        earlier = Results(place, name=name)
        plan, storage = earlier.record.plan, str(place) if is_database(place) else None
        session = cls(
            plan if workers is None else plan.model_copy(update={"workers": workers}),
            base=earlier.record.base,
            out=earlier.folder if out is None else out,
            storage=storage,
            session_hours=session_hours,
            mirror=mirror,
        )
        budget = {
            "trials": trials,
            "hours": hours,
            "level": level,
            "difference": difference,
            "pick": pick,
        }
        spec = (plan.search.confirm or ConfirmSpec()).model_dump()
        given = {key: value for key, value in budget.items() if value is not None}
        session._restored = restored
        session._confirmation = ConfirmSpec.model_validate(spec | given)
        session.command = command_line(
            "confirm",
            shown(place),
            name=name,
            out=out,
            **budget,
            workers=workers,
            session_hours=session_hours,
            mirror=None if mirror is None else shown(mirror),
        )
        return session

    def events(
        self,
        announce: Callable[[Event], None] = lambda _: None,
        *,
        stop: StopRequest | None = None,
        confirm: ConfirmSpec | None = None,
    ) -> Generator[Event]:
        """Run the study, or resume it, and yield its events.

        Stopping the iteration (or Ctrl-C) loses nothing: the next call resumes. At the first
        Ctrl-C, SIGTERM or SIGHUP, and at the end of the session, the running trials are saved.

        Args:
            announce: Receives the events that happen while the iteration waits for the database.
            stop: Ends the iteration early; its session starts now if it is left out.
            confirm: Confirm the picks with this budget, in place of searching.

        Raises:
            TuneError: The device cannot be used, or the folder holds another study.
            StudyInterrupt: After a signal, once the running trials are saved.
        """
        if self._restored is not None:
            yield self._restored
            self._restored = None
        stop = StopRequest() if stop is None else stop
        stop.limit_session(self._session_hours)
        from effv2_tune.search.supervisor import open_study

        findings = Findings(self._loaded)
        hardware, _, start = self._check_machine(findings)
        findings.attempt(partial(check_storage, self.out, self._storage))
        findings.refuse()
        if hardware is None:
            raise AssertionError("a check that fails is found")
        make_folder(self.out)
        if self.plan.workers == "auto" and self.plan.cluster is None:
            yield from self._choose_workers()
        open_it = partial(
            open_study,
            self.plan,
            self.out,
            base=self.base,
            storage_url=self._storage,
            first=start.first,
            earlier=start.earlier,
            mirror=self._mirror,
            resume_from=self._resume_from,
        )
        opened = open_it()
        if opened.lacks_range_test and confirm is None:
            with opened:
                opened.keep_command(str(Path.cwd()), self.command)
                yield from self._test_rates(opened, stop)
            opened = open_it()
        with opened:
            opened.keep_command(str(Path.cwd()), self.command)
            yield from opened.run(
                hardware=hardware.kind,
                backend=hardware.backend,
                devices=hardware.devices,
                devices_per_chip=hardware.devices_per_chip,
                before_workers=self._download,
                stop=stop,
                retry_failed=self._retry_failed,
                announce=announce,
                confirm=confirm,
                expected=self._expected,
            )

    def _choose_workers(self) -> Iterator[Event]:
        """Choose the workers as the last run did; for a new study, by its forecast."""
        from effv2_tune.search.events import WorkersChosen

        earlier = self._earlier_runs()
        if earlier is not None:
            self.plan = with_workers_of(earlier[0].plan, self.plan)
            return
        from effv2_tune.data import load_dataset
        from effv2_tune.session.forecast import Forecaster

        yield from self._download()
        size = self.plan.largest_resolution
        dataset = load_dataset(self.plan.data, base=self.base, storage_size=size)
        forecaster = Forecaster(self.plan, dataset, base=self.base, out=self.out)
        self.plan = forecaster.plan
        yield WorkersChosen(choice=forecaster.choice)

    def _test_rates(self, opened: OpenStudy, stop: StopRequest) -> Iterator[Event]:
        """Test the learning rates; their bounds are in the plan when the study is opened again."""
        from effv2_tune.data import load_dataset
        from effv2_tune.session.range_test.families import FamilyTests

        # As in a download, nothing is trained that would have to be saved.
        with signals_stop(stop):
            yield from self._download()
            size = self.plan.largest_resolution
            dataset = load_dataset(self.plan.data, base=self.base, storage_size=size)
            tests = FamilyTests(self.plan, dataset, base=self.base)
            yield from opened.test_rates(tests.labels, tests.test)

    def _expected(self, ready: Ready) -> list[Recipe]:
        """Recipes of the buckets that are timed on the target before the first trial."""
        from effv2_tune.forecast.buckets import expected_recipes

        where = ready.environment
        placement = Placement(
            backend=where.backend,
            device_kind=where.device_kind,
            device_count=where.device_count,
            precision=where.precision,
        )
        return expected_recipes(self.plan, ready.data, placement)

    def _warm_start(self) -> WarmStart:
        """What the study takes from earlier ones; nothing once it has begun.

        Raises:
            TuneError: The front of one has no config in the space, or there is no such study.
        """
        if self._begun or self._mirrored is not None:
            return WarmStart()
        return read_warm_start(self._warm_starts, self.plan)

    @property
    def _begun(self) -> bool:
        """Whether it was run before, and no longer needs the studies that it started from."""
        from effv2_tune.search.storage.backup import DATABASE

        return self._storage is None and (self.out / DATABASE).is_file()

    def startup(self) -> Startup:
        """What :meth:`run` would start with, after all checks; writes and downloads nothing.

        Raises:
            TuneError: It would be refused; with everything that is wrong.
        """
        from effv2_tune.session.downloads import reach

        findings = Findings(self._loaded)
        hardware, counts, start = self._check_machine(findings)
        earlier = findings.attempt(self._earlier_runs)
        missing = findings.attempt(self._missing_files) or []
        size = findings.attempt(partial(reach, missing)) or 0
        findings.refuse()
        if hardware is None:
            raise AssertionError("a check that fails is found")
        return Startup(
            self.plan, hardware, counts, earlier, start.first, len(missing), size, self._mirrored
        )

    def _check_machine(
        self, findings: Findings
    ) -> tuple[Hardware | None, ImageCounts | None, WarmStart]:
        """The device, the numbers of images, and what earlier studies give."""
        from effv2_tune.data import count_images

        plan = self.plan
        counts = findings.attempt(partial(count_images, plan.data, base=self.base))
        hardware = findings.attempt(partial(_choose_device, plan))
        if counts is not None:
            devices = 1
            if hardware is not None and plan.workers != "auto":
                devices = hardware.devices_of(plan.worker_count, plan.devices_per_worker)
            findings.attempt(partial(check_batches, plan, counts, devices))
        return hardware, counts, findings.attempt(self._warm_start) or WarmStart()

    def _earlier_runs(self) -> tuple[StudyRecord, list[str]] | None:
        check_storage(self.out, self._storage)
        return earlier_runs(self.plan, self._location)

    def _missing_files(self) -> list[PublishedFile]:
        """Images and released weights that trials need, and that are not on this machine."""
        from effv2_tune.session.downloads import missing_files

        names = ("variant", "backbone", "weights")
        settings = possible_settings(self.plan, names)
        return missing_files(self.plan.data, settings, base=self.base)

    def _download(self) -> Iterator[Downloading]:
        from effv2_tune.session.downloads import download

        yield from download(self._missing_files())

    @cached_property
    def _mirrored(self) -> MirroredStudy | None:
        """The study that a mirror has, if its folder has none."""
        return check_mirrors(
            self._mirror,
            self._resume_from,
            out=self.out,
            storage=self._storage,
            name=self.plan.name,
        )

    def dry_run_lines(self) -> list[str]:
        """A dry run: what :meth:`run` would do, line by line, after all checks; writes nothing.

        Raises:
            TuneError: It would be refused.
        """
        plan, startup = self.plan, self.startup()
        pruning = "with pruning" if plan.search.halving.enabled else "without pruning"
        pruning = "with pauses at rungs" if plan.pauses else pruning
        names = [one.name for one in plan.search_space.dimensions()]
        first, confirm = startup.first, plan.search.confirm
        tests_rates = plan.search.range_test
        return [
            f"study     {plan.name}",
            f"folder    {self.out}",
            *([f"storage   {as_arguments(self._storage, plan.name)}"] if self._storage else []),
            *([f"mirror    {shown(self._mirror)}"] if self._mirror else []),
            *startup.so_far_lines(retry_failed=self._retry_failed),
            f"data      {startup.images}",
            *(f"hint      {hint}" for hint in startup.hints),
            *startup.download_lines(),
            f"searches  {', '.join(names)}",
            f"engine    {plan.engine} {pruning}",
            *(["rates     bounds by range tests, before the first trial"] if tests_rates else []),
            f"budget    {budget_text(plan) or 'until the front stops growing'}",
            *([f"confirm   {confirm_text(confirm)}"] if confirm is not None else []),
            f"device    {startup.hardware.why}",
            *([] if plan.clock == "measured" else [f"clock     as in {plan.clock.recorded}"]),
            f"workers   {workers_text(plan)}",
            *([] if plan.target is None else [f"target    {target_text(plan.target)}"]),
            *(
                [f"first     {pluralized(len(first), 'config')} of {self._warm_start_names}"]
                if first
                else []
            ),
        ]

    @property
    def _warm_start_names(self) -> str:
        return ", ".join(shown(str(one)) for one in self._warm_starts)

    def run(self, *, stop: StopRequest | None = None) -> Study:
        """Run the study, or resume it, until its budget is spent; progress goes to stderr.

        Args:
            stop: As of :meth:`events`.
        """
        from effv2_tune.session.progress import show_progress

        events = partial(self.events, stop=stop)
        show_progress(events, self.plan, follower=self._follower())
        return self

    def confirm(self, *, stop: StopRequest | None = None) -> Study:
        """Confirm the picks with replicates, or resume that; progress goes to stderr.

        Complete trials are trained again with other seeds, always the one that would change the
        choice of a recipe most, until the picks are clear or the budget is spent.

        Args:
            stop: As of :meth:`events`.

        Raises:
            TuneError: No trial is complete.
        """
        from effv2_tune.session.progress import show_progress

        if not self.results().has_front:
            raise TuneError(
                f"Study {self.plan.name} has no complete trial yet: there is nothing to confirm.",
                hint="Rerun the 'effv2-tune run' command of the study until a trial is complete.",
            )
        events = partial(self.events, stop=stop, confirm=self._confirmation)
        show_progress(events, self.plan, follower=self._follower())
        return self

    def _follower(self) -> StudyFollower:
        """What follows a run of the study: it knows the runs before, and the figures of plan."""
        from effv2_tune.session.live.following import follower_of

        try:
            earlier = self._earlier_runs()
        except TuneError:
            earlier = None  # the run reports it, with all other errors
        return follower_of(self.plan, None if earlier is None else earlier[0], out=self.out)

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

    def export(self, pick: str = "knee", *, robust: bool = False) -> TrainingRun:
        """The final training of a trial of the Pareto front.

        Args:
            pick: ``knee``, ``most-accurate``, ``fastest`` or ``trial=N``.
            robust: Compare trials by the worse end of the 90 % interval of their quality.
        """
        record = self.results().record
        return to_training_run(record, pick_trial(record, pick, robust=robust))

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


def _choose_device(plan: StudyPlan) -> Hardware:
    """The device and backend of the workers, on this machine or on the study's cluster."""
    if plan.cluster is None:
        return choose_device(plan)
    from effv2_tune.workers.ray import choose_cluster_device

    return choose_cluster_device(plan, plan.cluster)
