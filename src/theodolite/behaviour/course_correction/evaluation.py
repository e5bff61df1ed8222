"""Begin replies for a model, let it go on, and say how often it turns away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from theodolite.behaviour.course_correction import calibration, responses, scoring, survival
from theodolite.behaviour.course_correction.additions import add
from theodolite.behaviour.course_correction.asking import (
    Options,
    ask,
    asking_of,
    check,
    go_on,
    how_asked,
)
from theodolite.behaviour.course_correction.figures import figures
from theodolite.behaviour.course_correction.prefixes import Prefix
from theodolite.behaviour.course_correction.scoring import Item
from theodolite.behaviour.course_correction.tables import tables as tables_of
from theodolite.errors import ConfigError
from theodolite.judging.correction import CORRECTED
from theodolite.measure.agreement import agreement, cohen_kappa
from theodolite.measure.measurement import Measurement
from theodolite.runs.panel import PanelResult, Progress, Sample, extended
from theodolite.runs.run import Run

__all__ = ["VERSION", "Options", "check", "evaluate", "go_on", "how_asked", "score_responses"]

VERSION: Final = scoring.METHOD_VERSION


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
    asking = asking_of(model, options, run=run, seed=seed, judge=judge, progress=progress)
    found = ask(asking)
    result = result_of(
        found.items,
        seed=seed,
        facts=found.facts,
        samples=samples(found.items, found.prefixes, found.texts),
        how=[how_asked(found, options, seed, judge)],
    )
    return add(asking, found, result)


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
    tables = {**tables_of(items), "course_correction_survival": survival.table(items)}
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
        DataError: the file or the labels cannot be read, or a label belongs to none of them.
    """
    if options != Options(labels=options.labels):
        raise ConfigError(
            "The task options (-T) say what to ask, and these answers were made elsewhere.",
            fix="Leave them out (but for labels), or leave --responses out.",
        )
    if judge is not None:
        raise ConfigError(
            "A judge needs the begun replies, which a file of continuations does not hold.",
            fix="Leave --judge out to use the lexical scorer.",
        )
    items = responses.read_continuations(path)
    scorers = " and ".join(dict.fromkeys(item.scorer for item in items))
    how = [f"{len(items)} continuations of {path.name}, scored by the {scorers}."]
    result = result_of(items, seed=seed, how=how)
    if options.labels is None:
        return result
    found, sentence = calibration.calibrated(Path(options.labels), items, seed=seed)
    return extended(result, measurements=found, how=[sentence], labels=calibration.labels())


def _agreement(items: Sequence[Item], name: str) -> list[Measurement]:
    """Return how far a judge and the lexical scorer agree on turned away or not."""
    both = [i for i in items if i.lexical is not None and i.outcome is not None]
    both = [i for i in both if i.scorer != calibration.LEXICAL_SCORER and i.outcome != "empty"]
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
