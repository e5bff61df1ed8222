"""Enter a model at block l: change something there for many variants, compute only what follows.

Everything below block l is unaffected by a change at block l, and everything before the first
changed token is unaffected at every layer. A sweep runs the prompts once, keeps the input of every
block and the keys and values of the shared prefix, and then runs blocks l to the last for many
variants of the same prompts in one batch. Hugging Face's own decoder does it: the blocks below l
pass their input through, so masks, rotary embeddings, ALiBi and caches are its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from theodolite.engine.budget import token_budget
from theodolite.engine.entering import noting_returns, passing, require_same_interventions
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.kv import KV, Branch
from theodolite.engine.passes import WITHIN_PROMPT, Rows, run_pass
from theodolite.engine.runner import require_finite
from theodolite.engine.trie import common_prefix
from theodolite.errors import ConfigError, DataError
from theodolite.models.anatomy import BLOCK_SITES
from theodolite.models.chat import Encoded, encode_all
from theodolite.models.taps import Tap, write

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
        self.tokens = [item.ids[self.prefix :] for item in self.encoded]
        self.lengths = [len(tokens) for tokens in self.tokens]
        self.budget = batch_tokens or token_budget(model, max(map(len, ids)))
        self._active = interventions_key(model)
        self._items: list[int] = []
        self._prefix_kv: KV | None = None
        self._stored = self._trunk(("resid_pre", *(s for s in sites if s != "resid_pre")))

    def values(self, layer: int, site: str = "resid_pre", *, prefix: bool = False) -> torch.Tensor:
        """Return the intact values of a site.

        Args:
            layer: block.
            site: resid_pre, or one named on creation.
            prefix: the shared prefix instead of what follows it.

        Returns: axes (prompt, position, width), right padded; for the prefix (1, position, width).
        """
        kept = self._stored[1 if prefix else 0]
        if (layer, site) not in kept:
            raise ConfigError(
                f"{site} of layer {layer} was not kept.", fix="Name the site on creation."
            )
        return kept[layer, site]

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
            site: which values of the block are replaced; attention or MLP before it run on the
                intact input.
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
        widest = max(self.lengths)
        per_variant = len(self.tokens) * widest + (self.prefix if prefix is not None else 0)
        step = max(1, self.budget // per_variant)
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

    def _trunk(self, sites: Sequence[str]) -> tuple[Mapping[Any, torch.Tensor], ...]:
        """Run the prompts once; return the kept values of what follows the prefix, and of it."""
        anatomy = self.model.anatomy
        taps = {(n, s): anatomy.tap(n, s) for n in range(anatomy.n_layers) for s in sites}
        kept: tuple[dict[Any, torch.Tensor], ...] = ({}, {})
        blocks = noting_returns(anatomy.blocks, self._items)
        with self.model.lock, torch.inference_mode(), blocks:
            if self.prefix:
                head = Rows([self.encoded[0].ids[: self.prefix]], [None], [WITHIN_PROMPT])
                self._prefix_kv = self._read(head, taps, kept[1], keep=True)
            sources = [None if self._prefix_kv is None else Branch(self._prefix_kv, 0)]
            rows = Rows(self.tokens, sources * len(self.tokens), self._prompt_lengths(1))
            self._read(rows, taps, kept[0], keep=False)
        return kept

    def _read(
        self, rows: Rows, taps: Mapping[Any, Tap], kept: dict[Any, torch.Tensor], *, keep: bool
    ) -> KV | None:
        def sink(key: Any, value: torch.Tensor) -> None:
            kept[key] = value.clone()

        return run_pass(self.model, rows, taps=taps, sink=sink, keep=keep).kv

    def _replay(
        self, layer: int, variants: torch.Tensor, site: str, prefix: torch.Tensor | None
    ) -> torch.Tensor:
        """Return final hidden states at the last tokens, axes (variant, prompt, d_model)."""
        count, prompts = variants.shape[:2]
        sources = self._sources(layer, site, prefix, count)
        rows = Rows(list(self.tokens) * count, sources, self._prompt_lengths(count))
        entry = self._stored[0][layer, "resid_pre"].repeat(count, 1, 1)
        with self._entered(layer, site, entry, variants.flatten(0, 1)):
            hidden = run_pass(self.model, rows).hidden
        assert hidden is not None  # noqa: S101 - the pass ran to its end
        last = torch.tensor(self.lengths * count, device=hidden.device) - 1
        ends = hidden[torch.arange(len(last), device=hidden.device), last]
        return ends.reshape(count, prompts, -1)

    def _sources(
        self, layer: int, site: str, prefix: torch.Tensor | None, count: int
    ) -> list[Branch | None]:
        """Return each row's past: the intact prefix, or the one its variant gives."""
        prompts = len(self.tokens)
        if self._prefix_kv is None:
            return [None] * (count * prompts)
        if prefix is None:
            return [Branch(self._prefix_kv, 0)] * (count * prompts)
        tokens = [self.encoded[0].ids[: self.prefix]] * count
        rows = Rows(tokens, [None] * count, [WITHIN_PROMPT] * count)
        entry = self._stored[1][layer, "resid_pre"].repeat(count, 1, 1)
        with self._entered(layer, site, entry, prefix):
            kv = run_pass(self.model, rows, keep=True).kv
        assert kv is not None  # noqa: S101 - asked for with keep=True
        # Blocks below the entry saw nothing new; theirs are never read, but must have rows.
        return [Branch(kv, variant) for variant in range(count) for _ in range(prompts)]

    @contextmanager
    def _entered(
        self, layer: int, site: str, entry: torch.Tensor, values: torch.Tensor
    ) -> Iterator[None]:
        """Let the decoder begin at `layer` with `entry`, and put `values` at the site."""
        anatomy = self.model.anatomy
        values = values.to(self.model.device, self.model.dtype)
        start = values if site == "resid_pre" else entry
        with self.model.lock, ExitStack() as stack:
            stack.enter_context(passing(list(anatomy.blocks)[:layer], self._items[:layer]))
            # Registered after the interventions' hooks, these writes have the last word.
            pre = anatomy.tap(layer, "resid_pre")
            stack.enter_context(write(pre, lambda old: start.to(old.device)))
            if site != "resid_pre":
                tap = anatomy.tap(layer, site)
                stack.enter_context(write(tap, lambda old: values.to(old.device)))
            yield

    def _prompt_lengths(self, count: int) -> list[int]:
        return [len(item.ids) for item in self.encoded] * count

    def _check(
        self, layer: int, variants: torch.Tensor, site: str, prefix: torch.Tensor | None
    ) -> None:
        anatomy = self.model.anatomy
        require_same_interventions(self.model, self._active)
        if not 0 <= layer < anatomy.n_layers:
            raise ConfigError(
                f"There is no layer {layer}.", fix=f"Use 0 to {anatomy.n_layers - 1}."
            )
        if site not in BLOCK_SITES:
            raise ConfigError(f"There is no site '{site}'.", fix=f"Use {', '.join(BLOCK_SITES)}.")
        wide = anatomy.n_heads * anatomy.head_dim if site == "head_z" else anatomy.d_model
        need = (len(self.tokens), max(self.lengths), wide)
        if variants.ndim != 4 or tuple(variants.shape[1:]) != need:
            raise ConfigError(
                f"variants has axes {tuple(variants.shape)}.", fix=f"Give (v, *{need})."
            )
        if prefix is not None and tuple(prefix.shape) != (len(variants), self.prefix, wide):
            need = (len(variants), self.prefix, wide)
            raise ConfigError(f"prefix has axes {tuple(prefix.shape)}.", fix=f"Give {need}.")
