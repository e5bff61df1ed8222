"""What a space says of itself: measurements, and its form on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.mechanism.residual_space.layer import LayerSpace
from theodolite.mechanism.residual_space.shift import RIDGES, MapQuality
from theodolite.mechanism.residual_space.spectrum import Spectrum

if TYPE_CHECKING:
    from theodolite.mechanism.residual_space.space import ShiftSpace
    from theodolite.runs.run import Run

_QUALITY = ("error", "constant", "spread", "size")
_FACTS = (
    "preset", "basis", "ridge", "center", "position", "kind", "n", "n_goals", "base", "aligned",
    "model", "key", "warnings",
)  # fmt: skip


def measured(space: ShiftSpace, layer: LayerSpace, seed: int) -> list[Measurement]:
    """Return the figures of one layer."""
    start = f"{space.kind.replace(' ', '_')}_space/hidden_index_{layer.hidden_index}"
    common: dict[str, Any] = {"n": space.n, "n_clusters": space.n_goals}
    rank = layer.effective_rank(0.9)
    found = []
    if rank is None:
        why = f"more than the {len(layer.sigma)} directions computed hold 90 % of the energy"
        found.append(not_measured(f"{start}/effective_rank", "directions", why, n=space.n))
    else:
        why = "no interval: resampled prompts repeat rows, which lowers a rank; no floor is known"
        if layer.empty:
            why = "nothing stands above the rounding of the states; " + why
        figure = Measurement(
            f"{start}/effective_rank", float(rank), "directions", reason=why, **common
        )
        found.append(figure)
    if len(layer.components):
        share = float(layer.sigma[0] ** 2 / layer.spectrum.total)
        even = 1 / min(space.n, len(layer.mean_shift))
        figure = Measurement(
            f"{start}/first_share",
            share,
            "share",
            range=(0.0, 1.0),
            floor=Floor("equal energy in every direction", even),
            reason="no interval: resampled prompts repeat rows, which raises the share",
            **common,
        )
        found.append(figure)
    if layer.quality is not None:
        found.append(layer.quality.measurement(f"{start}/map_r2", seed=seed))
    return found


def save(space: ShiftSpace, run: Run, name: str) -> None:
    """Write tensors and facts of a space."""
    tensors: dict[str, NDArray[Any]] = {}
    rows = []
    facts = {key: getattr(space, key) for key in _FACTS}
    for layer in space.layers:
        start = f"{layer.hidden_index}/"
        parts = {
            "mean_shift": layer.mean_shift,
            "components": layer.components,
            "sigma": layer.spectrum.sigma,
            "stability": layer.stability,
            "subspaces": layer.subspaces,
        }
        if layer.read is not None:
            parts["read"] = layer.read
        if layer.quality is not None:
            parts |= {key: getattr(layer.quality, key) for key in _QUALITY}
        tensors |= {start + key: value for key, value in parts.items()}
        rows.append(
            {
                **layer.facts(),
                "complete": layer.spectrum.complete,
                "goals": None if layer.quality is None else list(layer.quality.goals),
                **{key: list(v) if isinstance(v, tuple) else v for key, v in facts.items()},
                "ridge": str(space.ridge),
            }
        )
    run.save_tensors(name, tensors)
    run.save_table(name, rows)


def load(run: Run, name: str) -> tuple[tuple[LayerSpace, ...], dict[str, Any]]:
    """Return the layers and the facts of a saved space."""
    tensors = {key: np.asarray(value) for key, value in run.load_tensors(name).items()}
    rows = run.load_table(name)
    layers = tuple(_layer(row, tensors, int(row["n"])) for row in rows)
    facts = {key: rows[0][key] for key in _FACTS}
    ridge = facts["ridge"] if facts["ridge"] in RIDGES else float(facts["ridge"])
    return layers, facts | {"ridge": ridge, "warnings": tuple(facts["warnings"])}


def _layer(row: dict[str, Any], tensors: dict[str, NDArray[Any]], n: int) -> LayerSpace:
    start = f"{row['hidden_index']}/"
    own = {key.removeprefix(start): v for key, v in tensors.items() if key.startswith(start)}
    quality = None
    if row["goals"] is not None:
        numbers = {key: own[key] for key in _QUALITY}
        width = len(own["mean_shift"])
        quality = MapQuality(goals=tuple(row["goals"]), width=width, **numbers)
    found = Spectrum(own["sigma"], own["components"], row["total"], n, row["complete"])
    return LayerSpace(
        hidden_index=row["hidden_index"],
        mean_shift=own["mean_shift"],
        spectrum=found,
        empty=row["empty"],
        read=own.get("read"),
        quality=quality,
        penalty=row["penalty"],
        stability=own["stability"],
        subspaces=own.get("subspaces", np.zeros(0)),
    )
