"""How a direction comes about: what every block adds along it, and how it is carried on.

Where harmful and benign prompts part along a direction, some attention or MLP wrote the
difference, and others take part of it back. Both are read off one forward pass per prompt: the
component of the stream at a depth is that of the embeddings plus what every block below added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from theodolite.data.prompts import HARMFUL, Prompt
from theodolite.engine import capture
from theodolite.errors import DataError, NumericsError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.heads.stability import Specificity, specificity
from theodolite.mechanism.residual_space.style_cells import Floats
from theodolite.mechanism.states import encode_for_states
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.engine.activations import Activations
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

WRITERS: Final = ("attn_out", "mlp_out")
PROMOTES, SUPPRESSES, NEITHER = "promotes", "suppresses", "not shown"
# Relative error up to which what the blocks add is the stream: float32 sums over 60 parts.
_FITS: Final = 1e-3


@dataclass(frozen=True, eq=False)
class Dynamics:
    """What each block adds along some directions, harmful less benign prompts.

    Args:
        names, hidden_indices: of the directions.
        stream: the gap between the classes along each direction after every block, embeddings
            first; axes (direction, hidden_index).
        added: what attention and MLP of every block add to it, axes (direction, layer, writer).
        error: the largest relative error of the sum of all parts against the stream.
        position: where prompts were read.
    """

    names: tuple[str, ...]
    hidden_indices: tuple[int, ...]
    stream: Specificity
    added: Specificity
    error: float
    position: str

    def role(self, direction: int, layer: int, writer: int) -> str:
        """Return what a writer does to the gap, all writers and directions considered."""
        place = (direction, layer, writer)
        if self.added.band_low[place] > 0:
            return PROMOTES
        return SUPPRESSES if self.added.band_high[place] < 0 else NEITHER

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per direction, layer and writer."""
        found = self.added
        return [
            {
                "direction": name,
                "hidden_index": self.hidden_indices[d],
                "layer": layer,
                "site": site,
                "added": float(found.mean[d, layer, w]),
                "low": _number(found.low[d, layer, w]),
                "high": _number(found.high[d, layer, w]),
                "role": self.role(d, layer, w),
                "stream_after": float(self.stream.mean[d, layer + 1]),
            }
            for d, name in enumerate(self.names)
            for layer in range(found.mean.shape[1])
            for w, site in enumerate(WRITERS)
        ]

    def writers(self, direction: int, role: str) -> list[str]:
        """Return the writers of a role as `attn 12`, the strongest first."""
        found = self.added.mean[direction]
        places = [
            (layer, w)
            for layer in range(found.shape[0])
            for w in range(len(WRITERS))
            if self.role(direction, layer, w) == role
        ]
        places.sort(key=lambda place: -abs(found[place]))
        return [f"{WRITERS[w].removesuffix('_out')} {layer}" for layer, w in places]


def dynamics(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    directions: Sequence[Direction],
    goals: Sequence[str],
    *,
    position: str = "prompt_last",
    template: str = "auto",
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Dynamics:
    """Measure what attention and MLP of every block add to a class gap along directions.

    Source: ours; the additive identity is that of every pre-norm decoder.

    Args:
        model: an open local model; active interventions act.
        prompts: labelled harmful and benign.
        directions: of one model, at any depth; the whole depth is looked at along each.
        goals: the group of each prompt.
        position: where prompts are read.
        template: as for `read_states`.
        seed: of the resamples.
        journal, progress: as for `read_states`.

    Returns: gaps with intervals clustered by goal, and a band over all writers and directions.

    Raises:
        DataError: no directions, or one class only.
        NumericsError: what the blocks add is not the stream.

    Note: correlational. A block that writes along a direction may not be the one that decides.
    """
    if not directions:
        raise DataError("There is no direction to follow.", fix="Give at least one.")
    harmful = np.array([prompt.label == HARMFUL for prompt in prompts])
    if harmful.all() or not harmful.any():
        raise DataError("The prompts are of one class.", fix="Give harmful and benign ones.")
    encoded = encode_for_states(model, prompts, template=template)
    options: dict[str, Any] = {"positions": (position,), "journal": journal}
    first = capture(model, encoded, sites=("resid_pre",), layers=(0,), **options)
    rest = capture(model, encoded, sites=("resid_post", *WRITERS), progress=progress, **options)
    vectors = np.stack([direction.vector for direction in directions])
    stream = np.concatenate(
        [_along(first, "resid_pre", vectors), _along(rest, "resid_post", vectors)], axis=2
    )
    added = np.stack([_along(rest, site, vectors) for site in WRITERS], axis=3)
    sides: dict[str, Any] = {
        "clusters": [g for g, h in zip(goals, harmful, strict=True) if h],
        "benign_clusters": [g for g, h in zip(goals, harmful, strict=True) if not h],
    }
    return Dynamics(
        names=tuple(direction.name for direction in directions),
        hidden_indices=tuple(direction.hidden_index for direction in directions),
        stream=specificity(
            stream[harmful], stream[~harmful], seed=item_seed(seed, "stream"), **sides
        ),
        added=specificity(added[harmful], added[~harmful], seed=item_seed(seed, "added"), **sides),
        error=check_sum(stream, added),
        position=position,
    )


def check_sum(stream: Floats, added: Floats) -> float:
    """Return how far the embeddings and all that is added are from the stream.

    Args:
        stream: components, axes (prompt, direction, hidden_index).
        added: axes (prompt, direction, layer, writer).

    Raises: NumericsError: they do not add up, so parts would be misread.
    """
    total = stream[:, :, :1] + added.sum(3).cumsum(2)
    size = max(float(np.abs(stream).max()), 1e-30)
    error = float(np.abs(total - stream[:, :, 1:]).max()) / size
    if not error <= _FITS:
        raise NumericsError(
            f"What the blocks add along the directions is not the stream (off by {error:.1e}).",
            fix="Report the model's architecture: its parts are misread.",
        )
    return error


def _along(seen: Activations, site: str, vectors: Floats) -> Floats:
    """Return components along directions, float64, axes (prompt, direction, layer)."""
    values = seen.get(site).double().numpy()[:, :, 0]
    return np.asarray(np.einsum("pld,vd->pvl", values, vectors))


@dataclass(frozen=True, eq=False)
class Carried:
    """How the components of one depth stand to those of the next.

    Args:
        hidden_indices: of the first of each two depths.
        cosines: absolute cosines, axes (earlier component, later component), one per two depths.
        chance: the mean absolute cosine of random directions.
    """

    hidden_indices: tuple[int, ...]
    cosines: tuple[Floats, ...]
    chance: float

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per component, with the one of the next depth that is most alike."""
        return [
            {
                "direction": f"L{depth}-C{i + 1}",
                "hidden_index": depth,
                "next": f"L{depth + 1}-C{int(np.argmax(row)) + 1}",
                "cosine": float(row.max()),
                "cosine_chance": self.chance,
            }
            for depth, table in zip(self.hidden_indices, self.cosines, strict=True)
            for i, row in enumerate(table)
        ]


def carried(bases: Mapping[int, Floats]) -> Carried:
    """Compare the components of every two neighbouring depths.

    Args:
        bases: unit components by hidden_index, axes (component, d_model); empty ones are left out.
    """
    depths = [h for h in sorted(bases) if len(bases[h]) and len(bases.get(h + 1, ()))]
    width = next((basis.shape[1] for basis in bases.values() if len(basis)), 1)
    return Carried(
        hidden_indices=tuple(depths),
        cosines=tuple(np.abs(bases[h] @ bases[h + 1].T) for h in depths),
        chance=float(np.sqrt(2 / (np.pi * width))),
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
