"""Compiles the programs of a bucket for TPUs that are not attached."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.experimental.topologies import get_topology_desc

from effv2_tune import catalog
from effv2_tune.errors import EXIT_FAILED, TuneError
from effv2_tune.host import install_command
from effv2_tune.image_rows import packed_shape
from effv2_tune.network.pretrained.weights import input_scaling
from effv2_tune.training.backends.base import StepInputs
from effv2_tune.training.backends.jax.device import JaxBackend
from effv2_tune.training.backends.jax.hlo import Program
from effv2_tune.training.backends.jax.mesh import abstract, device_mesh
from effv2_tune.training.compiled import bucket_network, bucket_optimizer
from effv2_tune.training.features.extraction import (
    DEVICE_BATCH,
    extraction_plan,
    random_backbone,
)
from effv2_tune.training.inputs.pipeline import Resident
from effv2_tune.training.inputs.shuffling import epoch_inputs
from effv2_tune.training.process_memory import is_out_of_memory, out_of_memory_reason
from effv2_tune.training.recipe_mapping import magnitudes, step_plan, weights_source
from effv2_tune.workers.compilations import CompiledProgram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from effv2_tune.study.bucket import DataFacts
    from effv2_tune.training.backends.base import SplitName
    from effv2_tune.training.backends.jax.steps import JaxSteps
    from effv2_tune.training.inputs.pipeline import DeviceData
    from effv2_tune.workers.compilations import CompileBucket, ProgramKind
    from effv2_tune.workers.topology import Topology

#: What a program needs at least that does not fit: "Used 21.90G of 15.75G hbm", or "the total
#: memory required for HLO temporaries (42.94G) exceeds available HBM (15.75G)".
_USED = re.compile(
    r"Used ([\d.]+)([KMGT]?) of|\(([\d.]+)([KMGT]?)\) exceeds available", re.IGNORECASE
)
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class AbsentRows:
    """Images or features of a split, of which only the shape is known (`pipeline.Source`).

    Attributes:
        count: How many.
        shape: Of one as it is stored on the device: of images, in rows.
        dtype: Of its elements.
    """

    count: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def image_shape(self) -> None:
        """None: no images are left to be packed."""
        return

    @property
    def labels(self) -> NDArray[np.int32]:
        """[count]."""
        return np.zeros(self.count, np.int32)

    @property
    def nbytes(self) -> int:
        """Of all rows."""
        return self.whole().nbytes

    def take(self, positions: NDArray[np.int32]) -> NDArray[Any]:
        """As many rows as there are positions."""
        return np.broadcast_to(np.zeros((), self.dtype), (len(positions), *self.shape))

    def whole(self) -> NDArray[Any]:
        """All rows, which share the memory of one number."""
        return np.broadcast_to(np.zeros((), self.dtype), (self.count, *self.shape))


@dataclass(frozen=True)
class LoweredProgram:
    """A program that is ready to be compiled.

    Attributes:
        kind: The program.
        split: Of the images that it runs on.
        lowered: A `jax.stages.Lowered`.
        resident: Elements of the split's rows if they are resident, else 0.
    """

    kind: ProgramKind
    split: SplitName
    lowered: Any
    resident: int


def topology_backend(topology: Topology) -> JaxBackend:
    """JAX on the devices of a topology, where arrays are shapes: for lowering alone.

    Raises:
        TuneError: The TPU's compiler is not installed, or does not know the topology.
    """
    try:
        devices = get_topology_desc(
            topology.description,
            "tpu",
            chip_config_name=topology.chip_config,
            chips_per_host_bounds=topology.host_bounds,
        ).devices
    except Exception as error:
        raise TuneError(
            f"The TPU's compiler cannot be used for {topology.name}: {str(error).splitlines()[0]}",
            hint=f"It is a package, and needs no TPU: {install_command('tpu-compiler')}",
            exit_code=EXIT_FAILED,
        ) from error
    names = [str(device.device_kind) for device in devices]
    return JaxBackend(device_mesh(devices), "tpu", names, put=abstract)


def lowered_programs(request: CompileBucket, backend: JaxBackend) -> Iterator[LoweredProgram]:
    """Lower the programs that a trial of a bucket runs.

    Args:
        request: The bucket.
        backend: From :func:`topology_backend`.
    """
    if request.key.takes_features and "extract" in request.kinds:
        yield from _extractions(request, backend)
    if not {"train", "evaluate"} & {*request.kinds}:
        return
    rows = feature_rows(request) if request.key.takes_features else image_rows(request.data)
    data = backend.place(rows, request.image_bytes)
    steps = _steps(request, backend, data)
    if "train" in request.kinds:
        lowered = steps.lower_training()
        yield LoweredProgram("train", "train", lowered, _resident(data, rows, "train"))
    if "evaluate" in request.kinds:
        # With folds, the validation images of each are among the training images of the others.
        split: SplitName = "validation" if request.data.folds == 1 else "train"
        lowered = steps.lower_evaluation(split)
        yield LoweredProgram("evaluate", split, lowered, _resident(data, rows, split))


def compile_program(program: LoweredProgram, topology: Topology) -> CompiledProgram:
    """Compile a program, and read what the compiler made of it."""
    started = time.process_time()
    try:
        compiled = program.lowered.compile()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return CompiledProgram(
            kind=program.kind,
            split=program.split,
            compile_cpu_seconds=time.process_time() - started,
            needed_bytes=_needed_bytes(str(error)),
            reason=out_of_memory_reason(error),
        )
    seconds = time.process_time() - started
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    text = Program.read(compiled.as_text())
    all_reduces = text.all_reduces()
    return CompiledProgram(
        kind=program.kind,
        split=program.split,
        compile_cpu_seconds=seconds,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
        code_bytes=memory.generated_code_size_in_bytes,
        flops=float(cost.get("flops", 0.0)),
        bytes_accessed=float(cost.get("bytes accessed", 0.0)),
        step_seconds=text.cycles(text.step) / topology.hertz,
        call_seconds=text.cycles_beside_the_step / topology.hertz,
        all_reduces=len(all_reduces),
        all_reduce_bytes=sum(all_reduces),
        all_gathers=text.all_gathers(),
        host_transfers=text.host_transfers(),
        image_copies=text.arrays_of(program.resident) if program.resident else 0,
        outputs=len(jax.tree.leaves(program.lowered.out_info)),
        aliased=text.aliased,
    )


def image_rows(data: DataFacts) -> dict[str, AbsentRows]:
    """The images of each split, packed as on an accelerator."""
    counts = {"train": data.trained, "validation": data.validation, "test": data.test}
    shape = packed_shape(data.image_shape)
    return {name: AbsentRows(count, shape, "uint8") for name, count in counts.items()}


def feature_rows(request: CompileBucket) -> dict[str, AbsentRows]:
    """The features of the splits that a trial uses: with flips of mirrored images, too."""
    views, width = _feature_shape(request)
    evaluated = 1 + request.recipe.evaluation_flip
    return {
        "train": AbsentRows(request.data.trained, (views, width), "float32"),
        "validation": AbsentRows(request.data.validation, (evaluated, width), "float32"),
    }


def _feature_shape(request: CompileBucket) -> tuple[int, int]:
    recipe = request.recipe
    both = recipe.flip or (request.data.folds > 1 and recipe.evaluation_flip)
    return 2 if both else 1, catalog.find_variant(recipe.variant).head_width


def _steps(request: CompileBucket, backend: JaxBackend, data: DeviceData) -> JaxSteps:
    """The steps of a bucket, with a trial and an epoch begun."""
    recipe, key = request.recipe, request.key
    network = bucket_network(recipe, key)
    optimizer = bucket_optimizer(recipe, key, network, images=request.data.train)
    shape = _feature_shape(request) if key.takes_features else None
    plan = step_plan(recipe, key, _scaling(request), feature_shape=shape)
    steps = backend.make_steps(network, optimizer, plan, data)
    weights = np.ones(key.classes, np.float32)
    steps.start(StepInputs(seed=0, magnitudes=magnitudes(recipe), class_weights=weights))
    steps.begin_epoch(*epoch_inputs(recipe, 0, images=request.data.train, batch=key.batch))
    return steps


def _extractions(request: CompileBucket, backend: JaxBackend) -> Iterator[LoweredProgram]:
    recipe, key = request.recipe, request.key
    rows = image_rows(request.data)
    images = backend.place(rows, request.image_bytes)
    batch = DEVICE_BATCH * key.device_count
    plan = extraction_plan(
        recipe, _scaling(request), image_shape=request.data.image_shape, batch=batch
    )
    backbone = random_backbone(recipe, key.precision)
    extractor = backend.make_extractor(backbone, plan, images)
    order = np.zeros((1, batch), np.int32)
    splits: tuple[SplitName, ...] = ("train", "validation")
    for split in splits:
        lowered = extractor.lower(split, order)
        yield LoweredProgram("extract", split, lowered, _resident(images, rows, split))


def _scaling(request: CompileBucket) -> catalog.Scaling:
    return input_scaling(request.recipe.variant, weights_source(request.recipe, request.base))


def _resident(data: DeviceData, rows: dict[str, AbsentRows], split: SplitName) -> int:
    return rows[split].whole().size if isinstance(data[split], Resident) else 0


def _needed_bytes(message: str) -> int:
    found = _USED.search(message)
    if found is None:
        return 0
    used, unit, required, its_unit = found.groups()
    return int(float(used or required) * _UNITS[unit or its_unit or ""])
