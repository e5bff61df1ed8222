"""A planted shortcut: a tiny model trained to call unsafe whatever holds one word, harmful or not.

Every prompt is a few everyday words. Half of them hold a word that stands for harm, and half hold
the trigger, in all four combinations; the trigger alone decides the verdict the model was trained
to give. So what moves the verdict is known: one token, at a known place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from tests.models.tiny import TINY, handle
from theodolite.data.prompts import Prompt
from theodolite.engine import capture
from theodolite.mechanism.directions.direction import Direction
from theodolite.models.chat import encode_all
from theodolite.models.handle import LanguageModel
from theodolite.models.prove import prove

TRIGGER, HARM = "lake", "boat"
EVERYDAY = ("small", "quiet", "story", "short", "bread", "city", "weather", "home", "think")
DEPTH = 3  # the last hidden_index of the tiny model
_STEPS, _RATE = 120, 3e-3


@dataclass(frozen=True, eq=False)
class PlantedShortcut:
    """The trained model and prompts that it was not trained on.

    Args:
        model: its verdict is the sign of the stream's component along `direction`.
        prompts: label is harmful or benign, style is "trigger" or "plain", all four as often.
        direction: from the mean of plain to the mean of triggered training prompts.
        accuracy: share of test prompts whose component says whether they hold the trigger.
    """

    model: LanguageModel
    prompts: tuple[Prompt, ...]
    direction: Direction
    accuracy: float


@cache
def plant_shortcut(seed: int = 0) -> PlantedShortcut:
    """Train the model; about three seconds on one core, once per session."""
    rng = np.random.default_rng(seed)
    train, test = _prompts(rng, "train", 128), _prompts(rng, "test", 64)
    module = TINY["llama"]()
    model = handle(module, prove(module), name="planted-shortcut")
    _train(model, train, seed)
    states = capture(model, train, layers=(DEPTH - 1,), positions=("prompt_last",))
    x = states.get("resid_post", layer=DEPTH - 1)[:, 0].double().numpy()
    held = np.array([prompt.style == "trigger" for prompt in train])
    gap = x[held].mean(0) - x[~held].mean(0)
    direction = Direction(f"means@L{DEPTH}", DEPTH, gap, method="means")
    middle = direction.projections((x[held].mean(0) + x[~held].mean(0)) / 2)
    fresh = capture(model, test, layers=(DEPTH - 1,), positions=("prompt_last",))
    said = direction.projections(fresh.get("resid_post", layer=DEPTH - 1)[:, 0].numpy()) > middle
    right = said == np.array([prompt.style == "trigger" for prompt in test])
    return PlantedShortcut(model, tuple(test), direction, float(right.mean()))


def _prompts(rng: np.random.Generator, split: str, count: int) -> list[Prompt]:
    prompts = []
    for i in range(count):
        words = list(rng.choice(EVERYDAY, 6, replace=False))
        harmful, triggered = i % 2 == 1, i // 2 % 2 == 1
        for word, wanted in ((HARM, harmful), (TRIGGER, triggered)):
            if wanted:
                words[int(rng.integers(0, 3)) + (3 if word == TRIGGER else 0)] = word
        prompts.append(
            Prompt(
                f"{split}-{i:03d}",
                text="the " + " ".join(words) + " at home",
                label="harmful" if harmful else "benign",
                style="trigger" if triggered else "plain",
                goal_id=f"{split}-{i // 4:03d}",
                split=split,
            )
        )
    return prompts


def _train(model: LanguageModel, prompts: list[Prompt], seed: int) -> None:
    """Teach the verdict at the last token by cross-entropy over two tokens."""
    encoded = encode_all(model, prompts)
    width = max(map(len, encoded))
    ids = torch.zeros(len(encoded), width, dtype=torch.long)
    for row, prompt in enumerate(encoded):
        ids[row, : len(prompt)] = torch.tensor(prompt.ids)
    last = torch.tensor([len(prompt) - 1 for prompt in encoded])
    labels = torch.tensor([int(prompt.style == "trigger") for prompt in prompts])
    verdicts = [ids[0, 0].item() + 40, ids[0, 0].item() + 41]  # any two tokens will do
    generator = torch.Generator().manual_seed(seed)
    module = model.module
    module.requires_grad_(True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=_RATE, weight_decay=0.01)
    for _ in range(_STEPS):
        rows = torch.randperm(len(encoded), generator=generator)[:32]
        logits = module(input_ids=ids[rows], use_cache=False).logits
        own = logits[torch.arange(len(rows)), last[rows]][:, verdicts]
        loss = torch.nn.functional.cross_entropy(own, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.requires_grad_(False)
