"""Captured activations: one tensor per site, with the names of every axis, in memory or on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from theodolite.errors import ConfigError, DataError
from theodolite.runs.atomic import write_file
from theodolite.runs.tensors import load_tensors, save_tensors
from theodolite.text.display import escape

INDEX = "activations.json"
_STORED = {"float32": ("F32", np.float32), "bfloat16": ("BF16", np.uint16)}


@dataclass(frozen=True, eq=False)
class Activations:
    """Values of some sites at some positions of some prompts.

    Args:
        tensors: site -> tensor with axes (prompt, layer, position, width); `head_out` has axes
            (prompt, layer, position, head, d_model).
        layers: site -> block index of each place on the layer axis (`final_norm`: one, the last).
        positions: the name or index each place on the position axis was asked for by.
        prompt_ids: one per prompt, in the order given.
        prompt_keys: content key of each prompt's token ids.
        model: fingerprint of the model.
    """

    tensors: Mapping[str, torch.Tensor]
    layers: Mapping[str, tuple[int, ...]]
    positions: tuple[str | int, ...]
    prompt_ids: tuple[str, ...]
    prompt_keys: tuple[str, ...]
    model: str

    @property
    def sites(self) -> tuple[str, ...]:
        """Captured sites."""
        return tuple(self.tensors)

    def __len__(self) -> int:
        return len(self.prompt_ids)

    def get(
        self, site: str, *, layer: int | None = None, position: str | int | None = None
    ) -> torch.Tensor:
        """Return a site's values.

        Args:
            site: a captured site.
            layer: only this block; drops the layer axis.
            position: only this position; drops the position axis.

        Returns: axes (prompt, layer, position, width) less those dropped; a view where possible.

        Raises: ConfigError: the site, layer or position was not captured.
        """
        values = self.tensors[self._place(site, self.sites, "site")]
        if position is not None:
            index = self.positions.index(self._place(position, self.positions, "position"))
            values = values[:, :, index]
        if layer is not None:
            values = values[
                :, self.layers[site].index(self._place(layer, self.layers[site], "layer"))
            ]
        return values

    @staticmethod
    def _place(wanted: Any, known: Sequence[Any], what: str) -> Any:
        if wanted not in known:
            names = ", ".join(str(name) for name in known)
            raise ConfigError(
                f"The {what} {escape(str(wanted), 40)} was not captured.", fix=f"There is {names}."
            )
        return wanted

    def save(self, folder: Path) -> None:
        """Write one safetensors file per site, and the names of the axes beside them."""
        for site, values in self.tensors.items():
            save_tensors(folder / f"{site}.safetensors", {"values": values})
        self.save_index(folder)

    def save_index(self, folder: Path, *, plan: str | None = None) -> None:
        """Write the names of the axes, without the values.

        Args:
            plan: content key of everything the values depend on, where it is known.
        """
        index = {
            "version": 1,
            "plan": plan,
            "model": self.model,
            "sites": {site: list(self.layers[site]) for site in self.sites},
            "positions": list(self.positions),
            "prompts": [list(pair) for pair in zip(self.prompt_ids, self.prompt_keys)],
        }
        text = json.dumps(index, indent=1)
        write_file(folder / INDEX, lambda path: _write_text(path, text))

    @classmethod
    def load(cls, folder: Path) -> Activations:
        """Read what `save` wrote; tensors stay on disk until they are used.

        Raises:
            DataError: the folder holds no activations, or they do not fit their index.
        """
        try:
            index = json.loads((folder / INDEX).read_text("utf-8"))
            layers = {site: tuple(blocks) for site, blocks in index["sites"].items()}
            tensors = {
                site: load_tensors(folder / f"{Path(site).name}.safetensors")["values"]
                for site in layers
            }
            loaded = cls(
                tensors=tensors,
                layers=layers,
                positions=tuple(index["positions"]),
                prompt_ids=tuple(pair[0] for pair in index["prompts"]),
                prompt_keys=tuple(pair[1] for pair in index["prompts"]),
                model=index["model"],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise DataError(
                f"{escape(str(folder))} holds no readable activations: {escape(str(error), 120)}.",
                fix="Capture them again.",
            ) from error
        for site, values in loaded.tensors.items():
            expected = (len(loaded), len(layers[site]), len(loaded.positions))
            if tuple(values.shape[:3]) != expected:
                raise DataError(
                    f"{escape(str(folder))}: {escape(site, 40)} has axes {tuple(values.shape)}, "
                    f"its index says {expected}.",
                    fix="Capture them again.",
                )
        return loaded


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", "utf-8")


def saved_plan(folder: Path) -> str | None:
    """Return the plan of the activations in a folder; None where there are none."""
    try:
        return str(json.loads((folder / INDEX).read_text("utf-8"))["plan"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def filling(
    path: Path, shape: Sequence[int], dtype: str
) -> Iterator[Callable[[Sequence[int], torch.Tensor], None]]:
    """Write one safetensors file part by part, holding none of it in memory.

    Args:
        path: the file; replaced whole when the context ends, left alone under an exception.
        shape: of the whole tensor, prompts first.
        dtype: "float32" or "bfloat16".

    Yields: a function that writes one part: (prompt indices, tensor whose first axis they are).
    """
    name, kind = _STORED[dtype]
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    entry = {"dtype": name, "shape": list(shape), "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"kind": "torch"}, "values": entry}).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    # Plain writes, not a memory map: mapped pages would count as this process's memory.
    try:
        with draft.open("wb") as file:
            start = file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(start + size)

            def fill(rows: Sequence[int], part: torch.Tensor) -> None:
                raw = (part.view(torch.uint16) if dtype == "bfloat16" else part).numpy()
                for row, values in zip(rows, raw, strict=True):
                    file.seek(start + row * values.nbytes)
                    file.write(values.tobytes())

            yield fill
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
