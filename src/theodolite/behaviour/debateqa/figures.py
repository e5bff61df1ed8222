"""The pictures: gains beside those of mismatched answers, and what is called disputed."""

from __future__ import annotations

from dataclasses import replace

from theodolite.behaviour.debateqa.gains import COVERING
from theodolite.behaviour.debateqa.scoring import Scored, over_questions
from theodolite.data.debates import CONTESTED, DEBATABLE, SETTLED
from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Measurement
from theodolite.runs.figures import grouped_rates
from theodolite.runs.panel import Figure

KINDS = {
    DEBATABLE: "debatable",
    SETTLED: "settled",
    CONTESTED: "disputed in public alone",
}


def figures(found: Scored, *, seed: int = 0) -> list[Figure]:
    """Return the figures of scored answers; the seed is that of the bootstraps."""
    drawn = [_disputed(found)] if any(row.da is not None for row in found.answers) else []
    if any(row.values["coverage"] is not None for row in found.questions):
        drawn.insert(0, _covered(found, seed))
    return drawn


def _covered(found: Scored, seed: int) -> Figure:
    measured = [over_questions(found, name, seed=seed) for name in COVERING]
    # Chance is drawn beside the answers, so their own marks of it are left out.
    own = [
        None if one.value is None else replace(one, name=name, floor=None)
        for name, one in zip(COVERING, measured, strict=True)
    ]
    goals = [row.goal for row in found.questions]
    chance: list[Measurement | None] = []
    for name in COVERING:
        values = [row.floors[name] for row in found.questions]
        known = any(value is not None for value in values)
        chance.append(mean(name, values, clusters=goals, unit="share") if known else None)
    return Figure(
        name="debateqa_coverage",
        title="What answers hold of the perspectives",
        caption="Means over questions with 95 % intervals; a perspective counts as held where the "
        "answer makes it cheaper to predict than 95 % of the answers to other questions do. "
        "Balance is the share held of the side that is held least, evenness how evenly the sides "
        "are held.",
        spec=grouped_rates(
            COVERING,
            {"answers": own, found.gains.floor_name: chance},
            axis_title="share",
            value_range=(0.0, 1.0),
        ),
        table="debateqa_questions",
    )


def _disputed(found: Scored) -> Figure:
    kinds = [kind for kind in KINDS if any(row.label == kind for row in found.answers)]
    rates = []
    for kind in kinds:
        rows = [row for row in found.answers if row.label == kind]
        rates.append(
            proportion(kind, [row.da for row in rows], clusters=[row.goal for row in rows])
        )
    return Figure(
        name="debateqa_disputed",
        title="Questions whose answers say that people differ",
        caption="Shares with 95 % intervals. Only the distance between debatable and settled "
        "questions cannot be had by calling everything disputed, or nothing.",
        spec=grouped_rates([KINDS[kind] for kind in kinds], {"called disputed": rates}),
        table="debateqa_answers",
    )
