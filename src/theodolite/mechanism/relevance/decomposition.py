"""Relevance without a backward pass: parts of the stream are carried forward, all else frozen.

The prompts run once as they are. Then their stream at the source is cut into parts that add up to
it, and the parts run on through the same blocks with everything that is not linear held at what it
was: the scale of every norm, the attention weights, the activations. What is left is linear, so
the parts stay parts, and each one's component along a target is what it contributes. Biases belong
to no part; they are the difference of the sum to the score.

Source: the idea of DePass, arXiv:2510.18462. Ours: a gate keeps the value it had and a plain
activation keeps its quotient f(x) / x, so that the parts add up exactly. It costs one forward pass
per part and serves any number of targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from theodolite.engine.budget import token_budget
from theodolite.errors import CapabilityError
from theodolite.mechanism.relevance.backward import Proven
from theodolite.mechanism.relevance.query import GROUPS, Query, group_masks
from theodolite.mechanism.relevance.rules import INSTEAD, Norm, after, without_biases
from theodolite.mechanism.relevance.streams import Passage
from theodolite.models.attention import Attend, visiting

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

Rule = Callable[[Tensor, Tensor], Tensor]
Part = Callable[[], Tensor]


def by_parts(
    model: LanguageModel, query: Query, encoded: Sequence[Encoded], proven: Proven
) -> dict[str, Tensor]:
    """Carry parts of some prompts' streams to the targets.

    Args:
        proven: what the model is made of.

    Returns: as `lrp.by_rules`.

    Raises: CapabilityError: experts are routed; their tokens change places.
    """
    if any(block.routers or block.routed for block in proven.blocks):
        raise CapabilityError(
            "Carrying parts of the stream forward",
            f"'{model.anatomy.family}' routes tokens to experts",
            INSTEAD,
        )
    passage = Passage(model, query, encoded)
    frozen = _Frozen(model.anatomy, proven)
    with torch.no_grad():
        with frozen.recording():
            stream = passage.stream()
        read = passage.read(stream[query.hidden_index])
        scores = query.scores(read)
        starts = _starts(query, read)
        parts = _parts(query, encoded, stream[query.source])
        with frozen.replaying():
            given = _carried(passage, stream[query.source], parts, starts)
    return {"scores": scores, **_in_terms(query, given)}


def _starts(query: Query, read: Tensor) -> Tensor:
    """Return the linear read-out of each row, axes (row, target, d_model)."""
    vectors = torch.from_numpy(query.vectors).to(read.device)
    if not query.span:
        return vectors.expand(len(read), *vectors.shape)
    with torch.enable_grad():
        states = read.detach().clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(query.scores(states).sum(), states)
    return gradient[:, None]


def _carried(passage: Passage, stream: Tensor, parts: Sequence[Part], starts: Tensor) -> Tensor:
    """Return what each part contributes; float64, axes (row, part, target)."""
    rows, length = stream.shape[:2]
    together = max(1, token_budget(passage.model, length) // (rows * length))
    found = []
    for first in range(0, len(parts), together):
        few = [part() for part in parts[first : first + together]]
        read = passage.read(passage.onward(torch.cat(few).to(stream.dtype), len(few)))
        found.append(torch.einsum("prd,rtd->rpt", read.view(len(few), rows, -1), starts))
    return torch.cat(found, dim=1)


def _parts(query: Query, encoded: Sequence[Encoded], stream: Tensor) -> list[Part]:
    """Return what makes the parts of the stream, each axes (row, position, d_model).

    They are its tokens one by one; or, group by group, its component in each earlier direction and
    what these leave over.
    """
    if query.basis is None:
        return [_token(stream, place) for place in range(stream.shape[1])]
    masks = group_masks(encoded, query.position).to(stream.device)
    along = query.coordinates(stream)
    basis = torch.from_numpy(query.basis).to(stream.device)
    found = []
    for group in range(len(GROUPS)):
        mask = masks[..., group, None]
        found += [_along(along[..., i, None] * mask, basis[i]) for i in range(len(basis))]
        found.append(_beside(stream, along @ basis, mask))
    return found


def _token(stream: Tensor, place: int) -> Part:
    def part() -> Tensor:
        alone = torch.zeros_like(stream)
        alone[:, place] = stream[:, place]
        return alone

    return part


def _along(size: Tensor, vector: Tensor) -> Part:
    return lambda: size * vector


def _beside(stream: Tensor, spanned: Tensor, mask: Tensor) -> Part:
    return lambda: (stream.double() - spanned) * mask


def _in_terms(query: Query, given: Tensor) -> dict[str, Tensor]:
    """Sort contributions, axes (row, part, target), into tables."""
    totals = given.sum(1, keepdim=True)
    if query.basis is None:
        return {"tokens": given, "totals": totals}
    by_group = given.reshape(len(given), len(GROUPS), -1, given.shape[-1])
    return {"parts": by_group[:, :, :-1], "rest": by_group[:, :, -1], "totals": totals}


class _Frozen:
    """What is not linear in a pass, kept for the passes that are to repeat it."""

    def __init__(self, anatomy: Anatomy, proven: Proven) -> None:
        self._anatomy = anatomy
        self._proven = proven
        self._kept: dict[Any, Any] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep scales, quotients, gates, queries and keys of the pass inside the context."""
        kept = self._kept

        def attention(layer: int) -> Callable[[Attend, Tensor, Tensor, Tensor], Tensor]:
            def visitor(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                kept["query", layer], kept["key", layer] = query, key
                return attend(query, key, value)

            return visitor

        with ExitStack() as stack:
            for layer, block in enumerate(self._proven.blocks):
                for norm in block.norms:
                    after(stack, norm.module, self._keeping(norm.module, norm.factor))
                for activation in block.activations:
                    gated = self._proven.gated[layer]
                    value: Rule = _output if gated else activation.ratio
                    after(stack, activation.module, self._keeping(activation.module, value))
                module = self._anatomy.attention(layer)
                stack.enter_context(visiting(module, attention(layer)))
            yield

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Hold all that was kept, and set biases to 0, in the passes inside the context."""
        kept = self._kept

        def attention(layer: int) -> Callable[[Attend, Tensor, Tensor, Tensor], Tensor]:
            def visitor(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
                old_query, old_key = kept["query", layer], kept["key", layer]
                return attend(_spread(old_query, query), _spread(old_key, key), value)

            return visitor

        with ExitStack() as stack:
            stack.enter_context(without_biases(self._anatomy))
            for layer, block in enumerate(self._proven.blocks):
                for norm in block.norms:
                    after(stack, norm.module, self._scaled(norm))
                for activation in block.activations:
                    rule = self._gate if self._proven.gated[layer] else self._quotient
                    after(stack, activation.module, rule(activation.module))
                module = self._anatomy.attention(layer)
                stack.enter_context(visiting(module, attention(layer)))
            yield

    def _keeping(self, module: nn.Module, value: Rule) -> Rule:
        def rule(x: Tensor, y: Tensor) -> Tensor:
            self._kept[module] = value(x, y)
            return y

        return rule

    def _scaled(self, norm: Norm) -> Rule:
        def rule(x: Tensor, y: Tensor) -> Tensor:
            z = norm.moved(x)
            return (z * _spread(self._kept[norm.module], z)).to(y.dtype)

        return rule

    def _gate(self, module: nn.Module) -> Rule:
        return lambda x, y: _spread(self._kept[module], y)

    def _quotient(self, module: nn.Module) -> Rule:
        return lambda x, y: x * _spread(self._kept[module], x)


def _output(_x: Tensor, y: Tensor) -> Tensor:
    return y


def _spread(kept: Tensor, like: Tensor) -> Tensor:
    """Repeat what was kept of the prompts for every part.

    Rows are parts by prompts; where an MLP sees its tokens packed or folded, they lie one axis on.
    """
    return kept.repeat(*(new // old for old, new in zip(kept.shape, like.shape, strict=True)))
