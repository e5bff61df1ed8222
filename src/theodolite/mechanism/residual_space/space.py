"""The residual space: what training added to the stream of each layer, direction by direction.

Source: arXiv 2502.09674. Its code decomposes the shift uncentred, so that the first direction is
often the mean shift; the default here takes the mean off and keeps it apart. Names count as the
paper does: `L14-C6` is the sixth component at hidden_index 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.directions.direction import Direction, component_name, parse_component
from theodolite.mechanism.residual_space import space_file
from theodolite.mechanism.residual_space.collect import LEAST_PROMPTS, RESIDUAL, PairedStates
from theodolite.mechanism.residual_space.layer import LayerSpace
from theodolite.mechanism.residual_space.shift import (
    MapQuality,
    Ridge,
    ShiftMap,
    check_ridge,
    chosen_penalty,
    fit_shift_map,
    held_out_errors,
)
from theodolite.mechanism.residual_space.spectrum import KEPT, Spectrum, spectrum
from theodolite.mechanism.residual_space.stability import RESAMPLES, Stability, stability
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.runs.run import Run

Floats = NDArray[np.float64]
VERSION = 1
BASES = ("shift", "shift_centered", "fitted", "map_out", "map_in")
SIGN_RULE = "the mean shift of harmful prompts is positive; else the largest coordinate"
# basis, ridge, center
PRESETS: dict[str, tuple[str, Ridge, bool]] = {
    "default": ("shift_centered", "cv", True),
    "reference": ("shift", "min_norm", False),
}
# A shift below this share of the states' length is the rounding of float32 forward passes.
_ROUNDING = 1e-6
_ENOUGH_R2, _ENOUGH_ROWS = 0.5, 2


@dataclass(frozen=True, eq=False)
class ShiftSpace:
    """Directions of a shift at every depth; see `ResidualSpace` and `ContrastSpace`.

    Args:
        layers: one per hidden_index, ascending.
        preset, basis, ridge, center: how it was fitted.
        position: the prompt position it was fitted at.
        kind: "residual", or the contrast it was fitted on.
        n, n_goals: prompts and goals it was fitted on.
        base, aligned: names of the models; `model` is the fingerprint of the aligned one.
        key: content key of the states and the options.
        warnings: one sentence each.
    """

    layers: tuple[LayerSpace, ...]
    preset: str
    basis: str
    ridge: Ridge | None
    center: bool
    position: str
    kind: str
    n: int
    n_goals: int
    base: str
    aligned: str
    model: str
    key: str
    warnings: tuple[str, ...] = ()
    of_training: ClassVar[bool] = True

    @classmethod
    def fit(
        cls,
        paired: PairedStates,
        *,
        preset: str = "default",
        basis: str | None = None,
        ridge: Ridge | None = None,
        center: bool | None = None,
        position: str | None = None,
        kept: int = KEPT,
        resamples: int = RESAMPLES,
        quality: bool = True,
        seed: int = 0,
    ) -> Self:
        """Fit the space of a shift.

        Args:
            paired: the rows to fit on: `collect_pair(...).part("train")`, so that later figures
                speak of goals it has not seen.
            preset: "default" (centred shift, cross-validated ridge map) or "reference" (uncentred
                shift, minimum-norm map), as the paper's code has it.
            basis: "shift" or "shift_centered" (right singular vectors of the shift), "fitted" (of
                the shift that the map predicts), "map_out" or "map_in" (write or read directions
                of the map).
            ridge: see `fit_shift_map`.
            center: the map has an intercept.
            position: where it is fitted (default: the first position read).
            kept: most components kept per layer; singular values are all kept.
            resamples: of goals, for the components' stability; 0 leaves it out.
            quality: predict the shift of held-out goals by the map; without it no map is fitted
                unless the basis needs one.
            seed: of folds and resamples.

        Raises:
            ConfigError: an option is unknown, or does not fit the others; or the shift is of
                another kind than the space.
            DataError: fewer than 10 rows, or goals that cannot be held out.

        Note: read directions are kept where rows are at least twice the coordinates or the map
            predicts more than half of the held-out variance: with fewer, they are mostly chance.
        """
        options = _resolved(preset, basis, ridge, center)
        cls._check(paired)
        place = paired.positions[0] if position is None else position
        plan = _Plan(*options, place, kept, resamples, quality, seed)
        layers = tuple(plan.layer(paired, h) for h in paired.hidden_indices)
        return cls(
            layers=layers,
            preset=preset,
            basis=plan.basis,
            ridge=plan.ridge,
            center=plan.center,
            position=place,
            kind=paired.kind,
            n=len(paired),
            n_goals=len(set(paired.goals)),
            base=paired.base.model,
            aligned=paired.aligned.model,
            model=paired.aligned.fingerprint,
            key=content_key(
                "space", VERSION, paired.key, plan.basis, plan.ridge, plan.center, place, kept, seed
            ),
            warnings=_warned(layers, paired, plan.basis),
        )

    @classmethod
    def _check(cls, paired: PairedStates) -> None:
        """Refuse the states of another kind of shift, and too few of them."""
        if (paired.kind == RESIDUAL) != cls.of_training:
            raise ConfigError(
                f"A {cls.__name__} was asked of a shift that is '{paired.kind}'.",
                fix="Fit a ResidualSpace to a pair of models, a ContrastSpace to one model.",
            )
        if len(paired) < LEAST_PROMPTS:
            raise DataError(
                f"There are {len(paired)} prompts, and a space needs {LEAST_PROMPTS}.",
                fix="Give more prompts.",
            )

    def __getitem__(self, name: str) -> Direction:
        """Return a component by its name, like `space["L14-C6"]`.

        Raises: ConfigError: there is no such layer or component.
        """
        hidden_index, number = parse_component(name)
        return Direction(
            name=component_name(hidden_index, number),
            hidden_index=hidden_index,
            vector=self.layer(hidden_index).component(number),
            method=f"{self.kind} {self.basis}",
            position=self.position,
            model=self.model,
        )

    @property
    def what(self) -> str:
        """What was decomposed, in words."""
        return "what training changed in the stream"

    @property
    def hidden_indices(self) -> tuple[int, ...]:
        """The depths it was fitted at."""
        return tuple(layer.hidden_index for layer in self.layers)

    def layer(self, hidden_index: int) -> LayerSpace:
        """Return the space at one depth.

        Raises: ConfigError: it was not fitted there.
        """
        for layer in self.layers:
            if layer.hidden_index == hidden_index:
                return layer
        raise ConfigError(
            f"The space of {shown(self.aligned)} has no hidden_index {hidden_index}.",
            fix=f"There is {', '.join(map(str, self.hidden_indices))}.",
        )

    def directions(self, hidden_index: int, first: int = 10) -> tuple[Direction, ...]:
        """Return the leading components at one depth; fewer where there are fewer."""
        count = min(first, len(self.layer(hidden_index).components))
        return tuple(self[component_name(hidden_index, k + 1)] for k in range(count))

    def effective_rank(self, tau: float = 0.9) -> dict[int, int | None]:
        """Return the effective rank of each hidden_index."""
        return {layer.hidden_index: layer.effective_rank(tau) for layer in self.layers}

    def measurements(self, *, seed: int = 0) -> list[Measurement]:
        """Return ranks, the first component's share, and the map's quality, layer by layer."""
        return [m for layer in self.layers for m in space_file.measured(self, layer, seed)]

    def frame(self, first: int = 10) -> list[dict[str, Any]]:
        """Return a row for each of the leading components of every layer."""
        return [row for layer in self.layers for row in layer.rows(first)]

    def layer_frame(self) -> list[dict[str, Any]]:
        """Return a row for each layer: ranks, energy, and the map's quality."""
        return [layer.facts() for layer in self.layers]

    def save(self, run: Run, name: str = "space") -> None:
        """Write tensors (safetensors) and facts (a table); no prompt's words are in them."""
        space_file.save(self, run, name)

    @classmethod
    def load(cls, run: Run, name: str = "space") -> Self:
        """Read what `save` wrote."""
        layers, facts = space_file.load(run, name)
        return cls(layers=layers, **facts)


class ResidualSpace(ShiftSpace):
    """What training added to the stream: the space of a model before and after."""


@dataclass(frozen=True)
class _Plan:
    """Resolved options of a fit."""

    basis: str
    ridge: Ridge
    center: bool
    position: str
    kept: int
    resamples: int
    quality: bool
    seed: int

    def layer(self, paired: PairedStates, hidden_index: int) -> LayerSpace:
        """Fit one layer."""
        x = paired.base.at(hidden_index, self.position)
        d = paired.shift(hidden_index, self.position)
        mean = d.mean(0)
        quality, penalty = self._quality(x, d, paired.goals)
        rows = self._rows(x, d, penalty)
        found = self._spectrum(rows, x, d, penalty)
        rounding = _ROUNDING * float(np.linalg.norm(paired.aligned.at(hidden_index, self.position)))
        if float(np.linalg.norm(d if self.basis == "shift" else d - mean)) <= rounding:
            nothing = np.zeros((0, x.shape[1]))
            found = replace(found, components=nothing)
            return LayerSpace(hidden_index, mean, found, True, None, quality, penalty)
        found = replace(found, components=_oriented(found, d[paired.harmful]))
        steady = Stability(np.zeros(0), np.zeros(0))
        if self.resamples and rows is not None:
            steady = stability(
                rows,
                found,
                paired.goals,
                center=self.basis == "shift_centered",
                resamples=self.resamples,
                seed=self.seed,
            )
        read = None
        if penalty is not None and _tells_reads(quality, x):
            components = found.components
            own = self.basis == "map_in"
            read = components if own else self._map(x, d, penalty).reads(components)
        return LayerSpace(hidden_index, mean, found, False, read, quality, penalty, *steady)

    def _quality(
        self, x: Floats, d: Floats, goals: Sequence[str]
    ) -> tuple[MapQuality | None, float | None]:
        """Return the map's quality on held-out goals, and the penalty for all of them."""
        if not self.quality and self.basis.startswith("shift"):
            return None, None
        quality, place = held_out_errors(
            x, d, ridge=self.ridge, center=self.center, goals=goals, seed=self.seed
        )
        return quality, chosen_penalty(x, d, self.ridge, place, center=self.center)

    def _map(self, x: Floats, d: Floats, penalty: float) -> ShiftMap:
        return fit_shift_map(x, d, ridge=penalty or "min_norm", center=self.center)

    def _rows(self, x: Floats, d: Floats, penalty: float | None) -> Floats | None:
        """Return the rows whose right singular vectors are wanted; None where a map's are."""
        if self.basis == "fitted" and penalty is not None:
            fitted = self._map(x, d, penalty)
            return np.asarray(fitted.predict(x) - fitted.mean_shift)
        return d if self.basis.startswith("shift") else None

    def _spectrum(
        self, rows: Floats | None, x: Floats, d: Floats, penalty: float | None
    ) -> Spectrum:
        if rows is not None:
            own = rows - rows.mean(0) if self.basis == "shift_centered" else rows
            return spectrum(own, kept=self.kept, seed=self.seed)
        read, sigma, write = self._map(x, d, penalty or 0.0).singular(self.kept)
        components = write if self.basis == "map_out" else read
        return Spectrum(sigma, components, float((sigma**2).sum()), len(x))


def _oriented(found: Spectrum, harmful: Floats) -> Floats:
    """Return components turned by the sign rule; axes (component, d_model)."""
    components, sigma = found.components, found.sigma[: len(found.components)]
    mean = harmful.mean(0) if len(harmful) else np.zeros(components.shape[1])
    sides = components @ mean
    largest = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], axis=1)[:, 0]
    signs = np.where(np.abs(sides) < 1e-6 * sigma, largest, sides)
    return np.asarray(components * np.where(signs < 0, -1.0, 1.0)[:, None])


def _tells_reads(quality: MapQuality | None, x: Floats) -> bool:
    enough = len(x) >= _ENOUGH_ROWS * x.shape[1]
    return enough or (quality is not None and (quality.r2 or 0.0) > _ENOUGH_R2)


def _resolved(
    preset: str, basis: str | None, ridge: Ridge | None, center: bool | None
) -> tuple[str, Ridge, bool]:
    """Return basis, ridge and center of a fit.

    Raises: ConfigError: an option is unknown, or basis and center contradict each other.
    """
    if preset not in PRESETS:
        raise ConfigError(f"There is no preset {shown(preset)}.", fix=did_you_mean(preset, PRESETS))
    own_basis, own_ridge, own_center = PRESETS[preset]
    if center is None:
        center = own_center if basis is None else basis != "shift"
    if basis is None:
        basis = own_basis if center == own_center else ("shift_centered" if center else "shift")
    if basis not in BASES:
        raise ConfigError(f"There is no basis {shown(basis)}.", fix=did_you_mean(basis, BASES))
    if basis in ("shift", "shift_centered") and center != (basis == "shift_centered"):
        raise ConfigError(
            f"The basis '{basis}' and center={center} contradict each other.",
            fix="Leave one of them out.",
        )
    chosen = own_ridge if ridge is None else ridge
    check_ridge(chosen)
    return basis, chosen, center


def _warned(layers: Sequence[LayerSpace], paired: PairedStates, basis: str) -> tuple[str, ...]:
    """Return what the reader must know."""
    found = []
    empty = [layer.hidden_index for layer in layers if layer.empty]
    if len(empty) == len(layers):
        found.append(
            "The two models give the same states (or shift all prompts alike), so the space is "
            "empty."
        )
    hidden = [x.hidden_index for x in layers if x.read is None and x.penalty is not None]
    hidden = [h for h in hidden if h not in empty]
    if hidden:
        done = "mostly chance" if basis == "map_in" else "hidden"
        found.append(
            f"Read directions are {done} at {len(hidden)} of {len(layers)} depths: "
            f"{len(paired)} prompts are too few to tell them."
        )
    return tuple(found)


__all__ = ["BASES", "PRESETS", "LayerSpace", "ResidualSpace", "ShiftSpace"]
