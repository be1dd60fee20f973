"""Searches for the Pareto-optimal configs: engines, halving, budgets, storage, leases and the loop.

* `supervisor`: opens a study in its folder and runs it; yields its events.
* `loop`: the event loop, `run_study(plan, engine=, pool=, storage=, clock=, workload=)`.
* `running_trial`, `trial_updates`, `rung_decision`, `duplicates`, `budget`, `retention`: its parts.
* `freeze_thaw`: a model of learning curves that decides what to train next.
* `pausing`: pauses trials at rungs, and continues or stops them later.
* `engines`: sample configs. `storage`: trials, leases and facts of a study; `read_study`.
* `workload`: recipe, rungs, bucket and training seconds of a config.
* `single_worker`: trains trials in one worker, for a loop of another library.
* `simulation`: the same loop on a simulated clock, `simulate(space, curve, budget_seconds, ...)`.
"""

from effv2_tune.search.simulation import SimulatedTrial, run_simulation, simulate
from effv2_tune.search.storage.snapshot import StudyRecord, read_study

__all__ = ["SimulatedTrial", "StudyRecord", "read_study", "run_simulation", "simulate"]
