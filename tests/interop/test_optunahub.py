"""The packages for OptunaHub decide as our own halving and freeze-thaw do."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effv2_tune.pareto import FullCurve, Objective, decide
from effv2_tune.search.storage.optuna_study import silence_optuna
from effv2_tune.study.plan import HalvingSpec
from effv2_tune.study.trial import Measurement, RungResult

if TYPE_CHECKING:
    from types import ModuleType

OPTUNAHUB = Path(__file__).parents[2] / "interop" / "optunahub"
PACKAGES = OPTUNAHUB / "package"
QUALITIES = st.integers(0, 20).map(lambda step: step / 20)
#: Quality at the rung, quality at the end and cost of each trial, and whether it is complete.
TRIALS = st.lists(
    st.tuples(QUALITIES, QUALITIES, st.integers(1, 9), st.booleans()), min_size=1, max_size=20
)


#: What `optunahub.load_module` does, for packages in a folder.
HUB = """
import importlib.util, pathlib, sys

def load_module(package):
    name = package.replace("/", "_")
    file = pathlib.Path(__file__).parent / "package" / package / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, file)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
"""


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.parent.name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.parent.name] = module
    spec.loader.exec_module(module)
    return module


pareto_halving = load(PACKAGES / "pruners/pareto_halving/__init__.py")


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    load(OPTUNAHUB / "assemble.py").assemble(folder)
    return folder


@pytest.fixture(scope="module")
def freeze_thaw(assembled: Path) -> ModuleType:
    return load(assembled / "package/samplers/freeze_thaw/__init__.py")


def new_study(direction: Any = "maximize") -> optuna.Study:
    with silence_optuna():
        return optuna.create_study(directions=[direction, "minimize"])


@settings(max_examples=60, deadline=None)
@given(TRIALS, st.sampled_from(["maximize", "minimize"]))
def test_it_prunes_what_our_halving_stops(
    trials: list[tuple[float, float, int, bool]], direction: Any
) -> None:
    study = new_study(direction)
    pruner = pareto_halving.ParetoHalvingPruner(study, guard_after=3, quantile=0.8)
    *others, (mine, _, cost, _) = trials
    for early, end, seconds, is_complete in others:
        trial = study.ask()
        pruner.should_prune(trial, rung=0, quality=early, cost=float(seconds))
        if is_complete:
            study.tell(trial, (end, float(seconds)))

    pruned = pruner.should_prune(study.ask(), rung=0, quality=mine, cost=float(cost))

    assert pruned != go_on(trials, direction)


def go_on(trials: list[tuple[float, float, int, bool]], direction: Any) -> bool:
    """Our own decision about the last trial."""

    def at_rung(quality: float, seconds: int) -> RungResult:
        return RungResult(rung=0, epoch=1, quality=quality, projected_seconds=seconds)

    *others, (mine, _, cost, _) = trials
    complete = [one for one in others if one[3]]
    return decide(
        at_rung(mine, cost),
        [at_rung(early, seconds) for early, _, seconds, _ in others],
        completed=[
            Measurement(quality=end, train_seconds=seconds) for _, end, seconds, _ in complete
        ],
        full=[FullCurve(early, end) for early, end, _, _ in complete],
        spec=HalvingSpec(guard_after=3, quantile=0.8, earned=True),
        objective=Objective(direction),
    ).go_on


def test_a_study_with_one_objective_is_refused() -> None:
    with silence_optuna():
        study = optuna.create_study()

    with pytest.raises(ValueError, match="a quality and a cost"):
        pareto_halving.ParetoHalvingPruner(study)


def test_trials_are_pruned_in_a_study_with_two_objectives() -> None:
    study = new_study()
    pruner = pareto_halving.ParetoHalvingPruner(study)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        rate = trial.suggest_float("rate", 1e-4, 1.0, log=True)
        reach = 0.9 - 0.1 * abs(math.log10(rate) + 2)
        if pruner.should_prune(trial, rung=0, quality=reach / 2, cost=10.0):
            raise optuna.TrialPruned
        return reach, 10.0

    with silence_optuna():
        study.optimize(objective, n_trials=30)

    states = {trial.state for trial in study.trials}
    assert states == {optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED}
    assert max(trial.values[0] for trial in study.best_trials) > 0.8


DISTRIBUTIONS = {
    "rate": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
    "width": optuna.distributions.IntDistribution(8, 64, step=8),
    "kind": optuna.distributions.CategoricalDistribution(["a", "b", "c"]),
}


#: Steps after which a decision is compared with ours.
DECIDED = 10


def cost(params: Any) -> float:
    return float(params["width"])


def reach(params: Any) -> float:
    return 0.8 - 0.1 * abs(math.log10(params["rate"]) + 2) + 0.002 * params["width"]


def search_for(module: ModuleType, study: optuna.Study, budget: float) -> list[Any]:
    """The steps of a search, decided by a new object each time, as after interruptions."""
    steps = []
    while True:
        search = module.FreezeThawSearch(study, DISTRIBUTIONS, cost, seed=3)
        with silence_optuna():
            step = search.next(cost_left=budget)
            if step is None:
                search.close()
                return steps
            search.tell(step, reach(step.params) * step.stop**0.2)
        budget -= (step.stop - step.start) * cost(step.params)
        steps.append(step)


def test_freeze_thaw_pauses_and_continues_trials_of_a_study(freeze_thaw: ModuleType) -> None:
    study = new_study()

    steps = search_for(freeze_thaw, study, 250.0)

    assert {step.start for step in steps} == {0.0, 0.1, 0.22, 0.4}
    assert len({step.number for step in steps}) < len(steps)
    ends = {step.number: step.stop for step in steps}
    states = {trial.number: trial.state for trial in study.trials}
    finished = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    assert states == {number: finished[stop < 1] for number, stop in ends.items()}
    assert max(trial.values[0] for trial in study.best_trials) > 0.75


def test_freeze_thaw_decides_as_ours_does(freeze_thaw: ModuleType) -> None:
    from effv2_tune.search import freeze_thaw as ours

    study = new_study()
    steps = search_for(freeze_thaw, study, 100.0)
    cube = freeze_thaw._Cube(DISTRIBUTIONS)
    problem = ours.Problem(
        cube.dimensions,
        lambda points: np.array([cost(cube.params(point)) for point in points]),
        snap=cube.snap,
    )
    observations = [
        ours.Observation(step.number, step.stop, reach(step.params) * step.stop**0.2)
        for step in steps[:DECIDED]
    ]
    last = {one.trial: one.share for one in observations}
    trials = {
        step.number: ours.Trial(
            tuple(cube.point(step.params).tolist()),
            cost(step.params),
            "complete" if last[step.number] >= 1 else "paused",
        )
        for step in steps[:DECIDED]
    }
    spent = sum((step.stop - step.start) * cost(step.params) for step in steps[:DECIDED])

    action = ours.FreezeThaw(problem, 3).propose(
        ours.History(trials, observations),
        number=len(trials) + len(observations),
        seconds_left=100.0 - spent,
    )

    following = steps[DECIDED]
    if following.start > 0:
        assert action == ours.Continue(following.number)
    else:
        assert isinstance(action, ours.Begin)
        assert cube.params(np.array(action.config)) == following.params


def test_freeze_thaw_refuses_a_study_with_one_objective(freeze_thaw: ModuleType) -> None:
    with silence_optuna():
        study = optuna.create_study()

    with pytest.raises(ValueError, match="a quality and a cost"):
        freeze_thaw.FreezeThawSearch(study, DISTRIBUTIONS, cost)


@pytest.mark.parametrize("package", ["pruners/pareto_halving", "samplers/freeze_thaw"])
def test_the_example_of_a_package_needs_nothing_of_this_project(
    package: str, assembled: Path
) -> None:
    (assembled / "optunahub.py").write_text(HUB, encoding="utf-8")
    (assembled / "effv2_tune.py").write_text("raise ImportError", encoding="utf-8")
    example = assembled / "package" / package / "example.py"

    done = subprocess.run(
        [sys.executable, str(example)],
        env=os.environ | {"PYTHONPATH": str(assembled)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "'rate':" in done.stdout


@pytest.mark.parametrize("package", sorted(path.parent for path in PACKAGES.rglob("example.py")))
def test_a_package_has_what_the_registry_asks_for(package: Path) -> None:
    text = (package / "README.md").read_text(encoding="utf-8")

    assert {"LICENSE", "README.md", "example.py"} <= {path.name for path in package.iterdir()}
    assert text.startswith("---\n")
    header = text.split("---\n")[1]
    keys = {line.split(":")[0] for line in header.splitlines()}
    assert keys == {"author", "title", "description", "tags", "optuna_versions", "license"}
