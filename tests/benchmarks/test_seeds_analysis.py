"""The analysis of the table of seeds: on simulated trainings whose shares and truth are known."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.pareto.simulated import simulated_trainings

from effv2_tune.pareto import COMMON_SHARE, SEED_SHARE

if TYPE_CHECKING:
    from types import ModuleType

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def analysis() -> ModuleType:
    """The script; it imports its neighbours as scripts do."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import seeds_analysis
    finally:
        sys.path.remove(str(BENCHMARKS))
    return seeds_analysis


def test_the_shares_of_simulated_trainings_are_found(analysis: ModuleType) -> None:
    correct = simulated_trainings(own=0.009, together=0.008)

    found, errors = analysis.shares(correct), analysis.shares_errors(correct)

    assert found.seed == pytest.approx(SEED_SHARE, abs=4 * errors.seed)
    assert found.common == pytest.approx(COMMON_SHARE, abs=4 * errors.common)
    assert max(errors.seed, errors.common) < 0.03
    binomial = 0.38 * 0.62 / 500
    assert found.own == pytest.approx(0.009**2 / binomial, abs=4 * errors.own)
    assert found.together == pytest.approx(0.008**2 / binomial, abs=4 * errors.together)


def test_the_truth_is_of_other_seeds_and_other_images(analysis: ModuleType) -> None:
    # The thousands are the seed, the ones are the block.
    correct = np.add.outer(1000 * np.arange(8), np.arange(4))[None] * 500.0
    table = analysis.Table(np.repeat(correct, 2, axis=0), np.array([1.0, 2.0]))

    blocks = []
    for study in analysis.studies(table, 1, 8):
        assert study.accuracies.shape == (2, 4)
        (block,) = set(study.accuracies[0] % 1000)
        blocks.append(block)
        used = study.accuracies[0] // 1000
        others = np.setdiff1d(np.arange(8), used)
        images = np.setdiff1d(np.arange(4), block)
        assert study.truth == pytest.approx(1000 * others.mean() + images.mean())
        assert study.on_split == pytest.approx(1000 * others.mean() + block)
        assert (study.other_images, study.other_seeds) == (1500, len(others))
    assert sorted(blocks[:4]) == sorted(blocks[4:]) == [0, 1, 2, 3]


def test_half_of_the_seeds_can_be_analysed(analysis: ModuleType) -> None:
    table = analysis.Table(simulated_trainings(configs=2, seeds=5), np.ones(2))

    odd = table.with_seeds(analysis.EVERY["odd"])

    assert np.array_equal(odd.correct, table.correct[:, [1, 3]])


def test_joined_blocks_are_one_split(analysis: ModuleType) -> None:
    table = analysis.Table(simulated_trainings(configs=2, seeds=2), np.ones(2))

    (study,) = analysis.studies(table, 4, 1)

    assert study.images == 2000
    order = [0, 1, 2, 3]
    assert set(study.accuracies[0]) <= set(table.correct[0][:, order].mean(axis=1) / 500)


def test_only_seeds_that_all_configs_have_are_read(analysis: ModuleType, tmp_path: Path) -> None:
    with (tmp_path / "configs.csv").open("w", newline="") as file:
        configs = csv.writer(file)
        configs.writerow(["config", "optimizer", "resolution", "epochs"])
        configs.writerows([[0, "sgd", 32, 3], [1, "sgd", 32, 5]])
    lines = [",".join(analysis.FIELDS)]
    for config, seed, step in ((0, 0, 10), (1, 0, 12), (0, 1, 14)):
        cells = dict.fromkeys(analysis.FIELDS, "0")
        cells |= {"config": str(config), "seed": str(seed), "step_ms": str(step)}
        lines.append(",".join((cells | {"test_correct": f"{config} 7"}).values()))
    (tmp_path / "trainings.csv").write_text("\n".join([*lines, "1,1,0.3"]) + "\n")

    table = analysis.read_table(tmp_path)

    assert table.correct.tolist() == [[[0, 7]], [[1, 7]]]
    # Both are of one bucket, whose steps take 12 ms, and 100 steps are an epoch.
    assert table.seconds == pytest.approx([3.6, 6.0])


def test_confirming_spends_as_much_as_the_search_on_the_best(analysis: ModuleType) -> None:
    rng = np.random.default_rng(3)
    table = analysis.Table(simulated_trainings(configs=8, seeds=20), rng.uniform(5, 20, 8))
    (study,) = analysis.studies(table, 1, 1)

    counts = analysis.confirm(study)

    spent = np.dot(counts, study.seconds)
    assert spent <= 2 * study.seconds.sum() + study.seconds.max()
    assert max(counts) <= study.accuracies.shape[1]
    repeated = study.accuracies[np.array(counts) > 1, 0]
    assert repeated.mean() > study.accuracies[np.array(counts) == 1, 0].mean()


def test_the_page_says_how_many_seeds_it_is_of(analysis: ModuleType) -> None:
    rng = np.random.default_rng(3)
    table = analysis.Table(simulated_trainings(configs=6, seeds=6), rng.uniform(5, 20, 6))

    text = analysis.page(table, 4)

    assert "6 of 30 seeds" in text
    assert "| 500 | after `confirm` |" in text
    assert f"`COMMON_SHARE` = {COMMON_SHARE}" in text
