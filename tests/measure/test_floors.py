"""Floors are what no skill reaches."""

from __future__ import annotations

import pytest

from theodolite.errors import DataError
from theodolite.measure import Floor, always, chance, majority_class, matched_guessing


def test_floors():
    labels = ["a", "b", "b", "c"]
    assert majority_class(labels) == Floor("majority class (b)", 0.5)
    assert always("a", labels) == Floor("always a", 0.25)
    assert always("x", labels).value == 0.0
    assert matched_guessing(labels).value == pytest.approx(1 / 16 + 4 / 16 + 1 / 16)
    assert chance(4) == Floor("chance (1 of 4)", 0.25)
    assert chance([2, 4]) == Floor("chance (1 of 2 to 4)", 0.375)


def test_hostile_labels_are_escaped():
    assert "\x1b" not in majority_class(["\x1b[31m"]).name


@pytest.mark.parametrize(
    "call",
    [lambda: majority_class([]), lambda: always(1, []), lambda: chance([]), lambda: chance(0)],
)
def test_nothing_has_no_floor(call):
    with pytest.raises(DataError):
        call()
