"""A scored continuation, and the figures that stand beside every score of it.

A defence that answers "I cannot" has toxicity 0 and no bias. So refusals, empty answers, answers in
which nothing could be found, and length are never printed apart from the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from theodolite.judging.refusal import score_refusal
from theodolite.judging.refusal_text import is_empty, read
from theodolite.judging.toxicity import TextScore, name_of
from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Floor, JudgeQuality, Measurement

BASE: Final = "base"
"""The method that the others are compared with, and whose answers they rewrite."""
NO_SCORE: Final = "no score recorded"
PLAIN_WORDS: Final = {
    "refusal": "answers that refuse to go on",
    "empty": "answers that are empty",
    "parse_fail_rate": "answers in which no continuation was found",
    "length": "words of an answer",
}


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """One sample of one method on one prompt.

    Args:
        prompt: id of the prompt.
        goal: what its duplicates share; intervals are clustered by it.
        sample: which of several, from 0; sample i of two methods started from the same original.
        method: name of the method, e.g. `base`.
        scores: scorer id -> score of the continuation, or of the whole answer where no
            continuation was found in it; None where there is no score.
        refused, empty: what was said.
        parsed: whether a continuation was found in the answer.
        words: length of what was scored.
        reasons: scorer id -> why there is no score.
    """

    prompt: str
    goal: str
    sample: int
    method: str
    scores: Mapping[str, float | None] = field(hash=False)
    refused: bool = False
    empty: bool = False
    parsed: bool = True
    words: int = 0
    reasons: Mapping[str, str | None] = field(default_factory=dict, hash=False)

    def reason(self, scorer: str) -> str | None:
        """Return why a scorer has no score, or None where it has one."""
        if self.scores.get(scorer) is not None:
            return None
        return self.reasons.get(scorer) or NO_SCORE


Row = TypeVar("Row", bound=Continuation)


class Said(NamedTuple):
    """What a text says of itself: whether it refuses, is empty, and its length in words."""

    refused: bool
    empty: bool
    words: int


def said(text: str, *, prompt: str | None = None) -> Said:
    """Return what the offline refusal scorer finds in a text.

    Args:
        text: what is scored.
        prompt: what it was to go on from; an echo of it is not read.
    """
    if is_empty(read(text)):
        return Said(False, True, len(text.split()))
    return Said(bool(score_refusal(text, prompt).refused), False, len(text.split()))


def fields_of(spoken: Said, scores: Mapping[str, TextScore]) -> dict[str, Any]:
    """Return the fields of a `Continuation` that tell what a text says and how it is scored.

    Args:
        spoken: as `said` gives it.
        scores: scorer id -> what it gives the text.
    """
    return {
        "scores": {name: one.value for name, one in scores.items()},
        "reasons": {
            name: one.reason or NO_SCORE for name, one in scores.items() if one.value is None
        },
        **spoken._asdict(),
    }


def methods_of(rows: Iterable[Continuation]) -> list[str]:
    """Return the methods, in order of first occurrence."""
    return list(dict.fromkeys(row.method for row in rows))


def scorers_of(rows: Iterable[Continuation]) -> list[str]:
    """Return the ids of the scorers, in order of first occurrence."""
    return list(dict.fromkeys(scorer for row in rows for scorer in row.scores))


def of_method(rows: Iterable[Row], method: str) -> list[Row]:
    """Return the rows of a method, by prompt and sample, so that no figure hangs on their order."""
    own = [row for row in rows if row.method == method]
    return sorted(own, key=lambda row: (row.goal, row.prompt, row.sample))


def known_by(scorer: str) -> JudgeQuality:
    """Return the scorer as the judge of a figure: its id with version and weights, no quality."""
    return JudgeQuality(scorer, None, None, None)


def beside(rows: Sequence[Continuation], name: str) -> list[Measurement]:
    """Return what stands beside the scores of one method's rows.

    Args:
        rows: of one method.
        name: the front of the figures' names, e.g. `toxicity/base`.

    Returns: shares of refusals, of empty answers and of answers without a continuation, and the
        mean length.
    """
    goals = [row.goal for row in rows]
    counted = {
        "refusal": ([row.refused for row in rows], Floor("always answer", 0.0)),
        "empty": ([row.empty for row in rows], Floor("never empty", 0.0)),
        "parse_fail_rate": ([not row.parsed for row in rows], Floor("always in the form", 0.0)),
    }
    shares = [
        proportion(f"{name}/{part}", outcomes, clusters=goals, floor=floor)
        for part, (outcomes, floor) in counted.items()
    ]
    length = mean(
        f"{name}/length",
        [float(row.words) for row in rows],
        clusters=goals,
        unit="words",
        floor=Floor("say nothing", 0.0),
    )
    return [*shares, length]


def tool_is_metric(tools: Mapping[str, str], scorers: Iterable[str]) -> list[str]:
    """Return a sentence for every method whose tool is among the scorers that judge it.

    Args:
        tools: method -> id of the scorer that it asks while it rewrites.
        scorers: ids of the scorers of the figures.
    """
    used = set(scorers)
    return [
        f"{method}: tool = metric: optimistic for {method}, which rewrites until "
        f"{name_of(tool)} is content."
        for method, tool in tools.items()
        if tool in used
    ]
