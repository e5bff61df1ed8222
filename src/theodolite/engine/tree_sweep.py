"""Runs of the same prompts that differ from one block on, with every shared prefix run once.

The prompts form a tree: what several have in common is one row, computed once for every variant,
and what is left of each prompt hangs below it. Leading tokens that no variant can change are
computed once for all. Variants are built where they are needed, never all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

from theodolite.engine.budget import SHARE, kv_bytes_per_token, memory_left, token_budget
from theodolite.engine.entering import Returns, attention_of, require_same_interventions
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.kv import KV, Branch
from theodolite.engine.passes import WITHIN_PROMPT
from theodolite.engine.plan import PASS_TOKENS
from theodolite.engine.rerun import Ends, Place, Rerun, check_entry
from theodolite.engine.runner import require_finite
from theodolite.engine.trie import Segment, Trie, build_trie
from theodolite.engine.variants import RowVariants, Variants
from theodolite.errors import ConfigError, DataError
from theodolite.models.attention import Change
from theodolite.models.chat import Encoded, encode_all

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine.trie import Tokens
    from theodolite.models.handle import LanguageModel

Make: TypeAlias = Callable[[Rerun, slice], torch.Tensor]
"""Builds a site's new values for some rows and variants, axes (variant, row, position, width)."""

# Rows of one pass may be this much longer than its shortest one.
LONGER = 0.15


@dataclass(frozen=True)
class SweepOptions:
    """What a sweep keeps of its first run, and how it cuts its passes.

    Args:
        sites: sites whose values are kept, besides resid_pre.
        keep_values: also keep the values that attention reads.
        shadow: see `Rerun`.
        untouched: so many leading tokens are the same in every variant.
        share: compute what prompts have in common once, and equal prompts too; needs variants that
            depend on nothing but a token and those before it.
        together: variants that will be run per call; decides how many prompts share a pass.
        batch_tokens: most tokens of one pass (default: by device and memory).
    """

    sites: Sequence[str] = ()
    keep_values: bool = False
    shadow: Change | None = None
    untouched: int = 0
    share: bool = True
    together: int = 1
    batch_tokens: int | None = None


class TreeSweep:
    """Runs of the same prompts that differ from one block on, over a tree of shared prefixes.

    Args:
        model: an open local model; interventions active now act in every run of this sweep.
        prompts: requests (rendered as chats) or `Encoded` prompts; equal ones run once.
        options: what is kept and how passes are cut.

    Attributes:
        final, stream: the intact end of the network at each prompt's last token, after and before
            the final norm, axes (prompt, d_model).

    Raises:
        DataError: there are no prompts.
        ConfigError: what is kept does not fit into memory.
        NumericsError: a value is not finite.

    Note: memory is, per token that is not shared, one d_model vector per layer and site kept.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt | str | Encoded],
        options: SweepOptions | None = None,
    ) -> None:
        model.require("hidden_states", "interventions")
        self.model = model
        self.options = options or SweepOptions()
        self.encoded = encode_all(model, prompts)
        if not self.encoded:
            raise DataError("A sweep needs at least one prompt.")
        self.names = [item.prompt_id or str(i) for i, item in enumerate(self.encoded)]
        lengths = [len(item.ids) for item in self.encoded]
        self.budget = self.options.batch_tokens or token_budget(model, max(lengths))
        self._active = interventions_key(model)
        self._returns = Returns(model.anatomy)
        self._plant()
        self.final, self.stream = self._gathered([leaf.rows.ends for leaf in self._leaves])
        require_finite(self.final, self.names, model.anatomy.n_layers - 1, "resid_post")

    def run(
        self,
        layer: int,
        count: int,
        make: Make,
        *,
        site: str = "attn_out",
        acting: Variants | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run blocks `layer` to the last with a site's values replaced, for every variant.

        Args:
            layer: block to enter.
            count: number of variants.
            make: called once or more for every group of rows; it may read their `values`.
            site: which values of the block are replaced; attention is not run where they are
                "attn_out".
            acting: interventions of each variant, at `layer` or later and at named positions; they
                act on its rows after the values were put in place.

        Returns: the output of the final norm and the stream before it at each prompt's last token,
            axes (variant, prompt, d_model) each.

        Raises:
            ConfigError: layer or site does not fit, or the interventions changed.
            NumericsError: a result is not finite.
        """
        anatomy = self.model.anatomy
        require_same_interventions(self.model, self._active)
        check_entry(anatomy, layer, site)
        # Nothing reads a prefix in the last block where attention is set aside.
        alone = (
            layer == anatomy.n_layers - 1
            and site == "attn_out"
            and attention_of(anatomy, layer) is not None
        )
        finals, streams = [], []
        with torch.inference_mode():
            for chunk in self._chunks(count):
                changed = {} if alone else self._changed(layer, site, chunk, make, acting)
                ends = [
                    self._leaf(layer, site, leaf, chunk, make, changed, acting)
                    for leaf in self._leaves
                ]
                final, stream = self._gathered(ends, chunk.stop - chunk.start)
                finals.append(final)
                streams.append(stream)
            final = torch.cat(finals)
            require_finite(
                final.flatten(0, 1), self.names * count, anatomy.n_layers - 1, "resid_post"
            )
        return final, torch.cat(streams)

    def rows(self) -> Iterator[Rerun]:
        """Yield every group of rows that variants are built for, prefixes before what follows."""
        yield from self._levels
        yield from (leaf.rows for leaf in self._leaves)

    def last(self, part: Rerun) -> tuple[list[int], list[int]]:
        """Return which prompts end in some rows, and which row each is; empty for prefixes."""
        for leaf in self._leaves:
            if leaf.rows is part:
                pairs = [(item, row) for row, items in enumerate(leaf.items) for item in items]
                return [item for item, _ in pairs], [row for _, row in pairs]
        return [], []

    def _chunks(self, count: int) -> Iterator[slice]:
        """Yield the variants in portions whose prefixes fit one pass."""
        widest = max((len(rows.tokens) * rows.width for rows in self._levels), default=1)
        held = sum(len(rows.tokens) * (rows.start + rows.width) for rows in self._levels)
        room = memory_left(self.model) * SHARE / 2
        most = int(room // max(held * kv_bytes_per_token(self.model), 1))
        step = max(1, min(self.budget // widest, most))
        for begin in range(0, count, step):
            yield slice(begin, min(begin + step, count))

    def _changed(
        self, layer: int, site: str, chunk: slice, make: Make, acting: Variants | None
    ) -> dict[Rerun, KV]:
        """Run the shared prefixes of every variant; return their keys and values."""
        changed: dict[Rerun, KV] = {}
        for rows in self._levels:
            past = self._past(rows, chunk.stop - chunk.start, changed)
            own = _owned(acting, chunk, rows)
            kv = rows.again(layer, make(rows, chunk), site, past, own)
            assert isinstance(kv, KV)  # noqa: S101 - levels are no leaves
            changed[rows] = kv
        return changed

    def _past(
        self, rows: Rerun, count: int, changed: dict[Rerun, KV], first: int = 0
    ) -> list[Branch | None] | None:
        """Return the past of every variant's rows: changed where its prefix was run again."""
        places = [place for place in rows.parents if place is not None]
        if not places or not any(place.rows in changed for place in places):
            return None
        return [
            Branch(changed[p.rows], variant * len(p.rows.tokens) + p.row)
            if p.rows in changed
            else Branch(p.rows.intact, p.row)
            for variant in range(first, first + count)
            for p in places
        ]

    def _leaf(
        self,
        layer: int,
        site: str,
        leaf: _Leaf,
        chunk: slice,
        make: Make,
        changed: dict[Rerun, KV],
        acting: Variants | None,
    ) -> Ends:
        """Run what is left of some prompts, for a chunk of variants, within the budget."""
        rows = leaf.rows
        step = max(1, self.budget // (len(rows.tokens) * rows.width))
        found = []
        for begin in range(chunk.start, chunk.stop, step):
            end = min(begin + step, chunk.stop)
            past = self._past(rows, end - begin, changed, begin - chunk.start)
            part = slice(begin, end)
            ends = rows.again(layer, make(rows, part), site, past, _owned(acting, part, rows))
            assert isinstance(ends, Ends)  # noqa: S101 - a leaf
            found.append(ends)
        return Ends(*(torch.cat(parts) for parts in zip(*((e.final, e.stream) for e in found))))

    def _gathered(
        self, ends: Sequence[Ends | None], count: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put the ends of all leaves in the order of the prompts; `count` 0 has no variant axis."""
        found = []
        for name in ("final", "stream"):
            width = self.model.anatomy.d_model
            whole = torch.empty(max(count, 1), len(self.encoded), width, dtype=self.model.dtype).to(
                self.model.device
            )
            for leaf, end in zip(self._leaves, ends, strict=True):
                values = getattr(end, name).unflatten(0, (max(count, 1), len(leaf.items)))
                items, rows = self.last(leaf.rows)
                whole[:, items] = values[:, rows].to(whole.device)
            found.append(whole if count else whole[0])
        return found[0], found[1]

    def _plant(self) -> None:
        """Run the prompts once: untouched tokens, shared prefixes level by level, then leaves."""
        copies: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for item, prompt in enumerate(self.encoded):
            # Without sharing even equal prompts may get variants of their own.
            kind = 0 if self.options.share else item
            copies.setdefault((kind, tuple(prompt.ids)), []).append(item)
        unique = [ids for _, ids in copies]
        items = list(copies.values())
        # A prompt's last token is always its own.
        still = min(self.options.untouched, min(map(len, unique)) - 1)
        caps = [shareable(self.model, len(ids)) if self.options.share else 0 for ids in unique]
        pays = max(2, PASS_TOKENS // max(self.options.together, 1))
        trie = build_trie(unique, caps, pays=pays)
        self._check_room(unique, trie)
        roots = self._roots(unique, still)
        places = self._prefixes(unique, trie.segments, roots, still)
        parents = [
            places.get(above) or roots.get(ids[:still]) for above, ids in zip(trie.parent, unique)
        ]
        self._leaves: list[_Leaf] = []
        for some in self._grouped(unique, parents):
            begin = _end(parents[some[0]])
            rows = self._run_once(
                [unique[i][begin:] for i in some],
                [parents[i] for i in some],
                [len(unique[i]) for i in some],
                leaf=True,
            )
            self._leaves.append(_Leaf(rows, [items[i] for i in some]))

    def _prefixes(
        self,
        unique: Sequence[tuple[int, ...]],
        segments: Sequence[Segment],
        roots: dict[Tokens, Place],
        still: int,
    ) -> dict[int, Place]:
        """Run the shared prefixes; return where each segment lies."""
        places: dict[int, Place] = {}
        self._levels: list[Rerun] = []
        for group in _by_depth(segments, still):
            members = [(segments[i], unique[segments[i].item]) for i in group]
            level = self._run_once(
                [ids[max(segment.start, still) : segment.stop] for segment, ids in members],
                [places.get(s.parent) or roots.get(ids[:still]) for s, ids in members],
                [WITHIN_PROMPT] * len(group),
                leaf=False,
            )
            self._levels.append(level)
            places |= {index: Place(level, row) for row, index in enumerate(group)}
        return places

    def _roots(self, unique: Sequence[Tokens], still: int) -> dict[Tokens, Place]:
        """Run the leading tokens that nothing changes."""
        if still < 1:
            return {}
        different = list(dict.fromkeys(tuple(ids[:still]) for ids in unique))
        rows = self._run_once(
            different, [None] * len(different), [WITHIN_PROMPT] * len(different), leaf=False
        )
        return {tokens: Place(rows, row) for row, tokens in enumerate(different)}

    def _run_once(
        self,
        tokens: Sequence[Tokens],
        parents: Sequence[Place | None],
        prompt_lengths: Sequence[int],
        *,
        leaf: bool,
    ) -> Rerun:
        return Rerun(
            self.model,
            tokens,
            parents,
            prompt_lengths,
            returns=self._returns,
            sites=self.options.sites,
            leaf=leaf,
            keep_values=self.options.keep_values,
            shadow=self.options.shadow,
        )

    def _grouped(
        self, unique: Sequence[Tokens], parents: Sequence[Place | None]
    ) -> Iterator[list[int]]:
        """Yield what may run in one pass: rows of one beginning and nearly one length."""
        starts = [_end(place) for place in parents]
        order = sorted(range(len(unique)), key=lambda i: (starts[i], len(unique[i]), i))
        group: list[int] = []
        for i in order:
            left = len(unique[i]) - starts[i]
            first = len(unique[group[0]]) - starts[group[0]] if group else left
            rows = max(1, self.budget // (left * self.options.together))
            fits = starts[i] == starts[group[0]] if group else True
            if group and not (fits and left <= first * (1 + LONGER) and len(group) < rows):
                yield group
                group = []
            group.append(i)
        yield group

    def _check_room(self, unique: Sequence[Tokens], trie: Trie) -> None:
        """Refuse prompts whose kept values do not fit, before anything runs."""
        anatomy = self.model.anatomy
        own = [
            len(ids) - (trie.segments[p].stop if p >= 0 else 0)
            for ids, p in zip(unique, trie.parent)
        ]
        tokens = sum(own) + sum(s.stop - s.start for s in trie.segments)
        width = anatomy.d_model * 2 + anatomy.n_heads * anatomy.head_dim * 2
        need = tokens * width * anatomy.n_layers * self.model.dtype.itemsize
        room = memory_left(self.model) * SHARE
        if need > room:
            raise ConfigError(
                f"What a sweep keeps of {len(unique)} prompts needs {need / 2**30:.1f} GiB, and "
                f"{room / 2**30:.1f} GiB may be used.",
                fix="Give fewer prompts at a time.",
            )


@dataclass(frozen=True)
class _Leaf:
    """What is left of some prompts below their shared prefixes.

    Args:
        rows: one per different prompt.
        items: for each row the places of the prompts that equal it.
    """

    rows: Rerun
    items: list[list[int]]


def _owned(acting: Variants | None, chunk: slice, rows: Rerun) -> RowVariants | None:
    """Return what acts on the rows of some variants, variant by variant."""
    if acting is None:
        return None
    return RowVariants.in_turn(acting, range(chunk.start, chunk.stop), len(rows.tokens))


def _end(place: Place | None) -> int:
    """Return the position after a row of an earlier run; 0 where there is none."""
    return 0 if place is None else place.rows.start + place.rows.lengths[place.row]


def _by_depth(segments: Sequence[Segment], still: int) -> Iterator[list[int]]:
    """Yield segments that can run together: parents before children, one beginning per group."""
    depth: list[int] = []
    for segment in segments:
        depth.append(0 if segment.parent < 0 else depth[segment.parent] + 1)
    groups: dict[tuple[int, int], list[int]] = {}
    for index, segment in enumerate(segments):
        if segment.stop > still:
            groups.setdefault((depth[index], max(segment.start, still)), []).append(index)
    for key in sorted(groups):
        yield groups[key]
