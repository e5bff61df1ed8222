"""Records to parquet and back, and the strict JSON beside them."""

from __future__ import annotations

import json
import math
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.measure.measurement import Measurement, not_measured
from theodolite.measure.records import as_records, from_records
from theodolite.runs.strict_json import strict_dumps
from theodolite.runs.tables import (
    MEASUREMENT_COLUMNS,
    read_table,
    write_table,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


def round_trip(folder: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    write_table(folder / "t.parquet", rows)
    return read_table(folder / "t.parquet")


@settings(max_examples=80)
@given(rows=st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, min_size=1), max_size=5))
def test_any_records_come_back_with_missing_keys_as_null(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    names = list(dict.fromkeys(key for row in rows for key in row))
    back = round_trip(tmp_path_factory.mktemp("t"), rows)
    assert back == [{name: row.get(name) for name in names} for row in rows]
    assert all(list(row) == names for row in back)


def test_plain_columns_are_plain_parquet_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    row = {"n": 1, "x": 0.5, "ok": True, "text": "a", "none": None, "nested": {"a": [1]}}
    write_table(tmp_path / "t.parquet", [row, {"n": None, "x": 2}])
    schema = pq.read_schema(tmp_path / "t.parquet")
    types = [str(field.type) for field in schema]
    assert types == ["int64", "double", "bool", "string", "null", "string"]
    assert round_trip(tmp_path, [row]) == [row]


def test_numbers_that_json_lacks_stay_in_parquet_and_are_null_in_json(tmp_path: Path) -> None:
    rows = [{"x": math.nan}, {"x": math.inf}, {"x": None}, {"x": -0.5}]
    back = round_trip(tmp_path, rows)
    assert math.isnan(back[0]["x"]) and back[1:] == rows[1:]
    assert json.loads(strict_dumps(rows)) == [{"x": None}, {"x": None}, {"x": None}, {"x": -0.5}]


def test_numpy_scalars_are_plain_numbers(tmp_path: Path) -> None:
    row = {"n": np.int32(3), "x": np.float32(0.5), "ok": np.bool_(True), "list": np.arange(2)}
    assert round_trip(tmp_path, [row]) == [{"n": 3, "x": 0.5, "ok": True, "list": [0, 1]}]
    assert strict_dumps(row) == '{"n": 3, "x": 0.5, "ok": true, "list": [0, 1]}'


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    assert round_trip(tmp_path, []) == []


def test_measurements_come_back_from_flat_rows(tmp_path: Path) -> None:
    measurements = [
        not_measured("a", "share", "why"),
        Measurement("b", 0.5, "nats", 4, low=0.0, high=1.0, range=(0.0, 9.0)),
    ]
    rows = [{"panel": "p", **row} for row in as_records(measurements)]
    write_table(tmp_path / "m.parquet", rows, MEASUREMENT_COLUMNS)
    back = read_table(tmp_path / "m.parquet")
    assert list(back[0]) == list(MEASUREMENT_COLUMNS)
    assert from_records(back) == measurements


def test_every_field_of_a_measurement_has_its_columns() -> None:
    row = as_records([not_measured("a", "share", "why")])[0] | {"panel": "p"}
    assert row.keys() == MEASUREMENT_COLUMNS.keys()


def test_strict_json_knows_what_we_hold_and_refuses_the_rest() -> None:
    value = {
        1: {"b", "a"},
        "p": Path("x/y"),
        "d": date(2025, 1, 2),
        "m": not_measured("a", "s", "w"),
    }
    back = json.loads(strict_dumps(value))
    assert back["1"] == ["a", "b"] and back["p"] == "x/y" and back["d"] == "2025-01-02"
    assert back["m"]["reason"] == "w"
    assert strict_dumps("\ud83d\u2028") == '"\\ud83d\\u2028"'
    with pytest.raises(TypeError, match="object has no JSON form"):
        strict_dumps({"x": [object()]})
