"""What stands beside the curve: other languages, layers and models, causality, and the detector.

Each function returns what it adds to a result, by field, for `extended`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import DataError
from theodolite.mechanism.detector.detector import train_detector
from theodolite.mechanism.probes.causality import probe_causality, probe_directions
from theodolite.mechanism.probes.fitting import probe
from theodolite.mechanism.probes.report import frame, over_base
from theodolite.mechanism.probes.transfer import by_language, layer_matrix, transfer_matrix

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.items import Items
    from theodolite.mechanism.lens.token_classes import TokenClasses
    from theodolite.mechanism.probes.result import ProbeResult
    from theodolite.mechanism.reader import Reader
    from theodolite.mechanism.states import States

DEPTHS: Final = 5  # at which directions are taken out and put in, evenly spread


@dataclass(frozen=True, eq=False)
class Placed:
    """Items, their states, and the probe and position that asides speak of."""

    states: States
    items: Items
    position: str
    probe: str
    seed: int

    @property
    def settings(self) -> dict[str, Any]:
        """Position, probe and seed as keyword arguments."""
        return {"position": self.position, "probe": self.probe, "seed": self.seed}


def between_languages(place: Placed) -> dict[str, Any]:
    """Return what probes of one language are worth in another, or why that is left out."""
    if len({tag for tag in place.items.languages if tag}) < 2:
        return {}
    try:
        sets = by_language(place.states, place.items)
        matrix = transfer_matrix(*sets, **place.settings)
    except DataError as error:
        return {"how": [f"Transfer between languages was left out: {error.message}"]}
    return {"tables": {"probes_by_language": matrix.frame()}}


def between_layers(place: Placed) -> dict[str, Any]:
    """Return what each layer's probe is worth at every other layer."""
    matrix = layer_matrix(place.states, place.items, **place.settings)
    return {"tables": {"probes_by_layer": matrix.frame()}, "figures": [matrix.figure()]}


def beside_base(
    place: Placed, base: States, own: ProbeResult, how: dict[str, Any]
) -> dict[str, Any]:
    """Probe a second model on the same splits, and each model with the other's probes.

    Args:
        base: the second model's states of the same items.
        how: the settings that the first model was probed with.
    """
    result = probe(base, place.items, **how)
    both = {"model": place.states, "base": base}
    between = transfer_matrix(both, dict.fromkeys(both, place.items), **place.settings)
    gain = over_base(own, result)
    return {
        "measurements": [gain],
        "labels": {gain.name: "told apart, minus the second model"},
        "tables": {"probes_base": frame(result), "probes_between_models": between.frame()},
        "how": [f"The second model's states are read with template {base.template}."],
    }


def causality(
    place: Placed, read: Reader, shown: Sequence[Sequence[Prompt]], classes: TokenClasses
) -> dict[str, Any]:
    """Take the probes' directions out of other requests, and put them in.

    Args:
        shown: harmful and benign requests; no direction is fitted on their groups.
    """
    harmful, benign = shown
    if not harmful or not benign:
        return {"how": ["Causality was left out: no request of one class is left to look at."]}
    items = place.items
    apart = {prompt.id for prompt in (*harmful, *benign)}
    groups = {g for g, p in zip(items.groups, items.prompts, strict=True) if p.id in apart}
    train = items.select([i for i, group in enumerate(items.groups) if group not in groups])
    if train.n_classes < 2:
        return {"how": ["Causality was left out: no request of one class is left to fit on."]}
    top = read.model.anatomy.n_layers
    depths = sorted({max(1, round(top * i / (DEPTHS + 1))) for i in range(1, DEPTHS + 1)})
    states = place.states.rows(train.ids)
    directions = probe_directions(
        states, train, position=place.position, hidden_indices=depths, seed=place.seed
    )
    found = probe_causality(
        read.model,
        directions,
        harmful,
        benign,
        classes,
        fitted_on=(states, train),
        position=place.position,
        template=read.template,
        seed=place.seed,
        progress=read.progress,
    )
    return {
        "measurements": found.measurements(),
        "labels": {m.name: _causal_label(m.name) for m in found.measurements()},
        "tables": {"probes_causality": found.frame()},
        "figures": [found.figure()],
    }


def _causal_label(name: str) -> str:
    """Return plain words for `causality/<what was done>/<hidden index>`."""
    _, done, index = name.split("/")
    words = {
        "removal": "lean to refusal, harmful requests without the direction",
        "addition": "lean to refusal, benign requests with the direction",
    }
    return f"{words[done]}, hidden index {index}"


def export(place: Placed, folder: Path) -> str:
    """Write the detector fitted on all items, and say so."""
    detector = train_detector(place.states, place.items, **place.settings)
    detector.save(folder)
    return (
        f"The detector was written to {folder}: hidden_index {detector.hidden_index}, "
        f"{detector.position}."
    )
