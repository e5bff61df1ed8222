"""A linear layer with a low-rank side path: the adapted form of a layer that is shared."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class LowRank(nn.Module):
    """A linear layer plus a low-rank path beside it: `layer(x) + up(down(x))`.

    Args:
        layer: the plain layer; its parameters may belong to another model too.
        down: axes (rank, in).
        up: axes (out, rank), the adapter's scale in it.
        transposed: the layer's weight has axes (in, out).
    """

    def __init__(self, layer: nn.Module, down: Tensor, up: Tensor, *, transposed: bool) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(down, requires_grad=False)
        self.up = nn.Parameter(up, requires_grad=False)
        self.transposed = transposed

    def forward(self, hidden: Tensor) -> Tensor:
        """Map values, axes (..., in), to axes (..., out)."""
        beside = linear(linear(hidden.to(self.down.dtype), self.down), self.up)
        whole = cast(Tensor, self.layer(hidden))
        return whole + beside.to(whole.dtype)

    @property
    def weight(self) -> Tensor:
        """The weight of the one layer that would do the same; made anew at every reading."""
        plain = cast(Tensor, self.layer.weight)
        with torch.no_grad():
            added = self.up @ self.down
            return (plain + (added.T if self.transposed else added)).to(plain.dtype)

    @property
    def bias(self) -> Tensor | None:
        """The bias of the plain layer."""
        return cast("Tensor | None", self.layer.bias)
