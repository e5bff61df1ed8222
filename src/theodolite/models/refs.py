"""Model references: what a user may write to name a model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from theodolite.errors import ModelError
from theodolite.models.bundled import BUNDLED
from theodolite.text.display import escape
from theodolite.text.suggest import nearest

Kind = Literal["bundled", "hub", "folder", "gguf", "api"]
_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_API = re.compile(r"api:([\w.-]+(?:/[\w.:@+-]+)+)")


@dataclass(frozen=True)
class Reference:
    """A parsed reference.

    Args:
        text: as written.
        kind: where the model comes from.
        name: short name for run folders and tables.
        target: bundled name, hub id, path, or `PROVIDER/MODEL`.
    """

    text: str
    kind: Kind
    name: str
    target: str


def parse_reference(text: str) -> Reference:
    """Read a model reference.

    Args:
        text: a bundled name (`smollm2`), `org/name` (always the hub), a folder (`./name`, or a path
            that exists), a `.gguf` file, or `api:PROVIDER/MODEL`.

    Raises:
        ModelError: it is none of these; the nearest known name is suggested.
    """
    shown = escape(text, 120)
    if text in BUNDLED:
        return Reference(text, "bundled", text, text)
    if text.startswith("api:"):
        match = _API.fullmatch(text)
        if match is None:
            raise ModelError(
                f"'{shown}' names no API model.",
                fix="Write api:PROVIDER/MODEL, as in api:openai/gpt-5.",
            )
        return Reference(text, "api", match[1], match[1])
    path = Path(text).expanduser()
    if text.endswith(".gguf"):
        if not path.is_file():
            raise ModelError(f"There is no file '{shown}'.", fix="Check the path of the GGUF file.")
        return Reference(text, "gguf", path.stem, str(path))
    if _HUB.fullmatch(text):
        return Reference(text, "hub", text.rsplit("/", 1)[1], text)
    if path.is_dir():
        return Reference(text, "folder", path.resolve().name, str(path))
    if path.is_file():
        raise ModelError(
            f"'{shown}' is a file, and only GGUF files are read alone.",
            fix="Give the folder that holds config.json and safetensors files.",
        )
    near = nearest(text, BUNDLED)
    raise ModelError(
        f"There is no model '{shown}'.",
        fix=f"Did you mean '{near}'?"
        if near
        else f"Use {', '.join(BUNDLED)}, org/name, a folder, or a .gguf file.",
    )
