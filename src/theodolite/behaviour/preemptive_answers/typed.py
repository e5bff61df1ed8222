"""Read the words behind a tag as an answer of a type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from theodolite.behaviour.preemptive_answers.equivalence import first_yes_no
from theodolite.behaviour.preemptive_answers.numbers import numbers_of
from theodolite.data.preemptive import CHOICE, LATEX, LETTERS, NUMBER, TEXT, YES_NO
from theodolite.text.normalise import normalise

_MARKUP: Final = " \t\r\n*_`\"'"
_PREFIX: Final = re.compile(
    r"^\W*(?:so\s+|thus\s+|therefore,?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?"
    r"(?:answer|choice|option|result)\s*(?:is|:|=)\s*:?\s*",
    re.IGNORECASE,
)
_AT_START: Final = re.compile(r"^[\W_]*(?:option\s+|choice\s+)?([A-Ja-j])(?=\s*[).:,\]*}]|\s*$)")
_MARKED: Final = re.compile(r"(?<![\w'])\(?([A-Ja-j])\s*(?:\)|:(?=\s))")
# A stands alone as a letter only before a mark or the end; else it is an article.
_LETTER: Final = r"([B-J]|A(?=\s*(?:[.,;:!?)]|$)))(?![\w'])"
_NAMED: Final = re.compile(rf"\b(?i:answer|choice|option|is|be)\s+\(?{_LETTER}")
_ALONE: Final = re.compile(rf"(?<![\w']){_LETTER}")
_YES_NO: Final = re.compile(r"\b(yes|no|true|false)\b(?!\s+(?:idea|one|clue))", re.IGNORECASE)
_BOTH: Final = re.compile(r"\b(?:yes|true)\s*(?:/|or)\s*(?:no|false)\b", re.IGNORECASE)
_UNKNOWN: Final = re.compile(
    r"^\W*(?:i\s+(?:do\s+not|don't|cannot|can't|am\s+not|could\s+not)\b|i'm\s+not\b|unknown\b|"
    r"none\b\W*$|null\b|n/?a\W*$|not\s+(?:sure|certain|known)\b|no\s+idea\b|"
    r"\(?left\s+blank|<?your\s+answer|<answer>)",
    re.IGNORECASE,
)
_DOLLARS: Final = re.compile(r"(?<!\\)\$\$?(.+?)(?<!\\)\$\$?", re.DOTALL)
_BRACKETS: Final = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_WORD: Final = re.compile(r"^[^\W\d_]{2,}[^\w\s]*$")
_INNER_TEXT: Final = re.compile(r"\\(?:text|mathrm|mbox)\s*\{[^{}]*\}")


class Read(NamedTuple):
    """An answer, or None, and what is odd about it."""

    answer: str | None
    flags: tuple[str, ...] = ()


def read_typed(body: str, answer_type: str, options: Sequence[str] = ()) -> Read:
    """Return the answer in the words behind a tag; never raises.

    Args:
        body: the words, one line of them.
        answer_type: number, latex, choice, yesno or text.
        options: the texts of the options, for a choice.
    """
    if not body.strip() or (answer_type != YES_NO and _UNKNOWN.match(normalise(body))):
        return Read(None)
    if answer_type == CHOICE:
        return _choice(normalise(body), options)
    return _READERS[answer_type](body)


def _number(body: str) -> Read:
    found = numbers_of(body)
    if not found:
        return Read(None)
    return Read(found[-1].spelling, ("multi_number",) if len(found) > 1 else ())


def _yes_no(body: str) -> Read:
    plain = normalise(body)
    first = first_yes_no(_PREFIX.sub("", plain, count=1))
    if first:
        return Read(first)
    words = _YES_NO.findall(_BOTH.sub(" ", plain))
    return Read(first_yes_no(words[-1]) if words else None)


def _choice(body: str, options: Sequence[str]) -> Read:
    letters = LETTERS[: len(options)] if options else LETTERS[:5]
    rest = _PREFIX.sub("", body, count=1)
    rest = rest.replace(r"\text{", "").strip("$ ")
    for pattern, text in ((_AT_START, rest), (_NAMED, body), (_MARKED, rest), (_ALONE, rest)):
        found = list(dict.fromkeys(m[1].upper() for m in pattern.finditer(text)))
        found = [letter for letter in found if letter in letters]
        if found:
            return Read(found[0], ("multi_choice",) if len(found) > 1 else ())
    named = [letters[i] for i, option in enumerate(options) if _says(rest, option)]
    return Read(named[0] if len(named) == 1 else None)


def _says(body: str, option: str) -> bool:
    words = re.escape(normalise(option, lower=True))
    return bool(words) and re.search(rf"(?<!\w){words}(?!\w)", body.lower()) is not None


def _latex(body: str) -> Read:
    text = _PREFIX.sub("", body.strip(), count=1).strip(_MARKUP)
    inner = [m[1] for m in _DOLLARS.finditer(text)]
    inner += [m[1] or m[2] for m in _BRACKETS.finditer(text)]
    text = (inner[-1] if inner else text).strip(_MARKUP)
    text = text.strip() if "\\$" in text else text.strip("$ ")
    if not text.endswith("\\"):
        text = re.sub(r"(?<!\.)[.,;]$", "", text).rstrip()
    tokens = _hidden(text)
    if any(_WORD.match(token) for token in tokens):
        text = _last_formula(tokens)
    return Read(text or None)


def _hidden(text: str) -> list[str]:
    """Return the tokens of a text, what stands in `\\text{}` being part of the one before it."""
    return _INNER_TEXT.sub(lambda m: m[0].replace(" ", "\0"), text).split()


def _last_formula(tokens: Sequence[str]) -> str:
    """Return the last run of tokens that are no plain words, if a digit or command is in it."""
    runs: list[list[str]] = [[]]
    for token in tokens:
        if _WORD.match(token):
            runs.append([])
        else:
            runs[-1].append(token)
    fitting = [run for run in runs if any(c.isdigit() or c == "\\" for t in run for c in t)]
    return " ".join(fitting[-1]).replace("\0", " ").strip(" .,;:") if fitting else ""


def _text(body: str) -> Read:
    words = _PREFIX.sub("", normalise(body), count=1).strip(_MARKUP)
    words = words.strip("$").strip(_MARKUP)
    words = words.removesuffix(".").strip(_MARKUP)
    return Read(words or None)


_READERS: Final[Mapping[str, Callable[[str], Read]]] = {
    NUMBER: _number,
    LATEX: _latex,
    YES_NO: _yes_no,
    TEXT: _text,
}
