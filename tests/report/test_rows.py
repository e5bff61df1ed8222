"""Measurements in words and bars: floors compared, gaps named, bars inside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.measure.measurement import (
    Floor,
    JudgeQuality,
    Measurement,
    Unscored,
    not_measured,
)
from theodolite.report.rows import (
    ABOVE_FLOOR,
    BELOW_FLOOR,
    NEAR_FLOOR,
    floor_verdict,
    interval_bar,
    measurement_row,
)
from theodolite.report.summary import asked_sentence, sureness_sentences

SHARE = Measurement(
    "refusal/harmful",
    0.8,
    "share",
    200,
    n_clusters=40,
    low=0.7,
    high=0.9,
    method="wilson",
    floor=Floor("majority class", 0.5),
    range=(0.0, 1.0),
)


@pytest.mark.parametrize(
    ("floor", "verdict"),
    [(0.5, ABOVE_FLOOR), (0.7, NEAR_FLOOR), (0.8, NEAR_FLOOR), (0.95, BELOW_FLOOR)],
)
def test_the_floor_is_compared_with_the_interval(floor: float, verdict: str) -> None:
    assert floor_verdict(replace(SHARE, floor=Floor("f", floor))) == verdict


def test_without_interval_or_floor_nothing_is_claimed() -> None:
    assert floor_verdict(replace(SHARE, floor=None)) == ""
    assert floor_verdict(replace(SHARE, low=None, high=None)) == ""


def test_a_row_says_everything() -> None:
    judged = replace(
        SHARE,
        unscored=Unscored(4, {"empty": 3, "cut": 1}, 0.78, 0.82),
        judge=JudgeQuality("rules", 0.94, None, 0.83),
    )
    row = measurement_row(judged)
    assert row.value == "80.0 %"
    assert row.interval == "70.0 to 90.0"
    assert row.items == "200 items in 40 clusters"
    assert (row.floor, row.floor_name) == ("50.0 %", "majority class")
    assert row.judge == "rules (sensitivity 0.94), corrected 83.0 %"
    assert row.unscored == "4 unscored (3 empty, 1 cut): bounds 78.0 to 82.0"


def test_not_measured_is_a_value_with_a_reason() -> None:
    row = measurement_row(not_measured("depth", "tokens", "The judge was down."))
    assert (row.value, row.reason, row.bar) == ("not measured", "The judge was down.", None)
    assert row.status_words == "not measured"


def test_one_observation_says_that_it_has_no_interval() -> None:
    row = measurement_row(Measurement("x", 1.0, "share", 1, reason="one item"))
    assert (row.interval, row.interval_how, row.items) == ("", "no interval", "1 item")


def test_a_bar_is_drawn_on_the_range_of_the_quantity() -> None:
    bar = interval_bar(SHARE)
    assert bar is not None
    assert (bar.dot, bar.low, bar.high, bar.floor) == (80.0, 70.0, 90.0, 50.0)
    assert bar.words == "80.0 %, interval 70.0 to 90.0, floor 50.0 %"
    cosine = interval_bar(replace(SHARE, range=(-1.0, 1.0), unit="cosine", value=0.0))
    assert cosine is not None and cosine.dot == 50.0


def test_an_unbounded_quantity_gets_round_ends_and_no_negative_air() -> None:
    nats = Measurement("kl", 2.31, "nats", 80, low=1.92, high=2.74, floor=Floor("random", 0.12))
    bar = interval_bar(nats)
    assert bar is not None and (bar.start, bar.end) == ("0", "4")


def test_a_lone_value_has_no_axis() -> None:
    assert interval_bar(Measurement("tokens", 7.0, "tokens", 1)) is None


finite = st.floats(min_value=-1e12, max_value=1e12, allow_subnormal=False)


@given(finite, finite, finite, finite, st.sampled_from(["share", "percent", "nats"]))
def test_bars_never_leave_their_axis(
    value: float, low: float, high: float, floor: float, unit: str
) -> None:
    low, high = sorted((low, high))
    m = Measurement("m", value, unit, 9, low=low, high=high, floor=Floor("f", floor))
    bar = interval_bar(m)
    if bar is not None:
        marks = [bar.dot, bar.low, bar.high, bar.floor]
        assert all(mark is not None and 0.0 <= mark <= 100.0 for mark in marks)
        assert bar.low <= bar.high  # type: ignore[operator]


def test_the_summary_counts_what_is_sure_and_what_is_not() -> None:
    near = replace(SHARE, name="near", floor=Floor("f", 0.75), n=60)
    judged = replace(SHARE, name="judged", judge=JudgeQuality("llm", None, None, None))
    gone = not_measured("gone", "share", "no time")
    open_ = replace(
        SHARE,
        name="open",
        status="incomplete",
        reason="judge down",
        unscored=Unscored(5, {}, 0.7, 0.9),
    )
    text = " ".join(sureness_sentences([SHARE, near, judged, gone, open_]))
    assert (
        "4 of 4 figures have an interval (95 %); the fewest items behind one are 60 (near)." in text
    )
    assert "3 of the 4 figures with a floor differ" in text
    assert "1 cannot be told from it (near)" in text
    assert "1 figure was not measured and 1 figure is incomplete" in text
    assert "5 verdicts are missing" in text
    assert "for 1 of them its quality was not measured" in text


def test_the_summary_of_nothing_claims_nothing() -> None:
    gone = not_measured("gone", "share", "no time")
    assert sureness_sentences([gone]) == [
        "Nothing was measured, so nothing can be said about how sure it is."
    ]
    assert asked_sentence("m", "b", "quick", 1, 0.0) == (
        "1 question was put to m, beside its base b, with the quick profile."
    )


def test_differences_of_shares_are_points_and_accuracies_are_percent() -> None:
    gap = replace(SHARE, value=0.25, low=-0.1, high=0.6, range=(-1.0, 1.0), floor=Floor("none", 0))
    row = measurement_row(gap)
    assert (row.value, row.floor) == ("25.0 points", "0.0 points")
    assert row.bar is not None and (row.bar.start, row.bar.end) == ("−100", "100")
    accuracy = measurement_row(replace(SHARE, unit="accuracy"))
    assert (accuracy.value, accuracy.interval) == ("80.0 %", "70.0 to 90.0")


def test_a_plain_name_stands_beside_the_name() -> None:
    row = measurement_row(SHARE, "harmful requests\u202e refused")
    assert row.name == "refusal/harmful" and row.label == "harmful requests\\u202e refused"
