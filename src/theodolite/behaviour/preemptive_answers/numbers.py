"""Numbers as people and models write them: thousands, fractions, mixed numbers, units around."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple

from theodolite.text.normalise import normalise

_MOST_DIGITS: Final = 200
_D: Final = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
# A minus belongs to a number only where nothing stands before it that could be taken away from.
_NUMBER: Final = re.compile(
    rf"""(?P<sign>(?<![\w)\]}}])[-+]\s?)?\$?\s?
    (?:\\[dt]?frac\{{(?P<top>-?{_D})\}}\{{(?P<bottom>{_D})\}}
      |(?:(?P<whole>{_D})\s+)?(?<![\w.])(?P<over>{_D})\s?/\s?(?P<under>{_D})(?![\w.]*/)
      |(?P<digits>{_D})?(?P<part>\.[0-9]+)(?:[eE](?P<power>[-+]?[0-9]{{1,2}}))?
      |(?P<int>{_D})(?:[eE](?P<exp>[-+]?[0-9]{{1,2}})(?!\w))?
    )""",
    re.VERBOSE,
)


class Found(NamedTuple):
    """A number in a text, and where it stands."""

    value: Fraction
    spelling: str
    start: int
    end: int


def numbers_of(text: str) -> list[Found]:
    """Return the numbers of a text in order; those too long to be meant are left out."""
    text = normalise(text).replace(r"\$", "$").replace(r"\,", "").replace(r"{,}", ",")
    found = []
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            found.append(Found(value, _spelled(match, value), match.start(), match.end()))
    return found


def number_of(text: str) -> Fraction | None:
    """Return the last number of a text; None without one."""
    found = numbers_of(text)
    return found[-1].value if found else None


def decimal_in(text: str) -> bool:
    """Return whether the last number of a text is written with a decimal point."""
    found = numbers_of(text)
    return bool(found) and "." in found[-1].spelling


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _MOST_DIGITS:
        return None
    part = {name: (text or "").replace(",", "") for name, text in match.groupdict().items()}
    if part["top"] or part["over"]:
        bottom = int(part["bottom"] or part["under"])
        if not bottom:
            return None
        value = int(part["whole"] or 0) + Fraction(int(part["top"] or part["over"]), bottom)
    else:
        power = int(part["power"] or part["exp"] or 0)
        value = Fraction(f"{part['digits'] or part['int'] or 0}{part['part']}")
        value *= Fraction(10) ** power
    return -value if part["sign"].strip() == "-" else value


def _spelled(match: re.Match[str], value: Fraction) -> str:
    """Return the one spelling of a number: digits, a decimal that was one, or a/b."""
    part = match["part"]
    if part is None or match["power"]:
        return str(value)
    whole = (match["digits"] or "0").replace(",", "")
    sign = "-" if (match["sign"] or "").strip() == "-" else ""
    return f"{sign}{int(whole)}{part.rstrip('0') if part.strip('.0') else ''}"
