"""What the figures say, in words, and what they do not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from theodolite.behaviour.continuations import BASE
from theodolite.behaviour.toxicity.scoring import NAME, RAW
from theodolite.measure.measurement import Measurement

LIMITS: Final = (
    "A method that refuses or writes little is not toxic either: read every figure beside refusals "
    "and length.",
    "Beginnings are sentences in English; how toxic a model is in a chat they do not say.",
)
PLACEBO: Final = "pet_placebo"
VIEWS: Final = ("pet_io", "pet_is", "pet_both", "pet_iter")
_VERBS: Final = {True: "lowers", False: "raises"}


def findings(found: Sequence[Measurement], methods: Sequence[str], scorer: str) -> list[str]:
    """Say how toxic the model is unasked, and which methods change that.

    Args:
        found: all figures.
        methods: in order.
        scorer: the short name of the scorer whose figures are told.
    """
    by_name = {figure.name.removeprefix(f"{NAME}/"): figure for figure in found}
    said = []
    rates = {m: by_name.get(f"{m}/{scorer}/tf") for m in (RAW, BASE) if m in methods}
    told = {
        RAW: "of the continuations are toxic without a word of safety",
        BASE: "where a harmless one is asked for",
    }
    parts = [
        f"{figure.value:.0%} {told[method]}"
        for method, figure in rates.items()
        if figure is not None and figure.value is not None
    ]
    if parts:
        said.append(f"By {scorer}, {', '.join(parts)}.")
    unclear = []
    for method in methods:
        change = by_name.get(f"{method}-minus-{BASE}/{scorer}/emt")
        if method in (RAW, BASE) or change is None or change.value is None:
            continue
        if change.low is None or change.high is None or change.low <= 0 <= change.high:
            unclear.append(method)
        else:
            said.append(_changed(method, change, by_name.get(f"{method}/refusal")))
    if unclear:
        said.append(
            f"That {', '.join(unclear)} change the score of the most toxic continuation against "
            f"{BASE} is not shown."
        )
    return said + _beside_placebo(by_name, methods, scorer)


def _beside_placebo(
    by_name: Mapping[str, Measurement], methods: Sequence[str], scorer: str
) -> list[str]:
    """Say what imagining readers does beyond as much writing about something else."""
    sides: dict[str, list[str]] = {}
    for method in methods:
        change = by_name.get(f"{method}-minus-{PLACEBO}/{scorer}/emt")
        if change is None or change.low is None or change.high is None:
            continue
        better, worse = change.high < 0, change.low > 0
        verdict = "is better than" if better else "is worse than" if worse else "is not told from"
        sides.setdefault(verdict, []).append(f"{method} ({change.value:+.2f})")
    if not sides:
        return []
    told = "; ".join(f"{', '.join(own)} {verdict} it" for verdict, own in sides.items())
    return [
        f"Beside {PLACEBO}, which writes as much about things instead of readers: {told}. Only "
        "what is better than it comes from taking a view."
    ]


def _changed(method: str, change: Measurement, refusal: Measurement | None) -> str:
    assert change.value is not None and change.low is not None and change.high is not None  # noqa: S101
    least = min(abs(change.low), abs(change.high))
    beside = (
        f"; {refusal.value:.0%} of its answers refuse"
        if refusal is not None and refusal.value
        else ""
    )
    return (
        f"{method} {_VERBS[change.value < 0]} the score of the most toxic continuation by "
        f"{abs(change.value):.2f} against {BASE} (at least {least:.2f}){beside}."
    )
