"""Log-probabilities of given completions; completions of one prompt share its computation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from theodolite.engine.budget import token_budget
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.passes import run_pass
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving, require_finite_logits
from theodolite.errors import DataError
from theodolite.execution import Unit, map_units
from theodolite.models.chat import Encoded, check_text, check_tokens, encode_all
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION = 1
# Logits of this many tokens are in memory at once.
LOGIT_TOKENS = 256


@dataclass(frozen=True)
class Scored:
    """How likely a model finds a completion.

    Args:
        token_ids: tokens of the completion.
        logprobs: of each token given all before it, in nats.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def sum(self) -> float:
        """Log-probability of the completion, in nats."""
        return float(sum(self.logprobs))

    @property
    def mean(self) -> float:
        """Log-probability per token, in nats."""
        return self.sum / len(self.logprobs)


def score(
    model: LanguageModel,
    pairs: Sequence[tuple[Prompt | str | Encoded, str | Sequence[int]]],
    *,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Scored]:
    """Return the log-probabilities of completions given their prompts.

    Args:
        model: an open local model; active interventions act.
        pairs: (prompt, completion); a completion is text (tokenised without special tokens, as the
            continuation of the prompt's last token) or token ids.
        batch_tokens: most tokens of one pass, padding included (default: by device and memory).
        journal: finished units are kept there and not computed again.
        progress: told of finished units, in pairs.

    Returns: one `Scored` per pair, in order.

    Raises:
        DataError: a completion is empty, or prompt and completion exceed the model's context.
        NumericsError: the logits of a pair are not finite.
    """
    model.require("logprobs")
    encoded = encode_all(model, [prompt for prompt, _ in pairs])
    completions = [_tokens(model, place, pair[1]) for place, pair in enumerate(pairs)]
    sequences = []
    for place, (item, completion) in enumerate(zip(encoded, completions)):
        _check_room(model, item, place, len(item.ids) + len(completion))
        sequences.append((*item.ids, *completion[:-1]))
    budget = batch_tokens or token_budget(model, max(map(len, sequences), default=1))
    # The prompt's last token is computed per pair: its hidden state is read for the first token.
    limits = [shareable(model, len(item.ids)) for item in encoded]
    # Interventions act by where the prompt ends, which equal sequences may disagree about.
    kinds = [len(item.ids) for item in encoded] if model.interventions else None
    batches = plan_batches(sequences, budget, limits=limits, kinds=kinds)
    common = [model.fingerprint, interventions_key(model)]
    units = []
    for batch in batches:
        rows = [(encoded[i].key, completions[i]) for i in batch.items]
        shape = [(s.start, s.stop, s.parent) for s in (*batch.segments, *batch.leaves)]
        key = content_key("score", VERSION, common, rows, shape)
        units.append(Unit(key, batch.items, len(batch.items)))
    lengths = [len(item.ids) for item in encoded]
    names = [item.prompt_id or str(i) for i, item in enumerate(encoded)]
    runner = Runner(model, sequences, prompt_lengths=lengths, names=names)
    scorer = _Scorer(runner, lengths, completions, dict(zip((u.key for u in units), batches)))
    results = map_units(units, scorer, journal=journal, progress=progress, label="score")
    found: dict[int, Scored] = {}
    for unit, result in zip(units, results):
        for item, values in zip(unit.items, result["logprobs"]):
            found[item] = Scored(completions[item], tuple(values))
    return [found[place] for place in range(len(pairs))]


def _tokens(model: LanguageModel, place: int, completion: str | Sequence[int]) -> tuple[int, ...]:
    if isinstance(completion, str):
        check_text(completion, f"Completion {place}")
        tokens = model.tokenizer(completion, add_special_tokens=False, verbose=False)["input_ids"]
    else:
        tokens = completion
    if not tokens:
        raise DataError(f"Completion {place} is empty.", fix="Give it at least one token.")
    check_tokens(model, tokens, f"Completion {place}")
    return tuple(int(token) for token in tokens)


def _check_room(model: LanguageModel, item: Encoded, place: int, length: int) -> None:
    if model.max_context is not None and length > model.max_context:
        raise DataError(
            f"Prompt '{escape(item.prompt_id or str(place), 80)}' and its completion have {length} "
            f"tokens, and {model.name} reads at most {model.max_context}.",
            fix="Shorten one of them.",
        )


class _Scorer:
    """Computes one unit."""

    def __init__(
        self,
        runner: Runner,
        prompts: Sequence[int],
        completions: Sequence[tuple[int, ...]],
        batches: dict[str, Batch],
    ) -> None:
        self.runner = runner
        self.prompts = prompts
        self.completions = completions
        self.batches = batches

    def __call__(self, unit: Unit) -> dict[str, Any]:
        found: dict[int, list[float]] = {}
        with torch.inference_mode():
            halving(self.batches[unit.key], lambda batch: found.update(self._score(batch)))
        return {"logprobs": [found[item] for item in unit.items]}

    def _score(self, batch: Batch) -> dict[int, list[float]]:
        done = self.runner.shared(batch)
        rows = self.runner.rows(batch.leaves, done, shared=False)
        hidden = run_pass(self.runner.model, rows).hidden
        assert hidden is not None  # noqa: S101 - the pass ran to its end
        # (row, column in the pass, token that follows, item, place in its completion)
        asked = [
            (row, self.prompts[item] - 1 + place - leaf.start, token, item, place)
            for row, (leaf, copies) in enumerate(zip(batch.leaves, batch.copies))
            for item in copies
            for place, token in enumerate(self.completions[item])
        ]
        found = {item: [0.0] * len(self.completions[item]) for item in batch.items}
        for begin in range(0, len(asked), LOGIT_TOKENS):
            chunk = asked[begin : begin + LOGIT_TOKENS]
            for entry, value in zip(chunk, self._logprobs(hidden, chunk)):
                found[entry[3]][entry[4]] = value
        return found

    def _logprobs(
        self, hidden: torch.Tensor, asked: Sequence[tuple[int, int, int, int, int]]
    ) -> list[float]:
        row, column, token = (
            torch.tensor([entry[i] for entry in asked], device=hidden.device) for i in range(3)
        )
        logits = self.runner.model.anatomy.logits_from_final(hidden[row, column])
        require_finite_logits(self.runner, logits, [entry[3] for entry in asked])
        chosen = logits.gather(-1, token[:, None])[:, 0].float()
        values: list[float] = (chosen - logits.float().logsumexp(-1)).tolist()
        return values
