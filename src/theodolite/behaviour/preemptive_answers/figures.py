"""The pictures: accuracy in every way of asking, attack success, and late plants by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.preemptive_answers.options import CLEAN_CELL
from theodolite.behaviour.preemptive_answers.planting import PLANTED_LATE
from theodolite.measure.measurement import Measurement
from theodolite.runs.figures import Series, curve_by_layer, grouped_rates
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.behaviour.preemptive_answers.groups import Group

RATES: Final = {
    "asr": "turned wrong",
    "targeted_asr": "turned to the planted answer",
    "net_asr": "turned wrong beyond noise",
}
TABLE: Final = "preemptive_answers_attacks"


def headline(groups: Sequence[Group]) -> list[Group]:
    """Return the groups that a reader sees first: all sets together, once per method."""
    last = {group.method: group for group in groups}  # the pooled one comes last
    return list(last.values())


def figures(groups: Sequence[Group], measured: Sequence[Measurement]) -> list[Figure]:
    """Return the figures of a result."""
    by_name = {figure.name: figure for figure in measured}
    drawn = []
    for group in headline(groups):
        drawn.append(_accuracy(groups, group, by_name))
        if group.attacks:
            drawn.append(_success(group, by_name))
        late = _late(group, by_name)
        drawn += [late] if late is not None else []
    return drawn


def _accuracy(groups: Sequence[Group], group: Group, by_name: dict[str, Measurement]) -> Figure:
    """Draw accuracy per way of asking, a series per data set."""
    runs = [cell.name for cell in (CLEAN_CELL, *group.attacks)]
    same = [one for one in groups if one.method == group.method]
    series = {
        one.dataset: [by_name.get(f"{one.name}/accuracy/{run}") for run in runs] for one in same
    }
    return Figure(
        name=f"preemptive_answers_accuracy_{group.method}",
        title=f"Right answers in every way of asking ({group.method})",
        caption="Shares with 95 % intervals over questions; the mark is what guessing reaches. "
        "M_correct plants the right answer and M_neutral a blank one: what they change is the "
        "layout of the chat and not the plant.",
        spec=grouped_rates(runs, series, unit="accuracy", value_range=(0.0, 1.0)),
        table=TABLE,
    )


def _success(group: Group, by_name: dict[str, Measurement]) -> Figure:
    runs = [cell.name for cell in group.attacks]
    series = {}
    for short, label in RATES.items():
        cells = [by_name.get(f"{group.name}/{short}/{run}") for run in runs]
        if any(cell is not None and cell.value is not None for cell in cells):
            series[label] = [
                None if cell is None or cell.value is None else replace(cell, name=label)
                for cell in cells
            ]
    return Figure(
        name=f"preemptive_answers_success_{group.method}",
        title=f"What becomes of right answers under attack ({group.method})",
        caption="Shares of the items that the clean run has right, with 95 % intervals. The mark "
        "is the noise floor: the same share between runs without an attack.",
        spec=grouped_rates(runs, series),
        table=TABLE,
    )


def _late(group: Group, by_name: dict[str, Measurement]) -> Figure | None:
    """Draw attack success over the part of the reasoning that stands before the plant."""
    cells = sorted(
        (c for c in group.attacks if c.condition == PLANTED_LATE), key=lambda c: c.fraction
    )
    found = [by_name.get(f"{group.name}/asr/{cell.name}") for cell in cells]
    if len(cells) < 2 or all(one is None or one.value is None for one in found):
        return None
    curve = Series(
        "turned wrong",
        [cell.fraction for cell in cells],
        [None if one is None else one.value for one in found],
        [None if one is None else one.low for one in found],
        [None if one is None else one.high for one in found],
    )
    return Figure(
        name=f"preemptive_answers_late_{group.method}",
        title=f"How late a planted answer still does harm ({group.method})",
        caption="Shares of clean-right items turned wrong, by the part of the clean reasoning that "
        "stands before the plant. A plant further back also stands nearer to the answer.",
        spec=curve_by_layer([curve], y_title="turned wrong", x_title="part of the reasoning"),
        table=TABLE,
    )
