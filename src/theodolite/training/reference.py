"""Log-probabilities under the reference: the model before training, asked once per answer.

They are computed by the very passes that the loss is computed by, before the first step, and kept
in the run's journal: a resumed training reads them, whatever its weights have become.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from theodolite.text.hashing import content_key
from theodolite.training.batches import Batch
from theodolite.training.examples import Example

if TYPE_CHECKING:
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.training.listwise import ListwiseTrainer

Collate = Callable[[list[dict[str, Any]]], Batch]


def reference_logprobs(
    trainer: ListwiseTrainer,
    examples: Sequence[Example],
    passes: Iterable[Sequence[int]],
    *,
    collate: Collate,
    journal: Journal,
    progress: Progress,
) -> dict[int, torch.Tensor]:
    """Return the log-probabilities of answers under the model as it stands.

    Args:
        trainer: its model has not taken a step yet, nor loaded a checkpoint.
        examples: with ranked answers.
        passes: places of those that are asked for, together as they will be trained on.
        collate: turns a pass into tensors, as for the training itself.
        journal: finished examples are kept there, and not computed again.

    Returns: place -> log-probabilities in nats, axis (answer).
    """
    wanted = [tuple(places) for places in passes]
    progress.start("answers under the reference", len({p for places in wanted for p in places}))
    trainer.model.eval()  # dropout is no part of the reference
    found: dict[int, torch.Tensor] = {}
    for places in wanted:
        new = [place for place in places if place not in found]
        known = {place: journal.get(_key(examples[place])) for place in new}
        computed = {}
        if None in known.values():
            computed = _logprobs(trainer, collate, examples, places)
        for place, kept in known.items():
            if kept is None:
                kept = {"logprobs": computed[place]}
                journal.put(_key(examples[place]), kept)
            found[place] = torch.tensor(kept["logprobs"], dtype=torch.float64)
        progress.advance(len(new))
    trainer.model.train()
    return found


def _key(example: Example) -> str:
    return f"reference/{content_key(example.prompt, example.ranked)}"


def _logprobs(
    trainer: ListwiseTrainer,
    collate: Collate,
    examples: Sequence[Example],
    places: Sequence[int],
) -> dict[int, list[float]]:
    """Return what the model says of the answers of one pass, by place."""
    device = trainer.args.device
    batch = collate([{"rows": list(places), "of": len(places)}])
    moved = {name: value.to(device) for name, value in batch.items()}
    with torch.no_grad():
        values = trainer.answer_logprobs(trainer.model, moved)[0]
    parts = torch.split(values, [len(examples[place].ranked) for place in places])
    return {place: part.tolist() for place, part in zip(places, parts, strict=True)}
