"""P.D. and gains: how well a scoring model foretells each perspective once it has read an answer.

All perspectives of a question follow the same contexts (the answer, the question with the answer,
the question alone, the question with answers to other questions), and each context is read once:
the engine runs what sequences share a single time, and the output layer only where a token of a
perspective follows.

Source: the measure of arXiv:2408.01419, with its arithmetic put right; gains and nulls are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.debateqa.contexts import CHAT, CORRECTED, Context, Contexts, check_variant
from theodolite.behaviour.debateqa.rows import TargetScore
from theodolite.data.debates import (
    EXPLANATION,
    POV_AND_EXPLANATION,
    TARGETS,
    Perspective,
    perspectives_of,
)
from theodolite.data.prompts import Prompt, shown
from theodolite.errors import ConfigError
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

NULLS: Final = 2
TRUNCATED: Final = "truncated"


@dataclass(frozen=True)
class Scoring:
    """How perspectives are scored.

    Args:
        variant: of P.D.: `corrected`, `paper` or `reference`; gains are always as `corrected`.
        target: what gains predict: `explanation` (a heading copied word for word earns nothing) or
            `pov+explanation`. P.D. always predicts the latter.
        template: `chat`, or `plain` for a scorer without a chat template.
        nulls: answers to other questions that each question is read with, for what chance gives.
    """

    variant: str = CORRECTED
    target: str = EXPLANATION
    template: str = CHAT
    nulls: int = NULLS


def check_scoring(scoring: Scoring) -> None:
    """Refuse a way of scoring that does not exist; raises ConfigError."""
    check_variant(scoring.variant, scoring.template)
    if scoring.target not in TARGETS:
        raise ConfigError(
            f"There is no target {shown(scoring.target)}.",
            fix=did_you_mean(scoring.target, TARGETS),
        )
    if scoring.nulls < 0:
        raise ConfigError(f"`nulls` is {scoring.nulls}.", fix="Give 0 or more.")


@dataclass(frozen=True)
class Scores:
    """What a scoring model made of answers.

    Args:
        pd: a row per perspective under the context of P.D.
        gains: a row per perspective with the question in the context, with prior and nulls.
        answer_tokens: of every answer, by question.
        truncated: questions whose answer did not fit.
    """

    pd: tuple[TargetScore, ...]
    gains: tuple[TargetScore, ...]
    answer_tokens: Mapping[str, int]
    truncated: frozenset[str]


def score_perspectives(
    scorer: LanguageModel,
    rows: Sequence[Prompt],
    answers: Mapping[str, str],
    scoring: Scoring | None = None,
    *,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Score the answers to debatable questions.

    Args:
        scorer: an open local model that gives log-probabilities.
        rows: the questions, with their perspectives.
        answers: by the id of the question; rows without one are left out.
        seed: of the choice of mismatched answers.
        journal: finished passes are kept there.

    Raises:
        ConfigError: a way of scoring does not exist, or the scorer has no chat template.
        CapabilityError: the scorer gives no log-probabilities of given text.
        DataError: a question leaves no room in the scorer's context.
    """
    from theodolite.engine import score  # brings torch along, which listing tasks needs not

    scoring = scoring or Scoring()
    check_scoring(scoring)
    scorer.require("logprobs")
    asked = [row for row in rows if row.id in answers]
    goals = {row.id: row.goal_id or row.id for row in asked}
    others = mismatched(goals, scoring.nulls, seed=seed)
    plan = _Plan(scorer, scoring)
    for row in asked:
        plan.add(row, answers[row.id], [answers[name] for name in others[row.id]])
    pairs = [(context.encoded, ids) for context, ids in plan.pairs]
    found = score(scorer, pairs, journal=journal, progress=progress)
    sums = [-one.sum for one in found]
    counts = scorer.tokenizer([answers[row.id] for row in asked] or [""], add_special_tokens=False)
    return Scores(
        pd=tuple(plan.pd_rows(sums)),
        gains=tuple(plan.gain_rows(sums)),
        answer_tokens={
            row.id: len(ids) for row, ids in zip(asked, counts["input_ids"], strict=False)
        },
        truncated=frozenset(plan.truncated),
    )


def mismatched(goals: Mapping[str, str], count: int, *, seed: int = 0) -> dict[str, list[str]]:
    """Return for each question other questions whose answers it is read with.

    Args:
        goals: of each question, by its id; an answer to the same goal is no answer to another one.
        count: of others, fewer where there are not so many.
        seed: of the order.

    Note: a seeded circle, so that every answer stands in as often as every other; nearly so where
        several questions have one goal.
    """
    circle = sorted(goals, key=lambda name: (item_seed(seed, "mismatched", name), name))
    found = {}
    for place, name in enumerate(circle):
        after = (circle[(place + step) % len(circle)] for step in range(1, len(circle)))
        found[name] = list(islice((one for one in after if goals[one] != goals[name]), count))
    return found


@dataclass
class _Target:
    """A perspective and where its sums will be found; None where it has no tokens."""

    row: Prompt
    index: int
    stance: str | None
    tokens: int
    context: Context
    at: tuple[int, ...] | None
    flags: tuple[str, ...]


@dataclass
class _Plan:
    """Collects everything that is to be scored before anything is."""

    scorer: LanguageModel
    scoring: Scoring
    pairs: list[tuple[Context, tuple[int, ...]]] = field(default_factory=list)
    truncated: set[str] = field(default_factory=set)
    _pd: list[_Target] = field(default_factory=list)
    _gains: list[_Target] = field(default_factory=list)

    def __post_init__(self) -> None:
        template = self.scoring.template
        self._alone = Contexts(self.scorer, self.scoring.variant, template)
        self._asked = Contexts(self.scorer, CORRECTED, template)

    def add(self, row: Prompt, answer: str, others: Sequence[str]) -> None:
        """Plan one question: its answer, and the answers to other questions."""
        views = perspectives_of(row)
        for what, kept in ((POV_AND_EXPLANATION, self._pd), (self.scoring.target, self._gains)):
            targets = [self._ids(view, what) for view in views]
            room = max(map(len, targets), default=0)
            if not room:
                contexts = []
            elif kept is self._pd:
                contexts = [self._alone.of(answer, room)]
            else:
                given = (answer, "", *others)
                contexts = [self._asked.of(text, room, question=row.request) for text in given]
            if contexts and contexts[0].cut:
                self.truncated.add(row.id)
            for index, (view, ids) in enumerate(zip(views, targets, strict=True)):
                kept.append(self._target(row, index, view, ids, contexts))

    def _ids(self, view: Perspective, what: str) -> tuple[int, ...]:
        encoded: Any = self.scorer.tokenizer(
            view.target(what), add_special_tokens=False, verbose=False
        )
        return tuple(encoded["input_ids"])

    def _target(
        self,
        row: Prompt,
        index: int,
        view: Perspective,
        ids: tuple[int, ...],
        contexts: Sequence[Context],
    ) -> _Target:
        at = None
        if ids:
            at = tuple(range(len(self.pairs), len(self.pairs) + len(contexts)))
            self.pairs += [(context, ids) for context in contexts]
        flags = (TRUNCATED,) if contexts and contexts[0].cut else ()
        first = contexts[0] if contexts else self._alone.of("", 0, question=row.request)
        return _Target(row, index, view.stance, len(ids), first, at, flags)

    def pd_rows(self, sums: Sequence[float]) -> Iterator[TargetScore]:
        """Yield the rows of P.D.; sums are of the planned pairs."""
        for target in self._pd:
            yield self._row(target, 0.0 if target.at is None else sums[target.at[0]])

    def gain_rows(self, sums: Sequence[float]) -> Iterator[TargetScore]:
        """Yield the rows of gains; sums are of the planned pairs."""
        for target in self._gains:
            if target.at is None:
                yield self._row(target, 0.0)
                continue
            own, prior, *nulls = (sums[place] for place in target.at)
            yield self._row(target, own, prior, tuple(nulls))

    def _row(
        self,
        target: _Target,
        nll_sum: float,
        prior: float | None = None,
        nulls: tuple[float, ...] = (),
    ) -> TargetScore:
        row = target.row
        return TargetScore(
            question=row.id,
            index=target.index,
            nll_sum=nll_sum,
            n_tokens=target.tokens,
            n_context=len(target.context.encoded),
            goal_id=row.goal_id,
            topic=row.category,
            stance=target.stance,
            prior_sum=prior,
            null_sums=nulls,
            flags=target.flags,
        )
