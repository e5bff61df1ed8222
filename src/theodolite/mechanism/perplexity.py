"""Perplexity of plain text: what a change costs where nothing harmful is asked.

Texts are read outside any chat. The mean is per token and the interval by passage, for the tokens
of one passage are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import Prompt
from theodolite.engine import score
from theodolite.errors import DataError
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.models.chat import Encoded, encode_plain
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

Nats = NDArray[np.float64]
NO_CHANGE: Final = Floor("no change", 0.0)


def passage_pairs(
    model: LanguageModel, passages: Sequence[Prompt]
) -> list[tuple[Encoded, tuple[int, ...]]]:
    """Return (first token, all further tokens) of each passage, outside any chat.

    Raises: DataError: there are no passages, or one has a single token.
    """
    if not passages:
        raise DataError("There are no passages.", fix="Give at least one.")
    pairs = []
    for passage in passages:
        whole = encode_plain(model, passage.request, prompt_id=passage.id)
        ids = whole.ids[: whole.template[0]]  # what the tokenizer puts after a text is not its own
        if len(ids) < 2:
            raise DataError(
                f"Passage '{escape(passage.id, 80)}' has a single token.", fix="Give a longer text."
            )
        first = ids[:1]
        start = Encoded(first, "", None, (1, 1), content_key(first), passage.id)
        pairs.append((start, ids[1:]))
    return pairs


def passage_nats(
    model: LanguageModel,
    pairs: Sequence[tuple[Encoded, tuple[int, ...]]],
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Nats:
    """Return minus the log-probability of each passage, axis (passage); interventions act."""
    read = score(model, pairs, journal=journal, progress=progress)
    return np.array([-one.sum for one in read], np.float64)


def perplexity(name: str, nats: Nats, tokens: NDArray[np.int64], vocabulary: int) -> Measurement:
    """Return the perplexity of passages, weighed by tokens.

    Args:
        nats, tokens: of each passage, axis (passage).
        vocabulary: tokens of the model, the perplexity of a uniform guess.
    """
    floor = Floor("uniform guessing", float(vocabulary))
    return mapped(_per_token(name, nats, tokens, floor), math.exp, "")


def perplexity_rise(
    name: str,
    nats: Nats,
    before: Nats,
    tokens: NDArray[np.int64],
    floor: Floor = NO_CHANGE,
) -> Measurement:
    """Return by how many percent the perplexity rises over another reading of the same passages."""
    return mapped(_per_token(name, nats - before, tokens, floor), _percent, "percent")


def _per_token(name: str, nats: Nats, tokens: NDArray[np.int64], floor: Floor) -> Measurement:
    """Return the mean per token of sums per passage, with a t interval over passages.

    Args:
        floor: on the scale that the mean is mapped to.
    """
    # A passage's own mean, once per token: the mean is that over tokens, and the sums of the
    # clusters, on which the interval rests, are the same.
    places = np.repeat(np.arange(len(tokens)), tokens)
    values = (nats / tokens)[places].tolist()
    return mean(name, values, clusters=places.tolist(), unit="nats", floor=floor)


def mapped(log: Measurement, image: Callable[[float], float], unit: str) -> Measurement:
    """Return a mean of logarithms, and the ends of its interval, on another scale."""
    value, low, high = (None if x is None else image(x) for x in (log.value, log.low, log.high))
    return replace(log, value=value, low=low, high=high, unit=unit)


def _percent(log: float) -> float:
    return 100 * math.expm1(log)
