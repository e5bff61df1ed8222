"""Let a decoder begin, or end, inside: blocks that are not wanted pass their input through.

Hugging Face's own decoder runs as it is, so masks, rotary embeddings, ALiBi and caches stay its
own; only the forward of single blocks is set aside, and put back exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from theodolite.engine.interventions import interventions_key
from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel


@dataclass
class Returns:
    """What the blocks of a decoder, and their attentions, return (see `noting_returns`).

    Args:
        anatomy: of the model.
        blocks, attentions: one number per layer, filled while the decoder runs under `noting`.
    """

    anatomy: Anatomy
    blocks: list[int] = field(default_factory=list)
    attentions: list[int] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is returned while the decoder runs inside the context."""
        found = [attention_of(self.anatomy, layer) for layer in range(self.anatomy.n_layers)]
        known = [module for module in found if module is not None]
        with (
            noting_returns(self.anatomy.blocks, self.blocks),
            noting_returns(known, self.attentions),
        ):
            yield


def attention_of(anatomy: Anatomy, layer: int) -> torch.nn.Module | None:
    """Return the module that computes a block's attention and nothing else, or None.

    Its output may be replaced without running it. Not so where the family lets it add to the
    stream itself, as BLOOM does.
    """
    row = anatomy.row
    if row.post_norm:
        return anatomy.attention(layer)
    inside = row.out_proj.startswith(row.attn + ".")
    return anatomy.blocks[layer].get_submodule(row.attn) if inside else None


@contextmanager
def noting_returns(blocks: Sequence[torch.nn.Module], items: list[int]) -> Iterator[None]:
    """Note how many items each block returns; 0 stands for a bare tensor.

    Args:
        blocks: of the decoder, which runs at least once inside the context.
        items: filled on exit, one number per block.
    """
    found = dict.fromkeys(range(len(blocks)), 0)

    def note(index: int, output: Any) -> None:
        found[index] = len(output) if isinstance(output, tuple) else 0

    with ExitStack() as hooks:
        for index, block in enumerate(blocks):
            handle = block.register_forward_hook(lambda _m, _a, out, index=index: note(index, out))
            hooks.callback(handle.remove)
        yield
    items[:] = [found[index] for index in range(len(blocks))]


@contextmanager
def passing(blocks: Sequence[torch.nn.Module], items: Sequence[int]) -> Iterator[None]:
    """Let blocks return their input, in the form their own forward returns.

    Args:
        blocks: to be set aside.
        items: for each of them what `noting_returns` noted.
    """
    with ExitStack() as stack:
        for block, count in zip(blocks, items, strict=True):
            stack.enter_context(_passing(block, count))
        yield


@contextmanager
def _passing(block: torch.nn.Module, items: int) -> Iterator[None]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden, *[None] * (items - 1)) if items else hidden

    forward.set_aside = True  # type: ignore[attr-defined]  # for whoever waits to see it run
    own = block.__dict__.get("forward")  # set where a device map wraps the block
    block.__dict__["forward"] = forward
    try:
        yield
    finally:
        if own is None:
            del block.__dict__["forward"]
        else:
            block.__dict__["forward"] = own


def require_same_interventions(model: LanguageModel, active: Sequence[str]) -> None:
    """Refuse to run a sweep under other interventions than those it was made under.

    Args:
        active: keys of the interventions when the sweep was made.

    Raises:
        ConfigError: they differ from those active now.
    """
    if interventions_key(model) != list(active):
        raise ConfigError(
            "The active interventions are not those the sweep was made under.",
            fix="Make a new sweep inside the same `apply`.",
        )
