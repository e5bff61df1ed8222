"""What a model folder holds, as hashes: equal for equal numbers, wherever and whenever saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from theodolite.models.cache import file_sha256
from theodolite.text.hashing import content_key

_FILES = ("*.safetensors", "tokenizer.json", "tokenizer.model", "*.py")
_FACTS = ("config.json", "tokenizer_config.json", "adapter_config.json")
# Written by the saving program; says nothing about the model (the template has its own hash).
_VOLATILE = frozenset(
    {
        "_name_or_path",
        "base_model_name_or_path",
        "chat_template",
        "is_local",
        "local_files_only",
        "name_or_path",
        "peft_version",
        "revision",
        "transformers_version",
    }
)


def folder_content(folder: Path, *, verify: bool = False) -> dict[str, str]:
    """Return name -> hash of every file that decides the numbers of a model or adapter.

    Args:
        folder: weights, config and tokenizer; hashed once and remembered (see `file_sha256`).
        verify: hash every file again.
    """
    files = sorted({path for pattern in _FILES for path in folder.glob(pattern)})
    hashes = {path.name: _hash(path, verify) for path in files}
    facts = [folder / name for name in _FACTS if (folder / name).is_file()]
    return hashes | {path.name: content_key(_facts(path)) for path in facts}


def _hash(path: Path, verify: bool) -> str:
    """Hash a file; the hub cache already names its large files by their sha256."""
    name = path.resolve().name
    named_by_hash = path.is_symlink() and len(name) == 64 and set(name) <= set("0123456789abcdef")
    return name if named_by_hash and not verify else file_sha256(path, verify=verify)


def _facts(path: Path) -> Any:
    found = json.loads(path.read_text("utf-8"))
    return {key: value for key, value in found.items() if key not in _VOLATILE}
