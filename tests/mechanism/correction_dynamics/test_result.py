"""Figures, tables and files made of made-up curves, where every number is known by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite.measure.measurement import Measurement
from theodolite.mechanism.correction_dynamics import CorrectionDynamics, Curves
from theodolite.mechanism.correction_dynamics.explain import findings, labels, report, summary
from theodolite.mechanism.correction_dynamics.openings import OpeningTokens
from theodolite.runs.run import Run

NAN = float("nan")


def curves(mass: Any, gap: Any, **more: Any) -> Curves:
    values = np.array(mass, np.float64)
    return Curves(
        refusal_mass=values,
        reply_probability=more.get("reply", values * 0 + 0.5),
        log_odds=values * 0 - 2.0,
        rank=values * 0 + 3.0,
        gap=np.array(gap, np.float64),
    )


def result() -> CorrectionDynamics:
    """Three harmful rows of two goals, the last one ending after 6 tokens, and two benign ones."""
    mass = [[0.4] * 8, [0.2] * 8, [0.3] * 6 + [NAN] * 2, [0.1] * 8, [0.1] * 8]
    base = [[0.1] * 8, [0.1] * 8, [0.1] * 6 + [NAN] * 2, [0.1] * 8, [0.1] * 8]
    kl = [[2.0] * 5 + [0.0] * 3, [1.0] * 8, [1.0] * 6 + [NAN] * 2, [0.0] * 8, [0.5] * 8]
    return CorrectionDynamics(
        ids=("h0", "h1", "h2", "b0", "b1"),
        labels=("harmful",) * 3 + ("benign",) * 2,
        goals=("g0", "g1", "g1", "g2", "g3"),
        lengths=np.array([8, 8, 6, 8, 8]),
        length=8,
        cuts=(0, 4),
        longest=3,
        names=("tuned", "plain"),
        model=curves(mass, [[-1, -2], [-3, -2], [-2, NAN], [-4, -4], [-4, -6]]),
        base=curves(base, [[-2, -2], [-3, -4], [-3, NAN], [-4, -4], [-4, -6]]),
        kl=np.array(kl),
        tokens=OpeningTokens((4, 9), ("But", "No"), (("But", "But please"), ("No",))),
    )


def by_name(found: CorrectionDynamics) -> dict[str, Measurement]:
    return {m.name.removeprefix("correction_dynamics/"): m for m in found.measurements()}


def test_bands_are_means_over_rows_of_what_each_row_reaches() -> None:
    measured = by_name(result())
    late = measured["harmful/refusal_mass/tokens_5_7"]
    assert late.value == pytest.approx(0.3) and (late.n, late.n_clusters) == (3, 2)
    assert late.floor is not None and late.floor.value == pytest.approx(0.1)
    assert late.range == (0.0, 1.0) and late.unit == "share"
    early = measured["harmful/kl/tokens_0_4"]
    assert early.value == pytest.approx(4 / 3)
    assert early.floor is not None and early.floor.name == "a model against itself"
    assert measured["benign/refusal_mass/tokens_0_4"].floor is None


def test_rows_that_end_are_unscored_with_a_reason() -> None:
    found = replace(result(), cuts=(0, 7))
    measured = by_name(found)
    gap = measured["harmful/gap/after_7"]
    assert gap.value == pytest.approx(-2.0) and gap.n == 2
    assert dict(gap.unscored.reasons) == {"fewer than 3 tokens of the reply are left after 7": 1}
    longer = replace(found, length=30, model=widened(found.model), kl=wide(found.kl), base=None)
    band = by_name(longer)["harmful/refusal_mass/tokens_20_29"]
    assert band.value is None and "the reply ends before token 20" in band.unscored.reasons


def wide(values: Any) -> Any:
    return np.pad(values, ((0, 0), (0, 22)), constant_values=NAN)


def widened(old: Curves) -> Curves:
    parts = ("refusal_mass", "reply_probability", "log_odds", "rank")
    return replace(old, **{name: wide(getattr(old, name)) for name in parts})


def test_changes_over_the_base_are_paired() -> None:
    measured = by_name(result())
    change = measured["harmful/refusal_mass_over_base/tokens_0_4"]
    assert change.value == pytest.approx((0.3 + 0.1 + 0.2) / 3) and change.range == (-1.0, 1.0)
    assert change.floor is not None and change.floor.name == "no change"
    assert measured["harmful/gap_over_base/after_4"].value == pytest.approx(1.0)
    alone = by_name(replace(result(), base=None, kl=None))
    assert not [name for name in alone if "base" in name or "kl" in name]


def test_the_early_share_of_the_divergence_stands_beside_an_even_spread() -> None:
    measured = by_name(result())
    share = measured["harmful/kl_early_share"]
    assert share.value == pytest.approx((1 + 5 / 8 + 5 / 6) / 3)
    assert share.floor is not None
    assert share.floor.value == pytest.approx((5 / 8 + 5 / 8 + 5 / 6) / 3)
    benign = measured["benign/kl_early_share"]
    assert benign.n == 1 and benign.unscored.count == 1


def test_without_benign_rows_figures_say_that_there_is_no_control() -> None:
    whole = result()
    harmful = replace(
        whole,
        **{name: getattr(whole, name)[:3] for name in ("ids", "labels", "goals", "lengths", "kl")},
        model=Curves(**{n: v[:3] for n, v in vars(whole.model).items()}),
        base=None,
    )
    found = by_name(harmful)["harmful/refusal_mass/tokens_0_4"]
    assert found.floor is None and "no benign replies" in (found.reason or "")


def test_outcomes_have_the_very_means_of_the_figures() -> None:
    found = result()
    measured = {m.name: m for m in found.measurements()}
    rows = found.tables()["correction_dynamics_outcomes"]
    for name in dict.fromkeys(row["measurement"] for row in rows):
        values = [row["outcome"] for row in rows if row["measurement"] == name]
        scored = [value for value in values if value is not None]
        assert measured[name].value == pytest.approx(sum(scored) / len(scored))
        assert measured[name].unscored.count == len(values) - len(scored)


def test_curves_have_gaps_where_no_reply_reaches_and_floors_for_kl() -> None:
    found = result()
    table = found.frame()
    assert {(row["class"], row["who"]) for row in table} == {
        (label, who) for label in ("harmful", "benign") for who in ("model", "base")
    }
    last = next(
        r for r in table if (r["class"], r["who"], r["position"]) == ("harmful", "model", 7)
    )
    assert last["n"] == 2 and last["refusal_mass"] == pytest.approx(0.3)
    assert last["kl"] == pytest.approx(0.5)
    drawn = {figure.name: figure for figure in found.figures()}
    assert {figure.table for figure in drawn.values()} <= set(found.tables())
    lines = [trace.get("name") for trace in drawn["correction_dynamics_kl"].spec["data"]]
    assert "floor: a model against itself" in lines
    assert "harmful, tuned" in lines and "harmful, plain" not in lines


def test_a_result_comes_back_from_a_run_as_it_was(tmp_path: Path) -> None:
    for place, found in enumerate((result(), replace(result(), base=None, kl=None))):
        with Run.create("explain correction-dynamics", out=tmp_path / str(place)) as run:
            found.save(run)
            again = CorrectionDynamics.load(run)
        for name in ("ids", "labels", "goals", "length", "cuts", "longest", "names", "tokens"):
            assert getattr(again, name) == getattr(found, name), name
        assert again.measurements() == found.measurements()
        assert (again.base is None) == (found.base is None)


def test_the_report_says_what_the_figures_say() -> None:
    found = result()
    told = report(found, "made up")
    assert {m.name for m in told.measurements} >= set(labels(found))
    assert "82% of the divergence from plain" in told.findings[1]
    assert "62" in told.findings[1] or "69%" in told.findings[1]
    assert "-2.00 after 0" in told.findings[2]
    assert [row["tokens"] for row in summary(told)] == ["0-4", "5-7", "0-4", "5-7"]
    json.dumps(told.tables)
    same = replace(
        found, kl=np.where(np.isnan(found.kl), NAN, 0.0) if found.kl is not None else None
    )
    said = findings(same, {m.name: m for m in same.measurements()})
    assert "say the same along every reply" in said[1]
