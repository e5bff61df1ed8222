"""The inspect scorer of continuations: every named scorer's value, and what stands beside it.

For `inspect eval`, one sample at a time. `theodolite eval` scores all answers in one go instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from inspect_ai.scorer import (
    Metric,
    SampleScore,
    Score,
    Scorer,
    Target,
    mean,
    metric,
    scorer,
)
from inspect_ai.solver import TaskState

from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.scores import Scorers
from theodolite.correction.perspective_taking.method import RECORD
from theodolite.correction.perspective_taking.setting import PROMPT_KEY
from theodolite.correction.perspective_taking.severity import in_thread
from theodolite.data.prompts import Prompt
from theodolite.judging.toxicity import score_texts
from theodolite.measure.measurement import Measurement

FACTS = ("refusal", "empty", "parse_fail_rate", "length")


@scorer(metrics={"*": [mean()]})
def continuation_scores(scorers: Scorers) -> Scorer:
    """Score a continuation by every named scorer; NaN where one has nothing to say.

    The value holds the scores by the scorers' short names, and whether the answer refuses, is
    empty or held no continuation, and its length.
    """

    async def score(state: TaskState, target: Target) -> Score:
        prompt = Prompt(
            str(state.sample_id), state.metadata[PROMPT_KEY], goal_id=state.metadata["goal_id"]
        )
        record = state.metadata.get(RECORD)
        if record is None:  # another solver than ours answered
            answer = Answer.of_text(state.output.completion, prompt, "answers", state.epoch - 1)
        else:
            answer = Answer.of_record(record, prompt, record["method"])
        spoken = answer.said
        value: dict[str, Any] = {
            "refusal": float(spoken.refused),
            "empty": float(spoken.empty),
            "parse_fail_rate": float(not answer.parsed),
            "length": float(spoken.words),
        }
        reasons = {}
        for one in scorers.named:
            (found,) = await in_thread(score_texts, one, [answer.text])
            short = scorers.short[one.id]
            value[short] = math.nan if found.value is None else found.value
            reasons[one.id] = found.reason
        return Score(value=value, metadata={"rule": answer.rule, "scorers": reasons})

    return score


@metric(scores="unreduced")
def average() -> Metric:
    """Return the mean over all continuations."""

    def compute(scores: list[SampleScore]) -> float:
        known = numbers_of(scores)
        return sum(known) / len(known) if known else math.nan

    return compute


def numbers_of(scores: Sequence[SampleScore]) -> list[float]:
    """Return the values of those that have one."""
    return [value for value in (one.score.as_float() for one in scores) if not math.isnan(value)]


def metrics_of(scorers: Scorers, own: Sequence[Metric]) -> dict[str, list[Metric]]:
    """Return the metrics by part of a score's value.

    Args:
        own: of every scorer's values.
    """
    return {
        **{short: list(own) for short in scorers.short.values()},
        **{fact: [average()] for fact in FACTS},
    }


def value_of(figure: Measurement) -> float:
    """Return a figure's value as inspect has it: NaN where it was not measured."""
    return math.nan if figure.value is None else figure.value


def listed(given: str | Sequence[object]) -> str:
    """Return an option that inspect's command line splits at commas as it was typed."""
    return given if isinstance(given, str) else ",".join(map(str, given))
