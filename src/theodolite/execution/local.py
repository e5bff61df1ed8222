"""Run planned units and keep each result: what is in the journal is never computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from theodolite.errors import Interrupted
from theodolite.execution.units import Executor, Unit, Work
from theodolite.runs.journal import Journal
from theodolite.runs.panel import Progress
from theodolite.runs.tensors import is_array


def in_process(units: Sequence[Unit], work: Work, /) -> Iterator[tuple[Unit, dict[str, Any]]]:
    """Run the units one after the other in this process."""
    for unit in units:
        yield unit, work(unit)


def map_units(
    units: Sequence[Unit],
    work: Work,
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
    label: str = "units",
    executor: Executor = in_process,
) -> list[dict[str, Any]]:
    """Return the result of every unit, in unit order, computing only what is not in the journal.

    Args:
        units: the whole plan; made before the journal is read, so that a resumed run computes the
            very batches of the first one. Units with one key are one unit.
        work: computes one unit. Its result is a dict of JSON values; torch tensors and numpy
            arrays are allowed as top-level values. It may store the result itself with
            `journal.put_tensors(unit.key, ...)` and return anything.
        journal: where results are kept as they finish; None keeps them in memory only.
        progress: told of finished units, also of reused ones; steps are the units' costs.
        label: what is being done, for progress and messages.
        executor: where the units run.

    Returns:
        Results as the journal holds them (tuples are lists, fresh or reused); without a journal
        as `work` returned them.

    Raises:
        Interrupted: the user stopped the work; finished units stay in the journal.

    Note: an error of one unit ends the work at once and leaves the finished units in the journal.
    """
    done = _reuse(units, journal)
    todo = list({unit.key: unit for unit in units if unit.key not in done}.values())
    if progress is not None:
        progress.start(label, sum(unit.cost for unit in units))
        progress.advance(sum(unit.cost for unit in units if unit.key in done))
    copies = {unit.key: 0 for unit in todo}
    for unit in units:
        if unit.key in copies:
            copies[unit.key] += unit.cost
    try:
        for unit, result in executor(todo, work):
            done[unit.key] = result if journal is None else _keep(journal, unit.key, result)
            if progress is not None:
                progress.advance(copies[unit.key])
    except KeyboardInterrupt:
        raise _interrupted(label, len(units), journal, units) from None
    return [done[unit.key] for unit in units]


def _reuse(units: Sequence[Unit], journal: Journal | None) -> dict[str, dict[str, Any]]:
    if journal is None:
        return {}
    return {unit.key: _read(journal, unit.key) for unit in units if journal.has(unit.key)}


def _read(journal: Journal, key: str) -> dict[str, Any]:
    stored = journal.get_tensors(key)
    if stored is not None:
        tensors, meta = stored
        return {**meta, **tensors}
    return journal.get(key) or {}


def _keep(journal: Journal, key: str, result: dict[str, Any]) -> dict[str, Any]:
    if not journal.has(key):
        tensors = {name: value for name, value in result.items() if is_array(value)}
        rest = {name: value for name, value in result.items() if name not in tensors}
        if tensors:
            journal.put_tensors(key, tensors, rest)
        else:
            journal.put(key, rest)
    return _read(journal, key)


def _interrupted(
    label: str, total: int, journal: Journal | None, units: Sequence[Unit]
) -> Interrupted:
    if journal is None:
        return Interrupted(f"Stopped during {label}; nothing was kept.", fix="Run it again.")
    finished = sum(journal.has(unit.key) for unit in units)
    how = f"Resume with `{journal.resume}`." if journal.resume else "Run it again to go on."
    return Interrupted(f"Stopped during {label}: {finished} of {total} units are kept.", fix=how)
