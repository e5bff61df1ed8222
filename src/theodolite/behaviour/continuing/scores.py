"""Open the scorers that were named, and score every answer once under each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.options import Asking
from theodolite.errors import ConfigError
from theodolite.judging.toxicity import (
    Kind,
    TextScore,
    TextScorer,
    name_of,
    score_texts,
    short_names,
)
from theodolite.judging.toxicity_registry import CLASSIFIER, JUDGE, text_scorer

if TYPE_CHECKING:
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


@dataclass(frozen=True)
class Scorers:
    """The open scorers of an evaluation.

    Args:
        named: those whose figures are printed, at least one.
        tool: what methods ask while they rewrite; None where none does.
    """

    named: tuple[TextScorer, ...]
    tool: TextScorer | None = None

    @property
    def kinds(self) -> dict[str, Kind]:
        """Id -> kind."""
        return {one.id: one.kind for one in self.named}

    @property
    def short(self) -> dict[str, str]:
        """Id -> the name that figures bear."""
        return short_names(one.id for one in self.named)

    @property
    def first(self) -> TextScorer:
        """The one that decides where a single one must."""
        return self.named[0]

    def _repr_params_(self) -> dict[str, Any]:
        """Return what an inspect log shows of this."""
        return {"named": list(self.kinds), "tool": self.tool and self.tool.id}

    def limits(self) -> list[str]:
        """Return what each does not see."""
        return [f"{name_of(one.id)}: {one.blind_spots}" for one in self.named]


@dataclass(frozen=True)
class Scored:
    """Answers with their scores, in one order.

    Args:
        answers: of all methods.
        scores: scorer id -> the score of each answer.
    """

    answers: Sequence[Answer]
    scores: Mapping[str, Sequence[TextScore]] = field(hash=False)

    def of(self, place: int) -> dict[str, TextScore]:
        """Return what each scorer gives an answer."""
        return {name: own[place] for name, own in self.scores.items()}


def open_scorers(
    options: Asking,
    kinds: Sequence[Kind],
    *,
    judge: str | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Scorers:
    """Open the scorers that were named, and the tool where a method asks one.

    Args:
        options: checked, but for the names of scorers.
        kinds: what scorers the benchmark can use.
        judge: an inspect model that scores too.
        seed, journal, progress: of judges.

    Raises:
        ConfigError: a name is unknown, named twice, or of a kind that says nothing here.
        ScorerUnavailable: a scorer lacks its package, weights or key; says how to get them.
    """
    names = [*options.scorer_names, *([] if judge is None else [f"{JUDGE}{judge}"])]
    opened = {}
    for name in dict.fromkeys([*names, *_tool(options)]):
        opened[name] = text_scorer(name, seed=seed, journal=journal, progress=progress)
        if name in names:
            _check_kind(opened[name], kinds)
    found = Scorers(
        tuple(opened[name] for name in names), next((opened[n] for n in _tool(options)), None)
    )
    if len({one.id for one in found.named}) < len(names):
        raise ConfigError("A scorer is named twice.", fix="Name each of them once.")
    return found


def check_scorers(options: Asking, kinds: Sequence[Kind]) -> None:
    """Open those scorers that open at once, so that a missing package is told at the beginning.

    Raises: as `open_scorers`.
    """
    for name in dict.fromkeys([*options.scorer_names, *_tool(options)]):
        if not name.startswith((CLASSIFIER, JUDGE)):
            scorer = text_scorer(name)
            if name in options.scorer_names:
                _check_kind(scorer, kinds)


def score_all(answers: Sequence[Answer], scorers: Sequence[TextScorer]) -> Scored:
    """Return the answers with their scores; equal texts are scored once, empty ones not at all.

    Args:
        scorers: those that give every text one number.

    Raises: as `score_texts`.
    """
    texts = [answer.text for answer in answers]
    return Scored(answers, {one.id: score_texts(one, texts) for one in scorers})


def tools_of(answers: Sequence[Answer]) -> dict[str, str]:
    """Return method -> id of the scorer that it asked while it rewrote."""
    found: dict[str, str] = {}
    for answer in answers:
        for tool in answer.record.get("facts", {}).get("tools", ()):
            found.setdefault(answer.method, tool)
    return found


def _tool(options: Asking) -> tuple[str, ...]:
    """Return the name of the tool, where a method asks one."""
    if not options.needs_tool:
        return ()
    return (options.tool or options.scorer_names[0],)


def _check_kind(scorer: TextScorer, kinds: Sequence[Kind]) -> None:
    if scorer.kind not in kinds:
        raise ConfigError(
            f"The scorer {name_of(scorer.id)} is of the kind {scorer.kind}, which says nothing "
            "here.",
            fix=f"Use one of the kind {' or '.join(kinds)}.",
        )
