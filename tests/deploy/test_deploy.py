"""The files in `deploy/` can be parsed, and call the command as it is."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from effv2_tune.commands.study.run import command

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
FILES = sorted(DEPLOY.iterdir())


def content(name: str) -> Any:
    return YAML(typ="safe").load((DEPLOY / name).read_text(encoding="utf-8"))


def commands(path: Path) -> list[list[str]]:
    """Each call of `run` in a file, in words."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    calls = re.findall(r"effv2-tune run ([^\n'&]*)", text)
    return [shlex.split(call) for call in calls]


def options_of(words: list[str]) -> set[str]:
    return {word for word in words if word.startswith("--")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_calls_run_with_options_that_it_has(path: Path) -> None:
    known = {option for parameter in command.params for option in parameter.opts}

    assert commands(path)
    for words in commands(path):
        assert options_of(words) <= known
        assert "--mirror" in words


def test_the_rayjob_has_one_worker_of_the_study_for_each_gpu_and_none_on_the_head() -> None:
    job = content("kuberay-rayjob.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]

    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert cluster["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for pod in (cluster["headGroupSpec"], group):
        spec = pod["template"]["spec"]
        mounted = {m["name"] for one in spec["containers"] for m in one["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_the_ray_cluster_starts_ray_on_head_and_workers() -> None:
    cluster = content("ray-cluster.yaml")
    types = cluster["available_node_types"]

    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0}
    assert types["gpu"]["resources"]["GPU"] == 1
    assert 1 <= types["gpu"]["min_workers"] <= types["gpu"]["max_workers"] <= cluster["max_workers"]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert any("ray start" in line for line in cluster[key])


def test_the_batch_script_is_a_shell_script_with_one_task_for_each_node() -> None:
    path = DEPLOY / "slurm.sbatch"
    directives = re.findall(r"^#SBATCH (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)

    subprocess.run(["/bin/bash", "-n", str(path)], check=True)
    assert "--ntasks-per-node=1" in directives
    (words,) = commands(path)
    assert float(words[words.index("--session-hours") + 1]) < 8
    assert "--time=08:00:00" in directives


def test_the_skypilot_file_keeps_the_study_off_the_bucket_and_its_mirror_on_it() -> None:
    task = content("skypilot.yaml")
    (mount,) = task["file_mounts"]

    assert task["resources"]["use_spot"] is True
    (words,) = [words for words in commands(DEPLOY / "skypilot.yaml") if "--out" in words]
    assert not words[words.index("--out") + 1].startswith(mount)
    assert words[words.index("--mirror") + 1].startswith(mount)
