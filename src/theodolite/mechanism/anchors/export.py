"""Hand the heads and the direction of a planted answer to the tools that edit a running model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from theodolite.engine.intervention_file import save_interventions
from theodolite.engine.interventions import DirectionIntervention, HeadIntervention
from theodolite.errors import DataError
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.mechanism.anchors.result import AnchorResult
    from theodolite.models.handle import LanguageModel

HEADS_FILE: Final = "anchor-heads.json"
DIRECTION_FILE: Final = "anchor-direction.json"


def head_interventions(result: AnchorResult) -> list[HeadIntervention]:
    """Return the chosen heads with their outputs put to zero, one entry per block."""
    by_layer: dict[int, list[int]] = {}
    for layer, head in sorted(result.chosen):
        by_layer.setdefault(layer, []).append(head)
    return [
        HeadIntervention(layer=layer, heads=tuple(heads), operator="zero")
        for layer, heads in by_layer.items()
    ]


def direction_intervention(result: AnchorResult) -> DirectionIntervention:
    """Return the anchor direction, taken out of the stream after its block at every token."""
    layer, unit = result.direction()
    vector = torch.from_numpy(unit).float()
    return DirectionIntervention(layer=layer, direction=vector, operator="ablate")


def export(result: AnchorResult, model: LanguageModel, folder: Path) -> list[Path]:
    """Write both as files of interventions for this model.

    Args:
        folder: made where it is missing; files of the same name are not replaced.

    Raises: DataError: a file exists already, or the folder cannot be written.

    Note: a file of interventions takes out a head's whole output; only the measurement cuts single
        edges.
    """
    heads, direction = folder / HEADS_FILE, folder / DIRECTION_FILE
    for path in (heads, direction):
        if path.exists():
            raise DataError(f"{escape(str(path), 200)} exists already.", fix="Name a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{escape(str(folder), 200)} cannot be made: {error.strerror}.", fix="Name another."
        ) from error
    save_interventions(heads, head_interventions(result), model)
    save_interventions(direction, [direction_intervention(result)], model)
    return [heads, direction]
