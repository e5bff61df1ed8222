"""The same prompts under many interventions: only what each of them changes is computed again.

What lies below the first block a variant touches is taken from one run of the prompts. A variant
that touches the last token alone leaves every earlier key and value as it was, and is one decoding
step; any other runs the prompts again from its first block on, with what they share computed once
for each variant. Rows of many variants run together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from theodolite.engine.interventions import Intervention
from theodolite.engine.last_token import LastTokenSweep
from theodolite.engine.tree_sweep import SweepOptions, TreeSweep
from theodolite.engine.variants import Variant, Variants, row_variants
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import Encoded, encode_all

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine.rerun import Rerun
    from theodolite.models.handle import LanguageModel

# Variants that share passes: more of them spare nothing, and fewer prompts fit beside them.
TOGETHER = 8


class EditedSweep:
    """Runs of the same prompts under different interventions.

    Args:
        model: an open local model; interventions active now act first in every run.
        prompts: requests (rendered as chats) or `Encoded` prompts; lengths may differ.
        batch_tokens: most tokens of one pass (default: by device and memory).

    Raises: DataError: there are no prompts.

    Note: equal to whole forwards under `apply` up to rounding (1e-4 relative in float32). The
        prompts run at most once for variants at the last token and once for all others. Memory is
        that of `LastTokenSweep` and `TreeSweep`.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt | str | Encoded],
        *,
        batch_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.encoded = encode_all(model, prompts)
        if not self.encoded:
            raise DataError("A sweep needs at least one prompt.")
        self._batch_tokens = batch_tokens

    @cached_property
    def final(self) -> torch.Tensor:
        """The intact output of the final norm at each prompt's last token, (prompt, d_model)."""
        # Whichever sweep is there already has it.
        return (self._tree if "_tree" in self.__dict__ else self._last).final

    def run(self, variants: Sequence[Sequence[Intervention]]) -> torch.Tensor:
        """Run the prompts under every variant.

        Args:
            variants: interventions of each, in the order in which they act; none is the intact
                model. Positions are named, not numbered.

        Returns: the output of the final norm at each prompt's last token, axes
            (variant, prompt, d_model), model dtype.

        Raises:
            ConfigError: an intervention does not fit the model, or names positions by number.
            CapabilityError: the model cannot be changed in this way.
            NumericsError: a result is not finite.
        """
        rows = row_variants(self.model, variants, len(variants))
        different = [_in_prompts(variant) for variant in rows.of.different]
        last = [i for i, variant in enumerate(different) if variant and _at_last(variant)]
        whole = [i for i, variant in enumerate(different) if variant and not _at_last(variant)]
        found: dict[int, torch.Tensor] = {}
        if last:
            found |= dict(zip(last, self._run_last([different[i] for i in last])))
        for first in sorted({_first(different[i]) for i in whole}):
            some = [i for i in whole if _first(different[i]) == first]
            found |= dict(zip(some, self._run_whole(first, [different[i] for i in some])))
        return torch.stack([found.get(i, self.final) for i in rows.ids])

    @cached_property
    def _last(self) -> LastTokenSweep:
        return LastTokenSweep(self.model, self.encoded, batch_tokens=self._batch_tokens)

    @cached_property
    def _tree(self) -> TreeSweep:
        options = SweepOptions(together=TOGETHER, batch_tokens=self._batch_tokens)
        return TreeSweep(self.model, self.encoded, options)

    def _run_last(self, variants: Sequence[Variant]) -> torch.Tensor:
        """Run variants that change the last token alone, each from its first block on."""
        begins = [_first(variant) for variant in variants]
        streams = self._last.states[:, begins].transpose(0, 1)
        acting = self._acting(variants)
        return self._last.run(begins, streams, logits=False, acting=acting).final

    def _run_whole(self, first: int, variants: Sequence[Variant]) -> torch.Tensor:
        """Run variants that change earlier tokens too, all from one block on."""

        def intact(rows: Rerun, chunk: slice) -> torch.Tensor:
            return rows.values(first)[None].expand(chunk.stop - chunk.start, -1, -1, -1)

        acting, count = self._acting(variants), len(variants)
        final, _ = self._tree.run(first, count, intact, site="resid_pre", acting=acting)
        return final

    def _acting(self, variants: Sequence[Variant]) -> Variants:
        return Variants(self.model.anatomy, tuple(variants), ("",) * len(variants))


def _in_prompts(variant: Variant) -> Variant:
    """Return what of a variant acts on prompts.

    Raises: ConfigError: positions are named by number.
    """
    for item in variant:
        if not isinstance(item.positions, str):
            raise ConfigError(
                "A sweep under interventions takes no numbered positions.",
                fix='Use "all", "prompt" or "prompt_last", or `apply` and next_token.',
            )
    return tuple(item for item in variant if item.positions != "generated")


def _at_last(variant: Variant) -> bool:
    return all(item.positions == "prompt_last" for item in variant)


def _first(variant: Variant) -> int:
    """Return the first block that a variant touches."""
    return min(item.layer for item in variant)
