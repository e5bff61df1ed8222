"""A small model built by hand: what each head writes is known, and only two heads together matter.

Every head writes one constant vector, whatever the prompt says. The stream ends as
    base + strong + weak + side,
where `strong` and `weak` write the same direction: either alone keeps the answer, and both are
needed for it to fall. `side` writes another direction and alone moves more than `weak` does.
"""

from __future__ import annotations

from typing import Any

import torch

from tests.models.tiny import tiny_model

STRONG, WEAK, SIDE = (0, 1), (0, 3), (1, 2)
ANSWER, OTHER, THIRD = 301, 302, 303
_SIZES = {STRONG: 5.0, WEAK: 1.7, SIDE: 1.6}


def planted_model() -> Any:
    """Return a GPT-2 of three layers whose heads are constants; take heads out with "zero"."""
    model = tiny_model("gpt2")
    anatomy = model.anatomy
    kept = model.module.state_dict()
    with torch.no_grad():
        for name, tensor in kept.items():
            if "ln_" not in name:
                tensor.zero_()
        answer, other, third = _directions(anatomy.d_model)
        for layer, block in enumerate(anatomy.blocks):
            block.attn.c_attn.bias[2 * anatomy.d_model :] = 1.0  # values are ones at every place
            for (at, head), size in _SIZES.items():
                if at == layer:
                    row = head * anatomy.head_dim
                    direction = third if (at, head) == SIDE else answer
                    block.attn.c_proj.weight[row] = size * direction
        words = model.module.transformer
        words.wpe.weight[:] = other
        for token, direction in ((ANSWER, answer), (OTHER, other), (THIRD, third)):
            words.wte.weight[token] = direction
    return model


def _directions(width: int) -> torch.Tensor:
    """Return three orthogonal unit vectors of mean 0, which the layer norm keeps apart."""
    signs = torch.ones(1, 1)
    while len(signs) < width:
        signs = torch.kron(signs, torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
    return signs[1:4] / width**0.5
