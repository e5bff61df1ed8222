"""The scorer held against people: does gain rise where they find a perspective represented?

A scoring model may be called validated only beside such a file of ratings. Perspectives, answers
and models are held against people apart, for a scorer can be right about the one and not the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from theodolite.behaviour.debateqa.ratings import Rating
from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.measure.agreement import agreement, cohen_kappa
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import resampled
from theodolite.measure.krippendorff import krippendorff_alpha
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.rank_agreement import kendall_tau_b, partial_spearman, spearman
from theodolite.measure.ranking import Ranked

REPRESENTED: Final = 4.0
"""Mean rating from which a perspective counts as represented."""

FITTED: Final = "of the best threshold for these very ratings, so a little too high"
BOTH_NEEDED: Final = "it needs perspectives that are represented and that are not"
PLAIN_WORDS: Final = {
    "auroc": "gain ranks represented perspectives above others",
    "tau": "gain that best tells represented perspectives from others",
    "youden": "represented minus other perspectives above that gain",
    "models/spearman": "order of models by gain and by people",
    "models/kendall": "the same in pairs",
    "models/length_partialled": "the same at equal length",
    "answers/length_partialled": "order of answers by gain and by people, at equal length",
    "da_agreement": "judge and most raters agree on dispute",
    "da_kappa": "the same beyond chance",
    "raters/alpha": "raters agree with each other on what is represented",
}


class AnswerKey(NamedTuple):
    """Names an answer: question id and answer id."""

    question: str
    answer: str


@dataclass(frozen=True)
class ScoredAnswer:
    """What the scorer says of one answer.

    Args:
        question, answer: ids.
        model: who wrote it.
        gains: nats per token, by index of the perspective.
        da: whether the judge says that it calls the question disputed; None without a verdict.
        tokens: its length; None where not counted.
    """

    question: str
    answer: str
    model: str
    gains: Mapping[int, float]
    da: bool | None = None
    tokens: int | None = None

    @property
    def key(self) -> AnswerKey:
        """Names the answer."""
        return AnswerKey(self.question, self.answer)


@dataclass(frozen=True)
class Validation:
    """How a scorer stands to people.

    Args:
        measurements: AUROC, best threshold, rank correlations, kappa.
        tau: the best threshold, to be used for coverage; None where it cannot be told.
        models: one row per model: mean gain, mean rating, mean length, answers.
        only_rated: answers that people rated and the scorer did not score.
        only_scored: answers that were scored and nobody rated.
    """

    measurements: tuple[Measurement, ...]
    tau: float | None
    models: tuple[dict[str, Any], ...]
    only_rated: tuple[AnswerKey, ...]
    only_scored: tuple[AnswerKey, ...]


@dataclass(frozen=True)
class _Pair:
    """One perspective in one answer: its gain and its mean rating."""

    key: AnswerKey
    gain: float
    rating: float


@dataclass(frozen=True)
class _Answer:
    """One answer: its mean gain and mean rating over the perspectives that have both."""

    scored: ScoredAnswer
    gain: float
    rating: float

    @property
    def tokens(self) -> float | None:
        """Its length."""
        return None if self.scored.tokens is None else float(self.scored.tokens)


def validate(
    ratings: Sequence[Rating],
    answers: Sequence[ScoredAnswer],
    *,
    name: str = "human",
    seed: int = 0,
) -> Validation:
    """Return how a scorer's gains and a judge's verdicts stand to people's ratings.

    Args:
        ratings: of one or more raters.
        answers: scored ones.
        name: the front of every figure's name.
        seed: of the bootstraps, which resample questions.

    Raises:
        DataError: an answer is scored twice, or no answer is both rated and scored.
    """
    known = {row.key: row for row in answers}
    if len(known) < len(answers):
        raise DataError("An answer is scored twice.", fix="Give every answer its own answer_id.")
    rated = dict.fromkeys(AnswerKey(row.question, row.answer) for row in ratings)
    if not rated.keys() & known.keys():
        first = next(iter(rated), None)
        raise DataError(
            "No answer is both rated and scored"
            + (f"; the first rated one is {shown('/'.join(first))}." if first else "."),
            fix="Use the same question_id and answer_id in both.",
        )
    pairs = _pairs(ratings, known)
    whole = _answers(pairs, known)
    models = _models(whole)
    gains, represented = [pair.gain for pair in pairs], _represented(pairs).tolist()
    questions = [pair.key.question for pair in pairs]
    tau, youden = best_threshold(gains, represented, questions, name=name, seed=seed)
    figures = [
        _auroc(f"{name}/auroc", pairs, seed),
        tau,
        youden,
        *_orders(whole, models, name, seed),
        *_dispute(ratings, known, name),
        _raters(ratings, f"{name}/raters/alpha", seed),
    ]
    return Validation(
        tuple(figures),
        tau.value,
        tuple(models),
        tuple(key for key in rated if key not in known),
        tuple(key for key in known if key not in rated),
    )


def best_threshold(
    gains: Sequence[float],
    represented: Sequence[bool],
    questions: Sequence[str],
    *,
    name: str = "human",
    seed: int = 0,
) -> tuple[Measurement, Measurement]:
    """Return the gain that best tells represented perspectives from others, and how well it does.

    The best threshold is where Youden's J is greatest, half way to the next gain; the least one
    where several are best. Both are taken anew in every resample of questions.

    Args:
        gains, represented, questions: of each perspective in each answer.
        name, seed: as for `validate`.
    """
    values, positive = np.asarray(gains, np.float64), np.asarray(represented, bool)
    figures = []
    for place, (title, unit, range, floor, reason) in enumerate(
        (
            ("tau", "nats", None, None, "a threshold has no trivial level"),
            ("youden", "share", (0.0, 1.0), Floor("any constant answer", 0.0), FITTED),
        )
    ):
        if not positive.any() or positive.all():
            figures.append(not_measured(f"{name}/{title}", unit, BOTH_NEEDED))
            continue

        def best(weights: Floats, place: int = place) -> Floats:
            return _youden(values, positive, weights)[place]

        figures.append(
            resampled(
                f"{name}/{title}",
                float(best(np.ones((1, len(values))))[0]),
                len(values),
                best,
                clusters=questions,
                unit=unit,
                range=range,
                floor=floor,
                seed=seed,
                reason=reason,
            )
        )
    tau, youden = figures
    return tau, youden


def _youden(gains: Floats, positive: np.ndarray, weights: Floats) -> tuple[Floats, Floats]:
    """Return the best threshold and its J under weights; both axis (resample), NaN without one."""
    order = np.argsort(gains, kind="stable")
    values, held = gains[order], positive[order]
    last = np.append(values[1:] > values[:-1], True)
    drawn = weights[:, order]
    up, down = (np.cumsum(drawn * side, axis=1) for side in (held, ~held))
    with np.errstate(invalid="ignore", divide="ignore"):
        # What lies above a gain is covered: the share of others below it less that of held ones.
        gap = (down / down[:, -1:] - up / up[:, -1:])[:, last]
    distinct = values[last]
    # Covering everything comes first: it has a J of 0, and its threshold lies below all gains.
    below = np.nextafter(distinct[:1], -np.inf)
    edges = np.concatenate([below, (distinct[:-1] + distinct[1:]) / 2, distinct[-1:]])
    gap = np.concatenate([np.zeros((len(gap), 1)), gap], axis=1)
    known = np.isfinite(gap).all(1)
    best = np.argmax(np.where(known[:, None], gap, 0.0), axis=1)
    most = np.take_along_axis(gap, best[:, None], axis=1)[:, 0]
    return np.where(known, edges[best], np.nan), np.where(known, most, np.nan)


def _represented(pairs: Sequence[_Pair]) -> np.ndarray:
    return np.array([pair.rating >= REPRESENTED for pair in pairs], bool)


def _pairs(ratings: Sequence[Rating], known: Mapping[AnswerKey, ScoredAnswer]) -> list[_Pair]:
    """Return the perspectives that have a gain and a rating."""
    given: dict[tuple[AnswerKey, int], list[int]] = {}
    for row in ratings:
        if row.represented is not None:
            place = (AnswerKey(row.question, row.answer), row.index)
            given.setdefault(place, []).append(row.represented)
    return [
        _Pair(key, known[key].gains[index], sum(values) / len(values))
        for (key, index), values in given.items()
        if key in known and index in known[key].gains
    ]


def _answers(pairs: Sequence[_Pair], known: Mapping[AnswerKey, ScoredAnswer]) -> list[_Answer]:
    found: dict[AnswerKey, list[_Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.key, []).append(pair)
    return [
        _Answer(
            known[key],
            sum(pair.gain for pair in own) / len(own),
            sum(pair.rating for pair in own) / len(own),
        )
        for key, own in found.items()
    ]


def _models(answers: Sequence[_Answer]) -> list[dict[str, Any]]:
    """Return one row per model, its answers weighing alike."""
    found: dict[str, list[_Answer]] = {}
    for row in answers:
        found.setdefault(row.scored.model, []).append(row)
    rows = []
    for model, own in found.items():
        tokens = [row.tokens for row in own if row.tokens is not None]
        rows.append(
            {
                "model": model,
                "gain": sum(row.gain for row in own) / len(own),
                "rating": sum(row.rating for row in own) / len(own),
                "tokens": sum(tokens) / len(tokens) if tokens else None,
                "answers": len(own),
            }
        )
    return rows


def _auroc(name: str, pairs: Sequence[_Pair], seed: int) -> Measurement:
    positive = _represented(pairs)
    if not positive.any() or positive.all():
        return not_measured(name, "auroc", BOTH_NEEDED)
    ranked = Ranked.of([pair.gain for pair in pairs], positive)
    return resampled(
        name,
        float(ranked.auroc(np.ones((1, len(pairs))))[0]),
        len(pairs),
        ranked.auroc,
        clusters=[pair.key.question for pair in pairs],
        unit="auroc",
        range=(0.0, 1.0),
        floor=Floor("chance", 0.5),
        seed=seed,
    )


def _orders(
    answers: Sequence[_Answer], models: Sequence[Mapping[str, Any]], name: str, seed: int
) -> list[Measurement]:
    """Return the rank correlations of models and of answers with people."""
    gain, rating, tokens = ([row[key] for row in models] for key in ("gain", "rating", "tokens"))
    return [
        spearman(gain, rating, name=f"{name}/models/spearman", what="models"),
        kendall_tau_b(gain, rating, name=f"{name}/models/kendall", what="models"),
        partial_spearman(
            gain,
            rating,
            tokens,
            name=f"{name}/models/length_partialled",
            what="models",
            seed=seed,
        ),
        partial_spearman(
            [row.gain for row in answers],
            [row.rating for row in answers],
            [row.tokens for row in answers],
            clusters=[row.scored.question for row in answers],
            name=f"{name}/answers/length_partialled",
            what="answers",
            seed=seed,
        ),
    ]


def majority(votes: Sequence[bool]) -> bool | None:
    """Return what most raters say; None where as many say the other, or nobody says anything."""
    yes = sum(votes)
    return None if 2 * yes == len(votes) else 2 * yes > len(votes)


def _dispute(
    ratings: Sequence[Rating], known: Mapping[AnswerKey, ScoredAnswer], name: str
) -> list[Measurement]:
    """Return how far the judge of dispute agrees with most raters."""
    votes: dict[AnswerKey, dict[str, bool]] = {}
    for row in ratings:
        key = AnswerKey(row.question, row.answer)
        if row.disputed is not None and key in known:
            votes.setdefault(key, {})[row.rater] = row.disputed
    people = [majority(list(own.values())) for own in votes.values()]
    judge = [known[key].da for key in votes]
    clusters = [key.question for key in votes]
    return [
        agreement(people, judge, clusters=clusters, name=f"{name}/da_agreement"),
        cohen_kappa(people, judge, clusters=clusters, name=f"{name}/da_kappa"),
    ]


def _raters(ratings: Sequence[Rating], name: str, seed: int) -> Measurement:
    """Return how far raters agree with each other: no scorer can be expected to agree better."""
    items = list(dict.fromkeys((row.question, row.answer, row.index) for row in ratings))
    raters = list(dict.fromkeys(row.rater for row in ratings))
    given = {(row.rater, (row.question, row.answer, row.index)): row.represented for row in ratings}
    table = [[given.get((rater, item)) for item in items] for rater in raters]
    clusters = [item[0] for item in items]
    return krippendorff_alpha(table, "ordinal", clusters=clusters, name=name, seed=seed)
