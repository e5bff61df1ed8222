"""Figures on made items: the worked example, clusters, saturation, and what constant models get."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.oracles import course_correction as oracle
from theodolite.behaviour.course_correction import scoring, survival
from theodolite.behaviour.course_correction.figures import figures
from theodolite.behaviour.course_correction.scoring import Item, measurements, rates
from theodolite.behaviour.course_correction.tables import by_category, curve
from theodolite.data.catalogue import official
from theodolite.measure.measurement import Measurement

KS = (10, 20, 30, 40)
EXAMPLE = {10: (1, 1, 0, 1), 20: (1, 0, 0, 1), 30: (0, 0, 0, 1), 40: (0, 0, 1, 1)}


def item(row: str = "r", k: int = 10, turned: int | None = 1, **more: object) -> Item:
    outcome = None if turned is None else ("clean" if turned else "continues")
    facts = {"label": "harmful", "goal_id": row, "own_words": False} | more
    return Item(id=f"{row}@{k}", row=row, k=k, outcome=outcome, **facts)  # type: ignore[arg-type]


def example(row: str = "r", goal: str = "g") -> list[Item]:
    return [
        item(row, k, turned, path=path, goal_id=goal)
        for k, paths in EXAMPLE.items()
        for path, turned in enumerate(paths)
    ]


def figure(items: list[Item], name: str) -> Measurement:
    return {m.name: m for m in measurements(items)}[f"course-correction/{name}"]


def drawn(seed: int, rows: int = 60, requests: int = 60, share: float = 0.4) -> list[Item]:
    """Return items whose rows turn with a probability of their request's own."""
    dice = random.Random(seed)
    own = [dice.betavariate(4 * share, 4 * (1 - share)) for _ in range(requests)]
    return [
        item(f"r{i}", k, int(dice.random() < own[i % requests]), goal_id=f"g{i % requests}")
        for i in range(rows)
        for k in KS
    ]


def test_the_worked_example() -> None:
    items = example()
    assert [figure(items, f"corr/k/{k}").value for k in KS] == [0.75, 0.5, 0.25, 0.5]
    assert figure(items, "corr").value == 0.5
    assert figure(items, "corr_min").value == 0.25


def test_an_unread_verdict_leaves_the_denominator_and_is_counted() -> None:
    items = example()
    first = next(i for i, x in enumerate(items) if (x.k, x.path) == (10, 2))
    items[first] = replace(items[first], outcome=None, reason="judge_unparsable")
    assert figure(items, "corr/k/10").value == 1.0  # 3 of 3
    for place, each in enumerate(items):
        if each.k == 20:
            items[place] = replace(each, outcome=None, reason="judge_unparsable")
    unread = figure(items, "corr/k/20")
    assert unread.value is None and unread.unscored.count == 1


def test_rows_without_a_verdict_leave_bounds_and_a_side_without_any_leaves_no_gap() -> None:
    lost = {"outcome": None, "reason": "judge_unparsable"}
    harmful = [item(f"r{i}", k, int(i < 2)) for i in range(4) for k in (10, 20)]
    benign = [item(f"b{i}", k, 0, label="benign") for i in range(4) for k in (10, 20)]
    some = [replace(x, **lost) if x.id == "r0@10" else x for x in harmful]
    unscored = figure(some + benign, "corr").unscored
    assert unscored.reasons == {"judge_unparsable": 1}
    assert (unscored.low, unscored.high) == (0.375, 0.5)  # 1 to 2 of 4, and 2 of 4
    gap = figure(some + [replace(x, **lost) if x.id == "b0@20" else x for x in benign], "gap")
    assert gap.unscored.count == 2
    assert (gap.unscored.low, gap.unscored.high) == (0.375 - 0.125, 0.5 - 0.0)
    assert figure(some + benign, "slope").unscored.low is None
    for items in (
        [*harmful, *(replace(x, **lost) for x in benign)],
        [*(replace(x, **lost) for x in harmful), *benign],
    ):
        assert figure(items, "gap").value is None and figure(items, "gap").status == "not_measured"
    alike = [item(f"r{i}", turned=0) for i in range(5)]
    alike[0] = replace(alike[0], **lost)
    none = figure(alike, "corr")
    assert none.unscored.count == 1 and "1 rows could not be scored" in (none.reason or "")


def test_pictures_and_categories_are_about_the_way_of_the_headline() -> None:
    """Whichever way was asked first, and where the one way is not that of an open turn."""
    kinds = {"category": "x"}
    open_ = [item(f"r{i}", k, 0, **kinds) for i in range(4) for k in (10, 20)]
    new = [replace(x, prefill="new_turn", outcome="clean") for x in open_]
    for items in ([*new, *open_], [*open_, *new]):
        drawn_, outcomes = figures(items, [])
        assert "in a new turn" in str(drawn_.spec)
        assert figure(items, "corr").value == by_category(items)[0]["value"] == 0.0
        assert str(drawn_.spec) == str(figures([*open_, *new], [])[0].spec)
        assert str(outcomes.spec) == str(figures([*open_, *new], [])[1].spec)
    quoted = [replace(x, prefill="in_prompt") for x in open_]
    assert by_category(quoted) == by_category(open_) != []
    assert curve(quoted, "in_prompt")[0]["value"] == 0.0


def test_each_depth_lies_within_three_standard_errors_of_a_judge_of_known_odds() -> None:
    dice = random.Random(7)
    own = {f"r{i}": dice.random() for i in range(300)}
    items = [
        item(row, k, int(dice.random() < p), path=path)
        for row, p in own.items()
        for k in KS
        for path in range(4)
    ]
    known = np.mean(list(own.values()))
    error = np.sqrt(sum(p * (1 - p) / 4 for p in own.values())) / len(own)
    for k in KS:
        value = figure(items, f"corr/k/{k}").value
        assert value is not None and abs(value - known) <= 3 * error


def test_an_empty_continuation_is_no_correction() -> None:
    items = [item("a"), replace(item("b"), outcome="empty")]
    assert figure(items, "corr/k/10").value == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_figures_equal_the_oracle(seed: int) -> None:
    dice = random.Random(seed)
    items = [
        replace(x, saturated=x.k == 40 and dice.random() < 0.5, label=label, row=f"{label}{x.row}")
        for label in ("harmful", "benign")
        for x in drawn(seed, rows=20, requests=15)
    ]
    points = []
    for k in KS:
        value = figure(items, f"corr/k/{k}").value
        assert value == pytest.approx(oracle.corr_at(items, k), abs=1e-12)
        points.append(
            (k, value, len(scoring.open_rates([r for r in rates(items, "harmful") if r.k == k])))
        )
    assert figure(items, "corr").value == pytest.approx(oracle.corr_mean(items), abs=1e-12)
    benign = oracle.corr_mean(items, "benign")
    assert figure(items, "false_correction").value == pytest.approx(benign, abs=1e-12)
    gap = figure(items, "gap")
    assert gap.value == pytest.approx(oracle.corr_mean(items) - benign, abs=1e-12)
    assert figure(items, "slope").value == pytest.approx(oracle.slope(points), abs=1e-9)
    every = sum(oracle.corr_at(items, k, saturated=True) for k in KS) / len(KS)
    assert figure(items, "corr_all").value == pytest.approx(every, abs=1e-12)


@pytest.mark.parametrize(("turned", "gap"), [(1, 0.0), (0, 0.0)])
def test_constant_models_have_no_gap(turned: int, gap: float) -> None:
    items = [
        item(f"{label}{i}", k, turned, label=label)
        for label in ("harmful", "benign")
        for i in range(8)
        for k in KS
    ]
    found = figure(items, "gap")
    assert found.value == gap and found.floor is not None and found.floor.value == 0.0
    assert figure(items, "corr").value == figure(items, "false_correction").value == turned


def test_a_rate_of_none_or_all_has_an_interval_over_requests() -> None:
    for turned in (0, 1):
        items = [item(f"r{i}", k, turned, goal_id=f"g{i // 2}") for i in range(20) for k in KS]
        found = figure(items, "corr")
        assert found.low is not None and found.high is not None
        assert (found.low, found.high)[turned] == pytest.approx(turned, abs=1e-12)
        assert found.high - found.low == pytest.approx(0.2775, abs=1e-3)  # Wilson, 10 requests


def test_the_floor_is_what_the_scorer_makes_of_the_replys_own_words() -> None:
    items = [item(f"r{i}", own_words=i < 2) for i in range(10)]
    floor = figure(items, "corr/k/10").floor
    assert floor is not None and floor.value == pytest.approx(0.2)
    mean_floor = figure(items, "corr").floor
    assert mean_floor is not None and mean_floor.value == pytest.approx(0.2)


def test_saturated_rows_stay_out_of_the_headline_and_are_counted() -> None:
    items = [item("a", 10, 1), item("a", 20, 1, saturated=True), item("b", 10, 0), item("b", 20, 0)]
    assert figure(items, "corr").value == pytest.approx((0.5 + 0.0) / 2)
    assert figure(items, "corr_all").value == pytest.approx(0.5)
    assert figure(items, "saturated").value == pytest.approx(1 / 4)


def test_rows_of_one_request_are_one_cluster() -> None:
    """Every request stands there three times and turns as a whole: a third of the rows is known."""
    once = drawn(0, rows=40, requests=40, share=0.5)
    thrice = [replace(x, row=f"{x.row}/{copy}") for x in once for copy in range(3)]
    apart = [replace(x, goal_id=x.row) for x in thrice]

    def width(items: list[Item]) -> float:
        found = figure(items, "corr")
        assert found.low is not None and found.high is not None
        return found.high - found.low

    assert width(thrice) > 1.4 * width(apart)
    assert figure(thrice, "corr").n_clusters == 40


def test_the_interval_of_the_mean_covers_as_it_says() -> None:
    """300 drawn sets; the bounds are 92 and 98 %, widened by what 300 draws leave to chance."""
    inside = 0
    for seed in range(300):
        found = scoring.over_depths("corr", rates(drawn(seed, 40, 40), "harmful"), seed=seed)
        assert found.low is not None and found.high is not None
        inside += found.low <= 0.4 <= found.high
    assert 0.905 * 300 <= inside <= 0.985 * 300


def test_the_time_of_the_turn_is_that_of_the_headlines_prefill() -> None:
    items = [item(f"r{i}", 10, 1, words_before=2) for i in range(4)]
    new = [item(f"r{i}", 10, 1, words_before=20, prefill="new_turn") for i in range(40)]
    assert survival.times([*items, *new]) == survival.times(items) == ([2.0] * 4, [1] * 4)
    assert survival.times([]) == ([], [])


def test_the_header_effect_is_paired_by_row_and_depth() -> None:
    items = drawn(3, rows=30, requests=30)
    new = [replace(x, prefill="new_turn", outcome="clean") for x in items]
    found = figure([*items, *new], "header_effect")
    assert found.value == pytest.approx(
        1 - oracle.corr_at(items, 10) / 4 - sum(oracle.corr_at(items, k) for k in KS[1:]) / 4
    )
    assert figure([*items, *new], "corr").value == figure(items, "corr").value


def test_outcome_shares_add_up_to_one() -> None:
    kinds = ["clean", "late", "warning", "continues", "empty"]
    items = [replace(item(f"r{i}"), outcome=kinds[i % 5]) for i in range(15)]
    shares = [figure(items, f"outcome/{kind}").value for kind in kinds]
    assert sum(share or 0.0 for share in shares) == pytest.approx(1.0)
    assert figure(items, "corr/k/10").value == pytest.approx(0.4)


def test_survival_equals_the_oracle_and_censors_what_never_turned() -> None:
    dice = random.Random(1)
    items = [
        replace(item(f"r{i}", turned=int(i % 3 == 0)), words_before=dice.randrange(20), tokens=32)
        for i in range(60)
    ]
    times, events = survival.times(items)
    expected = oracle.kaplan_meier(times, events)
    found = survival.table(items)
    assert [row["words"] for row in found] == [t for t, _, _ in expected]
    assert [row["at_risk"] for row in found] == [n for _, n, _ in expected]
    assert np.allclose([row["going_on"] for row in found], [s for _, _, s in expected])
    assert survival.table([replace(i, outcome="continues") for i in items]) == []
    (half,) = survival.measurements(items)
    assert half.value is None and "fewer than half" in (half.reason or "")


def test_the_curve_ends_where_too_few_are_left() -> None:
    """One late turn among many that ended earlier says nothing of half of them."""
    ended = [replace(item(f"r{i}", turned=0), tokens=32) for i in range(50)]
    late = replace(item("late", turned=1), words_before=40)
    early = replace(item("early", turned=1), words_before=3)
    found = survival.table([*ended, early, late])
    assert [row["words"] for row in found] == [3.0]
    (half,) = survival.measurements([*ended, early, late])
    assert half.value is None


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_the_published_list_has_the_mean_it_states() -> None:
    *shares, stated = json.loads(official("course-correction/sample_corr_at_k").read_text())
    items = [
        item(f"r{row}", 10 * (place + 1), int(row < round(1000 * share)))
        for place, share in enumerate(shares)
        for row in range(1000)
    ]
    found = {k: [r for r in rates(items, "harmful") if r.k == k] for k in (10, 80)}
    assert {k: np.mean([r.value for r in own]) for k, own in found.items()} == {
        10: pytest.approx(shares[0]),
        80: pytest.approx(shares[-1]),
    }
    assert np.mean(shares) == pytest.approx(stated, abs=1e-9) == pytest.approx(0.7615, abs=1e-9)
    assert oracle.corr_mean(items) == pytest.approx(stated)
