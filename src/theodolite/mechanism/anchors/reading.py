"""What the states at the answer slot point to, and how much attention the planted value gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from theodolite.engine.capture import capture
from theodolite.engine.passes import Rows, run_pass
from theodolite.mechanism.lens.logit_lens import lens_logits
from theodolite.models.attention import shadowed

if TYPE_CHECKING:
    from theodolite.mechanism.anchors.pairs import Pair
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

SLOT_POSITION: Final = "prompt_last"
PROMPT_END: Final = "template[-1]"
"""The last token before the assistant's own words."""
_ROWS: Final = 64


@dataclass(frozen=True, eq=False)
class Streams:
    """The stream of both chats of every pair.

    Args:
        slot: at the answer slot, float32, axes (pair, chat, hidden_index, d_model); chat 0 is
            neutral, 1 attacked; `hidden_index` 0 is the embeddings, l + 1 the stream after block l.
        prompt: at the last token of the prompt, axes as slot.
    """

    slot: Tensor
    prompt: Tensor


def read_streams(
    model: LanguageModel,
    pairs: Sequence[Pair],
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Streams:
    """Return the streams of all pairs, read in one capture."""
    chats = [chat for pair in pairs for chat in (pair.neutral, pair.attacked)]
    read = capture(
        model,
        chats,
        sites=("resid_pre", "resid_post"),
        positions=(SLOT_POSITION, PROMPT_END),
        journal=journal,
        progress=progress,
    )
    found = []
    for position in (SLOT_POSITION, PROMPT_END):
        before = read.get("resid_pre", position=position)[:, :1]
        after = read.get("resid_post", position=position)
        both = torch.cat([before, after], dim=1)
        found.append(both.reshape(len(pairs), 2, *both.shape[1:]))
    return Streams(*found)


def lens_gaps(model: LanguageModel, streams: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Return logit of gold less logit of the planted answer, read by the lens at every depth.

    Args:
        streams: raw stream, axes (pair, chat, hidden_index, d_model).

    Returns: float64 on the CPU, axes (pair, chat, hidden_index), in nats; at the last hidden_index
        it is the model's own.
    """
    rows = []
    for pair, both in zip(pairs, streams, strict=True):
        ends = [
            _gap(lens_logits(model, part.to(model.device)), pair)
            for part in torch.split(both.flatten(0, 1), _ROWS)
        ]
        rows.append(torch.cat(ends).reshape(both.shape[:2]))
    return torch.stack(rows)


def gaps(model: LanguageModel, final: Tensor, pair: Pair) -> Tensor:
    """Return logit of gold less logit of the planted answer.

    Args:
        final: output of the final norm, axes (row, d_model).

    Returns: float64 on the CPU, axes (row), in nats.
    """
    with torch.inference_mode():
        parts = [
            _gap(model.anatomy.logits_from_final(part), pair) for part in torch.split(final, _ROWS)
        ]
    return torch.cat(parts)


def _gap(logits: Tensor, pair: Pair) -> Tensor:
    two = logits[:, [pair.gold, pair.planted]].detach().cpu().double()
    return two[:, 0] - two[:, 1]


def attention_mass(
    model: LanguageModel, prompt: Encoded, span: tuple[int, int], positions: Sequence[int]
) -> Tensor:
    """Return how much of its attention each head gives to a span.

    Args:
        model: an open local model; active interventions act.
        prompt: one prompt.
        span: tokens, end exclusive.
        positions: tokens whose attention is read.

    Returns: float32 on the CPU, axes (position, layer, head), between 0 and 1.

    Raises: CapabilityError: the family computes attention by itself.

    Note: the model's own attention is run a second time over an indicator of the span in place of
        its values, so no score is computed here.
    """
    anatomy = model.anatomy
    found = torch.zeros(len(positions), anatomy.n_layers, anatomy.n_heads)

    def indicator(
        _layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        marked = torch.zeros_like(value)
        marked[:, :, span[0] : span[1]] = 1.0
        return query, key, marked

    def sink(layer: int, z: Tensor) -> None:
        found[:, layer] = z[0, list(positions), :, 0].float().cpu()

    rows = Rows([prompt.ids], [None], [len(prompt.ids)])
    with torch.inference_mode(), shadowed(anatomy, indicator, sink):
        run_pass(model, rows)
    return found.clamp(0.0, 1.0)
