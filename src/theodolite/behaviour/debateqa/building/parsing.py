"""Read what a model answered: views with their documents, an explanation, yes or no.

An answer that cannot be read is never guessed at: what is wrong with it has a name, and the name is
counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from theodolite.behaviour.debateqa.building.wording import EXPLANATION, VIEW
from theodolite.judging.refusal import score_refusal
from theodolite.text.normalise import normalise, strip_reasoning

NO_DOCUMENT: Final = "names no document that it was given"
QUESTION_AGAIN: Final = "is a question, not an answer"
NO_SENTENCE: Final = "is no sentence of 3 to 60 words"
MARKS: Final = "repeats the marks of the prompt"
NOT_READ: Final = "could not be read"
CUT: Final = "was cut at the cap of tokens"
REFUSED: Final = "the model refused"
TOO_SHORT: Final = "explains in fewer than 20 words"
TOO_LONG: Final = "explains in more than 300 words"
NOTHING_NEW: Final = "explains by repeating the view"
LEAST_WORDS, MOST_WORDS = 3, 60
LEAST_EXPLAINED, MOST_EXPLAINED = 20, 300
_MOST_OF_A_LINE: Final = 1000
_NUMBERS: Final = r"(?:doc(?:ument)?s?\.?\s*)?\d+(?:\s*(?:,|;|and|&)\s*(?:doc(?:ument)?\s*)?\d+)*"
# An optional bullet or number, the marker or not, words, and document numbers in brackets or not.
_LINE: Final = re.compile(
    rf"^[\s>*#-]*(?:\d+\s*[.):]\s*)?(?P<mark>\**{VIEW}\**\s*\d*\s*\**\s*[:.-]\**)?\s*"
    rf"(?P<words>.*?)\s*(?:[\[(]\s*(?P<docs>{_NUMBERS})\s*[\])])?[\s.*]*$",
    re.IGNORECASE,
)
_EXPLAINED: Final = re.compile(rf"^\W*{EXPLANATION}\W*:\W*", re.IGNORECASE | re.MULTILINE)
_ANSWER: Final = re.compile(r"^\W*(yes|no)\b", re.IGNORECASE)


@dataclass(frozen=True)
class View:
    """A view as it was listed.

    Args:
        text: the sentence.
        documents: numbers of its documents, from 1, ascending.
        why: why it cannot be used; None where it can.
    """

    text: str
    documents: tuple[int, ...]
    why: str | None = None


def read_views(
    answer: str, *, documents: int, question: str, tags: Sequence[str] = ()
) -> list[View]:
    """Return the views of an answer, in order, those that cannot be used with their reason.

    Args:
        answer: what the model wrote.
        documents: how many it was given.
        question: that it was asked.
        tags: of the prompt's fences.

    Note: a line counts where it has the marker or names documents; any other one is talk.
    """
    found = []
    for line in strip_reasoning(answer).splitlines():
        # Folded and cut, so that no line of blanks or dots takes the pattern long.
        parts = _LINE.match(" ".join(line.split())[:_MOST_OF_A_LINE])
        if parts is None or not (parts["mark"] or parts["docs"]) or not parts["words"].strip():
            continue
        text = normalise(parts["words"].strip(" \t*\"'"))
        numbers = {int(n[:6]) for n in re.findall(r"\d+", parts["docs"] or "")}
        given = tuple(sorted(n for n in numbers if 1 <= n <= documents))
        found.append(View(text, given, _wrong_view(text, given, question, tags)))
    return found


def _wrong_view(
    text: str, given: tuple[int, ...], question: str, tags: Sequence[str]
) -> str | None:
    if any(tag in text for tag in tags):
        return MARKS
    if text.endswith("?") or normalise(text, lower=True) == normalise(question, lower=True):
        return QUESTION_AGAIN
    if not LEAST_WORDS <= len(text.split()) <= MOST_WORDS:
        return NO_SENTENCE
    return None if given else NO_DOCUMENT


def read_explanation(
    answer: str, *, view: str, cut: bool, tags: Sequence[str] = ()
) -> tuple[str, str | None]:
    """Return the explanation in an answer, and why it cannot be used (None where it can).

    Args:
        answer: what the model wrote; without the marker, one paragraph counts as a whole.
        view: what is explained.
        cut: the answer ended at its cap.
        tags: of the prompt's fences.
    """
    text = strip_reasoning(answer).strip()
    marked = _EXPLAINED.split(text)
    if len(marked) > 1:
        text = next((part for part in marked[1:] if part.strip()), "").strip()
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
    if not paragraphs or (len(marked) == 1 and len(paragraphs) > 1):
        return "", NOT_READ
    found = normalise(paragraphs[0])
    return found, _wrong_explanation(found, view, cut, tags)


def _wrong_explanation(text: str, view: str, cut: bool, tags: Sequence[str]) -> str | None:
    if any(tag in text for tag in tags):
        return MARKS
    if score_refusal(text).refused:
        return REFUSED
    count = len(text.split())
    if count < LEAST_EXPLAINED:
        return TOO_SHORT
    rest = normalise(text, lower=True).replace(normalise(view, lower=True).rstrip(".!"), "")
    if len(rest.split()) < LEAST_EXPLAINED:
        return NOTHING_NEW
    if count > MOST_EXPLAINED:
        return TOO_LONG
    return CUT if cut else None


def read_yes_or_no(answer: str) -> bool | None:
    """Return yes or no; None where the answer begins with neither."""
    found = _ANSWER.match(strip_reasoning(answer))
    return None if found is None else found[1].lower() == "yes"
