"""Change what a stream vector holds along one direction, or in the subspace of several.

All operators are one formula. Along a unit vector u the component c = u.x becomes

    c + share * (clip(c, low, high) - c) + shift

"ablate" clips to [0, 0], "clamp" and "affine" to [alpha, alpha], "bound" to a range, and "add" and
"subtract" shift. So rows that differ in all of this still take two products together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch

from theodolite.engine.intervention_base import STREAM_SITES, Change, Intervention
from theodolite.engine.intervention_fields import finite, shaped
from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy

# Of the longest direction's length; what is left of another one below it counts as rounding.
_DEPENDENT = 1e-10


@dataclass(frozen=True, eq=False)
class Lines:
    """How the components along orthonormal directions change.

    Args:
        units: orthonormal, axes (direction, d_model).
        share: how much of the way into the range a component goes.
        low, high: the range.
        shift: what is added afterwards.

    All but the units have the axis (direction). Stacked for rows, there is an axis (row) in front,
    and one of length 1 for positions before the directions.
    """

    units: torch.Tensor
    share: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    shift: torch.Tensor

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        """Return the changed values, axes as they come (row, position, d_model)."""
        # bfloat16 keeps 8 bits: the component is found and removed in float32.
        exact = value if value.dtype == torch.float64 else value.float()
        units, share, low, high, shift = (part.to(exact) for part in self.parts)
        found = exact @ units.mT
        step = share * (found.clamp(low, high) - found) + shift
        # Of one line the product is a product of numbers, and one step adds it.
        new = torch.addcmul(exact, step, units) if self.count == 1 else exact + step @ units
        return new.to(value.dtype)

    @property
    def parts(self) -> list[torch.Tensor]:
        """The tensors, in the order of the fields."""
        return [getattr(self, item.name) for item in fields(self)]

    @property
    def count(self) -> int:
        """How many directions there are."""
        return self.units.shape[-2]

    def rows(self, places: Sequence[int]) -> Lines:
        """Return the lines of some rows of stacked ones, in this order."""
        index = torch.tensor(places, device=self.units.device)
        return Lines(*(part[index] for part in self.parts))

    @classmethod
    def stacked(cls, rows: Sequence[Lines | None], like: torch.Tensor) -> Lines:
        """Return the lines of every row; None leaves a row as it is.

        Args:
            like: values that will be changed: of their device, and at least float32.
        """
        count = max(row.count for row in rows if row is not None)
        exact = torch.promote_types(like.dtype, torch.float32)
        found = []
        for item in fields(cls):
            # Filled up with zeros, a direction adds nothing.
            inner = like.shape[-1:] if item.name == "units" else ()
            whole = torch.zeros(len(rows), count, *inner, dtype=exact)
            for place, row in enumerate(rows):
                if row is not None:
                    whole[place, : row.count] = getattr(row, item.name)
            found.append(whole.to(like.device))
        return cls(found[0], *(part[:, None] for part in found[1:]))


@dataclass(frozen=True, eq=False, kw_only=True)
class DirectionIntervention(Intervention):
    """Change the component of a stream vector along one direction.

    Args:
        direction: axes (d_model); its length does not matter, its unit vector is used.
        site: resid_pre, attn_out, mlp_out or resid_post.
        operator: "ablate" (remove the component); "add" and "subtract" (`alpha` unit vectors);
            "clamp" (set the component to `alpha`); "affine" (the same, where `alpha` is the
            component of a mean, as of benign states); "bound" (bring it into `low` to `high`).
        alpha: in the units of the stream.
        low, high: the range of "bound"; None leaves an end open.
        share: how much of the way the component goes: 1 is all, 0 changes nothing; not of "add"
            and "subtract".
    """

    KIND = "direction"
    OPERATORS = ("ablate", "add", "subtract", "clamp", "affine", "bound")
    SITES = STREAM_SITES

    direction: torch.Tensor
    site: str = "resid_post"
    alpha: float = 0.0
    low: float | None = None
    high: float | None = None
    share: float = 1.0

    @property
    def at(self) -> str:
        """The site that is changed."""
        return self.site

    def check(self, anatomy: Anatomy) -> None:
        """See `Intervention.check`."""
        super().check(anatomy)
        shaped("direction", self.direction, (anatomy.d_model,))
        if not float(self.direction.norm()) > 0.0:
            raise ConfigError("direction is the zero vector.", fix="Give a vector with a length.")
        for name in ("alpha", "low", "high", "share"):
            finite(name, getattr(self, name))
        moves = self.operator in ("add", "subtract")
        if moves and self.share != 1.0:
            raise ConfigError(
                f"share does not belong to the operator {self.operator}.", fix="Change alpha."
            )
        ends = [end for end in (self.low, self.high) if end is not None]
        if (self.operator == "bound") != bool(ends):
            says = "needs low or high" if not ends else "takes neither low nor high"
            raise ConfigError(
                f"The operator {self.operator} {says}.", fix="They are the range of bound."
            )
        if len(ends) == 2 and ends[0] > ends[1]:
            raise ConfigError(f"low is {ends[0]:g}, above high at {ends[1]:g}.", fix="Swap them.")

    @property
    def lines(self) -> Lines:
        """The change as one line."""
        wide = self.direction.double()
        target = self.alpha if self.operator in ("clamp", "affine") else 0.0
        low, high, share, shift = target, target, self.share, 0.0
        if self.operator == "bound":
            low = -math.inf if self.low is None else self.low
            high = math.inf if self.high is None else self.high
        elif self.operator in ("add", "subtract"):
            share, shift = 0.0, self.alpha if self.operator == "add" else -self.alpha
        one = (torch.tensor([x], dtype=torch.float64) for x in (share, low, high, shift))
        return Lines((wide / wide.norm())[None], *one)

    def change(self, anatomy: Anatomy) -> Change:
        """See `Intervention.change`."""
        return self.lines


@dataclass(frozen=True, eq=False, kw_only=True)
class SubspaceIntervention(Intervention):
    """Change what a stream vector holds in the subspace that several directions span.

    Args:
        basis: axes (direction, d_model); made orthonormal, so neither lengths nor angles matter.
        site: resid_pre, attn_out, mlp_out or resid_post.
        operator: "ablate" (remove the part in the subspace); "affine" (put the part of `mean` in
            its place).
        mean: of "affine": a point, as the mean of benign states; axes (d_model).
        share: how much of the way it goes: 1 is all, 0 changes nothing.
    """

    KIND = "subspace"
    OPERATORS = ("ablate", "affine")
    SITES = STREAM_SITES

    basis: torch.Tensor
    site: str = "resid_post"
    mean: torch.Tensor | None = None
    share: float = 1.0

    @property
    def at(self) -> str:
        """The site that is changed."""
        return self.site

    def check(self, anatomy: Anatomy) -> None:
        """See `Intervention.check`."""
        super().check(anatomy)
        rows = len(self.basis) if self.basis.ndim == 2 else 1
        shaped("basis", self.basis, (max(rows, 1), anatomy.d_model))
        if not bool((self.basis.norm(dim=1) > 0).all()):
            raise ConfigError("basis holds a zero vector.", fix="Leave it out.")
        if self.operator == "affine":
            shaped("mean", self.mean, (anatomy.d_model,))
        elif self.mean is not None:
            raise ConfigError(
                f"mean does not belong to the operator {self.operator}.",
                fix="Leave it out, or use the operator affine.",
            )
        finite("share", self.share)

    @property
    def lines(self) -> Lines:
        """The change as one line per dimension of the subspace."""
        units = orthonormal(self.basis)
        target = torch.zeros(len(units), dtype=torch.float64)
        if self.mean is not None:
            target = units @ self.mean.to(units)
        share = torch.full((len(units),), self.share, dtype=torch.float64)
        return Lines(units, share, target, target, torch.zeros_like(target))

    def change(self, anatomy: Anatomy) -> Change:
        """See `Intervention.change`."""
        return self.lines


def orthonormal(basis: torch.Tensor) -> torch.Tensor:
    """Return an orthonormal basis of the same span; rows that are orthonormal stay as they are.

    Args:
        basis: axes (direction, d_model).

    Returns: float64, axes (dimension, d_model), fewer rows where some depend on others.
    """
    wide = basis.double()
    gram = wide @ wide.mT
    if bool(torch.allclose(gram, torch.eye(len(wide)).to(gram), rtol=0.0, atol=1e-12)):
        return wide
    # Lengths do not matter, so no direction may look small beside a long one.
    _, sizes, rows = torch.linalg.svd(wide / wide.norm(dim=1, keepdim=True), full_matrices=False)
    kept: torch.Tensor = rows[sizes > _DEPENDENT * sizes[0]]
    return kept
