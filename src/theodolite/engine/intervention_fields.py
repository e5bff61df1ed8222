"""What the fields of an intervention must hold, and how their tensors count in its key."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch

from theodolite.errors import ConfigError
from theodolite.text.display import escape
from theodolite.text.suggest import nearest


def digest(tensor: torch.Tensor) -> list[Any]:
    """Return the shape of a tensor and the hash of its values."""
    data = tensor.detach().to("cpu", torch.float64).contiguous().numpy().tobytes()
    return [list(tensor.shape), hashlib.sha256(data).hexdigest()]


def known(field: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a word that a field does not know.

    Raises: ConfigError: naming the field and the nearest word.
    """
    if value not in allowed:
        near = nearest(str(value), allowed)
        hint = f"Did you mean '{near}'?" if near else f"Use one of {', '.join(allowed)}."
        raise ConfigError(f"{field} is '{escape(str(value), 40)}', which is not known.", fix=hint)


def shaped(field: str, tensor: torch.Tensor | None, shape: tuple[int, ...]) -> None:
    """Refuse a tensor that is missing, of another shape, or not finite.

    Raises: ConfigError: naming the field.
    """
    found = None if tensor is None else tuple(tensor.shape)
    if found != shape:
        raise ConfigError(
            f"{field} has shape {found}, and the model needs {shape}.",
            fix="Fit it on this model.",
        )
    if tensor is not None and not bool(torch.isfinite(tensor).all()):
        raise ConfigError(f"{field} holds values that are not finite.", fix="Compute it again.")


def finite(field: str, value: float | None) -> None:
    """Refuse a number that is not finite; None is one that was left out.

    Raises: ConfigError: naming the field.
    """
    if value is not None and not math.isfinite(value):
        raise ConfigError(f"{field} is {value}.", fix="Give a finite number.")
