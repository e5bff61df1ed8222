"""Find the named parts of an answer: the last complete block of them counts.

Models repeat headings inside their analysis, write them in bold, in lower case or as headings, and
copy the format they were shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

ANALYSIS: Final = "analysis"
CORRECTNESS: Final = "correctness"
STEP: Final = "step"
REASON: Final = "reason"
BLOCK: Final = (CORRECTNESS, STEP, REASON)
TITLES: Final[Mapping[str, str]] = {
    ANALYSIS: "Solution Analysis",
    CORRECTNESS: "Solution Correctness",
    STEP: "First Error Step",
    REASON: "Error Reason",
}
_NAMES: Final = {
    "solutionanalysis": ANALYSIS,
    "solutioncorrectness": CORRECTNESS,
    "firsterrorstep": STEP,
    "firsterrorline": STEP,
    "errorreason": REASON,
}
_WORDS: Final = (
    r"(?P<name>solution[ _]*analysis|solution[ _]*correctness"
    r"|first[ _]*error[ _]*(?:step|line)|error[ _]*reason)"
)
_MARKS: Final = r"[ \t*_`\"']*"
_AT_LINE: Final = re.compile(
    rf"^[ \t>#*_\-\d.)(`\"']*{_WORDS}{_MARKS}(?:[:：]{_MARKS}|[ \t]*$)", re.I | re.M
)
_ANYWHERE: Final = re.compile(rf"(?<![A-Za-z]){_WORDS}{_MARKS}[:：]{_MARKS}", re.I)


def parts_of(text: str) -> dict[str, str]:
    """Return part -> what stands under its heading, for the headings there are.

    Args:
        text: an answer without its reasoning trace.

    Returns: the parts of a JSON answer; else those of the last block that has correctness, step
        and reason in order; else the last of each.
    """
    found = _json_parts(text)
    if found:
        return found
    found = _heading_parts(text, _AT_LINE)
    return found if CORRECTNESS in found else _heading_parts(text, _ANYWHERE) or found


def _heading_parts(text: str, pattern: re.Pattern[str]) -> dict[str, str]:
    heads = list(pattern.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    listed = [
        (_NAMES[re.sub(r"[ _]", "", head["name"].lower())], text[head.end() : end].strip())
        for head, end in zip(heads, ends)
    ]
    for start in range(len(listed) - len(BLOCK), -1, -1):
        block = listed[start : start + len(BLOCK)]
        if tuple(name for name, _ in block) == BLOCK:
            before = [body for name, body in listed[:start] if name == ANALYSIS]
            return dict(block) | ({ANALYSIS: before[-1]} if before else {})
    return dict(listed)


def _json_parts(text: str) -> dict[str, str]:
    """Return the parts of an answer that is one JSON object, perhaps in a fence."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return {}
    try:
        value = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return {}
    if not isinstance(value, dict):
        return {}
    named = {_NAMES.get(re.sub(r"[ _]", "", str(key).lower())): v for key, v in value.items()}
    named.pop(None, None)
    found = {name: _said(v) for name, v in named.items() if name is not None}
    return found if CORRECTNESS in found else {}


def _said(value: Any) -> str:
    if value is None:
        return "N/A"
    if isinstance(value, bool):
        return "correct" if value else "incorrect"
    return value if isinstance(value, str) else str(value)
