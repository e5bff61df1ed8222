"""The manifest: what a run was asked to do, with what, on what; never a secret."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from theodolite.errors import RunError
from theodolite.runs.strict_json import json_value
from theodolite.text.display import escape

FORMAT = 1
MANIFEST = "manifest.json"
COMPLETE = "complete"
_PACKAGES = ("theodolite", "torch", "transformers", "numpy", "inspect-ai")
_HIDDEN = "(not stored)"
_SECRET_NAME = re.compile(
    r"((api|access|private)[_-]?keys?|secrets?|password|passwd|credentials?|authorization|^token"
    r"|(^|[_-])(auth|access|bearer|hf|api|hub|session)[_-]?tokens?)$",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(sk-|sk_|hf_|ghp_|github_pat_|xox[abp]-|AKIA|AIza|gsk_)[A-Za-z0-9_\-]{12,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    r"|(?i:(?<=bearer )[A-Za-z0-9._\-]{12,})"
    r"|(?i:(?<=api_key=)[^&\s]+|(?<=api-key=)[^&\s]+|(?<=apikey=)[^&\s]+|(?<=token=)[^&\s]+)"
)


def new_manifest(
    command: str,
    model_name: str,
    *,
    config: Mapping[str, Any],
    inputs: Mapping[str, Any],
    seed: int,
    model: Mapping[str, Any] | None,
    methods: Mapping[str, int],
) -> dict[str, Any]:
    """Return the manifest of a run that starts now (arguments as in `Run.create`)."""
    return {
        "format": FORMAT,
        "kind": "theodolite run",
        "command": command,
        "seed": seed,
        "model": {"name": model_name, **without_secrets(model or {})},
        "config": without_secrets(config),
        "inputs": input_hashes(inputs),
        "methods": dict(methods),
        "started": now(),
        "ended": None,
        "sessions": [session()],
    }


def session() -> dict[str, Any]:
    """Return where this process runs: versions, threads and platform decide the last bits."""
    return {
        "started": now(),
        "versions": {"python": platform.python_version(), **package_versions()},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_threads": cpu_threads(),
    }


def package_versions() -> dict[str, str | None]:
    """Return the versions of the packages that decide results, without importing them."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def cpu_threads() -> int:
    """Return the threads that torch computes with (or would), without importing it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return int(wish) if wish.isdigit() else (os.cpu_count() or 1)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def input_hashes(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs with every existing file (a `Path`) replaced by its name and sha256."""
    hashed = {}
    for name, value in inputs.items():
        if isinstance(value, Path) and value.is_file():
            with value.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            hashed[name] = {"file": str(value), "sha256": digest}
        else:
            hashed[name] = without_secrets(value)
    return hashed


def without_secrets(value: Any, name: str = "") -> Any:
    """Return the value as JSON with everything that is, or looks like, a key or password hidden.

    Hidden are values under a telling name (`api_key`, `password`, ...), strings shaped like the
    keys of common services, passwords in addresses, and the values of this process's environment
    variables with a telling name.
    """
    value = json_value(value)
    if _SECRET_NAME.search(name) and value not in (None, "", True, False):
        return _HIDDEN
    if isinstance(value, dict):
        return {key: without_secrets(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item, name) for item in value]
    if not isinstance(value, str):
        return value
    for variable, secret in os.environ.items():
        if len(secret) >= 8 and _SECRET_VARIABLE.search(variable):
            value = value.replace(secret, _HIDDEN)
    return _SECRET_VALUE.sub(_HIDDEN, value)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a run folder.

    Raises:
        RunError: the folder is no run, its manifest is broken, or a newer version wrote it.
    """
    path = folder / MANIFEST
    name = escape(str(folder))
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(
            f"{name} is not a run folder: it has no readable {MANIFEST}.",
            fix="See `theodolite runs list` for the runs there are.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{escape(str(path))} is not valid JSON.", fix="Start a new run.") from error
    if not isinstance(manifest, dict) or manifest.get("kind") != "theodolite run":
        raise RunError(
            f"{name} is not a run folder: its {MANIFEST} was written by something else.",
            fix="See `theodolite runs list` for the runs there are.",
        )
    if not isinstance(manifest.get("format"), int) or manifest["format"] > FORMAT:
        raise RunError(
            f"{name} was written by a newer version of Theodolite.", fix="Update Theodolite."
        )
    return manifest


def changed_leaves(old: Any, new: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted name, old, new) of every leaf that differs between two JSON values.

    Hidden secrets are passed over: whether they differ cannot be known.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from changed_leaves(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new and _HIDDEN not in (old, new):
        yield name, old, new


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Return one phrase per leaf that differs between two JSON values, e.g. `seed was 0, is 1`."""
    return [
        f"{escape(leaf, 80)} was {_show(then)}, is {_show(asked)}"
        for leaf, then, asked in changed_leaves(old, new, name)
    ]


def _show(value: Any) -> str:
    return "not set" if value is None else escape(json.dumps(value, ensure_ascii=False), 60)
