"""What a model read and wrote for earlier calls, so that later prompts need not be read whole.

The next turn of a conversation begins with all that was said before. A session keeps the keys and
values of every row that `generate` wrote, as stretches of tokens that hang below each other, each
held once; a new prompt starts from the longest beginning it shares with any of them, token by
token. Where a tokenizer spells an answer in other tokens than the model wrote it in, that ends
where they part.

Why a resumed run ends with the same bits, though keys and values that were decoded differ by
rounding from those of a prefill, and though the journal holds tokens only:

- What is *remembered* is decided after each call, unit by unit in the order of the plan, from token
  ids and the size of the machine's memory: what fits, and once something does not, nothing more. A
  resumed run, whose answers come from the journal, remembers the same, so it plans the same.
- What is *at hand* does not matter. A unit whose answers come from the journal has left no keys and
  values. Once an unfinished unit builds on it, its passes run again, in its very batches and with
  its known answers, and so do those it builds on itself. Nothing else is repeated: a run of which
  all is in the journal computes nothing.
- A unit's key names the stretches it builds on, and with them, in turn, all their batches.

Which prompts share what: two prompts that have tokens in common beyond what is remembered of one of
them have the very same tokens remembered (else more of it would be), and `heads` finds them at one
place. So planning the rest of prompts with different heads apart loses no sharing.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from theodolite.engine.budget import kv_bytes_per_token, remembered_bytes
from theodolite.engine.interventions import interventions_key
from theodolite.engine.kv import KV, Branch, KeyValue
from theodolite.engine.plan import SEGMENT_PAYS
from theodolite.engine.trie import Tokens, common_prefix
from theodolite.errors import ConfigError
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.engine.plan import Batch
    from theodolite.execution import Unit
    from theodolite.models.handle import LanguageModel


@dataclass(eq=False)
class Stretch:
    """Consecutive tokens whose keys and values one planned unit computes.

    Args:
        unit: its key.
        place: which one of that unit's.
        above: what holds the tokens before; None at the beginning.
        start: first position.
        stop: one past the last; 0 while the answer that ends it is not known.
        layers: block -> (keys, values), axes (kv head, position, head width); None where they are
            not at hand.
    """

    unit: str
    place: int
    above: Stretch | None
    start: int
    stop: int = 0
    layers: dict[int, KeyValue] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Head:
    """What is remembered of a prompt: its first tokens, and the stretch that holds the last one."""

    stretch: Stretch | None = None
    length: int = 0

    @property
    def key(self) -> str:
        """Content key: everything the keys and values depend on; empty where there are none."""
        if self.stretch is None:
            return ""
        return content_key(self.stretch.unit, self.stretch.place, self.length)

    def parts(self) -> Iterator[tuple[Stretch, int]]:
        """Yield the stretches, last first, each with the position where its part ends."""
        stretch, stop = self.stretch, self.length
        while stretch is not None:
            if stretch.start < stop:
                yield stretch, stop
                stop = stretch.start
            stretch = stretch.above


Paths = dict[int, tuple[Stretch, ...]]


class Reader(Protocol):
    """What a session asks of that which wrote: rows as tokens, and their passes once more."""

    paths: dict[str, Paths]
    runner: Any

    def row_tokens(self, item: int, written: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens that went through the model for a row: prompt, answer but its last."""
        ...

    def read_again(self, unit: Unit, answers: Sequence[Sequence[int]]) -> None:
        """Run the passes of a unit whose answers are known, and leave keys and values."""
        ...


class Session:
    """What one model remembers from call to call of `generate`.

    Args:
        model: an open local model.
        most_bytes: of keys and values (default: by device and memory); 0 remembers nothing.

    Note: what acts on the model may change between calls; only what was computed under the same
        interventions is used again, and only where these touch all positions alike: any other
        asks how long a prompt is, and the next turn's is longer.
    """

    def __init__(self, model: LanguageModel, *, most_bytes: float | None = None) -> None:
        self.model = model
        most = remembered_bytes(model) if most_bytes is None else most_bytes
        self._room = int(most / kv_bytes_per_token(model))
        self._full = False
        self._held = 0  # by the running call, whose units are not remembered yet
        self._rows: dict[tuple[str, ...], list[tuple[tuple[int, ...], int]]] = {}
        self._stretches: list[Stretch] = []
        self._units: dict[str, tuple[Reader, Unit, Sequence[Sequence[int]]]] = {}
        self._readers: list[Reader] = []

    @property
    def tokens_read(self) -> int:
        """Tokens of prompts that went through the model, padding left out."""
        return sum(reader.runner.tokens_read for reader in self._readers)

    @property
    def tokens_remembered(self) -> int:
        """Tokens whose keys and values are remembered."""
        kept = (stretches_in(reader.paths[key]) for key, (reader, _, _) in self._units.items())
        return sum(len(stretch) for stretches in kept for stretch in stretches)

    @property
    def keeps(self) -> bool:
        """Whether what is computed now may still be remembered."""
        return not self._full and self._held < self._room

    def begin(self, reader: Reader, model: LanguageModel) -> bool:
        """Take note of a call; returns whether it may use and leave anything here.

        Raises: ConfigError: the session is another model's.
        """
        if model is not self.model:
            raise ConfigError(
                f"This session belongs to another opened model than {model.name}.",
                fix="Make a session for each model.",
            )
        self._readers.append(reader)
        self._held = 0
        return all(item.positions == "all" for item in model.interventions)

    def heads(self, sequences: Sequence[Tokens], limits: Sequence[int]) -> list[Head]:
        """Return what is remembered of each sequence, up to so many tokens of it."""
        rows = self._rows.get(self._world(), [])
        return [_head(rows, self._stretches, tuple(s), n) for s, n in zip(sequences, limits)]

    def laid_out(self, heads: Sequence[Head]) -> list[Branch | None]:
        """Return where the keys and values of heads lie; computes those that are not at hand."""
        places: dict[Head, int] = {}
        for head in heads:
            if head.stretch is not None:
                places.setdefault(head, len(places))
        if not places:
            return [None] * len(heads)
        for head in places:
            for stretch, _ in head.parts():
                if stretch.layers is None:
                    reader, unit, answers = self._units[stretch.unit]
                    reader.read_again(unit, answers)
        kv = _lay_out(list(places))
        return [Branch(kv, places[head]) if head in places else None for head in heads]

    def hold(self, paths: Paths) -> None:
        """Keep what a unit has just left only while there is room for it."""
        stretches = stretches_in(paths)
        self._held += sum(map(len, stretches))
        if self._held > self._room:
            _drop(stretches)

    def remember(
        self, reader: Reader, units: Sequence[Unit], answers: Sequence[Sequence[Sequence[int]]]
    ) -> None:
        """Remember a call's units, in the order of its plan, until the room is full.

        Args:
            answers: the tokens that each item of each unit got.
        """
        rows = self._rows.setdefault(self._world(), [])
        for unit, written in zip(units, answers):
            paths = reader.paths[unit.key]
            if unit.key in self._units:
                if self._units[unit.key][0] is not reader:
                    _drop(stretches_in(paths))
                continue
            tokens = {
                item: reader.row_tokens(item, own)
                for item, own in zip(unit.items, written)
                if item in paths
            }
            for item, ids in tokens.items():
                paths[item][-1].stop = len(ids)
            size = sum(map(len, stretches_in(paths)))
            self._full = self._full or size > self._room
            if self._full:
                _drop(stretches_in(paths))
                continue
            self._room -= size
            self._units[unit.key] = (reader, unit, written)
            for item, ids in tokens.items():
                insort(rows, (ids, len(self._stretches)))
                self._stretches.append(paths[item][-1])

    def _world(self) -> tuple[str, ...]:
        return tuple(interventions_key(self.model))


def stretches_in(paths: Paths) -> list[Stretch]:
    """Return the different stretches of a unit's rows."""
    return list(dict.fromkeys(stretch for path in paths.values() for stretch in path))


def paths_of(
    key: str, batch: Batch, heads: Sequence[Head], rows: Sequence[tuple[int, int]]
) -> Paths:
    """Return the stretches that a unit will compute for each row, first tokens first.

    Args:
        key: of the unit.
        heads: of all sequences.
        rows: leaf of the batch, and the item that is written below it.
    """
    segments: list[Stretch] = []

    def above(parent: int, item: int) -> Stretch | None:
        return segments[parent] if parent >= 0 else heads[item].stretch

    for place, segment in enumerate(batch.segments):
        before = above(segment.parent, segment.item)
        segments.append(Stretch(key, place, before, segment.start, segment.stop))
    paths: Paths = {}
    for place, (leaf, item) in enumerate(rows, len(segments)):
        end = batch.leaves[leaf]
        path = [Stretch(key, place, above(end.parent, end.item), end.start)]
        parent = end.parent
        while parent >= 0:
            path.insert(0, segments[parent])
            parent = batch.segments[parent].parent
        paths[item] = tuple(path)
    return paths


def _head(
    rows: Sequence[tuple[tuple[int, ...], int]],
    stretches: Sequence[Stretch],
    ids: tuple[int, ...],
    limit: int,
) -> Head:
    """Find the longest beginning among sorted rows; equal beginnings are found at one place."""
    place = bisect_left(rows, (ids,))
    near = [common_prefix(ids, rows[i][0]) for i in (place - 1, place) if 0 <= i < len(rows)]
    length = min(max(near, default=0), limit)
    if length < SEGMENT_PAYS:
        return Head()
    stretch = stretches[rows[bisect_left(rows, (ids[:length],))][1]]
    while stretch.start >= length and stretch.above is not None:
        stretch = stretch.above
    return Head(stretch, length)


def _lay_out(heads: Sequence[Head]) -> KV:
    """Copy the stretches of heads into one row each, aligned at the end."""
    lengths = [head.length for head in heads]
    width = max(lengths)
    starts = [width - length for length in lengths]
    parts = [
        (row, starts[row] + stretch.start, stop - stretch.start, stretch.layers or {})
        for row, head in enumerate(heads)
        for stretch, stop in head.parts()
    ]
    layers: dict[int, KeyValue] = {}
    for layer, like in parts[0][3].items():
        keys, values = (t.new_zeros(len(heads), t.shape[0], width, t.shape[2]) for t in like)
        for row, slot, count, held in parts:
            keys[row, :, slot : slot + count] = held[layer][0][:, :count]
            values[row, :, slot : slot + count] = held[layer][1][:, :count]
        layers[layer] = (keys, values)
    return KV(layers, starts, lengths)


def _drop(stretches: Sequence[Stretch]) -> None:
    for stretch in stretches:
        stretch.layers = None
