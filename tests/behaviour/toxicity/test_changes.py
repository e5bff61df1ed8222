"""Changes between methods: paired, undefined where base is 0, and true to a world that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.behaviour.toxicity.made_rows import A, B, rows_of, world
from theodolite.behaviour.toxicity.changes import (
    BASE_IS_ZERO,
    ONE_KIND,
    Change,
    agreement_of,
    change_measurements,
    changes,
    notices,
    relative_reduction,
    sign_disagreements,
)
from theodolite.behaviour.toxicity.scoring import Row, samples_of, tf
from theodolite.errors import ConfigError

BASE = {"p": [0.9, 0.3], "q": [0.7, 0.7], "r": [0.2, 0.6]}
METHOD = {"p": [0.1, 0.3], "q": [0.7, 0.1], "r": [0.2, 0.2]}


def by_figure(found: list[Change]) -> dict[str, Change]:
    return {change.figure: change for change in found}


def test_differences_and_reductions_by_hand() -> None:
    rows = rows_of(BASE) + rows_of(METHOD, "pet")
    found = by_figure(changes(rows, resamples=200))
    assert found["mean"].difference.value == pytest.approx((1.6 - 3.4) / 6)
    assert found["mean"].reduction.value == pytest.approx(1 - 1.6 / 3.4)
    assert found["emt"].difference.value == pytest.approx((0.3 + 0.7 + 0.2 - 0.9 - 0.7 - 0.6) / 3)
    assert found["tp"].difference.value == pytest.approx(-2 / 3)
    assert found["tp"].reduction.value == pytest.approx(2 / 3)
    assert found["tf"].difference.value == pytest.approx((1 - 4) / 6)
    assert {change.sign for change in found.values()} == {-1}
    m = found["mean"].difference
    assert m.name == "toxicity/pet-minus-base/words/mean" and m.judge.name == A
    assert m.n == 3 and m.floor.value == 0.0 and m.low < m.value < m.high
    assert len(change_measurements(list(found.values()))) == 8
    assert found["mean"].reduction.name == "toxicity/pet-minus-base/words/mean/reduction"


def test_an_unchanged_method_changes_nothing() -> None:
    rows = rows_of(BASE) + rows_of(BASE, "same")
    for change in changes(rows, resamples=200):
        assert change.difference.value == 0.0 and change.sign == 0
        assert change.reduction.value == 0.0


def test_a_base_of_zero_cannot_be_reduced() -> None:
    zero = {prompt: [0.0, 0.0] for prompt in BASE}
    for change in changes(rows_of(zero) + rows_of(METHOD, "pet"), resamples=50):
        assert change.reduction.value is None and change.reduction.status == "not_measured"
        assert BASE_IS_ZERO in change.reduction.reason
        assert change.difference.value >= 0


def test_prompts_without_a_side_are_left_out_and_counted() -> None:
    rows = rows_of(BASE) + rows_of(METHOD | {"r": [None, None]}, "pet")
    found = by_figure(changes(rows, resamples=50))["mean"]
    assert found.difference.n == 2 and found.difference.unscored.count == 1
    assert found.reduction.n == 2 and "1 prompts lack a side" in found.reduction.reason


def test_prompts_that_one_side_was_never_asked_are_counted_too() -> None:
    """As in a file of answers made elsewhere, in which the methods went on with other prompts."""
    rows = rows_of(BASE) + rows_of({"p": METHOD["p"], "z": [0.4]}, "pet")
    found = by_figure(changes(rows, resamples=50))["mean"]
    assert found.difference.value == pytest.approx(0.2 - 0.6)
    assert found.difference.n == 1 and found.difference.unscored.count == 3
    assert found.reduction.n == 1 and "3 prompts lack a side" in found.reduction.reason


def test_sides_with_different_numbers_of_samples_are_compared_at_the_smaller() -> None:
    """Otherwise the side with more samples has the larger maximum for no other reason."""
    rows = rows_of({"p": [0.2, 0.8], "q": [0.1, 0.3]})
    rows += rows_of({"p": [0.2, None], "q": [0.1, 0.3]}, "pet")
    found = by_figure(changes(rows, resamples=50))["emt"]
    assert found.difference.value == pytest.approx((0.2 - 0.5) / 2)


def test_the_base_is_any_method_and_an_unknown_one_is_an_error() -> None:
    rows = rows_of(BASE, "placebo") + rows_of(METHOD, "pet")
    assert {c.base for c in changes(rows, base="placebo", resamples=20)} == {"placebo"}
    with pytest.raises(ConfigError, match="no method 'placeb'") as caught:
        changes(rows, base="placeb")
    assert "placebo" in caught.value.fix


def test_the_reduction_is_that_of_the_loop_over_resamples() -> None:
    rng = np.random.default_rng(0)
    base, method = rng.random(30), rng.random(30) / 2
    m = relative_reduction(
        "x", method.tolist(), base.tolist(), clusters=[str(i) for i in range(30)], resamples=4000
    )
    assert m.value == pytest.approx(1 - method.mean() / base.mean())
    draws = []
    for _ in range(4000):
        drawn = rng.integers(0, 30, 30)
        draws.append(1 - method[drawn].mean() / base[drawn].mean())
    low, high = np.quantile(draws, (0.025, 0.975))
    assert (m.low, m.high) == pytest.approx((low, high), abs=0.02)


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_known_worlds_are_found(rate: float) -> None:
    """Base is toxic in 60 % of its samples; the method in 20 %, or, as a placebo, in 60 % too."""
    held = significant = 0
    runs = 40
    for seed in range(runs):
        base = world("base", 0.6, 2 * seed, prompts=80, samples=4)
        other = world("other", rate, 2 * seed + 1, prompts=80, samples=4)
        found = by_figure(changes(base + other, resamples=10))["tf"]
        truth = rate - 0.6
        held += found.difference.low <= truth <= found.difference.high
        significant += found.difference.high < 0
    assert held >= 0.85 * runs
    assert significant == runs if rate == 0.2 else significant <= 0.1 * runs


def plain_world(method: str, rate: float, seed: int) -> list[Row]:
    """Return 400 prompts with 25 samples each, toxic or not by one toss of a coin each."""
    toxic = np.random.default_rng(seed).random((400, 25)) < rate
    scores = np.where(toxic, 0.9, 0.1).tolist()
    return rows_of({f"p{i}": own for i, own in enumerate(scores)}, method)


def test_a_large_world_is_known_to_a_hundredth() -> None:
    for rate, seed in ((0.6, 0), (0.2, 1)):
        found = samples_of(plain_world("base", rate, seed), A)
        assert tf("tf", found, scorer=A).value == pytest.approx(rate, abs=0.01)


@pytest.mark.slow
def test_large_worlds_are_found_in_ninety_of_a_hundred() -> None:
    held = unmoved = 0
    for seed in range(100):
        base = plain_world("base", 0.6, 3 * seed)
        rows = base + plain_world("pet", 0.2, 3 * seed + 1)
        rows += plain_world("placebo", 0.6, 3 * seed + 2)
        found = {c.method: c.difference for c in changes(rows, resamples=2) if c.figure == "tf"}
        held += found["pet"].low <= -0.4 <= found["pet"].high
        unmoved += found["placebo"].high >= 0
    assert held >= 90 and unmoved >= 90


def scored(first: list[float], second: list[float], method: str) -> list[Row]:
    return [
        Row(prompt=f"p{i}", goal=f"p{i}", sample=0, method=method, scores={A: a, B: b})
        for i, (a, b) in enumerate(zip(first, second))
    ]


def test_scorers_that_differ_in_sign_are_said_first() -> None:
    rows = scored([0.8, 0.9, 0.7], [0.1, 0.2, 0.1], "base")
    rows += scored([0.1, 0.2, 0.1], [0.8, 0.9, 0.9], "pet")
    found = changes(rows, resamples=20)
    said = notices(found, scorers={A: "lexical", B: "neural"}, tools={"critic": A})
    assert said[0] == (
        "The scorers disagree on pet against base: emt falls under words and rises under net."
    )
    assert [line for line in said if line.startswith("critic: tool = metric: optimistic")]
    assert said.index(next(line for line in said if "tool = metric" in line)) == 4
    assert len(sign_disagreements(found)) == 4


def test_scorers_that_agree_and_a_tool_that_is_no_metric_need_no_notice() -> None:
    rows = scored([0.8, 0.9], [0.7, 0.9], "base") + scored([0.1, 0.2], [0.2, 0.2], "pet")
    found = changes(rows, resamples=20)
    kinds = {A: "lexical", B: "neural"}
    assert notices(found, scorers=kinds, tools={"critic": "other@1-cc"}) == []
    assert notices(found, scorers={A: "lexical"}) == [ONE_KIND]


def test_agreement_of_scorers_on_these_texts() -> None:
    rows = scored([0.1, 0.2, 0.9, 0.8, 0.6], [0.2, 0.3, 0.8, 0.9, 0.4], "base")
    rank, kappa = agreement_of(rows, taus={B: 0.5})
    assert rank.name == "toxicity/agreement/words-net/spearman"
    assert rank.value == pytest.approx(0.9) and rank.n == 5
    assert kappa.name.endswith("/kappa") and kappa.value == pytest.approx((0.8 - 0.48) / 0.52)
    same = agreement_of(rows, taus={B: 0.35})[1]
    assert same.value == pytest.approx(1.0)
    assert math.isclose(kappa.floor.value, 0.0)
