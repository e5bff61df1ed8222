"""Rows of tokens that were run once, and can be run again from block l on with something changed.

Everything below block l is unaffected by a change at block l, and everything before the first
changed token is unaffected at every layer. Hugging Face's own decoder runs both times: the second
time the blocks below l pass their input through, and where the output of block l's attention is
what changes, that attention is set aside too. So masks, rotary embeddings, ALiBi and caches stay
the decoder's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from theodolite.engine.entering import Returns, attention_of, passing
from theodolite.engine.kv import KV, Branch
from theodolite.engine.passes import Only, Rows, run_pass
from theodolite.errors import ConfigError
from theodolite.models.anatomy import BLOCK_SITES, Anatomy
from theodolite.models.attention import Attend, Change, Visitor, shadowed, visiting
from theodolite.models.taps import write

if TYPE_CHECKING:
    from theodolite.engine.trie import Tokens
    from theodolite.engine.variants import RowVariants
    from theodolite.models.handle import LanguageModel

# The name under which the values that attention reads are kept.
VALUES = "values"
# ... and the outputs of the same attention on changed queries or keys.
SHADOW = "shadow"


@dataclass(frozen=True)
class Place:
    """A row of rows that were run before: what a new row hangs below."""

    rows: Rerun
    row: int


@dataclass(frozen=True, eq=False)
class Ends:
    """The end of the network at the last token of rows.

    Args:
        final: output of the final norm, axes (row, d_model).
        stream: its input, the stream after the last block, axes (row, d_model).
    """

    final: torch.Tensor
    stream: torch.Tensor


class Rerun:
    """Rows that begin at one position, each below a row that was run before or at position 0.

    Args:
        model: an open local model; interventions active now must be active in every run.
        tokens: new tokens of each row, at least one.
        parents: where each row's past lies; all of one length, or all None.
        prompt_lengths: tokens of the prompt each row belongs to.
        returns: what blocks and attentions return; filled by the first run.
        sites: sites whose values are kept, besides resid_pre.
        leaf: nothing will hang below these rows, and their ends are read.
        keep_values: also keep the values that attention reads.
        shadow: also keep the head outputs of attention on what this function makes of a layer's
            queries, keys and values; see `models.attention.shadowed`.

    Note: memory is one d_model vector per token, layer and site kept. What stands at the right
        padding of shorter rows has no meaning.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokens: Sequence[Tokens],
        parents: Sequence[Place | None],
        prompt_lengths: Sequence[int],
        *,
        returns: Returns,
        sites: Sequence[str] = (),
        leaf: bool = True,
        keep_values: bool = False,
        shadow: Change | None = None,
    ) -> None:
        self.model = model
        self.tokens = [list(row) for row in tokens]
        self.parents = list(parents)
        self.lengths = [len(row) for row in tokens]
        self.width = max(self.lengths)
        self.leaf = leaf
        self.ends: Ends | None = None
        self._prompt_lengths = list(prompt_lengths)
        self._returns = returns
        past = [None if p is None else Branch(p.rows.intact, p.row) for p in parents]
        self.start = {0 if source is None else source.length for source in past}.pop()
        self._stored: dict[tuple[int, str], torch.Tensor] = {}
        self._intact: KV | None = None
        with ExitStack() as stack:
            if shadow is not None:
                stack.enter_context(shadowed(model.anatomy, shadow, self._keep_shadow))
            seen = keep_values and model.anatomy.row.interface
            if seen:
                for layer in range(model.anatomy.n_layers):
                    visit = visiting(
                        model.anatomy.attention(layer), self._watch(layer), shadow=True
                    )
                    stack.enter_context(visit)
            sites = ("resid_pre", *(s for s in sites if s != "resid_pre"))
            kv = self._trunk(past, sites, keep=not leaf or (keep_values and not seen))
        if keep_values and not seen and kv is not None:
            # A family that computes attention by itself: the cache holds what it reads.
            for layer, (_, values) in kv.layers.items():
                self._keep_values(layer, values)
        self._intact = None if leaf else kv

    @property
    def intact(self) -> KV:
        """Keys and values of the intact run, past included."""
        if self._intact is None:
            raise ConfigError("Nothing can hang below these rows.", fix="Make them with leaf off.")
        return self._intact

    def values(self, layer: int, site: str = "resid_pre") -> torch.Tensor:
        """Return the intact values of a site, axes (row, position, width), right padded.

        Raises: ConfigError: the site was not kept.
        """
        if (layer, site) not in self._stored:
            raise ConfigError(
                f"{site} of layer {layer} was not kept.", fix="Name the site on creation."
            )
        return self._stored[layer, site]

    def attended(self, layer: int) -> torch.Tensor:
        """Return the values that attention reads, from position 0 on.

        Returns: axes (row, place, kv_head, head_dim), right padded.
        """
        own = self.values(layer, VALUES)
        if self.start == 0:
            return own
        places = [place for place in self.parents if place is not None]
        before = torch.stack([p.rows.attended(layer)[p.row, : self.start] for p in places])
        return torch.cat([before, own], dim=1)

    def again(
        self,
        layer: int,
        variants: torch.Tensor,
        site: str,
        past: Sequence[Branch | None] | None = None,
        acting: RowVariants | None = None,
    ) -> KV | Ends:
        """Run blocks `layer` to the last with a site's values replaced, for every variant.

        Args:
            layer: block to enter.
            variants: axes (variant, row, position, width).
            site: one of the block's sites.
            past: of every variant's rows, variant by variant; None is the intact one.
            acting: interventions of these rows, which act after the values were put in place.

        Returns: keys and values with the past included, or for leaves what the last tokens lead
            to; rows are those of every variant, variant by variant.
        """
        count = len(variants)
        own = [None if p is None else Branch(p.rows.intact, p.row) for p in self.parents]
        sources = list(past) if past is not None else own * count
        rows = Rows(self.tokens * count, sources, self._prompt_lengths * count, acting)
        top = self.model.anatomy.n_layers - 1
        # Of the last MLP one token per row is computed, but where its whole output is given.
        columns = [len(tokens) - 1 if self.leaf else 0 for tokens in rows.tokens]
        only = None if (layer, site) == (top, "mlp_out") else Only(top, columns)
        change = nullcontext() if acting is None else acting.of.acting()
        with self._entered(layer, site, variants.flatten(0, 1)), change:
            return self._ends(rows, only) if self.leaf else self._pasts(rows, only)

    def mlp_out(self, layer: int, attn_out: torch.Tensor) -> torch.Tensor:
        """Return what a block's MLP adds where the output of its attention is replaced.

        Args:
            layer: block.
            attn_out: axes (variant, row, position, d_model).

        Returns: axes as `attn_out`.
        """
        count = len(attn_out)
        past = [None if p is None else Branch(p.rows.intact, p.row) for p in self.parents]
        rows = Rows(self.tokens * count, past * count, self._prompt_lengths * count)
        found: list[torch.Tensor] = []
        with self._entered(layer, "attn_out", attn_out.flatten(0, 1)):
            run_pass(
                self.model,
                rows,
                taps={layer: self.model.anatomy.tap(layer, "mlp_out")},
                sink=lambda _, value: found.append(value.clone()),
                finish=False,
            )
        return found[0].reshape(attn_out.shape)

    def _ends(self, rows: Rows, only: Only | None) -> Ends:
        """Run to the end of the network."""
        last = [len(tokens) - 1 for tokens in rows.tokens]
        top = self.model.anatomy.n_layers - 1
        where = torch.arange(len(last)), torch.tensor(last)
        seen: list[torch.Tensor] = []
        hidden = run_pass(
            self.model,
            rows,
            taps={top: self.model.anatomy.tap(top, "resid_post")},
            sink=lambda _, value: seen.append(value[where]),
            only=only,
        ).hidden
        assert hidden is not None  # noqa: S101 - the pass ran to its end
        return Ends(hidden[where], seen[0])

    def _pasts(self, rows: Rows, only: Only | None) -> KV:
        kv = run_pass(self.model, rows, keep=True, only=only).kv
        assert kv is not None  # noqa: S101 - asked for with keep=True
        return kv

    def _trunk(self, past: list[Branch | None], sites: Sequence[str], *, keep: bool) -> KV | None:
        """Run the rows once, and keep what was asked for."""
        anatomy = self.model.anatomy
        taps = {(n, s): anatomy.tap(n, s) for n in range(anatomy.n_layers) for s in sites}
        top = anatomy.n_layers - 1
        # Readers may come last to a tensor: the stream's end is read under a name of its own.
        taps[top, "stream"] = anatomy.tap(top, "resid_post")

        def sink(key: tuple[int, str], value: torch.Tensor) -> None:
            self._stored[key] = value.clone()

        rows = Rows(self.tokens, past, self._prompt_lengths)
        with self.model.lock, torch.inference_mode(), self._returns.noting():
            result = run_pass(self.model, rows, taps=taps, sink=sink, keep=keep)
        assert result.hidden is not None  # noqa: S101 - the pass ran to its end
        stream = self._stored.pop((top, "stream"))
        last = torch.tensor(self.lengths, device=stream.device) - 1
        where = torch.arange(len(last), device=stream.device), last
        self.ends = Ends(result.hidden[where], stream[where])
        return result.kv

    def _watch(self, layer: int) -> Visitor:
        def visitor(
            _attend: Attend, query: torch.Tensor, _key: torch.Tensor, value: torch.Tensor
        ) -> torch.Tensor:
            self._keep_values(layer, value)
            return query

        return visitor

    def _keep_values(self, layer: int, values: torch.Tensor) -> None:
        """Keep the values of the rows' own tokens; axes (row, kv_head, past and new, head_dim)."""
        own = values[:, :, values.shape[2] - self.width :]
        self._stored[layer, VALUES] = own.transpose(1, 2).clone()

    def _keep_shadow(self, layer: int, z: torch.Tensor) -> None:
        self._stored[layer, SHADOW] = z.clone()

    @contextmanager
    def _entered(self, layer: int, site: str, values: torch.Tensor) -> Iterator[None]:
        """Let the decoder begin at `layer` with the intact input, and put `values` at the site."""
        anatomy = self.model.anatomy
        values = values.to(self.model.device, self.model.dtype)
        start = values
        if site != "resid_pre":
            intact = self._stored[layer, "resid_pre"]
            start = intact.repeat(len(values) // len(intact), 1, 1)
        with self.model.lock, ExitStack() as stack:
            stack.enter_context(passing(list(anatomy.blocks)[:layer], self._returns.blocks[:layer]))
            attention = attention_of(anatomy, layer) if site == "attn_out" else None
            if attention is not None:
                returned = self._returns.attentions[layer]
                stack.enter_context(passing([attention], [returned]))
            # Registered after the interventions' hooks, these writes have the last word.
            pre = anatomy.tap(layer, "resid_pre")
            stack.enter_context(write(pre, lambda old: start.to(old.device)))
            if site != "resid_pre":
                tap = anatomy.tap(layer, site)
                stack.enter_context(write(tap, lambda old: values.to(old.device)))
            yield


def check_entry(anatomy: Anatomy, layer: int, site: str) -> None:
    """Refuse a layer or site that cannot be entered.

    Raises: ConfigError: naming what there is.
    """
    if not 0 <= layer < anatomy.n_layers:
        raise ConfigError(f"There is no layer {layer}.", fix=f"Use 0 to {anatomy.n_layers - 1}.")
    if site not in BLOCK_SITES:
        raise ConfigError(f"There is no site '{site}'.", fix=f"Use {', '.join(BLOCK_SITES)}.")
