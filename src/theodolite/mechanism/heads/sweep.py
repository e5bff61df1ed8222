"""Ablate every head of every layer, one at a time, and keep where the network ends.

The prompts run once. For the heads of layer l only the attention output of that layer is new, by a
product with each head's own part of the output projection; attention at l is not run, and from
there on only blocks l+1 to the last. What prompts share is computed once per head, and under an
even attention the first token, which sees nothing but itself, never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from theodolite.engine.rerun import SHADOW, Rerun
from theodolite.engine.runner import require_finite
from theodolite.engine.tree_sweep import SweepOptions, TreeSweep
from theodolite.errors import CapabilityError
from theodolite.mechanism.heads.ablation import OF_PROMPTS, HeadAblation
from theodolite.mechanism.heads.operators import (
    HeadOutputs,
    ablated_heads,
    deltas,
    keeps_first,
    needs_values,
    shadow_of,
)
from theodolite.mechanism.heads.references import References
from theodolite.models.attention import check_undifferentiated

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel


class HeadSweep:
    """Ends of the network with one head, or one group of heads, taken out at a time.

    Args:
        model: an open local model; interventions active now act in every run, so a group of heads
            that is already out stays out.
        encoded: prompts.
        ablation: how a head is taken out.
        references: prompts whose head outputs take the place of the ablated ones; for
            "dataset_mean" any number, for "resample" one per prompt.
        freeze_downstream: what the block's own MLP and later layers add stays as it was: the
            direct effect alone.
        batch_tokens: most tokens of one pass.

    Attributes:
        final, stream: the intact end of the network, axes (prompt, d_model) each.

    Raises:
        CapabilityError: the model or family does not allow it.
        ConfigError: an option does not fit, or memory does not suffice.
    """

    def __init__(
        self,
        model: LanguageModel,
        encoded: Sequence[Encoded],
        ablation: HeadAblation,
        *,
        references: Sequence[Encoded] = (),
        freeze_downstream: bool = False,
        batch_tokens: int | None = None,
    ) -> None:
        anatomy = model.anatomy
        ablation.check(anatomy)
        if needs_values(ablation):
            check_undifferentiated(anatomy)
        _check_interventions(model)
        self.model = model
        self.ablation = ablation
        self.freeze_downstream = freeze_downstream
        by_end = ablation.name in OF_PROMPTS
        self.references = References(model, references, ablation, encoded) if by_end else None
        self.sweep = TreeSweep(
            model,
            encoded,
            SweepOptions(
                sites=("head_z", "attn_out"),
                keep_values=needs_values(ablation),
                shadow=shadow_of(ablation),
                untouched=1 if keeps_first(ablation, anatomy) else 0,
                share=not by_end,
                together=ablation.units(anatomy),
                batch_tokens=batch_tokens,
            ),
        )
        self.final, self.stream = self.sweep.final, self.sweep.stream
        self._changes: dict[tuple[int, Rerun], torch.Tensor] = {}

    def layer(self, layer: int, units: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ablate units of one layer, one at a time.

        Args:
            layer: block.
            units: heads, or groups of heads, of that layer.

        Returns: the output of the final norm and the stream before it at each prompt's last token,
            axes (unit, prompt, d_model) each.
        """
        self._changes.clear()

        def make(rows: Rerun, chunk: slice) -> torch.Tensor:
            return self.variants(layer, rows, units[chunk])

        with torch.inference_mode():
            if self.freeze_downstream:
                return self._direct(layer, units)
            return self.sweep.run(layer, len(units), make)

    def unchanged(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Run every block again with nothing taken out; what differs is rounding.

        Returns: as `layer`, for one unit.
        """
        with torch.inference_mode():
            return self.sweep.run(0, 1, lambda rows, _: rows.values(0, "attn_out")[None])

    def change(self, layer: int, rows: Rerun) -> torch.Tensor:
        """Return ablated minus intact head outputs, axes (row, position, head, head_dim)."""
        if (layer, rows) not in self._changes:
            anatomy = self.model.anatomy
            flat = rows.values(layer, "head_z")
            z = flat.reshape(*flat.shape[:2], anatomy.n_heads, anatomy.head_dim)
            outputs = HeadOutputs(
                z=z,
                values=rows.attended(layer) if needs_values(self.ablation) else None,
                shadow=rows.values(layer, SHADOW) if shadow_of(self.ablation) else None,
                reference=self._reference(layer, rows, z),
            )
            new = ablated_heads(self.ablation, anatomy, layer, outputs)
            self._changes[layer, rows] = new - z
        return self._changes[layer, rows]

    def variants(self, layer: int, rows: Rerun, units: Sequence[int]) -> torch.Tensor:
        """Return the attention output with each unit taken out, axes (unit, row, position, d)."""
        anatomy = self.model.anatomy
        out = anatomy.out_projection(layer)
        added = deltas(self.ablation, anatomy, units, self.change(layer, rows), out)
        if out.adds_up:
            return rows.values(layer, "attn_out") + added * out.scale
        # A norm stands between the projection and the stream: it sees the changed sum.
        z = rows.values(layer, "head_z")
        raw = z @ out.weight.flatten(0, 1).to(z.dtype)
        if out.bias is not None:
            raw = raw + out.bias
        norm = anatomy.blocks[layer].get_submodule(anatomy.row.attn)
        return torch.as_tensor(norm(raw + added)) * out.scale

    def _direct(self, layer: int, units: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Add what a head's absence changes straight to the end of the stream."""
        stream = self.stream.repeat(len(units), 1, 1)
        for rows in self.sweep.rows():
            items, places = self.sweep.last(rows)
            if not items:
                continue
            last = torch.tensor([rows.lengths[place] - 1 for place in places])
            moved = self.variants(layer, rows, units) - rows.values(layer, "attn_out")
            stream[:, items] += moved[:, places, last].to(stream.device)
        final = self.model.anatomy.final_norm(stream)
        names = self.sweep.names * len(units)
        require_finite(final.flatten(0, 1), names, self.model.anatomy.n_layers - 1, "final_norm")
        return final, stream

    def _reference(self, layer: int, rows: Rerun, z: torch.Tensor) -> torch.Tensor | None:
        if self.references is None:
            return None
        items, places = self.sweep.last(rows)
        prompts = dict(zip(places, items, strict=True))
        return self.references.outputs(layer, rows.lengths, prompts, z)


def _check_interventions(model: LanguageModel) -> None:
    """Refuse what would have to act again on an attention output that is replaced."""
    if any(item.at == "attn_out" for item in model.interventions):
        raise CapabilityError(
            "Ablating heads under an intervention at attn_out",
            "a head's share of a changed attention output is not defined",
            "Move the intervention to resid_post",
        )
