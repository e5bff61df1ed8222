"""A Measurement survives JSON and parquet, and refuses to be a contradiction."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theodolite.errors import DataError
from theodolite.measure import (
    Floor,
    JudgeQuality,
    Measurement,
    Unscored,
    as_records,
    from_records,
    not_measured,
)

NUMBERS = st.floats(-1e6, 1e6)
NAMES = st.text(max_size=10)


@st.composite
def measurements(draw) -> Measurement:
    low, value, high = sorted(draw(st.tuples(NUMBERS, NUMBERS, NUMBERS)))
    status = draw(st.sampled_from(["measured", "incomplete", "not_measured"]))
    reasons = draw(st.dictionaries(NAMES, st.integers(1, 9), max_size=2))
    bounded = draw(st.booleans())
    return Measurement(
        name=draw(NAMES),
        value=None if status == "not_measured" else value,
        unit=draw(NAMES),
        n=draw(st.integers(0, 10**9)),
        n_clusters=draw(st.none() | st.integers(0, 99)),
        low=low if bounded else None,
        high=high if bounded else None,
        level=draw(st.floats(0.5, 0.999)),
        method=draw(st.none() | NAMES),
        floor=draw(st.none() | st.builds(Floor, NAMES, NUMBERS)),
        range=draw(st.none() | st.just((-1e6, 1e6))),
        unscored=Unscored(sum(reasons.values()), reasons, draw(st.none() | NUMBERS), None),
        judge=draw(st.none() | st.builds(JudgeQuality, NAMES, *[st.none() | st.floats(0, 1)] * 3)),
        status=status,
        reason="because " + draw(NAMES),
    )


@given(measurements())
def test_json_round_trip(m):
    row = json.loads(json.dumps(m.as_dict(), allow_nan=False))
    assert row == m.as_dict()
    assert Measurement.from_dict(row) == m


@given(st.lists(measurements(), max_size=3))
def test_records_round_trip_and_are_flat(ms):
    records = as_records(ms)
    assert from_records(records) == ms
    assert len({tuple(record) for record in records}) <= 1
    for record in records:
        assert all(isinstance(v, str | int | float | None) for v in record.values())


def test_records_pass_through_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    ms = [
        not_measured("a", "share", "no items"),
        Measurement("b", 0.5, "share", 2, low=0.1, high=0.9),
    ]
    pq.write_table(pa.Table.from_pylist(as_records(ms)), tmp_path / "m.parquet")
    assert from_records(pq.read_table(tmp_path / "m.parquet").to_pylist()) == ms


def test_numpy_scalars_become_plain_numbers():
    m = Measurement("a", np.float32(0.5), "x", np.int64(3), low=np.float64(0), high=np.float16(1))
    assert [type(v) for v in (m.value, m.n, m.low, m.high)] == [float, int, float, float]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"value": math.nan}, "not finite"),
        ({"low": -math.inf, "high": 1.0}, "not finite"),
        ({"floor": Floor("x", math.nan)}, "not finite"),
        ({"value": None}, "measured but the value is None"),
        ({"status": "not_measured", "reason": "x"}, "not_measured but the value"),
        ({"status": "incomplete"}, "no reason"),
        ({"status": "great"}, "status must be"),
        ({"level": 1.0}, "level"),
        ({"n": -1}, "negative"),
        ({"low": 0.1}, "one end"),
        ({"low": 0.9, "high": 0.1}, "down to"),
        ({"range": (0.6, 1.0)}, "outside its range"),
    ],
)
def test_contradictions_are_refused(changes, said):
    with pytest.raises(DataError, match=said) as caught:
        Measurement(**{"name": "a\x1b", "value": 0.5, "unit": "share", "n": 2, **changes})
    assert "\x1b" not in str(caught.value)


def test_rounding_at_the_edge_of_the_range_is_forgiven():
    assert Measurement("a", 1 + 1e-12, "share", 2, range=(0.0, 1.0)).value > 1


@pytest.mark.parametrize("change", [{"extra": 1}, {"n": ...}])
def test_wrong_keys_are_refused(change):
    row = not_measured("a", "share", "no items").as_dict()
    row.update(change)
    row = {key: value for key, value in row.items() if value is not ...}
    with pytest.raises(DataError, match="missing or unknown keys"):
        Measurement.from_dict(row)
