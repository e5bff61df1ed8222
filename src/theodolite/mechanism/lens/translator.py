"""The tuned lens: an affine map per layer that brings a state into the last layer's coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from theodolite.errors import DataError
from theodolite.text.display import escape

_FORM = 'Give "{h}.weight" (d_model, d_model) and "{h}.bias" (d_model) per hidden_index.'


@dataclass(frozen=True, eq=False)
class Translator:
    """Maps x -> x + W x + b by hidden_index.

    Source: arXiv:2303.08112.

    Args:
        weights: hidden_index -> W, axes (d_model, d_model).
        biases: hidden_index -> b, axis (d_model).
        source: what messages call it.
    """

    weights: Mapping[int, torch.Tensor]
    biases: Mapping[int, torch.Tensor]
    source: str = "The translator"

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read a safetensors file with `{h}.weight` and `{h}.bias` per hidden_index.

        Raises: DataError: the file cannot be read, or a tensor has another name, shape or values.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        where = escape(str(path), 200)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"{where} cannot be read as safetensors: {escape(str(error), 120)}.", fix=_FORM
            ) from error
        parts: dict[str, dict[int, torch.Tensor]] = {"weight": {}, "bias": {}}
        for name, tensor in tensors.items():
            index, _, part = name.partition(".")
            if part not in parts or not index.isdecimal() or not index.isascii():
                raise DataError(f"{where}: the tensor '{escape(name, 60)}' is unknown.", fix=_FORM)
            parts[part][int(index)] = tensor.float()
        return cls(parts["weight"], parts["bias"], where)

    def check(self, d_model: int, hidden_indices: Sequence[int], n_layers: int) -> None:
        """Refuse a translator that does not fit the model or lacks a layer.

        Args:
            hidden_indices: those that will be translated; the last, `n_layers`, needs no map.

        Raises: DataError: names the layer and what is wrong with it.
        """
        for index in sorted({*hidden_indices} | {*self.weights} | {*self.biases}):
            for part, held, shape in (
                ("weight", self.weights, (d_model, d_model)),
                ("bias", self.biases, (d_model,)),
            ):
                name = f"'{index}.{part}'"
                if index not in held:
                    if index == n_layers and index not in {*self.weights, *self.biases}:
                        continue
                    raise DataError(f"{self.source} has no {name}.", fix=_FORM)
                if tuple(held[index].shape) != shape:
                    raise DataError(
                        f"{self.source}: {name} has shape {tuple(held[index].shape)}, and this "
                        f"model wants {shape}.",
                        fix="Use the translator of this very model.",
                    )
                if not bool(held[index].isfinite().all()):
                    raise DataError(
                        f"{self.source}: {name} holds values that are not finite.",
                        fix="Fit or fetch the translator again.",
                    )

    def __call__(self, states: torch.Tensor, hidden_index: int) -> torch.Tensor:
        """Translate states, axes (row, d_model); a layer without a map is left as it is."""
        if hidden_index not in self.weights:
            return states
        weight = self.weights[hidden_index].to(states)
        return states + states @ weight.T + self.biases[hidden_index].to(states)
