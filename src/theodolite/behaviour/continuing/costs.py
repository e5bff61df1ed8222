"""What a method costs, as the model itself states it: calls and tokens, stage by stage.

A rewriting method is given its original. It would have to ask for it if it ran alone, so the
original's cost is counted where it was given, as `base` paid it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from theodolite.behaviour.continuations import BASE
from theodolite.behaviour.continuing.answers import ORIGINAL, Answer
from theodolite.correction.rewritten import COSTS, mean_cost, spent
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Measurement

# In the table only: read from a cache is a part of what is read.
CACHED: Final = {"tokens_cached": "cached_in"}
PLAIN_WORDS: Final = {
    "calls": "requests for one continuation",
    "tokens_in": "tokens read for one continuation",
    "tokens_out": "tokens written for one continuation",
    "capped": "continuations with a stage cut at its cap",
    "left_clean": "originals that stayed as they were, being clean",
}

Stages = Sequence[Mapping[str, Any]]


def stages_of(answers: Sequence[Answer]) -> list[Stages]:
    """Return the stages of each answer, an original that was given as `base` paid for it."""
    paid = {one.place: one.record["stages"][ORIGINAL] for one in answers if one.method == BASE}
    found: list[Stages] = []
    for answer in answers:
        first, *rest = answer.record["stages"]
        given = first["calls"] == 0 and answer.place in paid
        found.append([paid[answer.place] if given else first, *rest])
    return found


def cost_measurements(answers: Sequence[Answer], name: str) -> list[Measurement]:
    """Return calls and tokens of one continuation, and how many were cut at a cap, by method.

    Args:
        answers: of all methods, with their records.
        name: the front of the figures' names, as in `<name>/<method>/calls`.
    """
    stages = dict(zip(map(id, answers), stages_of(answers), strict=True))
    figures = []
    for method in dict.fromkeys(answer.method for answer in answers):
        own = [answer for answer in answers if answer.method == method]
        goals = [answer.prompt.goal_id for answer in own]
        taken = [stages[id(answer)] for answer in own]
        front = f"{name}/{method}"
        for part, key in COSTS.items():
            floor = Floor("one request", 1.0) if part == "calls" else Floor("no tokens", 0.0)
            counts = [spent(each, key) for each in taken]
            figures.append(mean_cost(f"{front}/{part}", counts, goals, floor))
        cut = [any(stage["capped"] for stage in each) for each in taken]
        floor = Floor("never cut", 0.0)
        figures.append(proportion(f"{front}/capped", cut, clusters=goals, floor=floor))
        clean = [answer.record["facts"].get("clean") for answer in own]
        if any(clean):
            figures.append(
                proportion(
                    f"{front}/left_clean",
                    [None if one is None else bool(one["left"]) for one in clean],
                    clusters=goals,
                    floor=Floor("correct all", 0.0),
                )
            )
    return figures


def cost_table(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return one row per method and stage: means of one continuation, and counts of cuts."""
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    total: dict[str, int] = {}
    for answer, stages in zip(answers, stages_of(answers), strict=True):
        total[answer.method] = total.get(answer.method, 0) + 1
        for stage in stages:
            cells.setdefault((answer.method, stage["name"]), []).append(stage)
    table = []
    for (method, name), stages in cells.items():
        row: dict[str, Any] = {"method": method, "stage": name, "answers": len(stages)}
        for part, key in (COSTS | CACHED).items():
            count = spent(stages, key)
            row[part] = None if count is None else count / total[method]
        row |= {part: sum(stage[part] for stage in stages) for part in ("capped", "truncated")}
        table.append(row)
    return table
