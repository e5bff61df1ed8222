"""Each question by itself: the mean over its perspectives, also under mismatched answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from theodolite.behaviour.debateqa.contexts import CHAT, CORRECTED, PAPER, REFERENCE, check_variant
from theodolite.behaviour.debateqa.gains import COVERING, NO_PRIOR, Gains, why_not
from theodolite.behaviour.debateqa.rows import (
    AnswerRow,
    TargetScore,
    by_question,
    check_unique,
    perplexity,
)
from theodolite.data.debates import DEBATABLE
from theodolite.data.prompts import shown
from theodolite.errors import DataError

NO_PERSPECTIVES: Final = "no perspectives"
NO_TOKENS: Final = "no perspective has a token"
NO_TAU: Final = "no threshold: it needs answers to other questions, or a fixed tau"
NAMES: Final = ("pd", "pd_sum", "pd_reference", "nll", "gain", *COVERING)


@dataclass(frozen=True)
class QuestionScore:
    """What an answer makes of one question's perspectives.

    Args:
        question, goal, topic: as of its rows.
        targets: perspectives that were scored.
        values: a value per name of `NAMES`; None where there is none, then `reasons` says why.
        floors: the same under answers to other questions (or the question alone); None likewise.
        answer_tokens: length of the answer; None where not counted.
        flags: all that was odd about its rows.
    """

    question: str
    goal: str
    topic: str | None
    targets: int
    values: Mapping[str, float | None]
    floors: Mapping[str, float | None]
    reasons: Mapping[str, str]
    answer_tokens: int | None = None
    flags: tuple[str, ...] = ()


def question_scores(
    scores: Sequence[TargetScore],
    answers: Sequence[AnswerRow] = (),
    *,
    gains: Gains | None = None,
    tau: float | None = None,
    variant: str = CORRECTED,
) -> list[QuestionScore]:
    """Return the score of every debatable question, in order of answers, then of scores.

    Args:
        scores: perspectives under the context of P.D.
        answers: one per question; those without perspectives are returned without values.
        gains: of the same questions; None: taken from `scores`.
        tau: the threshold of coverage; None: that of the gains.
        variant: what `pd` is: the mean perplexity (`corrected`), the released script's value
            (`reference`) or the sum (`paper`).

    Raises:
        ConfigError: there is no such variant.
        DataError: a row stands there twice, or a question has gains alone.
    """
    check_variant(variant, CHAT)
    check_unique(scores, answers)
    laid = Gains.of(scores) if gains is None else gains
    covering = _Covering.of(laid, laid.tau() if tau is None else tau)
    rows = by_question(scores)
    strange = [name for name in laid.questions if name not in rows]
    if strange:
        raise DataError(
            f"{len(strange)} questions have gains and no P.D., the first of them "
            f"{shown(strange[0])}.",
            fix="Score the same questions under both contexts.",
        )
    about = {row.question: row for row in answers if row.label == DEBATABLE}
    controls = {row.question for row in answers if row.label != DEBATABLE}
    names = [name for name in dict.fromkeys([*about, *rows]) if name not in controls]
    return [_question(n, rows.get(n, []), about.get(n), covering, variant) for n in names]


def pd_of(rows: Sequence[TargetScore], variant: str = CORRECTED) -> float:
    """Return the P.D. of one question by a variant; its rows all have tokens."""
    values = [row.ppl_reference if variant == REFERENCE else row.ppl for row in rows]
    return sum(values) / (1 if variant == PAPER else len(values))


@dataclass(frozen=True)
class _Covering:
    """Gain, coverage, balance and evenness of each question, with their floors."""

    gains: Gains
    place: Mapping[str, int]
    values: Mapping[str, np.ndarray]
    floors: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, gains: Gains, tau: float | None) -> _Covering:
        """Work out all questions at once; axes (question) of every array."""
        place = {name: i for i, name in enumerate(gains.questions)}
        if not place:
            return cls(gains, {}, {}, {})
        counts = np.bincount(gains.question)
        mean = np.bincount(gains.question, gains.values) / counts
        null = np.bincount(gains.question, gains.nulls.mean(0)) / counts
        values, floors = {"gain": mean}, {"gain": null}
        if tau is not None:
            values |= {k: v[0] for k, v in gains.figures(gains.values[None] > tau).items()}
            null_figures = gains.figures(gains.nulls > tau)
            floors |= {k: _mean_known(v) for k, v in null_figures.items()}
        return cls(gains, place, values, floors)

    def row(self, question: str, side: Mapping[str, np.ndarray]) -> dict[str, float | None]:
        """Return the values, or the floors, of one question; {} where it has no gains."""
        at = self.place.get(question)
        return {} if at is None else {name: _plain(side[name][at]) for name in side}

    def reason(self, question: str, name: str) -> str:
        """Return why a question that has perspectives has no value of that name."""
        at = self.place.get(question)
        if at is None:
            return NO_PRIOR
        return why_not(self.gains, at) if name in self.values else NO_TAU


def _question(
    name: str,
    rows: Sequence[TargetScore],
    answer: AnswerRow | None,
    covering: _Covering,
    variant: str,
) -> QuestionScore:
    """Return the score of one question."""
    scored = [row for row in rows if row.scored]
    values = dict.fromkeys(NAMES) | covering.row(name, covering.values)
    floors = dict.fromkeys(NAMES) | covering.row(name, covering.floors)
    if scored:
        values |= {
            "pd": pd_of(scored, variant),
            "pd_sum": pd_of(scored, PAPER),
            "pd_reference": pd_of(scored, REFERENCE),
            "nll": sum(row.nll for row in scored) / len(scored),
        }
        floors |= _pd_floors(scored, variant)
    why = NO_TOKENS if rows else NO_PERSPECTIVES
    reasons = {
        key: covering.reason(name, key) if scored else why
        for key, value in values.items()
        if value is None
    }
    known: list[TargetScore | AnswerRow] = [*rows]
    known += [] if answer is None else [answer]
    flags = [flag for row in rows for flag in row.flags]
    flags += ["zero_tokens"] * (len(scored) < len(rows))
    if answer is not None:
        flags += ["truncated"] * answer.truncated + ["empty_answer"] * answer.empty
    return QuestionScore(
        question=name,
        goal=next((row.goal for row in known if row.goal_id), name),
        topic=next((row.topic for row in known if row.topic), None),
        targets=len(scored),
        values=values,
        floors=floors,
        reasons=reasons,
        answer_tokens=None if answer is None else answer.answer_tokens,
        flags=tuple(dict.fromkeys(flags)),
    )


def _pd_floors(rows: Sequence[TargetScore], variant: str) -> dict[str, float | None]:
    """Return P.D. and nats under answers to other questions, or with the question alone."""
    sums = [
        row.null_sums or ((row.prior_sum,) if row.prior_sum is not None else ()) for row in rows
    ]
    if not all(sums):
        return {}
    nats = [[total / row.n_tokens for total in own] for row, own in zip(rows, sums)]
    total = sum(sum(map(perplexity, own)) / len(own) for own in nats)
    mean = total / len(rows)
    return {
        # The lengths of mismatched contexts, on which the script's value hangs, are not kept.
        "pd": {CORRECTED: mean, PAPER: total}.get(variant),
        "pd_sum": total,
        "nll": sum(sum(own) / len(own) for own in nats) / len(rows),
    }


def _mean_known(values: np.ndarray) -> np.ndarray:
    """Return the mean over rows of what is known; NaN where nothing is; axis (question)."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(0) / known.sum(0))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
