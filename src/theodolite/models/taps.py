"""Taps: name a tensor inside a running model, read it, or replace it.

A tap says where a site's value lives: the input or the output of one module, times a scale, or the
queries that an attention module reads. Reading and writing are symmetric and undone exactly when
the context ends, also under an exception.

Traps this file exists for:
  - a block's hidden states arrive as a positional or as a keyword argument;
  - a module's output is a tensor in some families, a tuple that starts with it in others;
  - some families add in place to a tensor after it was read (`clone`), or fold batch and position
    into one axis around a module (`folded_by`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor, nn

from theodolite.models.attention import Attend, visiting

Key = TypeVar("Key")


@dataclass(frozen=True, eq=False)
class Tap:
    """Where one site's value lives; the value is `tensor * scale`, axes (batch, position, width).

    Args:
        module: the module whose input or output holds the tensor.
        side: "input" is the first positional argument or the keyword `hidden_states`; "output" is
            the tensor returned, or the first item of a returned tuple; "query" is what the module
            hands to the attention function, all heads side by side.
        scale: what the model multiplies the tensor by before it adds it to the stream.
        clone: the family changes the tensor in place later, so readers get a copy.
        folded_by: the tensor has axes (batch * position, width); the input of this module, which
            runs earlier, says how to unfold it.
    """

    module: nn.Module
    side: Literal["input", "output", "query"]
    scale: float = 1.0
    clone: bool = False
    folded_by: nn.Module | None = None


@contextmanager
def read(taps: Mapping[Key, Tap], sink: Callable[[Key, Tensor], None]) -> Iterator[None]:
    """Hand every tapped value to `sink(key, value)` while the context is open.

    Args:
        taps: any key per tap; several keys may name one tensor.
        sink: called once per tap and forward pass, in the order the model computes; the value has
            axes (batch, position, width) and must not be changed in place.

    Note: a reader sees the tensor after the writes that were registered before it.
    """
    with ExitStack() as hooks:
        for key, tap in taps.items():

            def observe(value: Tensor, key: Key = key, tap: Tap = tap) -> None:
                sink(key, value.clone() if tap.clone and tap.scale == 1.0 else value)

            _hook(hooks, tap, observe)
        yield


@contextmanager
def write(tap: Tap, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the tapped value by `fn(value)` while the context is open.

    Args:
        fn: maps the site value, axes (batch, position, width), to a value of the same shape; it
            returns a new tensor and leaves its argument as it was.
    """
    with ExitStack() as hooks:
        _hook(hooks, tap, fn)
        yield


def _hook(hooks: ExitStack, tap: Tap, fn: Callable[[Tensor], Tensor | None]) -> None:
    """Register `fn` on a tap; a None result leaves the tensor as it is."""
    unfold = _unfolder(hooks, tap.folded_by)

    def visit(tensor: Tensor) -> Tensor | None:
        value = unfold(tensor)
        result = fn(value if tap.scale == 1.0 else value * tap.scale)
        if result is None:
            return None
        if tap.scale != 1.0:
            result = result / tap.scale
        return result.to(tensor.dtype).reshape(tensor.shape)

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        new = visit(args[0] if args else kwargs["hidden_states"])
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    def after(_module: nn.Module, _args: Any, output: Any) -> Any:
        new = visit(output[0] if isinstance(output, tuple) else output)
        if new is None:
            return None
        return (new, *output[1:]) if isinstance(output, tuple) else new

    def inside(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        flat = query.transpose(1, 2).flatten(2)  # (row, head, position, width) to the sites' axes
        new = visit(flat)
        if new is not None:
            query = new.reshape(query.transpose(1, 2).shape).transpose(1, 2)
        return attend(query, key, value)

    if tap.side == "query":
        hooks.enter_context(visiting(tap.module, inside))
        return
    if tap.side == "input":
        handle = tap.module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = tap.module.register_forward_hook(after)
    hooks.callback(handle.remove)


def _unfolder(hooks: ExitStack, folded_by: nn.Module | None) -> Callable[[Tensor], Tensor]:
    """Return a function that gives a folded tensor its batch and position axes back."""
    if folded_by is None:
        return lambda tensor: tensor
    shape: list[int] = []

    def remember(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        shape[:] = (args[0] if args else kwargs["hidden_states"]).shape[:-1]

    hooks.callback(folded_by.register_forward_pre_hook(remember, with_kwargs=True).remove)
    return lambda tensor: tensor.reshape(*shape, tensor.shape[-1])
