"""A judge's errors move a rate, and their own uncertainty belongs in its interval."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.errors import DataError
from theodolite.measure import calibrate_judge, corrected_rate, proportion, wilson
from theodolite.measure.judge_quality import _worth

SHARE = st.integers(0, 30)


def calibration(right_yes: int, right_no: int, each: int = 30):
    """Return a judge with so many right answers among `each` positive and negative rows."""
    verdicts = [i < right_yes for i in range(each)] + [i >= right_no for i in range(each)]
    return calibrate_judge("j", [True] * each + [False] * each, verdicts)


def test_calibration():
    judge = calibrate_judge("j", [True, True, True, False, False], [True, False, None, False, True])
    assert (judge.sensitivity.value, judge.sensitivity.n) == (0.5, 2)
    assert judge.sensitivity.unscored.count == 1
    assert (judge.specificity.value, judge.specificity.name) == (0.5, "j/specificity")
    assert judge.quality.sensitivity == 0.5
    assert calibrate_judge("j", [True], [True]).specificity.status == "not_measured"
    with pytest.raises(DataError):
        calibrate_judge("j", [True], [])


def test_a_corrected_rate_is_less_certain_than_the_rate():
    rate = proportion("refused", [True] * 50 + [False] * 50)
    m = corrected_rate(rate, calibration(27, 24))
    assert m.name == "refused/corrected" and m.method == "lang-reiczigel"
    assert m.value == pytest.approx((0.5 + 0.8 - 1) / 0.7) == m.judge.corrected
    assert m.high - m.low > (rate.high - rate.low) / 0.7
    better = corrected_rate(rate, calibration(270, 240, 300))
    assert m.high - m.low > better.high - better.low


@given(SHARE, SHARE, SHARE)
def test_properties(positive, right_yes, right_no):
    rate = proportion("a", [True] * positive + [False] * (30 - positive))
    m = corrected_rate(rate, calibration(right_yes, right_no))
    if right_yes + right_no <= 30:
        assert m.status == "not_measured" and "coin" in m.reason
    else:
        assert 0 <= m.low <= m.value <= m.high <= 1 and m.low < m.high


def test_what_cannot_be_corrected_says_why():
    judge = calibration(27, 24)
    assert "not measured" in corrected_rate(proportion("a", []), judge).reason
    clipped = corrected_rate(proportion("a", [False] * 20), judge)
    assert clipped.value == 0.0 and "cut to the range" in clipped.reason
    one = corrected_rate(proportion("a", [True]), judge)
    assert one.low is None and "no interval" in one.reason


def test_clusters_count_for_what_they_are_worth():
    assert _worth(proportion("a", [True, False] * 10)) == 20
    outcomes = [i % 20 < 10 for i in range(40)]
    clustered = proportion("a", outcomes, clusters=[i // 10 for i in range(40)])
    worth = _worth(clustered)
    assert 0 < worth < 4
    many = proportion("a", outcomes * 10, clusters=[i // 10 for i in range(400)])
    again = wilson(_worth(many) * many.value, _worth(many))
    assert (again.low, again.high) == pytest.approx((many.low, many.high), abs=1e-9)
    rate = corrected_rate(many, calibration(27, 24))
    flat = corrected_rate(proportion("a", outcomes * 10), calibration(27, 24))
    assert rate.high - rate.low > flat.high - flat.low
