"""Benign states at the places where edits act: the mean and the range that edits go back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike

from theodolite.engine import capture
from theodolite.engine.interventions import STREAM_SITES
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.direction import Floats
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering.edits import Edit, Place

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


@dataclass(frozen=True, eq=False)
class BenignStates:
    """States of benign prompts of one model.

    Args:
        values: place -> float64, axes (prompt, d_model).
        position: the prompt position they stand at.
    """

    values: Mapping[Place, Floats] = field(repr=False)
    position: str = "prompt_last"

    def __post_init__(self) -> None:
        for place, states in self.values.items():
            if states.ndim != 2 or not len(states) or not np.isfinite(states).all():
                raise DataError(
                    f"The benign states at {place[1]} of layer {place[0]} are not finite numbers "
                    "with axes (prompt, d_model).",
                    fix="Read them again from at least one prompt.",
                )

    @classmethod
    def read(
        cls,
        model: LanguageModel,
        prompts: Sequence[Prompt],
        edits: Sequence[Edit],
        *,
        position: str = "prompt_last",
        template: str = "auto",
        journal: Journal | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """Read the states of benign prompts wherever an edit acts.

        Args:
            model: an open local model; active interventions act.
            prompts: benign requests that nothing is measured on.
            edits: those that need no benign states cost nothing.
            position: of the prompts, one that names a single token.
            template: as for `read_states`.

        Raises:
            DataError: there are no prompts, or one cannot be encoded.
            ConfigError: the position is not known.
        """
        places = {p for edit in edits if edit.needs_benign for p in edit.places(model.anatomy)}
        if not places:
            return cls({}, position)
        if not prompts:
            raise DataError("There are no benign prompts.", fix="Give at least one.")
        seen = capture(
            model,
            encode_for_states(model, prompts, template=template),
            sites=[site for site in STREAM_SITES if site in {s for _, s in places}],
            layers=sorted({layer for layer, _ in places}),
            positions=(position,),
            journal=journal,
            progress=progress,
        )
        return cls(
            {
                (layer, site): seen.get(site, layer=layer, position=position).double().numpy()
                for layer, site in sorted(places)
            },
            position,
        )

    def mean(self, place: Place) -> Floats:
        """Return the mean state, axes (d_model).

        Raises: ConfigError: the place was not read.
        """
        return np.asarray(self._at(place).mean(0))

    def range(
        self, place: Place, unit: ArrayLike, quantiles: tuple[float, float]
    ) -> tuple[float, float]:
        """Return the quantiles of the component along a unit vector.

        Raises: ConfigError: the place was not read.
        """
        low, high = np.quantile(self._at(place) @ np.asarray(unit, np.float64), quantiles)
        return float(low), float(high)

    def _at(self, place: Place) -> Floats:
        if place not in self.values:
            raise ConfigError(
                f"No benign states were read at {place[1]} of layer {place[0]}.",
                fix="Read them for all edits: BenignStates.read(model, prompts, edits).",
            )
        return self.values[place]
