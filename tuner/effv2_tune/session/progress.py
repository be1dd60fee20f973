"""Shows progress on stderr: bars on a terminal, one line for each event otherwise."""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from effv2_tune.errors import printable
from effv2_tune.plurals import pluralized
from effv2_tune.report.analysis import STATE_WORDS
from effv2_tune.report.console import Console
from effv2_tune.report.quantities import (
    human_bytes,
    human_seconds,
    label_of,
    left_text,
    short,
)
from effv2_tune.search import events as happened
from effv2_tune.session.live.following import StudyFollower
from effv2_tune.study.bucket import differing_parts, parts_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from rich.progress import Task, TaskID

    from effv2_tune.forecast.study import BucketForecast
    from effv2_tune.search.events import Event
    from effv2_tune.study import StudyPlan
    from effv2_tune.study.bucket import BucketKey
    from effv2_tune.study.trial import Epoch, Trial
    from effv2_tune.workers.compilations import CompiledProgram

_MEGA = 1_000_000
#: Characters of a terminal in which bars, counts, times and notes fit side by side.
_WIDE = 90
_BAR, _NARROW_BAR = 20, 6
#: Without bars, the time left is printed after a trial, but not more often than this.
_TIME_LEFT_EVERY = 60.0  # seconds


class ProgressConsole(Console):
    """A console that prints no more once its reader is gone, where Rich ends the process."""

    def on_broken_pipe(self) -> None:
        """Be quiet."""
        self.quiet = True


def show_progress(
    events: Callable[[Callable[[Event], None]], Generator[Event]],
    plan: StudyPlan,
    console: Console | None = None,
    *,
    follower: StudyFollower | None = None,
) -> None:
    """Show the events of a study as they happen, to the end.

    Args:
        events: :meth:`effv2_tune.session.study.Study.events`.
        plan: Of that study.
        console: The output; stderr if left out.
        follower: Knows what each worker does and the time left; one without predictions if left
            out.
    """
    console = ProgressConsole(stderr=True, highlight=False) if console is None else console
    with _Bars(console) as bars:
        progress = StudyProgress(plan, console, bars, follower)
        with closing(events(progress.show)) as happening:
            for event in happening:
                progress.show(event)


def show_downloads(events: Iterable[happened.Downloading]) -> None:
    """Show downloads on stderr as they happen, to the end.

    Args:
        events: From :func:`effv2_tune.session.downloads.download`.
    """
    console = Console(stderr=True, highlight=False)
    with _Bars(console) as bars:
        downloads = _Downloads(bars)
        for event in events:
            for line in downloads.lines(event):
                console.print(line, markup=False)
            downloads.move_bar(event)


class StudyProgress:
    """Turns events into lines and bars.

    Args:
        plan: Of the study.
        console: Where lines go.
        bars: Where bars go; they show only on a terminal.
        follower: As of :func:`show_progress`.
    """

    def __init__(
        self,
        plan: StudyPlan,
        console: Console,
        bars: _Bars,
        follower: StudyFollower | None = None,
    ) -> None:
        self._plan = plan
        self._console = console
        self._bars = bars
        self._ended = 0
        self._limit = plan.trials
        self._downloads = _Downloads(bars)
        self._buckets: dict[str, list[BucketKey]] = {}
        self._follower = StudyFollower(plan) if follower is None else follower
        self._left_printed = time.monotonic()

    def show(self, event: Event) -> None:
        """Print the lines of an event, and move the bars."""
        now = time.monotonic()
        self._follower.follow(event, now)
        with _unless_closed(self._console):
            for line in (*self._lines(event), *self._time_left_lines(event, now)):
                self._console.print(printable(line), markup=False)
            self._move_bars(event)
            self._write_notes(now)

    def _time_left_lines(self, event: Event, now: float) -> Iterator[str]:
        """The time left, where no bar shows it: after a trial, once in a while."""
        is_due = now - self._left_printed >= _TIME_LEFT_EVERY
        left = self._follower.seconds_left(now)
        if self._bars.shown or not is_due or left is None:
            return
        if isinstance(event, happened.TrialEnded):
            self._left_printed = now
            yield left_text(left)

    def _write_notes(self, now: float) -> None:
        """Write beside each bar what is done now, and beside that of the study what is left."""
        if not self._bars.shown:
            return
        left = self._follower.seconds_left(now)
        self._bars.note("study", self._follower.best_text(), left=left)
        for work in self._follower.work.values():
            name = f"worker {work.worker}" if work.trial is None else f"trial {work.trial}"
            if work.trial is None and name not in self._bars:
                self._bars.start(name, name, None, done=0)
            self._bars.note(name, work.text)

    def _lines(self, event: Event) -> Iterator[str]:
        if isinstance(event, happened.StudyStarted | happened.ConfirmStarted):
            yield self._start_line(event)
        elif isinstance(event, happened.PlanChanged):
            yield from (f"changed: {line}" for line in event.lines)
            if event.inside is not None:
                yield (
                    f"{event.inside} trials are in the edited search space and count; "
                    f"{event.outside} are outside"
                )
        elif isinstance(event, happened.RatesTestStarted):
            yield f"range test {event.number}/{event.tests} of learning rates: {event.label}"
        elif isinstance(event, happened.RatesTested):
            yield f"learning rates: {event.sentence}"
        elif isinstance(event, happened.BackupFailed | happened.VersionDamaged):
            yield _database_line(event)
        elif isinstance(event, happened.StudyEnded):
            yield event.reason
        else:
            yield from self._trial_lines(event)
            yield from _worker_lines(event)
            yield from _mirror_lines(event)
            yield from _storage_lines(event)

    def _start_line(self, event: happened.StudyStarted | happened.ConfirmStarted) -> str:
        self._ended = event.known
        if isinstance(event, happened.StudyStarted):
            return f"{event.study}: {_start(event)}"
        self._limit = event.limit
        return f"{event.study}: {_confirmation(event)}"

    def _trial_lines(self, event: Event) -> Iterator[str]:
        if isinstance(event, happened.TrialStarted) and event.starts_over:
            yield f"trial {event.trial}: starts over: {event.starts_over}"
        elif isinstance(event, happened.TrialStarted) and event.attempt > 1:
            where = f"after epoch {event.resumed_after}" if event.resumed_after else "in epoch 1"
            yield f"trial {event.trial}: resumes {where}"
        elif isinstance(event, happened.TrialStarted):
            yield from _first_lines(event, is_on_bar=self._bars.shown)
        elif isinstance(event, happened.ReplicateChosen):
            yield f"trial {event.replicate_of} again, as trial {event.trial}: {event.reason}"
        elif isinstance(event, happened.BucketCompiled | happened.BucketTimeRestated):
            yield from self._bucket_lines(event)
        elif isinstance(event, happened.TrialEnded):
            self._ended += 1
            yield self._summary(event.trial)
        elif isinstance(event, happened.CheckpointsSetAside):
            yield (
                f"trial {event.trial}: starts over; the checkpoints found in its folder are kept "
                f"as {event.kept_as}"
            )
        elif isinstance(event, happened.Downloading):
            yield from self._downloads.lines(event)
        else:
            yield from self._owner_lines(event)
            yield from _interruption_lines(event)
            yield from _target_lines(event)

    def _owner_lines(self, event: Event) -> Iterator[str]:
        if isinstance(event, happened.LeaseLost):
            yield f"trial {event.trial}: taken over by another supervisor"
        elif isinstance(event, happened.TrialPaused):
            quality = f"{label_of(self._plan.quality)} {event.quality:.4f}"
            yield f"trial {event.trial}: paused after epoch {event.pause.epoch}, {quality}"

    def _bucket_lines(
        self, event: happened.BucketCompiled | happened.BucketTimeRestated
    ) -> Iterator[str]:
        if isinstance(event, happened.BucketTimeRestated):
            yield _restated_line(event)
        elif event.fresh:
            yield from event.notes
            yield f"compiled {self._label(event)}: {1000 * event.step_seconds:.0f} ms per step"

    def _label(self, event: happened.BucketCompiled) -> str:
        """The bucket's short name, with what differs from others of the same name."""
        if event.bucket is None:
            return event.label
        known = self._buckets.setdefault(event.label, [])
        known.append(event.bucket)
        differing = differing_parts(known)
        parts = f"{', '.join(differing)}: {parts_text(event.bucket, differing)}"
        return f"{event.label} ({parts})" if differing else event.label

    def _summary(self, trial: Trial) -> str:
        limit = self._limit
        # Duplicates and retries are beyond the limit.
        total = "" if limit is None or self._ended > limit else f"/{limit}"
        words = [f"[{self._ended}{total}] trial {trial.number}", STATE_WORDS[trial.state]]
        quality = label_of(self._plan.quality)
        if trial.measurement is not None:
            seconds = human_seconds(trial.measurement.train_seconds)
            words.append(f"{quality} {trial.measurement.quality:.4f} in {seconds} of training")
        elif trial.rungs:
            rung = trial.rungs[-1]
            words.append(f"{quality} {rung.quality:.4f} after epoch {rung.epoch}")
        words += [_config(trial.config)] if trial.replicate_of is None else []
        is_plain = trial.state in ("complete", "pruned") and trial.pause is None
        if trial.reason and not is_plain:
            words.append(trial.reason)
        words += trial.notes
        return ": ".join([words[0], ", ".join(words[1:])])

    def _move_bars(self, event: Event) -> None:
        if isinstance(event, happened.StudyStarted):
            self._bars.start("study", "trials", self._plan.trials, done=event.known)
        elif isinstance(event, happened.ConfirmStarted):
            self._bars.start("study", "replicates", event.limit, done=event.known)
        elif isinstance(event, happened.Downloading):
            self._downloads.move_bar(event)
        elif isinstance(event, happened.WorkerReady):
            self._bars.end(f"worker {event.worker}")
        elif isinstance(event, happened.StudyEnded):
            self._bars.end_workers()
        elif isinstance(event, happened.TrialStarted):
            label, epochs = f"trial {event.trial}", event.epochs * (self._plan.data.folds or 1)
            self._bars.start(label, f"{label} epochs", epochs, done=event.resumed_after)
        elif isinstance(event, happened.EpochTrained):
            done = event.fold * event.epochs + event.epoch.epoch
            self._bars.move(f"trial {event.trial}", done)
        elif isinstance(event, happened.TrialEnded):
            self._bars.end(f"trial {event.trial.number}")
            self._bars.move("study", self._ended)
        elif isinstance(event, happened.TrialPaused | happened.WorkerDied):
            self._bars.end(f"trial {event.trial}")


class _Downloads:
    """Turns the progress of downloads into lines and bars."""

    def __init__(self, bars: _Bars) -> None:
        self._bars = bars
        self._begun: set[str] = set()

    def lines(self, event: happened.Downloading) -> Iterator[str]:
        """One line for each file."""
        if event.file not in self._begun:
            self._begun.add(event.file)
            size = "" if event.total is None else f", {human_bytes(event.total)}"
            yield f"downloading {event.file}{size}"

    def move_bar(self, event: happened.Downloading) -> None:
        """Move the bar of a file, in whole MB; it ends with the download."""
        total = None if event.total is None else max(event.total // _MEGA, 1)
        if event.received == event.total:
            self._bars.end(event.file)
        elif event.file not in self._bars:
            self._bars.start(event.file, f"{event.file} MB", total, done=0)
        self._bars.move(event.file, event.received // _MEGA)


class TrainingProgress:
    """Shows the epochs of one training run.

    Args:
        epochs: Of the whole run.
        quality: The score to show.
        console: The output; stderr if left out.
    """

    def __init__(self, epochs: int, quality: str, console: Console | None = None) -> None:
        self._epochs = epochs
        self._quality = quality
        self._console = (
            ProgressConsole(stderr=True, highlight=False) if console is None else console
        )
        self._bars = _Bars(self._console)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bars.__enter__()
        self._bars.start("run", "epochs", self._epochs, done=0)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the bar as it is."""
        self._bars.__exit__()

    def show(self, event: Any) -> None:
        """Print a message of the trainer: its notes, and its epoch if it has one."""
        with _unless_closed(self._console):
            self._show(event)

    def note(self, text: str) -> None:
        """Print a remark."""
        with _unless_closed(self._console):
            self._console.print(printable(text), markup=False)

    def _show(self, event: Any) -> None:
        for note in getattr(event, "notes", ()):
            self.note(note)
        epoch: Epoch | None = getattr(event, "epoch", None)
        if epoch is None or isinstance(epoch, int):
            return
        scores = f"training accuracy {epoch.train_accuracy:.4f}"
        if epoch.validation is not None:
            quality = epoch.validation.value_of(self._quality)
            scores = (
                f"validation loss {epoch.validation.loss:.4f}, {label_of(self._quality)} "
                f"{quality:.4f}"
            )
        self._console.print(
            f"epoch {epoch.epoch}/{self._epochs}: loss {epoch.train_loss:.4f}, {scores}, "
            f"{epoch.seconds:.1f} s",
            markup=False,
        )
        self._bars.move("run", epoch.epoch)

    def show_mirror(self, events: Iterable[Event]) -> None:
        """Print the events of the mirror."""
        for event in events:
            for line in _mirror_lines(event):
                self.note(line)


class CompilationProgress:
    """Shows the buckets of a study as they are compiled.

    Args:
        buckets: How many.
        console: The output; stderr if left out.
    """

    def __init__(self, buckets: int, console: Console | None = None) -> None:
        self._buckets = buckets
        self._console = (
            ProgressConsole(stderr=True, highlight=False) if console is None else console
        )
        self._bars = _Bars(self._console)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bars.__enter__()
        self._bars.start("buckets", "buckets", self._buckets, done=0)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the bar."""
        self._bars.__exit__()

    def start(self, bucket: BucketForecast, index: int, count: int) -> None:
        """Print that a bucket is compiled now, and move the bar."""
        self._print(f"compiling {index}/{count}: {bucket.share.key.label}")
        self._bars.move("buckets", index - 1)

    def show(self, program: CompiledProgram) -> None:
        """Print what became of a program."""
        how = "found in the cache" if program.reused else "compiled"
        seconds = f"{program.compile_cpu_seconds:.0f} s of processor time"
        memory = human_bytes(program.memory_bytes)
        text = f"{memory} of memory" if program.fits else "does not fit"
        self._print(f"  {program.kind} ({program.split}): {how}, {seconds}, {text}")

    def _print(self, text: str) -> None:
        with _unless_closed(self._console):
            self._console.print(printable(text), markup=False)


class _Bars:
    """Progress bars by name; disabled where the console is not a terminal."""

    def __init__(self, console: Console) -> None:
        self.shown = console.is_terminal
        is_wide = console.width >= _WIDE
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR if is_wide else _NARROW_BAR),
            _CountColumn(),
            *([TimeElapsedColumn()] if is_wide else []),
            _NoteColumn(),
            console=console,
            disable=not self.shown,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def start(self, name: str, label: str, total: int | None, *, done: int) -> None:
        self.end(name)
        self._tasks[name] = self._progress.add_task(printable(label), total=total, completed=done)

    def move(self, name: str, done: int) -> None:
        if name in self._tasks:
            self._progress.update(self._tasks[name], completed=done)

    def note(self, name: str, text: str, *, left: float | None = None) -> None:
        """Write a text beside a bar, and the seconds left, which are counted down."""
        if name in self._tasks:
            ends_at = None if left is None else time.monotonic() + left
            self._progress.update(self._tasks[name], note=printable(text), ends_at=ends_at)

    def end(self, name: str) -> None:
        if name in self._tasks:
            self._progress.remove_task(self._tasks.pop(name))

    def end_workers(self) -> None:
        """Remove the bars of workers that are starting."""
        for name in [name for name in self._tasks if name.startswith("worker ")]:
            self.end(name)


class _CountColumn(MofNCompleteColumn):
    """Shows how much of a bar is done, where that is counted."""

    def render(self, task: Task) -> Text:
        if task.description.startswith("worker "):
            return Text()
        return super().render(task)


class _NoteColumn(ProgressColumn):
    """Shows the note of a bar, and the time left until its end."""

    def render(self, task: Task) -> Text:
        ends_at = task.fields.get("ends_at")
        left = "" if ends_at is None else left_text(max(ends_at - time.monotonic(), 0.0))
        parts = [task.fields.get("note", ""), left]
        return Text(", ".join(part for part in parts if part), overflow="fold")


def _database_line(event: happened.BackupFailed | happened.VersionDamaged) -> str:
    if isinstance(event, happened.VersionDamaged):
        return f"note: {event.note}"
    return f"the backup of the database was not written: {event.reason}; the study continues"


def _target_lines(event: Event) -> Iterator[str]:
    if isinstance(event, happened.WorkersChosen):
        yield event.choice
    elif isinstance(event, happened.BucketTimed):
        yield f"timed {event.label} on the target: {1000 * event.step_seconds:.0f} ms per step"
    elif isinstance(event, happened.TrialDeferred):
        why = "does not fit one worker" if event.is_large else "is not timed yet"
        yield f"trial {event.trial}: {event.label} {why}; it waits for the target"
    elif isinstance(event, happened.PlacementChanged) and event.on_target:
        buckets, trials = pluralized(event.buckets, "bucket"), pluralized(event.trials, "trial")
        yield f"all workers give way to one on the target: {buckets} to time, {trials} waiting"
    elif isinstance(event, happened.PlacementChanged):
        yield "the worker on the target gives way to the others"


def _restated_line(event: happened.BucketTimeRestated) -> str:
    before, now = (f"{1000 * s:.3g} ms" for s in (event.old_seconds, event.new_seconds))
    line = f"measured {event.label} again: {now} per step, not {before}"
    if event.by_trial is not None:
        line = f"{event.label}: {now} per step by those of trial {event.by_trial}, not {before}"
    if event.trials:
        numbers = ", ".join(map(str, event.trials))
        line += (
            f"; restated the training time of {pluralized(len(event.trials), 'trial')} ({numbers})"
        )
    return line + ("; the Pareto front has changed" if event.front_changed else "")


@contextmanager
def _unless_closed(console: Console) -> Iterator[None]:
    """Print no more once the terminal is gone: that ends no training."""
    try:
        yield
    except OSError:
        console.quiet = True


def _worker_lines(event: Event) -> Iterator[str]:
    if isinstance(event, happened.WorkerReady):
        yield f"worker {event.worker}: {_device(event)}"
        if event.worker == 0:
            yield from (f"  {line}" for line in event.summary)
    elif isinstance(event, happened.WorkerDied):
        yield f"worker {event.worker} ended: {event.cause}"
        yield from (f"  | {line}" for line in event.log_tail.splitlines()[-5:])
    elif isinstance(event, happened.WorkerWaits):
        yield f"worker {event.worker}: {event.note}"
    elif isinstance(event, happened.WorkerReplaced):
        size = f"{event.memory_bytes / 1e9:.1f} GB"
        yield f"worker {event.worker} uses {size} of memory and is replaced"


def _mirror_lines(event: Event) -> Iterator[str]:
    if isinstance(event, happened.StudyRestored):
        yield f"restored from {event.source}, which {event.host} wrote at {event.time}"
        yield from (f"  {line}; an older copy is used, if any" for line in event.damaged)
    elif isinstance(event, happened.MirrorFailed):
        yield f"the mirror was not written: {event.reason}; the study continues"
    elif isinstance(event, happened.MirrorRecovered):
        yield f"the mirror is complete again, after {human_seconds(event.seconds)}"
    elif isinstance(event, happened.MirrorStopped):
        yield f"the mirror is written no more: {event.reason}"


def _storage_lines(event: Event) -> Iterator[str]:
    if isinstance(event, happened.DatabaseUnavailable):
        yield (
            f"the database {event.database} is unavailable: {event.reason}; training continues, "
            "and the database is retried"
        )
    elif isinstance(event, happened.DatabaseAvailable):
        seconds = human_seconds(event.seconds)
        yield f"the database {event.database} is available again, after {seconds}"
    elif isinstance(event, happened.WaitingForOthers):
        numbers = ", ".join(map(str, event.trials))
        yield (
            f"no trial is left: waiting for those of other supervisors ({numbers}), to resume "
            "them if these exit"
        )


def _start(event: happened.StudyStarted) -> str:
    retries = pluralized(event.retries, "failed trial")
    return _resumption(event) + (f"; retrying {retries}" if event.retries else "")


def _confirmation(event: happened.ConfirmStarted) -> str:
    text = f"confirming the picks of {pluralized(event.candidates, 'complete trial')}"
    done = [f"after {pluralized(event.known, 'replicate')}"] if event.known else []
    done += [f"with {event.unfinished} unfinished"] if event.unfinished else []
    return f"{text}, resuming {' '.join(done)}" if done else text


def _resumption(event: happened.StudyStarted) -> str:
    left = [pluralized(event.unfinished, "unfinished trial")] if event.unfinished else []
    left += [pluralized(event.paused, "paused trial")] if event.paused else []
    if not event.known:
        return f"resuming {' and '.join(left)}" if left else "starts"
    return f"resuming after {pluralized(event.known, 'trial')}" + (
        f", with {' and '.join(left)}" if left else ""
    )


def _interruption_lines(event: Event) -> Iterator[str]:
    if isinstance(event, happened.StudyInterrupted):
        yield (
            f"{event.reason}: running trials have {event.grace_seconds:.0f} s to write a checkpoint"
        )
    elif isinstance(event, happened.TrialInterrupted):
        yield f"trial {event.trial}: {saved_text(event.step)}"


def saved_text(step: int | None) -> str:
    """What a trial that was asked to stop has saved."""
    if step is None:
        return "no checkpoint in time; it resumes from the one before"
    return f"checkpoint of step {step} written" if step else "stopped before its first step"


def _first_lines(event: happened.TrialStarted, *, is_on_bar: bool) -> Iterator[str]:
    """The beginning of a trial; that of a replicate was reported when it was chosen."""
    if event.retry_of is not None:
        yield f"trial {event.trial}: retries trial {event.retry_of}: {_config(event.config)}"
    elif event.replicate_of is None and not is_on_bar:
        yield f"trial {event.trial}: {_config(event.config)}"


def _device(event: happened.WorkerReady) -> str:
    where = event.environment
    return f"{where.device_count} x {where.device_kind}, {where.backend}, {where.precision}"


def _config(config: dict[str, Any]) -> str:
    return ", ".join(f"{label_of(name)} {short(value)}" for name, value in config.items())
