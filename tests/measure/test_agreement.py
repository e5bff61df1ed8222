"""Agreement beyond chance, against pair-by-pair oracles and published examples."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import measure_agreement as oracle

from theodolite.errors import DataError
from theodolite.measure import agreement, cohen_kappa, confusion, krippendorff_alpha

RATING = st.sampled_from(["a", "b", "c", None])
PAIRS = st.lists(st.tuples(RATING, RATING), min_size=1, max_size=25)
N = None
# Krippendorff 2011: four observers, twelve units.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]


@given(PAIRS, st.booleans())
def test_kappa_against_the_oracle(pairs, grouped):
    first, second = zip(*pairs)
    clusters = [i // 3 for i in range(len(pairs))] if grouped else None
    m = cohen_kappa(first, second, clusters=clusters)
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    assert m.unscored.count == len(pairs) - len(both)
    if len({label for pair in both for label in pair}) < 2:
        assert m.status == "not_measured"
        return
    assert m.value == pytest.approx(oracle.kappa(*zip(*both)))
    if m.low is not None:
        assert -1 <= m.low <= m.value <= m.high <= 1 and m.low < m.high
    back = cohen_kappa(second, first, clusters=clusters)
    assert back.value == pytest.approx(m.value)
    if m.low is not None:
        assert (back.low, back.high) == pytest.approx((m.low, m.high), abs=1e-9)


def test_kappa_by_hand():
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreement .7, by chance .5."""
    first = [1] * 25 + [0] * 25
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    m = cohen_kappa(first, second)
    assert m.value == pytest.approx(0.4)
    assert (m.low, m.high) == pytest.approx((0.14, 0.65), abs=0.02)


def test_kappa_interval_tends_to_that_of_statsmodels():
    from statsmodels.stats.inter_rater import cohens_kappa

    table = [[4000, 500, 20], [300, 2500, 200], [10, 400, 3000]]
    first = [i for i in range(3) for j in range(3) for _ in range(table[i][j])]
    second = [j for i in range(3) for j in range(3) for _ in range(table[i][j])]
    m, theirs = cohen_kappa(first, second), cohens_kappa(table)
    assert (m.low, m.high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp), abs=5e-4)
    assert m.high - m.low == pytest.approx(theirs.kappa_upp - theirs.kappa_low, rel=1e-3)


def test_perfect_agreement_keeps_a_width():
    m = cohen_kappa([1, 0] * 10, [1, 0] * 10)
    assert m.value == m.high == 1.0 and 0.5 < m.low < 1
    alike = cohen_kappa([1, 0] * 10, [1, 0] * 10, clusters=[i // 4 for i in range(20)])
    assert alike.low < m.low
    assert "one cluster" in cohen_kappa([1, 0], [0, 1], clusters=["g", "g"]).reason
    assert "one observation" in cohen_kappa([1], [0]).reason


@pytest.mark.parametrize(
    "first, second, reason",
    [([1, 1], [1, 1], "one label only"), ([], [], "no item"), ([1, None], [None, 1], "no item")],
)
def test_undefined_kappa(first, second, reason):
    assert reason in cohen_kappa(first, second).reason


def test_agreement_and_confusion():
    first, second = ["y", "y", "n", "n", "y"], ["y", "n", "n", None, "y"]
    m = agreement(first, second)
    assert (m.value, m.n, m.unscored.count) == (0.75, 4, 1)
    assert m.floor.value == pytest.approx(2 / 4 * 2 / 4 + 2 / 4 * 2 / 4 + 0.0, abs=0.13)
    table = confusion(first, second)
    assert table.labels == ("n", "y") and table.counts.tolist() == [[1, 0], [1, 2]]
    assert table.records()[2] == {"first": "y", "second": "n", "count": 1}
    assert confusion(first, second, ["y", "n", "x"]).counts.shape == (3, 3)
    assert agreement([], []).status == "not_measured"


@pytest.mark.parametrize(
    "call",
    [
        lambda: confusion([1], [1, 2]),
        lambda: confusion([1], [2], labels=[1]),
        lambda: cohen_kappa([1, 2], [1, 2], clusters=[0]),
        lambda: krippendorff_alpha([[1, 2], [1]]),
        lambda: krippendorff_alpha([["a", "b"], ["a", "c"]], "interval"),
        lambda: krippendorff_alpha([list(range(60))] * 2),
        lambda: krippendorff_alpha([[1, 2], [1, 3]], clusters=[0]),
    ],
)
def test_wrong_input_is_refused(call):
    with pytest.raises(DataError):
        call()


@pytest.mark.parametrize(
    "metric, value", [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)]
)
def test_alpha_of_the_published_example(metric, value):
    m = krippendorff_alpha(PUBLISHED, metric)
    assert m.value == pytest.approx(value, abs=5e-4)
    assert m.low < m.value < m.high <= 1
    assert (m.n, m.unscored.count) == (11, 1)


@settings(max_examples=50)
@given(
    st.integers(2, 8).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from([0, 1, 2, 5, None]), min_size=n, max_size=n),
            min_size=2,
            max_size=4,
        )
    ),
    st.sampled_from(["nominal", "ordinal", "interval", "ratio"]),
)
def test_alpha_against_the_oracle(ratings, metric):
    m = krippendorff_alpha(ratings, metric, resamples=50)
    if m.value is not None:
        assert m.value == pytest.approx(oracle.alpha(ratings, metric), abs=1e-9)


def test_undefined_alpha():
    assert "the same" in krippendorff_alpha([[1, 1], [1, 1]]).reason
    assert "no item" in krippendorff_alpha([[1, N], [N, 1]]).reason
    perfect = krippendorff_alpha([[1, 2, 3], [1, 2, 3]])
    assert perfect.value == 1.0 and perfect.low is None and "do not vary" in perfect.reason
