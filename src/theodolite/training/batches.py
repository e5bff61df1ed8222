"""Passes as tensors: padded, packed end to end, in pairs of chosen and rejected, or ranked.

Packed rows lie in one sequence whose positions begin again at every row; transformers makes a
block mask of that, so that no row attends to another, but only without a mask and without a cache.
Families that build their masks otherwise would leak, so packing is tried on the model itself before
it is used (`packs_exactly`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch

from theodolite.training.examples import Example
from theodolite.training.penalty import is_still

Batch = dict[str, torch.Tensor]
IGNORED: Final = -100
# Packed and padded rows differ by rounding; a row that sees its neighbour differs by much more.
MOST_DIFFERENCE: Final = 1e-4
PROBED_ROWS: Final = 3
MOST_PADDING: Final = 1.2


def padded(examples: Sequence[Example], pad: int) -> Batch:
    """Return a pass with padding on the right.

    Returns: `input_ids`, `attention_mask`, `labels` (-100 outside completions), axes (row, token);
        and `rows`, `prompt_last`, `still`, axis (row): where each prompt's last token lies, and
        whether a penalty acts on the row.
    """
    rows = [(*e.prompt, *e.completion) for e in examples]
    starts = [len(e.prompt) for e in examples]
    return {
        "input_ids": _stack(rows, pad),
        "attention_mask": _stack([[1] * len(row) for row in rows], 0),
        "labels": _stack([_labels(r, s) for r, s in zip(rows, starts, strict=True)], IGNORED),
        "rows": torch.arange(len(rows)),
        "prompt_last": torch.tensor([start - 1 for start in starts]),
        "still": torch.tensor([is_still(e) for e in examples]),
    }


def packed(examples: Sequence[Example], pad: int) -> Batch:
    """Return a pass as one sequence, row after row, without padding.

    Returns: `input_ids`, `position_ids` (from 0 in every row), `labels`, axes (1, token);
        and `rows` (all 0), `prompt_last`, `still`, axis (row), as in `padded`.
    """
    del pad
    rows = [(*e.prompt, *e.completion) for e in examples]
    ends, place = [], 0
    for example, row in zip(examples, rows, strict=True):
        ends.append(place + len(example.prompt) - 1)
        place += len(row)
    labels = [_labels(r, len(e.prompt)) for r, e in zip(rows, examples, strict=True)]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "position_ids": torch.tensor([[i for row in rows for i in range(len(row))]]),
        "labels": torch.tensor([[label for row in labels for label in row]]),
        "rows": torch.zeros(len(rows), dtype=torch.long),
        "prompt_last": torch.tensor(ends),
        "still": torch.tensor([is_still(e) for e in examples]),
    }


def lean(examples: Sequence[Example], pad: int) -> Batch:
    """Return a pass packed where padding would waste more than a mask of blocks costs."""
    lengths = [len(e.prompt) + len(e.completion) for e in examples]
    wasteful = max(lengths) * len(lengths) > MOST_PADDING * sum(lengths)
    return packed(examples, pad) if wasteful else padded(examples, pad)


def paired(examples: Sequence[Example], pad: int) -> Batch:
    """Return a pass of preferences: all chosen rows, then all rejected ones, padded on the right.

    Returns: `input_ids`, `attention_mask`, `completion_mask`, axes (2 x row, token).
    """
    answers = [(e.prompt, e.completion) for e in examples]
    answers += [(e.prompt, e.rejected) for e in examples]
    rows = [(*prompt, *answer) for prompt, answer in answers]
    masks = [[0] * len(prompt) + [1] * len(answer) for prompt, answer in answers]
    return {
        "input_ids": _stack(rows, pad),
        "attention_mask": _stack([[1] * len(row) for row in rows], 0),
        "completion_mask": _stack(masks, 0),
    }


def ranked(examples: Sequence[Example], pad: int) -> Batch:
    """Return a pass of ranked answers: example by example, best to worst, padded on the right.

    Returns: `input_ids`, `attention_mask`, `labels` (-100 outside answers), axes (answer, token);
        and `answers`, axis (example): how many rows belong to each.
    """
    rows = [(e.prompt, answer) for e in examples for answer in e.ranked]
    whole = [(*prompt, *answer) for prompt, answer in rows]
    starts = [len(prompt) for prompt, _ in rows]
    return {
        "input_ids": _stack(whole, pad),
        "attention_mask": _stack([[1] * len(row) for row in whole], 0),
        "labels": _stack([_labels(r, s) for r, s in zip(whole, starts, strict=True)], IGNORED),
        "answers": torch.tensor([len(e.ranked) for e in examples]),
    }


Layout = Callable[[Sequence[Example], int], Batch]


def packs_exactly(module: Any, examples: Sequence[Example]) -> bool:
    """Return whether a model gives packed rows the logits it gives them alone.

    Args:
        module: the model, in eval mode.
        examples: rows to try; the first few are used.

    Note: two small forward passes; a model that refuses packed input does not pack exactly.
    """
    tried = examples[:PROBED_ROWS]
    if len(tried) < 2:
        return True
    batch = packed(tried, 0)
    device = module.get_input_embeddings().weight.device
    kept = ("input_ids", "position_ids")
    try:
        with torch.no_grad():
            together = module(**{k: batch[k].to(device) for k in kept}, use_cache=False).logits[0]
            alone = [
                module(input_ids=padded([e], 0)["input_ids"].to(device), use_cache=False).logits[0]
                for e in tried
            ]
    except (TypeError, ValueError, RuntimeError):
        return False
    single = torch.cat(alone).double()
    scale = single.abs().max().clamp(min=1.0)
    tolerance = MOST_DIFFERENCE if module.dtype == torch.float32 else 0.05
    return bool((together.double() - single).abs().max() <= tolerance * scale)


def _labels(row: Sequence[int], start: int) -> list[int]:
    return [IGNORED] * start + list(row[start:])


def _stack(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
