"""Head outputs of reference prompts, put in the place of ablated ones, counted from the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from theodolite.engine.tree_sweep import SweepOptions, TreeSweep
from theodolite.errors import DataError
from theodolite.mechanism.heads.ablation import HeadAblation

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel


class References:
    """Head outputs of reference prompts by layer and distance from the prompt's end.

    Args:
        model: an open local model.
        references: prompts; for "resample" one per prompt that is measured.
        ablation: "dataset_mean" or "resample".
        prompts: how many prompts are measured.

    Raises:
        DataError: there are none, or for "resample" not one per prompt.
    """

    def __init__(
        self,
        model: LanguageModel,
        references: Sequence[Encoded],
        ablation: HeadAblation,
        prompts: int,
    ) -> None:
        if not references:
            raise DataError(
                f"The operator {ablation.name} needs reference prompts.",
                fix="Give benign prompts, e.g. with --benign FILE.",
            )
        if ablation.name == "resample" and len(references) != prompts:
            raise DataError(
                f"The operator resample needs one reference per prompt: there are "
                f"{len(references)} for {prompts} prompts.",
                fix="Give as many benign prompts as harmful ones.",
            )
        self.mean = ablation.name == "dataset_mean"
        self.anatomy = model.anatomy
        self._sweep = TreeSweep(model, references, SweepOptions(sites=("head_z",), share=False))
        self._layer: tuple[int, list[torch.Tensor]] | None = None

    def outputs(
        self, layer: int, lengths: Sequence[int], prompts: Mapping[int, int], intact: torch.Tensor
    ) -> torch.Tensor:
        """Return what takes the place of the head outputs of some rows.

        Args:
            layer: block.
            lengths: tokens of each row; a row is a whole prompt.
            prompts: row -> place of its prompt.
            intact: head outputs as they are, axes (row, position, head, head_dim).

        Returns: axes as `intact`. Places further from the end than any reference reaches keep the
            farthest mean ("dataset_mean") or what they are ("resample").
        """
        new = intact.clone()
        for row, prompt in prompts.items():
            length = lengths[row]
            source = self._from_end(layer, prompt)
            reach = min(length, len(source))
            # Position `length - 1 - d` takes the reference at distance d.
            new[row, length - reach : length] = source[:reach].flip(0).to(new)
            if self.mean and reach < length:
                new[row, : length - reach] = source[-1].to(new)
        return new

    def _from_end(self, layer: int, prompt: int) -> torch.Tensor:
        """Return head outputs by distance from the end, axes (distance, head, head_dim)."""
        if self._layer is None or self._layer[0] != layer:
            each = self._each(layer)
            self._layer = (layer, [_mean(each)] if self.mean else each)
        found = self._layer[1]
        return found[0] if self.mean else found[prompt]

    def _each(self, layer: int) -> list[torch.Tensor]:
        """Return every reference's head outputs, axes (distance, head, head_dim) each."""
        found: dict[int, torch.Tensor] = {}
        for rows in self._sweep.rows():
            flat = rows.values(layer, "head_z")
            z = flat.reshape(*flat.shape[:2], self.anatomy.n_heads, self.anatomy.head_dim)
            for item, row in zip(*self._sweep.last(rows), strict=True):
                found[item] = z[row, : rows.lengths[row]].flip(0)
        return [found[item] for item in sorted(found)]


def _mean(each: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the mean at every distance over the references that reach it."""
    longest = max(map(len, each))
    means = [
        torch.stack([z[d].double() for z in each if len(z) > d]).mean(0) for d in range(longest)
    ]
    return torch.stack(means).to(each[0].dtype)
