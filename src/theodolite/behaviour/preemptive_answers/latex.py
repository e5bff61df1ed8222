r"""One spelling for the same LaTeX answer: string rules alone, as MATH is commonly scored.

Checked on what it must do and what it must not: `\frac12`, `1/2`, `0.5` and `.5` are one, while
0.50 and 1/2, 1,000 and 1000, or 2x+1 and 1+2x stay apart; `symbolic` is there for those.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_SIMPLE: Final = (
    ("\n", ""),
    (r"\!", ""),
    ("\\\\", "\\"),
    ("tfrac", "frac"),
    ("dfrac", "frac"),
    (r"\left", ""),
    (r"\right", ""),
    (r"^{\circ}", ""),
    (r"^\circ", ""),
    (r"\$", ""),
)
_UNIT: Final = r"\text{ "
_BARE_ROOT: Final = re.compile(r"\\sqrt(?!\{)(.)")
_BARE_FRACTION: Final = re.compile(r"\\frac(?!\{)(.)(\{[^{}]*\}|.)")
_HALF_BARE_FRACTION: Final = re.compile(r"\\frac(\{[^{}]*\})(?!\{)(.)")
_RATIO: Final = re.compile(r"(-?\d+)/(-?\d+)", re.ASCII)
_PLAIN_NUMBER: Final = re.compile(r"(-?)(?:(\d{1,200})(?:\.(\d{0,200}))?|\.(\d{1,200}))", re.ASCII)
_PLAIN_FRACTION: Final = re.compile(r"(-?)\\frac\{(-?\d{1,200})\}\{(-?\d{1,200})\}", re.ASCII)


class _Unreadable(ValueError):
    """The rules do not apply, so only the text itself can be compared."""


def is_equiv_basic(first: str, second: str) -> bool:
    """Return whether two LaTeX answers are the same by the string rules."""
    try:
        return plain_latex(first) == plain_latex(second)
    except _Unreadable:
        return first == second


def plain_latex(text: str) -> str:
    """Return the one spelling of a LaTeX answer; the order of the rules is part of them.

    Raises: ValueError: a unit is opened twice, or a fraction or root has no argument.
    """
    for old, new in _SIMPLE:
        text = text.replace(old, new)
    text = _without_unit(text).replace(r"\%", "").replace("%", "")
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    left, equals, right = text.partition("=")
    if equals and "=" not in right and len(left.strip()) <= 2:
        text = right
    text = _BARE_ROOT.sub(r"\\sqrt{\1}", _spaced_root(text)).replace(" ", "")
    text = _fractions(text)
    if text == "0.5":
        return r"\frac{1}{2}"
    ratio = _RATIO.fullmatch(text)
    return rf"\frac{{{ratio[1]}}}{{{ratio[2]}}}" if ratio else text


def key(text: str) -> str:
    """Return what answers that mean the same by the string rules, or as numbers, have in common."""
    try:
        plain = plain_latex(text)
    except _Unreadable:
        return text
    number = rational(plain)
    return plain if number is None else str(number)


def value(text: str) -> Fraction | None:
    """Return the value of an answer that is an integer, a decimal or a fraction of integers."""
    try:
        return rational(plain_latex(text))
    except _Unreadable:
        return None


def rational(plain: str) -> Fraction | None:
    """Return the value of an integer, a decimal or a fraction of integers; None for others."""
    number = _PLAIN_NUMBER.fullmatch(plain)
    if number:
        sign, whole, part, alone = number.groups()
        digits = f"{whole or 0}.{part or alone or 0}"
        return Fraction(digits) * (-1 if sign else 1)
    fraction = _PLAIN_FRACTION.fullmatch(plain)
    if fraction and int(fraction[3]):
        return Fraction(int(fraction[2]), int(fraction[3])) * (-1 if fraction[1] else 1)
    return None


def _without_unit(text: str) -> str:
    parts = text.split(_UNIT)
    if len(parts) > 2:
        raise _Unreadable("a unit is opened twice")
    return parts[0].rstrip() if len(parts) == 2 else text


def _spaced_root(text: str) -> str:
    return re.sub(r"\\sqrt\s+", r"\\sqrt", text)


def _fractions(text: str) -> str:
    text = _BARE_FRACTION.sub(_braced, text)
    text = _HALF_BARE_FRACTION.sub(_braced, text)
    if re.search(r"\\(?:frac|sqrt)$", text):
        raise _Unreadable("a fraction or a root has no argument")
    return text


def _braced(match: re.Match[str]) -> str:
    first, second = (part if part.startswith("{") else f"{{{part}}}" for part in match.groups())
    return rf"\frac{first}{second}"
