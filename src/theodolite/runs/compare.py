"""Two runs side by side: what was asked differently, and what came out differently.

A figure's difference is paired where both runs keep the outcomes behind it, item by item: a table
of the figure's panel with the columns `id` and `outcome` (0/1 or a score; null where unscored) and
optionally `measurement` (which figure a row belongs to), `sample` and `cluster`. Such a table is
used only where its outcomes have the very mean and number that the figure states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, cast

from theodolite.errors import RunError
from theodolite.measure.measurement import Floor, Measurement, not_measured, told_apart
from theodolite.measure.multiple import holm
from theodolite.measure.paired import paired_difference, paired_test
from theodolite.runs.manifest import changed_leaves
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run
from theodolite.text.display import escape

_NO_CHANGE = Floor("no change", 0.0)


@dataclass(frozen=True)
class Comparison:
    """What differs between run A and run B; differences are B minus A.

    Args:
        rows: one record per figure of either run: `measurement, unit, a, a_low, a_high, b, b_low,
            b_high, difference, low, high, paired, n, p, p_holm, method, reason`.
        measurements: the differences as measurements named `difference/<figure>`, same order.
        settings: one record per setting that differs: `setting, a, b`.
    """

    rows: list[dict[str, Any]]
    measurements: list[Measurement]
    settings: list[dict[str, Any]]


# The outcomes behind a figure: (id, sample) -> (outcome or None, cluster).
_Items = Mapping[tuple[Any, Any], tuple[float | None, Any]]


@dataclass(frozen=True)
class _Figure:
    """A measurement of a run, and the outcomes it was made of where the run keeps them."""

    measurement: Measurement
    items: _Items | None


@dataclass(frozen=True)
class _Difference:
    measurement: Measurement
    paired: bool = False
    p: float | None = None
    test: str | None = None


def compare(run_a: Run, run_b: Run, *, seed: int = 0) -> Comparison:
    """Return the differences between two runs, B minus A, with p-values adjusted after Holm.

    Args:
        run_a: the run before, or the base.
        run_b: the run after.
        seed: of the random sign flips of the paired test.

    Raises:
        RunError: the runs have no figure in common.
    """
    a, b = _figures(run_a), _figures(run_b)
    if not a.keys() & b.keys():
        raise RunError(
            f"{escape(str(run_a.path))} and {escape(str(run_b.path))} have no figure in common.",
            fix="Compare two runs of one command.",
        )
    rows, measurements = _differences(a, b, seed)
    return Comparison(rows, measurements, _settings(run_a, run_b))


def compare_results(a: PanelResult, b: PanelResult, *, seed: int = 0) -> Comparison:
    """Return the differences between two results of one panel, B minus A, as `compare` does."""
    rows, measurements = _differences(_result_figures(a), _result_figures(b), seed)
    return Comparison(rows, measurements, [])


def _differences(
    a: Mapping[str, _Figure], b: Mapping[str, _Figure], seed: int
) -> tuple[list[dict[str, Any]], list[Measurement]]:
    """Return one record and one measurement per figure; p-values adjusted after Holm."""
    names = [*a, *(name for name in b if name not in a)]
    differences = [_difference(name, a.get(name), b.get(name), seed) for name in names]
    tested = [difference.p for difference in differences if difference.p is not None]
    adjusted = iter(holm(tested))
    rows = []
    for name, difference in zip(names, differences, strict=True):
        p_holm = None if difference.p is None else float(next(adjusted))
        rows.append(_row(name, a.get(name), b.get(name), difference, p_holm))
    return rows, [difference.measurement for difference in differences]


def _settings(run_a: Run, run_b: Run) -> list[dict[str, Any]]:
    sides = [
        {key: run.manifest.get(key) for key in ("command", "model", "config", "seed", "methods")}
        | {
            "inputs": run.manifest["inputs"],
            "versions": run.manifest["sessions"][-1]["versions"],
            "cpu_threads": run.manifest["sessions"][-1]["cpu_threads"],
            "finished": run.finished,
        }
        for run in (run_a, run_b)
    ]
    leaves = changed_leaves(sides[0], sides[1])
    return [{"setting": name, "a": old, "b": new} for name, old, new in leaves]


def _figures(run: Run) -> dict[str, _Figure]:
    """Return a run's figures by name; names used by several panels are told apart by panel."""
    pairs = run.load_measurements_by_panel()
    tables = _item_tables(run)
    return {
        named.name: _Figure(measurement, _items(tables.get(panel, []), measurement))
        for named, (panel, measurement) in zip(told_apart(pairs), pairs, strict=True)
    }


def _result_figures(result: PanelResult) -> dict[str, _Figure]:
    tables = [rows for rows in result.tables.values() if _holds_items(rows)]
    return {m.name: _Figure(m, _items(tables, m)) for m in result.measurements}


def _holds_items(rows: Sequence[Mapping[str, Any]]) -> bool:
    return bool(rows) and {"id", "outcome"} <= rows[0].keys()


def _item_tables(run: Run) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the tables with `id` and `outcome`, by panel."""
    tables: dict[str, list[list[dict[str, Any]]]] = {}
    for name in run.table_names():
        rows = run.load_table(name)
        if _holds_items(rows):
            tables.setdefault(name.rpartition("/")[0], []).append(rows)
    return tables


def _items(
    tables: Sequence[Sequence[Mapping[str, Any]]], measurement: Measurement
) -> _Items | None:
    """Return the outcomes that the figure was made of, or None where no table holds them."""
    for table in tables:
        rows = [row for row in table if row.get("measurement") in (None, measurement.name)]
        items = {
            (row["id"], row.get("sample") or 0): (_score(row["outcome"]), row.get("cluster"))
            for row in rows
        }
        scored = [outcome for outcome, _ in items.values() if outcome is not None]
        whole = len(items) == len(rows) == len(scored) + measurement.unscored.count
        if not whole or not scored or len(scored) != measurement.n or measurement.value is None:
            continue
        if math.isclose(sum(scored) / len(scored), measurement.value, rel_tol=1e-6, abs_tol=1e-9):
            return items
    return None


def _score(value: Any) -> float | None:
    known = isinstance(value, bool | int | float) and math.isfinite(value)
    return float(value) if known else None


def _difference(name: str, a: _Figure | None, b: _Figure | None, seed: int) -> _Difference:
    title = f"difference/{name}"
    if a is None:
        return _without(title, b, "only run B has this figure")
    if b is None:
        return _without(title, a, "only run A has this figure")
    for side, figure in (("A", a), ("B", b)):
        if figure.measurement.value is None:
            reason = f"not measured in run {side}: {figure.measurement.reason}"
            return _without(title, b, reason)
    units = (a.measurement.unit, b.measurement.unit)
    if units[0] != units[1]:
        return _without(title, b, f"run A counts in {units[0]}, run B in {units[1]}")
    if a.items is None or b.items is None:
        return _unpaired(title, a, b, "the runs do not keep the outcomes of the items")
    if a.items.keys() != b.items.keys():
        shared = len(a.items.keys() & b.items.keys())
        reason = f"the runs share {shared} of {len(a.items)} and {len(b.items)} items"
        return _unpaired(title, a, b, reason)
    return _paired(title, a.items, b.items, b.measurement, seed)


def _without(title: str, figure: _Figure | None, reason: str) -> _Difference:
    unit = figure.measurement.unit if figure else ""
    return _Difference(not_measured(title, unit, reason))


def _paired(title: str, a: _Items, b: _Items, like: Measurement, seed: int) -> _Difference:
    """Return the difference over the same items, with its interval and test."""
    before, after = [a[key][0] for key in a], [b[key][0] for key in a]
    clusters = [cluster for _, cluster in a.values()]
    groups = None if None in clusters else clusters
    measurement = paired_difference(
        after,
        before,
        groups,
        name=title,
        unit=like.unit,
        range=like.range,
        seed=seed,
        level=like.level,
    )
    if measurement.value is None:
        return _Difference(measurement, paired=True)
    test = paired_test(after, before, groups, seed=seed)
    return _Difference(measurement, paired=True, p=test.p_value, test=test.method)


def _unpaired(title: str, a: _Figure, b: _Figure, reason: str) -> _Difference:
    """Return the difference of two figures from their own intervals.

    Source: Newcombe 1998, method 10, for shares; Zou and Donner 2008 for any two intervals. The
    p-value takes the interval's half towards zero as that many standard errors, so that it is
    below 1 - level exactly where the interval excludes zero.
    """
    before, after = a.measurement, b.measurement
    value = cast(float, after.value) - cast(float, before.value)  # the caller has looked
    reach = None
    if before.range is not None and after.range is not None:
        reach = (after.range[0] - before.range[1], after.range[1] - before.range[0])
    result = Measurement(
        name=title,
        value=value,
        unit=after.unit,
        n=before.n + after.n,
        level=after.level,
        floor=_NO_CHANGE,
        range=reach,
        reason=f"unpaired: {reason}",
    )
    if before.low is None or after.low is None or before.level != after.level:
        reason = f"{result.reason}; no interval: run A or B has none at the same level"
        return _Difference(replace(result, reason=reason))
    (down_a, up_a), (down_b, up_b) = _arms(before), _arms(after)
    below, above = math.hypot(down_b, up_a), math.hypot(up_b, down_a)
    result = replace(result, low=value - below, high=value + above, method="mover, unpaired")
    towards_zero = below if value > 0 else above
    if towards_zero == 0:
        return _Difference(result)
    z = NormalDist().inv_cdf((1 + after.level) / 2)
    p = 2 * NormalDist().cdf(-abs(value) * z / towards_zero)
    return _Difference(result, p=p, test="normal, from the intervals")


def _arms(measurement: Measurement) -> tuple[float, float]:
    """Return how far an interval reaches below and above its value (never less than 0)."""
    value, low, high = cast(
        tuple[float, float, float], (measurement.value, measurement.low, measurement.high)
    )
    return max(value - low, 0.0), max(high - value, 0.0)


def _row(
    name: str,
    a: _Figure | None,
    b: _Figure | None,
    difference: _Difference,
    p_holm: float | None,
) -> dict[str, Any]:
    one = a.measurement if a else None
    other = b.measurement if b else None
    result = difference.measurement
    methods = [method for method in (result.method, difference.test) if method]
    return {
        "measurement": name,
        "unit": result.unit,
        "a": one.value if one else None,
        "a_low": one.low if one else None,
        "a_high": one.high if one else None,
        "b": other.value if other else None,
        "b_low": other.low if other else None,
        "b_high": other.high if other else None,
        "difference": result.value,
        "low": result.low,
        "high": result.high,
        "paired": difference.paired,
        "n": result.n,
        "p": difference.p,
        "p_holm": p_holm,
        "method": "; ".join(methods) or None,
        "reason": result.reason,
    }
