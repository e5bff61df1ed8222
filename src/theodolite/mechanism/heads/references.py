"""Head outputs of reference prompts, put in the place of ablated ones, counted from the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from theodolite.engine.tree_sweep import SweepOptions, TreeSweep
from theodolite.errors import DataError
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

# A layer, every reference's head outputs there, and the means over some of them.
_Layer = tuple[int, list[torch.Tensor], dict[tuple[int, ...], torch.Tensor]]


class References:
    """Head outputs of reference prompts by layer and distance from the prompt's end.

    Args:
        model: an open local model.
        references: prompts; for "resample" one per prompt that is measured.
        ablation: "dataset_mean" or "resample".
        prompts: what is measured; a prompt is never among its own references.

    Raises:
        DataError: there are none, or for "resample" not one per prompt, or one that equals it.
    """

    def __init__(
        self,
        model: LanguageModel,
        references: Sequence[Encoded],
        ablation: HeadAblation,
        prompts: Sequence[Encoded],
    ) -> None:
        if not references:
            raise DataError(
                f"The operator {ablation.name} needs reference prompts.",
                fix="Give benign prompts, e.g. with --benign FILE.",
            )
        self.mean = ablation.name == "dataset_mean"
        if not self.mean and len(references) != len(prompts):
            raise DataError(
                f"The operator resample needs one reference per prompt: there are "
                f"{len(references)} for {len(prompts)} prompts.",
                fix="Give as many benign prompts as harmful ones.",
            )
        self._others = [
            [place for place, other in enumerate(references) if other.key != prompt.key]
            if self.mean
            else [item] * (references[item].key != prompt.key)
            for item, prompt in enumerate(prompts)
        ]
        for prompt, others in zip(prompts, self._others):
            if not others:
                raise DataError(
                    f"The prompt '{escape(prompt.prompt_id, 80)}' is its own only reference.",
                    fix="Give other reference prompts.",
                )
        self.anatomy = model.anatomy
        self._sweep = TreeSweep(model, references, SweepOptions(sites=("head_z",), share=False))
        self._layer: _Layer | None = None

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
            self._layer = (layer, self._each(layer), {})
        _, each, means = self._layer
        others = self._others[prompt]
        if not self.mean:
            return each[others[0]]
        key = tuple(others)
        if key not in means:
            means[key] = _mean([each[place] for place in others])
        return means[key]

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
