"""Changing the stream the slow, obvious way: one whole forward per prompt and change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from theodolite.models.taps import write


def logits_after(
    model: Any,
    ids: Sequence[int],
    hidden_index: int,
    change: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return the last logits of one prompt whose states at one place were changed, axes (vocab)."""
    place = (hidden_index - 1, "resid_post") if hidden_index else (0, "resid_pre")
    with torch.no_grad(), write(model.anatomy.tap(*place), change):
        return model.module(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]


def refusal(logits: torch.Tensor, positive: Sequence[int], negative: Sequence[int]) -> float:
    """Return the log-odds for a refusal."""
    p = logits.double().softmax(-1)
    return float(torch.log(p[list(negative)].sum() / p[list(positive)].sum()))


def leace(x: Any, z: Any, shrinkage: float = 0.0) -> Callable[[Any], Any]:
    """Return the eraser by its definition: whiten, project the concept away, undo the whitening.

    Source: arXiv:2306.03819, theorem 4.3: `x - W+ P W (x - mean)` with `W` the inverse root of the
        covariance and `P` the projection onto the columns of `W cov(x, z)`.
    """
    x, z = np.asarray(x, float), np.asarray(z, float)
    centre = x.mean(0)
    covariance = (x - centre).T @ (x - centre) / len(x)
    mean_variance = np.trace(covariance) / x.shape[1]
    covariance = (1 - shrinkage) * covariance + shrinkage * mean_variance * np.eye(x.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    whiten = vectors @ np.diag(values**-0.5) @ vectors.T
    cross = whiten @ ((x - centre).T @ (z - z.mean()) / len(x))
    project = np.outer(cross, cross) / (cross @ cross)
    undo = np.linalg.inv(whiten)
    return lambda rows: rows - (np.asarray(rows) - centre) @ (undo @ project @ whiten).T
