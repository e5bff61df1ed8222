"""The slow, obvious way to the modes of MR-Ben that write nothing: a whole forward per question."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tests.oracles import engine_forward


def log_probability(model: Any, ids: Sequence[int], completion: Sequence[int]) -> float:
    """Return the log-probability of a completion, in nats."""
    return float(engine_forward.logprobs(model, ids, completion).sum())


def label_chances(
    model: Any, ids: Sequence[int], labels: Sequence[Sequence[int]], none: Sequence[int]
) -> list[float]:
    """Return the chance of each label, then of none; a label keeps what longer ones leave.

    Args:
        labels, none: as tokens.
    """
    options = [tuple(one) for one in (*labels, none)]
    mass = {one: math.exp(log_probability(model, ids, one)) for one in options}
    left = {}
    for one in sorted(options, key=len, reverse=True):
        longer = [other for other in left if other != one and other[: len(one)] == one]
        left[one] = mass[one] - sum(left[other] for other in longer)
    total = sum(left.values())
    return [left[one] / total for one in options]


def last_logits(model: Any, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the logits behind each prompt, one forward each; axes (prompt, vocab)."""
    return torch.stack([engine_forward.logits(model, ids)[-1] for ids in prompts])


def prefixes(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many different beginnings the sequences have, counted one by one."""
    return len({tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)})


def mcc(said: np.ndarray, right: np.ndarray) -> float:
    """Return Matthews' correlation of verdicts; 0 where it has no value."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(right, said))
