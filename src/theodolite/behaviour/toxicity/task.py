"""The inspect task `theodolite/toxicity`: go on with a beginning, by one method.

inspect eval theodolite/toxicity --model theodolite/smollm2 --limit 20
inspect eval theodolite/toxicity --model theodolite/smollm2 -T method=pet_io -T k=3 -T n=5
inspect eval theodolite/toxicity --model openai/gpt-4o-mini -T source=rtp -T n=25 -T method=base
"""

from __future__ import annotations

from inspect_ai import Task, task
from inspect_ai.scorer import Metric, SampleScore, metric

from theodolite.behaviour.continuations import BASE, NO_SCORE
from theodolite.behaviour.continuing.asking import continuation_task
from theodolite.behaviour.continuing.inspect_scoring import (
    average,
    continuation_scores,
    listed,
    metrics_of,
    numbers_of,
    value_of,
)
from theodolite.behaviour.continuing.options import (
    BUNDLED,
    CAPS,
    TEMPERATURE,
    TOP_P,
    check_asking,
)
from theodolite.behaviour.continuing.scores import open_scorers
from theodolite.behaviour.toxicity import scoring
from theodolite.behaviour.toxicity.data import load_rows
from theodolite.behaviour.toxicity.options import CONCERN, KINDS, Options, check_tau
from theodolite.correction.perspective_taking.method import PAPER
from theodolite.correction.perspective_taking.solvers import READERS
from theodolite.correction.perspective_taking.wording import ENGLISH, PLAIN
from theodolite.judging.toxicity_registry import PROFANITY
from theodolite.providers.surface import one_sentence


@task
def toxicity(
    source: str = BUNDLED,
    split: str = "test",
    limit: int | None = None,
    method: str = BASE,
    n: int = 1,
    k: int = READERS,
    wording: str = PLAIN,
    protocol: str = PAPER,
    caps: str | list[int] = CAPS,
    temperature: float = TEMPERATURE,
    top_p: float = TOP_P,
    scorers: str | list[str] = PROFANITY,
    tool: str | None = None,
    tau: float = scoring.TAU,
    language: str = ENGLISH,
    seed: int = 0,
) -> Task:
    """Let a model go on with beginnings that can turn rude, and score how toxic it is.

    Args:
        source: `bundled`, `rtp` (official rows), or a file of prompts.
        split, limit: which of them, see `data.load_rows`.
        method: how it is asked and rewrites, e.g. `raw`, `base` or `pet_io`; each asks for its own
            original here. `theodolite eval toxicity` compares methods on the same originals.
        n: continuations of each prompt.
        k, wording, protocol, caps, temperature, top_p, tool, language: see `continuing.options`.
        scorers: by name, joined by commas.
        tau: a continuation is toxic where its score is above.
        seed: of sampling behind an API, and of the choice under a limit.
    """
    with one_sentence():
        options = Options(
            source=source, split=split, limit=limit, n=n, methods=method, k=k, wording=wording,
            protocol=protocol, caps=listed(caps), temperature=temperature, top_p=top_p,
            scorers=listed(scorers), tool=tool, tau=tau, language=language,
        )  # fmt: skip
        check_asking(options, CONCERN, alone=True)
        check_tau(options)
        opened = open_scorers(options, KINDS, seed=seed)
        return continuation_task(
            list(load_rows(source, split=split, limit=limit, seed=seed)),
            options.method_names[0],
            options,
            options.setting(CONCERN, seed=seed),
            name="toxicity",
            tool=opened.tool,
            scorer=continuation_scores(opened),
            metrics=metrics_of(opened, [emt(), tp(tau), tf(tau), average()]),
        )


@metric(scores="unreduced")
def emt() -> Metric:
    """Return the mean over prompts of the most toxic continuation's score."""

    def compute(scores: list[SampleScore]) -> float:
        return value_of(scoring.emt("emt", _samples(scores), scorer=""))

    return compute


@metric(scores="unreduced")
def tp(tau: float = scoring.TAU) -> Metric:
    """Return the share of prompts with a toxic continuation."""

    def compute(scores: list[SampleScore]) -> float:
        return value_of(scoring.tp("tp", _samples(scores), scorer="", tau=tau))

    return compute


@metric(scores="unreduced")
def tf(tau: float = scoring.TAU) -> Metric:
    """Return the share of toxic continuations."""

    def compute(scores: list[SampleScore]) -> float:
        return value_of(scoring.tf("tf", _samples(scores), scorer="", tau=tau))

    return compute


def _samples(scores: list[SampleScore]) -> list[scoring.Samples]:
    """Return the scores of each prompt."""
    found: dict[str, list[SampleScore]] = {}
    for one in scores:
        found.setdefault(str(one.sample_id), []).append(one)
    return [
        scoring.Samples(
            prompt,
            str((own[0].sample_metadata or {}).get("goal_id", prompt)),
            tuple(known := numbers_of(own)),
            (NO_SCORE,) * (len(own) - len(known)),
        )
        for prompt, own in found.items()
    ]
