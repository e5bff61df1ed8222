"""Read what a model says of a solution: right or wrong, the first wrong step, and the reason.

Never raises: what cannot be read is None, and the flags say what was odd.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.mr_ben.headers import CORRECTNESS, REASON, STEP, parts_of
from theodolite.text.normalise import normalise, strip_reasoning

NO_OUTPUT: Final = "no_output"
UNPARSED: Final = "unparsed"
MULTI_STEP: Final = "multi_step"
INCONSISTENT: Final = "inconsistent"
NO_STEP: Final = "no_step"

_RIGHT: Final = frozenset({"correct", "right", "true"})
_WRONG: Final = frozenset({"incorrect", "wrong", "false"})
_NOT: Final = frozenset({"not", "isn't", "isnt", "never", "cannot", "hardly", "wasn't", "aren't"})
_REACH: Final = 3  # words between a negation and what it negates
_COPIED: Final = re.compile(r"\bcorrect\W{0,6}[|/]\W{0,6}incorrect\b", re.I)
_NONE: Final = re.compile(
    r"\W*(?:n\W{0,2}a\b|none\b|nil\b|null\b|not applicable|no (?:first |wrong |incorrect )?"
    r"(?:error|mistake|step)|there (?:is|are) no|all steps are (?:correct|right))",
    re.I,
)
_ONES: Final = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
)  # fmt: skip
_ORDINALS: Final = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth",
    "eighteenth", "nineteenth", "twentieth",
)  # fmt: skip
_VALUE: Final = {w: i for names in (_ONES, _ORDINALS) for i, w in enumerate(names, 1)}
_NUMBER: Final = r"[0-9]{1,4}(?![0-9])"
_AND: Final = rf"(?:\s*(?:,|;|&|/|and|or|,\s*and)\s*(?:steps?\s*)?#?{_NUMBER}(?!\s*[%.][0-9]))*"
_STEPS: Final = re.compile(rf"\bsteps?\W{{0,4}}(?:no\W?|number)?\s*(?P<n>#?{_NUMBER}{_AND})", re.I)
_BARE: Final = re.compile(rf"\W*(?P<n>{_NUMBER}{_AND})(?![0-9A-Za-z])", re.I)
_NTH: Final = re.compile(r"\b(?P<n>[0-9]{1,4})\s*(?:st|nd|rd|th)\b", re.I)
_STEP_WORD: Final = re.compile(rf"\bstep\s+(?P<w>{'|'.join(_ONES)})\b", re.I)
_ORDINAL_STEP: Final = re.compile(rf"\b(?P<w>{'|'.join(_ORDINALS)})\s+(?:step|line)\b", re.I)
_ORDINAL: Final = re.compile(rf"\W*(?:the\s+)?(?P<w>{'|'.join(_ORDINALS + _ONES)})\b", re.I)


@dataclass(frozen=True)
class Critique:
    """What a model says of a solution.

    Args:
        correct: whether it calls the solution right; None where that cannot be read.
        step: label of the first wrong step; None where it names none.
        step_text: what stands there as written; for code, the line.
        reason: its explanation; "" where it gives none.
        flags: `no_output`, `unparsed`, `multi_step` (it names several: the smallest counts),
            `inconsistent` (right, and yet a wrong step), `no_step` (wrong, and no step).
    """

    correct: bool | None
    step: int | None = None
    step_text: str = ""
    reason: str = ""
    flags: tuple[str, ...] = ()


def parse_critique(text: str, *, coding: bool = False) -> Critique:
    """Return what an answer says; the last complete set of headings counts.

    Args:
        text: as decoded; a reasoning trace is left out, JSON is read too.
        coding: the first error is a line of code and no step.
    """
    answer = strip_reasoning(text)
    if not answer.strip():
        return Critique(None, flags=(NO_OUTPUT,))
    parts = parts_of(answer)
    correct = read_correctness(parts.get(CORRECTNESS, ""))
    written = parts.get(STEP, "").strip()
    reason = _unless_none(parts.get(REASON, "").strip())
    if coding:
        step, several = None, False
        named = bool(_unless_none(written))
    else:
        step, several = read_step(written)
        named = step is not None
    flags = [UNPARSED] if correct is None else []
    flags += [MULTI_STEP] if several else []
    flags += [INCONSISTENT] if correct is True and named else []
    flags += [NO_STEP] if correct is False and not named else []
    return Critique(correct, step, _unless_none(written), reason, tuple(flags))


def read_correctness(text: str) -> bool | None:
    """Return whether a verdict says right; None where it says neither, or copies the format."""
    plain = normalise(text, compatibility=True, lower=True)
    if _COPIED.search(plain[:80]):
        return None
    words = re.findall(r"[a-z]+(?:'[a-z]+)*", plain)
    for place, word in enumerate(words):
        if word in _RIGHT or word in _WRONG:
            negated = not _NOT.isdisjoint(words[max(0, place - _REACH) : place])
            return (word in _RIGHT) != negated
    return None


def read_step(text: str) -> tuple[int | None, bool]:
    """Return the label that a text names, and whether it names several at once.

    A list ("Steps 2 and 5") gives its smallest number; a step named later in an explanation does
    not count.
    """
    plain = normalise(text, compatibility=True)
    if not plain or _NONE.match(plain):
        return None, False
    for pattern in (_STEPS, _BARE):
        found = pattern.search(plain) if pattern is _STEPS else pattern.match(plain)
        if found:
            numbers = [int(n) for n in re.findall(_NUMBER, found["n"])]
            return min(numbers), len(set(numbers)) > 1
    for pattern in (_STEP_WORD, _ORDINAL_STEP):
        if word := pattern.search(plain):
            return _VALUE[word["w"].lower()], False
    if nth := _NTH.search(plain):
        return int(nth["n"]), False
    word = _ORDINAL.match(plain)
    return (_VALUE[word["w"].lower()] if word else None), False


def _unless_none(text: str) -> str:
    """Return a text, or "" where all it says is that there is nothing."""
    return "" if len(text) < 40 and _NONE.match(text) else text
