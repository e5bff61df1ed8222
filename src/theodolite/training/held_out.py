"""What training changed on rows it never saw: the same figures before and after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from theodolite.engine.next_token import next_token
from theodolite.engine.score import score
from theodolite.measure import Floor, Measurement, chance, mean, not_measured, proportion
from theodolite.measure.floors import majority_class
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key
from theodolite.training.examples import Example, check_label_words
from theodolite.training.recipe import Recipe

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress

NO_ROWS = "the recipe has no rows of split val"
# Shares that a method is measured by, beside the loss.
FIGURES = {
    "ssft-label": ("accuracy/val",),
    "dpo": ("preference/val",),
    "listwise": ("order/val", "ordered/val"),
}


@dataclass(frozen=True)
class HeldOut:
    """What a model makes of held-out rows; one value per row.

    Args:
        loss: nats per token of the completion.
        odds: first-token log-odds of `unsafe` over `safe`; () but for the label variant.
        margin: log-probability of the completion minus that of the rejected answer, in nats; ()
            but for pairs.
        ranked: log-probabilities of all ranked answers, best to worst, in nats; () without any.
    """

    loss: tuple[float, ...]
    odds: tuple[float, ...] = ()
    margin: tuple[float, ...] = ()
    ranked: tuple[tuple[float, ...], ...] = ()


def held_out(
    model: LanguageModel, examples: Sequence[Example], method: str, progress: Progress
) -> HeldOut:
    """Return what a model makes of rows that are not trained on.

    Note: one pass over the rows, for preferences over all their answers; prompts share their
        common prefix.
    """
    if not examples:
        return HeldOut(())
    prompts = [_encoded(example) for example in examples]
    if method == "listwise":
        return _ranked(model, prompts, examples, progress)
    pairs = [(p, e.completion) for p, e in zip(prompts, examples, strict=True)]
    if method == "dpo":
        pairs += [(p, e.rejected) for p, e in zip(prompts, examples, strict=True)]
    scored = score(model, pairs, progress=progress)
    chosen, rejected = scored[: len(examples)], scored[len(examples) :]
    margin = tuple(c.sum - r.sum for c, r in zip(chosen, rejected, strict=False))
    odds: tuple[float, ...] = ()
    if method == "ssft-label":
        safe, unsafe = check_label_words(model)
        logprobs = next_token(model, prompts)
        odds = tuple(float(row[unsafe] - row[safe]) for row in logprobs)
    return HeldOut(tuple(-found.mean for found in chosen), odds, margin)


def compare(
    examples: Sequence[Example], before: HeldOut, after: HeldOut, recipe: Recipe
) -> list[Measurement]:
    """Return the figures of held-out rows; the floor of each is the model before training.

    The accuracy of labels has the larger class as its floor, that of preferences chance.
    """
    names = FIGURES.get(recipe.method, ())
    if not examples:
        missing = [not_measured("loss/val", "nats per token", NO_ROWS)]
        return missing + [not_measured(name, "share", NO_ROWS) for name in names]
    goals = [example.row.goal_id for example in examples]
    common: dict[str, Any] = {"clusters": goals, "seed": recipe.seed}
    floor = Floor("before training", sum(before.loss) / len(before.loss))
    figures = [mean("loss/val", after.loss, unit="nats per token", floor=floor, **common)]
    if recipe.method == "ssft-label":
        labels = [example.row.harmful for example in examples]
        right = [(odds > 0) == label for odds, label in zip(after.odds, labels, strict=True)]
        floor = majority_class([example.row.label for example in examples])
        figures.append(proportion("accuracy/val", right, floor=floor, **common))
    if recipe.method == "dpo":
        moved = [a > b for a, b in zip(after.margin, before.margin, strict=True)]
        figures.append(proportion("preference/val", moved, floor=chance(2), **common))
    if recipe.method == "listwise":
        figures += _order(examples, before, after, recipe)
    return figures


def answer_tables(
    examples: Sequence[Example], before: HeldOut, after: HeldOut
) -> dict[str, list[dict[str, Any]]]:
    """Return the table of every ranked held-out answer, by row and rank; {} without any.

    Ranks count from 1, the best; log-probabilities are in nats.
    """
    rows = [
        {
            "id": example.row.id,
            "rank": rank + 1,
            "tokens": len(example.ranked[rank]),
            "logprob_before": was[rank],
            "logprob_after": now[rank],
        }
        for example, was, now in zip(examples, before.ranked, after.ranked, strict=False)
        for rank in range(len(was))
    ]
    return {"held_out_answers": rows} if rows else {}


def _ranked(
    model: LanguageModel,
    prompts: Sequence[Encoded],
    examples: Sequence[Example],
    progress: Progress,
) -> HeldOut:
    asked = [(p, ids) for p, e in zip(prompts, examples, strict=True) for ids in e.ranked]
    scored = iter(score(model, asked, progress=progress))
    found = [[next(scored) for _ in example.ranked] for example in examples]
    return HeldOut(
        loss=tuple(-answers[0].mean for answers in found),
        ranked=tuple(tuple(answer.sum for answer in answers) for answers in found),
    )


def _order(
    examples: Sequence[Example], before: HeldOut, after: HeldOut, recipe: Recipe
) -> list[Measurement]:
    """Return how far training put held-out answers into their order.

    A margin is what the loss compares, before beta: by how much more the better answer of a pair
    gained on the model before training than the worse one did.
    """
    margins: dict[int, list[tuple[str, float]]] = {}
    whole = []
    for example, was, now in zip(examples, before.ranked, after.ranked, strict=True):
        gained = [b - a for a, b in zip(was, now, strict=True)]
        if recipe.length_normalised:
            gained = [g / len(ids) for g, ids in zip(gained, example.ranked, strict=True)]
        found = list(_margins(gained))
        for gap, margin in found:
            margins.setdefault(gap, []).append((example.row.goal_id, margin))
        whole.append(all(margin > 0 for gap, margin in found if gap == 1))
    every = [pair for gap in sorted(margins) for pair in margins[gap]]
    luck = [1 / math.factorial(len(example.ranked)) for example in examples]
    figures = [
        proportion(
            "order/val",
            [margin > 0 for _, margin in every],
            clusters=[goal for goal, _ in every],
            floor=chance(2),
            seed=recipe.seed,
        ),
        proportion(
            "ordered/val",
            whole,
            clusters=[example.row.goal_id for example in examples],
            floor=Floor("random order", sum(luck) / len(luck)),
            seed=recipe.seed,
        ),
    ]
    return figures + [
        mean(
            f"margin/val/gap/{gap}",
            [margin for _, margin in margins[gap]],
            clusters=[goal for goal, _ in margins[gap]],
            unit="nats per token" if recipe.length_normalised else "nats",
            floor=Floor("before training", 0.0),
            seed=recipe.seed,
        )
        for gap in sorted(margins)
    ]


def _margins(gained: Sequence[float]) -> Iterator[tuple[int, float]]:
    """Yield every pair's gap in rank and its margin."""
    for (i, better), (j, worse) in combinations(enumerate(gained), 2):
        yield j - i, better - worse


def _encoded(example: Example) -> Encoded:
    end = len(example.prompt)
    return Encoded(
        ids=example.prompt,
        text="",
        instruction=None,
        template=(end, end),
        key=content_key(example.prompt),
        prompt_id=example.row.id,
    )
