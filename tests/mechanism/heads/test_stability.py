"""Rankings of heads: what is planted is found, what is noise is not, and the tail adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.oracles import head_stability as oracle
from theodolite.errors import DataError
from theodolite.mechanism.heads.long_tail import long_tail
from theodolite.mechanism.heads.stability import specificity, stability

FEW = settings(max_examples=20, deadline=None)


def noisy(n: int, heads: int, seed: int = 0) -> NDArray[np.float64]:
    """Return long-tailed scores without any difference between heads; axes (prompt, head)."""
    return np.random.default_rng(seed).lognormal(size=(n, heads))


@FEW
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 8), st.integers(1, 9))
def test_frequencies_are_those_of_plain_lists(seed: int, n: int, heads: int, k: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (n, heads)).astype(float)  # many ties
    found = stability(scores, k=k, seed=0, resamples=20)
    assert found.frequency.tolist() == pytest.approx(oracle.frequency(scores.tolist(), k))
    assert np.flatnonzero(found.top).tolist() == sorted(oracle.top(found.mean.tolist(), k))
    assert found.probability.sum() == pytest.approx(min(k, heads))
    assert np.allclose(found.median, [np.median(column) for column in scores.T])


def test_probabilities_are_those_of_prompts_drawn_one_by_one() -> None:
    scores = noisy(12, 6) + np.arange(6) * 0.3
    found = stability(scores, k=2, seed=0, resamples=4000)
    wanted = oracle.frequency(oracle.resampled_means(scores.tolist(), 4000, 5), 2)
    assert np.allclose(found.probability, wanted, atol=0.04)
    assert 0.05 < found.probability[4] < 0.95  # the case decides something


def test_a_strong_head_is_certain_and_a_weak_one_is_out() -> None:
    scores = noisy(30, 8) * 0.1
    scores[:, 5] += 3
    found = stability(scores, k=1, seed=0)
    assert found.probability[5] == found.frequency[5] == found.kept == 1.0
    assert found.probability.sum() == 1.0
    assert (found.low < found.mean).all() and (found.mean < found.high).all()
    assert found.low[5] > found.high[:5].max()


def test_alike_heads_keep_their_places_by_chance_only() -> None:
    assert stability(noisy(20, 100), k=10, seed=0).kept < 0.75


@pytest.mark.parametrize("n", [2, 3, 5, 11])
def test_few_prompts_give_wide_intervals_that_hold(n: int) -> None:
    scores = np.random.default_rng(n).gamma(2.0, 1.0, (n, 2000))
    found = stability(scores, seed=0, resamples=400)
    held = (found.low <= 2.0) & (found.high >= 2.0)
    assert held.mean() > 0.88
    assert found.method == "t over clusters" and (found.low >= 0).all()


def test_intervals_are_those_of_the_house() -> None:
    from theodolite.measure.bootstrap import cluster_bootstrap
    from theodolite.text.hashing import item_seed

    scores, clusters = noisy(40, 3), [i // 2 for i in range(40)]
    found = stability(scores, clusters, seed=3)
    for head in range(3):
        wanted = cluster_bootstrap(
            scores[:, head].tolist(), clusters, seed=item_seed(3, "heads"), resamples=1000
        )
        assert wanted is not None
        assert (found.low[head], found.high[head]) == pytest.approx(wanted[:2])
    assert (found.n, found.n_clusters) == (40, 20)


def test_repeated_prompts_in_clusters_are_worth_no_more() -> None:
    scores = noisy(10, 4)
    single = stability(scores, seed=0)
    twice = np.repeat(scores, 2, axis=0)
    clustered = stability(twice, np.repeat(np.arange(10), 2).tolist(), seed=0)
    assert np.allclose(clustered.high - clustered.low, single.high - single.low)
    alone = stability(twice, seed=0)
    assert ((alone.high - alone.low) < 0.85 * (single.high - single.low)).all()


def test_the_axes_of_the_heads_are_kept_and_unscored_heads_have_no_place() -> None:
    scores = noisy(9, 6).reshape(9, 2, 3)
    scores[:, 1, 0] = np.nan
    found = stability(scores, k=5, seed=0)
    assert found.mean.shape == found.top.shape == found.probability.shape == (2, 3)
    assert np.isnan(found.mean[1, 0]) and np.isnan(found.low[1, 0])
    assert found.probability[1, 0] == found.frequency[1, 0] == 0
    assert not found.top[1, 0] and found.top.sum() == 5
    flat = stability(np.delete(scores.reshape(9, 6), 3, axis=1), k=5, seed=0)
    assert np.allclose(np.delete(found.low.ravel(), 3), flat.low)


def test_one_prompt_and_equal_prompts_have_no_interval() -> None:
    assert np.isnan(stability(noisy(1, 3), seed=0).low).all()
    scores = noisy(5, 3)
    scores[:, 1] = 0.1
    assert np.isnan(stability(scores, seed=0).high).tolist() == [False, True, False]


def test_the_seed_fixes_everything() -> None:
    first, same, other = (stability(noisy(9, 5), k=2, seed=seed) for seed in (1, 1, 2))
    assert (first.low == same.low).all() and (first.probability == same.probability).all()
    assert (first.low != other.low).any()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(3), "no prompts and heads"),
        (np.zeros((0, 3)), "no prompts and heads"),
        (np.full((3, 2), np.nan), "No head was scored"),
        ([[[1.0, 2.0]], [[1.0, np.nan]]], "head 0-1 has no score for some"),
        ([[1.0, np.inf], [1.0, 1.0]], "head 1 has no score for some"),
    ],
)
def test_what_is_no_table_of_scores_is_refused(scores: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        stability(scores, seed=0)  # type: ignore[arg-type]


# Specificity


@pytest.mark.parametrize("paired", [True, False])
def test_heads_that_matter_on_harmful_prompts_only_are_shown(paired: bool) -> None:
    harmful, benign = noisy(40, 12, 1), noisy(40, 12, 2)
    harmful[:, 3] += 6
    harmful[:, 7] += 6
    benign[:, 7] += 6  # matters everywhere
    benign[:, 9] += 6  # matters on benign prompts
    found = specificity(harmful, benign, paired=paired, seed=0)
    assert np.flatnonzero(found.shown).tolist() == [3]
    assert found.band_high[9] < 0
    assert np.allclose(found.mean, harmful.mean(0) - benign.mean(0))
    assert (found.band_low < found.low).all() and (found.band_high > found.high).all()


def test_pairs_take_out_what_a_prompt_and_its_twin_share() -> None:
    shared = noisy(30, 1) * 20
    harmful, benign = noisy(30, 6, 1) + shared + 3, noisy(30, 6, 2) + shared
    assert specificity(harmful, benign, paired=True, seed=0).shown.all()
    assert not specificity(harmful, benign, seed=0).shown.any()


def test_one_head_of_many_is_rarely_shown_by_chance() -> None:
    """Each head alone is off in 5 of 100 cases; of 60 heads some always is, but not the band."""
    runs, single, together = 60, 0, 0
    for seed in range(runs):
        found = specificity(
            noisy(20, 60, seed), noisy(20, 60, seed + 999), seed=seed, resamples=300
        )
        single += bool(((found.low > 0) | (found.high < 0)).any())
        together += bool(found.shown.any())
    assert single > 0.8 * runs
    assert together <= 0.1 * runs


@pytest.mark.parametrize("n", [2, 3, 6])
def test_few_prompts_show_nothing_by_chance(n: int) -> None:
    """With two or three, some head always agrees with itself by chance."""
    rng = np.random.default_rng(n)
    shown = [
        specificity(*rng.normal(size=(2, n, 100)), paired=True, seed=0, resamples=20).shown.any()
        for _ in range(60)
    ]
    assert np.mean(shown) <= 0.1


def test_independent_sides_are_drawn_independently() -> None:
    """The same scores on both sides: pairs differ by nothing, independent draws do."""
    scores = noisy(20, 4)
    assert np.isnan(specificity(scores, scores, paired=True, seed=0).low).all()
    found = specificity(scores, scores, seed=0)
    assert (found.low < -0.1).all() and (found.high > 0.1).all() and not found.shown.any()


def test_equal_differences_show_nothing() -> None:
    scores = noisy(10, 3)
    found = specificity(scores + np.array([0.0, 1.0, 0.0]), scores, paired=True, seed=0)
    assert not found.shown.any() and np.isnan(found.band_low[1])


def test_few_clusters_show_less() -> None:
    harmful, benign = noisy(12, 5, 1) + 2.5, noisy(12, 5, 2)
    assert specificity(harmful, benign, paired=True, seed=0).shown.any()
    few = [i // 6 for i in range(12)]
    assert not specificity(harmful, benign, paired=True, clusters=few, seed=0).shown.any()
    one = specificity(harmful, benign, paired=True, clusters=[0] * 12, seed=0)
    assert np.isnan(one.band_low).all() and not one.shown.any()


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="different heads"):
        specificity(noisy(5, 3), noisy(5, 4), seed=0)
    with pytest.raises(DataError, match="no pairs"):
        specificity(noisy(5, 3), noisy(6, 3), paired=True, seed=0)
    missing = noisy(5, 3)
    missing[:, 1] = np.nan
    with pytest.raises(DataError, match="different heads"):
        specificity(noisy(5, 3), missing, seed=0)
    assert np.isnan(specificity(missing, missing, seed=0).mean).tolist() == [False, True, False]


# The long tail


@FEW
@given(st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any))
def test_the_tail_is_that_of_plain_sums(values: list[int]) -> None:
    tail = long_tail([[float(value) for value in values]])
    ordered = sorted(values, reverse=True)
    assert set(tail.shares) == {size for size in (1, 5, 10) if size <= len(values)}
    for size, share in tail.shares.items():
        assert share == pytest.approx(sum(ordered[:size]) / sum(values))
    assert tail.gini == pytest.approx(float(oracle.gini(values)), abs=1e-12)
    assert 1 - 1e-9 <= tail.effective <= len(values) + 1e-9
    assert tail.quantiles[1.0] == max(values)


def test_one_head_and_many_heads_are_told_apart() -> None:
    one, many = np.zeros((4, 100)), np.ones((4, 100))
    one[:, 8] = 1
    few, flat = long_tail(one), long_tail(many)
    assert (few.shares[1], few.effective) == (1.0, 1.0) and few.gini == pytest.approx(0.99)
    assert flat.shares[10] == pytest.approx(0.1) and flat.gini == pytest.approx(0)
    assert flat.effective == pytest.approx(100)


def test_shares_come_with_interval_and_floor() -> None:
    scores = noisy(30, 20)
    scores[:, 2] += 10
    first = long_tail(scores, name="ships").measurements[0]
    assert first.name == "ships/share of the top 1" and first.n == 30
    assert first.floor is not None and first.floor.value == pytest.approx(1 / 20)
    assert first.low is not None and first.high is not None and first.value is not None
    assert 0.05 < first.low < first.value < first.high <= 1
    assert long_tail(scores[:1]).measurements[0].low is None


def test_no_scores_at_all_are_not_measured() -> None:
    tail = long_tail(np.zeros((3, 12)))
    assert np.isnan(tail.gini) and [m.status for m in tail.measurements] == ["not_measured"] * 3
    with pytest.raises(DataError, match="below 0"):
        long_tail([[1.0, -0.1]])
