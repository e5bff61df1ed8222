"""`theodolite explain relevance`: which words of a prompt drive a direction, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.errors import ConfigError
from theodolite.mechanism.directions.contrast import read_contrasts
from theodolite.mechanism.directions.direction import Direction, parse_component
from theodolite.mechanism.directions.means import DifferenceInMeans
from theodolite.mechanism.items import make_items
from theodolite.mechanism.relevance.backward import Rules, check_rules
from theodolite.mechanism.relevance.relevance import BACKENDS, VERSION, Backend, relevance
from theodolite.mechanism.relevance.report import (
    kept_rows,
    token_maps,
    word_rows,
    word_tables,
    words_figure,
)
from theodolite.mechanism.relevance.result import Relevance
from theodolite.mechanism.requests import TRAIN, read_requests
from theodolite.mechanism.residual_space.collect import collect_pair
from theodolite.mechanism.residual_space.prompts import study_prompts
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.models.positions import check_position
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run
from theodolite.text.display import escape
from theodolite.text.lists import names_in
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress

__all__ = ["QUESTION", "TITLE", "VERSION", "Options", "check", "explain", "summary"]

TITLE: Final = "Which words drive a direction"
QUESTION: Final = "On which words of a request does what the model has along a direction rest?"
REFUSAL: Final = "refusal"
# The space is fitted on so many pairs where none was fitted before.
PAIRS: Final = 24
SHOWN: Final = 12
LIMITS: Final = (
    "Relevance says what a component is made of by rules; what would happen without a word is "
    "another question (backend=leave_one_out asks it).",
    "Words are joined by spelling, whatever they mean where they stand.",
)


@dataclass(frozen=True)
class Options:
    """What `theodolite explain relevance` can be asked (`-T key=value`).

    Args:
        target: `refusal` (difference in means of the bundled train part, at its best depth), or
            components of one depth, like L14-C1 or L14-C1,L14-C2.
        space: a run folder of `explain residual-space` whose components these are; None fits the
            space where the model before training is known.
        backend: lrp, decomposition, integrated_gradients or leave_one_out.
        rules: of lrp: attnlrp, or cplrp, which keeps the sum.
        position: where the direction is read.
        min_count: words that occur less often are left out of the table.
    """

    target: str = REFUSAL
    space: str | None = None
    backend: str = "lrp"
    rules: str = "attnlrp"
    position: str = "prompt_last"
    min_count: int = 3


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an unknown target, back end, rule or position, or a space that is missing.
    """
    check_rules(options.rules)
    check_position(options.position)
    if options.backend not in BACKENDS:
        raise ConfigError(
            f"There is no back end {escape(options.backend, 60)!r}.",
            fix=did_you_mean(options.backend, BACKENDS),
        )
    if options.min_count < 1:
        raise ConfigError(f"task.min_count is {options.min_count}.", fix="Give 1 or more.")
    if options.target == REFUSAL:
        return
    names = names_in(options.target)
    depths = {parse_component(name)[0] for name in names}
    if len(depths) != 1:
        raise ConfigError(
            "The targets are not components of one depth.", fix="Write them like L14-C1,L14-C2."
        )
    if options.space is not None and not Path(options.space).is_dir():
        raise ConfigError(
            f"There is no run folder {escape(options.space, 200)}.", fix="Check -T space=."
        )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Trace directions back to the tokens of requests."""
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    chosen, where = targets(subject, options, seed=seed, **kept)
    prompts = list(subject.requests.bare)
    found = relevance(
        *(subject.model, prompts, chosen),
        backend=cast(Backend, options.backend),
        rules=cast(Rules, options.rules),
        position=options.position,
        template=subject.template,
        seed=seed,
        **kept,
    )
    found.save(run)
    tables = word_tables(found, min_count=options.min_count)
    rows = word_rows(tables)
    return PanelResult(
        measurements=found.measurements(),
        tables={"relevance_words": rows, "relevance_conservation": kept_rows(found)},
        figures=[words_figure(table) for table in tables.values() if table.words],
        token_maps=token_maps(found, prompts),
        findings=findings(found, rows),
        limits=LIMITS,
        how=[
            f"{len(prompts)} requests ({subject.requests.source}), template {found.template}; "
            f"back end {found.backend}{f', rules {found.rules}' if found.rules else ''}.",
            where,
        ],
        labels=labels(found),
    )


def targets(
    subject: Subject, options: Options, *, seed: int, **kept: Any
) -> tuple[list[Direction], str]:
    """Return the directions that are traced, and where they come from in words.

    Raises: ConfigError: components are asked for, and there is neither a space nor a model before
        training to fit one.
    """
    if options.target == REFUSAL:
        return refusal_direction(subject, options, seed=seed, **kept)
    names = names_in(options.target)
    if options.space is not None:
        space = ResidualSpace.load(Run.open(Path(options.space)))
        where = f"Components of the space in {escape(Path(options.space).name, 80)}."
    elif subject.pair is not None:
        train = [p for p in study_prompts(read_requests(None, None), PAIRS) if p.split == TRAIN]
        depth = parse_component(names[0])[0]
        paired = collect_pair(
            *(subject.pair, train),
            positions=(options.position,),
            template=subject.template,
            hidden_indices=(depth,),
            **kept,
        )
        space = ResidualSpace.fit(paired, quality=False, resamples=0, seed=seed)
        where = f"Components of the space of {PAIRS} training pairs of the bundled set."
    else:
        raise ConfigError(
            f"{escape(options.target, 80)} is a component of a residual space, and none is given.",
            fix="Name a run of `explain residual-space` with -T space=RUN, or the model before "
            "training with --base.",
        )
    return [space[name] for name in names], where


def refusal_direction(
    subject: Subject, options: Options, *, seed: int, **kept: Any
) -> tuple[list[Direction], str]:
    """Return the difference of mean states of the bundled train part, at its best depth."""
    train = [p for p in bundled("refusal") if p.split != "test"]
    items = make_items(
        {label: [p for p in train if p.label == label] for label in (BENIGN, HARMFUL)}
    )
    contrast = read_contrasts(
        *(subject.model, items),
        positions=(options.position,),
        template=subject.template,
        seed=seed,
        **kept,
    )[options.position]
    estimate = DifferenceInMeans().fit(contrast, seed=seed)
    best = max(estimate.hidden_indices, key=lambda h: (estimate.scores[h], -h))
    where = (
        f"The direction is the difference of means of harmful and benign requests of the bundled "
        f"train part at hidden index {best}, the depth where it parts them best."
    )
    return [estimate.leading(best)], where


def findings(found: Relevance, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say which words drive each target beyond the usual word, and what the sums lose."""
    said = []
    for target in found.targets:
        own = [row for row in rows if row["target"] == target]
        clear = [
            row["word"] for row in own if row["low"] is not None and row["low"] > row["everyday"]
        ]
        if clear:
            words = ", ".join(f"“{escape(word, 40)}”" for word in clear[:6])
            more = f" and {len(clear) - 6} more" if len(clear) > 6 else ""
            said.append(f"{target} is driven above the usual word by {words}{more}.")
        else:
            said.append(f"No word is shown to drive {target} beyond the usual word.")
    leaks = [row["leak"] for row in kept_rows(found) if row["leak"] is not None]
    if leaks:
        said.append(
            f"Relevance of all tokens misses the component by {max(leaks):.1%} of its mean size."
        )
    return said


def labels(found: Relevance) -> dict[str, str]:
    """Return plain words for the figures."""
    words = {}
    for target in found.targets:
        words[f"relevance/on user's words/{target}"] = "share of relevance on the user's words"
        for depth in found.boundaries:
            words[f"relevance/kept/{target}/h{depth}"] = "sum of relevance over the component"
    return words


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the words that drive each target most, for the terminal."""
    rows = result.tables["relevance_words"]
    shown: list[dict[str, Any]] = []
    for target in dict.fromkeys(row["target"] for row in rows):
        for row in [row for row in rows if row["target"] == target][:SHOWN]:
            ends = "" if row["low"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
            shown.append(
                {
                    "word": row["word"],
                    "target": target,
                    "mean": f"{row['mean']:.3g}{ends}",
                    "total": f"{row['total']:.3g}",
                    "count": row["count"],
                    "any word": f"{row['everyday']:.3g}",
                }
            )
    return shown
