"""Top-k consistency by its definition, and what a correlation over few models may claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.oracles.lens import consistency, pearson, permutation_p
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.lens.consistency import (
    NO_TOKEN,
    middle_layers,
    tic_correlation,
    topk_consistency,
)
from theodolite.mechanism.lens.vocabulary import TokenClasses

Ids = NDArray[np.int64]


def random_tops(seed: int, prompts: int, layers: int = 5, k: int = 5, vocab: int = 12) -> Ids:
    """Return token ids (prompt, hidden_index, k), each state's k tokens distinct."""
    keys = np.random.default_rng(seed).random((prompts, layers, vocab))
    return keys.argsort(-1)[..., :k]


def test_identical_prompts_are_fully_consistent() -> None:
    found = topk_consistency(np.tile(random_tops(0, 1), (7, 1, 1)))
    assert found.value == 1.0
    assert (found.by_index == 1.0).all()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_prompts_that_share_nothing_reach_one_over_n(n: int) -> None:
    ids = np.arange(n * 5).reshape(n, 1, 5).repeat(5, axis=1)
    found = topk_consistency(ids)
    assert found.value == pytest.approx(1 / n)
    assert found.least == 1 / n


def test_an_example_by_hand() -> None:
    """Three prompts, two tokens each: 1 stands in three, 2 in two, 3 in one; K = 2."""
    ids = np.array([[1, 2], [2, 1], [3, 1]])[:, None]
    found = topk_consistency(ids, layers=[0], k=2, top=2)
    assert found.tokens.tolist() == [[1, 2]]
    assert found.counts.tolist() == [[3, 2]]
    assert found.value == pytest.approx((3 + 2) / 3 / 2)
    assert found.scores[:, 0].tolist() == [1.0, 1.0, 0.5]
    wider = topk_consistency(ids, layers=[0], k=2, top=5)  # only three tokens occur
    assert wider.tokens.tolist() == [[1, 2, 3, NO_TOKEN, NO_TOKEN]]
    assert wider.value == pytest.approx((3 + 2 + 1) / 3 / 5)


def test_equally_frequent_tokens_go_by_id() -> None:
    ids = np.array([[9, 4], [7, 5]])[:, None]
    assert topk_consistency(ids, layers=[0], k=2, top=3).tokens.tolist() == [[4, 5, 7]]


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=40)
def test_it_equals_the_oracle_in_any_order_of_prompts(
    seed: int, prompts: int, k: int, top: int
) -> None:
    ids = random_tops(seed, prompts)
    found = topk_consistency(ids, layers=[1, 3], k=k, top=top)
    expected = [consistency(ids[:, h, :k].tolist(), top) for h in range(5)]
    assert found.by_index.tolist() == pytest.approx(expected)
    assert found.value == pytest.approx((expected[1] + expected[3]) / 2)
    shuffled = ids[np.random.default_rng(seed).permutation(prompts)]
    assert topk_consistency(shuffled, layers=[1, 3], k=k, top=top).value == pytest.approx(
        found.value
    )


def test_only_refusing_tokens_are_counted_on_request() -> None:
    ids = np.array([[1, 2, 8], [1, 3, 8], [1, 8, 9]])[:, None]
    both = topk_consistency(ids, layers=[0], k=3, top=2, negative=[8, 9])
    assert both.tokens.tolist() == [[8, 9]]
    assert both.value == pytest.approx((3 / 3 + 1 / 3) / 2)
    assert both.least == 0.0
    classes = TokenClasses((1,), (8, 9), (), "", {})
    assert topk_consistency(ids, layers=[0], k=3, top=2, negative=classes).value == both.value
    none = topk_consistency(ids, layers=[0], k=3, top=2, negative=[5])
    assert (none.value, none.tokens.tolist()) == (0.0, [[NO_TOKEN, NO_TOKEN]])


@pytest.mark.parametrize(("n", "ends"), [(32, (16, 24)), (30, (15, 22)), (3, (1, 2)), (1, (0, 0))])
def test_the_middle_of_a_network(n: int, ends: tuple[int, int]) -> None:
    found = middle_layers(n)
    assert (found[0], found[-1]) == ends
    assert list(found) == list(range(found[0], found[-1] + 1))


def test_the_mean_is_over_the_middle_by_default() -> None:
    ids = random_tops(3, 6, layers=9)  # 8 blocks: hidden indices 4 to 6
    found = topk_consistency(ids)
    assert found.layers == (4, 5, 6)
    assert found.value == pytest.approx(found.by_index[4:7].mean())
    rows = found.frame()
    assert [row["in_mean"] for row in rows] == [False] * 4 + [True] * 3 + [False] * 2
    assert rows[4]["consistency"] == pytest.approx(found.by_index[4])


def test_the_figure_has_an_interval_by_cluster_and_its_floor() -> None:
    ids = random_tops(4, 20)
    found = topk_consistency(ids)
    free = found.measurement()
    tied = found.measurement("other", [i // 2 for i in range(20)])
    assert (free.name, tied.name, free.value) == ("lens/consistency", "other", tied.value)
    assert free.value == pytest.approx(found.value)
    assert free.floor is not None and free.floor.value == 1 / 20
    assert free.low is not None and free.low < found.value
    assert (free.n_clusters, tied.n_clusters) == (None, 10)
    assert free.reason == "mean over hidden_index 2 to 3"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 6}, "k is 6"),
        ({"k": 0}, "k is 0"),
        ({"top": 0}, "top is 0"),
        ({"layers": [9]}, "not put at hidden_index 9"),
        ({"layers": []}, "not put at any"),
        ({"layers": "late"}, "layers is 'late'"),
    ],
)
def test_what_cannot_be_counted_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        topk_consistency(random_tops(0, 3), **options)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no prompts"):
        topk_consistency(np.zeros((0, 5, 5), np.int64))


@given(st.integers(0, 10_000), st.integers(3, 6))
@settings(max_examples=20)
def test_correlation_equals_the_oracle(seed: int, n: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, n)).tolist()
    found = tic_correlation(list(zip(x, y, strict=True)))
    assert found.r == pytest.approx(pearson(x, y))
    assert found.p == pytest.approx(permutation_p(x, y))
    assert (found.exact, found.n) == (True, n)


def test_few_points_on_a_line_cannot_be_significant() -> None:
    found = tic_correlation([(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)])
    assert found.r == pytest.approx(1.0)
    assert found.p == pytest.approx(2 / 6)  # the order and its mirror, of six
    figure = found.measurement()
    assert (figure.low, figure.n) == (None, 3)
    assert figure.reason == "permutation p = 0.333 (exact); 3 points give no interval"


def test_the_interval_is_fishers() -> None:
    rng = np.random.default_rng(5)
    points = [(x, x + rng.normal()) for x in rng.normal(size=19).tolist()]
    found = tic_correlation(points)
    half = 1.959963985 / math.sqrt(16)
    assert found.r is not None and found.low is not None and found.high is not None
    assert math.atanh(found.low) == pytest.approx(math.atanh(found.r) - half)
    assert math.atanh(found.high) == pytest.approx(math.atanh(found.r) + half)


def test_many_points_use_seeded_draws_that_agree_with_all_permutations() -> None:
    rng = np.random.default_rng(6)
    points = [(x, 0.5 * x + rng.normal()) for x in rng.normal(size=9).tolist()]
    found = tic_correlation(points, seed=1)
    assert not found.exact
    assert found == tic_correlation(points, seed=1)
    assert found.p is not None and found.p != tic_correlation(points, seed=2).p
    fewer = tic_correlation(points[:8])
    assert fewer.exact
    drawn = 0.0
    x, y = (np.array([p[i] for p in points]) for i in (0, 1))
    seen = abs(np.corrcoef(x, y)[0, 1])
    for _ in range(4000):
        drawn += abs(np.corrcoef(x, rng.permutation(y))[0, 1]) >= seen
    assert found.p == pytest.approx(drawn / 4000, abs=0.03)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([], "0 points are fewer than 3"),
        ([(0.1, 0.2), (0.3, 0.1)], "2 points are fewer than 3"),
        ([(0.1, 0.5), (0.2, 0.5), (0.3, 0.5)], "the same for all points"),
    ],
)
def test_too_little_is_not_measured(points: list[tuple[float, float]], why: str) -> None:
    found = tic_correlation(points).measurement()
    assert (found.status, found.value, found.n) == ("not_measured", None, len(points))
    assert found.reason is not None and why in found.reason


def test_a_point_that_is_no_number_is_refused() -> None:
    with pytest.raises(DataError, match="not a finite number"):
        tic_correlation([(0.1, 0.2), (0.2, float("nan")), (0.3, 0.1)])
