"""Write answers: prompts share their prefixes, rows leave when they are done.

Prefill runs like every other planned batch. Its keys and values are then laid out again, aligned at
the right, and decoding is an ordinary left-padded batch: windows, ALiBi and learned positions are
right because the Hugging Face decoder sees what it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from theodolite.engine.variants import RowVariants, row_variants
from theodolite.errors import ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.models.chat import Encoded, encode_all
from theodolite.text.display import escape
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.engine.interventions import Intervention
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION = 2
# Decoding is faster the more rows it has: padding of the prefill is never worth one batch more.
WHOLE_BATCHES = 1 << 30


@dataclass(frozen=True)
class Completion:
    """One answer.

    Args:
        prompt_id: of the prompt (its place where it has no id).
        text: without special tokens, and ending before a stop string.
        token_ids: all generated tokens, the closing one included.
        finish: "stop" (end token or stop string) or "length".
        sample: 0 to n - 1.
        prompt_tokens: tokens of the prompt.
    """

    prompt_id: str
    text: str
    token_ids: tuple[int, ...]
    finish: str
    sample: int
    prompt_tokens: int


@dataclass(frozen=True)
class _Job:
    """One answer to write: prompt index, sample index, and where its random numbers begin."""

    prompt: int
    sample: int
    seed: int


@dataclass(frozen=True)
class _Limits:
    """When an answer ends."""

    new_tokens: int
    stop: tuple[str, ...]
    ends: frozenset[int]
    max_context: int | None


def generate(
    model: LanguageModel,
    prompts: Sequence[Prompt | str | Encoded],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    stop: Sequence[str] = (),
    seed: int = 0,
    n: int = 1,
    variants: Sequence[Sequence[Intervention]] | None = None,
    batch_rows: int | None = None,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Completion]:
    """Write `n` answers to every prompt.

    Args:
        model: an open local model; active interventions act on prompt and answer.
        prompts: requests (rendered as chats) or `Encoded` prompts.
        max_new_tokens: most tokens of an answer; fewer where the model's context ends.
        temperature: 0 is greedy (then the `n` answers of a prompt are equal).
        top_p: nucleus, after temperature and `top_k`.
        top_k: only the k most likely tokens; 0 keeps all.
        stop: strings that end an answer; not part of its text.
        seed: with the prompt's id and words and the sample index it fixes every random choice.
        n: answers per prompt.
        variants: for each prompt what acts on it alone, after the active interventions; prompts
            that differ in it are written together, as each would be alone under `apply`.
        batch_rows: most answers written together (default: by device and memory).
        batch_tokens: most tokens of one prefill pass (default: by device and memory).
        journal: finished units are kept there and not written again.
        progress: told of finished units, in answers.

    Returns: completions ordered by prompt, then sample.

    Raises:
        ConfigError: an option is out of range, or an intervention does not fit the model.
        CapabilityError: the model cannot be changed in this way.
        DataError: a prompt leaves no room in the model's context.
        NumericsError: the logits are not finite.

    Note: greedy tokens equal Hugging Face's, but for ties within rounding. Sampled answers do not
        depend on batch size or order, again up to rounding.
    """
    model.require("text")
    rule = DecodingRule(temperature, top_k, top_p)
    stop = [stop] if isinstance(stop, str) else stop
    if max_new_tokens < 1 or n < 1:
        raise ConfigError("max_new_tokens and n must be at least 1.")
    if any(not text for text in stop):
        raise ConfigError("A stop string is empty.", fix="Leave it out.")
    encoded = encode_all(model, prompts)
    ends = end_tokens(model) | _spelled_tokens(model, stop)
    limits = _Limits(max_new_tokens, tuple(stop), ends, model.max_context)
    _check_room(model, encoded)
    of = row_variants(model, variants, len(encoded))
    jobs = _jobs(encoded, of, seed, 1 if rule.greedy else n)
    rows = of.select([job.prompt for job in jobs])
    sequences = [encoded[job.prompt].ids for job in jobs]
    longest = max(map(len, sequences), default=1)
    batches = plan_batches(
        sequences,
        batch_tokens or max(token_budget(model, longest), 4096),
        pass_tokens=WHOLE_BATCHES,
        max_rows=batch_rows or row_budget(model, longest + max_new_tokens),
        limits=[shareable(model, len(ids), own) for ids, own in zip(sequences, rows.each)],
        apart=rows.ids,
    )
    units = _units(model, encoded, jobs, rows, batches, rule, limits)
    by_key = dict(zip((u.key for u in units), batches))
    writer = _Writer(model, encoded, jobs, rows, rule, limits, by_key)
    with rows.of.acting():
        results = map_units(units, writer, journal=journal, progress=progress, label="generate")
    return _completions(model, encoded, jobs, units, results, limits, n if rule.greedy else 1)


def _units(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    jobs: Sequence[_Job],
    variants: RowVariants,
    batches: Sequence[Batch],
    rule: DecodingRule,
    limits: _Limits,
) -> list[Unit]:
    """Return the planned batches, each keyed by everything its answers depend on."""
    common = [model.fingerprint, interventions_key(model), rule.temperature, rule.top_p, rule.top_k]
    asked = [limits.new_tokens, list(limits.stop), sorted(limits.ends)]
    units = []
    for batch in batches:
        rows = [(encoded[jobs[i].prompt].key, jobs[i].seed) for i in batch.items]
        shape = [(s.start, s.stop, s.parent) for s in (*batch.segments, *batch.leaves)]
        key = content_key("generate", VERSION, common, asked, [] if rule.greedy else rows, shape)
        if rule.greedy:
            key = content_key(key, [ids for ids, _ in rows])
        own = [variants.key(i) for i in batch.items]
        if any(own):
            key = content_key(key, own)
        units.append(Unit(key, batch.items, len(batch.items)))
    return units


def end_tokens(model: LanguageModel) -> frozenset[int]:
    """Return the ids that end an answer: the generation config's, and the tokenizer's own."""
    found: set[int | None] = set()
    config = getattr(model.module, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    for value in (named, model.tokenizer.eos_token_id):
        found.update(value if isinstance(value, list | tuple) else [value])
    return frozenset(token for token in found if token is not None)


def _spelled_tokens(model: LanguageModel, stop: Sequence[str]) -> frozenset[int]:
    """Return the special tokens among the stop strings: an answer's text leaves them out."""
    known = model.tokenizer.added_tokens_decoder.items()
    return frozenset(i for i, token in known if token.special and token.content in stop)


def _check_room(model: LanguageModel, encoded: Sequence[Encoded]) -> None:
    for place, item in enumerate(encoded):
        if model.max_context is not None and len(item.ids) >= model.max_context:
            raise DataError(
                f"Prompt '{escape(item.prompt_id or str(place), 80)}' has {len(item.ids)} tokens "
                f"and leaves no room to answer: {model.name} reads {model.max_context}.",
                fix="Shorten it or leave it out.",
            )


def _jobs(encoded: Sequence[Encoded], variants: RowVariants, seed: int, n: int) -> list[_Job]:
    """Return the answers to write; equal prompts without ids get different random numbers.

    Note: under different variants they get the same, so that the variants can be compared.
    """
    seen: dict[tuple[str, str, int], int] = {}
    jobs = []
    for place, item in enumerate(encoded):
        name = (item.prompt_id, item.key)
        copy = seen.get((*name, variants.ids[place]), 0)
        seen[*name, variants.ids[place]] = copy + 1
        jobs += [_Job(place, k, item_seed(seed, "generate", *name, copy, k)) for k in range(n)]
    return jobs


class _Writer:
    """Writes the answers of one unit."""

    def __init__(
        self,
        model: LanguageModel,
        encoded: Sequence[Encoded],
        jobs: Sequence[_Job],
        variants: RowVariants,
        rule: DecodingRule,
        limits: _Limits,
        batches: dict[str, Batch],
    ) -> None:
        self.model = model
        self.encoded = encoded
        self.jobs = jobs
        self.rule = rule
        self.limits = limits
        self.batches = batches
        self.names = [encoded[j.prompt].prompt_id or str(j.prompt) for j in jobs]
        sequences = [encoded[j.prompt].ids for j in jobs]
        self.runner = Runner(model, sequences, names=self.names, variants=variants)

    def __call__(self, unit: Unit) -> dict[str, Any]:
        answers: dict[int, tuple[list[int], str]] = {}
        with torch.inference_mode():
            halving(self.batches[unit.key], lambda batch: answers.update(self._write(batch)))
        ordered = [answers[item] for item in unit.items]
        return {"tokens": [t for t, _ in ordered], "finish": [f for _, f in ordered]}

    def _write(self, batch: Batch) -> dict[int, tuple[list[int], str]]:
        """Prefill a batch once per different prompt, then decode all its answers."""
        logits, kv = last_logits(self.runner, batch, keep=True)
        assert kv is not None  # noqa: S101 - asked for with keep=True
        # Equal prompts get equal greedy answers: one row writes for all of them.
        groups = [
            group
            for row, copies in enumerate(batch.copies)
            for group in ([(row, copies)] if self.rule.greedy else [(row, (i,)) for i in copies])
        ]
        state = DecodeState.start(_past([Branch(kv, row) for row, _ in groups]))
        del kv
        decoding = _Decoding(self, [copies[0] for _, copies in groups], state)
        decoding.run(logits[[row for row, _ in groups]])
        answers = decoding.answers
        return {i: answers[copies[0]] for _, copies in groups for i in copies}


def _past(sources: Sequence[Branch]) -> Any:
    past = branch(sources)
    assert past is not None  # noqa: S101 - every row has a prompt
    return past


class _Decoding:
    """Rows that are being written, and the answers of those that are done."""

    def __init__(self, writer: _Writer, items: Sequence[int], state: DecodeState) -> None:
        self.writer = writer
        self.model = writer.model
        self.state = state
        self.items = list(items)
        self.live = [True] * len(items)
        self.answers: dict[int, tuple[list[int], str]] = {item: ([], "length") for item in items}
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
            tokens = self.writer.rule.choose(logits, uniform)
            self._take(tokens.tolist(), count + 1)
            if not any(self.live) or count + 1 == self.writer.limits.new_tokens:
                return
            tokens = self._retire(tokens)
            hidden = step(self.model, self.state, tokens, self.prompts, self.variants)
            logits = self.model.anatomy.logits_from_final(hidden)

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


def _completions(
    model: LanguageModel,
    encoded: Sequence[Encoded],
    jobs: Sequence[_Job],
    units: Sequence[Unit],
    results: Sequence[dict[str, Any]],
    limits: _Limits,
    repeat: int,
) -> list[Completion]:
    found: dict[int, Completion] = {}
    for unit, result in zip(units, results):
        for item, tokens, finish in zip(unit.items, result["tokens"], result["finish"]):
            job = jobs[item]
            text = decode_text(model, tokens)
            cuts = [text.index(stop) for stop in limits.stop if stop in text]
            found[item] = Completion(
                prompt_id=encoded[job.prompt].prompt_id or str(job.prompt),
                text=text[: min(cuts)] if cuts else text,
                token_ids=tuple(tokens),
                finish=finish,
                sample=job.sample,
                prompt_tokens=len(encoded[job.prompt].ids),
            )
    ordered = [found[item] for item in range(len(jobs))]
    if repeat == 1:
        return ordered
    return [_numbered(completion, k) for completion in ordered for k in range(repeat)]


def _numbered(completion: Completion, sample: int) -> Completion:
    return Completion(
        completion.prompt_id,
        completion.text,
        completion.token_ids,
        completion.finish,
        sample,
        completion.prompt_tokens,
    )
