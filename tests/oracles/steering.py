"""Edits by hand: one whole forward for each edit and prompt, every formula written out."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch


def changed(edit: Any, place: tuple[int, str], x: np.ndarray, benign: Any = None) -> np.ndarray:
    """Return one stream vector after an edit; directions at one place are given one by one."""
    own = [
        d
        for d in edit.directions
        if edit.layers != "own"
        or place == ((d.hidden_index - 1, "resid_post") if d.hidden_index else (0, "resid_pre"))
    ]
    if edit.mode == "erase":
        for one in (edit.erasers[d.hidden_index] for d in own):
            x = x - edit.alpha * sum(
                a * float(r @ (x - one.centre)) for a, r in zip(one.along, one.reads)
            )
        return x
    vectors = np.stack([d.vector / np.linalg.norm(d.vector) for d in own])
    if edit.mode in ("subtract", "add"):
        sign = -1 if edit.mode == "subtract" else 1
        return x + sign * edit.alpha * vectors.sum(0)
    if edit.mode == "clamp":
        for v in vectors:
            seen = benign.values[place] @ v
            low, high = np.quantile(seen, edit.quantiles)
            x = x + edit.alpha * (np.clip(x @ v, low, high) - x @ v) * v
        return x
    to = benign.values[place].mean(0) if edit.mode == "affine" else np.zeros_like(x)
    projector = np.linalg.pinv(vectors) @ vectors
    return x - edit.alpha * projector @ (x - to)


def next_logprobs(model: Any, ids: list[int], edit: Any = None, benign: Any = None) -> np.ndarray:
    """Return log-probabilities of the token after a prompt under an edit, float64, axes (vocab)."""
    return answer_logprobs(model, ids, [], edit, benign)[0]


def answer_logprobs(
    model: Any, prompt: list[int], answer: list[int], edit: Any = None, benign: Any = None
) -> np.ndarray:
    """Return log-probabilities after the prompt and after each answer token, (position, vocab)."""
    from theodolite.models.taps import write

    length = len(prompt)
    touched = {
        None: lambda at: False,
        "all": lambda at: True,
        "prompt": lambda at: at < length,
        "prompt_last": lambda at: at == length - 1,
        "generated": lambda at: at >= length,
    }[None if edit is None else edit.positions]

    def change(place: tuple[int, str]) -> Any:
        def every(value: torch.Tensor) -> torch.Tensor:
            rows = value[0].double().numpy().copy()
            for at in range(len(rows)):
                if touched(at):
                    rows[at] = changed(edit, place, rows[at], benign)
            return torch.from_numpy(rows).to(value.dtype)[None]

        return every

    with ExitStack() as stack, torch.no_grad():
        for place in () if edit is None else edit.places(model.anatomy):
            stack.enter_context(write(model.anatomy.tap(*place), change(place)))
        logits = model.module(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits
    wide = logits[0, length - 1 :, : model.anatomy.vocab_size].double()
    return np.asarray(wide.log_softmax(-1).numpy())


def log_odds(logprobs: np.ndarray, tokens: list[int]) -> float:
    """Return the log-odds of a set of tokens."""
    share = np.exp(logprobs[tokens]).sum()
    return float(np.log(share) - np.log1p(-share))


def kl(first: np.ndarray, second: np.ndarray) -> float:
    """Return KL(first || second) of log-probabilities."""
    return float((np.exp(first) * (first - second)).sum())
