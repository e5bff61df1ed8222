"""Where refusal is read from unless a user says otherwise: the bundled train and val requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.mechanism.directions.contrast import TEST, Contrast, read_contrasts
from theodolite.mechanism.items import Items, make_items

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress


def fitting_requests(label: str) -> list[Prompt]:
    """Return the bundled requests of a class that nothing is measured on: train and val."""
    return [p for p in bundled("refusal") if p.split != TEST and p.label == label]


def refusal_items() -> Items:
    """Return the bundled train and val requests, benign and harmful."""
    return make_items({label: fitting_requests(label) for label in (BENIGN, HARMFUL)})


def refusal_contrast(
    model: LanguageModel,
    *,
    position: str = "prompt_last",
    template: str = "auto",
    hidden_indices: Sequence[int] | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Contrast:
    """Read the states of the bundled train and val requests.

    Args:
        model: an open local model; active interventions act.
        position: where they are read.
        template, hidden_indices, seed, journal, progress: as for `read_contrasts`.
    """
    return read_contrasts(
        model,
        refusal_items(),
        positions=(position,),
        template=template,
        hidden_indices=hidden_indices,
        seed=seed,
        journal=journal,
        progress=progress,
    )[position]
