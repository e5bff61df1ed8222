"""Tables on disk: a list of records to one parquet file and back, columns named as in the JSON.

Columns keep the order of first appearance. A column of whole numbers, numbers, truth values or
text is stored as such (missing values are null, NaN stays NaN). Any other column (nested, mixed,
text that has no UTF-8 form) is stored as JSON text and marked, so that it is read back as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from theodolite.errors import RunError
from theodolite.runs.atomic import write_bytes
from theodolite.runs.strict_json import json_value
from theodolite.text.display import escape

Row = Mapping[str, Any]

_JSON_MARK = {b"theodolite": b"json"}

MEASUREMENT_COLUMNS = {
    "panel": "text",
    "name": "text",
    "value": "number",
    "unit": "text",
    "n": "whole",
    "n_clusters": "whole",
    "low": "number",
    "high": "number",
    "level": "number",
    "method": "text",
    "floor_name": "text",
    "floor_value": "number",
    "range_low": "number",
    "range_high": "number",
    "unscored_count": "whole",
    "unscored_reasons": "text",
    "unscored_low": "number",
    "unscored_high": "number",
    "judge_name": "text",
    "judge_sensitivity": "number",
    "judge_specificity": "number",
    "judge_corrected": "number",
    "status": "text",
    "reason": "text",
}


def write_table(path: Path, rows: Iterable[Row], columns: Mapping[str, str] | None = None) -> None:
    """Write records as a parquet file, whole or not at all.

    Args:
        path: the file.
        rows: records; a key that a record lacks is null.
        columns: kind per column (`whole`, `number`, `truth`, `text`, `json`), where all of them
            are known beforehand; None reads them from the rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [{str(key): _plain(value) for key, value in row.items()} for row in rows]
    names = list(columns) if columns else list(dict.fromkeys(key for row in records for key in row))
    types = {"whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_(), "none": pa.null()}
    fields, arrays = [], []
    for name in names:
        values = [row.get(name) for row in records]
        kind = columns[name] if columns else _kind(values)
        if kind == "json":
            values = [None if value is None else json.dumps(json_value(value)) for value in values]
        if kind == "number":
            values = [None if value is None else float(value) for value in values]
        mark = _JSON_MARK if kind == "json" else None
        fields.append(pa.field(name, types.get(kind, pa.string()), metadata=mark))
        arrays.append(pa.array(values, type=fields[-1].type))
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), sink)
    write_bytes(path, sink.getvalue().to_pybytes())


def read_table(path: Path) -> list[dict[str, Any]]:
    """Return the records of a parquet file.

    Raises:
        RunError: the file is missing or is no parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{escape(str(path))} cannot be read as parquet: {escape(str(error), 200)}.",
            fix="Copy the run folder again with all its files, or start a new run.",
        ) from error
    marked = [
        f.name for f in table.schema if f.metadata and _JSON_MARK.items() <= f.metadata.items()
    ]
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        for name in marked:
            if row[name] is not None:
                row[name] = json.loads(row[name])
    return rows


def _plain(value: Any) -> Any:
    """Return numpy and torch scalars as Python ones; everything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _kind(values: Sequence[Any]) -> str:
    """Return how a column is stored, from its values."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return "none"
    if kinds == {bool}:
        return "truth"
    whole = all(-(2**63) <= value < 2**63 for value in values if type(value) is int)
    if kinds == {int} and whole:
        return "whole"
    if kinds <= {int, float} and float in kinds and whole:
        return "number"
    if kinds == {str} and all(_has_utf8(value) for value in values if value is not None):
        return "text"
    return "json"


def _has_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
