"""Whether two rankings of heads agree: shared top heads, order, and what chance would share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from theodolite.errors import DataError
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.rank_agreement import spearman
from theodolite.mechanism.heads.ablation import Head, head_name
from theodolite.mechanism.heads.ranking import HeadRanking

PERSISTENCE: Final = 0.9


@dataclass(frozen=True)
class Overlap:
    """Two rankings of heads, held against each other.

    Args:
        names: of the rankings.
        k: how many top heads were asked for.
        sizes: how many each has, at most k.
        shared: heads among the top of both, in the first's order.
        n_heads: heads they were chosen from; None where unknown, and then nothing is by chance.
        expected: how many two random choices would share.
        p_value: chance that random choices share as many or more.
        jaccard: shared by either.
        rbo: rank-biased overlap of the top heads.
        rho: Spearman correlation over all heads both have scores for.
    """

    names: tuple[str, str]
    k: int
    sizes: tuple[int, int]
    shared: tuple[Head, ...]
    n_heads: int | None
    expected: float | None
    p_value: float | None
    jaccard: float
    rbo: float
    rho: Measurement

    def row(self) -> dict[str, Any]:
        """Return the comparison as one row of a table."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "k": self.k,
            "n_heads": self.n_heads,
            "shared": len(self.shared),
            "heads": ", ".join(map(head_name, self.shared)),
            "expected": self.expected,
            "p_value": self.p_value,
            "jaccard": self.jaccard,
            "rbo": self.rbo,
            "spearman": self.rho.value,
            "spearman_low": self.rho.low,
            "spearman_high": self.rho.high,
            "n_spearman": self.rho.n,
        }

    def measurements(self) -> list[Measurement]:
        """Return shared share, Jaccard and rank-biased overlap with their floors, and Spearman.

        The heads of a top k are no sample, so the first three have no interval: their p-value, by
        the hypergeometric distribution, stands in the reason.
        """
        depth, start = min(self.sizes), f"overlap/{self.names[0]}/{self.names[1]}"
        reason = "how many heads there are is not known, so chance has no value"
        share_floor = jaccard_floor = rbo_floor = None
        if self.n_heads is not None and self.expected is not None:
            reason = (
                f"{len(self.shared)} shared, {self.expected:.3g} by chance, p {self.p_value:.2g}"
            )
            share_floor = Floor("two random choices", self.expected / depth)
            jaccard_floor = Floor("two random choices", _chance_jaccard(*self.sizes, self.n_heads))
            rbo_floor = Floor("two random orders", _chance_rbo(*self.sizes, self.n_heads))
        values = {
            f"top {self.k} shared": (len(self.shared) / depth, share_floor),
            f"top {self.k} jaccard": (self.jaccard, jaccard_floor),
            f"top {self.k} rank-biased overlap": (self.rbo, rbo_floor),
        }
        found = [
            Measurement(
                name=f"{start}/{name}",
                value=value,
                unit="share",
                n=depth,
                floor=floor,
                range=(0.0, 1.0),
                reason=reason,
            )
            for name, (value, floor) in values.items()
        ]
        return [*found, self.rho]


def overlap(
    first: HeadRanking, second: HeadRanking, k: int = 10, *, p: float = PERSISTENCE
) -> Overlap:
    """Compare the top heads of two rankings, and the order of all.

    Args:
        first, second: of the same heads: of one model, or of models with one architecture.
        k: how many top heads; a shorter ranking gives all it has.
        p: persistence of the rank-biased overlap.

    Raises:
        DataError: k is below 1, or the rankings are of different numbers of heads.
    """
    if k < 1:
        raise DataError(f"The top {k} heads cannot be compared.", fix="Use k of 1 or more.")
    counts = {each.n_heads for each in (first, second) if each.n_heads is not None}
    if len(counts) > 1:
        raise DataError(
            f"The rankings are of {first.n_heads} and of {second.n_heads} heads.",
            fix="Compare models of one architecture.",
        )
    n_heads = counts.pop() if counts else None
    a, b = first.heads[:k], second.heads[:k]
    shared = tuple(head for head in a if head in set(b))
    by_chance = n_heads is not None and n_heads >= len(set(a) | set(b))
    return Overlap(
        names=(first.name, second.name),
        k=k,
        sizes=(len(a), len(b)),
        shared=shared,
        n_heads=n_heads if by_chance else None,
        expected=expected_overlap(len(a), len(b), n_heads) if by_chance and n_heads else None,
        p_value=overlap_p_value(len(shared), len(a), len(b), n_heads)
        if by_chance and n_heads
        else None,
        jaccard=jaccard(a, b),
        rbo=rank_biased_overlap(a, b, p),
        rho=_all_heads(first, second),
    )


def jaccard(first: Sequence[Head], second: Sequence[Head]) -> float:
    """Return how many heads both have, by how many either has; 1 where both are empty."""
    a, b = set(first), set(second)
    return len(a & b) / len(a | b) if a | b else 1.0


def rank_biased_overlap(
    first: Sequence[Head], second: Sequence[Head], p: float = PERSISTENCE
) -> float:
    """Return how well two rankings agree, the top counting most, continued below their ends.

    Source: Webber, Moffat and Zobel 2010 (ACM TOIS 28:20), equation 32, for lists of equal or
    unequal length: agreement is taken to go on as at the last depth seen.

    Args:
        first, second: best first, without repeats.
        p: persistence, between 0 and 1: at 0.9 the first ten ranks have 86 % of the weight.

    Returns: 0 (nothing shared) to 1 (the same).

    Raises:
        DataError: p is not between 0 and 1, a list is empty or names a head twice.
    """
    if not 0 < p < 1:
        raise DataError(f"A persistence of {p} is not possible.", fix="Use a number in (0, 1).")
    short, long = sorted((list(first), list(second)), key=len)
    for ranking in (short, long):
        if not ranking or len(set(ranking)) != len(ranking):
            raise DataError("A ranking is empty or names a head twice.", fix="Name each once.")
    s, l_end = len(short), len(long)
    found = [len(set(short[:d]) & set(long[:d])) for d in range(1, l_end + 1)]
    at_short, at_end = found[s - 1], found[-1]
    total = sum(found[d - 1] / d * p**d for d in range(1, l_end + 1))
    total += sum(at_short * (d - s) / (s * d) * p**d for d in range(s + 1, l_end + 1))
    rest = ((at_end - at_short) / l_end + at_short / s) * p**l_end
    return min(1.0, (1 - p) / p * total + rest)


def expected_overlap(first: int, second: int, n_heads: int) -> float:
    """Return how many heads random choices of these sizes share on average."""
    _check_sizes(0, first, second, n_heads)
    return first * second / n_heads


def overlap_p_value(shared: int, first: int, second: int, n_heads: int) -> float:
    """Return the chance that random choices share as many heads or more (hypergeometric).

    Args:
        shared: heads that both choices have.
        first, second: sizes of the choices.
        n_heads: heads they are chosen from.

    Raises:
        DataError: more heads are chosen than there are, or more shared than chosen.
    """
    _check_sizes(shared, first, second, n_heads)
    return float(sum(_chances(first, second, n_heads)[shared:]))


def _all_heads(first: HeadRanking, second: HeadRanking) -> Measurement:
    """Return the Spearman correlation over the heads that both rankings score."""
    name = f"overlap/{first.name}/{second.name}/spearman"
    for ranking in (first, second):
        if ranking.partial:
            why = f"{ranking.name} keeps the top heads of each prompt only"
            return not_measured(name, "correlation", why)
    own, other = first.by_head(), second.by_head()
    common = [head for head in first.heads if head in other]
    left_out = len(own) + len(other) - 2 * len(common)
    return spearman(
        [own[head] for head in common],
        [other[head] for head in common],
        name=name,
        what="heads",
        reason=f"{left_out} heads have a score on one side only" if left_out else None,
    )


def _chances(first: int, second: int, n_heads: int) -> list[float]:
    """Return the chance of each number of shared heads, from 0 to the smaller size.

    In whole numbers, so that the smallest chances are right.
    """
    ways = math.comb(n_heads, second)
    return [
        math.comb(first, i) * math.comb(n_heads - first, second - i) / ways
        for i in range(min(first, second) + 1)
    ]


def _chance_jaccard(first: int, second: int, n_heads: int) -> float:
    """Return the mean Jaccard overlap of random choices."""
    chances = _chances(first, second, n_heads)
    return sum(chance * i / (first + second - i) for i, chance in enumerate(chances))


def _chance_rbo(first: int, second: int, n_heads: int, p: float = PERSISTENCE) -> float:
    """Return the mean rank-biased overlap of random orders."""
    s, end = sorted((first, second))
    total = sum(min(d, s) / n_heads * p**d for d in range(1, end + 1))
    total += sum(s * s / n_heads * (d - s) / (s * d) * p**d for d in range(s + 1, end + 1))
    rest = ((s * end - s * s) / end + s) / n_heads * p**end
    return (1 - p) / p * total + rest


def _check_sizes(shared: int, first: int, second: int, n_heads: int) -> None:
    if not 0 <= shared <= min(first, second) or max(first, second) > n_heads or n_heads < 1:
        raise DataError(
            f"{first} and {second} of {n_heads} heads cannot share {shared}.",
            fix="Give the sizes of two choices from the same heads.",
        )
