"""Compiles the trainer's programs for a v5e-8 with the TPU's own compiler; needs no TPU.

    python benchmarks/tpu_compiler.py                     # every row that is missing: hours
    python benchmarks/tpu_compiler.py b0@32 classifier    # these rows, again
    python benchmarks/tpu_compiler.py --list
    python benchmarks/tpu_compiler.py --page              # from the rows that are there

Batch 128 on eight chips (extractions 128 a chip), mixed_bfloat16, AdaBelief with averaged weights.
Each program is compiled in a process of its own; a row is kept in
benchmarks/results/tpu_compiler.json as soon as it is there, so an interrupted call is resumed by
the next. Writes benchmarks/results/tpu_compiler.md.

What `plan` predicts is compared like for like when the page is written: weights, activations and
the images of the one split that a step runs on, without the share of the runtime and the other
splits; FLOPs as XLA counts those of a compiled step; seconds without all-reduces. The last rows are
the training step of Keras' own EfficientNetV2B0, as `model.fit` compiles it on JAX with Keras'
AdamW, and ours with the same images and optimizer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError
from effv2_tune.files.atomic import write_json, write_text
from effv2_tune.forecast import roofline, tpu
from effv2_tune.forecast.alternatives import Misfit
from effv2_tune.forecast.memory_estimate import predict_memory, resident_bytes
from effv2_tune.forecast.target import target_of
from effv2_tune.forecast.work import EXTRACTION_BATCH, work_of
from effv2_tune.host import installed_versions
from effv2_tune.image_rows import packed_bytes
from effv2_tune.study.bucket import DataFacts, bucket_key
from effv2_tune.study.recipe import Recipe
from effv2_tune.workers.accelerators import named
from effv2_tune.workers.compilations import CompileBucket, CompiledProgram
from effv2_tune.workers.compiling import compile_bucket, compile_environment
from effv2_tune.workers.topology import find_topology

if TYPE_CHECKING:
    from effv2_tune.forecast.memory_estimate import Tier
    from effv2_tune.forecast.target import Target
    from effv2_tune.workers.compilations import ProgramKind

RESULTS = Path(__file__).parent / "results"
ROWS = RESULTS / "tpu_compiler.json"
PAGE = RESULTS / "tpu_compiler.md"
DEVICE = "v5e-8"
BATCH = 128
KERAS = "keras.applications b0@224"
OURS = "b0@224, Keras' images and optimizer"
PRECISION = "mixed_bfloat16"


@dataclass(frozen=True)
class Row:
    """A program of the table.

    Attributes:
        variant: The network.
        resolution: Side in pixels that it is trained at.
        stored: Training images, and their stored side in pixels.
        kind: The program.
        settings: Of the recipe, beside the benchmark's own.
        streams: Whether images are streamed, not resident; they are as well where those of all
            splits take more than a quarter of the memory.
    """

    variant: str
    resolution: int
    stored: tuple[int, int]
    kind: ProgramKind = "train"
    settings: dict[str, Any] = field(default_factory=dict)
    streams: bool = False


CIFAR = (45_000, 32)
FROZEN = {"backbone": "frozen", "weights": "imagenet", "flip": True, "ema": False}
TABLE = {
    "b0@32": Row("b0", 32, CIFAR),
    "classifier": Row("b0", 224, CIFAR, settings=FROZEN),
    "b0@224 evaluation": Row("b0", 224, CIFAR, "evaluate"),
    "b0@224 extraction": Row("b0", 224, CIFAR, "extract", FROZEN),
    "b0@224": Row("b0", 224, CIFAR),
    "s@384": Row("s", 384, (8_000, 384), settings={"crop_padding": 4}),
    "m@480": Row("m", 480, (5_000, 480)),
    "xl@512": Row("xl", 512, (4_000, 512)),
    OURS: Row("b0", 224, (8_000, 224), settings={"optimizer": "adamw", "ema": False}, streams=True),
}


def main(arguments: list[str]) -> None:
    """Compile the rows that are named, or those that are missing, and write the page."""
    if arguments == ["--list"]:
        print("\n".join([*TABLE, KERAS]))
        return
    rows: dict[str, Any] = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    missing = [name for name in [*TABLE, KERAS] if name not in rows]
    for name in [] if arguments == ["--page"] else arguments or missing:
        print(f"compiling {name}", flush=True)
        try:
            rows[name] = keras_row() if name == KERAS else compiled_row(TABLE[name])
        except TuneError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        write_json(ROWS, rows)
    write_text(PAGE, page(rows))
    print(PAGE.read_text())


def device_target() -> Target:
    """The devices that everything is compiled for."""
    accelerator, count = named(DEVICE)
    return target_of(
        accelerator,
        kind=accelerator.kind,
        backend="jax",
        device_kind=accelerator.device_kind,
        count=count,
        precision=PRECISION,
    )


def request_of(row: Row) -> CompileBucket:
    """The request for a row's bucket."""
    accelerator, _ = named(DEVICE)
    train, side = row.stored
    data = DataFacts(
        classes=10,
        image_shape=(side, side, 3),
        train=train,
        validation=train // 9,
        test=train // 9,
        digest="",
    )
    settings: dict[str, Any] = {"optimizer": "adabelief", "ema": True} | row.settings
    recipe = Recipe(
        variant=row.variant, resolution=row.resolution, batch_size=BATCH, epsilon=1e-7, **settings
    )
    return CompileBucket(
        recipe=recipe,
        key=bucket_key(recipe, data, device_target().placement),
        data=data,
        topology=find_topology(DEVICE),
        image_bytes=0 if row.streams else int(accelerator.memory / 4),
        kinds=(row.kind,),
    )


def compiled_row(row: Row) -> dict[str, Any]:
    """Compile a row's program; its figures."""
    program = compile_bucket(request_of(row)).programs[0]
    return {"program": program.model_dump(mode="json")} | versions()


@dataclass(frozen=True)
class Predicted:
    """What `plan` predicts of a program on one device, of what the program holds and computes.

    Attributes:
        memory: Bytes, without the share of the runtime and the splits that it does not run on.
        flops: Of a step, as XLA counts those of a compiled step.
        seconds: Of a step, without all-reduces, as the compiler's estimate; None for a classifier,
            whose step is predicted as overhead alone.
    """

    memory: float
    flops: float
    seconds: float | None


def tier_of(row: Row) -> Tier:
    """Where the images of a row are, by the rule of the trainer."""
    request, target = request_of(row), device_target()
    nbytes = resident_bytes(request.data, target)
    return "resident" if nbytes <= request.image_bytes else "streamed"


def predicted(row: Row) -> Predicted:
    """The figures of a row's program by `plan`'s formulas."""
    key, data, target = (request := request_of(row)).key, request.data, device_target()
    work, count = work_of(key), target.placement.device_count
    if row.kind == "train" and not key.takes_features:
        alone = data.model_copy(update={"validation": 0, "test": 0})
        memory = predict_memory(work, key, target, alone, tier=tier_of(row))
        seconds = roofline.step_seconds(work, key, target)
        return Predicted(
            memory.total - memory.overhead,
            work.compiled_step_flops(key.batch / count),
            seconds - tpu.all_reduce_seconds(work, key, target),
        )
    if row.kind == "train":
        features = work.feature_views * data.train * work.feature_width * 4
        weights = work.trained * 4 * (1 + work.state_vectors)
        return Predicted(features + weights, work.compiled_step_flops(key.batch / count), None)
    is_evaluation = row.kind == "evaluate"
    each = key.batch // count if is_evaluation else EXTRACTION_BATCH
    images = (data.validation if is_evaluation else data.train) * packed_bytes(data.image_shape)
    seconds_of = roofline.evaluation_seconds if is_evaluation else roofline.extraction_seconds
    return Predicted(
        work.parameters * 4 + images + tpu.inference_bytes(work, key, each),
        work.compiled_inference_flops * each,
        each * count * seconds_of(work, key, target),
    )


def versions() -> dict[str, Any]:
    """The versions that a row was compiled with."""
    return {"versions": installed_versions(("jax", "libtpu", "keras"))}


def keras_row() -> dict[str, Any]:
    """The step of Keras' own network, compiled in a process as for the other rows."""
    environment = compile_environment(find_topology(DEVICE))
    done = subprocess.run(
        [sys.executable, __file__, "inside"],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    return {"program": json.loads(done.stdout.splitlines()[-1])} | versions()


def compile_keras() -> CompiledProgram:
    """Compile the step of `model.fit`: its state is replicated, and its batch is split."""
    import jax
    import keras

    from effv2_tune.training.backends.jax.ahead_of_time import (
        LoweredProgram,
        compile_program,
        topology_backend,
    )
    from effv2_tune.training.backends.jax.mesh import abstract, replicated, split_by_batch

    topology = find_topology(DEVICE)
    mesh = topology_backend(topology).mesh
    keras.config.set_dtype_policy(PRECISION)
    network = keras.applications.EfficientNetV2B0(
        weights=None, classes=10, input_shape=(224, 224, 3), classifier_activation=None
    )
    network.compile(
        optimizer=keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    images = jax.ShapeDtypeStruct((BATCH, 224, 224, 3), "uint8")
    labels = jax.ShapeDtypeStruct((BATCH,), "int32")
    network._symbolic_build(data_batch=(images, labels))  # noqa: SLF001 - as `fit` does
    state = network._get_jax_state(  # noqa: SLF001
        trainable_variables=True,
        non_trainable_variables=True,
        optimizer_variables=True,
        metrics_variables=True,
    )
    state = abstract(state, replicated(mesh))
    data = abstract((images, labels), split_by_batch(mesh))
    lowered = jax.jit(network.train_step, donate_argnums=0).lower(state, data)
    return compile_program(LoweredProgram("train", "train", lowered, 0), topology)


def page(rows: dict[str, Any]) -> str:
    """The results as a page."""
    used = {json.dumps(row["versions"]) for row in rows.values()}
    found = "; ".join(
        ", ".join(f"{name} {version}" for name, version in json.loads(one).items())
        for one in sorted(used)
    )
    intro = (
        "Written by `python benchmarks/tpu_compiler.py`; its first lines say what is compiled. "
        f"**Nothing was run on a TPU.** {DEVICE}, {found}."
    )
    legend = (
        "HBM, GFLOP and all-reduces: of one chip and one step; *est. ms* is the compiler's "
        "estimate of a step, without all-reduces, and *a call* of what a call does beside its "
        "steps; *before*: both before the steps were changed for TPUs. Columns with / are the "
        "compiled figure over the one that `plan` predicts, like for like. *Copies*: "
        "instructions that write an array as large as all resident images."
    )
    versions_matter = (
        "The same program differs by the version of the compiler: B0 at 224 px takes 0.626 GB and "
        "5.99 ms with libtpu 0.0.52, with which most of *before* was compiled, and 0.025 GB of "
        "either are the averaged weights. At its peak the step holds outputs of the first layers, "
        "in bfloat16 and with 16 or 32 channels in the place of 128. To compute activations again "
        "in the backward pass saves little of that, and costs time: those of SiLU 0.889 GB and "
        "8.39 ms (`jax.checkpoint` around each), everything but convolutions, products and sums "
        "0.666 GB and 7.80 ms (a policy of `jax.checkpoint` for the whole network), and the "
        "convolutions of 112 px as well 0.641 GB and 9.64 ms. None of it is in use. The images of "
        "S and M are streamed, as those of all splits exceed a quarter of the memory; 3.1 GB of XL "
        "at 512 px are its resident images. `plan` predicts 17.2 GB for it, more than a v5e has; "
        "the compiler makes it fit, as it computes 7 % of the operations a second time. For a "
        "v6e-8 of 32 GB it makes 19.2 GB of it, 1.12 times the prediction, and 9,200 GFLOP, 0.99 "
        "times."
    )
    title = "# What the TPU's compiler makes of the trainer"
    parts = [
        title,
        intro,
        table(rows),
        legend,
        versions_matter,
        not_compiled(rows),
        against_keras(rows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


#: Estimated ms of a step, and of what a call did beside its steps, before a change for TPUs
#: (commit 1e17eec; B0 at 32 px and the classifier with libtpu 0.0.42.1, the others with 0.0.52).
BEFORE = {
    "b0@32": "1.97 + 4.8",
    "classifier": "0.0243 + 7.7",
    "b0@224": "8.43 + 4.86",
    "b0@224 evaluation": "1.54 + 4.6",
    "b0@224 extraction": "5.9 + 4.6",
    "s@384": "59.8 + 0",
}
HEAD = (
    "| program | CPU s | HBM | / plan | GFLOP | / plan | est. ms | / plan | a call, ms | before | "
    "all-reduces | MB | copies |"
)


def table(rows: dict[str, Any]) -> str:
    """One line for each program."""
    shown = [line(name, rows[name]) for name in TABLE if name in rows and name != OURS]
    return "\n".join([HEAD, "| --- |" + " --- |" * 12, *shown])


def not_compiled(rows: dict[str, Any]) -> str:
    """The rows that are missing, with what `plan` predicts of them."""
    limit = device_target().usable_memory or 0.0
    missing = [
        f"{name} ({memory / 1e9:.1f} GB of {limit / 1e9:.0f} GB by the formulas of `plan`)"
        for name, row in TABLE.items()
        if name not in rows and (memory := predicted(row).memory)
    ]
    missing += [KERAS] if KERAS not in rows else []
    return f"Not compiled yet: {', '.join(missing)}." if missing else ""


def line(name: str, row: dict[str, Any]) -> str:
    """The line of a program."""
    program, plan = CompiledProgram.from_plain(row["program"]), predicted(TABLE[name])
    seconds = f"{program.compile_cpu_seconds:.0f}"
    if not program.fits:
        return f"| {name} | {seconds} | {refused(TABLE[name], program)} |" + " |" * 10
    cells = [
        name,
        seconds,
        f"{program.memory_bytes / 1e9:.3f} GB",
        ratio(program.memory_bytes, plan.memory),
        f"{program.flops / 1e9:.3g}",
        ratio(program.flops, plan.flops),
        f"{1000 * program.step_seconds:.3g}",
        ratio(program.step_seconds, plan.seconds),
        f"{1000 * program.call_seconds:.2g}",
        BEFORE.get(name, ""),
        str(program.all_reduces),
        f"{program.all_reduce_bytes / 1e6:.2f}",
        str(program.image_copies),
    ]
    return f"| {' | '.join(cells)} |"


def refused(row: Row, program: CompiledProgram) -> str:
    """What the compiler says of a program that does not fit, and what `plan` says would."""
    request, target = request_of(row), device_target()
    memory = program.memory_bytes or None
    needed = f"needs {memory / 1e9:.1f} GB" if memory else "without a figure"
    count = target.placement.device_count
    would = Misfit(
        key=request.key,
        target=target,
        data=request.data,
        tier=tier_of(row),
        machine=count,
        divisor=count,
        known=memory,
    ).alternatives()
    return f"does not fit: {needed}, plan {predicted(row).memory / 1e9:.1f} GB; {would}"


def ratio(compiled: float, predicted: float | None) -> str:
    """A compiled figure over the predicted one; nothing where there is none."""
    return "" if not predicted else f"{compiled / predicted:.2f}"


def against_keras(rows: dict[str, Any]) -> str:
    """The step of Keras' own network, and ours with the same images and optimizer."""
    if not {KERAS, OURS} <= set(rows):
        return ""
    theirs, ours = (CompiledProgram.from_plain(rows[name]["program"]) for name in (KERAS, OURS))
    intro = (
        "B0 at 224 px, AdamW, images of 224 px as uint8 that come with the batch; theirs is the "
        "step that `model.fit` compiles, ours without augmentation."
    )
    lines = [
        "## Against keras.applications",
        "",
        intro,
        "",
        "| | est. ms | HBM | all-reduces |",
        "| --- | --- | --- | --- |",
    ]
    for name, one in (("`EfficientNetV2B0`, `model.fit`", theirs), ("effv2-tune", ours)):
        size = f"{one.memory_bytes / 1e6:.0f} MB"
        lines.append(f"| {name} | {1000 * one.step_seconds:.2f} | {size} | {one.all_reduces} |")
    seconds = ours.step_seconds / theirs.step_seconds
    memory = ours.memory_bytes / theirs.memory_bytes
    lines.append(f"| ratio | {seconds:.2f} | {memory:.2f} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        print(compile_keras().model_dump_json())
    else:
        main(sys.argv[1:])
