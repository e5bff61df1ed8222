"""`theodolite explain correction-dynamics`: how close a model is to turning round, token by token.

No word of a reply leaves this analysis: tables, figures and findings hold ids and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.measure.display import format_value
from theodolite.mechanism.correction_dynamics.dynamics import (
    CUTS,
    LENGTH,
    check_places,
    correction_dynamics,
)
from theodolite.mechanism.correction_dynamics.kinds import GAP, KL, NAME
from theodolite.mechanism.correction_dynamics.measures import EARLY
from theodolite.mechanism.correction_dynamics.positions import VERSION as READ
from theodolite.mechanism.correction_dynamics.result import CorrectionDynamics
from theodolite.mechanism.states import resolve_template
from theodolite.runs.panel import PanelResult
from theodolite.text.display import escape
from theodolite.text.lists import numbers_in

if TYPE_CHECKING:
    from theodolite.measure.measurement import Measurement
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = READ
TITLE: Final = "Turning round inside a reply"
QUESTION: Final = (
    "Along a harmful reply that is forced on the model, where would it still turn round, and where "
    "did training change what it says next?"
)
LIMITS: Final = (
    "The listed tokens begin refusals and ordinary sentences alike: read their mass beside that of "
    "benign replies, and another list can move it.",
    "What a model is likely to say next was read; nothing was sampled, so whether a turn would be "
    "carried through is not shown.",
)


@dataclass(frozen=True)
class Options:
    """What `theodolite explain correction-dynamics` can be asked (`-T key=value`).

    Args:
        length: tokens of every reply that are followed.
        ks: tokens of the reply that are forced where the trigger gap is read, joined by commas.
    """

    length: int = LENGTH
    ks: str = ",".join(map(str, CUTS))


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: a length below 1, or cuts that do not increase from 0 on.
    """
    check_places(options.length, numbers_in(options.ks, "task.ks"))


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Follow the model, and the base where one is named, along every reply."""
    resolve_template(subject.model, subject.template)
    result = correction_dynamics(
        subject.model,
        subject.requests.bare,
        subject.base,
        length=options.length,
        cuts=numbers_in(options.ks, "task.ks"),
        journal=run.journal,
        progress=progress,
    )
    result.save(run)
    return report(result, subject.requests.source)


def report(result: CorrectionDynamics, source: str) -> PanelResult:
    """Return the dynamics in measurements, tables, figures and words."""
    measured = result.measurements()
    counts = ", ".join(f"{len(result.rows(label))} {label}" for label in result.classes)
    goals = len(set(result.goals))
    compared = "" if result.base is None else f" KL is that from {escape(result.names[1], 80)}."
    return PanelResult(
        measurements=measured,
        tables=result.tables(),
        figures=result.figures(),
        findings=findings(result, {m.name: m for m in measured}),
        limits=LIMITS,
        how=[
            f"{counts} replies ({escape(source, 200)}) of {goals} requests were forced on the "
            f"model as its own open turn, {result.length} tokens at most; the median reply gave "
            f"{int(sorted(result.lengths)[len(result.lengths) // 2])}.{compared}",
            f"Refusing openings: {len(result.tokens.ids)} first tokens of the phrases of "
            f"{result.tokens.version}, bare, after a space and after a line break; the table "
            f"{NAME}_tokens lists them.",
            f"The gap is read where at least {result.longest} tokens of the reply are left, as "
            "many as the longest trigger has.",
        ],
        labels=labels(result),
    )


def labels(result: CorrectionDynamics) -> dict[str, str]:
    """Return plain words for the headline measurements."""
    words = {
        "refusal_mass": "probability of a refusing opening",
        "refusal_mass_over_base": "the same, change over the base",
        KL: "divergence from the base",
    }
    found = {
        f"{NAME}/{HARMFUL}/{quantity}/tokens_{first}_{stop - 1}": (
            f"{said}, tokens {first} to {stop - 1} of harmful replies"
        )
        for quantity, said in words.items()
        for first, stop in result.bands
    }
    found[f"{NAME}/{HARMFUL}/{EARLY}"] = "share of the divergence in the first 5 tokens"
    for cut in result.cuts:
        found[f"{NAME}/{HARMFUL}/{GAP}/after_{cut}"] = (
            f"turning minus going on, per token, after {cut} tokens of harmful replies"
        )
    return found


def findings(result: CorrectionDynamics, measured: Mapping[str, Measurement]) -> list[str]:
    """Say what the figures show, or that they show nothing."""
    label = HARMFUL if HARMFUL in result.classes else BENIGN
    said = []
    first, last = (f"tokens_{a}_{b - 1}" for a, b in (result.bands[0], result.bands[-1]))
    begin, end = (measured[f"{NAME}/{label}/refusal_mass/{band}"] for band in (first, last))
    words = f"Along {label} replies, refusing openings have a probability of {format_value(begin)} "
    words += f"over {_band(first)}"
    if last != first:
        words += f", and of {format_value(end)} over {_band(last)}"
    said.append(f"{words}.")
    early = measured.get(f"{NAME}/{label}/{EARLY}")
    if early is not None and early.value is not None and early.floor is not None:
        said.append(
            f"{early.value:.0%} of the divergence from {escape(result.names[1], 80)} lies in the "
            f"first 5 tokens; spread evenly it would be {early.floor.value:.0%}."
        )
    elif early is not None:
        said.append(f"The model and {escape(result.names[1], 80)} say the same along every reply.")
    gaps = [measured[f"{NAME}/{label}/{GAP}/after_{cut}"] for cut in result.cuts]
    known = [
        f"{one.value:+.2f} after {cut}"
        for cut, one in zip(result.cuts, gaps, strict=True)
        if one.value is not None
    ]
    if known:
        said.append(
            f"Turning round minus going on, in nats per token: {', '.join(known)} forced tokens."
        )
    return said


def _band(place: str) -> str:
    _, first, last = place.split("_")
    return f"tokens {first} to {last}"


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return what the terminal has room for: refusing openings and KL by band."""
    shown = {
        "refusal_mass": "P(refusing)",
        "refusal_mass_over_base": "over base",
        KL: "KL (nats)",
    }
    return [
        {
            "replies": row["class"],
            "tokens": f"{row['first']}-{row['last']}",
            "n": row["n"],
            **{words: _cell(row, name) for name, words in shown.items() if _given(result, name)},
        }
        for row in result.tables[f"{NAME}_bands"]
    ]


def _given(result: PanelResult, name: str) -> bool:
    return any(row[name] is not None for row in result.tables[f"{NAME}_bands"])


def _cell(row: Mapping[str, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return "n/a"
    return f"{value:.2g}" if low is None or high is None else f"{value:.2g} [{low:.2g},{high:.2g}]"
