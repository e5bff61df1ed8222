"""Floors: what a strategy without any skill reaches on the same items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from theodolite.errors import DataError
from theodolite.measure.measurement import Floor
from theodolite.text.display import escape


def majority_class(labels: Sequence[Hashable]) -> Floor:
    """Return the accuracy of always answering the most frequent label (ties: the first seen).

    Raises:
        DataError: there are no labels.
    """
    (label, count), *_ = Counter(_some(labels)).most_common(1)
    return Floor(f"majority class ({escape(str(label), 40)})", count / len(labels))


def always(label: Hashable, labels: Sequence[Hashable]) -> Floor:
    """Return the accuracy of answering one given label every time, e.g. of always refusing.

    Raises:
        DataError: there are no labels.
    """
    share = sum(each == label for each in _some(labels)) / len(labels)
    return Floor(f"always {escape(str(label), 40)}", share)


def chance(choices: int | Sequence[int]) -> Floor:
    """Return the accuracy of guessing evenly among the choices.

    Args:
        choices: answers to choose from, the same for all items or one number per item.

    Raises:
        DataError: there are no items, or an item without a choice.
    """
    counts = [choices] if isinstance(choices, int) else list(choices)
    _some(counts)
    if min(counts) < 1:
        raise DataError("An item has no answer to choose from.", fix="Give at least 1 choice.")
    low, high = min(counts), max(counts)
    among = f"1 of {low}" if low == high else f"1 of {low} to {high}"
    return Floor(f"chance ({among})", sum(1 / count for count in counts) / len(counts))


def matched_guessing(labels: Sequence[Hashable]) -> Floor:
    """Return the accuracy of guessing each label as often as it occurs.

    Raises:
        DataError: there are no labels.
    """
    counts = Counter(_some(labels)).values()
    return Floor("guessing by label frequency", sum((c / len(labels)) ** 2 for c in counts))


def _some(items: Sequence[Hashable]) -> Sequence[Hashable]:
    if not len(items):
        raise DataError("A floor needs at least one item.", fix="Check that the set is not empty.")
    return items
