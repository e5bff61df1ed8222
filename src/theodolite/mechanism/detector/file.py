"""A detector on disk, version 1: `detector.json` says what it is, `detector.safetensors` holds it.

Reading takes data only, bounds its size, and checks every field: a wrong file is one sentence,
never a crash and never a detector that answers nonsense.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.data.moderation import MODERATION
from theodolite.errors import ConfigError, DataError, RunError
from theodolite.measure.measurement import Measurement
from theodolite.models.positions import check_position
from theodolite.runs.atomic import as_run_error, write_text
from theodolite.runs.strict_json import strict_dumps
from theodolite.runs.tensors import load_tensors, save_tensors
from theodolite.text.display import escape

FORMAT: Final = "theodolite detector"
VERSION: Final = 1
RECORD, TENSORS = "detector.json", "detector.safetensors"
LINEAR_PROBES: Final = ("logistic", "difference_of_means", "lda", "svm")
TEMPLATES: Final = ("chat", "none", MODERATION)
FIGURES: Final = ("accuracy", "auroc", "ece", "brier")
_MAX_RECORD = 2**20
_MAX_TENSORS = 2**24
_LARGEST = 1e300  # whole numbers of a JSON file may be too large for a float


def write_detector(folder: Path, fields: Mapping[str, Any], direction: NDArray[np.float64]) -> None:
    """Write both files; each is there in full or not at all.

    Args:
        fields: everything but the direction, JSON values.
        direction: axes (d_model).

    Raises:
        RunError: the folder cannot be written.
    """
    record = {"format": FORMAT, "version": VERSION, "width": len(direction), **fields}
    with as_run_error(folder):
        save_tensors(folder / TENSORS, {"direction": direction})
        write_text(folder / RECORD, strict_dumps(record, indent=1) + "\n")


def read_detector(folder: Path) -> dict[str, Any]:
    """Return the fields that `write_detector` wrote, the direction among them, each checked.

    Raises:
        DataError: a file is missing, too large, of another version, or a field is wrong; the
            message names the field.
    """
    where = escape(str(folder), 200)
    record = _record(folder, where)
    if record.get("format") != FORMAT:
        raise DataError(f"{where}/{RECORD} is no detector.", fix="Give a folder that holds one.")
    if record.get("version") != VERSION:
        raise DataError(
            f"{where}/{RECORD} has version {_shown(record.get('version'))}, and this program reads "
            f"version {VERSION}.",
            fix="Train the detector again.",
        )
    fields: dict[str, Any] = {}
    for name, fits in _FIELDS.items():
        if name not in record:
            raise _wrong(where, f"{name} is missing")
        if not fits(record[name]):
            raise _wrong(where, f"{name} is {_shown(record[name])}")
        fields[name] = record[name]
    for name in ("bias", "temperature", "threshold"):
        fields[name] = float(fields[name])
    fields["classes"] = tuple(fields["classes"])
    fields["quality"] = _quality(fields["quality"], where)
    return fields | {"direction": _direction(folder, where, record.get("width"))}


def _record(folder: Path, where: str) -> dict[str, Any]:
    path = folder / RECORD
    try:
        if path.stat().st_size > _MAX_RECORD:
            raise DataError(f"{where}/{RECORD} is too large for a detector.")
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{where} holds no readable {RECORD}: {escape(str(error), 120)}.",
            fix="Give the folder that Detector.save wrote.",
        ) from error
    if not isinstance(record, dict):
        raise _wrong(where, "it is not an object")
    return record


def _direction(folder: Path, where: str, width: Any) -> NDArray[np.float64]:
    """Return the one tensor of the file, axes (d_model)."""
    path = folder / TENSORS
    try:
        if path.stat().st_size > _MAX_TENSORS:
            raise DataError(f"{where}/{TENSORS} is too large for a detector.")
        tensors = {name: np.asarray(value) for name, value in load_tensors(path).items()}
    except (OSError, RunError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(
            f"{where} holds no readable {TENSORS}: {escape(str(error), 120)}.",
            fix="Keep both files of the detector together.",
        ) from error
    direction = tensors.get("direction")
    if direction is None or set(tensors) != {"direction"}:
        raise _wrong(where, "its tensors are not one, named direction")
    if direction.dtype != np.float64 or direction.ndim != 1 or type(width) is not int:
        raise _wrong(where, "the direction is no vector of float64 numbers")
    if len(direction) != width:
        raise _wrong(where, f"the direction has {len(direction)} numbers and width is {width}")
    if not np.isfinite(direction).all() or not direction.any():
        raise _wrong(where, "the direction is zero or not finite")
    return direction


def _quality(quality: dict[str, Any], where: str) -> dict[str, Any]:
    """Check the figures among the facts: each that is there must be a whole measurement."""
    for name in quality.keys() & set(FIGURES):
        try:
            Measurement.from_dict(quality[name])
        except (DataError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _wrong(where, f"the {name} of quality is broken") from error
    return quality


def _wrong(where: str, what: str) -> DataError:
    return DataError(f"{where} holds no usable detector: {what}.", fix="Train the detector again.")


def _shown(value: Any) -> str:
    """Return a value of the file for a message; of a list or object only that it is one."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return escape(repr(value), 60) if plain else f"a {type(value).__name__}"


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in allowed


def _position(value: Any) -> bool:
    try:
        check_position(value if isinstance(value, str) and len(value) < 40 else "")
    except ConfigError:
        return False
    return True


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 1000


def _classes(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_text, value))


def _facts(value: Any) -> bool:
    return isinstance(value, dict)


_FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "bias": _number,
    "temperature": lambda value: _number(value) and value > 0,
    "threshold": lambda value: _number(value) and 0 <= value <= 1,
    "hidden_index": lambda value: type(value) is int and 0 <= value < 10_000,
    "position": _position,
    "probe": _one_of(LINEAR_PROBES),
    "template": _one_of(TEMPLATES),
    "model_fingerprint": _text,
    "model_name": _text,
    "classes": _classes,
    "trained_on": _facts,
    "quality": _facts,
}
