"""The runs in a folder: list them, look at one, remove one, ask questions across all of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from theodolite.errors import RunError
from theodolite.runs.atomic import as_run_error
from theodolite.runs.lock import is_locked
from theodolite.runs.manifest import COMPLETE, MANIFEST, read_manifest
from theodolite.text.display import escape


@dataclass(frozen=True)
class RunSummary:
    """One line of `runs list`; times in UTC."""

    path: Path
    command: str
    model: str
    started: str
    ended: str | None
    status: Literal["complete", "running", "unfinished"]


def summarise(path: Path) -> RunSummary:
    """Return one run's summary.

    Raises:
        RunError: the folder is no run.
    """
    manifest = read_manifest(path)
    status: Literal["complete", "running", "unfinished"] = "unfinished"
    if (path / COMPLETE).is_file():
        status = "complete"
    elif is_locked(path / "journal.lock"):
        status = "running"
    return RunSummary(
        path=path,
        command=str(manifest["command"]),
        model=str(manifest["model"]["name"]),
        started=str(manifest["started"]),
        ended=manifest["ended"],
        status=status,
    )


def list_runs(root: Path) -> list[RunSummary]:
    """Return the runs directly inside `root`, newest first; other folders are passed over."""
    if not root.is_dir():
        return []
    runs = []
    for path in root.iterdir():
        if path.is_symlink() or not (path / MANIFEST).is_file():
            continue
        try:
            runs.append(summarise(path))
        except (RunError, KeyError, TypeError):
            continue  # a broken manifest must not hide the other runs
    # Two runs of one second differ in the number at the end of the name (none, 2, 3, ...).
    return sorted(runs, key=lambda run: (run.started, len(run.path.name), run.path.name))[::-1]


def find_run(name: str, root: Path) -> Path:
    """Return the run folder meant by a path, by a name inside `root`, or by `latest`.

    Raises:
        RunError: there is no such run.
    """
    if name == "latest":
        runs = list_runs(root)
        if not runs:
            raise RunError(
                f"There are no runs in {escape(str(root))}.",
                fix="Start one with `theodolite audit`.",
            )
        return runs[0].path
    for path in (Path(name), root / name):
        if (path / MANIFEST).is_file():
            return path
    raise RunError(
        f"There is no run {escape(name)} here or in {escape(str(root))}.",
        fix="See `theodolite runs list`.",
    )


def remove_run(path: Path, root: Path) -> None:
    """Delete a run folder inside `root`.

    Raises:
        RunError: the folder is no run, is a link, lies outside `root`, or is being written.
    """
    name = escape(str(path))
    if path.is_symlink():
        raise RunError(f"{name} is a link.", fix="Remove the link yourself.")
    inside, base = path.resolve(), root.resolve()
    if inside == base or base not in inside.parents:
        raise RunError(
            f"{name} is not inside {escape(str(root))}.", fix="Remove that folder yourself."
        )
    if summarise(path).status == "running" or is_locked(path / "journal.lock"):
        raise RunError(f"{name} is being written.", fix="Stop its process first.")
    with as_run_error(path):
        shutil.rmtree(path)


def query_measurements(
    root: Path, sql: str = "SELECT * FROM measurements", parameters: list[Any] | None = None
) -> list[dict[str, Any]]:
    """Return the records that a query over all runs' measurements selects.

    Args:
        root: the folder that holds the runs.
        sql: DuckDB SQL over the table `measurements` (the columns of `measurements.parquet`
            behind `run, command, model, seed, started, run_status`); it can read nothing else.
        parameters: values for the `?` of the query.

    Raises:
        RunError: the query is not valid.
    """
    import duckdb

    with duckdb.connect(":memory:", config={"enable_external_access": False}) as database:
        database.register("measurements", _all_measurements(root))
        try:
            answer = database.execute(sql, parameters or [])
            columns = [column[0] for column in answer.description or []]
            return [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
        except duckdb.Error as error:
            first = next(iter(str(error).splitlines()), "")
            raise RunError(
                f"The query does not work: {escape(first, 300)}.",
                fix="The table `measurements` is the only one there is.",
            ) from error


def _all_measurements(root: Path) -> Any:
    """Return one Arrow table of all runs' measurements, newest run first."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for run in list_runs(root):
        path = run.path / "measurements.parquet"
        if not path.is_file():
            continue
        rows = pq.ParquetFile(path).read()
        seed = read_manifest(run.path)["seed"]
        about = {
            "run": run.path.name,
            "command": run.command,
            "model": run.model,
            "seed": seed,
            "started": run.started,
            "run_status": run.status,
        }
        for position, (name, value) in enumerate(about.items()):
            column = pa.array([value] * rows.num_rows, type=pa.scalar(value).type)
            rows = rows.add_column(position, name, column)
        tables.append(rows)
    if not tables:
        raise RunError(
            f"No run in {escape(str(root))} holds measurements yet.", fix="Finish a run first."
        )
    return pa.concat_tables(tables, promote_options="default")
