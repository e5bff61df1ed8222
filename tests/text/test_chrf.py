"""chrF: the values that sacreBLEU 2.6.0 gives, and what follows from the definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.text.chrf import chrf

KNOWN = [
    ("The cat sat on the mat.", "The cat sat on a mat.", 0.7142247563033848),
    ("short", "a much longer reference text than that", 0.03007518796992482),
    ("Über den Fluß  ging er,", "Ueber den Fluss ging er", 0.5979843599249203),
    ("he thanked her for the soup", "she thanked him for the lovely soup", 0.49977556505997195),
    ("aaa aaa aaa", "aaa", 0.6149193548387096),
    ("x y z", "xyz", 1.0),
    ("ab", "ab", 1.0),
    ("a", "b", 0.0),
    ("", "x", 0.0),
    ("Not at all alike", "1234567", 0.0),
]


@pytest.mark.parametrize(("hypothesis", "reference", "expected"), KNOWN)
def test_known_values(hypothesis: str, reference: str, expected: float) -> None:
    assert chrf(hypothesis, reference) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)  # the first call loads sacreBLEU
@given(st.text(max_size=30), st.text(max_size=30))
def test_bounds_and_identity(a: str, b: str) -> None:
    assert 0 <= chrf(a, b) <= 1 + 1e-12
    assert chrf(a, a) == (pytest.approx(1.0) if a.split() else 0.0)
