"""Two systems on the same items: the difference with its interval, and the test that goes with it.

A pair in which either side is unscored is left out of both and counted.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from theodolite.errors import DataError
from theodolite.measure.closed_form import (
    Clusters,
    Floats,
    as_floats,
    paired_proportion_interval,
)
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.text.hashing import item_seed

_ENUMERATED = 14  # up to so many clusters, all sign patterns are tried: 16,384
_CHUNK = 4_000_000


@dataclass(frozen=True)
class PairedTest:
    """A p-value for "both are the same", two-sided.

    Args:
        p_value: between 0 and 1.
        method: the test.
        n: pairs in which both sides were scored.
        only_first, only_second: pairs in which the first (second) side scored higher.
    """

    p_value: float
    method: str
    n: int
    only_first: int
    only_second: int


def mcnemar(
    first: Sequence[bool | None],
    second: Sequence[bool | None],
    *,
    method: Literal["mid-p", "exact"] = "mid-p",
) -> PairedTest:
    """Return McNemar's test of two systems on the same independent yes/no items.

    Source: Fagerland, Lydersen and Laake 2013, who recommend the mid-p value: the exact one
    rejects far less often than its level says.

    Args:
        first, second: outcomes of both systems; axis (item); None where unscored.
        method: `mid-p` or `exact` (binomial).

    Raises:
        DataError: an outcome is not 0, 1 or None, or the sides differ in length.
    """
    from scipy.special import bdtr

    differences, _, _ = _differences(first, second, None)
    if not np.isin(differences, (-1.0, 0.0, 1.0)).all():
        raise DataError("McNemar's test needs outcomes of 0 and 1.", fix="Use `paired_test`.")
    up, down = int((differences > 0).sum()), int((differences < 0).sum())
    fewer, discordant = min(up, down), up + down
    tail = float(bdtr(fewer, discordant, 0.5))
    if method == "mid-p":
        below = float(bdtr(fewer - 1, discordant, 0.5)) if fewer else 0.0
        tail -= (tail - below) / 2
    p_value = min(1.0, 2 * tail) if discordant else 1.0
    return PairedTest(p_value, f"mcnemar {method}", len(differences), up, down)


def paired_test(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    permutations: int = 9999,
) -> PairedTest:
    """Return the test of a mean paired difference: McNemar where it applies, else sign flips.

    Independent yes/no pairs get McNemar's mid-p test. Anything else gets a permutation test
    that swaps the two systems in whole clusters: all patterns up to 14 clusters, random ones
    above.

    Args:
        first, second: scores of both systems; axis (item); None where unscored.
        clusters: the group of each item; None where items are independent.
        seed: of the random patterns.
        permutations: number of random patterns.

    Raises:
        DataError: a score is not finite, or the sides or clusters differ in length.
    """
    differences, groups, _ = _differences(first, second, clusters)
    yes_no = all(value in (0, 1, None) for side in (first, second) for value in side)
    if yes_no and groups.independent:
        return mcnemar(first, second)  # type: ignore[arg-type]
    sums = groups.sums(differences)
    p_value, method = _sign_flips(sums[np.abs(sums) > 0], seed, permutations)
    up, down = int((differences > 0).sum()), int((differences < 0).sum())
    return PairedTest(p_value, method, len(differences), up, down)


def paired_difference(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    *,
    name: str = "difference",
    unit: str = "share",
    range: tuple[float, float] | None = None,
    floor: Floor | None = None,
    seed: int = 0,
    level: float = 0.95,
    reason: str | None = None,
) -> Measurement:
    """Return the mean of first minus second over the same items, with its interval.

    Args:
        first, second: scores of both systems; axis (item); None where unscored.
        clusters: the group of each item; None where items are independent.
        name, unit, floor, level, reason: as for `proportion`; the floor of a difference is
            usually 0, that of no change, which is filled in.
        range: lowest and highest possible score of one side; 0 and 1 are filled in where all
            scores are 0 or 1.
        seed: all builders take one; this interval is a closed form and needs no chance.

    Returns: the difference: Bonett-Price interval for yes/no outcomes, t over clusters else.

    Raises:
        DataError: a score is not finite or outside the range, or the lengths differ.
    """
    yes_no = all(value in (0, 1, None) for side in (first, second) for value in side)
    if yes_no:
        range = (0.0, 1.0)
    reach = None if range is None else (range[0] - range[1], range[1] - range[0])
    differences, groups, kept = _differences(first, second, clusters)
    pairs: list[float | None] = [None] * len(first)
    for place, value in zip(kept, differences):
        pairs[place] = float(value)
    result = mean(
        name,
        pairs,
        clusters=clusters,
        unit=unit,
        range=reach,
        floor=floor or Floor("no change", 0.0),
        reasons=["a side is unscored" if pair is None else None for pair in pairs],
        level=level,
        reason=reason,
    )
    interval = paired_proportion_interval(differences, groups, level) if yes_no else None
    if interval is None:
        return result
    return replace(result, low=interval.low, high=interval.high, method=interval.method)


def _differences(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Sequence[Hashable] | None,
) -> tuple[Floats, Clusters, list[int]]:
    """Return first minus second where both are scored, the groups, and the places kept."""
    lengths = {len(first), len(second), len(first if clusters is None else clusters)}
    if len(lengths) > 1:
        raise DataError(
            f"The paired sides have {len(first)} and {len(second)} items"
            f"{'' if clusters is None else f' and {len(clusters)} clusters'}.",
            fix="Give both sides the same items in the same order.",
        )
    pairs = [(a, b) for a, b in zip(first, second)]
    kept = [i for i, (a, b) in enumerate(pairs) if a is not None and b is not None]
    left, right = as_floats([first[i] for i in kept]), as_floats([second[i] for i in kept])  # type: ignore[misc]
    own = None if clusters is None else [clusters[i] for i in kept]
    return left - right, Clusters.of(own, len(kept)), kept


def _sign_flips(sums: Floats, seed: int, permutations: int) -> tuple[float, str]:
    """Return the two-sided p-value of the total of cluster sums under flipped signs."""
    n = len(sums)
    observed = abs(float(sums.sum())) * (1 - 1e-12)
    if n == 0:
        return 1.0, "sign flips, all"
    if n <= _ENUMERATED:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        totals = (2.0 * patterns - 1) @ sums
        return float((np.abs(totals) >= observed).mean()), "sign flips, all"
    rng = np.random.default_rng(item_seed(seed, "sign flips"))
    reached, at_once = 0, max(1, _CHUNK // n)
    for start in range(0, permutations, at_once):
        rows = min(at_once, permutations - start)
        signs = rng.integers(0, 2, (rows, n), dtype=np.int8) * 2.0 - 1
        reached += int((np.abs(signs @ sums) >= observed).sum())
    return (reached + 1) / (permutations + 1), f"sign flips, {permutations} drawn"
