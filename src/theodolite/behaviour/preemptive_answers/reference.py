"""The released scoring with its quirks, for comparison with published figures only.

There the evaluated model itself is asked once more for "the final answer"; these are the rules
around that call. Known effects: a first answer on the same line as the reasoning is taken for the
final one; "the answer is b" is read as option T; "no" is found in "not" and "know"; a lost gold
equals an answer that was not found; `\\frac{4}{9}` is read as 9.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from theodolite.behaviour.preemptive_answers.latex import is_equiv_basic
from theodolite.data.preemptive import CHOICE, LATEX, NUMBER, TEXT, YES_NO

_TAG: Final = "[answer]"
_NUMBERS: Final = re.compile(r"-?\d[\d,]*\.?\d*", re.ASCII)
_BOX: Final = re.compile(r"\\boxed\{(.*)\}")
_SAID: Final = "the answer is"


def shown_to_extractor(text: str, *, answered_first: bool) -> str:
    """Return what the second call is shown: lower case, a first tagged line taken out.

    The line goes only where a line end follows it.
    """
    text = text.lower()
    if answered_first and _TAG in text:
        start = text.index(_TAG)
        end = text.find("\n", start)
        if end >= 0:
            return text[:start] + text[end + 1 :]
    return text


def read_answer(reply: str, answer_type: str) -> str | list[str]:
    """Return what is read of the reply of the second call; for numbers, all there are."""
    body = reply.lower().partition(_TAG)[2]
    if answer_type == CHOICE:
        return body[1:2].upper()
    if answer_type == YES_NO:
        return "yes" if "yes" in body else "no" if "no" in body else ""
    if answer_type == NUMBER:
        return [number.replace(",", "").rstrip(".") for number in _NUMBERS.findall(body)]
    return _latex(body.strip()) if answer_type == LATEX else body


def is_correct(answer: str | Sequence[str], gold: str, answer_type: str) -> bool:
    """Return the verdict: membership for numbers, substring for words, string rules for LaTeX."""
    if answer_type == NUMBER:
        return gold in answer
    assert isinstance(answer, str)  # noqa: S101 - only numbers come as a list
    if answer_type == TEXT:
        return gold.lower() in answer
    if answer_type == LATEX:
        return is_equiv_basic(answer, gold)
    return answer == gold


def _latex(body: str) -> str:
    box = _BOX.search(body)
    if box:
        return box[1]
    if _SAID in body:
        return body.rpartition(_SAID)[2].strip(" .$")
    numbers = _NUMBERS.findall(body)
    return str(numbers[-1]).replace(",", "").rstrip(".") if numbers else ""
