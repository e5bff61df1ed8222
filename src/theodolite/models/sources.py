"""Where weights come from: a checked local folder for every kind of reference.

Only safetensors are read. Pickled weights run code when they are loaded, so a source that has
nothing else is refused, and there is no flag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from theodolite.errors import ModelError
from theodolite.models.bundled import BUNDLED, bundled_adapter, bundled_file
from theodolite.models.gguf import convert_once
from theodolite.models.refs import Reference
from theodolite.text.display import escape

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_NEEDED = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")
_IGNORED = ("*/*", "consolidated*")


@dataclass(frozen=True)
class Source:
    """A local folder that is safe to open.

    Args:
        revision: the hub commit it stands for, or None.
        content: what decides its numbers, where that is known without hashing its files.
        adapter: folder of an adapter that belongs to the model and is merged into it.
    """

    folder: Path
    revision: str | None = None
    content: Mapping[str, str | int] | None = None
    adapter: Path | None = None


def locate(reference: Reference, *, revision: str | None, code: bool, verify: bool) -> Source:
    """Return the folder of a reference, downloaded or converted where needed, after checking it.

    Args:
        revision: hub branch, tag or commit.
        code: also fetch the repository's Python files (`trust_remote_code`).
        verify: hash GGUF sources in full.

    Raises:
        ModelError: nothing is there, the weights are pickled or broken, or the hub is out of reach.
    """
    if revision is not None and reference.kind != "hub":
        raise ModelError(
            f"A revision was given, but '{escape(reference.text, 120)}' is not on the hub.",
            fix="Leave the revision out.",
        )
    if reference.kind == "hub":
        folder = _download(reference.target, revision, code)
        source = Source(folder, folder.name)
    elif reference.kind == "folder":
        source = Source(Path(reference.target))
    else:
        source = _converted(reference, verify)
    check_folder(source.folder, reference.text)
    return source


def _converted(reference: Reference, verify: bool) -> Source:
    """Return the converted GGUF file of a reference, with the adapter that belongs to it."""
    if reference.kind != "bundled":
        converted = convert_once(Path(reference.target), verify=verify)
        return Source(converted.folder, content=converted.content)
    name = reference.target
    converted = convert_once(bundled_file(name, verify=verify), verify=verify)
    pair = bundled_adapter(name, verify=verify)
    if pair is None:
        return Source(converted.folder, content=converted.content)
    content = {**converted.content, "adapter": BUNDLED[name].adapter_sha256}
    return Source(converted.folder, content=content, adapter=pair[1])


def check_folder(folder: Path, shown: str) -> None:
    """Refuse a model folder without readable config and whole safetensors weights.

    Raises:
        ModelError: says what is missing, pickled or cut short.
    """
    shown = escape(shown, 120)
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"'{shown}' holds an adapter.", fix="Open its base model and give it as the adapter."
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = sorted(p.name for p in folder.glob("*") if p.suffix in PICKLED)
        if pickled:
            raise ModelError(
                f"'{shown}' has pickled weights only ({escape(pickled[0], 60)}), which can run "
                "code when they are loaded.",
                fix="Convert them to safetensors on a machine you can throw away.",
            )
        if not any(folder.iterdir()):
            raise ModelError(f"The folder '{shown}' is empty.", fix="Check the path.")
        raise ModelError(
            f"'{shown}' holds no weights: there is no .safetensors file in it.",
            fix="Check the path, or give the .gguf file itself.",
        )
    _check_config(folder / "config.json", shown)
    _check_index(folder, shown)
    for path in weights:
        check_safetensors(path)


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file that is cut short or not one at all (reads the header only).

    Raises:
        ModelError: names the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{escape(str(path))} is broken or cut short: {escape(str(error), 120)}.",
            fix="Copy or download it again.",
        ) from error


def _check_config(path: Path, shown: str) -> None:
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"'{shown}' has weights but no config.json.", fix="Copy or download it again."
        ) from None
    except ValueError as error:
        raise ModelError(
            f"The config.json of '{shown}' is not JSON: {escape(str(error), 120)}.",
            fix="Copy or download it again.",
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ModelError(
            f"The config.json of '{shown}' names no model_type.", fix="Copy or download it again."
        )


def _check_index(folder: Path, shown: str) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        names = sorted(
            {str(n) for n in json.loads(index.read_text("utf-8"))["weight_map"].values()}
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{escape(str(index))} is not a weight index.", fix="Copy or download it again."
        ) from error
    for name in names:
        if Path(name).name != name or not (folder / name).is_file():
            raise ModelError(
                f"'{shown}' lacks the weight file '{escape(name, 80)}' that its index names.",
                fix="Copy or download the folder again.",
            )


def _download(repo: str, revision: str | None, code: bool) -> Path:
    """Return the local snapshot of a hub repository, without its pickled files."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    wanted = [*_NEEDED, "*.py"] if code else list(_NEEDED)
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=wanted, ignore_patterns=list(_IGNORED)
        )
    except GatedRepoError as error:
        raise ModelError(
            f"'{repo}' asks you to accept its terms on the hub.",
            fix="Accept them there, then log in with `hf auth login`.",
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"The hub has no model '{repo}' that you may read.",
            fix="Check the name, or log in with `hf auth login`; a folder is written ./name.",
        ) from error
    except RevisionNotFoundError as error:
        raise ModelError(
            f"'{repo}' has no revision '{escape(str(revision), 80)}'.", fix="Check the name."
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        local = f" A folder of that name exists: write ./{repo} to open it." * Path(repo).is_dir()
        raise ModelError(
            f"The hub could not be reached for '{repo}', and it is not in the local hub cache.",
            fix=f"Go online and try again, or give a folder or a .gguf file.{local}",
        ) from error
    return Path(folder)
