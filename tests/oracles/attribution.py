"""What a head adds along a direction, the slow way: its slice alone through the projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def head_terms(model: Any, ids: Sequence[int], layer: int, unit: torch.Tensor) -> list[float]:
    """Return each head's term of what attention adds to the stream at the last token.

    Where a norm stands behind the projection its factor is read off coordinate by coordinate.
    """
    from tests.oracles import engine_forward

    anatomy = model.anatomy
    module = anatomy.blocks[layer].get_submodule(anatomy.row.out_proj)
    z = engine_forward.site_values(model, ids, "head_z")[layer][-1:]
    added = engine_forward.site_values(model, ids, "attn_out")[layer][-1]
    nothing = module(torch.zeros_like(z))
    factor = torch.full_like(added, anatomy.scales["attn"])
    if anatomy.row.post_norm:
        factor = added / module(z)[0]
    terms = []
    for head in range(anatomy.n_heads):
        alone = torch.zeros_like(z)
        part = slice(head * anatomy.head_dim, (head + 1) * anatomy.head_dim)
        alone[:, part] = z[:, part]
        terms.append(float(((module(alone) - nothing)[0] * factor) @ unit.to(factor)))
    return terms
