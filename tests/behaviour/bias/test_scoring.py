"""Gaps between groups of continuations: by hand, beside the prompts' own, and against chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.oracles import group_gaps as oracle
from theodolite.behaviour.bias.scoring import Row, changes, measurements, tables
from theodolite.errors import ConfigError, DataError
from theodolite.measure.group_gaps import ALIKE
from theodolite.measure.measurement import Measurement

VADER, REGARD = "vader@3-aaaaaaaa", "hf:regard[negative]@bbbbbbbb"
FAST = {"resamples": 100, "shuffles": 99}
VALUES = {"men": [0.1, 0.5, -0.2, 0.4], "women": [0.3, -0.6, 0.0, 0.2]}


def rows_of(
    values: Mapping[str, Sequence[float | None]],
    method: str = "base",
    *,
    domain: str = "gender",
    samples: int = 1,
    regard: Mapping[str, Sequence[Sequence[float]]] | None = None,
    **more: Any,
) -> list[Row]:
    """Return one row per value; `samples` of them in a row belong to one prompt."""
    return [
        Row(
            prompt=f"{domain}-{group}-{i // samples}",
            goal=f"{domain}-{group}-{i // samples}",
            sample=i % samples,
            method=method,
            scores={VADER: value},
            domain=domain,
            group=group,
            words=5,
            regard={REGARD: regard[group][i]} if regard else {},
            **more,
        )
        for group, own in values.items()
        for i, value in enumerate(own)
    ]


def named(found: list[Measurement]) -> dict[str, Measurement]:
    by_name = {m.name: m for m in found}
    assert len(by_name) == len(found)
    return by_name


def test_sentiment_gaps_by_hand() -> None:
    found = named(measurements(rows_of(VALUES), **FAST))
    front = "bias/base/gender/vader"
    assert found[f"{front}/mean"].value == pytest.approx(0.7 / 8)
    assert found[f"{front}/sd"].value == pytest.approx(oracle.spread_of_means(VALUES))
    assert found[f"{front}/worst"].value == pytest.approx(oracle.range_of_means(VALUES))
    assert found[f"{front}/gf"].value == pytest.approx(oracle.mean_wasserstein(VALUES))
    m = found[f"{front}/sd"]
    assert m.judge.name == VADER and m.floor.name == "95 % of 99 label shuffles"
    assert m.low <= m.value <= m.high and (m.n, m.n_clusters) == (8, 8)
    assert found["bias/base/refusal"].value == 0.0 and found["bias/base/length"].value == 5.0


def test_groups_of_unequal_size_weigh_the_same() -> None:
    values = {"a": [1.0] * 30, "b": [0.0, 0.0]}
    m = named(measurements(rows_of(values), **FAST))["bias/base/gender/vader/sd"]
    assert m.value == pytest.approx(0.5)


def test_alike_groups_are_not_distinguishable_from_0_and_different_ones_are() -> None:
    rng = np.random.default_rng(0)
    alike = {group: rng.normal(0, 0.2, 30).clip(-1, 1).tolist() for group in "abc"}
    m = named(measurements(rows_of(alike), **FAST))["bias/base/gender/vader/gf"]
    assert ALIKE in m.reason and m.value <= m.floor.value and m.low == 0.0
    apart = alike | {"a": [value / 2 + 0.5 for value in alike["a"]]}
    m = named(measurements(rows_of(apart), **FAST))["bias/base/gender/vader/gf"]
    assert ALIKE not in m.reason and m.value > m.floor.value and m.low > 0


def test_samples_of_a_prompt_are_shuffled_together() -> None:
    values = {group: [v for v in own for _ in range(5)] for group, own in VALUES.items()}
    once = named(measurements(rows_of(VALUES), **FAST))["bias/base/gender/vader/sd"]
    five = named(measurements(rows_of(values, samples=5), **FAST))["bias/base/gender/vader/sd"]
    assert (five.n, five.n_clusters) == (40, 8)
    assert five.value == pytest.approx(once.value)
    assert five.floor.value == pytest.approx(once.floor.value)
    assert (five.low, five.high) == pytest.approx((once.low, once.high))


def test_the_gap_of_the_prompts_alone_stands_beside() -> None:
    prompts = rows_of({"men": [0.0, 0.2], "women": [0.4, 0.6]}, "any")
    found = named(measurements(rows_of(VALUES), prompts=prompts, **FAST))
    assert found["bias/prompts/gender/vader/sd"].value == pytest.approx(0.2)
    assert "bias/prompts/refusal" not in found and "bias/any/refusal" not in found


def test_domains_are_apart() -> None:
    rows = rows_of(VALUES) + rows_of({"x": [0.0], "y": [1.0], "z": [0.5]}, domain="region")
    found = named(measurements(rows, **FAST))
    assert found["bias/base/region/vader/worst"].value == pytest.approx(1.0)
    assert found["bias/base/gender/vader/worst"].n == 8
    assert found["bias/base/length"].n == 11


def test_regard_is_the_mean_over_pairs_in_both_norms() -> None:
    regard = {
        "a": [[0.2, 0.3, 0.5], [0.4, 0.1, 0.5]],
        "b": [[0.1, 0.8, 0.1], [0.3, 0.4, 0.3]],
        "c": [[0.5, 0.5, 0.0], [0.7, 0.1, 0.2]],
    }
    rows = rows_of({group: [0.0, 0.0] for group in regard}, regard=regard)
    found = named(measurements(rows, **FAST))
    for part, order in (("l2", 2), ("l1", 1)):
        m = found[f"bias/base/gender/hf:regard[negative]/{part}"]
        assert m.value == pytest.approx(sum(oracle.ordered_pairs(regard, order)) / 6)
        assert m.judge.name == REGARD
    turned = [replace(row, group={"a": "b", "b": "c", "c": "a"}[row.group]) for row in rows]
    again = named(measurements(turned, **FAST))["bias/base/gender/hf:regard[negative]/l2"]
    assert again.value == pytest.approx(
        found["bias/base/gender/hf:regard[negative]/l2"].value, abs=1e-12
    )


def test_regard_vectors_of_two_lengths_are_an_error() -> None:
    rows = rows_of({"a": [0.0], "b": [0.0]}, regard={"a": [[1.0, 0.0]], "b": [[1.0]]})
    with pytest.raises(DataError, match="differ in length"):
        measurements(rows, **FAST)


def test_rows_without_a_score_are_counted_and_a_group_without_any_has_no_gap() -> None:
    rows = rows_of(VALUES | {"men": [0.1, None, -0.2, 0.4]})
    m = named(measurements(rows, **FAST))["bias/base/gender/vader/sd"]
    assert m.n == 7 and m.unscored.count == 1
    lost = named(measurements(rows_of(VALUES | {"men": [None] * 4}), **FAST))
    m = lost["bias/base/gender/vader/sd"]
    assert m.status == "not_measured" and m.reason == "no score in men"
    assert m.unscored.count == 4


def test_row_order_changes_nothing_and_the_seed_does() -> None:
    rows = rows_of(VALUES)
    assert measurements(rows, **FAST) == measurements(rows[::-1], **FAST)
    assert measurements(rows, **FAST) != measurements(rows, seed=1, **FAST)


def test_changes_of_a_gap_against_base() -> None:
    narrower = {group: [v / 2 for v in own] for group, own in VALUES.items()}
    rows = rows_of(VALUES) + rows_of(narrower, "pet")
    found = named(changes(rows, resamples=200))
    front = "bias/pet-minus-base/gender/vader"
    assert found[f"{front}/sd"].value == pytest.approx(-oracle.spread_of_means(VALUES) / 2)
    for part in ("sd", "gf", "worst"):
        m = found[f"{front}/{part}/reduction"]
        # Every resample of halved values is halved, so nothing varies and no interval is given.
        assert m.value == pytest.approx(0.5)
        assert m.floor.value == 0.0 and m.n_clusters == 8
    m = found[f"{front}/sd"]
    assert m.low < m.value < m.high


def test_a_gap_of_zero_cannot_be_reduced_and_pairs_are_needed() -> None:
    flat = {"a": [0.1, 0.1], "b": [0.1, 0.1]}
    found = named(changes(rows_of(flat) + rows_of(flat, "pet"), resamples=20))
    m = found["bias/pet-minus-base/gender/vader/worst/reduction"]
    assert m.status == "not_measured" and "nothing to reduce" in m.reason
    lone = rows_of({"a": [0.1, 0.2], "b": [0.3, 0.1]}) + rows_of({"a": [0.1]}, "pet")
    m = named(changes(lone, resamples=20))["bias/pet-minus-base/gender/vader/sd"]
    assert m.status == "not_measured" and "fewer than two groups" in m.reason


def test_prompts_without_a_side_are_left_out_of_both() -> None:
    method = {"men": [0.1, 0.5, -0.2, None], "women": [0.3, -0.6, 0.0, 0.2]}
    found = named(changes(rows_of(VALUES) + rows_of(method, "pet"), resamples=20))
    assert found["bias/pet-minus-base/gender/vader/sd"].value == pytest.approx(0.0, abs=1e-12)
    assert "1 prompts lack a side" in found["bias/pet-minus-base/gender/vader/sd"].reason


def test_a_group_that_is_lost_leaves_no_change() -> None:
    """The gap between the groups that are left is another gap than that of all of them."""
    three = {"a": [0.1, 0.5], "b": [-0.2, 0.4], "c": [0.9, 0.8]}
    rows = rows_of(three) + rows_of(three | {"c": [None, None]}, "pet")
    found = named(changes(rows, resamples=20))
    for part in ("sd", "gf/reduction"):
        m = found[f"bias/pet-minus-base/gender/vader/{part}"]
        assert m.status == "not_measured" and m.reason == "no prompt with both sides in c"


def test_an_unknown_base_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no method 'bass'"):
        changes(rows_of(VALUES), base="bass")


def test_tables_hold_group_means_and_no_text() -> None:
    made = tables(rows_of(VALUES))
    assert [row["group"] for row in made["bias_by_group"]] == ["men", "women"]
    assert made["bias_by_group"][0]["value"] == pytest.approx(0.2)
    assert made["bias_by_group"][0]["prompts"] == 4
    assert len(made["bias_items"]) == 8
