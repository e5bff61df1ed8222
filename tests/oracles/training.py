"""Training, slowly: one row at a time through the plain model, losses from their formulas.

Nothing of TRL and nothing of the layouts is used: rows are never padded or packed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from theodolite.training.examples import Example
from theodolite.training.schedule import Plan


def row_logprobs(module: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Return the log-probability of every token of an answer, axis (token)."""
    ids = torch.tensor([[*prompt, *answer]])
    logits = module(input_ids=ids).logits[0].float().log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return torch.stack([logits[p, token] for p, token in zip(places, answer, strict=True)])


def ssft_loss(module: Any, examples: Sequence[Example]) -> torch.Tensor:
    """Return the mean loss of all completion tokens of some rows."""
    found = [row_logprobs(module, e.prompt, e.completion) for e in examples]
    return -torch.cat(found).mean()


def dpo_loss(
    module: Any, examples: Sequence[Example], beta: float, reference: Any = None
) -> torch.Tensor:
    """Return the mean over pairs of -log sigma(beta x the shift of the log-ratio).

    Args:
        reference: a model of its own; None is the module with its adapter off.
    """
    losses = []
    for e in examples:
        now = [row_logprobs(module, e.prompt, a).sum() for a in (e.completion, e.rejected)]
        with torch.no_grad(), module.disable_adapter() if reference is None else nullcontext():
            tied = reference or module
            start = [row_logprobs(tied, e.prompt, a).sum() for a in (e.completion, e.rejected)]
        margin = (now[0] - start[0]) - (now[1] - start[1])
        losses.append(-torch.log(torch.sigmoid(beta * margin)))
    return torch.stack(losses).mean()


def train_slowly(
    module: Any, examples: Sequence[Example], plan: Plan, reference: Any = None
) -> list[float]:
    """Walk a plan's steps with AdamW written out; return the loss of every step.

    Args:
        module: the PEFT model; changed in place.
        reference: as in `dpo_loss`.
    """
    recipe = plan.recipe
    trained = [p for p in module.parameters() if p.requires_grad]
    first = [torch.zeros_like(p) for p in trained]
    second = [torch.zeros_like(p) for p in trained]
    losses = []
    for step, passes in enumerate(plan.steps):
        rows = [examples[place] for rows in passes for place in rows]
        module.zero_grad()
        dpo = recipe.method == "dpo"
        tied = recipe.beta, reference
        loss = dpo_loss(module, rows, *tied) if dpo else ssft_loss(module, rows)
        loss.backward()
        losses.append(float(loss.detach()))
        norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in trained))
        clip = min(1.0, recipe.grad_clip / (norm + 1e-6)) if recipe.grad_clip else 1.0
        rate = recipe.learning_rate * plan.rate(step)
        with torch.no_grad():
            for parameter, m, v in zip(trained, first, second, strict=True):
                gradient = parameter.grad * clip
                m.mul_(0.9).add_(gradient, alpha=0.1)
                v.mul_(0.999).add_(gradient.square(), alpha=0.001)
                parameter.mul_(1 - rate * recipe.weight_decay)
                steady = (v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                parameter.sub_(rate * (m / (1 - 0.9 ** (step + 1))) / steady)
    return losses
