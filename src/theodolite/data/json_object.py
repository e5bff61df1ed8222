"""Read a small JSON file that must hold one object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from theodolite.errors import DataError
from theodolite.text.display import escape


def read_json_object(path: Path, *, most_bytes: int, fix: str) -> dict[str, Any]:
    """Return the object a JSON file holds.

    Args:
        most_bytes: a larger file is refused unread.
        fix: what to do where the file cannot be used.

    Raises: DataError: the file is too large, cannot be read, or holds no object.
    """
    where = escape(str(path), 200)
    try:
        if path.stat().st_size > most_bytes:
            raise DataError(
                f"{where} is larger than {most_bytes} bytes.", fix="Is it the right file?"
            )
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{where} cannot be read as JSON: {escape(str(error), 120)}.", fix=fix
        ) from error
    if not isinstance(record, dict):
        raise DataError(f"{where} is not a JSON object.", fix=fix)
    return record
