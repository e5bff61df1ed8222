"""Numbers as people read them: no false precision, no exponents in the usual range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.report.numbers import (
    format_interval,
    format_plain,
    format_seconds,
    format_value,
)


@pytest.mark.parametrize(
    ("value", "unit", "n", "text"),
    [
        (0.7833, "share", 120, "78.3 %"),
        (0.7833, "share", 40, "78 %"),
        (78.33, "percent", 120, "78.3 %"),
        (0.41, "cosine", 10, "0.41"),
        (2.312, "nats", 10, "2.31 nats"),
        (-0.5, "nats", 10, "−0.5 nats"),
        (None, "share", 0, "–"),
        (float("nan"), "share", 5, "– %"),
    ],
)
def test_values(value: float | None, unit: str, n: int, text: str) -> None:
    assert format_value(value, unit, n) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234567, "1\u202f234\u202f567"),
        (1234.5, "1\u202f234"),
        (0.000012, "1.20e-05"),
        (0.0609, "0.0609"),
        (99.99, "100"),
        (10**400, "10^400"),
    ],
)
def test_plain_numbers(value: float, text: str) -> None:
    assert format_plain(value) == text


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers())
def test_every_number_has_words(value: float) -> None:
    assert format_plain(value)


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_three_digits_are_kept(value: float) -> None:
    shown = float(format_plain(value).replace("\u202f", ""))
    assert shown == pytest.approx(value, rel=6e-3)


def test_intervals_and_durations() -> None:
    assert format_interval(0.2, 0.4, "share", 120) == "20.0 to 40.0"
    assert format_interval(None, 0.4, "share") == ""
    assert [format_seconds(s) for s in (3.21, 42, 200, 7500, None)] == [
        "3.2 s",
        "42 s",
        "3 min 20 s",
        "2 h 05 min",
        "–",
    ]
