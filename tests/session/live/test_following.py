"""What a study does now, by its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.session.live.logs import DATA, HERE

from effv2_tune.search import events as happened
from effv2_tune.session.live.following import StudyFollower
from effv2_tune.session.live.predictions import Prediction, predict, predict_or_not
from effv2_tune.study import StudyPlan
from effv2_tune.study.bucket import Placement, bucket_key
from effv2_tune.study.trial import Epoch, Measurement, Scores, Trial

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = {
    "name": "mine",
    "recipe": {"epochs": 4},
    "search_space": {"weight_decay": {"type": "float", "low": 1e-6, "high": 1e-2}},
    "trials": 3,
    "backend": "jax",
}
PLAN = StudyPlan.from_plain(PLAIN)
READY = happened.WorkerReady(worker=0, environment=HERE, data=DATA)
STARTED = happened.StudyStarted(study="mine", known=0, unfinished=0)


def began(trial: int, **more: Any) -> happened.TrialStarted:
    facts = {"worker": 0, "config": {"weight_decay": 1e-4}, "epochs": 4, "attempt": 1}
    return happened.TrialStarted(trial=trial, **(facts | {"resumed_after": 0} | more))


def compiled(trial: int, *, fresh: bool) -> happened.BucketCompiled:
    placement = Placement(backend="jax", device_kind="a CPU", device_count=1, precision="float32")
    key = bucket_key(PLAN.recipe_for({"weight_decay": 1e-4}), DATA, placement)
    return happened.BucketCompiled(
        trial=trial, label=key.label, step_seconds=0.1, fresh=fresh, bucket=key
    )


def trained(trial: int, epoch: int, accuracy: float) -> happened.EpochTrained:
    scores = Scores(accuracy=accuracy, balanced_accuracy=0.1, macro_f1=0.1, top5=1.0, loss=1.0)
    line = Epoch(
        epoch=epoch,
        learning_rate=0.1,
        train_loss=1.0,
        train_accuracy=0.5,
        validation=scores,
        seconds=1.0,
    )
    return happened.EpochTrained(trial=trial, epoch=line, epochs=4)


def ended(trial: int, quality: float) -> happened.TrialEnded:
    measurement = Measurement(quality=quality, train_seconds=1.0)
    return happened.TrialEnded(
        trial=Trial(number=trial, state="complete", config={}, measurement=measurement)
    )


def test_each_stage_of_a_trial_is_named() -> None:
    follower = StudyFollower(PLAN)
    seen = []
    for at, event in enumerate(
        [STARTED, READY, began(0), compiled(0, fresh=True), trained(0, 2, 0.75), ended(0, 0.8)]
    ):
        follower.follow(event, at)
        seen.append([(work.trial, work.text) for work in follower.work.values()])

    assert seen == [
        [(None, "loading JAX and images")],
        [],
        [(0, "compiling b0@224 batch 128")],
        [(0, "training")],
        [(0, "accuracy 0.7500")],
        [],
    ]
    assert follower.best_text() == "best accuracy 0.8000"


def test_a_bucket_that_the_worker_has_is_not_compiled_again_and_a_new_worker_compiles() -> None:
    follower = StudyFollower(PLAN)
    for at, event in enumerate([STARTED, READY, began(0), compiled(0, fresh=True), ended(0, 0.5)]):
        follower.follow(event, at)

    follower.follow(began(1), 5)
    known = follower.work[0].text
    died = happened.WorkerDied(worker=0, trial=1, cause="SIGKILL", log_tail="")
    follower.follow(died, 6)
    follower.follow(READY, 8)
    follower.follow(began(1, attempt=2), 9)

    assert known == "preparing"
    assert follower.work[0].text == "compiling b0@224 batch 128, about 1 s"


def test_the_time_of_a_compilation_is_that_of_the_plan_or_of_those_before() -> None:
    key = compiled(0, fresh=True).bucket
    assert key is not None

    class Known(Prediction):
        def start_seconds(self, bucket: object) -> float | None:
            return 31.0 if bucket == key else None

    follower = StudyFollower(PLAN, predict=lambda _: Known(60.0))
    for event in (STARTED, READY, began(0)):
        follower.follow(event, 0)

    assert follower.work[0].text == "compiling b0@224 batch 128, about 31 s"


def test_the_time_left_begins_with_the_prediction_of_the_first_worker() -> None:
    follower = StudyFollower(PLAN, predict=lambda ready: Prediction(60.0 * len(ready.data.digest)))
    follower.follow(STARTED, 0)
    before = follower.seconds_left(0)
    follower.follow(READY, 10)

    assert before is None
    assert follower.seconds_left(10) == 3 * 60 * 16


def test_hours_of_earlier_runs_are_part_of_the_budget() -> None:
    plan = StudyPlan.from_plain(PLAIN | {"trials": None, "hours": 2})
    follower = StudyFollower(plan, used_seconds=3600)
    follower.follow(STARTED, 0)

    assert follower.seconds_left(600) == 3000


def test_the_best_trial_of_a_loss_has_the_lowest() -> None:
    follower = StudyFollower(StudyPlan.from_plain(PLAIN | {"quality": "loss"}), best=(7, 0.5))
    follower.follow(ended(0, 0.6), 0)
    first = follower.best
    follower.follow(ended(1, 0.4), 1)

    assert (first, follower.best) == ((7, 0.5), (1, 0.4))


def test_the_figures_of_plan_predict_the_trials(tmp_path: Path) -> None:
    prediction = predict(PLAN, READY, tmp_path)

    assert prediction.trial_seconds is not None
    assert prediction.trial_seconds > 0
    assert predict_or_not(PLAN, tmp_path, READY) == prediction


def test_a_forecast_that_fails_predicts_nothing(tmp_path: Path) -> None:
    no_environment = READY.model_copy(update={"environment": None})

    assert predict_or_not(PLAN, tmp_path, no_environment) == Prediction()
