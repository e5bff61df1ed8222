"""The lens and its figures, spelled out one token, one prompt and one resample at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import permutations


def rms_lens(
    state: Sequence[float],
    scale: Sequence[float],
    epsilon: float,
    unembedding: Sequence[Sequence[float]],
) -> list[float]:
    """Return the logits of one state under an RMS norm and an output layer without bias."""
    root = math.sqrt(sum(x * x for x in state) / len(state) + epsilon)
    normed = [x / root * g for x, g in zip(state, scale, strict=True)]
    return [sum(a * b for a, b in zip(normed, row, strict=True)) for row in unembedding]


def top_ids(logits: Sequence[float], k: int) -> list[int]:
    """Return the k likeliest tokens; of equal ones the lower id comes first."""
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]


def softmax(logits: Sequence[float]) -> list[float]:
    """Return the probability of each token."""
    peak = max(logits)
    weights = [math.exp(x - peak) for x in logits]
    return [w / sum(weights) for w in weights]


def log_odds(logits: Sequence[float], positive: Sequence[int], negative: Sequence[int]) -> float:
    """Return log P(positive) - log P(negative)."""
    p = softmax(logits)
    return math.log(sum(p[i] for i in positive)) - math.log(sum(p[i] for i in negative))


def top_balance(
    logits: Sequence[float], k: int, positive: Sequence[int], negative: Sequence[int]
) -> float:
    """Return P(positive) - P(negative) among the k likeliest tokens."""
    p, kept = softmax(logits), top_ids(logits, k)
    return sum(p[i] for i in kept if i in positive) - sum(p[i] for i in kept if i in negative)


def consistency(tops: Sequence[Sequence[int]], top: int) -> float:
    """Return TIC of one layer from each prompt's likeliest tokens."""
    counts = Counter(token for tokens in tops for token in set(tokens))
    most = sorted(counts, key=lambda token: (-counts[token], token))[:top]
    return sum(counts[token] / len(tops) for token in most) / top


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Return Pearson's r."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    cov = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True))
    return cov / math.sqrt(sum((a - mx) ** 2 for a in x) * sum((b - my) ** 2 for b in y))


def permutation_p(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the share of all pairings whose r is at least as far from 0."""
    seen = abs(pearson(x, y)) - 1e-9
    every = list(permutations(y))
    return sum(abs(pearson(x, one)) >= seen for one in every) / len(every)


def difference_and_error(
    values: Sequence[float], first: Sequence[bool], groups: Sequence[int]
) -> tuple[float, float]:
    """Return the difference of two class means and its standard error over groups.

    The error is that of the linearised difference: each item pulls its class mean by its distance
    to it over the size of the class, and the pulls of a group add up.
    """
    one = [v for v, f in zip(values, first, strict=True) if f]
    two = [v for v, f in zip(values, first, strict=True) if not f]
    m1, m2 = sum(one) / len(one), sum(two) / len(two)
    pulls: dict[int, float] = {}
    for value, is_first, group in zip(values, first, groups, strict=True):
        pull = (value - m1) / len(one) if is_first else -(value - m2) / len(two)
        pulls[group] = pulls.get(group, 0.0) + pull
    n = len(pulls)
    return m1 - m2, math.sqrt(n / (n - 1) * sum(p * p for p in pulls.values()))


def resampled_difference(
    values: Sequence[float], first: Sequence[bool], groups: Sequence[int], drawn: Sequence[int]
) -> tuple[float, float]:
    """Return the same of a resample: the items of the drawn groups, each draw a group of its own.

    Args:
        drawn: the group of each draw; a group may be drawn more than once.
    """
    picked = [
        (values[i], first[i], draw)
        for draw, group in enumerate(drawn)
        for i in range(len(values))
        if groups[i] == group
    ]
    return difference_and_error(*([row[j] for row in picked] for j in range(3)))  # type: ignore[arg-type]


def word_z(counts: Sequence[Sequence[float]], prior: float) -> list[float]:
    """Return the z-score of each word's log-odds under a Dirichlet prior of the pooled shares."""
    total = sum(map(sum, counts))
    found = []
    for word in range(len(counts[0])):
        alpha = prior * sum(row[word] for row in counts) / total
        odds, variance = [], 0.0
        for row in counts:
            here = row[word] + alpha
            odds.append(math.log(here / (sum(row) + prior - here)))
            variance += 1 / here
        found.append((odds[0] - odds[1]) / math.sqrt(variance))
    return found
