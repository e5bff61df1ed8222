"""What is said of answers that were rewritten: what changed, what it cost, what is not shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from theodolite.audit.loops.responded import NAME, Responded
from theodolite.behaviour.continuations import tool_is_metric
from theodolite.behaviour.toxicity.changes import ONE_KIND
from theodolite.measure.display import format_value
from theodolite.measure.measurement import Measurement
from theodolite.runs.panel import PanelResult

NO_SCORER: Final = (
    "No scorer was named, so nothing here says that the rewritten texts are better (--scorers)."
)
REFUSALS_ROSE: Final = (
    "More answers refuse after rewriting. A refusal is clean to any scorer: a better score is "
    "partly theirs."
)
NO_MARKER: Final = "without the marker that was asked for, so all of the answer counts as the text"
_SPENT: Final = {"calls": "calls", "tokens_in": "tokens read", "tokens_out": "tokens written"}


def result_of(found: Responded) -> PanelResult:
    """Return figures, tables, texts and sentences."""
    figures = found.measurements()
    by_name = {figure.name.removeprefix(f"{NAME}/"): figure for figure in figures}
    return PanelResult(
        measurements=figures,
        tables={"answers": found.table(), "items": found.items()},
        samples=found.samples(),
        findings=findings(found, by_name),
        limits=limits(found, by_name),
        how=[how(found)],
        labels=found.labels(),
    )


def findings(found: Responded, figures: Mapping[str, Measurement]) -> list[str]:
    """Say what changed and what it cost.

    Args:
        figures: by name, without its front.
    """
    name, n = found.work.request.name, len(found.records)
    did = f"changed {sum(found.changed)} of" if found.rewrites else "gave"
    cost = ", ".join(_spent(figures[key], words) for key, words in _SPENT.items())
    said = [f"{name} {did} {n} answer{'' if n == 1 else 's'}: {cost}."]
    changes = {short: figures.get(f"{short}/change") for short in found.shorts.values()}
    told = [f"{short} {_told(change)}" for short, change in changes.items() if change]
    return [*said, f"After minus before: {'; '.join(told)}."] if told else said


def limits(found: Responded, figures: Mapping[str, Measurement]) -> list[str]:
    """Say what the figures do not show, the gravest first; arguments as for `findings`."""
    request, n, said = found.work.request, len(found.records), []
    if request.entry.tool and found.work.tool is not None:
        said += tool_is_metric({request.name: found.work.tool.id}, found.shorts)
    rose = figures.get("refusal/change")
    if rose is not None and (rose.value or 0.0) > 0:
        said.append(REFUSALS_ROSE)
    if not found.scores:
        said += [NO_SCORER] if found.rewrites and n > 1 else []
    elif len({one.kind for one in found.scores}) == 1:
        said.append(ONE_KIND)
    bare = sum(record["parse"]["rule"] == "no_marker" for record in found.records)
    said += [f"{bare} of {n} answers: {NO_MARKER}"] if bare else []
    notes = Counter(note for record in found.records for note in dict.fromkeys(record["notes"]))
    return [*said, *(f"{count} of {n} answers: {note}" for note, count in notes.items())]


def how(found: Responded) -> str:
    """Say what was asked, and how."""
    request, first = found.work.request, found.records[0]
    kind = "beginnings to go on with" if request.continuation else "messages to answer"
    sampled = "" if request.temperature is None else f", temperature {request.temperature:g}"
    return (
        f"{len(found.records)} prompts ({found.work.prompts.source}), {kind}; {request.name}, "
        f"protocol {first['protocol']}, wording {first['wording']}, language {request.language}, "
        f"concern {request.concern}; at most {request.max_tokens} tokens of a text, "
        f"{request.listing_tokens} and {request.thinking_tokens} of the stages between{sampled}; "
        f"seed {request.seed}."
    )


def _spent(figure: Measurement, words: str) -> str:
    """Say what an answer took, and how many times the original alone that is."""
    if figure.value is None:
        return f"{words} not stated"
    alone = figure.floor.value if figure.floor is not None else 0.0
    times = f" ({figure.value / alone:.1f} times the original alone)" if alone else ""
    return f"{figure.value:,.{1 if words == 'calls' else 0}f} {words}{times}"


def _told(change: Measurement) -> str:
    """Say a change, and whether its interval leaves out that there is none."""
    if change.low is None or change.high is None:
        return format_value(change)
    shown = change.low > 0 or change.high < 0
    return f"{format_value(change)}, {'shown' if shown else 'not shown'}"
