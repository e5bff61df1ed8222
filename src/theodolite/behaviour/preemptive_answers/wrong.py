"""Answers to plant where a file has none: wrong, of the right type, and the same in every run."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final

from theodolite.behaviour.preemptive_answers.equivalence import canonical, is_equiv
from theodolite.behaviour.preemptive_answers.numbers import number_of, numbers_of
from theodolite.data.preemptive import CHOICE, LATEX, NUMBER, TEXT, YES_NO, Item
from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.text.hashing import item_seed

_LATEX_FRACTION: Final = re.compile(r"\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}")
_LATEX_NUMBER: Final = re.compile(r"(?<![\d.])\d{1,12}(?![\d.])")
_YEAR: Final = re.compile(r"\b[12]\d{3}\b")


def make_wrong(item: Item, *, seed: int = 0, others: Sequence[Item] = ()) -> str:
    """Return a plausible wrong answer.

    A choice gets another option, yes and no change places, a number gets a near one or one of the
    solution's own steps, LaTeX a changed sign, fraction or coefficient, words the answer of another
    item of the same kind.

    Args:
        seed: with the item's id it fixes the choice.
        others: whose answers may be taken, for words.

    Raises: DataError: no wrong answer can be made.
    """
    rng = random.Random(item_seed(seed, "wrong answer", item.id))
    candidates = list(dict.fromkeys(_MAKERS[item.answer_type](item, others)))
    rng.shuffle(candidates)
    for candidate in candidates:
        if not is_equiv(candidate, item.gold, item.answer_type):
            return candidate
    raise DataError(
        f"No wrong answer can be made for {shown(item.id)}.", fix="Give its 'wrong_answer'."
    )


def unrelated(item: Item, *, seed: int = 0, others: Sequence[Item] = ()) -> str:
    """Return an answer of the right type that has nothing to do with the item.

    It is drawn without looking at the gold, so a letter or a yes may happen to be right.
    """
    rng = random.Random(item_seed(seed, "unrelated answer", item.id))
    if item.answer_type == CHOICE:
        return rng.choice(item.letters)
    if item.answer_type == YES_NO:
        return rng.choice(("yes", "no"))
    if item.answer_type == TEXT:
        pool = [o for o in others if o.answer_type == TEXT and o.cluster != item.cluster]
        golds = sorted({other.gold for other in pool})
        if not golds:
            raise DataError(
                f"There is no other item to take an answer from for {shown(item.id)}.",
                fix="Give more items.",
            )
        return rng.choice(golds)
    digits = max(1, min(9, len(re.sub(r"\D", "", item.gold))))
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def _other_options(item: Item, others: Sequence[Item]) -> Iterator[str]:
    """Yield the letters whose text is not that of the gold; files hold one option twice."""
    right = item.options[item.letters.index(item.gold)]
    yield from (letter for letter, text in zip(item.letters, item.options) if text != right)


def _flipped(item: Item, others: Sequence[Item]) -> Iterator[str]:
    yield "no" if item.gold == "yes" else "yes"


def _near_numbers(item: Item, others: Sequence[Item]) -> Iterator[str]:
    gold = number_of(item.gold)
    if gold is None:
        return
    whole = gold.denominator == 1
    values = [gold + 1, gold - 1, gold * 2, gold / 2, gold * 10]
    values += [found.value for found in numbers_of(item.solution or "")]
    values += list(_swapped(gold)) if whole else []
    for value in values:
        if gold >= 0 and value < 0:
            continue
        if not whole or value.denominator == 1:
            yield _like(item.gold, value)


def _swapped(gold: Fraction) -> Iterator[Fraction]:
    """Yield a whole number with two neighbouring digits changed round."""
    digits = str(abs(gold.numerator))
    for i in range(len(digits) - 1):
        turned = digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :]
        if turned[0] != "0":
            yield Fraction(int(turned)) * (-1 if gold < 0 else 1)


def _like(gold: str, value: Fraction) -> str:
    """Return a number in the format of the gold: its decimals, its thousands."""
    _, point, part = gold.partition(".")
    if point and part.isdigit():
        return f"{float(value):.{len(part)}f}"
    if value.denominator == 1 and re.search(r"\d,\d{3}", gold):
        return f"{value.numerator:,}"
    return str(value)


def _changed_latex(item: Item, others: Sequence[Item]) -> Iterator[str]:
    gold = item.gold
    if number_of(gold) is not None and re.fullmatch(r"-?[\d.,]+", gold):
        yield from _near_numbers(item, others)
        return
    yield gold[1:] if gold.startswith("-") else f"-{gold}"
    fraction = _LATEX_FRACTION.search(gold)
    if fraction:
        turned = rf"\frac{{{fraction[2]}}}{{{fraction[1]}}}"
        yield gold[: fraction.start()] + turned + gold[fraction.end() :]
    for found in _LATEX_NUMBER.finditer(gold):
        for value in (int(found[0]) + 1, int(found[0]) - 1):
            if value > 0:
                yield gold[: found.start()] + str(value) + gold[found.end() :]


def _other_words(item: Item, others: Sequence[Item]) -> Iterator[str]:
    if item.gold.strip(" .").lower() in ("yes", "no"):
        yield "no" if item.gold.strip(" .").lower() == "yes" else "yes"
        return
    kind = _kind(item.gold)
    pool = [o for o in others if o.answer_type == TEXT and o.cluster != item.cluster]
    alike = [o.gold for o in pool if _kind(o.gold) == kind]
    seen = {canonical(item.gold, TEXT)}
    for gold in sorted(set(alike)):
        if canonical(gold, TEXT) not in seen:
            yield gold


def _kind(gold: str) -> str:
    """Return what sort of words an answer is."""
    if gold.strip(" .").lower() in ("yes", "no"):
        return "yes or no"
    if _YEAR.search(gold):
        return "year"
    if any(char.isdigit() for char in gold):
        return "number"
    return "name" if gold[:1].isupper() else "words"


_MAKERS: Final[Mapping[str, Callable[[Item, Sequence[Item]], Iterator[str]]]] = {
    CHOICE: _other_options,
    YES_NO: _flipped,
    NUMBER: _near_numbers,
    LATEX: _changed_latex,
    TEXT: _other_words,
}
