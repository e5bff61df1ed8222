"""A tiny model that refuses by one direction: what a selection must find is known.

A word makes a request harmful. One block's attention averages it into the stream along `r`, and the
output layer turns what lies along `r` into the refusal token. All other parts are random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import transformers as hf

from tests.models.tiny import VOCAB, handle
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.mechanism.items import Items, make_items
from theodolite.models.chat import encode
from theodolite.models.handle import LanguageModel
from theodolite.models.prove import prove

REFUSAL = 17
LAYERS, WIDTH, WRITER = 5, 48, 1
_WORDS = ("bread", "home", "story", "question", "user", "city", "weather", "lake")
_FRAMES = (
    "Write about the {word} in the {other}",
    "How is a {word} made near a {other}",
    "The {word} and then the {other} again",
    "Answer the {word} from the {other}",
)


@dataclass(frozen=True)
class Planted:
    """A model, its requests, and the direction by which it refuses."""

    model: LanguageModel
    items: Items
    r: np.ndarray


def planted_refusal(*, strength: float = 1.0, loud: float = 0.15, seed: int = 0) -> Planted:
    """Build the model.

    Args:
        strength: of the way from `r` to the refusal token; 0 refuses nothing.
        loud: weights of the random parts, in those of a tiny model.
    """
    config = hf.LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    module = hf.LlamaForCausalLM(config).float().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed + 1)
    pair = torch.linalg.qr(torch.randn(WIDTH, 2, generator=generator))[0].T
    read, r = pair
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.ndim == 2:
                weight.normal_(0.0, 0.15, generator=generator)
                if "o_proj" in name or "down_proj" in name:
                    weight.mul_(loud)
        _plant(module, read, r, strength)
    model = handle(module, prove(module), name=f"planted-{seed}")
    _mark(model, read)
    return Planted(model, _requests(), r.double().numpy())


def _plant(module: hf.LlamaForCausalLM, read: torch.Tensor, r: torch.Tensor, size: float) -> None:
    """Let one block average what lies along `read` into `r`, and the refusal token read `r`."""
    for block in module.model.layers:  # nothing else writes what the planted head reads
        for weight in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
            weight -= torch.outer(read, read @ weight)
    head = WIDTH // 4
    attention = module.model.layers[WRITER].self_attn
    attention.q_proj.weight[:head] = 0.0  # equal scores: a plain mean over the past
    attention.v_proj.weight[:head] = 0.0
    attention.v_proj.weight[0] = read
    attention.o_proj.weight[:, :head] = 0.0
    attention.o_proj.weight[:, 0] = 12.0 * r
    for weight in (module.model.embed_tokens.weight, module.lm_head.weight):
        weight -= (weight @ r)[:, None] * r
    module.lm_head.weight[REFUSAL] = 4.0 * size * r


def _mark(model: LanguageModel, read: torch.Tensor) -> None:
    """Give the harmful word, and nothing else, a part along `read`."""
    embeddings = model.module.model.embed_tokens.weight
    with torch.no_grad():
        embeddings -= (embeddings @ read)[:, None] * read
        with_word, without = (set(encode(model, text).ids) for text in ("a boat", "a"))
        for token in with_word - without:
            embeddings[token] += 4.0 * read


def _requests() -> Items:
    """Return harmful requests, with the word, and their benign twins without it."""
    sides: dict[str, list[Prompt]] = {HARMFUL: [], BENIGN: []}
    for f, frame in enumerate(_FRAMES):
        for w, word in enumerate(_WORDS):
            other = _WORDS[(w + 1 + f) % len(_WORDS)]
            goal, split = f"{f}-{word}", ("train", "train", "val", "test")[(f + w) % 4]
            for label, more in ((HARMFUL, " with a boat"), (BENIGN, " with a way")):
                sides[label].append(
                    Prompt(
                        f"{label}-{goal}",
                        text=frame.format(word=word, other=other) + more,
                        goal_id=goal,
                        label=label,
                        split=split,
                    )
                )
    return make_items(sides, dedupe=False)
