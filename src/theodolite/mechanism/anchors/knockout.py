"""Cut edges of attention: a query no longer sees some keys, and the rest is weighted anew.

Setting scores to -inf before the softmax is the same as leaving keys out of the weighted mean:
z without P = (sum over keys outside P of a v) / (sum over keys outside P of a). Both sums are the
model's own attention over changed values (those of P put to 0, and an indicator in their place), so
masks, windows, caps and biases stay the model's, no score is ever computed here, and queries of one
group of shared keys can be cut one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from theodolite.engine.budget import row_budget, token_budget
from theodolite.engine.entering import require_same_interventions
from theodolite.engine.interventions import interventions_key
from theodolite.engine.kv import Branch
from theodolite.engine.passes import Only, Rows, run_pass
from theodolite.engine.runner import require_finite
from theodolite.errors import ConfigError
from theodolite.models.attention import Attend, Visitor, require_interface, visiting

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

Head = tuple[int, int]
"""Layer and query head."""
_LEAST: Final = 1e-20


@dataclass(frozen=True)
class Cut:
    """Edges to take out together.

    Args:
        heads: (layer, query head) of the edges; empty cuts nothing.
        keys: tokens that are no longer seen.
    """

    heads: frozenset[Head]
    keys: tuple[int, ...]


def cut_attention(
    attend: Attend, query: Tensor, key: Tensor, value: Tensor, keys: Tensor, *, sinks: bool = False
) -> Tensor:
    """Return every head's output with some keys left out and the other weights renormalised.

    Args:
        attend: the model's own attention.
        query, key, value: as it gets them; value has axes (row, kv_head, slot, width).
        keys: bool, axes (row or 1, slot): what is left out.
        sinks: a learned sink takes part of the weights, and keeps its score.

    Returns: axes (row, position, head, width); 0 where a query saw nothing else.
    """
    left = (~keys).to(value)[:, None, :, None].expand(*value.shape[:1], 1, -1, 1)
    kept = attend(query, key, value * left).float()
    if sinks:  # weights do not add up to 1, so what is left is told by what is missing
        weight = 1.0 - attend(query, key, (1.0 - left).expand_as(value).contiguous()).float()
    else:
        weight = attend(query, key, left.expand_as(value).contiguous()).float()
    return (kept / weight[..., :1].clamp_min(_LEAST)).to(value.dtype)


@contextmanager
def edges_cut(model: LanguageModel, cuts: Sequence[Cut], slots: int, first: int) -> Iterator[None]:
    """Let every row of a coming pass lack the edges of its cut, for all tokens of the pass.

    Args:
        model: an open local model.
        cuts: one per row.
        slots: keys the last token sees: tokens of the whole prompt.
        first: position of the pass's first token.

    Raises: CapabilityError: the family computes attention by itself.
    """
    anatomy = model.anatomy
    require_interface(anatomy)
    device = model.device
    keys = torch.zeros(len(cuts), slots, dtype=torch.bool)
    chosen: dict[int, Tensor] = {}
    for row, cut in enumerate(cuts):
        keys[row, list(cut.keys)] = True
        for layer, head in cut.heads:
            mask = chosen.setdefault(layer, torch.zeros(len(cuts), anatomy.n_heads).bool())
            mask[row, head] = True
    keys = keys.to(device)

    def at(mask: Tensor) -> Visitor:
        def visitor(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            z = attend(query, key, value)
            here = keys.to(value.device)
            new = cut_attention(
                attend, query, key, value, here, sinks=anatomy.row.sinks is not None
            )
            # A token before the keys that are cut does not see them in any case.
            return torch.where(mask.to(z.device)[:, None, :, None], new, z)

        return visitor

    with ExitStack() as stack:
        for layer, mask in sorted(chosen.items()):
            stack.enter_context(visiting(anatomy.attention(layer), at(mask)))
        yield


class EdgeKnockout:
    """Runs of one prompt that differ in the edges they lack.

    Args:
        model: an open local model; interventions active now act in every run.
        prompt: tokens of the prompt.
        first: the first token whose edges are cut; every later one's are cut, too. What comes
            before it is computed once.

    Raises:
        CapabilityError: the family computes attention by itself.
        ConfigError: `first` lies outside the prompt.
    """

    def __init__(self, model: LanguageModel, prompt: Encoded, first: int) -> None:
        model.require("hidden_states", "interventions")
        require_interface(model.anatomy)
        self.model = model
        self.prompt = prompt
        self.first = first
        length = len(prompt.ids)
        if not 0 <= first < length:
            raise ConfigError(f"first is {first}.", fix=f"Use 0 to {length - 1}.")
        self._active = interventions_key(model)
        self._tail = prompt.ids[first:]
        self._past: Branch | None = None
        if first:
            with torch.inference_mode():
                kv = run_pass(model, Rows([prompt.ids[:first]], [None], [length]), keep=True).kv
            assert kv is not None  # noqa: S101 - asked for with keep=True
            self._past = Branch(kv, 0)
        rows = min(row_budget(model, length), token_budget(model, length) // len(self._tail))
        self.rows = max(1, rows)

    def run(self, cuts: Sequence[Cut]) -> Tensor:
        """Return the end of the network at the prompt's last token, for every cut.

        Returns: output of the final norm, axes (cut, d_model), model dtype.

        Raises:
            ConfigError: a head or a key does not exist, or the interventions changed.
            NumericsError: a result is not finite.

        Note: cuts are batched by their lowest layer, so that a pass visits few layers.
        """
        require_same_interventions(self.model, self._active)
        for cut in cuts:
            self._check(cut)
        order = sorted(range(len(cuts)), key=lambda i: min(cuts[i].heads, default=(-1, -1)))
        width = self.model.anatomy.d_model
        ends = torch.zeros(len(cuts), width, dtype=self.model.dtype, device=self.model.device)
        with torch.inference_mode():
            for begin in range(0, len(order), self.rows):
                chunk = order[begin : begin + self.rows]
                ends[chunk] = self._pass([cuts[i] for i in chunk])
        names = [self.prompt.prompt_id or "0"] * len(cuts)
        require_finite(ends, names, self.model.anatomy.n_layers - 1, "final_norm")
        return ends

    def _pass(self, cuts: Sequence[Cut]) -> Tensor:
        count, length = len(cuts), len(self.prompt.ids)
        rows = Rows([self._tail] * count, [self._past] * count, [length] * count)
        only = Only(self.model.anatomy.n_layers - 1, [len(self._tail) - 1] * count)
        with edges_cut(self.model, cuts, length, self.first):
            hidden = run_pass(self.model, rows, only=only).hidden
        assert hidden is not None  # noqa: S101 - the pass ran to its end
        return hidden[:, -1]

    def _check(self, cut: Cut) -> None:
        anatomy = self.model.anatomy
        for layer, head in cut.heads:
            if not (0 <= layer < anatomy.n_layers and 0 <= head < anatomy.n_heads):
                raise ConfigError(
                    f"There is no head {layer}-{head}.",
                    fix=f"There are {anatomy.n_layers} layers of {anatomy.n_heads} heads.",
                )
        for place in cut.keys:
            if not 0 <= place < len(self.prompt.ids):
                raise ConfigError(f"There is no token {place}.", fix="Count from 0.")


def all_heads(model: LanguageModel, layers: Sequence[int] | None = None) -> frozenset[Head]:
    """Return every head of some blocks; None is all."""
    chosen = range(model.anatomy.n_layers) if layers is None else layers
    return frozenset((layer, head) for layer in chosen for head in range(model.anatomy.n_heads))
