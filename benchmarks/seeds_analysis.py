"""Checks the statistics of a front on the table of benchmarks/seeds.py.

    python benchmarks/seeds_analysis.py [--results FOLDER] [--resamples 200] [--write PAGE.md]
                                        [--seeds odd|even]

A resample is a study with a known truth: a block of 500 test images is its validation split (or
several blocks are), one seed has trained each config, and further seeds are its replicates. The
truth is the mean of the other half of the seeds on all other images. As in a study, trainings with
the same number share their seed. Nothing is trained: the whole takes minutes.
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from seeds import BATCH, BLOCK_IMAGES, FIELDS, RESULTS, SEEDS, TRAIN

from effv2_tune import pareto
from effv2_tune.pareto.estimates import COMMON_SEED_EFFECT, SEED_EFFECT, Z90
from effv2_tune.pareto.racing import LEAST_GAIN, Race, first_replicate
from effv2_tune.study.plan import ConfirmSpec
from effv2_tune.study.trial import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from effv2_tune.pareto import Candidate, Estimate

    Floats = NDArray[np.float64]

PAGE = Path(__file__).parent / "results" / "seeds.md"
RESAMPLES = 200
#: Blocks that are joined to a validation split.
JOINED = (1, 2, 4)
CHOOSE = {
    "most-accurate": pareto.most_accurate,
    "knee": pareto.knee,
    "fastest": pareto.fastest,
}
#: The constants are estimated from even seeds, and checked on odd ones.
EVERY = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}
#: Trainings of each config where all have replicates.
REPLICATED = 3
_SEED = 5


def main() -> None:
    """Analyse the table as far as it is, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--write", type=Path, default=PAGE, help="the page; by default seeds.md")
    parser.add_argument("--seeds", choices=sorted(EVERY), default="all", help="which count")
    options = parser.parse_args()
    table = read_table(options.results)
    text = page(table.with_seeds(EVERY[options.seeds]), options.resamples)
    if options.seeds == "all":
        text += ODD_TEXT + calibration_table(table.with_seeds(EVERY["odd"]), options.resamples)
    options.write.write_text(text, encoding="utf-8")
    print(text)


# --- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """The trainings of all configs with the seeds that are complete.

    Attributes:
        correct: Correctly classified images [configs, seeds, blocks].
        seconds: The training time of each config [configs].
    """

    correct: Floats
    seconds: Floats

    def with_seeds(self, which: slice) -> Table:
        """The table of some of the seeds."""
        return Table(self.correct[:, which], self.seconds)

    def accuracies(self, blocks: Sequence[int]) -> Floats:
        """On some blocks of images [configs, seeds]."""
        return np.asarray(self.correct[:, :, blocks].mean(axis=2) / BLOCK_IMAGES)


def read_table(folder: Path) -> Table:
    """Read the trainings; a config's time is its steps times the median step time of its bucket."""
    with (folder / "configs.csv").open(encoding="utf-8") as file:
        drawn = list(csv.DictReader(file))
    with (folder / "trainings.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[FIELDS[-1]]]
    found = {(int(row["config"]), int(row["seed"])): row for row in rows}
    seeds = 0
    while all((config, seeds) in found for config in range(len(drawn))):
        seeds += 1
    correct = [
        [[int(n) for n in found[config, seed]["test_correct"].split()] for seed in range(seeds)]
        for config in range(len(drawn))
    ]
    buckets = [(config["optimizer"], config["resolution"]) for config in drawn]
    steps = {
        bucket: np.median(
            [float(r["step_ms"]) for r in rows if buckets[int(r["config"])] == bucket]
        )
        for bucket in set(buckets)
    }
    seconds = [
        int(config["epochs"]) * (TRAIN // BATCH) * steps[bucket] / 1000
        for config, bucket in zip(drawn, buckets, strict=True)
    ]
    return Table(np.array(correct, float), np.array(seconds))


# --- a study whose truth is known -----------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """A study, drawn from the table.

    Attributes:
        accuracies: On the validation split [configs, trainings]: the original, then replicates.
        images: In the validation split.
        seconds: Training time [configs].
        truth: Of each config [configs]: mean of the other seeds on the other images.
        on_split: Mean of the other seeds on the validation split [configs].
        other_images: That the truth is from.
        other_seeds: Likewise.
    """

    accuracies: Floats
    images: int
    seconds: Floats
    truth: Floats
    on_split: Floats
    other_images: int
    other_seeds: int

    @property
    def truth_errors(self) -> Floats:
        """Standard errors of the truth [configs]: its images and seeds are limited, too."""
        seeds = self.other_seeds
        images = (1 - pareto.SEED_SHARE + pareto.SEED_SHARE / seeds) / self.other_images
        effects = (SEED_EFFECT + COMMON_SEED_EFFECT) / seeds
        return np.asarray(np.sqrt(self.truth * (1 - self.truth) * (images + effects)))

    def of(self, configs: Sequence[int]) -> Study:
        """The study of some of the configs."""
        at = list(configs)
        return Study(
            self.accuracies[at],
            self.images,
            self.seconds[at],
            self.truth[at],
            self.on_split[at],
            self.other_images,
            self.other_seeds,
        )

    def candidates(self, counts: Sequence[int] | int = 1) -> list[Candidate]:
        """What is known after so many trainings of each config."""
        return [
            pareto.Candidate(
                tuple(map(float, row[:count])),
                pareto.binomial_error(float(row[0]), self.images),
                *[float(seconds)] * 3,
                images=self.images,
            )
            for row, seconds, count in zip(
                self.accuracies,
                self.seconds,
                np.broadcast_to(counts, len(self.seconds)),
                strict=True,
            )
        ]


def studies(table: Table, joined: int, resamples: int) -> Iterator[Study]:
    """Studies that are validated on ``joined`` blocks.

    Every block, and every seed of the first trainings, is used equally often: what it does to all
    configs alike then cancels in the mean over the studies. Which blocks are joined is drawn at
    random, again each time that all were used.
    """
    rng = np.random.default_rng(_SEED)
    _, seeds, blocks = table.correct.shape
    groups = np.arange(blocks).reshape(-1, joined)
    for number in range(resamples):
        if number and number % len(groups) == 0:
            groups = rng.permutation(blocks).reshape(-1, joined)
        group = groups[number % len(groups)]
        first = number % seeds
        order = rng.permutation(np.delete(np.arange(seeds), first))
        used, others = np.append(first, order[: seeds // 2 - 1]), order[seeds // 2 - 1 :]
        on_split = table.accuracies(group.tolist())
        elsewhere = table.accuracies(np.setdiff1d(np.arange(blocks), group).tolist())
        yield Study(
            on_split[:, used],
            joined * BLOCK_IMAGES,
            table.seconds,
            elsewhere[:, others].mean(axis=1),
            on_split[:, others].mean(axis=1),
            (blocks - joined) * BLOCK_IMAGES,
            len(others),
        )


def random_halves(drawn: Sequence[Study]) -> Iterator[Study]:
    """Each study with a random half of its configs."""
    rng = np.random.default_rng(_SEED)
    for study in drawn:
        order = rng.permutation(len(study.seconds))
        yield study.of(order[: len(order) // 2].tolist())


def pick(name: str, qualities: Sequence[float], seconds: Floats) -> int:
    """Position of a pick."""
    points = [
        Measurement(quality=quality, train_seconds=float(time))
        for quality, time in zip(qualities, seconds, strict=True)
    ]
    position = CHOOSE[name](points)
    if position is None:
        raise ValueError("A study without configs has no pick.")
    return position


def confirm(study: Study, only: str | None = None) -> list[int]:
    """Trainings of each config after `effv2-tune confirm` with its default budget and level.

    Args:
        study: Whose configs were trained once.
        only: The only pick that is to be clear; None for all.
    """
    spec, counts = ConfirmSpec(), [1] * len(study.seconds)
    while np.dot(counts, study.seconds) < 2 * study.seconds.sum():
        race = Race.of(study.candidates(counts))
        picks = [one for one in race.picks(spec.difference) if only in {None, one.name}]
        if all(one.is_clear(spec.level) for one in picks):
            break
        most = study.accuracies.shape[1]
        costs = [
            math.inf if count == most else float(seconds)
            for count, seconds in zip(counts, study.seconds, strict=True)
        ]
        position = first_replicate(picks, costs)
        if position is None:
            limits = None if only is None else [one.limit for one in picks]
            found = race.next_replicate(costs, LEAST_GAIN * spec.difference, limits=limits)
            if found is None:
                break
            position = found.position
        counts[position] += 1
    return counts


def once(study: Study) -> list[int]:
    """Each config is trained once."""
    return [1] * len(study.seconds)


def thrice(study: Study) -> list[int]:
    """Each config is trained three times."""
    return [REPLICATED] * len(study.seconds)


ALLOCATIONS = {"one training": once, "three trainings": thrice, "after `confirm`": confirm}


# --- coverage and bias ----------------------------------------------------------------------------


class Calibration(NamedTuple):
    """How good the estimates of one way to train are.

    Attributes:
        coverage: Share of the 90 % intervals that hold the truth [studies].
        widened: The same of intervals that have the error of the truth, too.
        on_split: The same for the truth on the validation split.
        bias: Of each pick's estimate, in its standard errors, by name [studies].
        raw: Of the pick by the measured means, in the same unit.
    """

    coverage: Floats
    widened: Floats
    on_split: Floats
    bias: dict[str, Floats]
    raw: dict[str, Floats]


def calibrate(drawn: Sequence[Study], allocation: Callable[[Study], Sequence[int]]) -> Calibration:
    """Compare the estimates of each study with its truth."""
    covered, widened, on_split = [], [], []
    bias: dict[str, list[float]] = {name: [] for name in CHOOSE}
    raw: dict[str, list[float]] = {name: [] for name in CHOOSE}
    for study in drawn:
        found = pareto.estimates(study.candidates(allocation(study)))
        low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))
        covered.append(np.mean((low <= study.truth) & (study.truth <= high)))
        middle, own = np.array([one.quality for one in found]), Z90 * study.truth_errors
        below, above = np.hypot(middle - low, own), np.hypot(high - middle, own)
        deviation = study.truth - middle
        widened.append(np.mean((-below <= deviation) & (deviation <= above)))
        on_split.append(np.mean((low <= study.on_split) & (study.on_split <= high)))
        for name in CHOOSE:
            bias[name].append(_bias(study, found, name, "quality"))
            raw[name].append(_bias(study, found, name, "raw"))
    return Calibration(
        np.array(covered),
        np.array(widened),
        np.array(on_split),
        {name: np.array(values) for name, values in bias.items()},
        {name: np.array(values) for name, values in raw.items()},
    )


def _bias(study: Study, found: Sequence[Estimate], name: str, value: str) -> float:
    """How much better than the truth a pick looks, in its standard errors."""
    qualities = [float(getattr(one, value)) for one in found]
    position = pick(name, qualities, study.seconds)
    excess = qualities[position] - float(study.truth[position])
    return excess / found[position].standard_error


# --- regret ---------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """A choice among the configs of a study, and what it has cost.

    Attributes:
        cost: Seconds of all trainings, relative to one training of each config of the study.
        best: Regret of the most accurate pick: how much more accurate the best config truly is.
        limits: The same for the best pick within a limit of time, over all limits.
        overall: Regret of the most accurate pick against the best of all configs of the table.
    """

    cost: float
    best: float
    limits: float
    overall: float


def regrets(drawn: Sequence[Study]) -> dict[str, list[Choice]]:
    """Choices by measured accuracies and by `confirm`, for studies of a random half of the configs.

    The other configs are what a longer search would have tried.
    """
    rng = np.random.default_rng(_SEED)
    found: dict[str, list[Choice]] = {}
    for study in drawn:
        order = rng.permutation(len(study.seconds))
        half = study.of(order[: len(order) // 2])
        counts = confirm(half)
        spent = float(np.dot(counts, half.seconds))
        longer = np.searchsorted(np.cumsum(study.seconds[order]), spent) + 1
        unit, overall = float(half.seconds.sum()), float(study.truth.max())
        for name, one, its, shrunken in (
            ("raw, one training each", half, once(half), False),
            ("raw, further configs for the same seconds", study.of(order[:longer]), None, False),
            ("raw, further trainings for the same seconds", half, _evenly(half, spent), False),
            ("`confirm`", half, counts, True),
            ("`confirm --pick most-accurate`", half, confirm(half, "most-accurate"), True),
        ):
            choice = _choose(one, its or once(one), shrunken=shrunken, unit=unit, overall=overall)
            found.setdefault(name, []).append(choice)
    return found


def _evenly(study: Study, spent: float) -> list[int]:
    """Trainings of each config, in turn, until that many seconds are spent."""
    counts = once(study)
    while np.dot(counts, study.seconds) < spent:
        counts[int(np.argmin(counts))] += 1
    return counts


def _choose(
    study: Study, counts: Sequence[int], *, shrunken: bool, unit: float, overall: float
) -> Choice:
    candidates = study.candidates(counts)
    if shrunken:
        qualities = np.array([one.quality for one in pareto.estimates(candidates)])
    else:
        qualities = np.array([one.mean for one in candidates])
    lost = []
    for limit in np.sort(study.seconds):
        members = np.flatnonzero(study.seconds <= limit)
        chosen = members[np.argmax(qualities[members])]
        lost.append(float(study.truth[members].max() - study.truth[chosen]))
    chosen_truth = float(study.truth[int(np.argmax(qualities))])
    cost = float(np.dot(counts, study.seconds)) / unit
    return Choice(cost, lost[-1], float(np.mean(lost)), overall - chosen_truth)


# --- the constants --------------------------------------------------------------------------------


class Shares(NamedTuple):
    """Shares of the binomial variance of an accuracy.

    Attributes:
        seed: That differs between trainings of one config on the same images (`SEED_SHARE`).
        common: That all configs have in common on the same images (`COMMON_SHARE`).
        own: Variance of the true accuracies of one config's seeds, for 500 images.
        together: Of the seeds, in common to all configs, for 500 images.
    """

    seed: float
    common: float
    own: float
    together: float


def shares(correct: Floats) -> Shares:
    """Estimate the shares from correct images [configs, seeds, blocks].

    The difference of two trainings varies between the blocks by the images on which they differ
    alone: the variance of a block's accuracy is binomial, and twice the covariance is missing in
    that of a difference.
    """
    configs, seeds, _ = correct.shape
    accuracy = correct / BLOCK_IMAGES
    true = accuracy.mean(axis=2)
    binomial = float((true * (1 - true)).mean()) / BLOCK_IMAGES
    between_seeds = np.mean([_interaction(accuracy[config]) for config in range(configs)])
    # Different configs with different seeds: config c with seed s + c.
    shifted = np.stack([np.roll(accuracy[config], config, axis=0) for config in range(configs)])
    between_configs = np.mean([_interaction(shifted[:, seed]) for seed in range(seeds)])
    # A mean over all blocks has only so much of the difference between the blocks.
    rest = between_seeds / correct.shape[2]
    within = _interaction(true)
    together = (true.mean(axis=0).var(ddof=1) - within / configs) / binomial
    return Shares(
        seed=float(between_seeds) / binomial,
        common=1 - float(between_configs) / binomial,
        own=float(within - rest) / binomial,
        together=float(together),
    )


def _interaction(values: Floats) -> float:
    """Mean square of the interaction of a two-way table: variance of a cell without both means."""
    rows, columns = values.shape
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return float((rest**2).sum()) / (rows - 1) / (columns - 1)


def shares_errors(correct: Floats) -> Shares:
    """Standard errors by the jackknife: over configs, seeds and blocks, as one sum of squares."""
    squares = np.zeros(len(Shares._fields))
    for axis, count in enumerate(correct.shape):
        left_out = np.array([shares(np.delete(correct, k, axis)) for k in range(count)])
        squares += (count - 1) * left_out.var(axis=0)
    return Shares(*map(float, np.sqrt(squares)))


# --- the page -------------------------------------------------------------------------------------


def page(table: Table, resamples: int) -> str:
    """The results as Markdown."""
    configs, seeds, blocks = table.correct.shape
    head = (
        "# Estimates against real trainings\n\n"
        f"`python benchmarks/seeds_analysis.py --resamples {resamples}`, on {configs} configs of "
        f"the network `tiny` with {seeds} seeds each (`benchmarks/seeds.py`) and "
        f"{blocks * BLOCK_IMAGES:,} test images of CIFAR-10.\n"
    )
    if seeds < SEEDS:
        head += (
            f"\n**A preview: {seeds} of {SEEDS} seeds are trained.** The truth is a mean of half "
            "of them, so the fewer they are, the more of the deviations is its own.\n"
        )
    parts = [head, calibration_text(table, resamples), shares_text(table)]
    if seeds >= 2 * REPLICATED:
        parts.insert(2, regret_text(table, resamples))
    return "\n".join(parts)


def calibration_text(table: Table, resamples: int) -> str:
    """Coverage and bias, of all configs and of random halves."""
    halves = calibration_table(table, resamples, halves=True)
    return CALIBRATION_TEXT + calibration_table(table, resamples) + HALVES_TEXT + halves


def calibration_table(table: Table, resamples: int, *, halves: bool = False) -> str:
    """Both by size of the validation split and by how often configs are trained."""
    rows = []
    for joined in JOINED:
        drawn = list(studies(table, joined, resamples))
        if halves:
            drawn = list(random_halves(drawn))
        for label, allocation in ALLOCATIONS.items():
            if allocation is not once and drawn[0].accuracies.shape[1] < REPLICATED:
                continue
            its = calibrate(drawn, allocation)
            rows.append(
                [
                    f"{joined * BLOCK_IMAGES:,}",
                    label,
                    f"{its.coverage.mean():.1%}",
                    f"{its.widened.mean():.1%}",
                    f"{its.on_split.mean():.1%}",
                    *(f"{_mean(its.bias[name])} ({its.raw[name].mean():+.2f})" for name in CHOOSE),
                ]
            )
    return markdown_table(
        ["images", "trainings", "coverage", "widened", "on the split", *CHOOSE], rows
    )


def regret_text(table: Table, resamples: int) -> str:
    """Regrets at equal cost."""
    found = regrets(list(studies(table, 1, resamples)))
    rows = []
    for name, choices in found.items():
        columns = np.array(choices)
        points = [_mean(column, scale=100) for column in columns[:, 1:].T]
        rows.append([name, f"{columns[:, 0].mean():.2f}", *points])
    return REGRET_TEXT + markdown_table(
        ["choice by", "cost", "own configs", "own configs, all limits of time", "all configs"], rows
    )


def shares_text(table: Table) -> str:
    """The constants, by the data and in use."""
    found, errors = shares(table.correct), shares_errors(table.correct)
    in_use = (
        f"`SEED_SHARE` = {pareto.SEED_SHARE}",
        f"`COMMON_SHARE` = {pareto.COMMON_SHARE}",
        f"{BLOCK_IMAGES} `SEED_EFFECT` = {BLOCK_IMAGES * SEED_EFFECT:.3f}",
        f"{BLOCK_IMAGES} `COMMON_SEED_EFFECT` = {BLOCK_IMAGES * COMMON_SEED_EFFECT:.3f}",
    )
    labels = (
        "differs between seeds of one config, on the same images",
        "is common to all configs, on the same images",
        "a seed's own effect on one config, on all images",
        "a seed's effect on all configs, on all images",
    )
    rows = [
        [label, f"{share:.3f} \N{PLUS-MINUS SIGN} {error:.3f}", used]
        for label, share, error, used in zip(labels, found, errors, in_use, strict=True)
    ]
    return SHARES_TEXT + markdown_table(["share that", "estimate", "in use"], rows)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _mean(values: Floats, scale: float = 1.0) -> str:
    """A mean over the resamples with its standard error."""
    error = values.std(ddof=1) / math.sqrt(len(values))
    sign = "+" if scale == 1 else ""
    return f"{values.mean() * scale:{sign}.2f} \N{PLUS-MINUS SIGN} {error * scale:.2f}"


CALIBRATION_TEXT = """
## Coverage and bias

Coverage: share of the 90 % intervals of all configs that hold the truth, the mean accuracy of seeds
that the study has not used on images that it has not used; 85 to 95 % is asked for. This truth has
an error of its own, as its seeds and images are limited, which matters where validation has many:
against 2,000 images it is half of the study's. *Widened*: intervals that have that error, too. *On
the split*: the same with the mean of these seeds on the study's own validation images; it is
higher, as the interval allows for the choice of images. Picks: by how many of its standard errors
the expected accuracy of the pick exceeds its truth, mean over the studies; at most 0.2 is asked
for. In brackets, the same of the pick by measured accuracies.

"""
HALVES_TEXT = """
All studies above have the same 30 configs, that is, one front, whose gaps decide how easily its
best are mistaken for each other. The same with a random half of the configs in each study:

"""
ODD_TEXT = """
## Coverage and bias, odd seeds alone

The constants in use are estimated from the even seeds (`--seeds even`). The same as above from the
others alone, in which the truth is a mean of half as many seeds:

"""
REGRET_TEXT = """
## Regret

Studies of a random half of the configs, validated on 500 images. The search trains each config
once, `confirm` spends at most as many seconds again. Equal cost: the same seconds of training,
spent on the other configs in random order, each trained once, as a longer search does; or on
trainings of the same configs in turn. Cost: in searches. Regret of the most accurate pick, in
percentage points of true accuracy, against the best of the study's own configs; the same for
the best pick within a limit of time, mean over the training times of the study's configs; and
against the best of all configs of the table, which a search of more configs may find. `confirm`
trains what improves the picks of all limits most, and with `--pick most-accurate` what improves the
one decision without a limit.

"""
SHARES_TEXT = """
## The shares of the variance

In units of the binomial variance of an accuracy on 500 images, with standard errors by the
jackknife over configs, seeds and blocks of images. The last two are what seeds change in the true
accuracy; they do not depend on the number of images, so that their share grows with it.

"""


if __name__ == "__main__":
    main()
