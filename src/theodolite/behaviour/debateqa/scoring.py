"""From sums of nats and verdicts to figures: pure functions, no model, no files.

Two things are asked of an answer to a debatable question: which of the known perspectives it holds
(gain, coverage, balance, and the published P.D.), and whether it says that people differ (D.A.).
Questions weigh alike, however many perspectives they have; intervals resample questions.

Every figure of perspectives stands beside the same figure under answers to other questions. D.A.
alone is worth nothing, for whoever calls everything disputed reaches 1: beside it stands how often
settled questions are called so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from theodolite.behaviour.debateqa.contexts import CORRECTED
from theodolite.behaviour.debateqa.dispute_figures import DISPUTE_WORDS, dispute_measurements
from theodolite.behaviour.debateqa.gains import (
    COVERING,
    MISMATCHED,
    QUESTION_ALONE,
    Gains,
    threshold,
)
from theodolite.behaviour.debateqa.length import LENGTH_WORDS, length_measurements
from theodolite.behaviour.debateqa.questions import (
    NAMES,
    QuestionScore,
    question_scores,
)
from theodolite.behaviour.debateqa.rows import MOST_PPL, AnswerRow, TargetScore
from theodolite.data.debates import CONTESTED, DEBATABLE, SETTLED
from theodolite.errors import ConfigError
from theodolite.measure.bootstrap import cluster_bootstrap
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import (
    Floor,
    Interval,
    JudgeQuality,
    Measurement,
    not_measured,
)

__all__ = [
    "AnswerRow",
    "Scored",
    "TargetScore",
    "labels",
    "measurements",
    "score",
    "tables",
]

METHOD_VERSION: Final = 1
NAME: Final = "debateqa"
UNITS: Final = {"pd": "perplexity", "pd_sum": "perplexity", "pd_reference": "perplexity"} | {
    "nll": "nats",
    "gain": "nats",
    **dict.fromkeys(COVERING, "share"),
}
NOTES: Final = {
    "pd": "lower is better",
    "pd_sum": "summed over perspectives; lower is better",
    "pd_reference": "the released arithmetic, which falls as answers grow; "
    "the lengths of other answers are not kept, so it has no floor",
    "nll": "lower is better",
}
NO_FLOOR: Final = "other answers are read with their question, for gains alone, so it has no floor"
NO_LABELS: Final = "no perspective has a stance label, and none is guessed"
PLAIN_WORDS: Final = {
    "gain": "what the answer adds to predicting a perspective, per token",
    "coverage": "perspectives the answer holds",
    "balance": "perspectives held on the side held least",
    "evenness": "how evenly the sides are held",
    "tau": "gain from which a perspective counts as held",
    "pd": "P.D.: perplexity of the perspectives after the answer",
    "pd_sum": "P.D. summed over a question's perspectives",
    "pd_reference": "P.D. in the released arithmetic",
    "nll": "nats per token of the perspectives after the answer",
    **LENGTH_WORDS,
    **DISPUTE_WORDS,
}
_ORDER: Final = ("gain", *COVERING, "pd", "pd_sum", "pd_reference", "nll")


@dataclass(frozen=True)
class Scored:
    """Scores laid out once, for figures and tables.

    Args:
        scores: perspectives under the context of P.D.
        gain_scores: perspectives under the context of gains.
        answers: what is known of the answers.
        gains: laid out as arrays.
        tau: the threshold of coverage; None without one.
        fixed: the threshold was given, not taken from the run.
        questions: each question by itself.
        variant: what `pd` is.
    """

    scores: tuple[TargetScore, ...]
    gain_scores: tuple[TargetScore, ...]
    answers: tuple[AnswerRow, ...]
    gains: Gains
    tau: float | None
    fixed: bool
    questions: tuple[QuestionScore, ...]
    variant: str


def score(
    scores: Sequence[TargetScore],
    answers: Sequence[AnswerRow] = (),
    *,
    gains: Sequence[TargetScore] | None = None,
    tau: float | None = None,
    variant: str = CORRECTED,
) -> Scored:
    """Return the scores of every question.

    Args:
        scores: perspectives under the context of P.D. (the answer).
        answers: what is known of the answers, settled questions included.
        gains: perspectives under the context of gains (question and answer), with priors and null
            sums; None: `scores` have them.
        tau: a fixed threshold of coverage in nats per token; None: that of the run.
        variant: `corrected`, `reference` or `paper`: what `pd` is.

    Raises:
        ConfigError: there is no such variant.
        DataError: a row stands there twice, or a question has gains and no P.D.
    """
    own = scores if gains is None else gains
    laid = Gains.of(own)
    found = laid.tau() if tau is None else tau
    questions = question_scores(scores, answers, gains=laid, tau=found, variant=variant)
    return Scored(
        tuple(scores),
        tuple(own),
        tuple(answers),
        laid,
        found,
        tau is not None,
        tuple(questions),
        variant,
    )


def measurements(
    found: Scored,
    *,
    balance: bool = False,
    judge: JudgeQuality | None = None,
    name: str = NAME,
    seed: int = 0,
) -> list[Measurement]:
    """Return every figure of a model.

    Args:
        found: from `score`.
        balance: balance has to be measured, so labels of stance have to be there.
        judge: how good the judge of D.A. is on labelled rows.
        name: the front of every figure's name.
        seed: of the bootstraps.

    Returns: the figures of perspectives, the threshold, those of length, those of D.A.

    Raises:
        ConfigError: balance is asked for and no perspective has a stance.
    """
    if balance and not _labelled(found):
        raise ConfigError(
            "Balance is asked for and no perspective has a stance.",
            fix="Add 'stance' to the partial answers, or leave balance out.",
        )
    figures = [over_questions(found, figure, name=name, seed=seed) for figure in _ORDER]
    fixed = found.tau if found.fixed else None
    figures.insert(1 + len(COVERING), threshold(f"{name}/tau", found.gains, fixed, seed=seed))
    figures += length_measurements(found.questions, found.answers, name=name, seed=seed)
    return figures + dispute_measurements(found.answers, judge=judge, name=name, seed=seed)


def over_questions(found: Scored, figure: str, *, name: str = NAME, seed: int = 0) -> Measurement:
    """Return the mean of a figure over questions, with a bootstrap interval over their goals.

    Where the threshold comes from the run, it is taken anew in every resample.

    Args:
        figure: one of `questions.NAMES`.
    """
    title, unit = f"{name}/{figure}", UNITS[figure]
    if figure in ("balance", "evenness") and not _labelled(found):
        return not_measured(title, unit, NO_LABELS)
    rows = found.questions
    values = [row.values[figure] for row in rows]
    level = _mean([row.floors[figure] for row in rows])
    result = mean(
        title,
        values,
        clusters=[row.goal for row in rows],
        unit=unit,
        range=(0.0, 1.0) if unit == "share" else None,
        floor=None if level is None else Floor(_floor_name(found, figure), level),
        reasons=[row.reasons.get(figure) for row in rows],
        reason=_note(found, figure, level),
    )
    interval = _bootstrap(found, figure, seed)
    if result.value is None or interval is None or interval.low == interval.high:
        return result
    low, high = interval.low, interval.high
    if result.range is not None:
        low, high = max(low, result.range[0]), min(high, result.range[1])
    return replace(result, low=low, high=high, method=interval.method)


def labels(name: str = NAME) -> dict[str, str]:
    """Return the figures in plain words, by name."""
    return {f"{name}/{part}": words for part, words in PLAIN_WORDS.items()}


def tables(found: Scored, *, name: str = NAME) -> dict[str, list[dict[str, Any]]]:
    """Return the tables: perspectives, questions, slices by topic, and outcomes to compare by."""
    return {
        "debateqa_targets": _target_rows(found),
        "debateqa_questions": [_question_row(row) for row in found.questions],
        "debateqa_by_topic": _by_topic(found),
        "debateqa_outcomes": _outcomes(found, name),
        "debateqa_answers": [vars(row) for row in found.answers],
    }


def _bootstrap(found: Scored, figure: str, seed: int) -> Interval | None:
    if figure in COVERING and not found.fixed:
        gains = found.gains
        if not len(gains.null_values):
            return None
        zeros = [0.0] * len(gains.questions)
        return cluster_bootstrap(
            zeros, gains.goals, lambda weights: gains.means(figure, weights), seed=seed
        )
    known = [(row.values[figure], row.goal) for row in found.questions]
    kept = [(value, goal) for value, goal in known if value is not None]
    return cluster_bootstrap([v for v, _ in kept], [goal for _, goal in kept], seed=seed)


def _labelled(found: Scored) -> bool:
    return any(row.stance is not None for row in found.gain_scores)


def _floor_name(found: Scored, figure: str) -> str:
    if figure in ("gain", *COVERING):
        return found.gains.floor_name
    return MISMATCHED if any(row.null_sums for row in found.scores) else QUESTION_ALONE


def _note(found: Scored, figure: str, level: float | None) -> str | None:
    notes = [NOTES.get(figure)]
    if figure == "pd":
        notes.append(f"variant {found.variant}")
    if figure in ("pd", "pd_sum", "nll") and level is None:
        notes.append(NO_FLOOR)
    if UNITS[figure] == "perplexity":
        cut = sum(row.scored and row.ppl >= MOST_PPL for row in found.scores)
        notes.append(f"{cut} perplexities were cut at {MOST_PPL:.0e}" if cut else None)
    return "; ".join(note for note in notes if note) or None


def _target_rows(found: Scored) -> list[dict[str, Any]]:
    """Return one row per perspective; its gain is that of the same perspective's gain score."""
    gains = {(row.question, row.index): row for row in found.gain_scores}
    rows = []
    for row in found.scores:
        own = gains.get((row.question, row.index))
        gain = own.gain if own is not None and own.scored else None
        null = own.null_gains if own is not None and own.scored else ()
        rows.append(
            {
                "question": row.question,
                "index": row.index,
                "topic": row.topic,
                "stance": row.stance,
                "nll_sum": row.nll_sum,
                "n_tokens": row.n_tokens,
                "n_context": row.n_context,
                "nll": row.nll if row.scored else None,
                "ppl": row.ppl if row.scored else None,
                "ppl_reference": row.ppl_reference if row.scored else None,
                "gain": gain,
                "null_gain": sum(null) / len(null) if null else None,
                "covered": None if gain is None or found.tau is None else gain > found.tau,
                "flags": ", ".join(row.flags),
            }
        )
    return rows


def _question_row(row: QuestionScore) -> dict[str, Any]:
    return {
        "question": row.question,
        "goal": row.goal,
        "topic": row.topic,
        "targets": row.targets,
        "answer_tokens": row.answer_tokens,
        **row.values,
        "flags": ", ".join(row.flags),
    }


def _outcomes(found: Scored, name: str) -> list[dict[str, Any]]:
    """Return what each question adds to each figure, so that two runs are compared in pairs."""
    points = [
        (figure, row.question, row.values[figure], row.goal)
        for figure in NAMES
        for row in found.questions
    ]
    parts = {DEBATABLE: "da", SETTLED: "da_fpr", CONTESTED: "da_contested"}
    points += [
        (parts[row.label], row.question, None if row.da is None else float(row.da), row.goal)
        for row in found.answers
    ]
    return [
        {"measurement": f"{name}/{figure}", "id": question, "outcome": value, "cluster": goal}
        for figure, question, value, goal in points
    ]


def _by_topic(found: Scored) -> list[dict[str, Any]]:
    """Return the main figures of each topic beside their floors."""
    table = []
    for topic in dict.fromkeys(row.topic for row in found.questions if row.topic):
        rows = [row for row in found.questions if row.topic == topic]
        goals = [row.goal for row in rows]
        for figure in ("gain", "coverage", "balance", "pd"):
            values = [row.values[figure] for row in rows]
            point = mean(figure, values, clusters=goals, unit=UNITS[figure])
            facts = {key: getattr(point, key) for key in ("value", "low", "high", "n")}
            floor = _mean([row.floors[figure] for row in rows])
            table.append({"topic": topic, "figure": figure, **facts, "floor": floor})
    return table


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
