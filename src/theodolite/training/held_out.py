"""What training changed on rows it never saw: the same figures before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class HeldOut:
    """What a model makes of held-out rows; one value per row.

    Args:
        loss: nats per token of the completion.
        odds: first-token log-odds of `unsafe` over `safe`; () but for the label variant.
        margin: log-probability of the completion minus that of the rejected answer, in nats; ()
            but for preferences.
    """

    loss: tuple[float, ...]
    odds: tuple[float, ...] = ()
    margin: tuple[float, ...] = ()


def held_out(
    model: LanguageModel, examples: Sequence[Example], method: str, progress: Progress
) -> HeldOut:
    """Return what a model makes of rows that are not trained on.

    Note: one pass over the rows, twice for preferences; prompts share their common prefix.
    """
    if not examples:
        return HeldOut(())
    prompts = [_encoded(example) for example in examples]
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
    names = {"ssft-label": ["accuracy/val"], "dpo": ["preference/val"]}.get(recipe.method, [])
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
    return figures


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
