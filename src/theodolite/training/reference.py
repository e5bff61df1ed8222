"""Log-probabilities under the reference: the model before training, asked once per answer.

They are computed by the very passes that the loss is computed by, before the first step, and kept
in the run's journal: a resumed training reads them, whatever its weights have become.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from theodolite.text.hashing import content_key
from theodolite.training.batches import ranked
from theodolite.training.examples import Example

if TYPE_CHECKING:
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.training.listwise import ListwiseTrainer


def reference_logprobs(
    trainer: ListwiseTrainer,
    examples: Sequence[Example],
    places: Iterable[int],
    *,
    pad: int,
    journal: Journal,
    progress: Progress,
) -> dict[int, torch.Tensor]:
    """Return the log-probabilities of answers under the model as it stands.

    Args:
        trainer: its model has not taken a step yet, nor loaded a checkpoint.
        examples: with ranked answers.
        places: those that are asked for.
        pad: token id of padding.
        journal: finished examples are kept there, and not computed again.

    Returns: place -> log-probabilities in nats, axis (answer).
    """
    wanted = sorted(set(places))
    progress.start("answers under the reference", len(wanted))
    trainer.model.eval()  # dropout is no part of the reference
    found = {}
    for place in wanted:
        example = examples[place]
        key = f"reference/{content_key(example.prompt, example.ranked)}"
        known = journal.get(key)
        if known is None:
            known = {"logprobs": _logprobs(trainer, example, pad).tolist()}
            journal.put(key, known)
        found[place] = torch.tensor(known["logprobs"], dtype=torch.float64)
        progress.advance()
    trainer.model.train()
    return found


def _logprobs(trainer: ListwiseTrainer, example: Example, pad: int) -> torch.Tensor:
    device = trainer.args.device
    batch = {name: value.to(device) for name, value in ranked([example], pad).items()}
    with torch.no_grad():
        return trainer.answer_logprobs(trainer.model, batch)[0]
