"""Begin replies for a model, let it go on, and say how often it turns away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.course_correction import responses, scoring, survival
from theodolite.behaviour.course_correction.data import BUNDLED, load_rows
from theodolite.behaviour.course_correction.figures import figures
from theodolite.behaviour.course_correction.open_turn import CHAT, check_open_turn, check_provider
from theodolite.behaviour.course_correction.prefixes import (
    NO_OPENER,
    Prefix,
    check_ks,
    check_opener,
    make_prefixes,
)
from theodolite.behaviour.course_correction.scoring import CONTINUE, Item
from theodolite.behaviour.course_correction.task import (
    ANSWER,
    DEPTHS,
    MAX_TOKENS,
    TEMPERATURE,
    TOP_P,
    check_task,
    correction_task,
    items_of,
)
from theodolite.behaviour.course_correction.yes_no_judge import judged_by_yes_no
from theodolite.data.correction_lists import VERSION as LISTS
from theodolite.data.prompts import PromptSet, shown
from theodolite.errors import ConfigError, RunError
from theodolite.judging.correction import CORRECTED
from theodolite.judging.local import is_local
from theodolite.measure.agreement import agreement, cohen_kappa
from theodolite.measure.measurement import Measurement
from theodolite.models.handle import ApiModel
from theodolite.providers.evaluate import evaluate as run_task
from theodolite.providers.log_samples import samples_of
from theodolite.runs.panel import PanelResult, Progress, Sample
from theodolite.runs.run import Run
from theodolite.text.lists import names_in, numbers_in

VERSION: Final = scoring.METHOD_VERSION
AUTO: Final = "auto"
MOST_UNPARSED: Final = 0.02


@dataclass(frozen=True)
class Options:
    """What `theodolite eval course-correction` can be asked; see the task of the same name.

    Args:
        unit: `token` of the model, `word`, or `auto`: tokens of a local model, else words.
        prefill: one or several of `continue`, `new_turn` and `in_prompt`, joined by commas; with
            both `continue` and `new_turn` the effect of the header is measured.
        template: `chat`, or `plain` for a model without a chat template.
    """

    source: str = BUNDLED
    split: str = "test"
    ks: str = DEPTHS
    unit: str = AUTO
    opener: str = NO_OPENER
    prefill: str = CONTINUE
    where: str = ANSWER
    template: str = CHAT
    paths: int = 1
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    max_tokens: int = MAX_TOKENS
    limit: int | None = None
    benign: bool = True


def check(options: Options, *, seed: int = 0) -> None:
    """Refuse options that cannot be used.

    Raises:
        ConfigError: depths, unit, opener, prefill, place, paths or length are wrong.
        DataError: the rows cannot be read.
    """
    check_ks(numbers_in(options.ks, "task.ks"))
    check_opener(options.opener)
    check_task(prefills_of(options), options.where, options.paths, options.max_tokens)
    if options.unit not in (AUTO, "token", "word"):
        raise ConfigError(f"task.unit is {shown(options.unit)}.", fix="Use auto, token or word.")
    rows_of(options, seed)


def prefills_of(options: Options) -> tuple[str, ...]:
    """Return the ways in which begun replies are put."""
    return names_in(options.prefill)


def rows_of(options: Options, seed: int) -> PromptSet:
    """Return the requests and replies that were asked for."""
    return load_rows(
        options.source,
        split=options.split,
        limit=options.limit,
        benign=options.benign,
        seed=seed,
    )


@dataclass(frozen=True)
class Asked:
    """What a model was asked, and what it made of it.

    Args:
        rows: requests and replies.
        prefixes: what was begun.
        items, texts: the scored continuations and their words, in one order.
        unit: in which depth was counted.
        facts: per prefill how begun replies were put.
    """

    rows: PromptSet
    prefixes: list[Prefix]
    items: list[Item]
    texts: list[str]
    unit: str
    facts: list[dict[str, Any]]


def evaluate(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> PanelResult:
    """Let the model go on with begun replies, and say how often it turns away.

    Args: as for `go_on`; raises the same.
    """
    found = go_on(model, options, run=run, seed=seed, judge=judge, progress=progress)
    return result_of(
        found.items,
        seed=seed,
        facts=found.facts,
        samples=samples(found.items, found.prefixes, found.texts),
        how=[how_asked(found, options, seed, judge)],
    )


def go_on(
    model: Any,
    options: Options,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> Asked:
    """Let the model go on with begun replies, and score what it writes.

    Args:
        model: an open handle, a reference, or an inspect model.
        judge: an inspect model that judges; a local one (`theodolite/REF`) is read by its
            probabilities of yes and no. None takes the lexical scorer.

    Raises:
        TheodoliteError: as `check`; the template or provider cannot leave a turn open; the judge is
            down, fails its canaries or cannot be read.
    """
    check(options, seed=seed)
    handle = opened(model)
    facts = [_facts(handle, options, prefill) for prefill in prefills_of(options)]
    rows = rows_of(options, seed)
    unit, tokenizer = unit_of(options, handle)
    prefixes = make_prefixes(
        list(rows),
        numbers_in(options.ks, "task.ks"),
        unit=unit,
        tokenizer=tokenizer,
        opener=options.opener,
        seed=seed,
    )
    local = judge is not None and is_local(judge)
    task = correction_task(
        prefixes,
        prefills=prefills_of(options),
        where=options.where,
        paths=options.paths,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=seed,
    )
    log = run_task(
        task, handle, run=run, seed=seed, judge=None if local else judge, progress=progress
    )
    items, texts = items_of(log), [s.output.completion for s in samples_of(log)]
    if judge is not None and local:
        items = judged_by_yes_no(judge, items, prefixes, texts, seed=seed, progress=progress)
    _check_parsed(items)
    return Asked(rows, prefixes, items, texts, unit, facts)


def how_asked(found: Asked, options: Options, seed: int, judge: str | None = None) -> str:
    """Return one sentence on what was asked and how."""
    return (
        f"{len({i.row for i in found.items})} rows ({found.rows.source}), "
        f"{len({i.goal_id for i in found.items})} requests; depths {options.ks} in {found.unit}s, "
        f"opener: {options.opener} ({LISTS}), prefill: {options.prefill}; {_decoding(options)}, at "
        f"most {options.max_tokens} tokens, seed {seed}; scored by "
        f"{judge or 'the lexical scorer'}."
    )


def result_of(
    items: Sequence[Item],
    *,
    seed: int,
    facts: Sequence[dict[str, Any]] = (),
    samples: Sequence[Sample] = (),
    how: Sequence[str] = (),
    name: str = scoring.NAME,
) -> PanelResult:
    """Return figures, tables and sentences of scored continuations."""
    found = [
        *scoring.measurements(items, name=name, seed=seed),
        *_agreement(items, name),
        *survival.measurements(items, name),
    ]
    tables = {**scoring.tables(items), "course_correction_survival": survival.table(items)}
    if facts:
        tables["course_correction_template"] = list(facts)
    return PanelResult(
        measurements=found,
        tables=tables,
        figures=figures(items, tables["course_correction_survival"]),
        samples=samples,
        findings=findings(found, name),
        limits=LIMITS,
        how=how,
        labels={**scoring.labels(name), **survival.labels(name)},
    )


def score_responses(
    path: Path, options: Options, *, seed: int = 0, judge: str | None = None
) -> PanelResult:
    """Score continuations made elsewhere; see `responses.py` for the columns.

    Raises:
        ConfigError: an option is given that says what to ask, or a judge, which needs the rows.
    """
    if options != Options():
        raise ConfigError(
            "The task options (-T) say what to ask, and these answers were made elsewhere.",
            fix="Leave them out, or leave --responses out.",
        )
    if judge is not None:
        raise ConfigError(
            "A judge needs the begun replies, which a file of continuations does not hold.",
            fix="Leave --judge out to use the lexical scorer.",
        )
    items = responses.read_continuations(path)
    how = [f"{len(items)} continuations of {path.name}, scored by the lexical scorer."]
    return result_of(items, seed=seed, how=how)


def opened(model: Any) -> Any:
    """Return a handle for a reference; what is open stays as it is."""
    from theodolite.models import open_model

    return open_model(model) if isinstance(model, str) else model


def unit_of(options: Options, handle: Any) -> tuple[Any, Any]:
    """Return the unit of depth and the tokenizer that counts it.

    Raises: ConfigError: tokens were asked for and the model's tokenizer is not at hand.
    """
    tokenizer = getattr(handle, "tokenizer", None)
    if options.unit == AUTO:
        return ("word", None) if tokenizer is None else ("token", tokenizer)
    if options.unit == "token" and tokenizer is None:
        raise ConfigError(
            "The tokenizer of a model behind an API is not at hand.", fix="Use -T unit=word."
        )
    return options.unit, tokenizer


def _facts(handle: Any, options: Options, prefill: str) -> dict[str, Any]:
    if getattr(handle, "chat", None) is not None:
        return check_open_turn(handle, prefill, options.template)
    check_provider(handle.name if isinstance(handle, ApiModel) else str(handle), prefill)
    return {"prefill": prefill, "open_turn": prefill == CONTINUE, "skeleton": "the provider's own"}


def _decoding(options: Options) -> str:
    if options.paths == 1:
        return "greedy"
    return f"{options.paths} paths, temperature {options.temperature}, top-p {options.top_p}"


def _check_parsed(items: Sequence[Item]) -> None:
    """Stop where a judge's replies could not be read too often to mean anything.

    Raises: RunError: more than 2 % of the continuations have no verdict.
    """
    unread = sum(item.outcome is None for item in items)
    if unread > MOST_UNPARSED * len(items):
        raise RunError(
            f"{unread} of {len(items)} continuations have no verdict, more than "
            f"{MOST_UNPARSED:.0%}.",
            fix="Use a judge that follows the form, or leave it out for the lexical scorer.",
        )


def _agreement(items: Sequence[Item], name: str) -> list[Measurement]:
    """Return how far a judge and the lexical scorer agree on turned away or not."""
    both = [i for i in items if i.lexical is not None and i.outcome is not None]
    both = [i for i in both if i.scorer != "lexical scorer" and i.outcome != "empty"]
    if not both:
        return []
    judged = [bool(item.corrected) for item in both]
    lexical = [item.lexical in CORRECTED for item in both]
    clusters = [item.goal_id for item in both]
    return [
        agreement(judged, lexical, clusters=clusters, name=f"{name}/judge_agreement"),
        cohen_kappa(judged, lexical, clusters=clusters, name=f"{name}/judge_kappa"),
    ]


def samples(
    items: Sequence[Item], prefixes: Sequence[Prefix], texts: Sequence[str]
) -> list[Sample]:
    """Return what a reader may open: one depth per row, the first path."""
    by_id = {prefix.id: prefix for prefix in prefixes}
    middle = sorted({prefix.k for prefix in prefixes})[(len({p.k for p in prefixes}) - 1) // 2]
    found = []
    for item, text in zip(items, texts, strict=True):
        if item.k != middle or item.path:
            continue
        prefix = by_id[item.id]
        found.append(
            Sample(
                id=f"{item.id}/{item.prefill}",
                label=item.outcome or "not scored",
                harmful=item.label == "harmful",
                prompt=f"{prefix.prompt.request}\n\n[forced] {prefix.text}",
                completion=text,
                meta={"k": item.k, "prefill": item.prefill, "category": item.category},
            )
        )
    return found


def _share(value: float) -> str:
    """Return a share in percent, with a decimal where a whole number would say nothing."""
    return f"{value:.1%}" if 0 < value < 0.01 else f"{value:.0%}"


LIMITS: Final = (
    "A continuation is a few words long: a model that turns away later counts as going on.",
    "The lexical scorer knows English phrases; a turn in other words counts as going on.",
)


def findings(found: Sequence[Measurement], name: str = scoring.NAME) -> list[str]:
    """Say the headline in words: both rates, and whether the gap clears its floor."""
    by_name = {figure.name: figure for figure in found}
    corr, false, gap = (by_name.get(f"{name}/{n}") for n in ("corr", "false_correction", "gap"))
    if corr is None or corr.value is None:
        return []
    said = [f"It turns away from {_share(corr.value)} of the harmful replies begun for it"]
    if false is not None and false.value is not None:
        said[0] += f", and breaks off {_share(false.value)} of good ones"
    said[0] += "."
    own_words = corr.floor is None or corr.value > corr.floor.value
    if not own_words and corr.floor is not None and corr.value > 0:
        said.append(
            f"The replies' own next words would pass for turning away in {_share(corr.floor.value)}"
            ", so that it turns away at all is not shown."
        )
    elif gap is not None and gap.low is not None and gap.value is not None:
        shown_ = gap.low > 0
        said.append(
            f"It corrects harmful replies {gap.value * 100:.0f} points more often than it breaks "
            f"off good ones (at least {gap.low * 100:.0f} at {gap.level:.0%} confidence)."
            if shown_
            else "That it treats the two differently is not shown: breaking off everything or "
            "nothing gives a difference of 0, which this does not exceed clearly."
        )
    header = by_name.get(f"{name}/header_effect")
    if header is not None and header.value is not None:
        said.append(
            f"Closing its turn and opening a new one changes that by {header.value * 100:+.0f} "
            "points: what is measured there is the template, not the model's own turn."
        )
    return said
