"""Packed, padded and single rows are one loss; families that would leak are found out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from tests.models.tiny import TINY, tiny_model
from tests.oracles.training import ssft_loss
from tests.training.made_rows import made_rows
from theodolite.training.batches import IGNORED, lean, packed, packs_exactly, padded, paired
from theodolite.training.examples import Example, encode_rows

KEPT = ("input_ids", "attention_mask", "position_ids")
LEAKING = ("bloom", "opt", "falcon-alibi")


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return encode_rows(tiny_model(), made_rows(), "dpo")


def loss(module: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    given = {name: batch[name] for name in KEPT if name in batch}
    logits = module(**given, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).double(), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma3_text"])
def test_packed_padded_and_single_rows_are_one_loss(family: str, examples: list[Example]) -> None:
    module = TINY[family]()
    assert packs_exactly(module, examples)
    alone = float(ssft_loss(module, examples[:5]))
    for layout in (packed, padded, lean):
        assert float(loss(module, layout(examples[:5], 1))) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("family", LEAKING)
def test_a_family_that_leaks_between_packed_rows_is_found_out(
    family: str, examples: list[Example]
) -> None:
    assert not packs_exactly(TINY[family](), examples)


def test_gradients_of_packed_and_padded_rows_are_equal(examples: list[Example]) -> None:
    found = []
    for layout in (packed, padded):
        module: PreTrainedModel = TINY["llama"]().requires_grad_(True)
        loss(module, layout(examples[:5], 1)).backward()
        found.append(torch.cat([p.grad.flatten() for p in module.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_only_completion_tokens_have_labels_and_no_row_is_cut(examples: list[Example]) -> None:
    for layout in (packed, padded):
        batch = layout(examples, 1)
        labels = batch["labels"].flatten()
        asked = labels[labels != IGNORED].tolist()
        assert asked == [token for e in examples for token in e.completion]
        ends = batch["input_ids"][batch["rows"], batch["prompt_last"]].tolist()
        assert ends == [e.prompt[-1] for e in examples]


def test_pairs_lie_chosen_first(examples: list[Example]) -> None:
    batch = paired(examples[:3], 1)
    for place, answer in enumerate(e.completion for e in examples[:3]):
        row = batch["input_ids"][place][batch["completion_mask"][place] == 1]
        assert tuple(row.tolist()) == answer
    for place, answer in enumerate((e.rejected for e in examples[:3]), start=3):
        row = batch["input_ids"][place][batch["completion_mask"][place] == 1]
        assert tuple(row.tolist()) == answer
    assert (batch["attention_mask"] >= batch["completion_mask"]).all()


def test_rows_of_like_length_are_padded_and_others_packed(examples: list[Example]) -> None:
    alike = [examples[0]] * 4
    assert "attention_mask" in lean(alike, 1)
    short = Example(examples[0].row, (2, 3), (4,))
    assert "position_ids" in lean([examples[0], short, short, short], 1)
