"""A pass as one tree: what answers have in common is run once, and no answer sees another.

All prompts and answers of a pass lie in one sequence, every token once per beginning it stands
after. Positions count along a token's own path, and a mask lets it see that path alone. So the
request and the shared beginnings of a preference group are computed once, where padded rows compute
them for every answer.

Families that read such a mask otherwise would leak, so it is tried on the model itself before it is
used (`grows_exactly`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from theodolite.training.batches import Batch, ranked
from theodolite.training.examples import Example

# A tree and padded rows differ by rounding; a row that sees another differs by much more.
MOST_DIFFERENCE: Final = 1e-4
PROBED: Final = 2
# The mask has the square of the tokens: beyond these padded rows are leaner.
MOST_TOKENS: Final = 4096


def tree(examples: Sequence[Example], pad: int) -> Batch:
    """Return a pass of ranked answers as one tree, example by example, best to worst.

    A pass of very many tokens is returned as `ranked` does it.

    Returns: `input_ids`, `position_ids`, axes (1, token); `attention_mask`, axes (1, 1, token,
        token), 0 where a token is seen and minus infinity elsewhere; `parents` and `targets`, axis
        (asked): the place a predicted token follows, and the token; `paths`, axes (answer, token of
        the answer): which of those each answer consists of, -1 at the end of shorter ones; and
        `answers`, axis (example): how many answers belong to each.
    """
    grown = _Grown()
    paths = [grown.answer(e.prompt, answer) for e in examples for answer in e.ranked]
    if len(grown.tokens) > MOST_TOKENS:
        return ranked(examples, pad)
    width = max(map(len, paths))
    size = len(grown.tokens)
    seen = np.zeros((size, size), dtype=bool)
    for place, parent in enumerate(grown.parents):
        if parent >= 0:
            seen[place] = seen[parent]
        seen[place, place] = True
    mask = torch.zeros(1, 1, size, size).masked_fill_(~torch.from_numpy(seen), -torch.inf)
    return {
        "input_ids": torch.tensor([grown.tokens]),
        "position_ids": torch.tensor([grown.depths]),
        "attention_mask": mask,
        "parents": torch.tensor([parent for parent, _ in grown.asked]),
        "targets": torch.tensor([token for _, token in grown.asked]),
        "paths": torch.tensor([[*path, *[-1] * (width - len(path))] for path in paths]),
        "answers": torch.tensor([len(e.ranked) for e in examples]),
    }


class _Grown:
    """Tokens of a tree in the order in which they came, each after its parent.

    Attributes:
        tokens, parents, depths: of every place; the parent of a first token is -1.
        asked: (place, token that follows it), each once.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.asked: dict[tuple[int, int], int] = {}
        self._children: dict[tuple[int, int], int] = {}

    def answer(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Add a prompt and an answer; return which of `asked` the answer consists of."""
        place, path = -1, []
        for token in prompt:
            place = self._step(place, token)
        for i, token in enumerate(answer):
            path.append(self.asked.setdefault((place, token), len(self.asked)))
            if i + 1 < len(answer):  # nothing follows the last token, so it is not run
                place = self._step(place, token)
        return path

    def _step(self, place: int, token: int) -> int:
        found = self._children.get((place, token))
        if found is None:
            found = self._children[place, token] = len(self.tokens)
            self.tokens.append(token)
            self.parents.append(place)
            self.depths.append(0 if place < 0 else self.depths[place] + 1)
        return found


def grows_exactly(module: Any, examples: Sequence[Example]) -> bool:
    """Return whether a model gives the tokens of a tree the logits that padded rows give them.

    Args:
        module: the model, in eval mode.
        examples: with ranked answers; the longest ones are tried.

    Note: two forward passes; a model that refuses such a mask does not grow exactly.
    """
    tried = sorted(examples, key=len)[-PROBED:]
    device = module.get_input_embeddings().weight.device
    whole = {name: value.to(device) for name, value in tree(tried, 0).items()}
    rows = {name: value.to(device) for name, value in ranked(tried, 0).items()}
    try:
        with torch.no_grad():
            together = module(**model_inputs(whole, module.dtype), use_cache=False).logits[0]
            alone = module(
                input_ids=rows["input_ids"], attention_mask=rows["attention_mask"], use_cache=False
            ).logits
    except (TypeError, ValueError, RuntimeError):
        return False
    labels = rows["labels"][:, 1:]
    single = alone[:, :-1][labels != -100].double()
    paths = whole["paths"]
    grown = together[whole["parents"]][paths[paths >= 0]].double()
    scale = single.abs().max().clamp(min=1.0)
    tolerance = MOST_DIFFERENCE if module.dtype == torch.float32 else 0.05
    return bool((grown - single).abs().max() <= tolerance * scale)


def model_inputs(batch: Batch, dtype: torch.dtype) -> Batch:
    """Return what the model itself reads of a tree; the mask in the model's own numbers."""
    least = torch.finfo(dtype).min
    return {
        "input_ids": batch["input_ids"],
        "position_ids": batch["position_ids"],
        "attention_mask": batch["attention_mask"].to(dtype).clamp(min=least),
    }


def answer_sums(values: torch.Tensor, paths: torch.Tensor) -> torch.Tensor:
    """Return the sum of every answer's tokens, in one order on every device.

    Args:
        values: log-probabilities, axis (asked).
        paths: axes (answer, token), -1 where an answer has ended.
    """
    return (values[paths.clamp(min=0)] * (paths >= 0)).sum(1)
