"""The plan of a training: every step's rows and learning rate, known before the first step.

A step is a list of passes, a pass a list of rows. The order of an epoch depends on the seed and the
rows' ids alone, so a resumed training walks the very steps that one without a stop would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from theodolite.text.hashing import content_key, item_seed
from theodolite.training.examples import Example
from theodolite.training.recipe import Recipe

Pass = tuple[int, ...]
_UNIT = float(1 << 63)


@dataclass(frozen=True)
class Plan:
    """All steps of a training.

    Args:
        steps: per step its passes; a pass lists places among the examples, longest first.
        recipe: decides the learning rate of every step.
        key: content key of rows, tokens, steps and settings; a checkpoint of another plan is
            refused.
    """

    steps: tuple[tuple[Pass, ...], ...]
    recipe: Recipe
    key: str

    def __len__(self) -> int:
        return len(self.steps)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0, as a share of the recipe's.

        It rises in a straight line over the warm-up, then stays, or falls to 0 after the last step.
        """
        total = len(self.steps)
        warm = math.ceil(self.recipe.warmup * total)
        if step < warm:
            return (step + 1) / (warm + 1)
        done = (step - warm) / max(1, total - warm)
        if self.recipe.schedule == "linear":
            return max(0.0, 1.0 - done)
        if self.recipe.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        return 1.0


def plan_steps(examples: Sequence[Example], recipe: Recipe) -> Plan:
    """Return the steps of a training.

    Args:
        examples: those that are trained on.

    Note: one epoch follows the other without a gap, so that only the last step can be short.
        Within a step rows of like length share a pass, which changes its gradient by rounding only.
    """
    size = recipe.batch_size * recipe.gradient_accumulation
    order = [row for epoch in range(recipe.epochs) for row in _order(examples, recipe, epoch)]
    starts = range(0, len(order), size)[: recipe.max_steps]
    kept = tuple(_passes(examples, order[start : start + size], recipe) for start in starts)
    tokens = [(e.row.id, e.prompt, e.completion, e.rejected, *e.ranked) for e in examples]
    settings: list[tuple[Any, ...]] = [
        (recipe.method, recipe.seed, recipe.full, recipe.learning_rate, recipe.schedule),
        (recipe.warmup, recipe.weight_decay, recipe.grad_clip, recipe.beta, recipe.dtype),
        (recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout, recipe.lora.targets),
        (recipe.penalty.subspace, recipe.penalty.mu),
    ]
    if recipe.lora.start is not None:
        settings.append((recipe.lora.start,))
    if recipe.method == "listwise" or recipe.sft_weight:
        settings.append((recipe.ranking, recipe.sft_weight, recipe.length_normalised))
    return Plan(kept, recipe, content_key("training", 1, tokens, kept, settings))


def _order(examples: Sequence[Example], recipe: Recipe, epoch: int) -> list[int]:
    """Return the places of an epoch in random order, each as often as its source's weight says."""
    drawn = []
    for place, example in enumerate(examples):
        # Orders of one goal stay together: what their answers have in common is run once.
        name = example.row.goal_id if recipe.method == "listwise" else example.row.id
        weight = recipe.data.weights.get(example.row.source, 1.0)
        luck = item_seed(recipe.seed, "weight", epoch, example.row.id) / _UNIT
        for copy in range(math.floor(weight) + (luck < weight % 1.0)):
            drawn.append((item_seed(recipe.seed, "order", epoch, name, copy), place))
    return [place for _, place in sorted(drawn)]


def _passes(examples: Sequence[Example], rows: Sequence[int], recipe: Recipe) -> tuple[Pass, ...]:
    longest_first = sorted(rows, key=lambda place: (-len(examples[place]), place))
    size = recipe.batch_size
    return tuple(
        tuple(longest_first[start : start + size]) for start in range(0, len(longest_first), size)
    )
