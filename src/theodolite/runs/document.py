"""The one JSON document that every command prints with `--json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from theodolite.measure.measurement import Measurement
from theodolite.runs.run import Run
from theodolite.runs.strict_json import strict_dumps

Tables = Mapping[str, Iterable[Mapping[str, Any]]]


def json_document(
    run: Run | None = None,
    measurements: Sequence[Measurement] | None = None,
    tables: Tables | None = None,
    *,
    indent: int | None = 1,
) -> str:
    """Return `{"run", "measurements", "tables"}` as strict JSON (NaN and infinities are null).

    Args:
        run: the run behind the figures; None where a command makes none (then null).
        measurements: the figures; None takes all of the run's.
        tables: records by table name; None takes all of the run's.
        indent: spaces per level; None for one line.
    """
    if measurements is None:
        measurements = run.load_measurements() if run else []
    if tables is None:
        tables = {name: run.load_table(name) for name in run.table_names()} if run else {}
    about = None
    if run is not None:
        about = {"path": str(run.path), "finished": run.finished, **run.manifest}
    document = {
        "run": about,
        "measurements": [measurement.as_dict() for measurement in measurements],
        "tables": {name: list(rows) for name, rows in tables.items()},
    }
    return strict_dumps(document, indent=indent)
