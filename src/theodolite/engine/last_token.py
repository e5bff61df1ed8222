"""Change the stream at each prompt's last token only, at any depth, and compute nothing else.

Every earlier position is untouched by such a change, so its keys and values come from one run of
the prompts. They are laid out once, with one free slot for the last token, and serve every layer
and every variant: a run is a single decoding step through the blocks above the change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import DynamicLayer

from theodolite.engine.budget import (
    SHARE,
    kv_bytes_per_token,
    memory_left,
    row_budget,
    token_budget,
)
from theodolite.engine.entering import noting_returns, passing, require_same_interventions
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.kv import KV, Branch, DecodeState, KeyValue, branch, cache_of
from theodolite.engine.passes import Only, run_pass, step
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving, require_finite
from theodolite.engine.suffix import SweepResult
from theodolite.engine.variants import RowVariants, Variants
from theodolite.errors import ConfigError, DataError
from theodolite.models.chat import Encoded, encode_all
from theodolite.models.taps import Tap, read, write

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel

# Prompts of one layout share its width; a prompt this much longer than the shortest starts another.
LONGER = 0.5
SLACK = 16


class LastTokenSweep:
    """Runs of the same prompts that differ at the last token, from some depth on.

    Args:
        model: an open local model; interventions active now act in every run of this sweep.
        prompts: requests (rendered as chats) or `Encoded` prompts; lengths may differ.
        batch_tokens: most tokens of one pass over the prompts (default: by device and memory).

    Attributes:
        states: the intact stream at the last token, axes (prompt, hidden_index, d_model), model
            dtype; `hidden_index` 0 is the embeddings, l + 1 the stream after block l.
        final: the intact output of the final norm, axes (prompt, d_model).
        logits: the intact logits, axes (prompt, vocab).

    Raises:
        DataError: there are no prompts.
        ConfigError: their keys and values do not fit into memory.
        NumericsError: a state is not finite.

    Note: equal to whole forwards with the same change up to rounding (1e-4 relative in float32).
        Memory is the keys and values of all prompts, and of the variants that run together.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Sequence[Prompt | str | Encoded],
        *,
        batch_tokens: int | None = None,
    ) -> None:
        model.require("hidden_states", "interventions")
        self.model = model
        self.encoded = encode_all(model, prompts)
        if not self.encoded:
            raise DataError("A sweep needs at least one prompt.")
        lengths = [len(item.ids) for item in self.encoded]
        self.names = [item.prompt_id or str(i) for i, item in enumerate(self.encoded)]
        self._rows = row_budget(model, max(lengths))
        self._budget = batch_tokens or token_budget(model, max(lengths))
        self._active = interventions_key(model)
        self._returns: list[int] = []
        self._taps = [_tap(model, index) for index in range(model.anatomy.n_layers + 1)]
        members = _alike(lengths, self._rows)
        slots = sum(len(group) * max(lengths[i] for i in group) for group in members)
        self._copies = self._copies_that_fit(slots)
        count, width = len(lengths), model.anatomy.d_model
        with model.lock, torch.inference_mode():
            room = torch.empty(
                count, len(self._taps) + 1, width, dtype=model.dtype, device=model.device
            )
            self.states, self.final = room[:, :-1], room[:, -1]
            with noting_returns(model.anatomy.blocks, self._returns):
                self._groups = [self._trunk(group) for group in members]
        for index in range(len(self._taps)):
            site = "resid_post" if index else "resid_pre"
            require_finite(self.states[:, index], self.names, max(index - 1, 0), site)

    @cached_property
    def logits(self) -> torch.Tensor:
        """The intact logits, axes (prompt, vocab)."""
        with torch.inference_mode():
            return self.model.anatomy.logits_from_final(self.final)

    def run(
        self,
        hidden_index: int | Sequence[int],
        variants: torch.Tensor,
        *,
        logits: bool = True,
        acting: Variants | None = None,
    ) -> SweepResult:
        """Replace the stream at every last token and run what is above it, for every variant.

        Args:
            hidden_index: where the stream is replaced; 0 replaces the embedding, n_layers the
                input of the final norm. One for all variants, or one each: neighbouring depths
                share passes, which pays where prompts are few.
            variants: new streams, axes (variant, prompt, d_model).
            logits: also return the logits.
            acting: interventions of each variant, at block `hidden_index` or later; they act on its
                rows after the streams were put in place.

        Returns: what each prompt's last token leads to.

        Raises:
            ConfigError: a shape or the hidden_index does not fit, or the interventions changed.
            NumericsError: a result is not finite.
        """
        each = [hidden_index] * len(variants) if isinstance(hidden_index, int) else hidden_index
        final = self._through(each, variants, None, acting)
        with torch.inference_mode():
            every = self.model.anatomy.logits_from_final(final) if logits else None
        return SweepResult(final, every)

    def carry(self, hidden_index: int, variants: torch.Tensor, to: int) -> torch.Tensor:
        """Run only the blocks between two depths, so that the stream can be changed again there.

        Args:
            hidden_index: where the stream is replaced.
            variants: new streams, axes (variant, prompt, d_model).
            to: the hidden_index to stop at, above the first.

        Returns: the stream there, axes (variant, prompt, d_model).

        Raises: as `run`.
        """
        if not hidden_index < to < len(self._taps):
            raise ConfigError(
                f"The stream at hidden_index {hidden_index} cannot be carried to {to}.",
                fix=f"Use {hidden_index + 1} to {len(self._taps) - 1}.",
            )
        return self._through([hidden_index] * len(variants), variants, to)

    def _through(
        self,
        begins: Sequence[int],
        variants: torch.Tensor,
        to: int | None,
        acting: Variants | None = None,
    ) -> torch.Tensor:
        """Return streams at `to`, or final hidden states, axes (variant, prompt, d_model)."""
        self._check(begins, variants)
        order = sorted(range(len(begins)), key=lambda variant: begins[variant])
        with self.model.lock, torch.inference_mode():
            streams = variants.to(self.model.device, self.model.dtype)
            ends = torch.empty_like(streams)
            for group in self._groups:
                together = max(1, min(self._rows // len(group.items), self._copies))
                for first in range(0, len(order), together):
                    chunk = order[first : first + together]
                    place = (torch.tensor(chunk)[:, None], torch.tensor(group.items))
                    of = None
                    if acting is not None:
                        of = RowVariants.in_turn(acting, chunk, len(group.items))
                    begin = [begins[v] for v in chunk]
                    ends[place] = self._step(group, begin, streams[place], to, of)
            last = self.model.anatomy.n_layers if to is None else to
            flat = ends.flatten(0, 1)
            require_finite(flat, self.names * len(variants), last - 1, "resid_post")
        return ends

    def _step(
        self,
        group: _Group,
        begins: Sequence[int],
        streams: torch.Tensor,
        to: int | None,
        of: RowVariants | None,
    ) -> torch.Tensor:
        """Decode the last token of a group's prompts, each variant's stream replaced at its depth.

        Args:
            begins: ascending, one per variant; the variants that begin later ride along below.
            streams: axes (variant, row, d_model).
            of: what acts on the rows, variant by variant.
        """
        blocks = list(self.model.anatomy.blocks)
        idle = [*range(begins[0]), *range(len(blocks) if to is None else to, len(blocks))]
        rows = streams.flatten(0, 1)[:, None]
        starts = torch.tensor(begins).repeat_interleave(len(group.items))[:, None, None]
        seen: list[torch.Tensor] = []
        with ExitStack() as stack:
            items = [self._returns[i] for i in idle]
            stack.enter_context(passing([blocks[i] for i in idle], items))
            # Registered after the interventions' hooks, these writes have the last word.
            for begin in sorted(set(begins)):
                stack.enter_context(write(self._taps[begin], _put(rows, starts == begin)))
            if of is not None:
                stack.enter_context(of.of.acting())
            if to is not None:
                wanted = {to: self._taps[to]}
                stack.enter_context(read(wanted, lambda _, value: seen.append(value)))
            hidden = step(
                self.model,
                group.state(len(begins)),
                group.tokens.repeat(len(begins)),
                group.prompt_lengths.repeat(len(begins)),
                of,
            )
        ends = seen[0][:, 0].to(hidden.device) if seen else hidden
        return ends.reshape(streams.shape)

    def _trunk(self, members: Sequence[int]) -> _Group:
        """Run some prompts once: note their states, and lay out what precedes their last tokens."""
        sequences = [self.encoded[i].ids for i in members]
        runner = Runner(self.model, sequences, names=[self.names[i] for i in members])
        limits = [shareable(self.model, len(ids)) for ids in sequences]
        sources: dict[int, Branch] = {}
        for batch in plan_batches(sequences, self._budget, limits=limits):
            halving(batch, lambda part: sources.update(self._read(runner, part, members)))
        past = branch([sources[row] for row in range(len(members))])
        assert past is not None  # noqa: S101 - every row has one, if only of no tokens
        return _Group(
            items=list(members),
            tokens=torch.tensor([ids[-1] for ids in sequences], device=self.model.device),
            prompt_lengths=torch.tensor([len(ids) for ids in sequences], device=self.model.device),
            padding=[past.width - length for length in past.lengths],
            layers=[
                LastSlotLayer(past.layers[layer], len(members))
                for layer in range(self.model.anatomy.n_layers)
            ],
        )

    def _read(self, runner: Runner, batch: Batch, members: Sequence[int]) -> dict[int, Branch]:
        """Run one planned batch; return where the past of each of its prompts lies."""
        done = runner.shared(batch)
        rows = runner.rows(batch.leaves, done, shared=False)
        last = [len(tokens) - 1 for tokens in rows.tokens]
        row_of = [row for row, copies in enumerate(batch.copies) for _ in copies]
        column_of = [last[row] for row in row_of]
        items = [members[item] for item in batch.items]

        def sink(index: int, value: torch.Tensor) -> None:
            self.states[items, index] = value[row_of, column_of].to(self.states.device)

        result = run_pass(
            self.model,
            rows,
            taps=dict(enumerate(self._taps)),
            sink=sink,
            keep=True,
            only=Only(self.model.anatomy.n_layers - 1, last),
        )
        assert result.hidden is not None and result.kv is not None  # noqa: S101 - asked for
        self.final[items] = result.hidden[row_of, column_of]
        kv = result.kv
        before = KV(kv.layers, kv.starts, [length - 1 for length in kv.lengths])
        return {item: Branch(before, row) for item, row in zip(batch.items, row_of)}

    def _copies_that_fit(self, slots: int) -> int:
        """Return how many copies of all layouts may exist; refuse before anything runs if none."""
        need = slots * kv_bytes_per_token(self.model)
        room = memory_left(self.model) * SHARE
        if need > room:  # a process that runs out of memory is killed without a word
            raise ConfigError(
                f"The keys and values of {len(self.encoded)} prompts need {need / 2**30:.1f} GiB, "
                f"and {room / 2**30:.1f} GiB may be used.",
                fix="Give fewer prompts at a time.",
            )
        return int(room // need)

    def _check(self, begins: Sequence[int], variants: torch.Tensor) -> None:
        require_same_interventions(self.model, self._active)
        for begin in begins:
            if not 0 <= begin < len(self._taps):
                raise ConfigError(
                    f"There is no hidden_index {begin}.", fix=f"Use 0 to {len(self._taps) - 1}."
                )
        need = (len(begins), len(self.encoded), self.model.anatomy.d_model)
        if tuple(variants.shape) != need or not begins:
            raise ConfigError(
                f"variants has axes {tuple(variants.shape)}.", fix=f"Give (v, *{need[1:]})."
            )


@dataclass
class _Group:
    """Prompts of similar length whose pasts lie in one layout.

    Args:
        items: their places in the list of prompts.
        tokens: the last token of each; long, axes (row).
        prompt_lengths: long, axes (row).
        padding: unused slots before each row's first.
        layers: one per block.
    """

    items: list[int]
    tokens: torch.Tensor
    prompt_lengths: torch.Tensor
    padding: list[int]
    layers: list[LastSlotLayer]

    def state(self, copies: int) -> DecodeState:
        """Return what decoding the last token of so many copies of every row starts from."""
        for layer in self.layers:
            layer.hold(len(self.items) * copies)
        lengths = (self.prompt_lengths - 1).tolist() * copies
        return DecodeState(cache_of(self.layers), lengths, self.padding * copies)


class LastSlotLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values before the last token, and one slot that every step fills anew.

    Args:
        past: keys and values, axes (row or 1, kv head, slot, head width).
        rows: rows of the layout.
    """

    def __init__(self, past: KeyValue, rows: int) -> None:
        super().__init__()
        self.width = past[0].shape[2]
        self.rows = rows
        self.buffers = [_with_slot(old.expand(rows, -1, -1, -1)) for old in past]
        self.is_initialized = True

    def hold(self, rows: int) -> None:
        """Make room for so many rows: copies of the layout, one after the other."""
        have = len(self.buffers[0])
        if have < rows:
            self.buffers = [
                buffer[: self.rows].repeat(rows // self.rows, 1, 1, 1) for buffer in self.buffers
            ]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> KeyValue:
        """Put the last token's keys and values into their slot (see `DynamicLayer.update`)."""
        rows = key_states.shape[0]
        for buffer, new in zip(self.buffers, (key_states, value_states)):
            buffer[:rows, :, -1:] = new
        return self.buffers[0][:rows], self.buffers[1][:rows]

    def get_seq_length(self) -> int:
        """Return the slots before the last token's."""
        return self.width


def _with_slot(old: torch.Tensor) -> torch.Tensor:
    buffer = old.new_zeros(*old.shape[:2], old.shape[2] + 1, old.shape[3])
    buffer[:, :, :-1] = old
    return buffer


def _put(rows: torch.Tensor, chosen: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the write that replaces the chosen rows, axes (row, 1, d_model), and no others."""
    return lambda old: torch.where(chosen.to(old.device), rows.to(old.device), old)


def _tap(model: LanguageModel, hidden_index: int) -> Tap:
    site = "resid_post" if hidden_index else "resid_pre"
    return model.anatomy.tap(max(hidden_index - 1, 0), site)


def _alike(lengths: Sequence[int], rows: int) -> list[list[int]]:
    """Return the prompts in groups of similar length, each of at most so many rows."""
    groups: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        first = lengths[groups[-1][0]] if groups else 0
        fits = groups and len(groups[-1]) < rows
        if fits and lengths[item] <= first * (1 + LONGER) + SLACK:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups
