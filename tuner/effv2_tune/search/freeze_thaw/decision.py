"""Decides what a free worker trains next: a new config, or a paused trial.

The action with the highest expected hypervolume improvement per expected second. New configs are
rated against the virtual front (completed trials and the predicted ends of those in training and
paused): without the paused ones, beginning anew what is known already would always look best.
Paused trials are rated against completed ones and those in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.spatial import KDTree  # type: ignore[import-untyped]

from effv2_tune.search.freeze_thaw.candidates import neighbours, sobol_point
from effv2_tune.search.freeze_thaw.curves import curve_data
from effv2_tune.search.freeze_thaw.expectations import draw_preferred
from effv2_tune.search.freeze_thaw.gaussian_process import Posterior
from effv2_tune.search.freeze_thaw.history import Action, Begin, Continue, Screen
from effv2_tune.search.freeze_thaw.improvement import Front, Reference, expected_improvement
from effv2_tune.search.freeze_thaw.kernel import Points
from effv2_tune.search.freeze_thaw.refitting import Refits
from effv2_tune.search.freeze_thaw.screening import (
    fidelity_correlation,
    is_shown,
    next_test,
    on_all_images,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from effv2_tune.search.freeze_thaw.curves import Warp
    from effv2_tune.search.freeze_thaw.history import History, Problem
    from effv2_tune.search.freeze_thaw.kernel import Floats

#: The refinement of candidates: each round steps from the best ones so far.
_ROUNDS = ((0.15, 0.5), (0.06, 0.5), (0.025, 0.6))
_BEST = 6
#: Configs known as nearly as these differ by no more than rounding.
_SAME = 1e-9


@dataclass(frozen=True)
class Settings:
    """Of the decision.

    Attributes:
        initial: Configs of a Sobol sequence that are begun before the model decides.
        random_share: Probability that a new config is a Sobol point instead of the best candidate,
            so that a model that is wrong finds out: at the cost of a first rung.
        candidates: Configs that are rated in each round.
        continuation: Expected share of the seconds beyond the next rung that is spent: a trial is
            often paused there.
        fixed_share: Part of the median training that each action is expected to take in addition,
            so that the shortest actions do not always have the highest rate.
        most_observations: That the model is conditioned on.
        most_fitted: That the hyperparameters are fitted on.
        least_growth: Of the hypervolume, as a share, that is expected of a paused trial which is
            continued when no new config may begin.
    """

    initial: int = 6
    random_share: float = 0.15
    candidates: int = 120
    continuation: float = 0.4
    fixed_share: float = 0.1
    most_observations: int = 200
    most_fitted: int = 120
    least_growth: float = 0.001


class _View(NamedTuple):
    """The model and the fronts at the time of a decision."""

    problem: Problem
    posterior: Posterior
    warp: Warp
    ends: Mapping[int, float]
    front: Front
    virtual_front: Front
    fixed_seconds: float
    seconds_left: float
    settings: Settings

    def predict(self, configs: Floats) -> tuple[Floats, Floats]:
        """Mean and variance [m] of the warped quality at the ends of configs [m, d]."""
        return _at_ends(self.posterior, configs)


class FreezeThaw:
    """Proposes actions; a pure function of history, seed and number, apart from its cache.

    Args:
        problem: The search space and its seconds.
        seed: Of the search.
        settings: Of the decision.
    """

    def __init__(self, problem: Problem, seed: int, settings: Settings | None = None) -> None:
        self._problem = problem
        self._seed = seed
        self._settings = settings or Settings()
        self._refits = Refits(seed, self._settings.most_fitted, problem.expectations)

    def propose(
        self, history: History, *, number: int, seconds_left: float = np.inf
    ) -> Action | None:
        """The next action of a free worker.

        Args:
            history: Of the study, with what the other workers are training.
            number: Of the decision; it seeds the candidates.
            seconds_left: Until the study ends, in the unit of the problem.

        Returns:
            None if nothing can end within the seconds left.
        """
        rng = np.random.default_rng([self._seed, number])
        if len(history.trials) < self._settings.initial or not history.observations:
            return self._initial(history, rng, seconds_left)
        if (test := self._test(history, seconds_left)) is not None:
            return test
        view = self._view(history, seconds_left)
        config, new_rate = self._best_new(view, history, rng)
        trial, paused_rate = _best_paused(view, history)
        screening_rate = _screening_rate(view, history, config)
        if max(new_rate, paused_rate) < 0:
            return None
        if trial is not None and paused_rate >= max(new_rate, screening_rate):
            return Continue(trial)
        begin = Begin(tuple(config.tolist()))
        if screening_rate > new_rate:
            return Screen(begin.config)
        is_random = rng.random() < self._settings.random_share
        return (self._initial(history, rng, seconds_left) if is_random else None) or begin

    def finish(self, history: History, *, seconds_left: float = np.inf) -> Continue | None:
        """The next action of a free worker when no new config may begin.

        Args:
            history: As of :meth:`propose`.
            seconds_left: Likewise.

        Returns:
            None if no paused trial is expected to improve the front by much, or can end in time.
        """
        if not history.observations:
            return None
        view = self._view(history, seconds_left)
        least = self._settings.least_growth * view.front.area
        trial, _ = _best_paused(view, history, least_gain=least)
        return None if trial is None else Continue(trial)

    def _initial(
        self, history: History, rng: np.random.Generator, seconds_left: float
    ) -> Begin | None:
        """The Sobol point of the next trial, or random ones if it takes too long."""
        dimensions, place = self._problem.dimensions, len(history.trials)
        point = sobol_point(dimensions, self._seed, place)
        configs = np.vstack([point, rng.random((64, dimensions))])
        if place < self._settings.initial and place % 2 == 0:
            configs = draw_preferred(self._problem.peaks, configs, rng)
        configs = self._problem.snap(configs)
        fits = _until_end(self._problem, configs) <= seconds_left
        return Begin(tuple(configs[int(np.argmax(fits))].tolist())) if fits.any() else None

    def _view(self, history: History, seconds_left: float) -> _View:
        settings, trials = self._settings, history.trials
        most = settings.most_observations
        data = curve_data(trials, history.observations, most, history.screenings)
        hyper = self._refits.current(history)
        running = _configs_in(history, "running")
        posterior = Posterior.given(
            hyper, data.points, data.values, data.noise, self._problem.expectations
        )
        posterior = posterior.with_expected_ends(_inputs(posterior, running))
        times = np.log([one.seconds for one in trials.values()])
        slowest = float(times.max()) + max(0.05 * float(np.ptp(times)), 0.05)
        reference = Reference(min(data.ends.values()), slowest)
        outcomes = [
            np.array([data.ends[k] for k, one in trials.items() if one.state == "complete"]),
            _expected(posterior, running, data.warp),
            _expected(posterior, _configs_in(history, "paused"), data.warp),
        ]
        log_seconds = [
            np.log([one.seconds for one in trials.values() if one.state == state])
            for state in ("complete", "running", "paused")
        ]
        front, virtual_front = (
            Front.of(np.concatenate(log_seconds[:k]), np.concatenate(outcomes[:k]), reference)
            for k in (2, 3)
        )
        return _View(
            problem=self._problem,
            posterior=posterior,
            warp=data.warp,
            ends=data.ends,
            front=front,
            virtual_front=virtual_front,
            fixed_seconds=settings.fixed_share * float(np.exp(np.median(times))),
            seconds_left=seconds_left,
            settings=settings,
        )

    def _best_new(
        self, view: _View, history: History, rng: np.random.Generator
    ) -> tuple[Floats, float]:
        """The best candidate and its rate, by rounds of local search."""
        count = self._settings.candidates
        anchors = _front_configs(history, view.ends)
        known = KDTree([one.config for one in history.trials.values()])
        pool = [rng.random((count, self._problem.dimensions))]
        pool += [neighbours(anchors, count, step, rng) for step in ((0.2, 0.4), (0.05, 0.4))]
        if self._problem.peaks:
            pool.append(draw_preferred(self._problem.peaks, pool[0], rng))
        if history.screenings:
            pool.append(np.array([one.config for one in history.screenings.values()]))
        configs = self._problem.snap(np.vstack(pool))
        rates = _new_rates(view, configs, known)
        for step in _ROUNDS:
            best = np.argsort(-rates, kind="stable")[:_BEST]
            near = self._problem.snap(neighbours(configs[best], count, step, rng))
            configs = np.vstack([configs[best], near])
            rates = np.concatenate([rates[best], _new_rates(view, near, known)])
        best_place = int(np.argmax(rates))
        return configs[best_place], float(rates[best_place])

    def _test(self, history: History, seconds_left: float) -> Screen | None:
        """The next screening that tests whether screenings tell enough."""
        config = None if self._problem.images is None else next_test(history)
        if config is None or self._screening_seconds(np.array([config])) > seconds_left:
            return None
        return Screen(config)

    def _screening_seconds(self, config: Floats) -> float:
        """Seconds of training a config [1, d] on the subset."""
        return float(self._problem.seconds(config)[0]) * (self._problem.images or 0.0)


def _inputs(posterior: Posterior, configs: Floats) -> Floats:
    """Configs [m, d] as inputs of the model, which may have the fidelity as a further one."""
    has_fidelity = len(configs) and posterior.points.configs.shape[1] > configs.shape[1]
    return on_all_images(configs) if has_fidelity else configs


def _until_end(problem: Problem, configs: Floats) -> Floats:
    """Seconds from the beginning of new configs [m, d] to their ends [m]."""
    return problem.seconds(configs) + problem.begin_seconds(configs)


def _configs_in(history: History, state: str) -> Floats:
    """Of the trials in a state [m, d]."""
    return np.array([one.config for one in history.trials.values() if one.state == state])


def _at_ends(posterior: Posterior, configs: Floats) -> tuple[Floats, Floats]:
    """Mean and variance [m] of the warped quality at the ends of configs [m, d]."""
    return posterior.predict(Points.ends(_inputs(posterior, configs)))


def _expected(posterior: Posterior, configs: Floats, warp: Warp) -> Floats:
    """The expected quality at the end of configs [m, d]."""
    if not len(configs):
        return np.zeros(0)
    return warp.inverse(_at_ends(posterior, configs)[0])


def _front_configs(history: History, ends: Mapping[int, float]) -> Floats:
    """The configs on the front of what trials are roughly expected to reach."""
    trials, best, front = history.trials, -np.inf, []
    for number in sorted(ends, key=lambda one: (trials[one].seconds, -ends[one], one)):
        if ends[number] > best:
            best = ends[number]
            front.append(trials[number].config)
    return np.array(front)


def _new_rates(view: _View, configs: Floats, known: KDTree) -> Floats:
    """Improvement per second of new configs [m, d]; -1 for those that cannot end or are known."""
    problem = view.problem
    seconds, begin_seconds = problem.seconds(configs), problem.begin_seconds(configs)
    mean, variance = view.predict(configs)
    gain = expected_improvement(mean, variance, np.log(seconds), view.virtual_front, view.warp)
    share = _expected_share(view)
    rates = gain / (seconds * share + begin_seconds + view.fixed_seconds)
    late = seconds + begin_seconds > view.seconds_left
    same = known.query(configs)[0] < _SAME
    return np.where(late | same, -1.0, rates)


def _expected_share(view: _View) -> float:
    """The share of the seconds that is expected to be spent on a new config."""
    first = view.problem.next_share(0.0)
    return first + view.settings.continuation * (1 - first)


def _screening_rate(view: _View, history: History, config: Floats) -> float:
    """The rate of screening the best new config [d]; -1 where it is not to be screened.

    The expected improvement times the correlation of the subset with all images, as in Huang,
    Allen, Notz and Miller, "Sequential kriging optimization using multiple-fidelity evaluations"
    (2006), per second. In the seconds, the whole training counts as far as the rungs after the
    next one do in those of a new config: a config is often dropped at its screening. The expected
    ends of screened configs belong to the front, or screening would always look better than to
    begin one of them.
    """
    known = [one.config for one in (history.screenings or {}).values()]
    images = view.problem.images
    if images is None or tuple(config.tolist()) in known or not is_shown(history):
        return -1.0
    row = config[None]
    seconds = view.problem.seconds(row)
    begin_seconds = view.problem.begin_seconds(row)
    if (seconds * (1 + images) + begin_seconds > view.seconds_left).any():
        return -1.0
    mean, variance = view.predict(row)
    front = _front_with(view, np.array(known))
    gain = expected_improvement(mean, variance, np.log(seconds), front, view.warp)
    spent = images + view.settings.continuation * _expected_share(view)
    correlation = fidelity_correlation(view.posterior.hyper)
    rates = gain * correlation / (seconds * spent + begin_seconds + view.fixed_seconds)
    return float(rates[0])


def _front_with(view: _View, configs: Floats) -> Front:
    """The virtual front with the expected ends of configs [m, d]."""
    front = view.virtual_front
    seconds = np.concatenate([front.starts[1:], np.log(view.problem.seconds(configs))])
    qualities = np.concatenate([front.qualities[1:], _expected(view.posterior, configs, view.warp)])
    reference = Reference(float(front.qualities[0]), float(front.ends[-1]))
    return Front.of(seconds, qualities, reference)


def _best_paused(
    view: _View, history: History, *, least_gain: float = 0.0
) -> tuple[int | None, float]:
    """The paused trial with the highest rate; -1 if none can end, or has the least gain."""
    paused = [number for number, one in history.trials.items() if one.state == "paused"]
    if not paused:
        return None, -1.0
    problem, shares = view.problem, history.last_shares()
    trials = [history.trials[number] for number in paused]
    seconds = np.array([one.seconds for one in trials])
    continue_seconds = np.array([one.continue_seconds for one in trials])
    done = np.array([shares.get(number, 0.0) for number in paused])
    following = np.array([problem.next_share(share) for share in done])
    mean, variance = view.predict(np.array([one.config for one in trials]))
    gain = expected_improvement(mean, variance, np.log(seconds), view.front, view.warp)
    spent = (following - done) + view.settings.continuation * (1 - following)
    rates = gain / (seconds * spent + continue_seconds + view.fixed_seconds)
    late = seconds * (1 - done) + continue_seconds > view.seconds_left
    rates = np.where(late | (gain < least_gain), -1.0, rates)
    best = int(np.argmax(rates))
    return (paused[best], float(rates[best])) if rates[best] >= 0 else (None, -1.0)
