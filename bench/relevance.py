"""Token relevance of ten directions: one batched backward pass against one pass per direction.

python -m bench.relevance [prompts] [hidden_index]

Harmful and benign test prompts of the bundled set as chats, ten random directions at one depth of
SmolLM2, float32, the same rules on both sides (AttnLRP by gradient times input). The rival does
what the reference does: for every prompt and every direction one forward pass of the whole model
with its vocabulary logits and one backward pass, batch 1. It is spared the gradients of weights.
Both are timed with everything: rendering and the proof of the rules on entry, ours also with its
tables. Values are compared before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.mechanism.directions.direction import Direction, component_name
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.relevance import relevance
from theodolite.mechanism.relevance.backward import relevance_rules
from theodolite.mechanism.states import encode_for_states
from theodolite.models import open_model
from theodolite.models.taps import read

N_PROMPTS = 8
DEPTH = 15
N_DIRECTIONS = 10


def ours(model: Any, prompts: Sequence[Prompt], targets: Sequence[Direction]) -> np.ndarray:
    """Return relevance by token, prompts one after the other; axes (token, direction)."""
    found = relevance(model, prompts, targets).tokens
    assert found is not None
    return found


def one_by_one(model: Any, prompts: Sequence[Prompt], targets: Sequence[Direction]) -> np.ndarray:
    """Return the same by one forward and backward pass per prompt and direction."""
    rows = []
    with relevance_rules(model):
        for prompt in encode_for_states(model, prompts):
            ids = torch.tensor([prompt.ids])
            columns = []
            for target in targets:
                vector = torch.from_numpy(target.vector).float()
                embedded = model.anatomy.embed(ids).detach().requires_grad_(True)
                stream: dict[int, torch.Tensor] = {}
                tap = model.anatomy.tap(target.hidden_index - 1, "resid_post")
                with read({0: tap}, stream.__setitem__):
                    model.module(inputs_embeds=embedded, use_cache=False)
                (stream[0][0, -1] @ vector).backward()
                columns.append((embedded * embedded.grad).sum(-1)[0].detach().numpy())
            rows.append(np.stack(columns, axis=1))
    return np.concatenate(rows)


def compare(model: Any, prompts: Sequence[Prompt], depth: int) -> None:
    """Check that both give the same, time them in turn and publish the table."""
    width = model.anatomy.d_model
    targets = [
        Direction(component_name(depth, i + 1), depth, random_vector(width, 1.0, seed=i))
        for i in range(N_DIRECTIONS)
    ]
    first, second = ours(model, prompts, targets), one_by_one(model, prompts, targets)
    error = float(np.abs(first - second).max() / np.abs(second).max())
    assert error <= 1e-4, f"the rivals differ by {error:.1e} of the largest relevance"
    seconds = side_by_side(
        {
            "theodolite": lambda: ours(model, prompts, targets),
            "one pass per prompt and direction": lambda: one_by_one(model, prompts, targets),
        },
        runs=3,
    )
    facts = {
        "model": model.name,
        "prompts": len(prompts),
        "directions": N_DIRECTIONS,
        "hidden_index": f"{depth} of {model.anatomy.n_layers}",
        "threads": torch.get_num_threads(),
        "largest_difference": f"{error:.1e}",
    }
    publish(f"relevance-h{depth}", summarise(seconds, "theodolite"), **facts)


def main() -> None:
    """Print the table of one depth."""
    count, depth = [*map(int, sys.argv[1:]), *(N_PROMPTS, DEPTH)[len(sys.argv) - 1 :]]
    compare(open_model("smollm2"), chosen(count), depth)


def chosen(count: int) -> list[Prompt]:
    """Return as many test prompts of the bundled set, harmful and benign in turn."""
    prompts = [prompt for prompt in bundled("refusal") if prompt.split == "test"]
    harmful = [prompt for prompt in prompts if prompt.label == "harmful"]
    benign = [prompt for prompt in prompts if prompt.label == "benign"]
    return [p for pair in zip(harmful, benign, strict=False) for p in pair][:count]


if __name__ == "__main__":
    main()
