"""Take away along some vectors what others read: an oblique projection about a centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from theodolite.engine.intervention_base import STREAM_SITES, Change, Intervention
from theodolite.engine.intervention_fields import finite, shaped

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy


@dataclass(frozen=True, eq=False, kw_only=True)
class ObliqueIntervention(Intervention):
    """Change x to `x - share * along' (reads (x - centre))`.

    Args:
        centre: what stays as it is, axes (d_model).
        along: what is taken away, axes (rank, d_model).
        reads: how much of each, axes (rank, d_model).
        site: resid_pre, attn_out, mlp_out or resid_post.
        operator: "erase".
        share: how much of the way it goes: 1 is all, 0 changes nothing.

    Note: it exists inside a measurement; the file form of interventions has no such kind.
    """

    KIND = "oblique"
    OPERATORS = ("erase",)
    SITES = STREAM_SITES

    centre: torch.Tensor
    along: torch.Tensor
    reads: torch.Tensor
    operator: str = "erase"
    site: str = "resid_post"
    share: float = 1.0

    @property
    def at(self) -> str:
        """The site that is changed."""
        return self.site

    def check(self, anatomy: Anatomy) -> None:
        """See `Intervention.check`."""
        super().check(anatomy)
        shaped("centre", self.centre, (anatomy.d_model,))
        rows = len(self.along) if self.along.ndim == 2 else 1
        for name in ("along", "reads"):
            shaped(name, getattr(self, name), (max(rows, 1), anatomy.d_model))
        finite("share", self.share)

    def change(self, anatomy: Anatomy) -> Change:
        """See `Intervention.change`."""

        def erased(value: torch.Tensor) -> torch.Tensor:
            # bfloat16 keeps 8 bits: what is read and taken away is found in float32.
            exact = value if value.dtype == torch.float64 else value.float()
            centre, along, reads = (x.to(exact) for x in (self.centre, self.along, self.reads))
            step = ((exact - centre) @ reads.mT) @ along
            return (exact - self.share * step).to(value.dtype)

        return erased
