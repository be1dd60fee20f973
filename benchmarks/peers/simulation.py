"""Simulates published optimizers on the clock of the other strategies.

A worker trains one config at a time. Training, the compilation of a config whose bucket is new,
and the checkpoint of a config that the worker has not just trained take the seconds that they take
in `effv2_tune.search.simulation`; deciding takes none. What a study does for every strategy is done
here, too: a config that has been trained before is answered from the record. What has not ended
when the budget is spent does not count.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from search_quality import BUDGET_TRAININGS, SHARES, SPACE, score

from effv2_tune.pareto import project_seconds
from effv2_tune.search.simulation import NO_OVERHEAD, Curves, Overhead
from peers import make_peer
from peers.base import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search_quality import Curves as CurvesOfTasks

    from effv2_tune.study.space import Config, Space
    from peers.base import Job, Peer

#: Jobs in a row that are answered from the record before a worker waits for other ones to end.
MAX_DUPLICATES = 100


@dataclass(eq=False)
class Training:
    """A config in a simulation.

    Attributes:
        bucket: What is compiled once.
        points: (epoch, quality, cumulative seconds) of each epoch.
        done: Epochs so far.
        is_running: Whether a worker trains it.
        waiting: Other jobs of the same config, which wait until it does not.
    """

    bucket: str
    points: list[tuple[int, float, float]]
    done: int = 0
    is_running: bool = False
    waiting: list[Job] = field(default_factory=list)

    def epoch(self, share: float) -> int:
        """The epoch at a share of all, at least the first one."""
        return max(round(share * len(self.points)), 1)

    def seconds(self, epoch: int) -> float:
        """Seconds up to an epoch."""
        return self.points[epoch - 1][2] if epoch else 0.0

    def outcome(self, epoch: int) -> Outcome:
        """What a peer is given at an epoch."""
        seconds = project_seconds(self.seconds(epoch), epoch=epoch, epochs=len(self.points))
        return Outcome(self.points[epoch - 1][1], seconds)

    @property
    def is_complete(self) -> bool:
        """Whether all of its epochs are trained."""
        return self.done == len(self.points)


class Complete(NamedTuple):
    """A config that was trained for all of its epochs.

    Attributes:
        stop: When it ended, in simulated seconds.
        quality: At the end.
        seconds: Of the training.
    """

    stop: float
    quality: float
    seconds: float


class Simulation:
    """Workers that train what a peer asks for.

    Args:
        peer: The optimizer.
        curves: The learning curves of configs.
        workers: How many train at once.
        overhead: What they take beyond training.
    """

    def __init__(
        self, peer: Peer, curves: Curves, workers: int = 1, overhead: Overhead = NO_OVERHEAD
    ) -> None:
        self._peer = peer
        self._curves = curves
        self._workers = workers
        self._overhead = overhead
        self._trainings: dict[str, Training] = {}
        self._compiled: set[str] = set()
        #: What each worker trained last.
        self._last: dict[int, Training] = {}
        #: Jobs that waited for another one of the same config.
        self._postponed: deque[Job] = deque()

    @property
    def trainings(self) -> list[Training]:
        """All configs, in the order asked for."""
        return list(self._trainings.values())

    def run(self, wall_seconds: float) -> list[Complete]:
        """The configs that were trained completely within a time, in order."""
        now, number = 0.0, 0
        idle = set(range(self._workers))
        queue: list[tuple[float, int, int, Job]] = []
        complete: list[Complete] = []
        while True:
            for worker in sorted(idle):
                job = self._next_job()
                if job is None:
                    break
                number += 1
                stop = now + self._begin(worker, job)
                heapq.heappush(queue, (stop, number, worker, job))
                idle.remove(worker)
            if not queue or queue[0][0] > wall_seconds:
                return complete
            now, _, worker, job = heapq.heappop(queue)
            training = self._end(job)
            idle.add(worker)
            if training.is_complete:
                complete.append(Complete(now, *training.points[-1][1:]))

    def _next_job(self) -> Job | None:
        """The next job that has to be trained; None where there is none for now."""
        for _ in range(MAX_DUPLICATES):
            job = self._postponed.popleft() if self._postponed else self._peer.ask()
            if job is None:
                return None
            training = self._training(job.config)
            epoch = training.epoch(job.share)
            if training.is_running:
                training.waiting.append(job)
            elif training.done >= epoch:
                self._peer.tell(job, training.outcome(epoch))
            else:
                return job
        return None

    def _training(self, config: Config) -> Training:
        key = repr(sorted(config.items()))
        if key not in self._trainings:
            points = self._curves.of(config)
            self._trainings[key] = Training(self._overhead.bucket(config), points)
        return self._trainings[key]

    def _begin(self, worker: int, job: Job) -> float:
        """Begin a job, and return the seconds that it takes."""
        training = self._training(job.config)
        training.is_running = True
        seconds = training.seconds(training.epoch(job.share)) - training.seconds(training.done)
        if training.bucket not in self._compiled:
            seconds += self._overhead.compile_seconds
            self._compiled.add(training.bucket)
        if training.done and self._last.get(worker) is not training:
            seconds += self._overhead.restore_seconds
        self._last[worker] = training
        return seconds

    def _end(self, job: Job) -> Training:
        """End a job, and give its outcome to the peer."""
        training = self._training(job.config)
        training.is_running = False
        training.done = training.epoch(job.share)
        self._peer.tell(job, training.outcome(training.done))
        self._postponed.extend(training.waiting)
        training.waiting.clear()
        return training


def run_peer(
    curves: CurvesOfTasks,
    task: str,
    reference: Mapping[str, float],
    *,
    name: str,
    workers: int,
    seed: int,
    space: Space = SPACE,
    overhead: Overhead = NO_OVERHEAD,
) -> dict[str, Any]:
    """One simulation: the hypervolume over time, and the outcomes of the trials."""
    budget = BUDGET_TRAININGS * reference["median_seconds"]
    peer = make_peer(name, space, seed)
    simulation = Simulation(peer, Curves(curves.curve(task)), workers, overhead)
    complete = simulation.run(budget / workers)
    over_time = []
    for share in SHARES:
        so_far = [(a, s) for stop, a, s in complete if stop * workers <= share * budget]
        over_time.append(round(score(so_far, reference), 5))
    stopped = [one for one in simulation.trainings if one.done and not one.is_complete]
    return {
        "hypervolume": over_time,
        "complete": len(complete),
        "paused": sum(not one.is_running for one in stopped),
    }
