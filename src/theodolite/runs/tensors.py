"""Named tensors on disk: safetensors, written whole, read back as what they were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from theodolite.errors import RunError
from theodolite.runs.atomic import write_file
from theodolite.text.display import escape


def is_array(value: Any) -> bool:
    """Return whether the value is a torch tensor or a numpy array (without importing either)."""
    return type(value).__module__.split(".")[0] in {"torch", "numpy"} and hasattr(value, "shape")


def save_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """Write torch tensors or numpy arrays; one torch tensor makes the whole file torch."""
    if any(type(value).__module__.startswith("torch") for value in tensors.values()):
        import torch
        from safetensors.torch import save_file as save_torch

        own = {name: _own_memory(torch.as_tensor(value)) for name, value in tensors.items()}
        _save(path, save_torch, own, "torch")
    else:
        import numpy as np
        from safetensors.numpy import save_file as save_numpy

        arrays = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        _save(path, save_numpy, arrays, "numpy")


def load_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a file, as torch or numpy, whichever they were saved as.

    Raises:
        RunError: the file is missing or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            kind = (file.metadata() or {}).get("kind", "torch")
        with safe_open(path, framework="pt" if kind == "torch" else "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{escape(str(path))} cannot be read as safetensors: {escape(str(error), 200)}.",
            fix="Copy the run folder again with all its files, or start a new run.",
        ) from error


def _own_memory(tensor: Any) -> Any:
    # safetensors refuses tensors that share memory, as slices of one buffer do.
    tensor = tensor.detach().to("cpu")
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if whole and tensor.is_contiguous() else tensor.contiguous().clone()


def _save(path: Path, save: Any, tensors: dict[str, Any], kind: str) -> None:
    from safetensors import SafetensorError

    def fill(temporary: Path) -> None:
        try:
            save(tensors, str(temporary), metadata={"kind": kind})
        except SafetensorError as error:
            raise OSError(str(error)) from error

    write_file(path, fill)
