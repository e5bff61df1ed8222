"""The dual Newton solver finds the minimum that the definition names, and always arrives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tests.oracles.probe_fits import logistic_slope
from theodolite.errors import NumericsError
from theodolite.mechanism.probes import logistic
from theodolite.mechanism.probes.logistic import Dual, Rows, solve

STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)


def drawn(seed: int, n: int, width: int, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw two classes of normal rows."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 2).astype(float)
    x = rng.normal(size=(n, width))
    x[:, 0] += shift * y
    return x, y


def rows_of(x: np.ndarray) -> Rows:
    return Rows.of(x, x @ x.T)


@pytest.mark.parametrize("n, width", [(40, 90), (90, 12)])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_weights_equal_the_library(n: int, width: int, strength: float) -> None:
    """Wide rows go through the Gram matrix, narrow ones through Woodbury: one minimum."""
    x, y = drawn(0, n, width)
    found = solve(rows_of(x), y, strength)
    library = LogisticRegression(C=strength, tol=1e-10, max_iter=100_000).fit(x, y)
    weights = library.coef_[0]
    assert np.linalg.norm(x.T @ found.dual - weights) < 1e-4 * np.linalg.norm(weights)
    assert found.bias == pytest.approx(library.intercept_[0], abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(4, 30),
    st.integers(1, 40),
    st.floats(-4, 2),
    st.floats(0, 6),
)
def test_nothing_pulls_at_the_minimum(
    seed: int, n: int, width: int, exponent: float, shift: float
) -> None:
    x, y = drawn(seed, n, width, shift)
    strength = 10**exponent
    found = solve(rows_of(x), y, strength)
    weights = x.T @ found.dual
    slope = logistic_slope(x, y, strength, weights, found.bias)
    assert np.linalg.norm(slope) < 1e-4 * (np.linalg.norm(weights) + strength)


def test_the_check_of_the_slope_can_fail() -> None:
    x, y = drawn(0, 20, 5)
    found = solve(rows_of(x), y, 1.0)
    slope = logistic_slope(x, y, 1.0, 1.01 * (x.T @ found.dual), found.bias)
    assert np.linalg.norm(slope) > 1e-3


def test_a_start_leads_to_the_same_end() -> None:
    x, y = drawn(1, 40, 60)
    before = solve(rows_of(x), y, 0.1)
    for strength in STRENGTHS:
        alone, led = solve(rows_of(x), y, strength), solve(rows_of(x), y, strength, before)
        assert led.dual == pytest.approx(alone.dual, rel=1e-4, abs=1e-6 * strength)


@pytest.mark.parametrize("width", [3, 80])
def test_separable_classes_and_hardly_any_penalty(width: int) -> None:
    x, y = drawn(2, 40, width, shift=20.0)
    found = solve(rows_of(x), y, 1e6)
    scores = x @ (x.T @ found.dual) + found.bias
    assert ((scores > 0) == y).all()
    slope = logistic_slope(x, y, 1e6, x.T @ found.dual, found.bias)
    assert np.linalg.norm(slope) < 1e-3 * np.linalg.norm(x.T @ found.dual)


def test_a_wild_start_is_no_start() -> None:
    x, y = drawn(3, 40, 60)
    right = solve(rows_of(x), y, 1.0)
    start = Dual(30 * np.random.default_rng(0).normal(size=40), 50.0)
    assert solve(rows_of(x), y, 1.0, start).dual == pytest.approx(right.dual, abs=1e-5)


def test_steps_that_climb_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the wrong side of the classes full Newton steps run away; halved ones arrive."""
    x, y = drawn(6, 40, 3, shift=8.0)
    right = solve(rows_of(x), y, 10.0)
    start = Dual(-0.3 * right.dual, right.bias)
    monkeypatch.setattr(logistic, "_begin", lambda *args: standing_at(start, *args[:3]))
    taken = []
    move = logistic._State.move
    monkeypatch.setattr(
        logistic._State, "move", lambda self, *step: taken.append(move(self, *step)) or taken[-1]
    )
    assert solve(rows_of(x), y, 10.0).dual == pytest.approx(right.dual, abs=1e-5)
    assert min(taken) < 1.0
    monkeypatch.setattr(logistic, "_HALVINGS", 1)
    with pytest.raises(NumericsError, match="no minimum"):
        solve(rows_of(x), y, 10.0)


def standing_at(start: Dual, rows: Rows, target: np.ndarray, strength: float) -> logistic._State:
    values = rows.times(start.dual)
    state = logistic._State(rows, target, strength, *start, values, np.inf)
    state.objective = state.loss(float(start.dual @ values), state.scores)
    return state


def test_no_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "_MOST_STEPS", 1)
    x, y = drawn(4, 20, 5)
    with pytest.raises(NumericsError, match="20 rows found no minimum"):
        solve(rows_of(x), y, 1.0)


def test_rows_that_are_all_alike_leave_the_class_shares() -> None:
    y = np.array([0.0, 0, 0, 1])
    found = solve(Rows.of(np.zeros((4, 9)), np.zeros((4, 4))), y, 1.0)
    assert found.bias == pytest.approx(np.log(1 / 3))
