"""Of n samples, what the best or worst of k would be: every k at once, without drawing any.

The mean over all subsets of size k has a closed form in the sorted samples, so a benchmark of 25
samples per prompt also says what 1, 5 or 10 would have shown, without bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from theodolite.errors import ConfigError
from theodolite.measure.closed_form import Floats, as_floats


def expected_maximum(values: Sequence[float], k: int) -> float:
    """Return the mean of the largest of k values over all subsets of size k.

    With sorted values v_1 <= ... <= v_n it is the sum over i of C(i-1, k-1) / C(n, k) v_i.

    Args:
        values: axis (sample); k = 1 gives their mean, k = n their maximum.
        k: 1 to n.

    Raises:
        ConfigError: k is not between 1 and n.
        DataError: a value is not finite.
    """
    array = as_floats(values)
    return float(_weights(len(array), k) @ np.sort(array))


def chance_of_any(n: int, hits: int, k: int) -> float:
    """Return the share of subsets of size k that hold a hit: 1 - C(n - hits, k) / C(n, k).

    Args:
        n: samples.
        hits: how many of them are hits, 0 to n.
        k: 1 to n.

    Raises: ConfigError: k is not between 1 and n, or hits not between 0 and n.
    """
    _check(n, k)
    if not 0 <= hits <= n:
        raise ConfigError(f"{hits} of {n} samples cannot be hits.")
    if n - hits < k:
        return 1.0
    places = np.arange(k)
    return float(1 - np.prod((n - hits - places) / (n - places)))


def _weights(n: int, k: int) -> Floats:
    """Return the share of subsets in which each sorted value is the largest, axis (sample)."""
    _check(n, k)
    weights = np.zeros(n)
    weights[-1] = k / n
    # From the largest down each weight is a ratio below one of the next, so nothing overflows.
    for place in range(n - 1, k - 1, -1):
        weights[place - 1] = weights[place] * (place - k + 1) / place
    return weights


def _check(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ConfigError(
            f"The best of {k} of {n} samples is not defined.",
            fix=f"Choose k from 1 to {n}." if n else "Give at least one sample.",
        )
