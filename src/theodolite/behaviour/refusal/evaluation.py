"""Ask a model, or read answers made elsewhere, and say what they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.refusal import responses, scoring
from theodolite.behaviour.refusal.data import load_requests
from theodolite.behaviour.refusal.judged import judge_quality
from theodolite.behaviour.refusal.prompts import system_prompt
from theodolite.behaviour.refusal.task import MAX_TOKENS, items_of, refusal_task
from theodolite.data.prompts import PromptSet
from theodolite.errors import ConfigError, DataError
from theodolite.judging.offline_quality import offline_quality
from theodolite.measure.measurement import Measurement
from theodolite.providers.evaluate import evaluate as run_task
from theodolite.providers.log_samples import samples_of
from theodolite.runs.figures import grouped_rates, interval_bars
from theodolite.runs.panel import Figure, PanelResult, Progress, Sample
from theodolite.runs.run import Run

VERSION: Final = scoring.METHOD_VERSION


@dataclass(frozen=True)
class Options:
    """What `theodolite eval refusal` can be asked; see the task of the same name."""

    source: str = "bundled"
    split: str = "test"
    styles: str = "plain"
    system: str = "none"
    limit: int | None = None
    max_tokens: int = MAX_TOKENS


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        DataError: the source, split, styles, limit, system prompt or length is wrong.
    """
    system_prompt(options.system)
    if options.max_tokens < 1:
        raise DataError(
            f"task.max_tokens is {options.max_tokens}, which leaves no room for an answer.",
            fix="Give 1 or more.",
        )
    requests_of(options, seed)


def requests_of(options: Options, seed: int) -> PromptSet:
    """Return the requests that were asked for."""
    return load_requests(
        options.source,
        split=options.split,
        styles=options.styles,
        limit=options.limit,
        seed=seed,
    )


def evaluate(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Ask the model and score its answers.

    Args:
        model: an open handle, a reference, or an inspect model.

    Raises:
        TheodoliteError: as `check`.
    """
    check(options, seed=seed)
    return ask(
        requests_of(options, seed),
        model,
        run=run,
        system=options.system,
        max_tokens=options.max_tokens,
        seed=seed,
        judge=judge,
        progress=progress,
    )


def ask(
    prompts: PromptSet,
    model: Any,
    *,
    run: Run,
    name: str = "refusal",
    groups: Sequence[str] = scoring.GROUPS,
    system: str = "none",
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
    judge: Any = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Ask labelled requests and return figures, tables and samples.

    Args:
        name, groups: as for `scoring.measurements`; tables are named after the last part.
        system: a system prompt by name.
        judge: an inspect model (or its name) that judges; the offline scorer where None.

    Raises:
        JudgeError: the judge is down or failed its canaries; nothing was asked then.
    """
    if judge is None:
        quality = offline_quality()
    else:
        quality = judge_quality(judge, seed=seed)
    log = run_task(
        refusal_task(prompts, system=system, max_tokens=max_tokens),
        model,
        run=run,
        seed=seed,
        judge=judge,
        progress=progress,
    )
    items = items_of(log)
    found = scoring.measurements(items, name=name, groups=groups, judge=quality, seed=seed)
    return PanelResult(
        measurements=found,
        tables=scoring.tables(items, name=name, groups=groups),
        figures=figures(items, found, name, groups),
        samples=[
            Sample(
                id=item.id,
                label=item.verdict or "not scored",
                harmful=item.label == "harmful",
                prompt=prompts[str(sample.id)].request,
                completion=sample.output.completion,
                meta={"style": item.style, "category": item.category, "form": item.form},
            )
            for item, sample in zip(items, samples_of(log), strict=True)
        ],
        findings=findings(found, name),
        limits=limits(max_tokens),
        how=[
            f"{len(prompts)} requests ({prompts.source}), system prompt: {system}; greedy "
            f"decoding, at most {max_tokens} tokens, seed {seed}; scored by the {quality.name}."
        ],
        labels=scoring.labels(name),
    )


def score_responses(
    path: Path,
    options: Options,
    *,
    seed: int = 0,
    judge: str | None = None,
) -> PanelResult:
    """Score answers made elsewhere; see `responses.py` for the columns.

    Raises:
        ConfigError: an option is given that says what to ask.
    """
    if options != Options():
        raise ConfigError(
            "The task options (-T) say what to ask, and these answers were made elsewhere.",
            fix="Leave them out, or leave --responses out.",
        )
    check(options)
    found, tables = responses.score_responses(path, seed=seed, judge=judge)
    scorer = judge or "the offline scorer"
    return PanelResult(
        measurements=found,
        tables=tables,
        findings=findings(found, "refusal"),
        limits=[LIMITS[0]],
        how=[f"{len(tables['scores'])} answers of {path.name}, scored by {scorer}."],
        labels=scoring.labels(),
    )


LIMITS: Final = (
    "The scorer reads the answer's words: an answer that neither refuses nor helps counts as "
    "compliance.",
    "The bundled requests are short, generic and in English; refusal of other requests may differ.",
)


def limits(max_tokens: int) -> list[str]:
    """Return what these figures do not show."""
    cut = f"Answers are cut at {max_tokens} tokens, so a refusal that comes later is not seen."
    return [*LIMITS, cut]


def findings(found: Sequence[Measurement], name: str) -> list[str]:
    """Say the headline in words: both rates, and whether the gap clears its floor."""
    by_name = {measurement.name: measurement for measurement in found}
    harmful, benign, gap = (by_name.get(f"{name}/{n}") for n in ("harmful", "benign", "gap"))
    if not (harmful and benign and gap and gap.value is not None):
        return []
    said = (
        f"It refuses {harmful.value:.0%} of {harmful.n} harmful requests and {benign.value:.0%} of "
        f"{benign.n} benign requests that look like them."
    )
    if gap.low is not None and gap.low > 0:
        return [
            said,
            f"It refuses harmful requests {gap.value * 100:.0f} points more often than benign ones "
            f"(at least {gap.low * 100:.0f} at {gap.level:.0%} confidence).",
        ]
    return [
        said,
        "That it treats the two differently is not shown: refusing everything or nothing gives a "
        "difference of 0, which this does not exceed clearly.",
    ]


def figures(
    items: Sequence[scoring.Item],
    found: Sequence[Measurement],
    name: str,
    groups: Sequence[str],
) -> list[Figure]:
    """Return the headline and one figure per field that splits the items."""
    short = name.rsplit("/", 1)[-1]
    wanted = [f"{name}/{part}" for part in ("harmful", "benign", "gap")]
    rows = [m for m in found if m.name in wanted and m.value is not None]
    headline = Figure(
        name=f"{short}_headline",
        title="Refusal of harmful requests, and of benign ones that look like them",
        caption="Bare requests with 95 % intervals; grey ticks are what a constant strategy gets. "
        "Only the gap cannot be had by refusing or answering everything.",
        spec=interval_bars(rows, axis_title="refused", value_range=(-0.25, 1.0)),
        table=f"{short}_items",
    )
    split = [
        field for field in groups if len(scoring.distinct(getattr(i, field) for i in items)) > 1
    ]
    return [headline, *(_by_field(items, field, short) for field in split)]


def _by_field(items: Sequence[scoring.Item], field: str, short: str) -> Figure:
    members = items if field == "style" else scoring.bare_items(items)
    values = scoring.distinct(getattr(item, field) for item in members)
    series: dict[str, Any] = {
        label: [
            scoring.rate(value, [i for i in own if getattr(i, field) == value], label)
            for value in values
        ]
        for label in scoring.LABELS
        if (own := scoring.of(members, label))
    }
    return Figure(
        name=f"{short}_by_{field}",
        title=f"Refusal by {field}",
        caption=CAPTIONS[field],
        spec=grouped_rates(values, series, axis_title="refused"),
        table=f"{short}_by_{field}",
    )


CAPTIONS: Final = {
    "style": "A style that lowers refusal of harmful requests is a way around it; one that raises "
    "refusal of benign requests alarms the model by its form alone.",
    "form": "The same goals, put as a command or as a question.",
    "category": "What the request is about; few items each, so read the intervals.",
}
