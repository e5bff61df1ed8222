"""How long answers are, and what length alone does to the figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from theodolite.behaviour.debateqa.gains import NO_PRIOR, Gains
from theodolite.behaviour.debateqa.questions import QuestionScore
from theodolite.behaviour.debateqa.rows import AnswerRow, TargetScore
from theodolite.data.debates import DEBATABLE
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import mean, proportion, resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured

PER: Final = 100
SLOPE_UNIT: Final = f"perplexity per {PER} tokens"
FACT: Final = "a fact of the answers"
NOT_COUNTED: Final = "its tokens were not counted"
LENGTH_WORDS: Final = {
    "answer_tokens": "length of an answer in tokens of the scoring model",
    "len_slope": f"change of P.D. with {PER} more tokens of answer",
    "truncated": "answers whose end did not fit the scoring model",
    "empty": "answers without a word",
}


def length_measurements(
    questions: Sequence[QuestionScore],
    answers: Sequence[AnswerRow],
    *,
    name: str,
    seed: int = 0,
) -> list[Measurement]:
    """Return the mean length, the slope of P.D. on it, and how many answers are cut or empty."""
    own = [row for row in answers if row.label == DEBATABLE]
    if not own:
        return []
    clusters = [row.goal for row in own]
    tokens = [None if row.answer_tokens is None else float(row.answer_tokens) for row in own]
    return [
        mean(
            f"{name}/answer_tokens",
            tokens,
            clusters=clusters,
            unit="tokens",
            reasons=[NOT_COUNTED if value is None else None for value in tokens],
            reason=FACT,
        ),
        len_slope(f"{name}/len_slope", questions, seed=seed),
        proportion(
            f"{name}/truncated", [row.truncated for row in own], clusters=clusters, reason=FACT
        ),
        proportion(f"{name}/empty", [row.empty for row in own], clusters=clusters, reason=FACT),
    ]


def len_slope(name: str, questions: Sequence[QuestionScore], *, seed: int = 0) -> Measurement:
    """Return the least-squares slope of P.D. on the length of the answer, questions resampled.

    P.D. that is free of length has a slope of 0 unless longer answers hold more.
    """
    known = [
        (row.answer_tokens, row.values["pd"], row.goal)
        for row in questions
        if row.answer_tokens is not None and row.values["pd"] is not None
    ]
    if len(known) < 3 or len({tokens for tokens, _, _ in known}) < 2:
        return not_measured(name, SLOPE_UNIT, "it needs three answers that differ in length")
    x = np.array([tokens / PER for tokens, _, _ in known], np.float64)
    y = np.array([pd for _, pd, _ in known], np.float64)

    def slope(weights: Floats) -> Floats:
        n = weights.sum(1)
        dx, dy = x - (weights @ x / n)[:, None], y - (weights @ y / n)[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((weights * dx * dy).sum(1) / (weights * dx * dx).sum(1))

    return resampled(
        name,
        float(slope(np.ones((1, len(x))))[0]),
        len(x),
        slope,
        clusters=[goal for _, _, goal in known],
        unit=SLOPE_UNIT,
        floor=Floor("no effect of length", 0.0),
        seed=seed,
    )


def gains_at_length(
    by_tokens: Mapping[int, Sequence[TargetScore]], *, name: str, seed: int = 0
) -> list[Measurement]:
    """Return the mean gain of answers cut to so many tokens, which no longer answer can raise.

    Args:
        by_tokens: scores of the same questions by the length that answers were cut to.
        name: the front of every figure's name.
        seed: of the bootstraps.
    """
    found = []
    for tokens, scores in sorted(by_tokens.items()):
        gains, title = Gains.of(scores), f"{name}/gain/tokens/{tokens}"
        if not gains.questions:
            found.append(not_measured(title, "nats", NO_PRIOR))
            continue
        counts = np.bincount(gains.question)
        values = np.bincount(gains.question, gains.values) / counts
        null = np.bincount(gains.question, gains.nulls.mean(0)) / counts
        found.append(
            resampled(
                title,
                float(values.mean()),
                len(values),
                "mean",
                values=values.tolist(),
                clusters=gains.goals,
                unit="nats",
                floor=Floor(gains.floor_name, float(null.mean())),
                seed=seed,
            )
        )
    return found
