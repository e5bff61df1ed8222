"""A family of phrases: an expression, and the cheap substrings that say where to try it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One kind of phrase.

    Args:
        name: what the phrase does.
        expression: matched against folded, lower-case text.
        gates: substrings of which at least one stands in every sentence with a match; none where
            the expression is bound to the start of a sentence or occurs almost everywhere.
    """

    name: str
    expression: re.Pattern[str]
    gates: tuple[str, ...]


def family(name: str, expression: str, *gates: str) -> Family:
    """Return the family of an expression, whose `^` is the start of a sentence."""
    return Family(name, re.compile(expression, re.M), gates)
