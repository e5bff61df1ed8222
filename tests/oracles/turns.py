"""Conversations read naively: every turn from its first token, one chain at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Turn = tuple[Sequence[int], Sequence[int]]
"""Tokens of a prompt, and of its answer."""

NEAR_TIE = 1e-3


@torch.inference_mode()
def greedy_by_whole_reading(model: Any, turns: Sequence[Turn]) -> list[str]:
    """Tell of each answer whether it is greedy, from plain forwards over whole conversations.

    A turn that is quoted whole by a later one is checked in that one's forward.

    Returns: "equal"; "tie" where an answer first differs from the likeliest tokens at a place at
        which the two likeliest lie within 1e-3 of each other; "different" where it does elsewhere.
    """
    found: dict[Turn, str] = {}
    todo = {(tuple(ids), tuple(written)) for ids, written in turns}
    for turn in sorted(todo, key=lambda one: -len(one[0]) - len(one[1])):
        if turn in found:
            continue
        whole = (*turn[0], *turn[1])
        logits = model.module(torch.tensor([whole]), use_cache=False).logits[0].float()
        for other in todo - found.keys():
            begin, end = len(other[0]), len(other[0]) + len(other[1])
            if whole[:end] == (*other[0], *other[1]):
                part = logits[begin - 1 : end - 1, : model.anatomy.vocab_size]
                found[other] = _verdict(part, other[1])
    return [found[tuple(ids), tuple(written)] for ids, written in turns]


def _verdict(logits: torch.Tensor, written: Sequence[int]) -> str:
    for row, token in zip(logits, written, strict=True):
        if int(row.argmax()) != token:
            first, second = row.topk(2).values.tolist()
            return "tie" if first - second < NEAR_TIE else "different"
    return "equal"


def naive_tokens(steps: Sequence[Sequence[Turn]]) -> int:
    """Return how many tokens are read where every turn is read from its first token."""
    return sum(len(ids) for step in steps for ids, _ in step)


def new_tokens(steps: Sequence[Sequence[Turn]]) -> int:
    """Return how many tokens have to be read by whoever never reads or writes one twice.

    Args:
        steps: turns that are asked at once; an answer is known only afterwards, and its last token
            is written without being read.
    """
    places: dict[tuple[int, int], int] = {}  # of a tree: (place, token) -> place

    def add(ids: Sequence[int]) -> int:
        before, place = len(places), 0
        for token in ids:
            place = places.setdefault((place, token), len(places) + 1)
        return len(places) - before

    count = 0
    for step in steps:
        count += sum(add(ids) for ids, _ in step)
        for ids, written in step:
            add((*ids, *written[:-1]))
    return count
