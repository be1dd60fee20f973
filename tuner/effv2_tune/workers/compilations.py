"""Defines the messages between a command and the process that compiles for absent devices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from effv2_tune.study.base import Value
from effv2_tune.study.bucket import BucketKey, DataFacts
from effv2_tune.study.recipe import Recipe
from effv2_tune.workers.topology import Topology

#: A step on images or features, an evaluation, or a frozen backbone's pass over images.
ProgramKind = Literal["train", "evaluate", "extract"]


class CompileBucket(Value):
    """To the process: compile the programs of a bucket.

    Attributes:
        recipe: Any of the bucket. Its weights are not loaded.
        key: The bucket, on the devices of the topology.
        data: The counts and shapes of the images; none is needed.
        topology: The devices.
        image_bytes: Bytes of images up to which they are resident on a device.
        base: Folder that a relative weight file starts from, whose name decides the scaling.
        cache: Folder that JAX's entries are written to; None for no entries.
        kinds: The programs that are compiled; all that a trial runs, if left out.
    """

    recipe: Recipe
    key: BucketKey
    data: DataFacts
    topology: Topology
    image_bytes: int
    base: Path = Path()
    cache: Path | None = None
    kinds: tuple[ProgramKind, ...] = ("train", "evaluate", "extract")


class CompiledProgram(Value):
    """From the process: what the compiler made of a program; figures are those of one device.

    Attributes:
        kind: The program.
        split: Of the images that it runs on.
        compile_cpu_seconds: Processor time of the compilation.
        argument_bytes: Of its inputs: images, weights, the optimizer's state.
        output_bytes: Of its outputs.
        alias_bytes: Of the outputs that are in the memory of an input.
        temp_bytes: Of what it computes in between.
        code_bytes: Of the program itself.
        flops: Of one step, after optimization.
        bytes_accessed: Of one step: read from memory and written to it.
        step_seconds: Of one step by the compiler's estimates, which leave out all-reduces, gathers
            of single elements and the start of operations: a figure to compare with, not a time.
        call_seconds: Likewise, of what a call does beside its steps.
        all_reduces: Reductions over the devices in one step.
        all_reduce_bytes: Of them.
        all_gathers: Other exchanges between devices.
        host_transfers: Exchanges with the host.
        image_copies: Instructions that write an array as large as all resident images.
        outputs: How many arrays it returns.
        aliased: How many of them are in the memory of an input.
        cache_key: Name of its entry in JAX's cache; empty where none is written.
        needed_bytes: That it needs where it does not fit; 0 where it fits or nothing is stated.
        reason: Why it does not fit; empty where it fits.
        reused: Whether its entry was in the cache, and these are the figures of that compilation.
    """

    kind: ProgramKind
    split: str
    compile_cpu_seconds: float
    argument_bytes: int = 0
    output_bytes: int = 0
    alias_bytes: int = 0
    temp_bytes: int = 0
    code_bytes: int = 0
    flops: float = 0.0
    bytes_accessed: float = 0.0
    step_seconds: float = 0.0
    call_seconds: float = 0.0
    all_reduces: int = 0
    all_reduce_bytes: int = 0
    all_gathers: int = 0
    host_transfers: int = 0
    image_copies: int = 0
    outputs: int = 0
    aliased: int = 0
    cache_key: str = ""
    needed_bytes: int = 0
    reason: str = ""
    reused: bool = False

    @property
    def fits(self) -> bool:
        """Whether it was compiled; the compiler refuses what exceeds a device's memory."""
        return not self.reason

    @property
    def memory_bytes(self) -> int:
        """Bytes of one device's memory."""
        placed = self.argument_bytes + self.output_bytes - self.alias_bytes
        return self.needed_bytes or placed + self.temp_bytes + self.code_bytes


class Compilation(Value):
    """From the process: what the compiler made of a bucket.

    Attributes:
        programs: Those that a trial runs.
        versions: Of the packages that decide about entries of JAX's cache, by name.
        device_kind: As JAX names the devices.
        folder: Of the entries; None where none are written.
    """

    programs: tuple[CompiledProgram, ...]
    versions: dict[str, str]
    device_kind: str
    folder: Path | None = None

    @property
    def fits(self) -> bool:
        """Whether all programs were compiled."""
        return all(program.fits for program in self.programs)

    @property
    def largest(self) -> CompiledProgram:
        """The program that needs most memory; one that does not fit before all others."""
        return max(self.programs, key=lambda program: (not program.fits, program.memory_bytes))

    def of_kind(self, kind: ProgramKind) -> CompiledProgram | None:
        """The first program of a kind; None where it was not compiled."""
        return next((one for one in self.programs if one.kind == kind), None)
