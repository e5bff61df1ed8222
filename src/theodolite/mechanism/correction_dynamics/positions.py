"""One pass per reply, and what its positions say: refusal mass, the true token, odds, rank, KL.

Where two models are compared, both run the same planned batch, so that their distributions meet in
chunks of a few hundred tokens and are never held for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from theodolite.engine.budget import token_budget
from theodolite.engine.interventions import interventions_key, shareable
from theodolite.engine.passes import run_pass
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving, require_finite_logits
from theodolite.engine.score import LOGIT_TOKENS
from theodolite.execution import Unit, map_units
from theodolite.mechanism.correction_dynamics.kinds import KL, QUANTITIES, Floats
from theodolite.mechanism.distributions import divergence
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.mechanism.correction_dynamics.replies import Followed
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION: Final = 1


@dataclass(frozen=True, eq=False)
class Readings:
    """What was read at every position of every reply; NaN behind a reply's end.

    Args:
        models: per model, axes (row, position, quantity); quantities as in `QUANTITIES`.
        kl: KL(first || second) in nats, axes (row, position); None for one model.
    """

    models: tuple[Floats, ...]
    kl: Floats | None


def follow(
    models: Sequence[LanguageModel],
    replies: Sequence[Followed],
    listed: Sequence[int],
    length: int,
    *,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Readings:
    """Read the next-token distributions along replies.

    Args:
        models: one, or two that read the same tokens; active interventions act.
        replies: what is forced on them.
        listed: token ids of the refusing openings.
        length: positions 0 to length - 1; position t is the distribution given t tokens of the
            reply, and its true token is the reply's token t.
        batch_tokens: most tokens of one pass, padding included (default: by device and memory).
        journal: finished units are kept there and not computed again.
        progress: told of finished units, in replies.

    Raises:
        NumericsError: the logits of a reply are not finite.
    """
    # The last token that is asked about need not be fed.
    sequences = [(*one.head, *one.reply[:length][:-1]) for one in replies]
    heads = [one.start for one in replies]
    longest = max(map(len, sequences))
    budget = batch_tokens or min(token_budget(model, longest) for model in models)
    limits = [min(shareable(model, head) for model in models) for head in heads]
    # Interventions act by where the head ends, which equal sequences may disagree about.
    acting = any(model.interventions for model in models)
    batches = plan_batches(sequences, budget, limits=limits, kinds=heads if acting else None)
    names = [one.id for one in replies]
    runners = [Runner(m, sequences, prompt_lengths=heads, names=names) for m in models]
    common = [[m.fingerprint, interventions_key(m)] for m in models]
    units = []
    for batch in batches:
        rows = [(heads[i], replies[i].encoded.ids[: heads[i] + length]) for i in batch.items]
        shape = [(s.start, s.stop, s.parent) for s in (*batch.segments, *batch.leaves)]
        key = content_key("followed replies", VERSION, common, sorted(listed), length, rows, shape)
        units.append(Unit(key, batch.items, len(batch.items)))
    planned = dict(zip((unit.key for unit in units), batches))
    follower = _Follower(runners, replies, listed, length, planned)
    results = map_units(units, follower, journal=journal, progress=progress, label="replies")
    return _assembled(units, results, len(replies), len(models))


def _assembled(
    units: Sequence[Unit], results: Sequence[dict[str, Any]], rows: int, models: int
) -> Readings:
    whole: dict[str, Floats] = {}
    for unit, result in zip(units, results, strict=True):
        for name, values in result.items():
            part = np.asarray(values, np.float64)
            place = whole.setdefault(name, np.full((rows, *part.shape[1:]), np.nan))
            place[list(unit.items)] = part
    return Readings(tuple(whole[str(place)] for place in range(models)), whole.get(KL))


class _Follower:
    """Computes one unit."""

    def __init__(
        self,
        runners: Sequence[Runner],
        replies: Sequence[Followed],
        listed: Sequence[int],
        length: int,
        batches: dict[str, Batch],
    ) -> None:
        self.runners = runners
        self.replies = replies
        self.listed = list(listed)
        self.length = length
        self.batches = batches

    def __call__(self, unit: Unit) -> dict[str, Any]:
        shape = (len(unit.items), self.length)
        found = {
            str(place): np.full((*shape, len(QUANTITIES)), np.nan, np.float32)
            for place in range(len(self.runners))
        }
        if len(self.runners) == 2:
            found[KL] = np.full(shape, np.nan, np.float32)
        slots = {item: slot for slot, item in enumerate(unit.items)}
        with torch.inference_mode():
            halving(self.batches[unit.key], lambda batch: self._run(batch, slots, found))
        return found

    def _run(self, batch: Batch, slots: dict[int, int], found: dict[str, Any]) -> None:
        hidden = [_final(runner, batch) for runner in self.runners]
        # (row, column in the pass, true token, item, position)
        asked = [
            (row, self.replies[item].start - 1 + t - leaf.start, token, item, t)
            for row, (leaf, copies) in enumerate(zip(batch.leaves, batch.copies))
            for item in copies
            for t, token in enumerate(self.replies[item].reply[: self.length])
        ]
        for begin in range(0, len(asked), LOGIT_TOKENS):
            chunk = asked[begin : begin + LOGIT_TOKENS]
            logprobs = [self._logprobs(*pair, chunk) for pair in zip(self.runners, hidden)]
            where = ([slots[entry[3]] for entry in chunk], [entry[4] for entry in chunk])
            truth = torch.tensor([entry[2] for entry in chunk])
            for place, one in enumerate(logprobs):
                found[str(place)][where] = quantities(one, truth, self.listed).cpu().numpy()
            if len(logprobs) == 2:
                found[KL][where] = _shared_divergence(*logprobs).cpu().numpy()

    def _logprobs(
        self, runner: Runner, hidden: torch.Tensor, asked: Sequence[tuple[int, ...]]
    ) -> torch.Tensor:
        row, column = (
            torch.tensor([entry[i] for entry in asked], device=hidden.device) for i in range(2)
        )
        logits = runner.model.anatomy.logits_from_final(hidden[row, column])
        require_finite_logits(runner, logits, [entry[3] for entry in asked])
        # Some models pad their output layer beyond the vocabulary.
        known: torch.Tensor = logits[:, : runner.model.anatomy.vocab_size]
        return known.float().log_softmax(-1)


def _final(runner: Runner, batch: Batch) -> torch.Tensor:
    """Return the final hidden states of a batch's leaves, axes (leaf, position, d_model)."""
    done = runner.shared(batch)
    hidden = run_pass(runner.model, runner.rows(batch.leaves, done, shared=False)).hidden
    assert hidden is not None  # noqa: S101 - the pass ran to its end
    return hidden


def quantities(logprobs: torch.Tensor, truth: torch.Tensor, listed: Sequence[int]) -> torch.Tensor:
    """Return what one model's distributions say.

    Args:
        logprobs: nats, axes (position, vocab).
        truth: the reply's own next token, axis (position).
        listed: token ids of the refusing openings.

    Returns: float32, axes (position, quantity): the sum of the listed tokens' probabilities; the
        probability of the true token; log P(best listed token) - log P(true token) in nats; and
        how many tokens are likelier than the best listed one.
    """
    inside = logprobs[:, torch.tensor(list(listed), device=logprobs.device)]
    best = inside.max(-1).values
    true = logprobs.gather(-1, truth.to(logprobs.device)[:, None])[:, 0]
    return torch.stack(
        [
            inside.exp().sum(-1).clamp_max(1.0),
            true.exp().clamp_max(1.0),
            best - true,
            (logprobs > best[:, None]).sum(-1).float(),
        ],
        dim=-1,
    )


def _shared_divergence(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return KL(first || second) over the tokens that both models have."""
    width = min(first.shape[1], second.shape[1])
    one, other = (
        part if part.shape[1] == width else part[:, :width].log_softmax(-1)
        for part in (first, second)
    )
    return divergence(one, other.to(one.device))
