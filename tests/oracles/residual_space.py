"""Slow, obvious versions of what the residual space computes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ridge_by_rows(x: Floats, d: Floats, penalty: float) -> Floats:
    """Return the d x d map of the ridge fit of d on x, through an n x n system."""
    system = x @ x.T + penalty * np.eye(len(x))
    return x.T @ np.linalg.solve(system, d)


def ridge_by_coordinates(x: Floats, d: Floats, penalty: float) -> Floats:
    """Return the same map through a d x d system."""
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ d)


def effective_rank(squares: Sequence[float], tau: float) -> int:
    """Return how many leading squares hold the share, by adding them up one after the other."""
    total, so_far = sum(squares), 0.0
    if total == 0:
        return 0
    for count, square in enumerate(squares, 1):
        so_far += square
        if so_far / total >= tau - 1e-12:
            return count
    raise AssertionError("a share above 1 was asked for")


def principal_cosines(first: Floats, second: Floats) -> Floats:
    """Return the cosines of the principal angles of two row spaces."""
    one, other = np.linalg.qr(first.T)[0], np.linalg.qr(second.T)[0]
    return np.linalg.svd(one.T @ other, compute_uv=False)


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the share of (positive, negative) pairs in the right order; equal ones count half."""
    pairs = [
        (float(a > b) + 0.5 * float(a == b))
        for a, up in zip(scores, labels)
        if up
        for b, other in zip(scores, labels)
        if not other
    ]
    return float(np.mean(pairs))


def threshold_rule(scores: Sequence[float], labels: Sequence[bool]) -> tuple[int, float]:
    """Return how many rows the paper's rule calls positive, and its accuracy, for distinct scores.

    As many rows as there are positives, those with the largest scores, are called positive.
    """
    positives = sum(labels)
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    called = set(order[:positives])
    right = sum((i in called) == bool(labels[i]) for i in range(len(scores)))
    return len(called), right / len(scores)


def best_balanced_accuracy(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """Return the best balanced accuracy of any threshold, tried one by one."""
    values = sorted(set(scores))
    between = [(a + b) / 2 for a, b in pairwise(values)]
    limits = [values[0] - 1, *between, values[-1] + 1]
    return max(balanced_accuracy(scores, labels, limit) for limit in limits)


def balanced_accuracy(scores: Sequence[float], labels: Sequence[bool], limit: float) -> float:
    """Return the mean over classes of the share on its side of a threshold."""
    up = [s > limit for s, label in zip(scores, labels) if label]
    down = [s <= limit for s, label in zip(scores, labels) if not label]
    return float((np.mean(up) + np.mean(down)) / 2)


def states_one_by_one(model: Any, ids: Sequence[Sequence[int]]) -> Floats:
    """Return states of each prompt's last token, axes (prompt, hidden_index, d_model).

    One prompt at a time, by Hugging Face's own hidden states; the last entry of those is after the
    final norm, so the last block is read by a hook.
    """
    seen: list[torch.Tensor] = []

    def keep(_module: Any, _args: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    rows = []
    hook = model.anatomy.blocks[-1].register_forward_hook(keep)
    try:
        for one in ids:
            with torch.inference_mode():
                output = model.module(
                    torch.tensor([list(one)]), output_hidden_states=True, use_cache=False
                )
            states = [*output.hidden_states[:-1], seen[-1]]
            last = [h.reshape(1, len(one), -1)[0, -1].double().numpy() for h in states]
            rows.append(np.stack(last))
    finally:
        hook.remove()
    return np.stack(rows)


def stability(
    rows: Floats, components: Floats, goals: Sequence[str], draws: Sequence[Sequence[str]]
) -> Floats:
    """Return mean |cosine| of components with those of drawn goals, each decomposed anew.

    The matching tries every order of as many leading components.
    """
    count = len(components)
    found = []
    for drawn in draws:
        chosen = np.concatenate([np.flatnonzero(np.array(goals) == goal) for goal in drawn])
        own = rows[chosen] - rows[chosen].mean(0)
        others = np.linalg.svd(own, full_matrices=False)[2][: count + 2]
        cosines = np.abs(components @ others.T)
        ways = permutations(range(len(others)), count)
        best = max(ways, key=lambda way: sum(cosines[i, j] for i, j in enumerate(way)))
        found.append([cosines[i, j] for i, j in enumerate(best)])
    return np.mean(found, axis=0)
