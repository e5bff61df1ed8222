"""Made scores of perspectives and answers, for tests."""

from __future__ import annotations

import random
from collections.abc import Sequence

from theodolite.behaviour.debateqa.rows import AnswerRow, TargetScore

SIDES = ("for", "against")


def target(
    question: str = "q",
    index: int = 0,
    *,
    gain: float | None = None,
    nulls: Sequence[float] = (),
    nll: float = 3.0,
    tokens: int = 10,
    context: int = 100,
    **more: object,
) -> TargetScore:
    """Return a score with a given gain and given null gains, in nats per token."""
    prior = None if gain is None else (nll + gain) * tokens
    sums = () if prior is None else tuple(prior - null * tokens for null in nulls)
    return TargetScore(
        question, index, nll * tokens, tokens, context, prior_sum=prior, null_sums=sums, **more
    )  # type: ignore[arg-type]


def drawn(
    seed: int = 0,
    questions: int = 20,
    targets: int = 5,
    *,
    gain: float = 0.2,
    nulls: int = 2,
    stances: Sequence[str | None] = SIDES,
    goals: int | None = None,
) -> list[TargetScore]:
    """Return scores whose gains are normal around `gain` and whose null gains are around 0."""
    dice = random.Random(seed)
    return [
        target(
            f"q{q}",
            i,
            gain=dice.gauss(gain, 0.1),
            nulls=[dice.gauss(0, 0.1) for _ in range(nulls)],
            nll=dice.uniform(2, 4),
            tokens=dice.randrange(5, 40),
            context=dice.randrange(40, 400),
            stance=stances[i % len(stances)],
            goal_id=None if goals is None else f"g{q % goals}",
            topic=("food", "sport")[q % 2],
        )
        for q in range(questions)
        for i in range(targets)
    ]


def answer(question: str = "q", label: str = "debatable", **more: object) -> AnswerRow:
    """Return what is known of one answer."""
    return AnswerRow(question, label, **more)  # type: ignore[arg-type]
