"""One layer of a space: what training wrote into the stream at one depth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.mechanism.directions.direction import component_name
from theodolite.mechanism.residual_space.shift import MapQuality
from theodolite.mechanism.residual_space.spectrum import TAUS, Spectrum
from theodolite.mechanism.residual_space.stability import IDENTIFIED, NOT_IDENTIFIED

Floats = NDArray[np.float64]
SUBSPACES = (2, 5, 10)  # leading components whose span is judged as a whole


@dataclass(frozen=True, eq=False)
class LayerSpace:
    """The space at one hidden_index.

    Args:
        hidden_index: 0 is the embeddings, l the stream after block l - 1.
        mean_shift: axis (d_model).
        spectrum: components (unit rows, oriented by the sign rule) and singular values.
        empty: nothing stands above the rounding of the states: no component, rank 0.
        read: input-side partners of the components, axes (component, d_model); None where too few
            prompts could tell them (see `ResidualSpace.fit`).
        quality: of the map on held-out goals; None where no map was fitted.
        penalty: the map's ridge penalty.
        stability: mean |cosine| under resampled goals of the leading components, axis (component).
        subspaces: mean squared cosine under resampled goals of the span of the first k, axis (k).
    """

    hidden_index: int
    mean_shift: Floats
    spectrum: Spectrum
    empty: bool
    read: Floats | None = None
    quality: MapQuality | None = None
    penalty: float | None = None
    stability: Floats = field(default_factory=lambda: np.zeros(0))
    subspaces: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def components(self) -> Floats:
        """Unit rows, axes (component, d_model); the first is C1."""
        return self.spectrum.components

    @property
    def sigma(self) -> Floats:
        """Singular value of each component."""
        return self.spectrum.sigma[: len(self.components)]

    @property
    def energy(self) -> Floats:
        """`sigma^2 / (n - 1)` of each component."""
        return self.spectrum.energy[: len(self.components)]

    @property
    def gaps(self) -> Floats:
        """How far each component stands above the next, as a share of its singular value."""
        return self.spectrum.gaps[: len(self.components)]

    def component(self, number: int) -> Floats:
        """Return a component, counted from 1; axis (d_model).

        Raises: ConfigError: there is no such component.
        """
        if not 1 <= number <= len(self.components):
            name = component_name(self.hidden_index, number)
            raise ConfigError(
                f"There is no {name}: the space at hidden_index {self.hidden_index} has "
                f"{len(self.components)} components.",
                fix=f"Use C1 to C{len(self.components)}."
                if len(self.components)
                else "It is empty: both models give the same states there.",
            )
        return np.asarray(self.components[number - 1])

    def effective_rank(self, tau: float = 0.9) -> int | None:
        """Return how many components hold a share `tau` of the energy; 0 where it is empty."""
        return 0 if self.empty else self.spectrum.effective_rank(tau)

    def identified(self, number: int) -> bool | None:
        """Return whether a component is individually identified; None where that is not known."""
        if number > len(self.stability) or np.isnan(self.stability[number - 1]):
            return None
        return bool(self.stability[number - 1] >= IDENTIFIED)

    def facts(self) -> dict[str, Any]:
        """Return one row about the layer, for tables."""
        quality = self.quality
        ranks = {f"rank_{tau}": self.effective_rank(tau) for tau in TAUS}
        return {
            "hidden_index": self.hidden_index,
            **ranks,
            "entropy_rank": 0.0 if self.empty else self.spectrum.entropy_rank,
            "participation_ratio": 0.0 if self.empty else self.spectrum.participation_ratio,
            "components": len(self.components),
            "total": self.spectrum.total,
            "mean_shift_norm": float(np.linalg.norm(self.mean_shift)),
            "r2": None if quality is None else quality.r2,
            "constant_r2": None if quality is None else quality.constant_r2,
            "unexplained": None if quality is None else quality.unexplained,
            "paper_ratio": None if quality is None else quality.paper_ratio,
            "penalty": self.penalty,
            **self._subspaces(),
            "reads_shown": self.read is not None,
            "empty": self.empty,
        }

    def _subspaces(self) -> dict[str, float | None]:
        """Return how much of the leading subspaces other goals give again, and chance does."""
        width = len(self.mean_shift)
        found: dict[str, float | None] = {}
        for k in SUBSPACES:
            known = k <= len(self.subspaces)
            found[f"subspace_{k}_stability"] = _number(self.subspaces[k - 1]) if known else None
            found[f"subspace_{k}_chance"] = k / width if known else None
        return found

    def rows(self, first: int) -> list[dict[str, Any]]:
        """Return a row for each of the first components."""
        total = self.spectrum.total
        return [
            {
                "hidden_index": self.hidden_index,
                "component": k + 1,
                "name": component_name(self.hidden_index, k + 1),
                "sigma": float(self.sigma[k]),
                "energy": float(self.energy[k]),
                "share": float(self.sigma[k] ** 2 / total) if total > 0 else 0.0,
                "gap": float(self.gaps[k]),
                "stability": _number(self.stability[k]) if k < len(self.stability) else None,
                "note": NOT_IDENTIFIED if self.identified(k + 1) is False else "",
            }
            for k in range(min(first, len(self.components)))
        ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
