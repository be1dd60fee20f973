"""Studies on a Ray cluster of several nodes, all on this machine, with scripted workers."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psutil
import pytest

pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")

from tests.conftest import STUDY
from tests.end_to_end.lost_folders import newest_version, running
from tests.end_to_end.ray_cluster import Killer, TestCluster, wait_for

from effv2_tune.errors import TuneError
from effv2_tune.files.cache import CACHE_VARIABLE
from effv2_tune.search import read_study
from effv2_tune.search.events import (
    BucketCompiled,
    EpochTrained,
    StudyEnded,
    TrialEnded,
    TrialStarted,
    WorkerDied,
    WorkerReady,
)
from effv2_tune.search.supervisor import open_study
from effv2_tune.study import load_plan
from effv2_tune.workers.launch import WORKER_COMMAND
from effv2_tune.workers.ray import choose_cluster_device, connect

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Generator, Iterator

    from effv2_tune.search.events import Event
    from effv2_tune.study.plan import StudyPlan

    MakePlan = Callable[..., StudyPlan]

pytestmark = pytest.mark.slow

WORKER = str(Path(__file__).with_name("scripted_worker.py"))
#: Configs depend on seed and number alone, and no trial on another one.
INDEPENDENT = {"engine": "random", "halving": {"enabled": False}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestCluster]:
    """Four nodes with room for two workers each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SCRIPT", raising=False)
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        with TestCluster() as started:
            for _ in range(4):
                started.add_node()
            ray = connect(started.address)
            wait_for(lambda: ray.cluster_resources().get("CPU") == 8, "four nodes")
            yield started
            ray.shutdown()


def run(
    plan: StudyPlan,
    out: Path,
    *,
    script: dict[str, Any] | None = None,
    command: tuple[str, ...] = (),
    on_event: Callable[[Event], None] = lambda _: None,
    is_enough: Callable[[], bool] = lambda: False,
) -> list[Event]:
    """Run a study, with workers that follow a script if left out, on whatever machine."""
    # Not in the environment of this process, which nodes do not have.
    command = command or (
        "/usr/bin/env",
        f"SCRIPT={json.dumps(script or {})}",
        sys.executable,
        WORKER,
    )
    events = []
    with open_study(plan, out, base=out) as study:
        running = study.run(hardware="cpu", backend="tensorflow", worker_command=command)
        with contextlib.closing(cast("Generator[Event]", running)):
            for event in running:
                events.append(event)
                on_event(event)
                if is_enough():
                    break
    return events


def of_kind(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def results(out: Path) -> dict[int, Any]:
    """What depends neither on machines nor on time."""
    return {
        trial.number: (
            trial.state,
            trial.config,
            trial.measurement,
            [(epoch.epoch, epoch.validation) for epoch in trial.curve],
        )
        for trial in read_study(out).trials
    }


def on_cluster(cluster: TestCluster, **per_worker: int) -> dict[str, Any]:
    return {"ray": cluster.address, "per_worker": per_worker}


def test_a_study_on_a_cluster_has_the_results_of_a_local_one(
    tmp_path: Path, cluster: TestCluster, make_plan: MakePlan
) -> None:
    plan = {"search": INDEPENDENT, "trials": 12, "workers": 4}
    run(make_plan(**plan), tmp_path / "local")

    clock = {"recorded": str(tmp_path / "local")}
    events = run(make_plan(**plan, clock=clock, cluster=on_cluster(cluster)), tmp_path / "cluster")

    assert results(tmp_path / "cluster") == results(tmp_path / "local")
    assert len(of_kind(WorkerReady, events)) == 4
    assert not of_kind(WorkerDied, events)
    kept = [
        sorted(path.name for path in (out / "checkpoints").rglob("step-*"))
        for out in (tmp_path / "local", tmp_path / "cluster")
    ]
    assert kept[0] == kept[1] != []


def test_the_trial_of_a_killed_actor_resumes_at_its_checkpoint_on_any_node(
    tmp_path: Path, cluster: TestCluster, make_plan: MakePlan
) -> None:
    plan = make_plan(
        trials=1,
        recipe={"epochs": 16, "schedule": "constant"},
        search=INDEPENDENT,
        cluster=on_cluster(cluster),
    )

    killed: list[psutil.Process] = []

    def kill_late(event: Event) -> None:
        if isinstance(event, EpochTrained) and event.epoch.epoch == 12 and not killed:
            killed.extend(cluster.actors())
            killed[0].kill()

    events = run(plan, tmp_path, script={"epoch_seconds": 0.4}, on_event=kill_late)

    first, again = of_kind(TrialStarted, events)
    (died,) = of_kind(WorkerDied, events)
    assert died.cause == "its actor was killed, or its node left the cluster"
    assert first.attempt == 1
    assert again.resumed_after >= 4
    assert results(tmp_path)[0][0] == "complete"
    assert [epoch for epoch, _ in results(tmp_path)[0][3]] == list(range(1, 17))


def test_a_worker_that_crashes_is_reported_with_its_log_and_counted_as_on_one_machine(
    tmp_path: Path, cluster: TestCluster, make_plan: MakePlan
) -> None:
    plan = make_plan(trials=2, search=INDEPENDENT, cluster=on_cluster(cluster))

    events = run(plan, tmp_path, script={"0": {"die_at": [2, 2], "by": 3}})

    first, second = of_kind(WorkerDied, events)
    assert first.cause == second.cause == "exit status 3"
    assert "dying now" in first.log_tail
    assert [result[0] for result in results(tmp_path).values()] == ["infeasible", "complete"]


@pytest.mark.parametrize("killed", ["actor", "agent"])
def test_no_worker_process_outlives_its_actor_or_the_agent_of_its_node(
    tmp_path: Path, cluster: TestCluster, make_plan: MakePlan, killed: str
) -> None:
    plan = make_plan(trials=1, search=INDEPENDENT, cluster=on_cluster(cluster))
    processes: list[psutil.Process] = []

    def kill(event: Event) -> None:
        if processes or not isinstance(event, EpochTrained):
            return
        (actor,) = cluster.actors()
        processes.extend(cluster.workers_of(actor))
        # One that is stopped does not read its pipe.
        os.kill(processes[0].pid, signal.SIGSTOP)
        if killed == "actor":
            actor.kill()
        else:
            node = cluster.node_of(actor)
            cluster.agent(node).kill()
            cluster.nodes.remove(node)

    events = run(plan, tmp_path, script={"epoch_seconds": 0.2}, on_event=kill)
    if killed == "agent":
        cluster.add_node()

    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    assert len(of_kind(WorkerDied, events)) == 1
    assert results(tmp_path)[0][0] == "complete"


@pytest.mark.parametrize("workers", [5, "auto"])
def test_workers_start_when_a_node_joins(
    tmp_path: Path, cluster: TestCluster, make_plan: MakePlan, workers: int | str
) -> None:
    ray = connect(cluster.address)
    wait_for(lambda: ray.cluster_resources().get("CPU") == 8, "four nodes")
    plan = make_plan(
        trials=2000, search=INDEPENDENT, workers=workers, cluster=on_cluster(cluster, cpu=2)
    )
    ready: set[int] = set()
    joined = False

    def follow(event: Event) -> None:
        if isinstance(event, WorkerReady):
            ready.add(event.worker)
        nonlocal joined
        if len(ready) == 4 and not joined:
            cluster.add_node()
            joined = True

    events = run(
        plan,
        tmp_path,
        script={"epoch_seconds": 0.25},
        on_event=follow,
        is_enough=lambda: len(ready) == 5,
    )
    assert ready == set(range(5))
    assert not of_kind(WorkerDied, events)
    cluster.kill_node(cluster.nodes[-1])


@pytest.mark.long
def test_features_are_extracted_by_one_node_and_copied_to_the_other(
    tmp_path: Path, cluster: TestCluster, make_plan: MakePlan
) -> None:
    from effv2_tune.network import training_network

    weights = tmp_path / "tiny.weights.h5"
    training_network("tiny", classes=7, resolution=32, seed=5).save_weights(weights)
    caches = [tmp_path / "first", tmp_path / "second"]
    nodes = [cluster.add_node(1, gpus=1, env={CACHE_VARIABLE: str(cache)}) for cache in caches]
    ray = connect(cluster.address)
    wait_for(lambda: ray.cluster_resources().get("GPU") == 2, "two GPUs")
    recipe = {"variant": "tiny", "resolution": 32, "backbone": "frozen", "weights": str(weights)}
    plan = make_plan(
        data={"name": "digits", "train": 320, "validation": 128, "test": 64},
        recipe=recipe | {"batch_size": 64, "epochs": 4, "schedule": "constant"},
        search_space={"maximal_learning_rate": {"type": "float", "low": 0.01, "high": 0.1}},
        search=INDEPENDENT,
        trials=100,
        workers=2,
        cluster=on_cluster(cluster, gpu=1),
    )
    notes: list[str] = []

    def follow(event: Event) -> None:
        if isinstance(event, BucketCompiled) and event.notes:
            notes.append(" ".join(event.notes))

    run(
        plan,
        tmp_path / "out",
        command=WORKER_COMMAND,
        on_event=follow,
        is_enough=lambda: len(notes) == 2,
    )
    for node in nodes:
        cluster.kill_node(node)
    wait_for(lambda: not ray.cluster_resources().get("GPU"), "no GPUs")

    first, second = notes
    assert "images computed in" in first
    assert "images computed in" not in second
    assert " found in " in second
    one, other = (
        {path.name: path.read_bytes() for path in cache.glob("features/*/*.npy")}
        for cache in caches
    )
    assert one == other
    assert {"train.npy", "validation.npy"} <= one.keys()


@pytest.mark.parametrize("per_worker", [{"cpu": 3}, {"gpu": 1}])
def test_what_no_node_has_is_refused(
    cluster: TestCluster, make_plan: MakePlan, per_worker: dict[str, int]
) -> None:
    plan = make_plan(cluster=on_cluster(cluster, **per_worker))
    assert plan.cluster is not None

    with pytest.raises(TuneError, match="exceeds every node of the cluster") as caught:
        choose_cluster_device(plan, plan.cluster)

    assert caught.value.exit_code == 2


def test_the_command_runs_a_study_on_the_cluster_of_its_machine(
    cluster: TestCluster, folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    command = ("run", "study.yaml", "--workers", "3", "--ray", cluster.address)
    out, err = start(*command, "--dry-run").communicate(timeout=120)
    assert "with room for" in out, err
    assert f"workers   3 at most, on the Ray cluster {cluster.address}" in out

    process = start(*command)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert err.count("complete") >= 4
    assert len(results(folder / "runs" / "small")) == 4


def test_an_interrupted_study_on_a_cluster_is_resumed_by_the_same_command(
    cluster: TestCluster, folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    command = ("run", "study.yaml", "--workers", "2", "--ray", cluster.address)
    script = json.dumps({"epoch_seconds": 0.5})
    process = start(*command, SCRIPT=script)
    events = folder / "runs" / "small" / "events.jsonl"
    wait_for(lambda: events.exists() and "TrialStarted" in events.read_text(), "a trial")

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err

    again = start(*command)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert {result[0] for result in results(folder / "runs" / "small").values()} == {"complete"}


def test_a_study_whose_supervisor_is_killed_goes_on_elsewhere_from_its_mirror(
    cluster: TestCluster, folder: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    last = 12
    study = STUDY.replace("epochs: 4", f"epochs: {last}").replace("trials: 4", "trials: 6")
    study = study.replace("search: {", "search: {engine: random, ")
    (folder / "study.yaml").write_text(study)
    run(load_plan(folder / "study.yaml").plan, folder / "undisturbed")
    command = ("run", "study.yaml", "--workers", "2", "--ray", cluster.address)
    command += ("--mirror", "mirror", "--out")
    slow, fast = (json.dumps({"epoch_seconds": seconds}) for seconds in (0.4, 0.02))

    process = start(*command, "first", SCRIPT=slow, MIRROR_SECONDS="0.1")
    wait_for(lambda: has_ended_and_running(folder / "mirror", last), "a version of the mirror")
    workers = [worker for actor in cluster.actors() for worker in cluster.workers_of(actor)]
    process.kill()
    process.communicate()
    shutil.rmtree(folder / "first")
    version = newest_version(folder / "mirror")
    assert version is not None
    again = start(*command, "elsewhere", SCRIPT=fast)
    _, err = again.communicate(timeout=120)

    assert again.returncode == 0, err
    _, alive = psutil.wait_procs(workers, timeout=0)
    assert len(workers) == 2
    assert not alive
    events = [
        json.loads(line) for line in (folder / "elsewhere/events.jsonl").read_text().splitlines()
    ]
    restored = [event["event"] for event in events].index("StudyRestored")
    steps = {number: [] for number in range(6)}
    for event in events[restored:]:
        if event["event"] == "EpochTrained":
            steps[event["trial"]].append(event["epoch"]["epoch"])
    for trial, step in running(version, last=last).items():
        assert steps[trial] == list(range(step + 1, last + 1))
    ended = [event["trial"]["number"] for event in events if event["event"] == "TrialEnded"]
    assert sorted(ended) == list(range(6))
    assert results(folder / "elsewhere") == results(folder / "undisturbed")


def has_ended_and_running(mirror: Path, last: int) -> bool:
    """Whether the mirror has an ended trial, and the checkpoints of two that run."""
    version = newest_version(mirror)
    return (
        version is not None and version.facts["ended"] > 0 and len(running(version, last=last)) == 2
    )


def test_nothing_is_lost_or_doubled_while_nodes_and_actors_are_killed(
    tmp_path: Path, cluster: TestCluster, make_plan: MakePlan
) -> None:
    plan = {"search": INDEPENDENT, "trials": 200, "workers": 8}
    run(make_plan(**plan), tmp_path / "local")
    clock = {"recorded": str(tmp_path / "local")}
    chance = random.Random(5)  # noqa: S311 - not for cryptography

    with Killer(cluster, chance, kills=20, node_kills={6, 13}, joins={9, 16}, every=8) as killer:
        events = run(
            make_plan(**plan, clock=clock, cluster=on_cluster(cluster)),
            tmp_path / "cluster",
            script={"epoch_seconds": 0.02},
            on_event=lambda event: killer.count_end() if isinstance(event, TrialEnded) else None,
        )

    assert len(killer.killed) == 20
    assert killer.killed.count("node") == killer.joined == 2
    assert len(of_kind(WorkerDied, events)) >= 20
    assert isinstance(events[-1], StudyEnded)
    numbers = [event.trial.number for event in of_kind(TrialEnded, events)]
    assert sorted(numbers) == list(range(200))
    assert results(tmp_path / "cluster") == results(tmp_path / "local")
    _, alive = psutil.wait_procs(killer.seen, timeout=30)
    assert not alive


@pytest.fixture(scope="module")
def two_kinds(cluster: TestCluster) -> TestCluster:
    """The cluster with two more nodes, each with a GPU of another kind, until the last test."""
    for device in ("Tesla T4", "NVIDIA L4"):
        cluster.add_node(1, gpus=1, env={"DEVICE": device})
    ray = connect(cluster.address)
    wait_for(lambda: ray.cluster_resources().get("GPU") == 2, "two GPUs")
    return cluster


def test_nodes_of_other_kinds_train_while_those_of_the_target_time_the_buckets(
    tmp_path: Path, two_kinds: TestCluster, make_plan: MakePlan
) -> None:
    plan = make_plan(
        trials=12,
        workers="auto",
        search=INDEPENDENT,
        target={"devices": 1, "device": "t4"},
        cluster=on_cluster(two_kinds, gpu=1),
    )

    events = run(plan, tmp_path, script={"epoch_seconds": 0.1})

    trials = read_study(tmp_path).trials
    kinds = {trial.number: trial.environment.device_kind for trial in trials if trial.environment}
    assert set(kinds.values()) == {"Tesla T4", "NVIDIA L4"}
    assert {trial.bucket.device_kind for trial in trials if trial.bucket} == {"Tesla T4"}
    assert {trial.state for trial in trials} == {"complete"}
    timed_in_training = {event.trial for event in of_kind(BucketCompiled, events) if event.fresh}
    assert {kinds[trial] for trial in timed_in_training} == {"Tesla T4"}
    seconds = {
        (trial.recipe.pixels, trial.measurement.train_seconds)
        for trial in trials
        if trial.recipe and trial.measurement
    }
    assert len(seconds) == 2  # one for each bucket, whatever the node


def test_nodes_of_another_kind_are_refused_without_a_target(
    tmp_path: Path, two_kinds: TestCluster, make_plan: MakePlan
) -> None:
    plan = make_plan(trials=12, workers=2, cluster=on_cluster(two_kinds, gpu=1))

    with pytest.raises(TuneError, match="was measured on") as caught:
        run(plan, tmp_path, script={"epoch_seconds": 0.1})

    assert caught.value.hint is not None
    assert "'target: {devices: 1, device: NAME}'" in caught.value.hint
