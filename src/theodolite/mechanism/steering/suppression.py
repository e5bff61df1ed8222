"""Non-dominant suppression: take out every direction that does not follow harm itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.direction import Direction, parse_component
from theodolite.mechanism.states import States
from theodolite.mechanism.steering.edits import Edit

NON_DOMINANT: Final = "non-dominant"
MOST: Final = 0.7


def non_dominant(
    components: Sequence[Direction],
    states: States,
    harmful: Sequence[bool],
    *,
    most: float = MOST,
    position: str = "prompt_last",
    **options: Any,
) -> Edit:
    """Return the edit that removes all but the dominant and the harm-following components.

    Source: arXiv:2502.09674, section 6 (there before and after fine-tuning, with components 2 on
        whose correlation with harm is at most 0.7).

    Args:
        components: of any layers, named like L14-C6; each is removed at its own depth.
        states: of labelled prompts of the model that the edit is for; prompts that nothing is
            measured on.
        harmful: of each prompt, in the order of the states.
        most: largest |correlation| with harm of what is removed.
        position: of the states.
        options: of the edit: positions, alpha, label.

    Raises:
        DataError: labels are of one class, or do not fit the states.
        ConfigError: no component is left to remove, or a name says no component.

    Note: a component along which all prompts lie at one place follows nothing and is removed.
    """
    labels = np.asarray(harmful, bool)
    if len(labels) != len(states.prompt_ids) or labels.all() or not labels.any():
        raise DataError(
            f"There are {len(labels)} labels for {len(states.prompt_ids)} prompts, "
            f"{int(labels.sum())} of them harmful.",
            fix="Label every prompt; both classes are needed.",
        )
    chosen = []
    for one in components:
        index, number = parse_component(one.name)
        if number == 1:
            continue
        correlation = harm_correlation(one.projections(states.at(index, position)), labels)
        if correlation is None or abs(correlation) <= most:
            chosen.append(one)
    if not chosen:
        raise ConfigError(
            f"Every component beyond the first follows harm by more than {most:g}.",
            fix="Raise most, or give more components.",
        )
    return Edit(chosen, "rank_k", layers="own", **{"label": NON_DOMINANT, **options})


def harm_correlation(projections: ArrayLike, harmful: ArrayLike) -> float | None:
    """Return the Pearson correlation of projections with harm (0 or 1).

    Args:
        projections, harmful: axis (prompt).

    Returns: None where either is constant.
    """
    x = np.asarray(projections, np.float64)
    y = np.asarray(harmful, np.float64)
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x @ x) * (y @ y)))
    if not spread > 1e-12 * len(x):
        return None
    return float(np.clip(x @ y / spread, -1.0, 1.0))
