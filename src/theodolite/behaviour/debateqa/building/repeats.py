"""Views that say the same twice: likeness of words proposes, entailment in both directions decides.

Traps this file exists for:
  - two opposite views share nearly all words ("should" and "should not"), so no likeness of words,
    however high, may drop a view: only equal words do, and what the model says of both directions;
  - a view that follows from another one and says less is no repeat: entailment one way is not
    enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from theodolite.text.normalise import normalise

ALIKE: Final = 0.3
"""Cosine of character 3- to 5-grams from which on the model is asked about two views."""
_GRAMS: Final = (3, 5)
_ENDS: Final = " .!,;:\"'"


def cosines(texts: Sequence[str]) -> np.ndarray:
    """Return how alike texts are in their character 3- to 5-grams, axes (text, text).

    Note: counts are taken as 1 + log count; there are no weights by rarity, which a handful of
    sentences cannot tell.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    counts = TfidfVectorizer(
        analyzer="char_wb", ngram_range=_GRAMS, use_idf=False, sublinear_tf=True
    ).fit_transform([normalise(text, lower=True) for text in texts])
    return np.asarray((counts @ counts.T).todense(), np.float64)


def equal_words(first: str, second: str) -> bool:
    """Return whether two views differ in case, marks and white space at most."""
    one, other = (normalise(text, lower=True).strip(_ENDS) for text in (first, second))
    return one == other


def candidate(texts: Sequence[str], place: int, earlier: Sequence[int]) -> int | None:
    """Return the earlier view that a view may repeat: the most alike one, if alike at all.

    Args:
        texts: all views of a question.
        place: of the view.
        earlier: places of the views before it that stand.
    """
    if not earlier:
        return None
    alike = cosines([texts[place], *(texts[i] for i in earlier)])[0, 1:]
    best = int(np.argmax(alike))
    return earlier[best] if alike[best] >= ALIKE else None
