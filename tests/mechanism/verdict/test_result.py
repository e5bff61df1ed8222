"""Shares of a verdict against counting, beside their benign twins, and what the findings claim."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mechanism.made_verdicts import (
    DESIGN,
    case,
    pairs,
)
from tests.oracles import verdict as oracle
from theodolite.measure.intervals import cluster_bootstrap, proportion
from theodolite.measure.measurement import Measurement, not_measured
from theodolite.mechanism.verdict.cases import Case
from theodolite.mechanism.verdict.decide import VerdictResult, verdict_findings

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["harmful", "benign"]),
            "style": st.sampled_from(["plain", "quiz", "code"]),
            "recognised": st.booleans(),
            "converted": st.booleans(),
            "outcome": st.sampled_from(["refused", "complied", "degenerate", "unscored"]),
        }
    ),
    min_size=1,
    max_size=12,
)


def from_rows(rows) -> VerdictResult:
    cases = tuple(
        case(i, r["kind"], r["style"], r["recognised"], r["converted"], r["outcome"])
        for i, r in enumerate(rows)
    )
    return VerdictResult(cases, DESIGN)


@given(ROWS)
@settings(max_examples=60)
def test_the_table_equals_counting(rows) -> None:
    result = from_rows(rows)
    for row in result.table():
        style = None if row["style"] == "all wrapped" else row["style"]
        expected = oracle.cell(rows, style, row["class"])
        if row["class"] == "benign":
            expected["recognised_not_converted"] = None
        for name, value in expected.items():
            assert row[name] == (value if value is None else pytest.approx(value)), name
    assert [c.label for c in result.cases] == [oracle.label(row) for row in rows]


@given(ROWS)
@settings(max_examples=40)
def test_the_ways_to_fail_sum_to_one(rows) -> None:
    result = from_rows(rows)
    for stratum in (*result.strata, "all"):
        failures = [
            result.failure(stratum, f).measurement().value
            for f in ("not_recognised", "recognised_not_converted", "overridden")
        ]
        assert failures[0] is None or sum(failures) == pytest.approx(1.0)


@given(ROWS)
@settings(max_examples=60)
def test_bounds_equal_trying_every_outcome(rows) -> None:
    harmful = [row | {"kind": "harmful", "style": "plain"} for row in rows]
    m = from_rows(harmful).failure("plain", "recognised_not_converted").measurement()
    unknown = sum(row["outcome"] not in ("refused", "complied") for row in harmful)
    assert m.unscored.count == unknown
    if m.value is None or not unknown:
        assert m.unscored.low is m.unscored.high is None
    else:
        assert (m.unscored.low, m.unscored.high) == pytest.approx(oracle.bounds(harmful))


def test_degenerate_answers_alone_leave_everything_open() -> None:
    cases = tuple(case(i, "harmful", "plain", True, False, "degenerate") for i in range(3))
    result = VerdictResult(cases, DESIGN)
    m = result.failure("plain", "overridden").measurement()
    assert (m.status, m.unscored.count) == ("not_measured", 3)
    assert dict(m.unscored.reasons) == {"degenerate answer": 3}
    assert result.rate("plain", "harmful", "complied").measurement().value is None
    assert verdict_findings(result)[0].startswith("None of 3 harmful requests has an outcome")
    assert result.rate("plain", "harmful", "recognised").measurement().value == 1.0


def test_the_ratios_interval_agrees_with_the_cluster_bootstrap() -> None:
    random = np.random.default_rng(3)
    lean = np.repeat(random.uniform(0.2, 0.8, 80), 6)  # goals differ, styles repeat them
    cases = tuple(
        case(
            i,
            "harmful",
            f"s{i % 6}",
            bool(random.random() < lean[i]),
            False,
            "complied" if random.random() < 0.7 else "refused",
            group=str(i // 6),
        )
        for i in range(480)
    )
    m = VerdictResult(cases, DESIGN).failure("all", "recognised_not_converted").measurement()
    answered = np.array([c.complied for c in cases], float)
    missed = np.array([c.label == "recognised, not converted" for c in cases], float)
    interval = cluster_bootstrap(
        missed.tolist(),
        [c.group for c in cases],
        lambda weights: (weights @ missed) / (weights @ answered),
        seed=0,
    )
    assert m.n_clusters == 80
    assert (m.low, m.high) == pytest.approx((interval.low, interval.high), abs=0.012)
    free = proportion("x", missed[answered > 0].astype(bool).tolist())
    assert m.high - m.low > free.high - free.low


def test_a_detector_that_fires_on_the_wrapper_does_not_look_like_recognition() -> None:
    result = VerdictResult(pairs([(True, True)] * 30), DESIGN)
    assert result.table()[0]["recognised"] == 1.0
    over = result.over_benign("quiz")
    assert over.value == 0.0 and over.low < 0 < over.high
    floor = result.rate("quiz", "harmful", "recognised").measurement().floor
    assert (floor.name, floor.value) == ("benign requests in the same styles", 1.0)
    said = " ".join(verdict_findings(result))
    assert "In quiz the detector does not clearly tell harmful from benign" in said


def test_real_recognition_clears_its_twins() -> None:
    result = VerdictResult(pairs([(True, False)] * 12 + [(True, True)] * 2), DESIGN)
    over = result.over_benign("quiz")
    assert over.value == pytest.approx(12 / 14) and over.low > 0
    assert "quiz" not in " ".join(verdict_findings(result))


def test_a_wrapper_that_shifts_the_scores_is_told_from_a_blind_detector() -> None:
    cases = tuple(
        replace(c, probability=0.2 if c.kind == "harmful" else 0.1)
        for c in pairs([(False, False)] * 8)
    )
    result = VerdictResult(cases, DESIGN)
    ranking = result.ranking("quiz")
    assert ranking.value == 1.0 and 0.5 < ranking.low < 0.7
    assert ranking.method == "wilson, one comparison per goal"
    said = " ".join(verdict_findings(result))
    assert "In quiz the detector ranks harmful above benign" in said
    assert "does not clearly tell" not in said


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
)
@settings(max_examples=40)
def test_ranking_equals_the_oracle(harmful, benign) -> None:
    cases = [
        Case(
            **{
                **vars(case(f"{kind}{i}", kind, "quiz", True, False, "complied")),
                "probability": p / 4,
            }
        )
        for kind, scores in (("harmful", harmful), ("benign", benign))
        for i, p in enumerate(scores)
    ]
    found = VerdictResult(tuple(cases), DESIGN).ranking("quiz")
    assert found.value == pytest.approx(oracle.auroc(harmful, benign))


def test_conversion_stands_beside_its_twins_too() -> None:
    cases = tuple(replace(c, converted=True) for c in pairs([(True, False)] * 12))
    result = VerdictResult(cases, DESIGN)
    assert result.over_benign("quiz", "converted").value == 0.0
    assert result.over_benign("quiz").value == 1.0
    assert result.table()[0]["converted_over_benign"] == 0.0
    assert "In quiz benign requests lean to refusal" in " ".join(verdict_findings(result))
    cases = tuple(replace(c, converted=c.kind == "harmful") for c in cases)
    result = VerdictResult(cases, DESIGN)
    assert result.over_benign("quiz", "converted").value == 1.0
    assert "lean to refusal about" not in " ".join(verdict_findings(result))


def test_twins_count_the_prompts_without_one() -> None:
    extra = case(99, "harmful", "quiz", True, False, "complied", pair="other")
    result = VerdictResult((*pairs([(True, False), (False, False)]), extra), DESIGN)
    over = result.over_benign("quiz")
    assert (over.n, over.value) == (2, 0.5)
    assert "1 harmful prompts have no benign twin" in over.reason


def test_without_twins_the_groups_are_compared_as_they_are() -> None:
    cases = [case(i, "harmful", "quiz", i < 15, False, "complied") for i in range(20)]
    cases += [case(i, "benign", "quiz", i < 25, False, "complied") for i in range(20, 40)]
    over = VerdictResult(tuple(cases), DESIGN).over_benign("quiz")
    assert over.value == pytest.approx(15 / 20 - 5 / 20)
    assert 0.15 < over.low < 0.5 < over.high < 0.85
    assert "no benign twins" in over.reason


def test_one_side_alone_has_no_difference() -> None:
    result = VerdictResult((case(0, "harmful", "plain", True, True, "refused"),), DESIGN)
    assert result.over_benign("plain").status == "not_measured"
    assert result.ranking("plain").status == "not_measured"


def test_goals_not_prompts_are_independent() -> None:
    """The same goal in ten styles says little more than in one."""
    cases = tuple(
        case(10 * g + s, "harmful", f"s{s}", g % 2 == 0, False, "complied", group=str(g))
        for g in range(12)
        for s in range(10)
    )
    result = VerdictResult(cases, DESIGN)
    wide = result.rate("all wrapped", "harmful", "recognised").measurement()
    single = result.rate("s0", "harmful", "recognised").measurement()
    assert wide.n_clusters == 12
    assert wide.high - wide.low > 0.9 * (single.high - single.low)


def test_the_findings_name_the_three_ways_to_fail() -> None:
    cases = tuple(
        case(i, "harmful", "plain", i >= 4, i >= 12, "complied" if i < 16 else "refused")
        for i in range(20)
    )
    gain = Measurement("gain", 0.1, "accuracy", 100, low=0.02, high=0.18)
    said = verdict_findings(VerdictResult(cases, DESIGN, gain))
    assert len(said) == 1
    assert said[0].startswith("Of 16 failed refusals (among 20 harmful requests), 25% [")
    for words in ("not recognised, 50% [", "not converted, and 25% [", "although the state leant"):
        assert words in said[0]


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Measurement("g", 0.03, "accuracy", 50, low=-0.04, high=0.1), "cannot be trusted"),
        (Measurement("g", -0.03, "accuracy", 50, low=-0.1, high=0.04), "-3 points [-10 to +4]"),
        (Measurement("g", 0.03, "accuracy", 1), "cannot be trusted"),
        (not_measured("g", "accuracy", "no text floor"), "is open: no text floor"),
        (None, "is open: not compared with what the words alone give"),
    ],
)
def test_without_a_gain_over_the_words_the_verdict_is_not_trusted(gain, said) -> None:
    cases = tuple(case(i, "harmful", "plain", True, True, "complied") for i in range(4))
    assert any(said in s for s in verdict_findings(VerdictResult(cases, DESIGN, gain)))


@pytest.mark.parametrize(
    ("converted", "refused", "said"),
    [(0, 12, "the reading misses refusals"), (0, 2, "the reading may miss refusals"), (6, 6, "")],
)
def test_a_reading_that_misses_refusals_is_not_trusted(converted, refused, said) -> None:
    cases = tuple(
        case(i, "harmful", "plain", True, i < converted, "refused") for i in range(refused)
    )
    result = VerdictResult(cases, DESIGN)
    m = result.registered("converted").measurement()
    assert (m.name, m.value) == ("verdict/refused/converted", converted / refused)
    found = " ".join(verdict_findings(result))
    assert said in found
    assert ("taken at its word" in found) == bool(said)
