"""Where a run's folder is: made new, chosen by the user, or found again to go on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from theodolite.errors import RunError
from theodolite.runs import manifest as manifests
from theodolite.runs.atomic import as_run_error
from theodolite.runs.listing import find_run, list_runs
from theodolite.text.display import escape

DEFAULT_ROOT = Path("runs")


def is_finished(path: Path) -> bool:
    """Return whether a run folder holds the commit marker."""
    return (path / manifests.COMPLETE).is_file()


def safe_name(name: str, limit: int = 60) -> str:
    """Return a name as a part of a file name: letters, digits, `.`, `_` and single `-`."""
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", name)
    return plain.strip("-.")[-limit:].strip("-.")


def new_folder(root: Path, command: str, model_name: str) -> Path:
    """Make and return `<root>/<time>-<command>-<model>`, with a number where it is taken."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = "-".join(part for part in (time, safe_name(command), safe_name(model_name)) if part)
    with as_run_error(root):
        root.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            path = root / (name if attempt == 1 else f"{name}-{attempt}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return path
    raise RunError(f"{escape(str(root))} holds 999 runs of this second.", fix="Try again.")


def own_folder(out: Path) -> Path:
    """Make the folder the user named, or take it where it is empty."""
    with as_run_error(out):
        out.mkdir(parents=True, exist_ok=True)
        if not any(out.iterdir()):
            return out
    if (out / manifests.MANIFEST).is_file():
        raise RunError(
            f"{escape(str(out))} holds a run already.",
            fix="Go on with it by `--resume`, or choose another folder.",
        )
    raise RunError(
        f"{escape(str(out))} is not empty and is not a run.", fix="Choose a new or empty folder."
    )


def newest_unfinished(root: Path, command: str) -> Path:
    """Return the newest run of the command in `root` that was not committed."""
    runs = [run for run in list_runs(root) if run.command == command]
    for run in runs:
        if run.status != "complete":
            return run.path
    what = f"no unfinished run of `{escape(command)}` in {escape(str(root))}"
    if runs:
        raise RunError(
            f"There is {what}; the newest one, {escape(runs[0].path.name)}, is finished.",
            fix="Start without `--resume`, or name that run.",
        )
    raise RunError(f"There is {what}.", fix="Start without `--resume`, or name the run folder.")


def find_resumed(path: Path | None, command: str, root: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder and manifest of the run to go on with.

    Args:
        path: a run folder or its name; None takes the newest unfinished run of the command.

    Raises:
        RunError: there is no such run, or it is another command's.
    """
    path = newest_unfinished(root, command) if path is None else find_run(str(path), root)
    manifest = manifests.read_manifest(path)
    if manifest["command"] != command:
        theirs = escape(str(manifest["command"]))
        raise RunError(
            f"{escape(str(path))} is a run of `{theirs}`, not of `{escape(command)}`.",
            fix=f"Resume it with `theodolite {theirs} --resume {escape(str(path))}`.",
        )
    return path, manifest


def check_same(
    path: Path,
    manifest: Mapping[str, Any],
    *,
    config: Mapping[str, Any] | None,
    seed: int | None,
    model: Mapping[str, Any] | None,
    inputs: Mapping[str, Any] | None,
) -> None:
    """Refuse to go on with a run that was asked something else (arguments as in `Run.resume`)."""
    differ: list[str] = []
    if config is not None:
        differ += manifests.differences(
            manifest["config"], manifests.without_secrets(config), "config"
        )
    if seed is not None:
        differ += manifests.differences(manifest["seed"], seed, "seed")
    if model is not None:
        then = {key: value for key, value in manifest["model"].items() if value and key in model}
        asked = manifests.without_secrets({key: model[key] for key in then})
        differ += manifests.differences(then, asked, "model")
    if inputs is not None:
        then, asked = manifest["inputs"], manifests.input_hashes(inputs)
        differ += manifests.differences(_hashes(then), _hashes(asked), "inputs")
    if differ:
        shown = "; ".join(differ[:5]) + (f"; and {len(differ) - 5} more" if differ[5:] else "")
        raise RunError(
            f"{escape(str(path))} was asked something else: {shown}.",
            fix="Repeat its options, or start a new run.",
        )


def _hashes(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs by hash alone: a file that was moved is still the same input."""
    return {
        name: value.get("sha256", value) if isinstance(value, Mapping) else value
        for name, value in inputs.items()
    }
