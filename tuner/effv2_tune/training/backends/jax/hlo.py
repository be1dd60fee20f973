"""Reads the costs of a compiled program from its optimized HLO."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"?(\d+)')
_ALIAS = re.compile(r"\{[\d, ]*\}: \(\d+, \{[\d, ]*\}, (?:may|must)-alias\)")
_BITS = re.compile(r"\D+(\d+)")
_HOST_CALL = re.compile(r'is_host_transfer=true|custom_call_target="[^"]*(?:callback|Host)')
#: Bytes of an element whose type does not end with its bits.
_PREDICATE_BYTES = 1
#: These start a reduction; the other half of an asynchronous one ends with ``-done``.
_ALL_REDUCES = {"all-reduce", "all-reduce-start", "reduce-scatter"}
_ALL_GATHERS = {"all-gather", "all-gather-start", "all-to-all", "collective-permute-start"}
_HOST_TRANSFERS = {"send", "recv", "infeed", "outfeed"}
#: What names an array or part of a tuple without computing one.
_NAMES = {
    "parameter",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "while",
    "call",
    "conditional",
    "opt-barrier",
    "optimization-barrier",
    "copy-done",
    "async-done",
    "async-update",
}


@dataclass(frozen=True)
class Instruction:
    """A line of a computation.

    Attributes:
        shape: Its result, as HLO writes it; a tuple has several arrays.
        opcode: Its operation.
        text: The line.
    """

    shape: str
    opcode: str
    text: str

    @property
    def called(self) -> list[str]:
        """Names of the computations that it calls."""
        names = (one or several for one, several in _CALLED.findall(self.text))
        return [name.strip(" %") for listed in names for name in listed.split(",")]

    @property
    def bytes(self) -> int:
        """Of the arrays in its result."""
        return sum(math.prod(shape) * _element_bytes(kind) for kind, shape in _arrays(self.shape))

    @property
    def largest(self) -> int:
        """Elements of the largest array in its result."""
        return max((math.prod(shape) for _, shape in _arrays(self.shape)), default=0)


@dataclass(frozen=True)
class Program:
    """An optimized program.

    Attributes:
        entry: Name of its main computation.
        computations: The instructions of each, by name.
        aliased: How many of its outputs are in the memory of an input.
    """

    entry: str
    computations: dict[str, Sequence[Instruction]]
    aliased: int

    @classmethod
    def read(cls, text: str) -> Program:
        """Read the text of a program (`jax.stages.Compiled.as_text`)."""
        entry, name = "", ""
        computations: dict[str, list[Instruction]] = {}
        for line in text.splitlines():
            if line.endswith("{") and not line.startswith((" ", "HloModule")):
                name = line.removeprefix("ENTRY ").split(" ", 1)[0].lstrip("%")
                computations[name] = []
                entry = name if line.startswith("ENTRY ") else entry
            elif line.startswith("  ") and " = " in line and name:
                computations[name].append(_instruction(line))
            elif line.startswith("}"):
                name = ""
        return cls(entry, dict(computations), len(_ALIAS.findall(text.split("\n", 1)[0])))

    @cached_property
    def step(self) -> str:
        """The computation of one step: the body of the costliest loop, or all without a loop."""
        loops = [one for one in self.computations[self.entry] if one.opcode == "while"]
        bodies = [re.search(r"body=%?([\w.\-]+)", loop.text) for loop in loops]
        names = [body[1] for body in bodies if body is not None]
        return max(names, key=self.cycles, default=self.entry)

    def cycles(self, name: str) -> int:
        """Estimated cycles of a computation; a loop of unknown length counts once."""
        return sum(self._cycles(one) for one in self.computations[name])

    def _cycles(self, one: Instruction) -> int:
        found = _CYCLES.search(one.text)
        own = 0 if found is None else int(found[1])
        called = [self.cycles(name) for name in one.called if name in self.computations]
        if one.opcode == "while":
            trips = _TRIPS.search(one.text)
            return own + (1 if trips is None else int(trips[1])) * sum(called)
        if one.opcode == "conditional":
            return own + max(called, default=0)
        return own + sum(called) if one.opcode in ("call", "async-start") else own

    @property
    def cycles_beside_the_step(self) -> int:
        """Estimated cycles of a call that are not those of its steps."""
        whole = self.cycles(self.entry)
        return 0 if self.step == self.entry else whole - self.cycles(self.step)

    def all_reduces(self) -> list[int]:
        """Bytes of each reduction over devices in one step."""
        within = self._within(self.step)
        return [one.bytes for one in within if one.opcode in _ALL_REDUCES]

    def all_gathers(self) -> int:
        """How many instructions send arrays to other devices without reducing them."""
        return sum(one.opcode in _ALL_GATHERS for one in self._within(self.entry))

    def host_transfers(self) -> int:
        """How many instructions exchange arrays with the host."""
        return sum(
            one.opcode in _HOST_TRANSFERS or bool(_HOST_CALL.search(one.text))
            for one in self._within(self.entry)
        )

    def arrays_of(self, elements: int) -> int:
        """How many instructions compute an array with at least so many elements."""
        return sum(
            one.largest >= elements and one.opcode not in _NAMES
            for name in self._executed(self.entry)
            for one in self.computations[name]
        )

    def _within(self, name: str) -> Iterator[Instruction]:
        """The instructions of a computation and of all that it calls, fusions included."""
        waiting, seen = [name], {name}
        while waiting:
            for one in self.computations[waiting.pop()]:
                yield one
                new = [other for other in one.called if other in self.computations]
                waiting += [other for other in new if other not in seen]
                seen.update(new)

    def _executed(self, name: str) -> Iterator[str]:
        """The computations whose instructions write to memory: not those of fusions."""
        yield name
        for one in self.computations[name]:
            if one.opcode in ("while", "call", "conditional", "async-start"):
                for called in one.called:
                    if called in self.computations:
                        yield from self._executed(called)


def _instruction(line: str) -> Instruction:
    shape, rest = _split_shape(line.split(" = ", 1)[1])
    found = _OPCODE.match(rest)
    return Instruction(shape, "" if found is None else found[1], line)


def _split_shape(text: str) -> tuple[str, str]:
    """The result's shape, a tuple in parentheses or an array without blanks, and what follows."""
    if not text.startswith("("):
        shape, _, rest = text.partition(" ")
        return shape, rest
    depth = 0
    for place, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return text[: place + 1], text[place + 1 :]
    return text, ""


def _arrays(shape: str) -> Iterator[tuple[str, list[int]]]:
    for kind, sizes in _ARRAY.findall(shape):
        yield kind, [int(size) for size in sizes.split(",") if size]


def _element_bytes(kind: str) -> int:
    bits = _BITS.match(kind)
    return _PREDICATE_BYTES if bits is None else max(int(bits[1]) // 8, 1)
