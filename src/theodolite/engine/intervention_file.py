"""Interventions on disk, version 1: a JSON list, its tensors beside it, and the model it is for.

    {"version": 1, "model": FINGERPRINT, "interventions": [
        {"kind": "direction", "layer": 3, "site": "resid_post", "direction_ref": "d0",
         "operator": "ablate", "epsilon": null, "alpha": 0.0, "heads": null, "positions": "all"}]}

A head mean may also name its `target`: "q", "k" or "v"; a direction the ends `low` and `high` of
its range; a direction and a subspace the `share` of the way they go; a subspace its `mean_ref`.
`steer.json` keeps its tensors in `steer.safetensors`. Loading reads data only, checks every field
against the open model, and changes nothing: only `apply` acts, and only inside its context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from theodolite.data.json_object import read_json_object
from theodolite.engine.interventions import KINDS, Intervention
from theodolite.errors import ConfigError, DataError, RunError
from theodolite.runs.atomic import write_file
from theodolite.runs.tensors import load_tensors, save_tensors
from theodolite.text.display import escape
from theodolite.text.suggest import nearest

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

VERSION = 1
# Fields of the file and of the dataclasses; the latter files may name, and older ones never do.
_FIELDS = ("layer", "site", "heads", "operator", "target", "epsilon", "alpha", "positions")
_LATER = ("low", "high", "share")
# Tensors, and the fields of the file that name them.
_TENSORS = {
    "head": {"vector": "direction_ref"},
    "direction": {"direction": "direction_ref"},
    "subspace": {"basis": "direction_ref", "mean": "mean_ref"},
    "residual": {"vector": "direction_ref"},
    "mlp": {},
}
_MAY_LACK = {("head", "vector"), ("subspace", "mean")}
_TAKES = {
    "head": {"layer", "heads", "operator", "target", "epsilon", "positions"},
    "direction": {"layer", "site", "operator", "alpha", "positions", *_LATER},
    "subspace": {"layer", "site", "operator", "positions", "share"},
    "residual": {"layer", "site", "operator", "alpha", "positions"},
    "mlp": {"layer", "operator", "epsilon", "positions"},
}
_NEEDS = {"layer", "operator"}
_MAX_BYTES = 16 * 2**20


def save_interventions(
    path: Path, interventions: Sequence[Intervention], model: LanguageModel
) -> None:
    """Write interventions for a model; equal tensors are stored once.

    Args:
        path: the `.json` file; tensors go to the `.safetensors` file of the same name.
        interventions: in the order they act.
        model: whose fingerprint is recorded; they are checked against it.
    """
    tensors: dict[str, torch.Tensor] = {}
    names: dict[bytes, str] = {}
    rows = []
    for intervention in interventions:
        intervention.check(model.anatomy)
        row: dict[str, Any] = {"kind": intervention.KIND, "direction_ref": None}
        row |= {field: getattr(intervention, field, None) for field in _FIELDS}
        row["site"] = intervention.at
        row |= {
            field: getattr(intervention, field)
            for field in _LATER
            if field in _TAKES[intervention.KIND]
        }
        for field, reference in _TENSORS[intervention.KIND].items():
            tensor = getattr(intervention, field)
            if tensor is not None:
                stored = tensor.detach().to("cpu", torch.float32).contiguous()
                data = stored.numpy().tobytes() + repr(tuple(stored.shape)).encode()
                name = names.setdefault(data, f"t{len(names)}")
                tensors[name] = stored
                row[reference] = name
        rows.append(row)
    if tensors:
        save_tensors(_tensor_file(path), tensors)
    record = {"version": VERSION, "model": model.fingerprint, "interventions": rows}
    write_file(path, lambda draft: _write(draft, json.dumps(record, indent=1) + "\n"))


def load_interventions(path: Path, model: LanguageModel) -> list[Intervention]:
    """Read interventions and check them against the open model.

    Args:
        path: the `.json` file.
        model: the model they are to act on.

    Returns: the interventions, in the order they act.

    Raises:
        DataError: the file cannot be read, was made for another model, or a field is wrong; the
            message names the entry and the field.
    """
    where = escape(str(path), 200)
    record = read_json_object(
        path, most_bytes=_MAX_BYTES, fix="Give a file written by save_interventions."
    )
    if record.get("version") != VERSION:
        raise DataError(
            f"{where}: version is {escape(str(record.get('version')), 20)}, not {VERSION}.",
            fix="Write it again with this version of Theodolite.",
        )
    if record.get("model") != model.fingerprint:
        raise DataError(
            f"{where} was made for another model than {escape(model.ref, 80)} (the fingerprints "
            "differ).",
            fix="Open the model it was fitted on (same adapter, same dtype), or fit it again.",
        )
    rows = record.get("interventions")
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{where}: interventions is not a list with at least one entry.")
    tensors = _tensors(path, where, rows)
    found = []
    for number, row in enumerate(rows):
        try:
            intervention = _intervention(row, tensors)
            intervention.check(model.anatomy)
        except ConfigError as error:
            raise DataError(f"{where}, entry {number}: {error.message}", fix=error.fix) from error
        found.append(intervention)
    return found


def _tensors(path: Path, where: str, rows: Sequence[Any]) -> dict[str, torch.Tensor]:
    named = ("direction_ref", "mean_ref")
    if not any(isinstance(row, Mapping) and row.get(name) for row in rows for name in named):
        return {}
    try:
        loaded = load_tensors(_tensor_file(path))
    except RunError as error:
        raise DataError(f"{where}: {error.message}", fix="Keep both files together.") from error
    return {name: torch.as_tensor(value) for name, value in loaded.items()}


def _intervention(row: Any, tensors: Mapping[str, torch.Tensor]) -> Intervention:
    if not isinstance(row, Mapping):
        raise ConfigError("the entry is not an object.")
    kind = row.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest(str(kind), KINDS)
        hint = f"Did you mean '{near}'?" if near else f"Use one of {', '.join(KINDS)}."
        raise ConfigError(f"kind is '{escape(str(kind), 40)}', which is not known.", fix=hint)
    given = {name: value for name, value in row.items() if value is not None and name != "kind"}
    references = {name: given.pop(name) for name in ("direction_ref", "mean_ref") if name in given}
    takes = _TAKES[kind]
    site = None
    if "site" not in takes:  # it follows from the operator; naming it right is fine
        site = given.pop("site", None)
    for name in given:
        if name not in takes:
            raise ConfigError(f"{escape(str(name), 40)} does not belong to kind '{kind}'.")
    for name in _NEEDS | ({"heads"} if kind == "head" else set()):
        if name not in given:
            raise ConfigError(f"{name} is missing.")
    values = {name: _checked(name, value) for name, value in given.items()}
    values |= _named_tensors(kind, references, tensors)
    intervention = KINDS[kind](**values)
    if site is not None and site != intervention.at:
        raise ConfigError(
            f"site does not belong here: this operator of kind '{kind}' acts at {intervention.at}."
        )
    return intervention


def _named_tensors(
    kind: str, references: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Return the tensors of an entry by their fields, or name the reference that is wrong."""
    found = {}
    fields = {reference: field for field, reference in _TENSORS[kind].items()}
    for reference in references:
        if reference not in fields:
            raise ConfigError(f"{reference} does not belong to kind '{kind}'.")
    for reference, field in fields.items():
        name = references.get(reference)
        if name is None and (kind, field) in _MAY_LACK:
            continue
        if not isinstance(name, str) or name not in tensors:
            raise ConfigError(
                f"{reference} is '{escape(str(name), 40)}', which the tensor file lacks."
            )
        found[field] = tensors[name]
    return found


def _checked(name: str, value: Any) -> Any:
    """Return a JSON value as the dataclass wants it, or name the field that is of another type."""
    if name == "layer" and type(value) is int:
        return value
    if name in ("site", "operator", "target") and isinstance(value, str):
        return value
    if (
        name in ("epsilon", "alpha", *_LATER)
        and type(value) in (int, float)
        and abs(value) < float("inf")
    ):
        return float(value)
    if name == "positions" and isinstance(value, str):
        return value
    listed = name in ("heads", "positions") and isinstance(value, list) and bool(value)
    if listed and all(type(entry) is int for entry in value):
        return tuple(value)
    raise ConfigError(f"{name} has the value {escape(json.dumps(value), 60)}, which is not valid.")


def _tensor_file(path: Path) -> Path:
    return path.with_suffix(".safetensors")


def _write(path: Path, text: str) -> None:
    path.write_text(text, "utf-8")
