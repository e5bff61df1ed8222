"""Measurements as flat records, one column per fact, for parquet and data frames."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from theodolite.measure.measurement import Measurement

_PARTS = {
    "floor": ("name", "value"),
    "judge": ("name", "sensitivity", "specificity", "corrected"),
    "unscored": ("count", "reasons", "low", "high"),
}


def as_records(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Return one flat record per measurement, all with the same columns.

    Nested parts become `floor_name`, `judge_corrected`, `unscored_count` and so on; the range
    becomes `range_low` and `range_high`; `unscored_reasons` is a JSON object as text.
    """
    return [_flat(measurement) for measurement in measurements]


def from_records(records: Iterable[Mapping[str, Any]]) -> list[Measurement]:
    """Return the measurements that `as_records` flattened; further columns are ignored.

    Raises:
        DataError: a record holds values that contradict each other.
    """
    return [_nested(record) for record in records]


def _flat(measurement: Measurement) -> dict[str, Any]:
    row = measurement.as_dict()
    for part, keys in _PARTS.items():
        values = row.pop(part) or {}
        row.update({f"{part}_{key}": values.get(key) for key in keys})
    row["range_low"], row["range_high"] = row.pop("range") or (None, None)
    row["unscored_reasons"] = json.dumps(row["unscored_reasons"], sort_keys=True)
    return row


def _nested(record: Mapping[str, Any]) -> Measurement:
    row = dict(record)
    row["unscored_reasons"] = json.loads(row["unscored_reasons"])
    nested: dict[str, Any] = {
        part: {key: row[f"{part}_{key}"] for key in keys} for part, keys in _PARTS.items()
    }
    for part in ("floor", "judge"):
        if nested[part]["name"] is None:
            nested[part] = None
    bounded = row["range_low"] is not None
    nested["range"] = (row["range_low"], row["range_high"]) if bounded else None
    own = {name: row[name] for name in Measurement.__dataclass_fields__ if name in row}
    return Measurement.from_dict({**own, **nested})
