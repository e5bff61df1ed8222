"""How much a gain hangs on the words that a perspective happens to be put in.

Where a perspective comes in several wordings, each is foretold by itself after the same answer. The
spread of gains over wordings of one perspective is noise of the measure; the spread over different
perspectives of a question is what it is to see. Both are set side by side.

Source: ours; the decomposition is the one-way analysis of variance with unequal groups, within
questions and pooled over them (Searle, Casella and McCulloch, Variance Components, 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.behaviour.debateqa.contexts import CORRECTED, Contexts
from theodolite.behaviour.debateqa.perspectives import Scoring
from theodolite.data.debates import Perspective, perspectives_of
from theodolite.data.prompts import Prompt
from theodolite.errors import DataError
from theodolite.measure.closed_form import Floats
from theodolite.measure.intervals import resampled
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.runs.panel import PanelResult, extended

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

PARAPHRASES: Final = "paraphrases"
NAME: Final = "debateqa/wordings"
WORDS: Final = {
    "within": "spread of the gain over wordings of one perspective",
    "between": "spread of the gain over perspectives of one question",
    "reliability": "share of the gain's variance that perspectives, not wordings, explain",
}
NO_WORDINGS: Final = "no question has two perspectives, one of them in two wordings"


@dataclass(frozen=True)
class WordingGain:
    """The gain of one wording.

    Args:
        question, goal: ids; intervals are clustered by goal.
        perspective: index within the question.
        wording: index within the perspective; 0 is the point of view.
        gain: in nats per token.
    """

    question: str
    goal: str
    perspective: int
    wording: int
    gain: float


def wordings_of(view: Perspective, most: int) -> list[str]:
    """Return a perspective's point of view and its first other wordings, each once.

    Raises: DataError: what stands there as wordings is no list of texts.
    """
    others = view.meta.get(PARAPHRASES) or []
    if not isinstance(others, list) or not all(isinstance(text, str) for text in others):
        raise DataError(
            f"The field {PARAPHRASES!r} of a perspective must be a list of texts.",
            fix="Give other wordings of its point of view, or leave it out.",
        )
    distinct = dict.fromkeys([view.point_of_view.strip(), *(text.strip() for text in others)])
    return [text for text in distinct if text][: most + 1]


def score_wordings(
    scorer: LanguageModel,
    rows: Sequence[Prompt],
    answers: Mapping[str, str],
    scoring: Scoring,
    most: int,
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[WordingGain]:
    """Return the gain of every wording, in order of questions, perspectives and wordings.

    Args:
        scorer: an open local model that gives log-probabilities.
        rows: questions with perspectives; those without an answer are left out.
        answers: by the id of the question.
        most: wordings of a perspective beside its point of view.
    """
    from theodolite.engine import score

    contexts = Contexts(scorer, CORRECTED, scoring.template)
    pairs: list[Any] = []
    places: list[tuple[Prompt, int, int]] = []
    for row in (row for row in rows if row.id in answers):
        texts = [wordings_of(view, most) for view in perspectives_of(row)]
        ids = [[_ids(scorer, text) for text in own] for own in texts]
        room = max((len(one) for own in ids for one in own), default=0)
        if not room:
            continue
        given = [
            contexts.of(text, room, question=row.request).encoded for text in (answers[row.id], "")
        ]
        for place, own in enumerate(ids):
            for number, one in enumerate(own):
                if one:
                    pairs += [(context, one) for context in given]
                    places.append((row, place, number))
    found = [one.mean for one in score(scorer, pairs, journal=journal, progress=progress)]
    return [
        WordingGain(row.id, row.goal_id or row.id, place, number, after - before)
        for (row, place, number), after, before in zip(places, found[::2], found[1::2], strict=True)
    ]


def _ids(scorer: LanguageModel, text: str) -> tuple[int, ...]:
    encoded: Any = scorer.tokenizer(text, add_special_tokens=False, verbose=False)
    return tuple(encoded["input_ids"])


@dataclass(frozen=True, eq=False)
class Spreads:
    """Sums of squares by question, from which both spreads follow for any weights.

    Args:
        goals: the cluster of each question.
        sums: axes (question, 5): squares within perspectives and their degrees of freedom, squares
            between them and theirs, and the part of the mean group size.
    """

    goals: tuple[str, ...]
    sums: Floats

    @classmethod
    def of(cls, gains: Sequence[WordingGain]) -> Spreads:
        """Gather the sums of every question."""
        goals, sums = [], []
        for _, group in groupby(gains, key=lambda one: one.question):
            own = list(group)
            goals.append(own[0].goal)
            sums.append(_sums([[one.gain for one in views] for views in _by_view(own)]))
        return cls(tuple(goals), np.array(sums, np.float64).reshape(-1, 5))

    @property
    def usable(self) -> bool:
        """Whether both spreads are defined."""
        return bool((self.sums[:, [1, 3]].sum(0) > 0).all()) if len(self.sums) else False

    def figure(self, name: str, weights: Floats) -> Floats:
        """Return a figure under weights of the questions.

        Args:
            name: of `WORDS`.
            weights: axes (resample, question).

        Returns: axis (resample); NaN where it is not defined.
        """
        inside, free_inside, across, free_across, size = (weights @ self.sums).T
        with np.errstate(invalid="ignore", divide="ignore"):
            within = inside / free_inside
            between = (across / free_across - within) / (size / free_across)
            if name == "reliability":
                return np.asarray(between / (between + within))
            # An estimate of a variance may fall below 0 where there is none to be seen.
            found = within if name == "within" else np.maximum(between, 0.0)
            return np.asarray(np.sqrt(found))


def _by_view(gains: Sequence[WordingGain]) -> list[list[WordingGain]]:
    return [list(group) for _, group in groupby(gains, key=lambda one: one.perspective)]


def _sums(views: Sequence[Sequence[float]]) -> tuple[float, ...]:
    sizes = np.array([len(own) for own in views], np.float64)
    means = np.array([np.mean(own) for own in views])
    total = sizes.sum()
    centre = float((sizes * means).sum() / total)
    inside = sum(float(((np.array(own) - np.mean(own)) ** 2).sum()) for own in views)
    across = float((sizes * (means - centre) ** 2).sum())
    size = float(total - (sizes**2).sum() / total)
    return inside, float(total - len(views)), across, float(len(views) - 1), size


def measurements(gains: Sequence[WordingGain], *, seed: int = 0) -> list[Measurement]:
    """Return both spreads and their share, with intervals over questions."""
    spreads = Spreads.of(gains)
    units = dict.fromkeys(WORDS, "nats") | {"reliability": "share of variance"}
    if not spreads.usable:
        return [not_measured(f"{NAME}/{name}", units[name], NO_WORDINGS) for name in WORDS]
    whole = np.ones((1, len(spreads.goals)))
    found = []
    for name in WORDS:
        value = float(spreads.figure(name, whole)[0])
        if not np.isfinite(value):
            found.append(not_measured(f"{NAME}/{name}", units[name], "all gains are equal"))
            continue
        chance = name == "reliability"
        found.append(
            resampled(
                f"{NAME}/{name}",
                value,
                len(spreads.goals),
                partial(spreads.figure, name),
                clusters=spreads.goals,
                unit=units[name],
                floor=Floor("wordings of any perspectives alike", 0.0) if chance else None,
                seed=seed,
                reason=None if chance else "the two spreads are each other's measure",
            )
        )
    return found


def with_wordings(
    result: PanelResult, gains: Sequence[WordingGain], most: int, *, seed: int = 0
) -> PanelResult:
    """Return a result with what the wordings of perspectives change."""
    found = measurements(gains, seed=seed)
    within, between, share = (one.value for one in found)
    said = [f"How much wordings change could not be said: {found[0].reason}."]
    if within is not None and between is not None:
        said = [
            f"The gain of one perspective moves by {within:.3f} nats with its wording, and by "
            f"{between:.3f} between perspectives of a question"
            + ("." if share is None else f": perspectives explain {share:.0%} of its variance.")
        ]
    return extended(
        result,
        measurements=found,
        tables={
            "debateqa_wordings": [
                {
                    "question": one.question,
                    "perspective": one.perspective,
                    "wording": one.wording,
                    "gain": one.gain,
                }
                for one in gains
            ]
        },
        findings=said,
        how=[
            f"Wordings: the point of view and at most {most} others of each perspective, each "
            "foretold by itself."
        ],
        labels={f"{NAME}/{name}": words for name, words in WORDS.items()},
    )
