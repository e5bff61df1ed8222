"""`theodolite explain relevance`: which words, or which earlier directions, drive a direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.prompts import Prompt
from theodolite.errors import CapabilityError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.directions.means import DifferenceInMeans
from theodolite.mechanism.directions.refusal import refusal_contrast
from theodolite.mechanism.relevance.earlier import FLOOR, REST, trace_earlier
from theodolite.mechanism.relevance.faithfulness import faithfulness
from theodolite.mechanism.relevance.options import REFUSAL, Options, check
from theodolite.mechanism.relevance.relevance import VERSION, relevance
from theodolite.mechanism.relevance.report import (
    earlier_figure,
    faithfulness_figure,
    kept_rows,
    token_maps,
    word_rows,
    word_tables,
    words_figure,
)
from theodolite.mechanism.relevance.result import Relevance
from theodolite.mechanism.relevance.sentences import (
    earlier_sentences,
    faithfulness_sentences,
    word_sentences,
)
from theodolite.mechanism.residual_space.components import depth_of, named_components
from theodolite.runs.panel import PanelResult, extended
from theodolite.runs.run import Run
from theodolite.text.lists import names_in

if TYPE_CHECKING:
    from theodolite.mechanism.explain import Subject
    from theodolite.runs.panel import Progress

__all__ = ["QUESTION", "TITLE", "VERSION", "Options", "check", "explain", "summary"]

TITLE: Final = "What drives a direction"
QUESTION: Final = (
    "On which words of a request, or on which earlier directions, does what the model has along a "
    "direction rest?"
)
SHOWN: Final = 12
LIMITS: Final = (
    "Relevance says what a component is made of by rules; what would happen without a word is "
    "another question (backend=leave_one_out asks it).",
    "Words are joined by spelling, whatever they mean where they stand.",
)
EARLIER_LIMITS: Final = (
    "Relevance says what a component is made of by rules; what would happen without an earlier "
    "direction is another question (backend=leave_one_out asks it, `explain graft` moves states).",
    "A mean near 0 may hide a direction that promotes on some prompts and suppresses on others; "
    "the table has both parts.",
)


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Trace directions back to the tokens of requests, or to earlier directions."""
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    targets, sources, where = chosen(subject, options, seed=seed, **kept)
    prompts = list(subject.requests.bare)
    asked = {
        "backend": options.backend,
        "rules": options.rules,
        "position": options.position,
        "template": subject.template,
        "span": options.span,
        "boundaries": options.depths,
        "force": options.force,
        "seed": seed,
        **kept,
    }
    if sources:
        result, found = to_earlier(subject, prompts, targets, sources, options, asked)
    else:
        result, found = to_words(subject, prompts, targets, options, asked)
    found.save(run)
    how = (
        f"{len(prompts)} requests ({subject.requests.source}), template {found.template}; "
        f"back end {found.backend}{f', rules {found.rules}' if found.rules else ''}"
        f"{', shares of each component' if found.normalize else ''}."
    )
    return extended(result, how=[how, *where], labels=labels(found))


def to_words(
    subject: Subject,
    prompts: list[Prompt],
    targets: list[Direction],
    options: Options,
    asked: Mapping[str, Any],
) -> tuple[PanelResult, Relevance]:
    """Return what the words of prompts give, how true the map is, and the map itself.

    Args:
        asked: options of `relevance`.
    """
    signed = relevance(subject.model, prompts, targets, **asked)
    found = signed if options.normalize is None else signed.per_prompt()
    tables = word_tables(found, min_count=options.min_count)
    rows = word_rows(tables)
    result = PanelResult(
        measurements=found.measurements(),
        tables={"relevance_words": rows, "relevance_conservation": kept_rows(found)},
        figures=[words_figure(table, found.unit) for table in tables.values() if table.words],
        token_maps=token_maps(found, prompts),
        findings=word_sentences(found, rows),
        limits=LIMITS,
    )
    # Shares of a component below 0 have the opposite order, so the map is tested as it was.
    return extended(result, **tested(subject, prompts, targets, signed, options, asked)), found


def to_earlier(
    subject: Subject,
    prompts: list[Prompt],
    targets: list[Direction],
    sources: list[Direction],
    options: Options,
    asked: Mapping[str, Any],
) -> tuple[PanelResult, Relevance]:
    """Return what earlier directions give, and the relevance itself.

    Args:
        asked: options of `relevance`.
    """
    found = trace_earlier(
        *(subject.model, prompts, targets, sources), normalize=options.normalize, **asked
    )
    measured = found.measurements()
    result = PanelResult(
        measurements=[*measured, *found.relevance.measurements()],
        tables={
            "relevance_earlier": found.frame(),
            "relevance_conservation": kept_rows(found.relevance),
        },
        figures=[earlier_figure(found)],
        findings=earlier_sentences(found),
        limits=EARLIER_LIMITS,
        how=[
            f"{found.random.shape[1]} random directions of hidden index {sources[0].hidden_index} "
            "stand beside the earlier ones, at right angles to them."
        ],
    )
    return result, found.relevance


def tested(
    subject: Subject,
    prompts: list[Prompt],
    targets: list[Direction],
    found: Relevance,
    options: Options,
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """Return how true a token map is on some prompts, as entries of a panel's result."""
    count = min(options.faithfulness, len(prompts))
    if not count:
        return {}
    places = sorted({int(i) for i in np.linspace(0, len(prompts) - 1, count).round()})
    few = [prompts[i] for i in places]
    truth = {**asked, "backend": "leave_one_out", "boundaries": ()}
    try:
        exact = None
        if options.backend != "leave_one_out":
            exact = relevance(subject.model, few, targets, **truth)
        result = faithfulness(
            *(subject.model, few, targets, [found.part(places)]),
            exact=exact,
            removal=options.removal,
            force=options.force,
            seed=asked["seed"],
        )
    except CapabilityError as error:
        return {"how": [f"The map was not tested: {error.what}: {error.why}."]}
    measured = result.measurements()
    return {
        "measurements": measured,
        "tables": {"relevance_faithfulness": result.frame()},
        "figures": [faithfulness_figure(result)],
        "findings": faithfulness_sentences(result),
        "labels": {
            m.name: "map against leaving out each token"
            if m.unit == "correlation"
            else "most relevant tokens away first, or least"
            for m in measured
        },
    }


def chosen(
    subject: Subject, options: Options, *, seed: int, **kept: Any
) -> tuple[list[Direction], list[Direction], list[str]]:
    """Return the directions that are traced, those they are traced to, and where they come from.

    Raises: ConfigError: components are asked for, and there is neither a space nor a model before
        training to fit one.
    """
    targets: list[Direction] = []
    where, names = [], names_in(options.to)
    if options.target == REFUSAL:
        targets, said = refusal_direction(subject, options, seed=seed, **kept)
        where.append(said)
    else:
        names = (*names_in(options.target), *names)
    components: list[Direction] = []
    if names:
        components, said = named_components(
            *(subject, names), space=options.space, position=options.position, seed=seed, **kept
        )
        where.append(said)
    source = None if options.to is None else depth_of(names[-1])
    sources = [one for one in components if one.hidden_index == source]
    targets += [one for one in components if one.hidden_index != source]
    return targets, sources, where


def refusal_direction(
    subject: Subject, options: Options, *, seed: int, **kept: Any
) -> tuple[list[Direction], str]:
    """Return the difference of mean states of the bundled train part, at its best depth."""
    contrast = refusal_contrast(
        subject.model, position=options.position, template=subject.template, seed=seed, **kept
    )
    estimate = DifferenceInMeans().fit(contrast, seed=seed)
    where = (
        f"The direction is the difference of means of harmful and benign requests of the bundled "
        f"train part at hidden index {estimate.best}, the depth where it parts them best."
    )
    return [estimate.leading(estimate.best)], where


def labels(found: Relevance) -> dict[str, str]:
    """Return plain words for the figures."""
    words = {}
    for target in found.targets:
        words[f"relevance/on user's words/{target}"] = "share of relevance on the user's words"
        for depth in found.boundaries:
            words[f"relevance/kept/{target}/h{depth}"] = "sum of relevance over the component"
    return words


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return what drives each target most, for the terminal: words, or earlier directions."""
    if "relevance_earlier" in result.tables:
        return [_earlier_row(row) for row in result.tables["relevance_earlier"]]
    rows = result.tables["relevance_words"]
    shown: list[dict[str, Any]] = []
    for target in dict.fromkeys(row["target"] for row in rows):
        for row in [row for row in rows if row["target"] == target][:SHOWN]:
            shown.append(
                {
                    "word": row["word"],
                    "target": target,
                    "mean": _with_ends(row, "mean"),
                    "total": f"{row['total']:.3g}",
                    "count": row["count"],
                    "any word": f"{row['everyday']:.3g}",
                }
            )
    return shown


def _earlier_row(row: Mapping[str, Any]) -> dict[str, Any]:
    known = row["source"] != REST
    return {
        "from": row["source"],
        "target": row["target"],
        "relevance": _with_ends(row, "relevance"),
        "promotes": f"{row['promotes']:.3g}",
        "suppresses": f"{row['suppresses']:.3g}",
        "signed share": f"{row['signed_share']:+.0%}" if known else "",
        FLOOR: "" if row["random"] is None else f"±{row['random']:.3g}",
    }


def _with_ends(row: Mapping[str, Any], column: str) -> str:
    """Return a number with its interval, where it has one."""
    ends = "" if row["low"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
    return f"{row[column]:.3g}{ends}"
