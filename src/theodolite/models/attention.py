"""Attention from inside: see and change the queries, keys and values that the model really reads.

Most families of transformers hand these three, after all norms and rotations and with the past
joined on, to a function that they look up by a name in their config. While a visitor is present
that name leads here; the visitor gets the tensors, and the family's own function computes. The name
is put back exactly when the last visitor of a config leaves.

Axes as the function gets them: query (row, head, position, width), key and value (row, kv_head,
past and new positions, width); it returns (row, position, head, width).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from theodolite.errors import CapabilityError

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
Visitor = Callable[[Attend, Tensor, Tensor, Tensor], Tensor]
Change = Callable[[int, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]

_PREFIX = "theodolite-"
_FUNCTIONS = "ALL_ATTENTION_FUNCTIONS"  # the name every modelling file of transformers looks up
_lock = Lock()
# Names of lists on a visited module, there while it is: they go with the model if nobody leaves.
_VISITORS, _SHADOWS = "_theodolite_visitors", "_theodolite_shadows"
# id of a config -> [the config, the name it came with, visits under way]
_switched: dict[int, list[Any]] = {}


@contextmanager
def visiting(module: nn.Module, visitor: Visitor, *, shadow: bool = False) -> Iterator[None]:
    """Let a visitor stand between an attention module and its attention function.

    Args:
        module: the attention module of one block.
        visitor: called as `visitor(attend, query, key, value)` in every forward; returns what the
            model goes on with, as a rule `attend` of the changed tensors. Visitors nest, the first
            to come sees the tensors first.
        shadow: the visitor comes after all others, just before attention, whenever it was
            registered; what it returns is dropped.

    Raises: CapabilityError: the module computes attention by itself; on entry, or in the forward
        that passed the visitor by.
    """
    if not _takes_visitors(module):
        raise _no_interface(type(module).__name__)
    seen: list[bool] = []

    def noted(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        seen.append(True)
        return visitor(attend, query, key, value)

    def passed_by(*_: Any) -> None:
        # A module that is set aside computes nothing at all (see `engine.entering`).
        aside = getattr(vars(module).get("forward"), "set_aside", False)
        if not seen and not aside:
            raise _no_interface(type(module).__name__)

    book = _SHADOWS if shadow else _VISITORS
    with ExitStack() as stack:
        stack.enter_context(_switch(cast(Any, module).config))
        stack.callback(module.register_forward_pre_hook(lambda *_: seen.clear()).remove)
        stack.callback(module.register_forward_hook(passed_by).remove)
        vars(module).setdefault(book, []).append(noted)
        stack.callback(_leave, book, module, noted)
        yield


@contextmanager
def shadowed(
    anatomy: Anatomy,
    change: Change,
    sink: Callable[[int, Tensor], None],
    *,
    layers: Sequence[int] | None = None,
) -> Iterator[None]:
    """Compute attention a second time on changed inputs, beside the model's own.

    Args:
        anatomy: of the model.
        change: `change(layer, query, key, value)` returns the three to use instead, of the same
            shapes, and leaves its arguments as they were.
        sink: `sink(layer, z)` gets the outcome, axes (row, position, n_heads, head_dim).
        layers: blocks to do it in; None is all.

    Raises: CapabilityError: the family computes attention by itself.

    Note: the second run uses the model's own function, mask and scale; the first is not touched.
        Both see what earlier and later interventions made of the three.
    """
    require_interface(anatomy)

    def beside(layer: int) -> Visitor:
        def visitor(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            z = attend(*change(layer, query, key, value))
            sink(layer, z)
            return z

        return visitor

    with ExitStack() as stack:
        for layer in range(anatomy.n_layers) if layers is None else layers:
            stack.enter_context(visiting(anatomy.attention(layer), beside(layer), shadow=True))
        yield


def require_interface(anatomy: Anatomy) -> None:
    """Refuse a family whose attention cannot be visited.

    Raises: CapabilityError: it does not go through the interface once per block.
    """
    if not anatomy.row.interface:
        raise _no_interface(f"family '{anatomy.family}'")


def check_undifferentiated(anatomy: Anatomy) -> None:
    """Refuse a family in which attention without scores is no plain average of the values.

    Raises: CapabilityError: scores carry a bias of position, or heads are mixed before the output
        projection.
    """
    row = anatomy.row
    biased = row.position_bias
    if isinstance(biased, str):
        biased = bool(getattr(cast(Any, anatomy.decoder).config, biased))
    if biased or row.heads_mixed:
        raise CapabilityError(
            "Undifferentiated attention in closed form",
            f"'{anatomy.family}' adds a bias of position to its scores"
            if biased
            else f"'{anatomy.family}' norms or mixes its heads before the output projection",
            "Use the operator scale, zero or head_mean",
        )


def undifferentiated(anatomy: Anatomy, layer: int, values: Tensor, n: int | None = None) -> Tensor:
    """Return the output of every head if all its scores were 0: the mean of the values it can see.

    Args:
        anatomy: of the model.
        layer: block; its window counts.
        values: axes (row, position, kv_head, width), positions from the prompt's first token on.
        n: return the last n positions only; None is all.

    Returns: axes (row, position, n_heads, width), the dtype of `values`.

    Raises: CapabilityError: see `check_undifferentiated`.

    Source: arXiv:2410.13708, section 3.1 (A_ij = 1/i); windows and learned sinks are ours. Linear
    in the positions: differences of running sums, kept in float64 because they cancel.
    """
    check_undifferentiated(anatomy)
    length = values.shape[1]
    first = 0 if n is None else max(length - n, 0)
    ends = torch.arange(first, length, device=values.device)
    starts = first_seen(anatomy, layer, ends)
    sums = nn.functional.pad(values.double().cumsum(1), (0, 0, 0, 0, 1, 0))
    seen = sums[:, ends + 1] - sums[:, starts]
    heads = seen.repeat_interleave(anatomy.n_heads // values.shape[2], dim=2)
    count = (ends + 1 - starts).double()[:, None, None]
    if anatomy.row.sinks is not None:
        sinks = cast(Tensor, _parameter(anatomy.blocks[layer], anatomy.row.sinks))
        count = count + sinks.detach().to(count).exp()[:, None]
    return (heads / count).to(values.dtype)


def first_seen(anatomy: Anatomy, layer: int, positions: Tensor) -> Tensor:
    """Return the first position that each position of a block can attend to.

    Args:
        positions: absolute, from 0; long, any shape.
    """
    window = anatomy.sliding_windows[layer]
    if window is None:
        return torch.zeros_like(positions)
    if anatomy.row.chunked:
        return positions - positions % window
    return (positions + 1 - window).clamp_min(0)


def _parameter(block: nn.Module, name: str) -> Any:
    owner, _, last = name.rpartition(".")
    return getattr(block.get_submodule(owner), last)


def _takes_visitors(module: nn.Module) -> bool:
    """Whether the module looks its attention function up where visitors can be announced."""
    # GPT-2 has a second way of its own, which no visitor would be asked in.
    return (
        hasattr(module, "config")
        and _FUNCTIONS in _names(module)
        and not getattr(module, "reorder_and_upcast_attn", False)
    )


def _names(module: nn.Module) -> dict[str, Any]:
    """Return the names that the module's forward can see: those of the file it is written in."""
    forward = inspect.unwrap(type(module).forward)
    return cast("dict[str, Any]", getattr(forward, "__globals__", {}))


@contextmanager
def _switch(config: Any) -> Iterator[None]:
    """Let a config name our function; visits of the same config share one switch."""
    with _lock:
        entry = _switched.get(id(config))
        if entry is None:
            own = config._attn_implementation_internal
            config._attn_implementation_internal = _announced(own or "eager")
            entry = _switched[id(config)] = [config, own, 0]
        entry[2] += 1
    try:
        yield
    finally:
        with _lock:
            entry[2] -= 1
            if entry[2] == 0:
                del _switched[id(config)]
                config._attn_implementation_internal = entry[1]


def _announced(own: str) -> str:
    """Make the function and the masks of an implementation known under a name of ours."""
    # On first use: they take a second to import, and most commands visit nothing.
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    name = _PREFIX + own
    AttentionInterface.register(name, _stand_in(own))
    if own in ALL_MASK_ATTENTION_FUNCTIONS:
        AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[own])
    return name


def _stand_in(own: str) -> Callable[..., tuple[Tensor, Any]]:
    """Return the attention function that asks the visitors and calls the model's own."""

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        names = _names(module)
        function = names[_FUNCTIONS].get_interface(own, names.get("eager_attention_forward"))
        weights: list[Any] = []

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            z, found = function(module, query, key, value, *args, **kwargs)
            weights[:] = [found]
            return cast(Tensor, z)

        def watched(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            for shadow in vars(module).get(_SHADOWS, ()):
                shadow(attend, query, key, value)
            return attend(query, key, value)

        chain: Attend = watched
        for visitor in reversed(vars(module).get(_VISITORS, ())):
            chain = _bound(visitor, chain)
        z = chain(query, key, value)
        return z, weights[0]

    return attention


def _bound(visitor: Visitor, attend: Attend) -> Attend:
    return lambda query, key, value: visitor(attend, query, key, value)


def _leave(book: str, module: nn.Module, visitor: Visitor) -> None:
    vars(module)[book].remove(visitor)
    if not vars(module)[book]:
        del vars(module)[book]


def _no_interface(who: str) -> CapabilityError:
    return CapabilityError(
        "Reading or changing the queries that attention reads",
        f"the {who} computes attention by itself",
        "Use the operator scale, zero or head_mean of head outputs, or a model of another family",
    )
