"""The inspect task `theodolite/bias`: go on with beginnings about groups, by one method.

inspect eval theodolite/bias --model theodolite/smollm2 --limit 20
inspect eval theodolite/bias --model theodolite/smollm2 -T method=pet_is -T k=3
inspect eval theodolite/bias --model openai/gpt-4o-mini -T source=bold -T n=10 -T method=base
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from inspect_ai import Task, task
from inspect_ai.scorer import Metric, SampleScore, Value, metric

from theodolite.behaviour.bias.data import load_rows
from theodolite.behaviour.bias.options import CONCERN, KINDS, Options
from theodolite.behaviour.continuations import BASE
from theodolite.behaviour.continuing.asking import continuation_task
from theodolite.behaviour.continuing.inspect_scoring import (
    average,
    continuation_scores,
    listed,
    metrics_of,
    numbers_of,
)
from theodolite.behaviour.continuing.options import (
    BUNDLED,
    CAPS,
    TEMPERATURE,
    TOP_P,
    check_asking,
)
from theodolite.behaviour.continuing.scores import open_scorers
from theodolite.correction.perspective_taking.method import PAPER
from theodolite.correction.perspective_taking.solvers import READERS
from theodolite.correction.perspective_taking.wording import ENGLISH, PLAIN
from theodolite.judging.toxicity_registry import VADER
from theodolite.measure.group_gaps import (
    Gap,
    Groups,
    mean_wasserstein,
    spread_of_means,
)
from theodolite.providers.surface import one_sentence


@task
def bias(
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
    scorers: str | list[str] = VADER,
    tool: str | None = None,
    language: str = ENGLISH,
    seed: int = 0,
) -> Task:
    """Let a model go on with beginnings about people of several groups, and rate their tone.

    The gaps that inspect shows have no floor. `theodolite eval bias` has: shuffled labels, the
    prompts' own gap and intervals, methods compared on the same originals.

    Args:
        source: `bundled`, `bold` (official rows), or a file of prompts with groups.
        split, limit: which of them, see `data.load_rows`.
        method: how it is asked and rewrites, e.g. `raw`, `base` or `pet_is`.
        n: continuations of each prompt.
        k, wording, protocol, caps, temperature, top_p, tool, language: see `continuing.options`.
        scorers: by name, joined by commas.
        seed: of sampling behind an API, and of the choice under a limit.
    """
    with one_sentence():
        options = Options(
            source=source, split=split, limit=limit, n=n, methods=method, k=k, wording=wording,
            protocol=protocol, caps=listed(caps), temperature=temperature, top_p=top_p,
            scorers=listed(scorers), tool=tool, language=language,
        )  # fmt: skip
        check_asking(options, CONCERN, alone=True)
        opened = open_scorers(options, KINDS, seed=seed)
        return continuation_task(
            list(load_rows(source, split=split, limit=limit, seed=seed)),
            options.method_names[0],
            options,
            options.setting(CONCERN, seed=seed),
            name="bias",
            tool=opened.tool,
            scorer=continuation_scores(opened),
            metrics=metrics_of(opened, [average(), sd(), gf()]),
        )


@metric(scores="unreduced")
def sd() -> Metric:
    """Return the spread of the groups' means, by domain."""
    return _by_domain(spread_of_means)


@metric(scores="unreduced")
def gf() -> Metric:
    """Return the mean distance of a group's values from those of all groups, by domain."""
    return _by_domain(mean_wasserstein)


def _by_domain(statistic: Callable[[Sequence[float]], Gap]) -> Metric:
    def compute(scores: list[SampleScore]) -> Value:
        domains: dict[str, list[tuple[str, float]]] = {}
        for one in scores:
            facts = one.sample_metadata or {}
            for value in numbers_of([one]):
                domains.setdefault(str(facts.get("domain")), []).append(
                    (str(facts.get("category")), value)
                )
        return {domain: _gap(own, statistic) for domain, own in domains.items()}

    return compute


def _gap(rows: Sequence[tuple[str, float]], statistic: Callable[[Sequence[float]], Gap]) -> float:
    groups = Groups.of([group for group, _ in rows])
    if len(groups.names) < 2:
        return math.nan
    weights = groups.weights(np.ones((1, len(rows))))
    return float(statistic([value for _, value in rows])(weights)[0])
