"""Finds the front: engines, halving, budgets, storage, leases, and the loop that drives workers.

* `supervisor`: `open_study(plan, out, *, base, storage_url=None) -> OpenStudy`, a context manager
  that refuses the folder of another study; `OpenStudy.run(*, hardware, backend,
  worker_command=...) -> Iterator[Event]`. KeyboardInterrupt passes through it after every lease was
  given back.
* `reading`: `read_study(place, *, name=None) -> StudyRecord`: what status, trials, report and
  export show. Takes no lock and loads no sampler.
* `events`: what happens, in the words of whoever watches it.
* `loop`: `run_study(plan, *, engine, pool, storage, clock, workload) -> Iterator[Event]`.
* `engine`, `optuna_engine`, `keras_tuner_engine`: who finds the next config.
* `storage`, `leases`, `records`, `memory`: where trials live, and who works on which.
* `pool`: worker processes. `workload`: what training a config takes. `budget`: when to end.
* `trainer_client`: one worker for a loop that is somebody else's.
* `simulation`: `simulate(space, curve, budget_seconds, ...)`: the same loop on a simulated clock.
"""

from effv2_tune.search.simulation import SimulatedTrial, run_simulation, simulate
from effv2_tune.search.storage.snapshot import StudyRecord, read_study

__all__ = ["SimulatedTrial", "StudyRecord", "read_study", "run_simulation", "simulate"]
