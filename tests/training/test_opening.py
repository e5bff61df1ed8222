"""Rows that share their opening have the same states, loss and gradients as rows run whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.tiny import TINY, tiny_model
from tests.training.made_rows import made_rows
from theodolite.training import opening as module
from theodolite.training.batches import IGNORED, Batch, padded
from theodolite.training.examples import encode_rows
from theodolite.training.opening import opens_exactly, shared_opening, states_after_opening


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Five rows whose prompts open with the same ten tokens."""
    rows = padded(encode_rows(tiny_model(), made_rows(), "ssft-chat")[:5], 1)
    rows["input_ids"] = rows["input_ids"].clone()
    rows["input_ids"][:, :10] = torch.arange(20, 30)
    return rows


def test_the_opening_ends_before_rows_differ_and_before_the_first_label() -> None:
    ids = torch.tensor([[5] * 12 + [1, 2], [5] * 12 + [3, 4]])
    labels = torch.full_like(ids, IGNORED)
    labels[:, -1] = 7
    assert shared_opening(ids, labels) == 12
    labels[0, 10:] = 7
    assert shared_opening(ids, labels) == 9
    labels[0, 3:] = 7
    assert shared_opening(ids, labels) == 0
    assert shared_opening(ids[:1], labels[:1]) == 0


def loss(inner: Any, head: Any, batch: Batch, opening: int) -> torch.Tensor:
    ids, mask, labels = (batch[name] for name in ("input_ids", "attention_mask", "labels"))
    if opening:
        states = states_after_opening(inner, ids, mask, opening)
    else:
        states = inner(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    logits = head(states[:, :-1])
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, opening + 1 :].flatten(), ignore_index=IGNORED
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma3_text"])
def test_states_loss_and_gradients_are_those_of_whole_rows(family: str, batch: Batch) -> None:
    found = []
    for opening in (0, 10):
        model = TINY[family]().requires_grad_(True)
        assert opens_exactly(model.base_model, batch["input_ids"], batch["attention_mask"], 10)
        value = loss(model.base_model, model.get_output_embeddings(), batch, opening)
        value.backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        found.append((value.detach(), torch.cat(gradients)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


def test_a_model_that_loses_its_opening_is_found_out(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = TINY["llama"]().base_model
    ids, mask = batch["input_ids"], batch["attention_mask"]

    def forgetful(inner: Any, ids: torch.Tensor, mask: torch.Tensor, opening: int) -> torch.Tensor:
        kept = {"input_ids": ids[:, opening:], "attention_mask": mask[:, opening:]}
        return inner(**kept, use_cache=False).last_hidden_state

    monkeypatch.setattr(module, "states_after_opening", forgetful)
    assert not opens_exactly(inner, ids, mask, 10)
