"""Captures larger than memory: units go to disk as they finish, one file per site."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.engine.activations import INDEX, Activations, filling, saved_plan
from theodolite.execution import Unit, map_units
from theodolite.runs.tensors import load_tensors, save_tensors
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    import torch

    from theodolite.engine.capture import Reader
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


def to_disk(
    reader: Reader,
    units: Sequence[Unit],
    journal: Journal | None,
    progress: Progress | None,
    out: Path,
) -> Activations:
    """Put the units into one file per site, a unit in memory at a time.

    Note: with a journal each unit first has a file of its own, which a resumed run finds; what an
        earlier call finished whole is not computed again.
    """
    plan = content_key([(unit.key, unit.items) for unit in units])
    if journal is not None and saved_plan(out) == plan:
        return Activations.load(out)
    parts = out / "units"

    def work(unit: Unit) -> dict[str, Any]:
        save_tensors(parts / f"{unit.key}.safetensors", reader.read(reader.batches[unit.key]))
        return {"file": f"{unit.key}.safetensors"}

    with ExitStack() as files:
        fill = {
            site: files.enter_context(
                filling(
                    out / f"{site}.safetensors",
                    (len(reader.encoded), *reader.shape(site)),
                    reader.request.dtype,
                )
            )
            for site in reader.request.sites
        }

        def put(unit: Unit, values: dict[str, torch.Tensor]) -> dict[str, Any]:
            for site, items in product(fill, reader.places[unit.key]):
                fill[site](items, values[site])
            return {}

        def read(unit: Unit) -> dict[str, Any]:
            return put(unit, reader.read(reader.batches[unit.key]))

        kept = work if journal is not None else read
        map_units(units, kept, journal=journal, progress=progress, label="capture")
        for unit in units if journal is not None else ():
            if not (parts / f"{unit.key}.safetensors").exists():  # the journal outlived the folder
                work(unit)
            put(unit, load_tensors(parts / f"{unit.key}.safetensors"))
        (out / INDEX).unlink(missing_ok=True)  # the files it names are replaced now
    reader.activations(reader.empty(0)).save_index(out, plan=plan)
    for unit in units if journal is not None else ():
        (parts / f"{unit.key}.safetensors").unlink(missing_ok=True)
    return Activations.load(out)
