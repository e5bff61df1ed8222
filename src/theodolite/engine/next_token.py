"""The model's next-token distribution at the end of each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from theodolite.engine.budget import token_budget
from theodolite.engine.interventions import shareable
from theodolite.engine.kv import KV
from theodolite.engine.passes import Only, run_pass
from theodolite.engine.plan import Batch, plan_batches
from theodolite.engine.runner import Runner, halving, require_finite_logits
from theodolite.models.chat import Encoded, encode_all

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel


def next_token(
    model: LanguageModel,
    prompts: Sequence[Prompt | str | Encoded],
    *,
    batch_tokens: int | None = None,
) -> torch.Tensor:
    """Return the log-probabilities of every token that may follow each prompt.

    Args:
        model: an open local model; active interventions act.
        prompts: requests (rendered as chats) or `Encoded` prompts.
        batch_tokens: most tokens of one pass, padding included (default: by device and memory).

    Returns: nats, float32 on the CPU, axes (prompt, vocab).

    Raises:
        CapabilityError: the model gives no log-probabilities.
        NumericsError: the logits of a prompt are not finite.
    """
    model.require("logprobs")
    encoded = encode_all(model, prompts)
    sequences = [item.ids for item in encoded]
    names = [item.prompt_id or str(i) for i, item in enumerate(encoded)]
    runner = Runner(model, sequences, names=names)
    budget = batch_tokens or token_budget(model, max(map(len, sequences), default=1))
    limits = [shareable(model, len(ids)) for ids in sequences]
    found = torch.zeros(len(encoded), model.anatomy.vocab_size)

    def run(batch: Batch) -> None:
        logits, _ = last_logits(runner, batch, keep=False)
        require_finite_logits(runner, logits, [leaf.item for leaf in batch.leaves])
        # Some models pad their output layer beyond the vocabulary.
        logprobs = logits[:, : found.shape[1]].float().log_softmax(-1).cpu()
        for row, copies in enumerate(batch.copies):
            found[list(copies)] = logprobs[row]

    with torch.inference_mode():
        for batch in plan_batches(sequences, budget, limits=limits):
            halving(batch, run)
    return found


def last_logits(runner: Runner, batch: Batch, *, keep: bool) -> tuple[torch.Tensor, KV | None]:
    """Run a planned batch and return the logits at the last position of each leaf.

    Returns: logits, axes (leaf, vocab), and the leaves' keys and values if `keep`.
    """
    done = runner.shared(batch)
    rows = runner.rows(batch.leaves, done, shared=False)
    runner.tokens_read += sum(map(len, rows.tokens))
    last = [len(tokens) - 1 for tokens in rows.tokens]
    only = Only(runner.model.anatomy.n_layers - 1, last)
    result = run_pass(runner.model, rows, keep=keep, only=only)
    assert result.hidden is not None  # noqa: S101 - the pass ran to its end
    ends = result.hidden[list(range(len(last))), last]
    logits: torch.Tensor = runner.model.anatomy.logits_from_final(ends)
    return logits, result.kv
