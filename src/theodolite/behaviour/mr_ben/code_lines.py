"""Find the line of a program that an answer means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

LEAST: Final = 0.9
_LONGEST: Final = 300
_FENCE: Final = re.compile(r"^\s*`{1,3}\w*\s*$")
_NUMBERED: Final = re.compile(r"^\s*(?:line\s*)?[0-9]{1,4}\s*[:.)|]\s*", re.I)
_COMMENT: Final = re.compile(r"\s+#.*$")


def said_line(text: str) -> str:
    """Return the first line of code in a text, without fence, quotes and line number."""
    for line in text.splitlines():
        if line.strip() and not _FENCE.match(line):
            return _NUMBERED.sub("", line).strip().strip("`")
    return ""


def match_line(text: str, lines: Sequence[str]) -> int | None:
    """Return the index of the line that a text means; None where no line, or several, fit.

    Tried in order: the very line, the line with whitespace folded, the line without its comment,
    and the one line that is most alike (at least 0.9).
    """
    said = said_line(text)
    if not said:
        return None
    for form in (str.strip, _folded, _bare):
        wanted = form(said)
        fits = [i for i, line in enumerate(lines) if wanted and form(line) == wanted]
        if fits:
            return fits[0] if len(fits) == 1 else None
    wanted = _bare(said)[:_LONGEST]
    alike = [
        SequenceMatcher(None, wanted, _bare(line)[:_LONGEST], autojunk=False).ratio()
        for line in lines
    ]
    best = max(alike, default=0.0)
    unique = best >= LEAST and alike.count(best) == 1
    return alike.index(best) if unique else None


def _folded(line: str) -> str:
    return " ".join(line.split())


def _bare(line: str) -> str:
    return _folded(_COMMENT.sub("", line))
