"""Contrasts: parts by goal, what an estimator may read, and tables that are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.mechanism.directions.made_contrasts import gaussian_contrast, made_contrast
from tests.mechanism.made_states import made_items, made_states
from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.mechanism.directions.contrast import Contrast, read_contrasts, split_by_goal
from theodolite.mechanism.items import make_items


def test_states_of_items_become_a_contrast() -> None:
    items = made_items(20, goal_size=2)
    values = np.random.default_rng(0).standard_normal((40, 3, 2, 5))
    states = made_states(items, values, ("instruction_last", "prompt_last"))
    contrast = Contrast.of(states, items, position="instruction_last", hidden_indices=(0, 2))
    assert contrast.hidden_indices == (0, 2) and contrast.classes == ("benign", "harmful")
    assert contrast.at(2) == pytest.approx(states.values[:, 2, 0])
    assert contrast.at(2).dtype == np.float64
    assert (contrast.positive == (items.labels == 1)).all()
    with pytest.raises(ConfigError, match="no hidden_index 1"):
        contrast.at(1)
    with pytest.raises(ConfigError, match="was not read"):
        Contrast.of(states, items, position="instruction_mean")


def test_depths_at_which_nothing_differs_are_left_out_unless_asked_for() -> None:
    items = made_items(10)
    values = np.random.default_rng(0).standard_normal((20, 3, 1, 4))
    values[:, 0] = 1.0
    states = made_states(items, values)
    assert Contrast.of(states, items).hidden_indices == (1, 2)
    assert Contrast.of(states, items, hidden_indices=(0, 1)).hidden_indices == (0, 1)


def test_the_shift_is_tuned_less_base_on_the_same_prompts() -> None:
    items = made_items(10)
    rng = np.random.default_rng(0)
    base = made_states(items, rng.standard_normal((20, 2, 1, 4)))
    tuned = replace(base, values=base.values + 2.0, prompt_ids=base.prompt_ids)
    reversed_rows = tuned.rows(items.ids[::-1])
    contrast = Contrast.of(base, items, tuned=reversed_rows)
    assert contrast.shift_at(1) == pytest.approx(np.full((20, 4), 2.0), abs=1e-6)
    with pytest.raises(DataError, match="takes a base and a tuned one"):
        Contrast.of(base, items).shift_at(1)
    with pytest.raises(DataError, match="template"):
        Contrast.of(base, items, tuned=replace(tuned, template="chat"))
    with pytest.raises(DataError, match="width"):
        Contrast.of(base, items, tuned=replace(tuned, values=tuned.values[..., :3]))


def test_a_drawn_split_keeps_goals_whole_and_depends_on_no_order() -> None:
    items = made_items(40, goal_size=4)
    splits = split_by_goal(items, seed=3)
    parts = {goal: {s for g, s in zip(items.groups, splits) if g == goal} for goal in items.groups}
    assert all(len(found) == 1 for found in parts.values())
    assert set(splits) == {"train", "val", "test"}
    for label in (0, 1):
        own = [s for s, one in zip(splits, items.labels) if one == label]
        assert own.count("train") > own.count("test") >= own.count("val") > 0
    order = np.random.default_rng(0).permutation(len(items))
    again = split_by_goal(items.select(order), seed=3)
    assert list(again) == [splits[i] for i in order]


def test_prompts_keep_their_own_split_and_name_it_all_or_none() -> None:
    prompts = list(bundled("refusal"))
    items = make_items({x: [p for p in prompts if p.label == x] for x in (HARMFUL, BENIGN)})
    assert split_by_goal(items) == tuple(p.split for p in items.prompts)
    some = (replace(items.prompts[0], split=None), *items.prompts[1:])
    with pytest.raises(DataError, match=f"{len(items) - 1} of {len(items)} prompts name a split"):
        split_by_goal(replace(items, prompts=some))


def test_a_goal_in_two_splits_is_refused() -> None:
    contrast = gaussian_contrast()
    with pytest.raises(DataError, match="'goal-0' in test and train"):
        replace(contrast, splits=("test", *contrast.splits[1:]))


def test_few_prompts_one_class_and_states_that_are_not_finite_are_refused() -> None:
    x, labels = np.random.default_rng(0).standard_normal((12, 1, 3)), np.arange(12) % 2
    made_contrast(x, labels)
    with pytest.raises(DataError, match="at least 10 prompts"):
        made_contrast(x[:8], labels[:8])
    with pytest.raises(DataError, match="12 'positive' and 0 'negative'"):
        made_contrast(x, np.ones(12, np.int64))
    with pytest.raises(DataError, match="do not go with"):
        made_contrast(x, labels[:11])
    x[7, 0, 1] = np.nan
    with pytest.raises(NumericsError, match="prompt '0007' at hidden_index 1"):
        made_contrast(x, labels)


def test_an_estimator_chooses_on_val_or_else_on_train() -> None:
    contrast = gaussian_contrast()
    assert set(np.array(contrast.splits)[contrast.choosing]) == {"val"}
    splits = tuple("train" if s == "val" else s for s in contrast.splits)
    assert (
        replace(contrast, splits=splits).choosing == replace(contrast, splits=splits).fitting
    ).all()
    only = tuple("train" for _ in contrast.splits)
    with pytest.raises(DataError, match="'test' does not hold"):
        replace(contrast, splits=only).rows_of("test")


def test_halves_part_the_training_goals() -> None:
    contrast = gaussian_contrast()
    first, second = contrast.halves(seed=1)
    assert not (first.fitting & second.fitting).any()
    assert (first.fitting | second.fitting == contrast.fitting).all()
    assert (first.choosing == contrast.choosing).all()


def test_states_are_read_once_for_all_positions() -> None:
    model = tiny_model("llama")
    words = ("bread", "boat", "lake", "city", "story", "home")
    sides = {
        name: [
            Prompt(f"{name}-{w}", text=f"{frame} the {w} now", goal_id=f"{name}{w}") for w in words
        ]
        for name, frame in ((HARMFUL, "Write about"), (BENIGN, "Bake"))
    }
    items = make_items(sides, dedupe=False)
    found = read_contrasts(model, items, positions=("instruction_last", "template[0]"))
    assert list(found) == ["instruction_last", "template[0]"]
    assert found["template[0]"].hidden_indices == (1, 2, 3)  # one token opens every template
    assert found["instruction_last"].model == model.fingerprint
