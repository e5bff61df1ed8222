"""Differences between two runs: paired where the items allow it, honest where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.errors import RunError
from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Measurement, not_measured
from theodolite.measure.multiple import holm
from theodolite.measure.paired import mcnemar, paired_difference, paired_test
from theodolite.runs.compare import compare
from theodolite.runs.run import Run

A = [True] * 30 + [False] * 30
B = [True] * 10 + [False] * 50


def made(
    root: Path,
    measurements: Sequence[Measurement],
    tables: dict[str, list[dict[str, Any]]] | None = None,
    panel: str = "refusal",
    **asked: Any,
) -> Run:
    with Run.create("audit", "m", root=root, **asked) as run:
        run.save_measurements(measurements, panel)
        for name, rows in (tables or {}).items():
            run.save_table(name, rows)
        run.commit()
    return Run.open(run.path)


def items(outcomes: Sequence[float | None], **more: Any) -> list[dict[str, Any]]:
    return [{"id": f"i{i}", "outcome": value, **more} for i, value in enumerate(outcomes)]


def share(name: str, outcomes: Sequence[bool | None]) -> Measurement:
    return proportion(name, outcomes)


def test_the_same_items_are_compared_in_pairs_in_any_row_order(tmp_path: Path) -> None:
    a = made(tmp_path, [share("rate", A)], {"refusal/items": items(A)})
    b = made(tmp_path, [share("rate", B)], {"refusal/items": items(B)[::-1]})
    result = compare(a, b)
    (row,), (measurement,) = result.rows, result.measurements
    expected = paired_difference(B, A, name="difference/rate", range=(0, 1))
    assert measurement == expected and measurement.value == pytest.approx(-1 / 3)
    assert row["paired"] is True and row["n"] == 60
    assert row["p"] == mcnemar(B, A).p_value == row["p_holm"]
    assert (row["a"], row["b"], row["difference"]) == (0.5, 10 / 60, expected.value)
    assert (row["low"], row["high"]) == (expected.low, expected.high)
    assert "mcnemar" in row["method"] and row["measurement"] == "rate"


def test_several_figures_of_one_table_are_told_apart_and_adjusted(tmp_path: Path) -> None:
    def rows(one: Sequence[bool], two: Sequence[bool]) -> dict[str, list[dict[str, Any]]]:
        return {"refusal/t": items(one, measurement="one") + items(two, measurement="two")}

    a = made(tmp_path, [share("one", A), share("two", B)], rows(A, B))
    b = made(tmp_path, [share("one", B), share("two", A)], rows(B, A))
    result = compare(a, b)
    assert [row["paired"] for row in result.rows] == [True, True]
    assert [row["p_holm"] for row in result.rows] == list(holm([row["p"] for row in result.rows]))
    assert result.rows[0]["p_holm"] == 2 * result.rows[0]["p"]


def test_clusters_and_unscored_items_are_respected(tmp_path: Path) -> None:
    one = [0.5, 0.25, None, 1.0, 0.0, 0.5]
    two = [0.75, 0.5, 0.0, None, 0.5, 0.5]
    groups = ["x", "x", "y", "y", "z", "z"]

    def run(values: Sequence[float | None]) -> Run:
        figure = mean("score", values, clusters=groups, unit="points")
        table = [{**row, "cluster": g} for row, g in zip(items(values), groups, strict=True)]
        return made(tmp_path, [figure], {"refusal/t": table})

    (row,) = compare(run(one), run(two)).rows
    expected = paired_difference(two, one, groups, unit="points")
    assert row["paired"] and row["n"] == 4
    assert (row["difference"], row["low"], row["high"]) == (
        expected.value,
        expected.low,
        expected.high,
    )
    assert row["p"] == paired_test(two, one, groups).p_value


def test_several_samples_of_an_item_are_pairs_of_their_own(tmp_path: Path) -> None:
    def run(outcomes: Sequence[bool]) -> Run:
        rows = [{"id": i // 2, "sample": i % 2, "outcome": v} for i, v in enumerate(outcomes)]
        return made(tmp_path, [share("rate", outcomes)], {"refusal/t": rows})

    assert compare(run(A), run(B)).rows[0]["paired"] is True


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (None, "do not keep the outcomes"),
        (items([True] * 60), "do not keep the outcomes"),  # another mean than the figure
        (items(B)[:30], "do not keep the outcomes"),
        (items(B) + items(B), "do not keep the outcomes"),  # ids that are not unique
        ([{**row, "id": f"j{i}"} for i, row in enumerate(items(B))], "share 0 of 60 and 60 items"),
        (items(B, measurement="other"), "do not keep the outcomes"),
        (items(["yes"] * 60), "do not keep the outcomes"),  # type: ignore[list-item]
    ],
)
def test_without_the_same_items_the_difference_is_unpaired(
    tmp_path: Path, table: list[dict[str, Any]] | None, why: str
) -> None:
    a = made(tmp_path, [share("rate", A)], {"refusal/t": items(A)})
    b = made(tmp_path, [share("rate", B)], {"refusal/t": table} if table else {})
    (row,) = compare(a, b).rows
    assert row["paired"] is False and why in row["reason"] and row["n"] == 120
    assert row["difference"] == pytest.approx(-1 / 3) and 0 < row["p"] < 0.01


def test_a_table_of_another_panel_is_not_used(tmp_path: Path) -> None:
    a = made(tmp_path, [share("rate", A)], {"other/t": items(A)})
    b = made(tmp_path, [share("rate", B)], {"other/t": items(B)})
    assert compare(a, b).rows[0]["paired"] is False


def test_unpaired_shares_have_the_newcombe_interval(tmp_path: Path) -> None:
    from statsmodels.stats.proportion import confint_proportions_2indep

    (row,) = compare(made(tmp_path, [share("r", A)]), made(tmp_path, [share("r", B)])).rows
    expected = confint_proportions_2indep(10, 60, 30, 60, method="newcomb", compare="diff")
    assert (row["low"], row["high"]) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 39), st.integers(1, 39))
def test_the_unpaired_p_value_agrees_with_its_interval(
    tmp_path_factory: pytest.TempPathFactory, one: int, two: int
) -> None:
    root = tmp_path_factory.mktemp("runs")
    sides = [
        made(root, [share("r", [True] * count + [False] * (40 - count))]) for count in (one, two)
    ]
    (row,) = compare(*sides).rows
    assert (row["p"] < 0.05) == (row["low"] > 0 or row["high"] < 0)
    (back,) = compare(*sides[::-1]).rows
    assert back["p"] == pytest.approx(row["p"]) and back["low"] == pytest.approx(-row["high"])


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    a = made(
        tmp_path,
        [
            share("both", A),
            share("only a", A),
            not_measured("down", "share", "judge down"),
            Measurement("bare", 1.0, "nats", 1),
            Measurement("unit", 1.0, "nats", 1),
        ],
    )
    b = made(
        tmp_path,
        [
            share("both", B),
            share("down", B),
            Measurement("bare", 2.0, "nats", 1),
            Measurement("unit", 1.0, "bits", 1),
            share("only b", B),
        ],
    )
    result = compare(a, b)
    rows = {row["measurement"]: row for row in result.rows}
    assert list(rows) == ["both", "only a", "down", "bare", "unit", "only b"]
    assert rows["only a"]["reason"] == "only run A has this figure"
    assert rows["only b"]["reason"] == "only run B has this figure" and rows["only b"]["a"] is None
    assert rows["down"]["reason"] == "not measured in run A: judge down"
    assert rows["unit"]["reason"] == "run A counts in nats, run B in bits"
    assert rows["bare"]["difference"] == 1.0 and rows["bare"]["p"] is None
    assert "no interval" in rows["bare"]["reason"]
    assert rows["both"]["p_holm"] == rows["both"]["p"]  # only tests that were made are counted
    assert [m.status for m in result.measurements].count("not_measured") == 4


def test_one_name_in_two_panels_is_told_apart_by_panel(tmp_path: Path) -> None:
    runs = []
    for outcomes in (A, B):
        with Run.create("audit", "m", root=tmp_path) as run:
            run.save_measurements([share("n", outcomes)], "one")
            run.save_measurements([share("n", A)], "two")
        runs.append(Run.open(run.path))
    rows = compare(*runs).rows
    assert {row["measurement"]: row["difference"] for row in rows} == {
        "n": pytest.approx(-1 / 3),
        "two/n": 0.0,
    }


def test_a_run_with_a_base_is_compared_with_one_without(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path) as alone:
        alone.save_measurements([share("n", A)], "panel")
    with Run.create("audit", "m", root=tmp_path) as based:
        based.save_measurements([share("n", B)], "panel")
        based.save_measurements([share("n", A)], "panel.base")
    rows = {row["measurement"]: row for row in compare(alone, based).rows}
    assert rows["n"]["difference"] == pytest.approx(-1 / 3)
    assert rows["panel.base/n"]["reason"] == "only run B has this figure"


def test_settings_that_differ_are_listed(tmp_path: Path) -> None:
    figures = [share("rate", A)]
    a = made(tmp_path, figures, seed=1, config={"x": {"y": 1}}, model={"fingerprint": "f1"})
    b = made(tmp_path, figures, seed=2, config={"x": {"y": 2}}, model={"fingerprint": "f2"})
    assert compare(a, b).settings == [
        {"setting": "model.fingerprint", "a": "f1", "b": "f2"},
        {"setting": "config.x.y", "a": 1, "b": 2},
        {"setting": "seed", "a": 1, "b": 2},
    ]
    assert compare(a, a).settings == []


def test_runs_without_a_common_figure_are_refused(tmp_path: Path) -> None:
    a, b = made(tmp_path, [share("one", A)]), made(tmp_path, [share("two", A)])
    with pytest.raises(RunError, match="have no figure in common"):
        compare(a, b)
