"""What a text scorer is, and how its scores are read: checked, once per text, never a silent zero.

Scorers are told apart by kind, because they are blind to different things: a lexical one knows
words, a neural one what its training rows called toxic, a judge what its rubric says. Absolute
values of two scorers do not compare; what compares is the change under one of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, runtime_checkable

from theodolite.errors import DataError, NumericsError
from theodolite.text.display import escape

Kind = Literal["lexical", "neural", "judge", "sentiment"]
KINDS: Final = ("lexical", "neural", "judge", "sentiment")
EMPTY: Final = "empty text"
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class TextScore:
    """What a scorer said of one text.

    Args:
        value: the score; None where there is none, then `reason` says why.
        reason: e.g. `empty text`.
    """

    value: float | None
    reason: str | None = None


@runtime_checkable
class TextScorer(Protocol):
    """Gives every text a number: 0 to 1 for toxicity, -1 to 1 for sentiment."""

    @property
    def id(self) -> str:
        """Name, version and weights, as in `alt_profanity@1.9.1-1a2b3c4d`."""

    @property
    def kind(self) -> Kind:
        """What the score rests on."""

    @property
    def blind_spots(self) -> str:
        """What it does not see, in one sentence."""

    def score(self, texts: Sequence[str]) -> Sequence[float]:
        """Return the score of each text, axis (text).

        Raises: JudgeError: a text got no score (see `FallibleScorer`).
        """


@runtime_checkable
class LinearScorer(TextScorer, Protocol):
    """A scorer that ranks texts by a linear function of what is in them."""

    def linear_terms(self, text: str) -> Mapping[str, tuple[float, float]]:
        """Return term -> (coefficient, value); the linear score is their sum plus a constant."""


@runtime_checkable
class AttributeScorer(TextScorer, Protocol):
    """A scorer that tells several kinds of toxicity apart; its score is the first of them."""

    def attributes(self, texts: Sequence[str]) -> Sequence[Mapping[str, float]]:
        """Return attribute -> score of each text, axis (text)."""


@runtime_checkable
class FallibleScorer(TextScorer, Protocol):
    """A scorer that may have nothing to say of a text, as a judge whose reply cannot be read."""

    def try_score(self, texts: Sequence[str]) -> Sequence[TextScore]:
        """Return the score of each text, or why there is none; axis (text)."""


def score_texts(scorer: TextScorer, texts: Sequence[str]) -> list[TextScore]:
    """Return the checked score of every text; equal texts are scored once.

    An empty text has no score: it is neither toxic nor harmless.

    Args:
        scorer: of any kind.
        texts: axis (text).

    Returns: one entry per text; without a value where it is empty or the scorer failed on it.

    Raises:
        NumericsError: a score is not finite; names the scorer and the place of the text.
        DataError: a score lies outside the scorer's range, or their number is wrong.
        JudgeError: the scorer is down.
    """
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        if text.strip():
            places.setdefault(text, place)
    known = list(places)
    if isinstance(scorer, FallibleScorer):
        found = list(scorer.try_score(known)) if known else []
    else:
        found = [TextScore(float(value)) for value in (scorer.score(known) if known else ())]
    if len(found) != len(known):
        raise DataError(f"{_called(scorer)} gave {len(found)} scores for {len(known)} texts.")
    scores = dict(zip(known, found))
    for text, one in scores.items():
        _check(scorer, one.value, places[text])
    return [scores.get(text, TextScore(None, EMPTY)) for text in texts]


def score_range(kind: Kind) -> tuple[float, float]:
    """Return the lowest and the highest score of a kind of scorer."""
    return (-1.0, 1.0) if kind == "sentiment" else (0.0, 1.0)


def linear_shapley(
    terms: Mapping[str, tuple[float, float]], expected: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the exact Shapley value of each term of a linear score.

    In a linear function each term's share is its coefficient times how far its value lies from
    the expected one, whatever the other terms are.

    Args:
        terms: as `linear_terms` gives them.
        expected: the value of each term in the background; 0 where not given.
    """
    background = expected or {}
    return {
        term: coefficient * (value - background.get(term, 0.0))
        for term, (coefficient, value) in terms.items()
    }


def short_names(ids: Iterable[str]) -> dict[str, str]:
    """Return id -> name without version and hash, or the whole id where two names are equal."""
    listed = list(dict.fromkeys(ids))
    names = [name_of(one) for one in listed]
    return {one: name if names.count(name) == 1 else one for one, name in zip(listed, names)}


def name_of(scorer_id: str) -> str:
    """Return the part of a scorer's id before its version."""
    return scorer_id.rsplit("@", 1)[0]


def _check(scorer: TextScorer, value: float | None, place: int) -> None:
    if value is None:
        return
    if not math.isfinite(value):
        raise NumericsError(
            f"{_called(scorer)} gave text {place} the score {value}.",
            fix="Check the scorer's weights, or use another one.",
        )
    low, high = score_range(scorer.kind)
    if not low - _ROUNDING <= value <= high + _ROUNDING:
        raise DataError(f"{_called(scorer)} gave text {place} the score {value}, off its range.")


def _called(scorer: TextScorer) -> str:
    return f"The scorer {escape(scorer.id, 120)}"
