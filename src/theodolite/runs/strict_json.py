"""Strict JSON: what every reader accepts, so NaN and infinities become null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import date
from pathlib import PurePath
from typing import Any


def json_value(value: Any) -> Any:
    """Return the value as plain JSON types: NaN and infinities null, arrays lists, keys strings.

    Raises:
        TypeError: the value has no JSON form (the type is named).
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((json_value(item) for item in value), key=repr)
    if is_dataclass(value) and not isinstance(value, type):
        return json_value(asdict(value))
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return json_value(value.tolist())
    raise TypeError(f"{type(value).__name__} has no JSON form")


def strict_dumps(value: Any, *, indent: int | None = None) -> str:
    """Return the strict JSON text of a value (see `json_value`), in ASCII.

    ASCII, because unpaired surrogates of hostile text have no UTF-8 form but do have a JSON one.
    """
    return json.dumps(json_value(value), indent=indent, allow_nan=False)
