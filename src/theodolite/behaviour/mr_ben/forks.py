"""Ask the same short question at many places of a text, and read the text once.

The whole text is one row: its pass leaves keys and values at every place. The question is then run
at all places together, each copy of it on the part of the keys and values that lies before it. So
the logits are those of as many separate passes, up to rounding, for one pass over the text and one
over the questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from theodolite.behaviour.mr_ben.prefix_cost import Prefilled, planned_tokens, trie_floor
from theodolite.engine.budget import row_budget, token_budget
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.kv import KV, Branch
from theodolite.engine.passes import Rows, run_pass
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving, require_finite_logits
from theodolite.engine.trie import common_prefix
from theodolite.execution import Unit, map_units
from theodolite.models.chat import Encoded
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

METHOD_VERSION: Final = 1


@dataclass(frozen=True)
class Forked:
    """The prompts of one text: each holds more of it than the one before, and then the question.

    Args:
        prompts: as whole prompts, the last one with all of the text.
        cuts: for each but the last, how many leading tokens it shares with the last one.
    """

    prompts: tuple[Encoded, ...]
    cuts: tuple[int, ...]

    @classmethod
    def of(cls, model: LanguageModel, prompts: Sequence[Encoded]) -> Forked:
        """Find where prompts leave the last one; tokens that interventions name are not shared."""
        last = prompts[-1]
        most = shareable(model, len(last))
        cuts = (
            min(common_prefix(one.ids, last.ids), shareable(model, len(one)), most)
            for one in prompts[:-1]
        )
        return cls(tuple(prompts), tuple(cuts))

    @property
    def key(self) -> list[Any]:
        """What its logits depend on beside the model."""
        return [[one.key for one in self.prompts], list(self.cuts)]

    @property
    def tails(self) -> list[tuple[int, ...]]:
        """The tokens of each prompt but the last that are its own."""
        return [one.ids[cut:] for one, cut in zip(self.prompts, self.cuts, strict=False)]


def fork_logits(
    model: LanguageModel,
    texts: Sequence[Sequence[Encoded]],
    tokens: Sequence[int],
    *,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> tuple[list[list[list[float]]], Prefilled]:
    """Return the logits of some tokens behind every prompt of every text.

    Args:
        model: an open local model; active interventions act.
        texts: the prompts of each text, of growing length (see `Forked`).
        tokens: whose logits are returned.
        batch_tokens: most tokens of one pass over texts (default: by device and memory).
        journal: finished passes are kept there.
        progress: told of finished texts.

    Returns: logits, axes (text, prompt, token); and the tokens that it reads.

    Raises: NumericsError: a logit is not finite.
    """
    forks = [Forked.of(model, prompts) for prompts in texts]
    whole = [fork.prompts[-1].ids for fork in forks]
    budget = batch_tokens or token_budget(model, max(map(len, whole), default=1))
    limits = [shareable(model, len(ids)) for ids in whole]
    # Texts that are equal to the token may still be cut at other places.
    kinds = [content_key(fork.key) for fork in forks]
    batches = plan_batches(whole, budget, limits=limits, kinds=kinds)
    common = [model.fingerprint, interventions_key(model), list(tokens)]
    units = []
    for batch in batches:
        rows = [forks[i].key for i in batch.items]
        shape = [(s.start, s.stop, s.parent) for s in (*batch.segments, *batch.leaves)]
        key = content_key("forks", METHOD_VERSION, common, rows, shape)
        units.append(Unit(key, batch.items, len(batch.items)))
    reader = _Reader(model, forks, tokens, dict(zip((u.key for u in units), batches)))
    results = map_units(units, reader, journal=journal, progress=progress, label="steps")
    found: dict[int, list[list[float]]] = {}
    for unit, result in zip(units, results, strict=True):
        found.update(zip(unit.items, result["logits"], strict=True))
    every = [one.ids for fork in forks for one in fork.prompts]
    own = sum(len(tail) for batch in batches for c in batch.copies for tail in forks[c[0]].tails)
    cost = Prefilled(
        prompts=len(every),
        naive=sum(map(len, every)),
        floor=trie_floor(every),
        planned=planned_tokens(whole, batches) + own,
    )
    return [found[place] for place in range(len(forks))], cost


class _Reader:
    """Computes one unit: a pass over whole texts, and passes over the forks below them."""

    def __init__(
        self,
        model: LanguageModel,
        forks: Sequence[Forked],
        tokens: Sequence[int],
        batches: Mapping[str, Batch],
    ) -> None:
        self.model = model
        self.forks = forks
        self.tokens = list(tokens)
        self.batches = batches
        lengths = [len(fork.prompts[-1]) for fork in forks]
        names = [fork.prompts[-1].prompt_id or str(i) for i, fork in enumerate(forks)]
        whole = [fork.prompts[-1].ids for fork in forks]
        self.runner = Runner(model, whole, prompt_lengths=lengths, names=names)

    def __call__(self, unit: Unit) -> dict[str, Any]:
        found: dict[int, list[list[float]]] = {}
        with torch.inference_mode():
            halving(self.batches[unit.key], lambda batch: found.update(self._read(batch)))
        return {"logits": [found[item] for item in unit.items]}

    def _read(self, batch: Batch) -> dict[int, list[list[float]]]:
        done = self.runner.shared(batch)
        rows = self.runner.rows(batch.leaves, done, shared=False)
        result = run_pass(self.model, rows, keep=True)
        assert result.hidden is not None and result.kv is not None  # noqa: S101 - it was kept
        ends = [len(tokens) - 1 for tokens in rows.tokens]
        last = self._logits(result.hidden, ends, [leaf.item for leaf in batch.leaves])
        asked = [
            (row, leaf.item, place)
            for row, leaf in enumerate(batch.leaves)
            for place in range(len(self.forks[leaf.item].cuts))
        ]
        found: dict[int, list[list[float]]] = {leaf.item: [] for leaf in batch.leaves}
        longest = max(len(self.forks[leaf.item].prompts[-1]) for leaf in batch.leaves)
        together = row_budget(self.model, longest)
        for begin in range(0, len(asked), together):
            chunk = asked[begin : begin + together]
            for (_, item, _), logits in zip(chunk, self._forked(result.kv, chunk), strict=True):
                found[item].append(logits)
        for leaf, copies, logits in zip(batch.leaves, batch.copies, last, strict=True):
            found[leaf.item].append(logits)
            found.update(dict.fromkeys(copies, found[leaf.item]))
        return found

    def _forked(self, kv: KV, asked: Sequence[tuple[int, int, int]]) -> list[list[float]]:
        """Run questions, each on its part of a text's keys and values: (row, text, place)."""
        tokens, past, lengths = [], [], []
        for row, item, place in asked:
            fork = self.forks[item]
            cut = fork.cuts[place]
            tokens.append(fork.prompts[place].ids[cut:])
            past.append(_cut(kv, row, cut) if cut else None)
            lengths.append(len(fork.prompts[place]))
        rows = Rows(tokens, past, lengths)
        hidden = run_pass(self.model, rows).hidden
        assert hidden is not None  # noqa: S101 - the pass ran to its end
        ends = [len(own) - 1 for own in tokens]
        return self._logits(hidden, ends, [item for _, item, _ in asked])

    def _logits(
        self, hidden: torch.Tensor, ends: Sequence[int], items: Sequence[int]
    ) -> list[list[float]]:
        last = hidden[list(range(len(ends))), list(ends)]
        logits = self.model.anatomy.logits_from_final(last)
        require_finite_logits(self.runner, logits, items)
        values: list[list[float]] = logits[:, self.tokens].float().tolist()
        return values


def _cut(kv: KV, row: int, length: int) -> Branch:
    """Return the first positions of a row as a past; nothing is copied yet."""
    lengths = list(kv.lengths)
    lengths[row] = length
    return Branch(KV(kv.layers, kv.starts, lengths), row)
