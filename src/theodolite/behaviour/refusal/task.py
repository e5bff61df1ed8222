"""The inspect task `theodolite/refusal`: ask once, score the answer, report the rates by label.

inspect eval theodolite/refusal --model theodolite/smollm2 --limit 20
inspect eval theodolite/refusal --model openai/gpt-4o-mini -T styles=benchmark
inspect eval theodolite/refusal --model theodolite/smollm2 -T source=xstest
"""

from __future__ import annotations

import math
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
)
from inspect_ai.scorer import Metric, SampleScore, Scorer, metric, scorer
from inspect_ai.solver import generate

from theodolite.behaviour.refusal.data import form_of, load_requests
from theodolite.behaviour.refusal.prompts import system_prompt
from theodolite.behaviour.refusal.scoring import METHOD_VERSION, Item
from theodolite.data.prompts import Prompt, PromptSet
from theodolite.judging.refusal_judge import refusal_scorer
from theodolite.providers.log_samples import samples_of
from theodolite.providers.surface import one_sentence

MAX_TOKENS = 48
MAX_CONNECTIONS = 64
FIELDS = ("label", "style", "category", "form", "goal_id", "pair_id")


@task
def refusal(
    split: str = "test",
    styles: str | list[str] = "plain",
    source: str = "bundled",
    system: str = "none",
    limit: int | None = None,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
) -> Task:
    """Measure how often harmful requests and their benign twins are refused.

    Args:
        split: of the bundled set: train, val, test or all.
        styles: `plain`, `benchmark`, `held_out`, `pressure`, `all`, or names joined by commas.
        source: `bundled`, `xstest`, or a file of labelled requests.
        system: a system prompt by name: none, helpful, guarded.
        limit: the first so many requests, twins together, before styles.
        seed: of the order of the requests.
        max_tokens: length of an answer; a refusal shows itself early.
    """
    with one_sentence():
        prompts = load_requests(source, split=split, styles=styles, limit=limit, seed=seed)
        return refusal_task(prompts, system=system, max_tokens=max_tokens)


def refusal_task(prompts: PromptSet, *, system: str = "none", max_tokens: int = MAX_TOKENS) -> Task:
    """Return the task on any labelled requests; arguments as for `refusal`."""
    words = system_prompt(system)
    return Task(
        dataset=MemoryDataset([to_sample(prompt, words) for prompt in prompts], name=prompts.name),
        solver=generate(),
        scorer=refusal_verdict(),
        # Set here because inspect's adaptive concurrency would start with 20 requests.
        config=GenerateConfig(max_tokens=max_tokens, max_connections=MAX_CONNECTIONS),
        version=METHOD_VERSION,
        metadata={"requests": prompts.source, "fingerprint": prompts.fingerprint},
        name="refusal",
    )


def to_sample(prompt: Prompt, system: str | None = None) -> Sample:
    """Return the inspect sample of a request, with all its turns."""
    roles = {
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
        "system": ChatMessageSystem,
    }
    turns: list[ChatMessage] = [ChatMessageSystem(content=system)] if system else []
    turns += [roles[turn["role"]](content=turn["content"]) for turn in prompt.as_messages()]
    return Sample(
        id=prompt.id,
        input=turns,
        target=prompt.label or "",
        metadata={
            "label": prompt.label,
            "style": prompt.style or "plain",
            "category": prompt.category,
            "form": form_of(prompt),
            "goal_id": prompt.goal_id,
            "pair_id": prompt.pair_id,
        },
    )


@metric
def harmful_refused() -> Metric:
    """Return the share of harmful requests that were refused; always refusing reaches 1."""

    def compute(scores: list[SampleScore]) -> float:
        return _share(scores, "harmful")

    return compute


@metric
def benign_refused() -> Metric:
    """Return the share of benign requests that were refused; always answering reaches 0."""

    def compute(scores: list[SampleScore]) -> float:
        return _share(scores, "benign")

    return compute


@metric
def gap() -> Metric:
    """Return harmful refused minus benign refused; every constant strategy reaches 0."""

    def compute(scores: list[SampleScore]) -> float:
        return _share(scores, "harmful") - _share(scores, "benign")

    return compute


def _share(scores: list[SampleScore], label: str) -> float:
    """Return the refused share of one label; NaN, which inspect shows as missing, without items."""
    values = [s.score.as_float() for s in scores if (s.sample_metadata or {}).get("label") == label]
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


@scorer(metrics=[harmful_refused(), benign_refused(), gap()])
def refusal_verdict(seed: int = 0) -> Scorer:
    """Score 1 where the answer refuses at least in part, else 0.

    The model in the role `judge` decides where there is one (`--model-role judge=...`), else the
    offline scorer.
    """
    return refusal_scorer(seed=seed)


def items_of(log: EvalLog) -> list[Item]:
    """Return the scored items of a log; a sample that failed is an item without a verdict."""
    return [_item(sample) for sample in samples_of(log)]


def _item(sample: EvalSample) -> Item:
    facts: dict[str, Any] = {name: (sample.metadata or {}).get(name) for name in FIELDS}
    score = (sample.scores or {}).get("refusal_verdict")
    facts["sample"] = sample.epoch - 1
    if score is None:
        return Item(str(sample.id), verdict=None, reason="the sample failed", **facts)
    if math.isnan(score.as_float()):
        return Item(str(sample.id), verdict=None, reason=score.reason or "no verdict", **facts)
    notes = score.metadata or {}
    return Item(
        str(sample.id),
        verdict=score.answer,
        confidence=notes.get("confidence"),
        scorer=notes.get("scorer", ""),
        **facts,
    )
