"""The slow, obvious way to the figures of debatable questions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from theodolite.behaviour.debateqa.rows import TargetScore

IGNORED = -100


def target_sum(logits: np.ndarray, ids: Sequence[int], n_context: int) -> float:
    """Return the nats of a target's tokens, each given all tokens before it.

    Args:
        logits: axes (position, vocabulary) of context and target.
        ids: tokens of both.
        n_context: tokens of the context.
    """
    total = 0.0
    for place in range(n_context, len(ids)):
        row = logits[place - 1].astype(np.float64)
        total -= row[ids[place]] - row.max() - math.log(np.exp(row - row.max()).sum())
    return float(total)


def masked_label_ppl(logits: np.ndarray, ids: Sequence[int], n_context: int) -> float:
    """Return what a script gives that masks the labels of the context and averages over all tokens.

    The labels are the tokens, those of the context ignored; both are shifted by one; the sum of the
    losses is divided by the number of shifted positions that are no padding, context included.

    Args:
        logits, ids, n_context: as for `target_sum`.
    """
    labels = np.array(ids)
    labels[:n_context] = IGNORED
    shifted_logits, shifted_labels = logits[:-1], labels[1:]
    losses = np.zeros(len(shifted_labels))
    for place, label in enumerate(shifted_labels):
        if label != IGNORED:
            row = shifted_logits[place].astype(np.float64)
            shifted = row - row.max()
            losses[place] = np.log(np.exp(shifted).sum()) - shifted[label]
    no_padding = np.ones(len(ids))
    return float(np.exp(losses.sum() / no_padding[1:].sum()))


def tau(scores: Sequence[TargetScore]) -> float:
    """Return the least null gain that at least 95 % of the null gains do not exceed."""
    gains = [(s.prior_sum - null) / s.n_tokens for s in scores for null in s.null_sums]  # type: ignore[operator]
    return min(v for v in gains if sum(g <= v for g in gains) >= 0.95 * len(gains) - 1e-9)


def figures(scores: Sequence[TargetScore], tau: float) -> dict[str, dict[str, float | None]]:
    """Return pd, nll, gain, coverage, balance and evenness of every question."""
    found: dict[str, dict[str, float | None]] = {}
    for question in {score.question for score in scores}:
        own = [s for s in scores if s.question == question]
        n = len(own)
        gains = [(s.prior_sum - s.nll_sum) / s.n_tokens for s in own]  # type: ignore[operator]
        sides: dict[str, list[bool]] = {}
        for score, gain in zip(own, gains):
            sides.setdefault(str(score.stance), []).append(gain > tau)
        ppl = [math.exp(s.nll_sum / s.n_tokens) for s in own]
        reference = [math.exp(s.nll_sum / (s.n_context + s.n_tokens - 1)) for s in own]
        covered = [sum(side) for side in sides.values()]
        found[question] = {
            "pd": sum(ppl) / n,
            "pd_sum": sum(ppl),
            "pd_reference": sum(reference) / n,
            "nll": sum(s.nll_sum / s.n_tokens for s in own) / n,
            "gain": sum(gains) / n,
            "coverage": sum(gain > tau for gain in gains) / n,
            "balance": None,
            "evenness": None,
        }
        if all(s.stance is not None for s in own) and len(sides) > 1:
            found[question]["balance"] = min(sum(side) / len(side) for side in sides.values())
            if sum(covered):
                parts = [c / sum(covered) for c in covered if c]
                entropy = -sum(p * math.log(p) for p in parts)
                found[question]["evenness"] = entropy / math.log(len(sides))
    return found


def combined_ranks(pd: Mapping[str, float], da: Mapping[str, float], k: float) -> dict[str, float]:
    """Return the rank of each model: one, and one for each better model, and half for each tie."""

    def part(values: Mapping[str, float], model: str, flipped: bool) -> float:
        low, high = min(values.values()), max(values.values())
        share = (values[model] - low) / (high - low) if high > low else 0.0
        return 1 - share if flipped and high > low else share

    score = {m: round(k * part(pd, m, True) + (1 - k) * part(da, m, False), 12) for m in pd}
    return {
        m: 1
        + sum(other > score[m] for other in score.values())
        + (sum(other == score[m] for other in score.values()) - 1) / 2
        for m in pd
    }


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the least-squares slope of y on x."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)


def youden(gains: Sequence[float], positive: Sequence[bool]) -> float:
    """Return the greatest TPR - FPR that any threshold gives."""
    best = 0.0
    for threshold in gains:
        above = [gain > threshold for gain in gains]
        hits = [a for a, p in zip(above, positive) if p]
        alarms = [a for a, p in zip(above, positive) if not p]
        best = max(best, sum(hits) / len(hits) - sum(alarms) / len(alarms))
    return best


def auroc(up: Sequence[float], down: Sequence[float]) -> float:
    """Return the share of pairs in which the first is greater, ties counted half."""
    wins: list[Any] = [(a > b) + (a == b) / 2 for a in up for b in down]
    return float(sum(wins) / len(wins))
