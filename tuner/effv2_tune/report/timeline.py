"""Describes what each worker did over the time of a study, and how well workers were used."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from effv2_tune.study.base import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from effv2_tune.study.trial import Trial

#: ``compilation`` is all that a trial needs before its first step: building, compiling, measuring
#: the step time, extracting features. ``evaluation`` includes checkpoints. ``starting``: loading
#: backend and images.
Work = Literal["training", "evaluation", "compilation", "starting", "idle"]
KINDS: tuple[Work, ...] = get_args(Work)


class Span(NamedTuple):
    """What a worker did for a while.

    Attributes:
        worker: Its name.
        work: The kind of work.
        start: In seconds since 1970.
        end: Likewise.
        trial: That it worked on; None for none.
    """

    worker: str
    work: Work
    start: float
    end: float
    trial: int | None = None

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


class Timeline(Value):
    """The workers of a study over its runs.

    Attributes:
        spans: In any order; those of a worker do not overlap.
        runs: Beginning and end of each run of the study, in seconds since 1970, in order.
        is_from_log: Whether it is that of the log of events; else the records of trials have its
            parts, but not their order within a trial, nor what workers did between trials.
    """

    spans: tuple[Span, ...] = ()
    runs: tuple[tuple[float, float], ...] = ()
    is_from_log: bool = True

    @property
    def workers(self) -> list[str]:
        """The names of the workers, in order."""
        return sorted({span.worker for span in self.spans}, key=_natural)

    def at(self, moment: float) -> float:
        """The seconds of all runs up to a moment; what is between two runs counts nothing.

        Args:
            moment: In seconds since 1970.
        """
        return sum(min(max(moment - start, 0.0), end - start) for start, end in self.runs)

    @property
    def seconds(self) -> float:
        """Of all runs together."""
        return sum(end - start for start, end in self.runs)

    def used(self, worker: str | None = None) -> dict[Work, float]:
        """Seconds of each kind of work.

        Args:
            worker: Its name; all of them if left out.
        """
        found: dict[Work, float] = dict.fromkeys(KINDS, 0.0)
        for span in self.spans:
            if worker is None or span.worker == worker:
                found[span.work] += span.seconds
        return found


def utilisation(used: dict[Work, float]) -> float:
    """The share of the workers' time in which they trained, evaluated or compiled; 0 without any.

    Args:
        used: Seconds of each kind of work.
    """
    whole = sum(used.values())
    return (whole - used["idle"] - used["starting"]) / whole if whole > 0 else 0.0


def recorded_timeline(trials: Sequence[Trial]) -> Timeline:
    """The timeline by the records of trials, for a study without a complete log.

    A trial counts up to its end, for as long as its work took. Trials of one machine that overlap
    were trained by different workers, which records do not name.

    Args:
        trials: In any state; those that have not ended are left out.
    """
    blocks = sorted(block for block in map(_block, trials) if block is not None)
    if not blocks:
        return Timeline(is_from_log=False)
    free: dict[str, list[tuple[float, int]]] = {}
    spans: list[Span] = []
    for start, end, number, host, parts in blocks:
        lanes = free.setdefault(host, [])
        # The worker that has been free for longest takes the trial, if there is one.
        lane = heapq.heappop(lanes)[1] if lanes and lanes[0][0] <= start else len(lanes)
        heapq.heappush(lanes, (end, lane))
        spans += _parts(f"{host} {lane}".strip(), start, number, parts)
    run = (blocks[0][0], max(end for _, end, *_ in blocks))
    return Timeline(spans=(*spans, *_between(spans)), runs=(run,), is_from_log=False)


_Block = tuple[float, float, int, str, tuple[tuple[Work, float], ...]]


def _block(trial: Trial) -> _Block | None:
    """Start, end, number, host and parts of a trial that has ended; None of any other."""
    if trial.ended is None or trial.times.wall <= 0:
        return None
    times, end = trial.times, trial.ended.timestamp()
    parts: tuple[tuple[Work, float], ...] = (
        ("compilation", times.build + times.compile + times.measure + times.extract),
        ("training", times.train),
        ("evaluation", times.evaluate + times.checkpoint),
    )
    busy = sum(seconds for _, seconds in parts)
    if busy <= 0:
        return None
    # Parts that overlap may exceed the wall time.
    scale = min(1.0, times.wall / busy)
    host = "" if trial.environment is None else trial.environment.host
    scaled = tuple((work, scale * seconds) for work, seconds in parts)
    return end - scale * busy, end, trial.number, host, scaled


def _parts(
    worker: str, start: float, number: int, parts: Iterable[tuple[Work, float]]
) -> list[Span]:
    """The parts of a trial, one after the other."""
    found = []
    for work, seconds in parts:
        if seconds > 0:
            found.append(Span(worker, work, start, start + seconds, number))
        start += seconds
    return found


def _between(spans: Sequence[Span]) -> list[Span]:
    """The time between two trials of a worker."""
    by_worker: dict[str, list[Span]] = {}
    for span in spans:
        by_worker.setdefault(span.worker, []).append(span)
    return [
        Span(worker, "idle", before.end, after.start)
        for worker, its in by_worker.items()
        for before, after in pairwise(sorted(its, key=lambda span: span.start))
        if after.start > before.end
    ]


def _natural(name: str) -> tuple[str, int]:
    """Orders ``worker 10`` after ``worker 9``."""
    head, _, tail = name.rpartition(" ")
    return (head, int(tail)) if tail.isdigit() else (name, 0)
