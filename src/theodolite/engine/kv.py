"""Keys and values of earlier tokens: kept per pass, branched to new rows, grown while decoding.

Layers hold all keys, also for sliding-window blocks: Hugging Face builds the window's mask from key
indices, so a cache that drops nothing can be branched and stays exact. Rows whose past differs in
length are aligned at its end (left padding); what is masked is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

KeyValue = tuple[torch.Tensor, torch.Tensor]


@dataclass
class KV:
    """Keys and values a pass produced.

    Args:
        layers: block -> (keys, values), each with axes (row, kv head, slot, head width).
        starts: first valid slot of each row.
        lengths: valid slots of each row; they are consecutive and begin at position 0.
    """

    layers: dict[int, KeyValue]
    starts: list[int]
    lengths: list[int]


@dataclass
class Past:
    """Keys and values placed before the rows of a coming pass, aligned at their end.

    Args:
        layers: block -> (keys, values), axes (row, kv head, slot, head width); one row stands for
            all rows of the pass.
        lengths: valid slots of each row, the last ones; slots before them are padding.
        width: slots.
    """

    layers: dict[int, KeyValue]
    lengths: list[int]
    width: int

    @property
    def padded(self) -> bool:
        """Whether some row has fewer valid slots than there are."""
        return min(self.lengths) < self.width


@dataclass(frozen=True)
class Branch:
    """Where one new row's past comes from: a row of a finished pass."""

    kv: KV
    row: int

    @property
    def length(self) -> int:
        """Positions it covers."""
        return self.kv.lengths[self.row]


def branch(sources: Sequence[Branch | None]) -> Past | None:
    """Lay the past of each new row out, aligned at the end; None where no row has one."""
    found = [source for source in sources if source is not None]
    if not found:
        return None
    first = found[0]
    lengths = [0 if source is None else source.length for source in sources]
    width = max(lengths)
    if len(found) == len(sources) and all(s.kv is first.kv and s.row == first.row for s in found):
        begin = first.kv.starts[first.row]
        span = slice(begin, begin + width)
        one = slice(first.row, first.row + 1)
        shared = {i: (k[one, :, span], v[one, :, span]) for i, (k, v) in first.kv.layers.items()}
        return Past(shared, lengths, width)
    if not first.kv.layers:  # those passes ended before the first attention, and so will this one
        return Past({}, lengths, width)
    groups: dict[int, list[int]] = {}
    for new, source in enumerate(sources):
        if source is not None:
            groups.setdefault(id(source.kv), []).append(new)
    if len(groups) == 1 and len(found) == len(sources):
        if _in_place(found, width):
            return Past(first.kv.layers, lengths, width)
        rows, slots = _addresses(found, width, first)
        taken = {
            i: (_take(k, rows, slots), _take(v, rows, slots))
            for i, (k, v) in first.kv.layers.items()
        }
        return Past(taken, lengths, width)
    return Past(_merge(sources, groups, width), lengths, width)


def _in_place(sources: Sequence[Branch], width: int) -> bool:
    """Whether rows of one pass are all of its rows, in order and aligned at the end already."""
    keys = next(iter(sources[0].kv.layers.values()))[0]
    ends = {source.kv.starts[source.row] + source.length for source in sources}
    rows = [source.row for source in sources]
    return rows == list(range(keys.shape[0])) and ends == {width} and keys.shape[2] == width


def _addresses(
    sources: Sequence[Branch], width: int, first: Branch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row (row, 1) and slot (row, slot) each new slot is read from."""
    device = next(iter(first.kv.layers.values()))[0].device
    rows = torch.tensor([s.row for s in sources], device=device)[:, None]
    ends = torch.tensor([s.kv.starts[s.row] + s.length for s in sources], device=device)[:, None]
    slots = ends - width + torch.arange(width, device=device)
    return rows, slots.clamp(min=0)


def _take(tensor: torch.Tensor, rows: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    # With a device map, blocks lie on different devices; on one device these moves do nothing.
    rows, slots = rows.to(tensor.device), slots.to(tensor.device)
    return tensor.transpose(1, 2)[rows, slots].transpose(1, 2)


def _merge(
    sources: Sequence[Branch | None], groups: dict[int, list[int]], width: int
) -> dict[int, KeyValue]:
    """Gather rows from several finished passes; rows without a past stay zero."""
    merged: dict[int, KeyValue] = {}
    for news in groups.values():
        own = [s for s in (sources[new] for new in news) if s is not None]
        rows, slots = _addresses(own, width, own[0])
        for layer, pair in own[0].kv.layers.items():
            if layer not in merged:
                merged[layer] = _zeros_like(pair, len(sources), width)
            for target, tensor in zip(merged[layer], pair):
                target[news] = _take(tensor, rows, slots)
    return merged


def _zeros_like(pair: KeyValue, rows: int, width: int) -> KeyValue:
    k, v = pair
    return (
        k.new_zeros(rows, k.shape[1], width, k.shape[3]),
        v.new_zeros(rows, v.shape[1], width, v.shape[3]),
    )


class BranchLayer(DynamicLayer):  # type: ignore[misc]
    """One block's past, put before the new keys of one pass; kept only where children need it."""

    def __init__(self, past: KeyValue | None, width: int, keep: bool) -> None:
        super().__init__()
        self.past = past
        self.width = width
        self.keep = keep
        self.kept: KeyValue | None = None
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> KeyValue:
        """Return the keys and values of past and present (see `DynamicLayer.update`)."""
        if self.past is not None:
            rows = key_states.shape[0]
            key_states, value_states = (
                torch.cat([old.expand(rows, -1, -1, -1), new], dim=2)
                for old, new in zip(self.past, (key_states, value_states))
            )
        if self.keep:
            self.kept = (key_states, value_states)
        return key_states, value_states

    def get_seq_length(self) -> int:
        """Return the slots before this pass."""
        return self.width


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One block's keys and values while decoding, in a buffer with room for steps to come."""

    ROOM = 64

    def __init__(self, past: KeyValue, rows: int) -> None:
        super().__init__()
        self.used = past[0].shape[2]
        self.buffers = [self._with_room(old.expand(rows, -1, -1, -1)) for old in past]
        self.is_initialized = True

    def _with_room(self, old: torch.Tensor) -> torch.Tensor:
        buffer = old.new_empty(*old.shape[:2], old.shape[2] + self.ROOM, old.shape[3])
        buffer[:, :, : old.shape[2]] = old
        return buffer

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> KeyValue:
        """Append one step and return views of all keys and values."""
        end = self.used + key_states.shape[2]
        if end > self.buffers[0].shape[2]:
            self.buffers = [self._with_room(buffer) for buffer in self.buffers]
        for buffer, new in zip(self.buffers, (key_states, value_states)):
            buffer[:, :, self.used : end] = new
        self.used = end
        return self.buffers[0][:, :, :end], self.buffers[1][:, :, :end]

    def get_seq_length(self) -> int:
        """Return the slots in use."""
        return self.used

    def cut(self, row: int, slots: slice) -> KeyValue:
        """Return a copy of some slots of one row, axes (kv head, slot, head width)."""
        keys, values = (buffer[row, :, slots].clone() for buffer in self.buffers)
        return keys, values

    def select(self, rows: torch.Tensor, first_slot: int) -> None:
        """Keep only these rows, and drop the slots before `first_slot` (padding of all of them)."""
        rows = rows.to(self.buffers[0].device)
        self.buffers = [buffer[rows, :, first_slot:] for buffer in self.buffers]
        self.used -= first_slot


def cache_of(layers: Sequence[DynamicLayer]) -> DynamicCache:
    """Return a cache made of these layers, one per block."""
    cache = DynamicCache()
    cache.layers = list(layers)
    return cache


@dataclass
class DecodeState:
    """Keys, values and masks of rows that are being decoded.

    Args:
        cache: one `GrowingLayer` per block.
        lengths: positions used by each row.
        padding: unused slots before each row's first.
    """

    cache: DynamicCache
    lengths: list[int]
    padding: list[int] = field(default_factory=list)

    @classmethod
    def start(cls, past: Past) -> DecodeState:
        """Copy a past into growing buffers, one row per length."""
        rows = len(past.lengths)
        last = max(past.layers) + 1
        layers = [GrowingLayer(past.layers[i], rows) for i in range(last)]
        return cls(cache_of(layers), list(past.lengths), [past.width - n for n in past.lengths])

    def cut(self, row: int, start: int, stop: int) -> dict[int, KeyValue]:
        """Return a copy of what positions of a row left, axes (kv head, position, head width)."""
        slots = slice(self.padding[row] + start, self.padding[row] + stop)
        return {i: layer.cut(row, slots) for i, layer in enumerate(self.cache.layers)}

    def select(self, rows: Sequence[int]) -> None:
        """Keep only these rows, in this order, and drop padding that none of them needs."""
        self.lengths = [self.lengths[i] for i in rows]
        padding = [self.padding[i] for i in rows]
        spare = min(padding)
        self.padding = [count - spare for count in padding]
        index = torch.tensor(rows, device=self.cache.layers[0].buffers[0].device)
        for layer in self.cache.layers:
            layer.select(index, spare)
