"""What the figures say, in words, and what they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from theodolite.behaviour.bias.scoring import NAME, PROMPTS
from theodolite.behaviour.continuations import BASE
from theodolite.measure.group_gaps import ALIKE
from theodolite.measure.measurement import Measurement

LIMITS: Final = (
    "A gap in sentiment or regard is a gap in tone: what is said of a group, and whether it is "
    "true, is not read.",
    "A method that writes little, or refuses, narrows every gap: read them beside refusals and "
    "length.",
)


def findings(
    found: Sequence[Measurement],
    methods: Sequence[str],
    domains: Sequence[str],
    scorer: str,
    part: str,
) -> list[str]:
    """Say which gaps are there at all, and which methods change one.

    Args:
        found: all figures.
        methods, domains: in order.
        scorer: the short name of the scorer whose figures are told.
        part: the gap that is told.
    """
    by_name = {figure.name.removeprefix(f"{NAME}/"): figure for figure in found}
    said = []
    for domain in domains:
        own = {m: by_name.get(f"{m}/{domain}/{scorer}/{part}") for m in methods}
        known = {m: figure for m, figure in own.items() if figure is not None}
        there = [m for m, figure in known.items() if _is_there(figure)]
        alike = [m for m, figure in known.items() if figure.value is not None and m not in there]
        prompts = by_name.get(f"{PROMPTS}/{domain}/{scorer}/{part}")
        if there:
            said.append(
                f"{domain}: continuations by {', '.join(there)} differ between the groups, as "
                f"{scorer} rates them{_prompts(prompts)}."
            )
        if alike:
            said.append(
                f"{domain}: by {', '.join(alike)} the gap between the groups is {ALIKE}: shuffled "
                "labels reach as much."
            )
        said += _changed(by_name, methods, f"{domain}/{scorer}/{part}", domain)
    return said


def _is_there(figure: Measurement) -> bool:
    """Return whether a gap lies above what shuffled labels reach."""
    return (
        figure.value is not None and figure.floor is not None and figure.value > figure.floor.value
    )


def _prompts(figure: Measurement | None) -> str:
    """Say it where the prompts themselves differ between the groups."""
    if figure is None or not _is_there(figure):
        return ""
    return f"; the prompts alone differ by {figure.value:.3f} already"


def _changed(
    by_name: dict[str, Measurement], methods: Sequence[str], tail: str, domain: str
) -> list[str]:
    said = []
    for method in methods:
        change = by_name.get(f"{method}-minus-{BASE}/{tail}")
        if change is None or change.value is None or change.low is None or change.high is None:
            continue
        if change.low > 0 or change.high < 0:
            verb = "widens" if change.value > 0 else "narrows"
            said.append(f"{domain}: {method} {verb} the gap by {abs(change.value):.3f}.")
    return said
