"""The plan: every row as often as asked, in an order that depends on seed and ids alone."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.made_rows import made_row
from theodolite.training.examples import Example
from theodolite.training.recipe import Data, Recipe
from theodolite.training.schedule import Plan, plan_steps


def examples(count: int, source: str = "made") -> list[Example]:
    return [
        Example(
            made_row(i, harmful=False, source=source), tuple(range(3 + i % 5)), (1,) * (i % 3 + 1)
        )
        for i in range(count)
    ]


def flat(plan: Plan) -> list[int]:
    return [place for step in plan.steps for rows in step for place in rows]


@given(
    count=st.integers(1, 40),
    epochs=st.integers(1, 3),
    batch=st.integers(1, 9),
    accumulation=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_every_row_is_seen_once_per_epoch_and_only_the_last_step_is_short(
    count: int, epochs: int, batch: int, accumulation: int, seed: int
) -> None:
    recipe = Recipe(epochs=epochs, batch_size=batch, gradient_accumulation=accumulation, seed=seed)
    plan = plan_steps(examples(count), recipe)
    assert Counter(flat(plan)) == dict.fromkeys(range(count), epochs)
    sizes = [sum(map(len, step)) for step in plan.steps]
    assert all(size == batch * accumulation for size in sizes[:-1])
    assert len(plan) == math.ceil(count * epochs / (batch * accumulation))
    assert all(len(step) == accumulation for step in plan.steps[:-1])
    assert all(len(rows) <= batch for step in plan.steps for rows in step)


def test_the_order_depends_on_seed_and_ids_and_not_on_the_order_of_the_rows() -> None:
    rows = examples(20)
    by_id = [rows[place].row.id for place in flat(plan_steps(rows, Recipe(batch_size=1)))]
    turned = rows[::-1]
    again = [turned[place].row.id for place in flat(plan_steps(turned, Recipe(batch_size=1)))]
    assert by_id == again and by_id != [e.row.id for e in rows]
    other = plan_steps(rows, Recipe(batch_size=1, seed=1))
    assert [rows[place].row.id for place in flat(other)] != by_id


def test_max_steps_stops_early_and_another_setting_is_another_plan() -> None:
    rows = examples(20)
    whole, cut = plan_steps(rows, Recipe(epochs=3)), plan_steps(rows, Recipe(epochs=3, max_steps=4))
    assert cut.steps == whole.steps[:4]
    keys = {plan_steps(rows, recipe).key for recipe in (Recipe(), Recipe(seed=1), Recipe(beta=0.2))}
    assert len(keys) == 3 and plan_steps(rows, Recipe()).key in keys


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 2.0, 2.25])
def test_a_weight_is_how_often_a_row_is_seen(weight: float) -> None:
    rows = examples(400)
    recipe = Recipe(data=Data(weights={"made": weight}), epochs=2)
    seen = Counter(flat(plan_steps(rows, recipe)))
    times = [seen.get(place, 0) for place in range(len(rows))]
    assert all(2 * math.floor(weight) <= n <= 2 * math.ceil(weight) for n in times)
    # the mean of 800 draws; five standard errors of a fair coin
    assert abs(sum(times) / 800 - weight) <= 5 * 0.5 / math.sqrt(800) * (weight % 1 > 0)


def rates(**more: Any) -> list[float]:
    plan = plan_steps(examples(10), Recipe(batch_size=1, **more))
    return [plan.rate(step) for step in range(10)]


def test_learning_rates_are_those_of_their_formulas() -> None:
    assert rates(schedule="constant", warmup=0.0) == [1.0] * 10
    assert rates(schedule="constant", warmup=0.2)[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates(schedule="linear", warmup=0.0) == pytest.approx([1 - s / 10 for s in range(10)])
    cosine = [0.5 * (1 + math.cos(math.pi * s / 10)) for s in range(10)]
    assert rates(schedule="cosine", warmup=0.0) == pytest.approx(cosine)
    assert max(rates(schedule="cosine", warmup=0.3)) == 1.0
