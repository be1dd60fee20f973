"""Reads pickled dictionaries of numbers, text and arrays without running any code of a pickle.

A pickle is a program: ``pickle.Unpickler`` calls whatever ``find_class`` returns, and even NumPy's
constructors follow pointers or return uninitialised memory where a forged pickle calls them. So
the operations are interpreted here: no class is looked up, and arrays are made of checked parts.
"""

from __future__ import annotations

import codecs
import io
import math
import pickletools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_NAMES = (*_RECONSTRUCT, "numpy.ndarray", "numpy.dtype", "_codecs.encode")
#: Types of elements. Not of Python objects, whose elements are pointers.
_NUMBER_CODE = re.compile("[iuf][248]|[iub]1")
#: An upper limit of operations in a file bounds its cost: one for so many bytes, and so many more.
_BYTES_PER_OPERATION, _MORE_OPERATIONS = 100, 1000

_MOST_AXES, _LARGEST_SIDE = 32, 2**32  # so that their product is soon computed

_LITERALS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_OPERATIONS = {operation.code: operation for operation in pickletools.opcodes}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(content: bytes) -> Any:
    """The value of a pickle, with the text of Python 2 as bytes.

    Args:
        content: Dictionaries, lists, tuples, text, bytes, numbers and arrays of numbers, by any
            protocol up to 4. Containers may be shared and nested without end: do not recurse.

    Raises:
        ValueError: It names or holds anything else; a damaged file may raise any other Exception.
    """
    interpreter = _Interpreter()
    limit = len(content) // _BYTES_PER_OPERATION + _MORE_OPERATIONS
    for count, (name, argument) in enumerate(_operations(content)):
        if count > limit:
            raise ValueError(f"more than {limit:,} operations in {len(content):,} bytes")
        if name == "STOP":
            break
        interpreter.run(name, argument)
    (value,) = interpreter.stack
    return _plain(value)


@dataclass(slots=True)
class _Name:
    """A class or function that a pickle names."""

    path: str


@dataclass(slots=True)
class _Dtype:
    """A type of numbers."""

    code: str
    order: str = "="


@dataclass(slots=True)
class _Array:
    """An array, without a value until its state is read."""

    value: np.ndarray[Any, Any] | None = None


class _Interpreter:
    """Runs the operations of one pickle.

    Attributes:
        stack: The values since the last mark.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, name: str, argument: Any) -> None:
        """Run one operation."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self.stack.append(tuple(self._popped(_TUPLES[name])))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif name == "MARK":
            self._below.append(self.stack)
            self.stack = []
        else:
            self._run_on_containers(name, argument)

    def _run_on_containers(self, name: str, argument: Any) -> None:  # noqa: C901, PLR0912
        match name:
            case "PROTO" | "FRAME":
                pass
            case "EMPTY_DICT":
                self.stack.append({})
            case "EMPTY_LIST":
                self.stack.append([])
            case "DICT":
                items = self._marked()
                self.stack.append(_put({}, items))
            case "LIST":
                items = self._marked()
                self.stack.append(items)
            case "TUPLE":
                items = self._marked()
                self.stack.append(tuple(items))
            case "APPEND":
                (item,) = self._popped(1)
                _list(self.stack[-1]).append(item)
            case "APPENDS":
                items = self._marked()
                _list(self.stack[-1]).extend(items)
            case "SETITEM":
                pair = self._popped(2)
                _put(self.stack[-1], pair)
            case "SETITEMS":
                items = self._marked()
                _put(self.stack[-1], items)
            case "GLOBAL":
                self.stack.append(_named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.stack.append(_named(*self._popped(2)))
            case "REDUCE":
                self.stack.append(_call(*self._popped(2)))
            case "BUILD":
                (state,) = self._popped(1)
                _set_state(self.stack[-1], state)
            case _:
                raise ValueError(f"the operation {name} is not allowed")

    def _popped(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        del self.stack[-count:]
        if len(items) < count:
            raise ValueError("an operation lacks its values")
        return items

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self._below.pop()
        return items


def _operations(content: bytes) -> Iterator[tuple[str, Any]]:
    """The operations with their arguments, by the documented table of pickle's opcodes."""
    stream = io.BytesIO(content)
    while code := stream.read(1):
        operation = _OPERATIONS[code.decode("latin1")]
        name = operation.name
        argument: Any = None
        if name == "STRING":  # its reader would refuse bytes beyond ASCII
            quoted = pickletools.read_stringnl(stream, decode=False)
            argument = codecs.escape_decode(quoted)[0]
        elif operation.arg is not None:
            argument = operation.arg.reader(stream)
        if name in ("BINSTRING", "SHORT_BINSTRING"):
            argument = argument.encode("latin1")
        yield name, argument
    raise ValueError("pickle data was truncated")


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise ValueError("items are appended to what is not a list")
    return value


def _put(target: Any, items: list[Any]) -> dict[Any, Any]:
    """Set keys and values; tuples are no keys, since nested ones take for ever to hash."""
    if type(target) is not dict or not all(type(key) in (bytes, str, int) for key in items[::2]):
        raise ValueError("keys are set that are neither text nor integers")
    target.update(zip(items[::2], map(_plain, items[1::2]), strict=True))
    return target


def _plain(value: Any) -> Any:
    """The array that has been read, or any other value."""
    return value.value if type(value) is _Array else value


def _named(module: Any, name: Any) -> _Name:
    path = f"{module}.{name}" if type(module) is type(name) is str else ""
    if path not in _NAMES:
        printable = ascii(path[:80])[1:-1]
        raise ValueError(f"the pickle names {printable}, which no batch does; it was not run")
    return _Name(path)


def _call(function: Any, arguments: Any) -> Any:
    match function, arguments:
        case _Name("_codecs.encode"), (str(text), "latin1"):  # bytes, by protocol 2 of Python 3
            return text.encode("latin1")
        case _Name("numpy.dtype"), (bytes() | str() as code, *_):
            text = code.decode("latin1") if isinstance(code, bytes) else code
            if _NUMBER_CODE.fullmatch(text):
                return _Dtype(text)
            raise ValueError(f"arrays of the type {text[:20]!r} are not allowed, only of numbers")
        case _Name(path), (_Name("numpy.ndarray"), (0,), b"b" | "b") if path in _RECONSTRUCT:
            return _Array()
    raise ValueError("a function is called with arguments of another kind")


def _set_state(target: Any, state: Any) -> None:
    match target, state:
        case _Dtype(), (_, "<" | ">" | "=" | "|" | b"<" | b">" | b"=" | b"|" as order, *_):
            target.order = order if isinstance(order, str) else order.decode()
        case _Array(), (
            1,
            tuple(shape),
            _Dtype(code, order),
            bool() | 0 | 1 as fortran,
            bytes(raw),
        ):
            dtype = np.dtype(order + code)
            if len(shape) > _MOST_AXES or not all(
                type(side) is int and 0 <= side < _LARGEST_SIDE for side in shape
            ):
                raise ValueError("the shape of an array is not one of whole numbers")
            if math.prod(shape) * dtype.itemsize != len(raw):
                raise ValueError(f"an array of shape {shape} and {dtype} has {len(raw):,} bytes")
            flat = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
            target.value = flat.reshape(shape, order="F" if fortran else "C")
        case _:
            raise ValueError("an array has a state of another kind")
