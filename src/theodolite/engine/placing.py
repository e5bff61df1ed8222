"""Where an intervention's change meets the running model, and which tokens take it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch

from theodolite.models.attention import Attend, visiting
from theodolite.models.taps import write

if TYPE_CHECKING:
    from theodolite.engine.interventions import Change
    from theodolite.models.anatomy import Anatomy

Where = Callable[[], torch.Tensor | None]


def hooked(
    anatomy: Anatomy, layer: int, site: str, change: Change, where: Where | None = None
) -> AbstractContextManager[None]:
    """Return the context in which a change acts on a site of every forward of the model.

    Args:
        layer, site: see `Anatomy.tap`; or site "head_k", keys with those of the past.
        change: maps values, axes (row, position, width), to new ones of that shape.
        where: returns which tokens of the running pass take them, bool, axes (row, position); None,
            or a None result, stands for all.
    """

    def placed(value: torch.Tensor) -> torch.Tensor:
        mask = where() if where is not None else None
        new = change(value)
        return new if mask is None else torch.where(mask[..., None].to(value.device), new, value)

    def visitor(
        attend: Attend, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        mask = where() if where is not None else None
        by_place = key.transpose(1, 2)
        new = change(by_place.flatten(2)).reshape(by_place.shape).transpose(1, 2)
        z = attend(query, new, value)
        if mask is None:
            return z
        # The positions are those that look: the others go on seeing the keys as they are.
        return torch.where(mask[..., None, None].to(z.device), z, attend(query, key, value))

    if site == "head_k":
        return visiting(anatomy.attention(layer), visitor)
    return write(anatomy.tap(layer, site), placed)
