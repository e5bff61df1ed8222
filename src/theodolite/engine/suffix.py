"""Enter a model at block l: change something there for many variants, compute only what follows.

A sweep runs the prompts once, keeps the input of every block and the keys and values of the shared
prefix, and then runs blocks l to the last for many variants of the same prompts in one batch. This
one takes the variants as tensors; `TreeSweep` builds them where they are needed, and shares more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from theodolite.engine.budget import token_budget
from theodolite.engine.entering import Returns, require_same_interventions
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.kv import KV, Branch
from theodolite.engine.passes import WITHIN_PROMPT
from theodolite.engine.rerun import Ends, Place, Rerun, check_entry
from theodolite.engine.runner import require_finite
from theodolite.engine.trie import common_prefix
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import Encoded, encode_all

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel


@dataclass(frozen=True, eq=False)
class SweepResult:
    """The end of the network for every variant of every prompt, at each prompt's last token.

    Args:
        final: output of the final norm, axes (variant, prompt, d_model), model dtype.
        logits: axes (variant, prompt, vocab), model dtype; None unless asked for.
    """

    final: torch.Tensor
    logits: torch.Tensor | None


class SuffixSweep:
    """Runs of the same prompts that differ from one block on.

    Args:
        model: an open local model; interventions active now act in every run of this sweep.
        prompts: requests (rendered as chats) or `Encoded` prompts; lengths may differ.
        sites: sites whose values are kept for `values`, besides resid_pre.
        prefix: tokens to treat as shared prefix (default: all that the prompts have in common, at
            least one token per prompt is left). 0 keeps every token in the variants' reach.
        batch_tokens: most tokens of one pass (default: by device and memory).

    Note: memory is one d_model vector per token, layer and site kept. The right padding of shorter
        prompts holds values without meaning.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt | str | Encoded],
        *,
        sites: Sequence[str] = (),
        prefix: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        model.require("hidden_states", "interventions")
        self.model = model
        self.encoded = encode_all(model, prompts)
        if not self.encoded:
            raise DataError("A sweep needs at least one prompt.")
        ids = [item.ids for item in self.encoded]
        shared = min(common_prefix(ids[0], other) for other in ids)
        shared = min(shared, *(shareable(model, len(tokens)) for tokens in ids))
        self.prefix = shared if prefix is None else prefix
        if not 0 <= self.prefix <= shared:
            raise ConfigError(f"prefix is {prefix}.", fix=f"These prompts share {shared} tokens.")
        self.names = [item.prompt_id or str(i) for i, item in enumerate(self.encoded)]
        self.budget = batch_tokens or token_budget(model, max(map(len, ids)))
        self._active = interventions_key(model)
        returns = Returns(model.anatomy)
        self._head: Rerun | None = None
        if self.prefix:
            head = [ids[0][: self.prefix]]
            self._head = Rerun(
                model, head, [None], [WITHIN_PROMPT], returns=returns, sites=sites, leaf=False
            )
        above = None if self._head is None else Place(self._head, 0)
        self._rows = Rerun(
            model,
            [tokens[self.prefix :] for tokens in ids],
            [above] * len(ids),
            [len(tokens) for tokens in ids],
            returns=returns,
            sites=sites,
        )
        self.lengths = self._rows.lengths

    def values(self, layer: int, site: str = "resid_pre", *, prefix: bool = False) -> torch.Tensor:
        """Return the intact values of a site.

        Args:
            layer: block.
            site: resid_pre, or one named on creation.
            prefix: the shared prefix instead of what follows it.

        Returns: axes (prompt, position, width), right padded; for the prefix (1, position, width).
        """
        if prefix and self._head is None:
            raise ConfigError("These prompts share no prefix.", fix="Leave prefix out.")
        rows = self._head if prefix and self._head is not None else self._rows
        return rows.values(layer, site)

    def run(
        self,
        layer: int,
        variants: torch.Tensor,
        *,
        site: str = "resid_pre",
        prefix: torch.Tensor | None = None,
        logits: bool = True,
    ) -> SweepResult:
        """Run blocks `layer` to the last with a site's values replaced, for every variant.

        Args:
            layer: block to enter.
            variants: new values of the site, axes (variant, prompt, position, width), positions
                counted from the end of the shared prefix and right padded like `values`.
            site: which values of the block are replaced; what comes before it in the block runs on
                the intact input.
            prefix: the site's values on the shared prefix, axes (variant, position, width), where
                a variant changes them too; None leaves the prefix intact.
            logits: also return the logits.

        Returns: what each prompt's last token leads to.

        Raises:
            ConfigError: a shape, layer or site does not fit.
            NumericsError: a result is not finite.
        """
        self._check(layer, variants, site, prefix)
        if site == "resid_post" and layer + 1 < self.model.anatomy.n_layers and not self._active:
            layer, site = layer + 1, "resid_pre"
        per_variant = len(self.lengths) * self._rows.width
        step = max(1, self.budget // (per_variant + (self.prefix if prefix is not None else 0)))
        finals: list[torch.Tensor] = []
        with torch.inference_mode():
            for begin in range(0, len(variants), step):
                chunk = slice(begin, begin + step)
                some = None if prefix is None else prefix[chunk]
                finals.append(self._replay(layer, variants[chunk], site, some))
            final = torch.cat(finals)
            flat = final.flatten(0, 1)
            require_finite(flat, self.names * len(variants), self.model.anatomy.n_layers - 1, site)
            every = self.model.anatomy.logits_from_final(final) if logits else None
        return SweepResult(final, every)

    def _replay(
        self, layer: int, variants: torch.Tensor, site: str, prefix: torch.Tensor | None
    ) -> torch.Tensor:
        """Return final hidden states at the last tokens, axes (variant, prompt, d_model)."""
        past: list[Branch | None] | None = None
        if self._head is not None and prefix is not None:
            kv = self._head.again(layer, prefix[:, None], site)
            assert isinstance(kv, KV)  # noqa: S101 - the prefix is no leaf
            # Blocks below the entry saw nothing new; theirs are never read.
            past = [Branch(kv, v) for v in range(len(variants)) for _ in self.lengths]
        ends = self._rows.again(layer, variants, site, past)
        assert isinstance(ends, Ends)  # noqa: S101 - the prompts are leaves
        return ends.final.reshape(*variants.shape[:2], -1)

    def _check(
        self, layer: int, variants: torch.Tensor, site: str, prefix: torch.Tensor | None
    ) -> None:
        anatomy = self.model.anatomy
        require_same_interventions(self.model, self._active)
        check_entry(anatomy, layer, site)
        wide = anatomy.n_heads * anatomy.head_dim if site == "head_z" else anatomy.d_model
        need = (len(self.lengths), self._rows.width, wide)
        if variants.ndim != 4 or tuple(variants.shape[1:]) != need:
            raise ConfigError(
                f"variants has axes {tuple(variants.shape)}.", fix=f"Give (v, *{need})."
            )
        if prefix is not None and tuple(prefix.shape) != (len(variants), self.prefix, wide):
            need = (len(variants), self.prefix, wide)
            raise ConfigError(f"prefix has axes {tuple(prefix.shape)}.", fix=f"Give {need}.")
