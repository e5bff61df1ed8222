"""Read the numbers and words of a pickle without running anything in it.

A pickle is a small program whose calls may do anything. Here its steps are only followed: a name
stays a name, a call becomes a record of what would have been called, and nothing is imported. Only
the steps that plain containers and joblib's number arrays need are known; any other one is refused.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError

_ARRAY: Final = "joblib.numpy_pickle.NumpyArrayWrapper"
_NUMBER: Final = ".multiarray.scalar"
_DTYPE: Final = "numpy.dtype"
_NUMBERS: Final = {"f8": np.dtype("<f8"), "i8": np.dtype("<i8")}
_MOST_NUMBERS: Final = 50_000_000
_FIX: Final = "Install the package again."


class _Mark:
    """Where a group of values begins on the stack."""


@dataclass(frozen=True)
class Name:
    """A name that the pickle mentions; never imported."""

    text: str


@dataclass
class Record:
    """What would have been an object.

    Args:
        name: of the class or function that would have been called.
        args: what it would have been called with.
        state: what would have been set on it.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = field(default_factory=dict)


def read_inert(data: bytes) -> Any:
    """Return what a joblib file holds: plain values, number arrays, and records of the rest.

    Args:
        data: the bytes of an uncompressed joblib file or a pickle of protocol 2 to 5.

    Raises: DataError: the file is broken, or takes a step that is not known here.
    """
    stream = io.BytesIO(data)
    machine = _Machine(stream)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except DataError:
        raise
    except Exception as error:  # broken bytes fail in many ways, and all of them mean the same
        raise DataError(
            f"The pickled file is broken ({type(error).__name__} at byte {stream.tell()}).",
            fix=_FIX,
        ) from None
    raise DataError("The pickled file ends early.", fix=_FIX)


class _Machine:
    """The stack and the memo of a pickle, and the few steps that are followed."""

    def __init__(self, stream: io.BytesIO) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _NOTHING:
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name](argument))
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in _STEPS:
            _STEPS[name](self)
        else:
            raise DataError(f"The pickled file takes the step {name}, not known here.", fix=_FIX)

    def group(self) -> list[Any]:
        """Take the values above the last mark, and the mark."""
        place = max(i for i, value in enumerate(self.stack) if isinstance(value, _Mark))
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def tuple_of(self, size: int) -> None:
        values = self.stack[len(self.stack) - size :]
        del self.stack[len(self.stack) - size :]
        self.stack.append(tuple(values))

    def name(self) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Name(f"{module}.{attribute}"))

    def call(self) -> None:
        args, called = self.stack.pop(), self.stack.pop()
        if not isinstance(called, Name):
            raise DataError("The pickled file calls what is no name.", fix=_FIX)
        is_number = called.text.endswith(_NUMBER)
        self.stack.append(_number(*args) if is_number else Record(called.text, tuple(args)))

    def build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if not isinstance(built, Record):
            raise DataError("The pickled file sets the state of what is no object.", fix=_FIX)
        built.state = state
        if built.name == _ARRAY:
            self.stack[-1] = array = self.array(state)
            # Later mentions of the wrapper mean the array.
            self.memo = {
                key: array if value is built else value for key, value in self.memo.items()
            }

    def array(self, state: dict[str, Any]) -> NDArray[Any]:
        """Take the numbers that stand behind a wrapper, after their padding."""
        dtype, shape = _dtype(state["dtype"]), tuple(state["shape"])
        size = math.prod(shape)
        if not 0 <= size <= _MOST_NUMBERS or min(shape, default=0) < 0:
            raise DataError("The pickled file holds an array too large to read.", fix=_FIX)
        if state.get("numpy_array_alignment_bytes") is not None:
            self.stream.read(self.stream.read(1)[0])
        raw = self.stream.read(size * dtype.itemsize)
        flat: NDArray[Any] = np.frombuffer(raw, dtype, count=size)
        if state["order"] == "F":
            return flat.reshape(shape[::-1]).T.copy()
        return flat.reshape(shape).copy()

    def set_items(self) -> None:
        values = self.group()
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][key] = value

    def extend(self) -> None:
        values = self.group()
        self.stack[-1].extend(values)

    def append(self) -> None:
        value = self.stack.pop()
        self.stack[-1].append(value)


_NOTHING: Final = frozenset({"PROTO", "FRAME"})
_CONSTANTS: Final[dict[str, Callable[[Any], Any]]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "MARK": lambda _: _Mark(),
    **{
        name: lambda value: value
        for name in (
            *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE"),
            *("BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
        )
    },
}
_STEPS: Final[dict[str, Callable[[_Machine], None]]] = {
    "TUPLE": lambda machine: machine.stack.append(tuple(machine.group())),
    "TUPLE1": lambda machine: machine.tuple_of(1),
    "TUPLE2": lambda machine: machine.tuple_of(2),
    "TUPLE3": lambda machine: machine.tuple_of(3),
    "STACK_GLOBAL": _Machine.name,
    "NEWOBJ": _Machine.call,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "SETITEMS": _Machine.set_items,
    "SETITEM": _Machine.set_item,
    "APPENDS": _Machine.extend,
    "APPEND": _Machine.append,
}


def _dtype(record: Any) -> np.dtype[Any]:
    kind = record.args[0] if isinstance(record, Record) and record.name == _DTYPE else None
    if kind not in _NUMBERS:
        raise DataError("The pickled file holds an array of what are no numbers.", fix=_FIX)
    return _NUMBERS[kind]


def _number(dtype: Any, raw: bytes) -> float | int:
    number: float | int = np.frombuffer(raw, _dtype(dtype), count=1)[0].item()
    return number
