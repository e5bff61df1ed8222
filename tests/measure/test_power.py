"""Sample sizes: textbook values, and simulated power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.errors import DataError
from theodolite.measure import detectable_difference, mcnemar, n_for_difference
from theodolite.measure.power import discordant_share


def test_textbook_values():
    """Fleiss, Levin and Paik: 0.25 and 0.4 at 90 % power need 203 each without correction."""
    assert n_for_difference(0.25, 0.40, power=0.9) == 203
    assert n_for_difference(0.5, 0.6) == 388
    assert n_for_difference(0.6, 0.5) == 388


def test_paired_power_by_simulation():
    n = n_for_difference(0.7, 0.6, paired=True, correlation=0.5)
    assert n < n_for_difference(0.7, 0.6, paired=True) < n_for_difference(0.7, 0.6) + 5
    rng = np.random.default_rng(0)
    discordant = discordant_share(0.7, 0.6, 0.5)
    cells = [(discordant + 0.1) / 2, (discordant - 0.1) / 2, 1 - discordant]
    found = 0
    for _ in range(1000):
        up, down, _ = rng.multinomial(n, cells)
        found += mcnemar([1] * up + [0] * down, [0] * up + [1] * down).p_value <= 0.05
    assert 0.74 < found / 1000 < 0.86


@given(st.integers(5, 2000), st.floats(0, 1), st.booleans(), st.sampled_from([0.0, 0.6]))
def test_the_smallest_difference_needs_just_these_items(n, base, paired, correlation):
    options = {"paired": paired, "correlation": correlation}
    for direction, sign in (("up", 1), ("down", -1)):
        least = detectable_difference(n, base, direction=direction, **options)
        if least is None:
            continue
        assert n_for_difference(base, min(max(base + sign * least, 0), 1), **options) <= n
        if least > 1e-3:
            assert n_for_difference(base, base + sign * least * 0.98, **options) >= n * 0.9


def test_either_direction_and_no_room():
    both = [detectable_difference(100, 0.9, direction=d) for d in ("up", "down")]
    assert detectable_difference(100, 0.9) == max(d for d in both if d is not None)
    assert detectable_difference(5, 0.9, direction="up") is None
    assert detectable_difference(200, 0.5) < detectable_difference(50, 0.5)


def test_discordant_share():
    assert discordant_share(0.5, 0.5) == 0.5
    assert discordant_share(0.5, 0.5, 1.0) == 0.0
    assert discordant_share(0.9, 0.8, 1.0) == pytest.approx(0.1)
    assert discordant_share(0.9, 0.8, -1.0) == pytest.approx(0.3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: n_for_difference(0.5, 0.5),
        lambda: n_for_difference(0.5, 1.5),
        lambda: n_for_difference(0.5, 0.6, power=1.0),
        lambda: detectable_difference(1, 0.5),
        lambda: detectable_difference(10, -0.5),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(DataError):
        call()
