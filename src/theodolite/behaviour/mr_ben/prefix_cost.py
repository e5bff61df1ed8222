"""How many tokens a model has to read, and how many it does read.

The least there is: every prefix that several prompts share is read once. A plan may read more,
where prompts that share a prefix run in different passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.engine.plan import Batch
    from theodolite.engine.trie import Tokens
    from theodolite.models.handle import LanguageModel


@dataclass(frozen=True)
class Prefilled:
    """Tokens of one list of prompts.

    Args:
        prompts: how many there are.
        naive: tokens of all of them, each read whole.
        floor: of the trie they form, every shared prefix counted once.
        planned: that go through the model by the plan, padding left out.
    """

    prompts: int = 0
    naive: int = 0
    floor: int = 0
    planned: int = 0

    def __add__(self, other: Prefilled) -> Prefilled:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Prefilled(*(a + b for a, b in pairs))

    @property
    def over_floor(self) -> float:
        """Planned tokens beside the floor; 1 where nothing is read twice."""
        return self.planned / self.floor if self.floor else 1.0

    def row(self) -> dict[str, Any]:
        """Return the record of a table."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "over_floor": self.over_floor
        }


def trie_floor(sequences: Sequence[Tokens]) -> int:
    """Return how many different prefixes there are: the least a model can read of the sequences.

    Args:
        sequences: token ids.
    """
    from theodolite.engine.trie import common_prefix

    ordered = sorted(tuple(sequence) for sequence in sequences)
    shared = sum(common_prefix(a, b) for a, b in pairwise(ordered))
    return sum(map(len, ordered)) - shared


def planned_tokens(sequences: Sequence[Tokens], batches: Sequence[Batch]) -> int:
    """Return how many tokens a plan reads, padding left out.

    Args:
        sequences: token ids, in the order the plan was made for.
        batches: in the order they run: a first segment that stands alone is kept for the next one.
    """
    total, kept = 0, ""
    for batch in batches:
        total += sum(leaf.stop - leaf.start for leaf in batch.leaves)
        for level in batch.levels():
            segments = [batch.segments[i] for i in level]
            own = [tuple(sequences[s.item][s.start : s.stop]) for s in segments]
            alone = content_key(own[0]) if len(own) == 1 and segments[0].parent < 0 else ""
            if not alone or alone != kept:
                total += sum(map(len, own))
            kept = alone or kept
    return total


@contextmanager
def counted(model: LanguageModel) -> Iterator[list[int]]:
    """Count the tokens of every pass while the block runs, padding left out.

    Yields: a list that gets one number per pass.
    """
    from theodolite.engine.passes import current_pass

    passes: list[int] = []

    def note(*_: object) -> None:
        running = current_pass.get()
        if running is not None:
            passes.append(int((running.positions >= 0).sum()))

    first = model.anatomy.blocks[0]
    hook = first.register_forward_pre_hook(note)
    try:
        yield passes
    finally:
        hook.remove()
