"""When two answers are the same, by the type of the answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from theodolite.behaviour.preemptive_answers.latex import is_equiv_basic, key, value
from theodolite.behaviour.preemptive_answers.numbers import decimal_in, number_of
from theodolite.behaviour.preemptive_answers.symbolic import symbolically_equal
from theodolite.data.preemptive import CHOICE, LATEX, NUMBER, TEXT, YES_NO
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.text.normalise import normalise
from theodolite.text.suggest import did_you_mean

NEAR: Final = Fraction(1, 10**6)
ENOUGH_F1: Final = 0.8
_PUNCTUATION: Final = re.compile(r"[^\w]+|_")
_FIRST_WORD: Final = re.compile(r"^\W*(yes|no|true|false)\b(?!\s+(?:idea|one|clue))", re.IGNORECASE)
_WORDS: Final = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}

__all__ = ["canonical", "compare_texts", "first_yes_no", "is_equiv", "is_equiv_basic"]


@dataclass(frozen=True)
class TextMatch:
    """How near an answer in words comes to the gold.

    Args:
        exact: the same words.
        f1: overlap of their words, from 0 to 1.
        contained: the answer has the gold in it as whole words, and the gold has two or more.
    """

    exact: bool
    f1: float
    contained: bool

    @property
    def equal(self) -> bool:
        """Whether the answer counts as the gold."""
        return self.exact or self.contained or self.f1 >= ENOUGH_F1


def is_equiv(answer: str, gold: str, answer_type: str) -> bool:
    """Return whether an answer is the gold.

    Symmetric, but for words: there an answer may say more than the gold, and not less.

    Args:
        answer: in the form that extraction gives.
        answer_type: number, latex, choice, yesno or text.

    Raises: ConfigError: the type is unknown.
    """
    if answer_type not in _RULES:
        raise ConfigError(
            f"There is no answer type {shown(answer_type)}.", fix=did_you_mean(answer_type, _RULES)
        )
    return _RULES[answer_type](answer, gold)


def canonical(answer: str, answer_type: str) -> str:
    """Return the spelling under which equal answers vote together: 1/2 and 0.5 are one."""
    if answer_type == NUMBER:
        number = number_of(answer)
        return answer.strip() if number is None else str(number)
    if answer_type == LATEX:
        return key(answer.strip())
    if answer_type == CHOICE:
        return answer.strip().upper()
    if answer_type == YES_NO:
        return first_yes_no(answer) or answer.strip().lower()
    return " ".join(_tokens(answer))


def compare_texts(answer: str, gold: str) -> TextMatch:
    """Return how near an answer in words comes to the gold."""
    ours, theirs = _tokens(answer), _tokens(gold)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    f1 = 2 * shared / (len(ours) + len(theirs)) if shared else 0.0
    padded = f" {' '.join(ours)} "
    contained = len(theirs) >= 2 and f" {' '.join(theirs)} " in padded
    return TextMatch(bool(ours) and ours == theirs, f1, contained)


def first_yes_no(text: str) -> str | None:
    """Return yes or no where a text begins with it (or with true or false)."""
    match = _FIRST_WORD.match(text)
    return _WORDS[match[1].lower()] if match else None


def _numbers(answer: str, gold: str) -> bool:
    """Exact for whole numbers and fractions; a millionth of the value where a side is a decimal."""
    a, b = number_of(answer), number_of(gold)
    if a is None or b is None:
        return False
    if decimal_in(answer) or decimal_in(gold):
        return abs(a - b) <= NEAR * max(Fraction(1), abs(a), abs(b))
    return a == b


def _latex(answer: str, gold: str) -> bool:
    if not answer.strip() or not gold.strip():
        return False
    if is_equiv_basic(answer, gold):
        return True
    numbers = value(answer), value(gold)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return symbolically_equal(answer, gold)


def _choices(answer: str, gold: str) -> bool:
    return bool(answer.strip()) and canonical(answer, CHOICE) == canonical(gold, CHOICE)


def _yes_no(answer: str, gold: str) -> bool:
    return first_yes_no(answer) is not None and first_yes_no(answer) == first_yes_no(gold)


def _texts(answer: str, gold: str) -> bool:
    if normalise(gold, lower=True).strip(" .") in ("yes", "no"):
        return _yes_no(answer, gold)
    return compare_texts(answer, gold).equal


def _tokens(text: str) -> list[str]:
    return _PUNCTUATION.sub(" ", normalise(text, compatibility=True, lower=True)).split()


_RULES: Final[Mapping[str, Callable[[str, str], bool]]] = {
    NUMBER: _numbers,
    LATEX: _latex,
    CHOICE: _choices,
    YES_NO: _yes_no,
    TEXT: _texts,
}
