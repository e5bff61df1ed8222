"""`theodolite explain anchors`: which way does a planted answer take to the answer slot?

The questions are those of the options, not the harmful and benign requests of other analyses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.preemptive import SETS, Item, official_items, read_items
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.measure.display import format_value
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.anchors.analysis import Settings, anchor
from theodolite.mechanism.anchors.export import export
from theodolite.mechanism.anchors.frames import HEADS, figures, tables
from theodolite.mechanism.anchors.pairs import Pairs, make_pairs
from theodolite.mechanism.anchors.questions import SET, everyday
from theodolite.mechanism.anchors.result import NAME, AnchorResult
from theodolite.runs.panel import PanelResult, extended
from theodolite.text.display import escape
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
TITLE: Final = "The way of a planted answer"
QUESTION: Final = (
    "When an answer stands in the chat before the model answers, through which heads and at which "
    "depth does it reach the answer slot?"
)
LIMITS: Final = (
    "The first token of an answer is read, under one wording of the plant and of the question; a "
    "model that reasons aloud may be led by the plant long before the slot.",
    "Heads that do nothing when cut alone may stand in for each other; together they are only as "
    "good as the sets that were tried.",
    "The logit lens reads early blocks poorly.",
)
LABELS: Final = {
    f"{NAME}/effect": "how far a planted wrong answer moves the slot from the gold answer",
    f"{NAME}/cut/all_heads": "share of it that is gone when the slot does not see the plant",
    f"{NAME}/cut/all_later_tokens": "the same when no later token sees it",
    f"{NAME}/cut/chosen_heads": "the same through the chosen heads alone, on other questions",
    f"{NAME}/cut/chosen_heads_beyond_place": "beyond cutting them from random tokens",
    f"{NAME}/lens/parting": "depth from which the likelier answer differs",
    f"{NAME}/direction/agreement": "cosine of single plants with the mean direction",
}
SHOWN_HEADS: Final = 8


@dataclass(frozen=True)
class Options:
    """What `theodolite explain anchors` can be asked (`-T key=value`).

    Args:
        questions: a file of questions (`question, answer, wrong_answer, answer_type, options`), or
            official sets joined by commas; without, 24 everyday questions of ours.
        limit: so many questions of each set or file; 0 is all.
        reasoned: the questions' own solutions stand before the answer tag, the same in both chats.
        heads: how many heads are cut together.
        draws: random sets of heads and of tokens beside them.
        least_mass: heads that give the plant less attention are not cut one by one; 0 cuts all.
        export: a folder for the heads and the direction, as files of interventions.
    """

    questions: str | None = None
    limit: int = 24
    reasoned: bool = False
    heads: int = 8
    draws: int = 20
    least_mass: float = 0.0
    export: str | None = None


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used, before a model is opened.

    Raises:
        ConfigError: a set does not exist, or a number is out of range.
        DataError: a file cannot be read.
    """
    for name, least in (("limit", 0), ("heads", 1), ("draws", 2)):
        if getattr(options, name) < least:
            raise ConfigError(
                f"task.{name} is {getattr(options, name)}.", fix=f"Give {least} or more."
            )
    if not 0.0 <= options.least_mass < 1.0:
        raise ConfigError(f"task.least_mass is {options.least_mass}.", fix="Use 0 to below 1.")
    questions_of(options, request.seed)


def questions_of(options: Options, seed: int) -> tuple[Item, ...]:
    """Return the questions that are asked, in order.

    Raises: as `check`.
    """
    source = options.questions
    if source is None:
        return _drawn(everyday(), options.limit, seed)
    if source.endswith((".jsonl", ".json", ".csv", ".parquet")):
        return _drawn(read_items(Path(source)), options.limit, seed)
    found: list[Item] = []
    for name in (part.strip() for part in source.split(",")):
        if name not in SETS:
            raise ConfigError(f"There is no set {shown(name)}.", fix=did_you_mean(name, SETS))
        found += _drawn(official_items(name), options.limit, seed)
    return tuple(found)


def _drawn(items: Sequence[Item], limit: int, seed: int) -> tuple[Item, ...]:
    """Return some of the items; a smaller limit takes a part of a larger one."""
    if not limit:
        return tuple(items)
    ranked = sorted(items, key=lambda item: item_seed(seed, "anchor questions", item.id))
    kept = {item.id for item in ranked[:limit]}
    return tuple(item for item in items if item.id in kept)


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Make pairs of chats, follow the plant, and say what carries it."""
    model = subject.model
    pairs = make_pairs(model, questions_of(options, seed), reasoned=options.reasoned)
    settings = Settings(options.heads, options.draws, options.least_mass)
    result = anchor(model, pairs, settings, seed=seed, journal=run.journal, progress=progress)
    run.save_tensors(NAME, result.tensors())
    found = report(result, pairs, options)
    if options.export is not None:
        export(result, model, Path(options.export))
        said = f"The heads and the direction were written to {escape(options.export, 200)}."
        found = extended(found, findings=[said])
    return found


def report(result: AnchorResult, pairs: Pairs, options: Options) -> PanelResult:
    """Return the effects in measurements, tables, figures and words."""
    rows = result.measurements()
    found = tables(result)
    source = options.questions or f"{SET} (ours)"
    exact = result.skipped == 0.0
    how = [
        f"{len(pairs)} questions ({escape(source, 200)}); both chats of a question have the same "
        "tokens but for the planted value, whose place a filler of as many tokens takes in the "
        f"neutral one; {'its solution' if options.reasoned else 'no reasoning'} stands before the "
        "answer tag.",
        "An edge is cut by leaving the planted tokens out of a head's weighted mean at the slot; "
        f"{options.heads} heads are cut together, "
        + (
            "chosen on one half of the questions and reported on the other."
            if result.halves
            else "chosen and reported on the same questions: there are too few."
        ),
        f"Every head was cut alone: {'yes' if exact else 'no'}"
        + (
            "."
            if exact
            else f"; {result.skipped:.0%} gave the plant less than "
            f"{options.least_mass:g} of their attention and count as 0."
        ),
        *(f"Left out: {count}, because {reason}." for reason, count in result.left_out.items()),
    ]
    return PanelResult(
        measurements=rows,
        tables=found,
        figures=figures(result, found),
        findings=findings(result, {m.name.removeprefix(f"{NAME}/"): m for m in rows}),
        limits=LIMITS,
        how=how,
        labels=LABELS,
    )


def findings(result: AnchorResult, found: Mapping[str, Measurement]) -> list[str]:
    """Say what the cuts show, or that there is nothing to follow."""
    effect = found["effect"]
    said = f"A planted wrong answer moves the slot by {format_value(effect)} towards itself"
    if effect.low is None or effect.low <= 0:
        return [f"{said}: no effect is shown, so there is no way of it to follow."]
    whole, chosen = found["cut/all_heads"], found["cut/chosen_heads"]
    beyond = found["cut/chosen_heads_beyond_place"]
    names = ", ".join(f"{layer}-{head}" for layer, head in result.chosen[:SHOWN_HEADS])
    carried = "it carries the plant" if _above(whole) else "what carries it is not shown"
    second = f"When the slot no longer sees it, {format_value(whole)} of that is gone: {carried}."
    if chosen.value is None:
        return [f"{said}.", second]
    shown_by = (
        "more than cutting them from random tokens does"
        if _above(beyond) and _above(chosen)
        else "not shown to be more than chance"
    )
    floor = "" if chosen.floor is None else f" (random heads: {chosen.floor.value:.2f})"
    third = (
        f"The {len(result.chosen)} heads that do most alone ({names}) bring back "
        f"{format_value(chosen)} of it together{floor}: {shown_by}."
    )
    return [f"{said}.", second, third]


def _above(m: Measurement) -> bool:
    """Whether a figure's interval lies above its floor."""
    floor = 0.0 if m.floor is None else m.floor.value
    return m.low is not None and m.low > floor


def summary(result: PanelResult) -> Sequence[dict[str, Any]]:
    """Return what the terminal has room for: the heads whose edges carry most."""
    rows = sorted(result.tables[HEADS], key=lambda row: -(row["effect"] or 0.0))
    names = ("name", "mass", "effect", "effect_low", "effect_high", "chosen")
    return [{name: row[name] for name in names} for row in rows[:SHOWN_HEADS]]
