"""Who is taken out: the groups as named, random ones that are no group, and per-prompt heads."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.models.tiny import tiny_model
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.asr_conditions import (
    Condition,
    conditions_of,
    first_heads,
    own_top_heads,
)

ZERO = HeadAblation("zero")


@cache
def anatomy() -> Any:
    return tiny_model().anatomy


def of(groups: Any, **options: Any) -> list[Condition]:
    return conditions_of(anatomy(), groups, ZERO, **({"prompts": 2} | options))


def test_the_intact_model_comes_first() -> None:
    assert of(()) == [Condition("intact", "intact", ((),))]
    bare = of([(1, 2), (0, 3), (1, 2)])
    assert bare[1] == Condition("1-2 0-3 1-2", "group", (((0, 3), (1, 2)),))


def test_heads_for_all_or_for_each() -> None:
    shared, each = of({"all": [(0, 1), (2, 3)], "each": [[(0, 1)], [(2, 3), (1, 1)]]})[1:]
    assert not shared.per_prompt and shared.of(1) == ((0, 1), (2, 3))
    assert each.per_prompt and each.of(0) == ((0, 1),) and each.of(1) == ((1, 1), (2, 3))
    assert (shared.size, each.size) == (2, 2)
    assert shared.shown == "0-1 2-3" and "own" in each.shown


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"g": [(9, 0)]}, "no head 9-0"),
        ({"g": [(0, 4)]}, "no head 0-4"),
        ({"g": []}, "has no heads"),
        ({"g": [[(0, 0)], []]}, "has no heads"),
        ({"g": [[(0, 0)], [(0, 1)], [(0, 2)]]}, "heads for 3 prompts, and there are 2"),
        ({"intact": [(0, 0)]}, "is named intact"),
    ],
)
def test_groups_that_do_not_fit_are_named(groups: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        of(groups)


def test_kv_groups_count_their_own_units() -> None:
    by_group = HeadAblation("zero", unit="kv_group")
    assert conditions_of(anatomy(), [(0, 1)], by_group, prompts=1)[1].heads == (((0, 1),),)
    with pytest.raises(ConfigError, match="no head 0-2"):
        conditions_of(anatomy(), [(0, 2)], by_group, prompts=1)


def test_random_groups_are_as_large_and_hold_no_head_of_a_group() -> None:
    groups = {"one": [(0, 0)], "three": [(1, 0), (1, 1), (1, 2)]}
    found = of(groups, random_groups=20, seed=3)[3:]
    assert [c.size for c in found] == [1] * 20 + [3] * 20
    assert all(c.kind == "random" for c in found)
    assert not any((0, 0) in c.of(0) for c in found[:20])
    assert not any(set(c.of(0)) & set(groups["three"]) for c in found[20:])
    assert len({c.heads for c in found}) > 20
    assert len({c.name for c in found}) == 40
    assert found == of(groups, random_groups=20, seed=3)[3:]
    assert found != of(groups, random_groups=20, seed=4)[3:]


def test_a_random_group_needs_heads_that_are_left() -> None:
    most = [(layer, head) for layer in range(3) for head in range(4)][:7]
    with pytest.raises(ConfigError, match="needs 7 heads outside the groups, and 5 are left"):
        of({"most": most}, random_groups=1)


@given(st.integers(0, 2**20))
def test_each_prompt_has_its_own_top_heads(seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 5, (4, 3, 4)).astype(float)
    scores[0, 0, 0] = np.nan
    groups = own_top_heads(scores, (1, 3))
    for prompt in range(4):
        slow = sorted(
            ((layer, unit) for layer in range(3) for unit in range(4)),
            key=lambda h: (
                -(s if np.isfinite(s := scores[prompt][h]) else -np.inf),
                h,
            ),
        )
        assert groups["query/3"][prompt] == tuple(slow[:3])
        assert groups["query/1"][prompt] == tuple(slow[:1])


def test_scores_that_cannot_rank() -> None:
    with pytest.raises(DataError, match="axes"):
        own_top_heads(np.zeros((3, 4)))
    with pytest.raises(DataError, match="1 scored heads"):
        own_top_heads([[[1.0, np.nan]]], (2,))


def test_the_first_heads_of_a_list() -> None:
    assert first_heads([(0, 1), (2, 2)]) == {
        "dataset/1": ((0, 1),),
        "dataset/2": ((0, 1), (2, 2)),
    }
