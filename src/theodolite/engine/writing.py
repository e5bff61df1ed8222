"""Plan answers, and write them batch by batch.

Prefill runs like every other planned batch. Its keys and values are then laid out again, aligned at
the right, and decoding is an ordinary left-padded batch: windows, ALiBi and learned positions are
right because the Hugging Face decoder sees what it knows. Rows leave when they are done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from theodolite.engine.budget import row_budget, token_budget
from theodolite.engine.decoding.rules import DecodingRule, uniforms
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.kv import Branch, DecodeState, branch
from theodolite.engine.next_token import last_logits
from theodolite.engine.passes import step
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving, require_finite_logits
from theodolite.engine.session import Head, Paths, Session, paths_of
from theodolite.engine.variants import RowVariants
from theodolite.execution import Unit
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel

VERSION = 2
# Decoding is faster the more rows it has: padding of the prefill is never worth one batch more.
WHOLE_BATCHES = 1 << 30


@dataclass(frozen=True)
class Job:
    """One answer to write: prompt index, sample index, and where its random numbers begin."""

    prompt: int
    sample: int
    seed: int


Answer = tuple[list[int], str]
"""Tokens, and why they ended."""


@dataclass(frozen=True)
class Limits:
    """When an answer ends."""

    new_tokens: int
    stop: tuple[str, ...]
    ends: frozenset[int]
    max_context: int | None


def plan_jobs(encoded: Sequence[Encoded], variants: RowVariants, seed: int, n: int) -> list[Job]:
    """Return the answers to write; equal prompts without ids get different random numbers.

    Note: under different variants they get the same, so that the variants can be compared.
    """
    seen: dict[tuple[str, str, int], int] = {}
    jobs = []
    for place, item in enumerate(encoded):
        name = (item.prompt_id, item.key)
        copy = seen.get((*name, variants.ids[place]), 0)
        seen[*name, variants.ids[place]] = copy + 1
        jobs += [Job(place, k, item_seed(seed, "generate", *name, copy, k)) for k in range(n)]
    return jobs


class Writer:
    """Plans the units of one call and writes the answers of each.

    Args:
        encoded: the prompts.
        jobs: the answers to write.
        variants: of the jobs.
        session: what is remembered of earlier calls, and will be of this one.
    """

    def __init__(
        self,
        model: LanguageModel,
        encoded: Sequence[Encoded],
        jobs: Sequence[Job],
        variants: RowVariants,
        rule: DecodingRule,
        limits: Limits,
        session: Session | None = None,
    ) -> None:
        self.model = model
        self.encoded = encoded
        self.jobs = jobs
        self.variants = variants
        self.rule = rule
        self.limits = limits
        names = [encoded[j.prompt].prompt_id or str(j.prompt) for j in jobs]
        sequences = [encoded[j.prompt].ids for j in jobs]
        self.runner = Runner(model, sequences, names=names, variants=variants)
        self.batches: dict[str, Batch] = {}
        self.paths: dict[str, Paths] = {}
        self.heads = [Head()] * len(jobs)
        remembers = session is not None and session.begin(self, model)
        self.session = session if remembers and not any(variants.each) else None

    def plan(self, batch_tokens: int | None, batch_rows: int | None) -> list[Unit]:
        """Return the planned batches of all jobs as units; see `generate` for the budgets."""
        sequences = self.runner.sequences
        longest = max(map(len, sequences), default=1)
        owns = zip(sequences, self.variants.each)
        shared = [shareable(self.model, len(ids), own) for ids, own in owns]
        if self.session is not None:
            self.heads = self.session.heads(sequences, shared)
        begins = [head.length for head in self.heads]
        batches = plan_batches(
            [ids[begin:] for ids, begin in zip(sequences, begins)],
            batch_tokens or max(token_budget(self.model, longest), 4096),
            pass_tokens=WHOLE_BATCHES,
            max_rows=batch_rows or row_budget(self.model, longest + self.limits.new_tokens),
            limits=[limit - begin for limit, begin in zip(shared, begins)],
            apart=list(zip(self.variants.ids, self.heads)),
        )
        return [self._unit(batch.moved(begins)) for batch in batches]

    def _unit(self, batch: Batch) -> Unit:
        """Return a planned batch, keyed by everything its answers depend on."""
        rule, limits = self.rule, self.limits
        acting = interventions_key(self.model)
        common = [self.model.fingerprint, acting, rule.temperature, rule.top_p, rule.top_k]
        asked = [limits.new_tokens, list(limits.stop), sorted(limits.ends)]
        rows = [(self.encoded[self.jobs[i].prompt].key, self.jobs[i].seed) for i in batch.items]
        shape = [(s.start, s.stop, s.parent) for s in (*batch.segments, *batch.leaves)]
        key = content_key("generate", VERSION, common, asked, [] if rule.greedy else rows, shape)
        if rule.greedy:
            key = content_key(key, [ids for ids, _ in rows])
        variants = [self.variants.key(i) for i in batch.items]
        heads = [self.heads[i].key for i in batch.items]
        for own in (variants, heads):
            if any(own):
                key = content_key(key, own)
        self.batches[key] = batch
        if self.session is not None:
            written = [(leaf, items[0]) for leaf, items in self._rows(batch)]
            self.paths[key] = paths_of(key, batch, self.heads, written)
        return Unit(key, batch.items, len(batch.items))

    def __call__(self, unit: Unit) -> dict[str, Any]:
        """Write the answers of a unit."""
        answers: dict[int, Answer] = {}
        keeps = self.session is not None and self.session.keeps
        paths = self.paths[unit.key] if keeps else {}
        with torch.inference_mode():
            halving(self.batches[unit.key], lambda batch: answers.update(self._write(batch, paths)))
        if self.session is not None:
            self.session.hold(paths)
        ordered = [answers[item] for item in unit.items]
        return {"tokens": [t for t, _ in ordered], "finish": [f for _, f in ordered]}

    def read_again(self, unit: Unit, answers: Sequence[Sequence[int]]) -> None:
        """Run the passes of a unit whose answers are known; see `session.Reader`."""
        known = dict(zip(unit.items, answers))

        def again(batch: Batch) -> None:
            self._write(batch, self.paths[unit.key], known)

        with torch.inference_mode():
            halving(self.batches[unit.key], again)
        self.runner.forget()

    def row_tokens(self, item: int, written: Sequence[int]) -> tuple[int, ...]:
        """Return the tokens that went through the model for a row; see `session.Reader`."""
        return (*self.runner.sequences[item], *written[:-1])

    def finish(self, units: Sequence[Unit], results: Sequence[Mapping[str, Any]]) -> None:
        """Let the session remember the call, and free what only its own units needed."""
        self.runner.forget()
        if self.session is not None:
            self.session.remember(self, units, [result["tokens"] for result in results])

    def _rows(self, batch: Batch) -> list[tuple[int, tuple[int, ...]]]:
        """Return which leaf each row is written below, and the items that get its answer."""
        # Equal prompts get equal greedy answers: one row writes for all of them.
        if self.rule.greedy:
            return list(enumerate(batch.copies))
        return [(leaf, (i,)) for leaf, copies in enumerate(batch.copies) for i in copies]

    def _write(
        self, batch: Batch, paths: Paths, known: Mapping[int, Sequence[int]] | None = None
    ) -> dict[int, Answer]:
        """Prefill a batch once per different prompt, then decode all its answers.

        Args:
            paths: stretches to leave keys and values in, by row.
            known: the answers, where they are known already.
        """
        rows = self._rows(batch)
        self._look_back(batch)
        logits, kv = last_logits(self.runner, batch, keep=True)
        self.runner.before = {}
        assert kv is not None  # noqa: S101 - asked for with keep=True
        state = DecodeState.start(_past([Branch(kv, leaf) for leaf, _ in rows]))
        del kv
        decoding = _Decoding(self, [items[0] for _, items in rows], state, paths, known)
        decoding.run(logits[[leaf for leaf, _ in rows]])
        return {i: decoding.answers[items[0]] for _, items in rows for i in items}

    def _look_back(self, batch: Batch) -> None:
        """Tell the runner where the keys and values lie that a batch builds on."""
        if self.session is None:
            return
        items = [segment.item for segment in (*batch.leaves, *batch.segments)]
        found = self.session.laid_out([self.heads[item] for item in items])
        self.runner.before = {i: one for i, one in zip(items, found) if one is not None}


def _past(sources: Sequence[Branch]) -> Any:
    past = branch(sources)
    assert past is not None  # noqa: S101 - every row has a prompt
    return past


class _Decoding:
    """Rows that are being written, and the answers of those that are done."""

    def __init__(
        self,
        writer: Writer,
        items: Sequence[int],
        state: DecodeState,
        paths: Paths,
        known: Mapping[int, Sequence[int]] | None,
    ) -> None:
        self.writer = writer
        self.model = writer.model
        self.state = state
        self.paths = paths
        self.known = known
        self.items = list(items)
        self.live = [True] * len(items)
        self.answers: dict[int, Answer] = {item: ([], "length") for item in items}
        device = self.model.device
        lengths = [len(writer.runner.sequences[item]) for item in items]
        self.prompts = torch.tensor(lengths, device=device)
        self.variants = writer.runner.variants_of(items)
        self.uniform: torch.Tensor | None = None
        if not writer.rule.greedy:
            count = writer.limits.new_tokens
            rows = [uniforms(writer.jobs[item].seed, count) for item in items]
            self.uniform = torch.stack(rows).to(device)

    def run(self, logits: torch.Tensor) -> None:
        """Decode until every row is done, beginning with the prompts' own next-token logits."""
        for count in range(self.writer.limits.new_tokens):
            written = [self.answers[item][0] for item in self.items]
            require_finite_logits(self.writer.runner, logits, self.items, written)
            uniform = None if self.uniform is None else self.uniform[:, count]
            tokens = self._known(self.writer.rule.choose(logits, uniform), count)
            self._take(tokens.tolist(), count + 1)
            if not any(self.live) or count + 1 == self.writer.limits.new_tokens:
                self._leave(range(len(self.items)))
                return
            tokens = self._retire(tokens)
            hidden = step(self.model, self.state, tokens, self.prompts, self.variants)
            logits = self.model.anatomy.logits_from_final(hidden)

    def _known(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """Put known answers in the place of what was chosen; rows that are done go on as ever.

        On the machine that wrote them they are equal. Elsewhere, keys and values must still be
        those of the answers that later turns quote.
        """
        if self.known is None:
            return tokens
        rows = [row for row, live in enumerate(self.live) if live]
        fixed = [self.known[self.items[row]][count] for row in rows]
        tokens[rows] = torch.tensor(fixed, device=tokens.device)
        return tokens

    def _leave(self, rows: Sequence[int]) -> None:
        """Copy what rows that are done have left into their stretches."""
        for row in rows:
            item = self.items[row]
            for stretch in self.paths.get(item, ()):
                if not stretch.stop:
                    stretch.stop = len(self.writer.row_tokens(item, self.answers[item][0]))
                if stretch.layers is None:
                    stretch.layers = self.state.cut(row, stretch.start, stretch.stop)

    def _take(self, tokens: Sequence[int], count: int) -> None:
        limits = self.writer.limits
        for row, (item, token) in enumerate(zip(self.items, tokens)):
            if not self.live[row]:
                continue
            written = self.answers[item][0]
            written.append(token)
            if token in limits.ends or (limits.stop and self._stopped(written)):
                self.answers[item] = (written, "stop")
                self.live[row] = False
            elif limits.max_context is not None:
                room = limits.max_context - len(self.writer.runner.sequences[item])
                self.live[row] = count < room

    def _stopped(self, written: Sequence[int]) -> bool:
        """Whether the last tokens complete a stop string."""
        # A token spells at least one byte, so a stop string of b bytes lies in the last b tokens.
        longest = max(len(text.encode()) for text in self.writer.limits.stop)
        tail = decode_text(self.model, written[-longest - 4 :])
        return any(text in tail for text in self.writer.limits.stop)

    def _retire(self, tokens: torch.Tensor) -> torch.Tensor:
        """Drop finished rows when that saves more than moving the others costs."""
        done = self.live.count(False)
        limit = self.writer.limits.max_context
        overrun = limit is not None and any(
            not live and length >= limit for live, length in zip(self.live, self.state.lengths)
        )
        if done == 0 or (done < len(self.live) / 8 and not overrun):
            return tokens
        self._leave([row for row, live in enumerate(self.live) if not live])
        rows = [row for row, live in enumerate(self.live) if live]
        self.state.select(rows)
        self.items = [self.items[row] for row in rows]
        self.live = [True] * len(rows)
        self.prompts = self.prompts[rows]
        self.variants = self.variants.select(rows) if self.variants is not None else None
        if self.uniform is not None:
            self.uniform = self.uniform[rows]
        return tokens[rows]


def decode_text(model: LanguageModel, tokens: Sequence[int]) -> str:
    """Return the text of tokens, without special ones."""
    text = model.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return str(text)
