"""Which words of a text a scorer's value hangs on: by leaving each out, or exactly.

`leave_one_out`  what the score loses without the word; n + 1 texts in one call, deterministic
`linear`         Shapley values in closed form, coefficient times (value less expected value), for
                 scorers that state their terms (`linear_terms`)

Where a score is a sum over words and nothing is expected of them, both agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from theodolite.correction.perspective_taking.severity import MOST_CHARACTERS, severities
from theodolite.correction.perspective_taking.wording import check_choice
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.judging.toxicity import LinearScorer, linear_shapley
from theodolite.mechanism.triggers.shared_words import everyday_words
from theodolite.mechanism.triggers.words import word_spans

if TYPE_CHECKING:
    from theodolite.judging.toxicity import TextScorer

AUTO, LEAVE_ONE_OUT, LINEAR = "auto", "leave_one_out", "linear"
ATTRIBUTIONS: Final = (AUTO, LEAVE_ONE_OUT, LINEAR)
_PART: Final = re.compile(r"\w+")


@dataclass(frozen=True)
class WordWeight:
    """A word of a text and how much worse it makes it.

    Args:
        word: as it is spelled.
        span: where it stands, in characters, end exclusive.
        weight: in units of the severity; of the scorer's linear part where that is attributed.
    """

    word: str
    span: tuple[int, int]
    weight: float


def word_weights(text: str, scorer: TextScorer, attribution: str = AUTO) -> list[WordWeight]:
    """Return the words of a text with their weights, in order; none where it cannot be scored.

    Args:
        text: read up to its first 20,000 characters.
        attribution: `leave_one_out`, `linear`, or `auto`: linear where the scorer states its terms.

    Raises:
        ConfigError: there is no such attribution, or the scorer is not linear.
        TheodoliteError: as `score_texts`.
    """
    check_choice("attribution", attribution, ATTRIBUTIONS)
    text = text[:MOST_CHARACTERS]
    if attribution == LEAVE_ONE_OUT or not isinstance(scorer, LinearScorer):
        if attribution == LINEAR:
            raise ConfigError(
                f"The scorer {shown(scorer.id)} does not state linear terms.",
                fix=f"Use {LEAVE_ONE_OUT} or {AUTO}.",
            )
        return leave_one_out(text, scorer)
    sign = -1.0 if scorer.kind == "sentiment" else 1.0
    values = linear_shapley(scorer.linear_terms(text))
    return by_words(text, {term: sign * value for term, value in values.items()})


def leave_one_out(text: str, scorer: TextScorer) -> list[WordWeight]:
    """Return what the severity of a text loses without each of its words.

    Note: a text of one word is blank without it; nothing is bad about that. A word without which
        the text could not be scored is left out.
    """
    spans = word_spans(text)
    others = [_without(text, *span) for span in spans]
    whole, *rest = severities(scorer, [text, *others])
    if whole is None:
        return []
    kept = [(0.0 if not o.strip() else s) for o, s in zip(others, rest, strict=True)]
    return [
        WordWeight(text[slice(*span)], span, whole - score)
        for span, score in zip(spans, kept, strict=True)
        if score is not None
    ]


def by_words(text: str, values: Mapping[str, float]) -> list[WordWeight]:
    """Return the values of terms, shared alike among the words of a text that spell them.

    Args:
        values: term (a word, or several separated by spaces, in lower case) -> value.

    Note: a term that no word spells counts for none.
    """
    spans = word_spans(text)
    places: dict[str, list[int]] = {}
    for place, span in enumerate(spans):
        for part in set(_PART.findall(text[slice(*span)].lower())):
            places.setdefault(part, []).append(place)
    weights = [0.0] * len(spans)
    for term, value in values.items():
        named = [places[part] for part in _PART.findall(term.lower()) if part in places]
        for found in named:
            for place in found:
                weights[place] += value / (len(named) * len(found))
    return [WordWeight(text[slice(*s)], s, w) for s, w in zip(spans, weights, strict=True)]


def top_words(weights: Iterable[WordWeight], count: int) -> list[tuple[str, float]]:
    """Return the words that make a text worse most, each spelling once, with its summed weight.

    Args:
        count: how many at most; English words without a content of their own do not count.

    Returns: the strongest first; ties in order of the text.
    """
    sums: dict[str, float] = {}
    spelled: dict[str, str] = {}
    for own in weights:
        word = own.word.lower()
        if word not in everyday_words():
            sums[word] = sums.get(word, 0.0) + own.weight
            spelled.setdefault(word, own.word)
    best = sorted(sums, key=lambda word: -sums[word])[:count]  # stable: ties stay in order
    return [(spelled[word], sums[word]) for word in best]


def _without(text: str, start: int, end: int) -> str:
    """Return a text without a word, and with one space where there were two."""
    before, after = text[:start], text[end:]
    return before + (after[1:] if before[-1:] in ("", " ") and after[:1] == " " else after)
