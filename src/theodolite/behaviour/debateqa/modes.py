"""What documents change: each mode against the bare question, and whose side they pull to.

Modes are ways to put a question: `closed` (alone), with the documents behind the perspectives, with
retrieved ones, with documents that alternate between the sides, or with those of one side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from theodolite.behaviour.debateqa.questions import QuestionScore
from theodolite.behaviour.debateqa.ranks import Paired, paired
from theodolite.behaviour.debateqa.rows import TargetScore, by_question
from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.rank_agreement import spearman

CLOSED: Final = "closed"
COMPARED: Final = ("gain", "coverage", "balance", "pd")
EVEN: Final = Floor("both sides alike", 0.0)
NO_SIDE: Final = "no labelled perspective is covered"


def against_closed(
    by_mode: Mapping[str, Sequence[QuestionScore]],
    *,
    figures: Sequence[str] = COMPARED,
    name: str,
    seed: int = 0,
) -> dict[str, list[Paired]]:
    """Return each mode's figures minus those of the bare question, paired by question.

    Args:
        by_mode: question scores of each mode, under one threshold of coverage.
        figures: what is compared.
        name: the front of every figure's name.
        seed: of the bootstraps.

    Raises:
        DataError: there is no closed mode to compare with.
    """
    if CLOSED not in by_mode:
        raise DataError(
            f"There is no mode {CLOSED} among {', '.join(map(shown, by_mode)) or 'none'}.",
            fix="Ask the bare questions as well.",
        )
    return {
        mode: [
            paired(rows, by_mode[CLOSED], f, name=f"{name}/{mode}_vs_{CLOSED}/{f}", seed=seed)
            for f in figures
        ]
        for mode, rows in by_mode.items()
        if mode != CLOSED
    }


def lean(counts: Mapping[str, int], sides: Sequence[str]) -> float | None:
    """Return how far counts lean to the first of two sides: -1 to 1, 0 is even.

    Args:
        counts: documents, or covered perspectives, of each side.
        sides: the two sides, in the order that gives the sign.

    Returns: None where neither side has any.

    Raises:
        DataError: there are not two sides.
    """
    if len(set(sides)) != 2:
        raise DataError(f"A lean needs two sides, not {len(set(sides))}.", fix="Name two stances.")
    first, second = (counts.get(side, 0) for side in sides)
    return (first - second) / (first + second) if first + second else None


def answer_leans(
    scores: Sequence[TargetScore], tau: float, sides: Sequence[str]
) -> dict[str, float | None]:
    """Return how far the covered perspectives of each question lean to the first of two sides.

    Args:
        scores: with gains.
        tau: the threshold of coverage.
        sides: as for `lean`.
    """
    found = {}
    for question, rows in by_question(scores).items():
        gains = [(row.stance, row.gain) for row in rows if row.scored]
        held = Counter(side for side, gain in gains if side and gain is not None and gain > tau)
        found[question] = lean(held, sides)
    return found


def lean_followed(
    documents: Mapping[str, float | None],
    answers: Mapping[str, float | None],
    *,
    name: str,
) -> list[Measurement]:
    """Return how far answers lean, how far documents do, and whether the former follow the latter.

    Args:
        documents, answers: lean by question, from -1 to 1; None where there is none.
        name: the front of every figure's name.
    """
    shared = [question for question in documents if question in answers]
    sides = {
        "documents": [documents[question] for question in shared],
        "answers": [answers[question] for question in shared],
    }
    found = [
        mean(
            f"{name}/lean/{side}",
            values,
            unit="lean",
            range=(-1.0, 1.0),
            floor=EVEN,
            reasons=[NO_SIDE if value is None else None for value in values],
        )
        for side, values in sides.items()
    ]
    followed = spearman(
        sides["documents"], sides["answers"], name=f"{name}/lean/followed", what="questions"
    )
    return [*found, followed]
