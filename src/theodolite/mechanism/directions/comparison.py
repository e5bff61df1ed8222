"""Estimators side by side at every depth, each beside random directions and shuffled labels.

All of them are fitted on the training prompts of one contrast and scored on its test prompts. Two
estimators that rank prompts equally well may point in different directions: the cosines, and the
true positives at few false alarms, show what an AUROC hides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError
from theodolite.measure.closed_form import Clusters
from theodolite.measure.exchange import Exchange
from theodolite.measure.ranking import auroc
from theodolite.mechanism.directions.comparison_result import EstimatorComparison
from theodolite.mechanism.directions.contrast import TEST, Contrast
from theodolite.mechanism.directions.estimator import (
    DirectionEstimator,
    Estimate,
    class_gap,
    estimator,
)
from theodolite.mechanism.directions.given import GivenDirections
from theodolite.mechanism.directions.overlap import (
    chance_overlap,
    leading_components,
    overlap,
)
from theodolite.mechanism.directions.protocol import reliability
from theodolite.mechanism.random_vectors import random_vector
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.runs.panel import Progress

Floats = NDArray[np.float64]
Pairwise = Callable[[Estimate, Estimate, int], float]
METHOD_VERSION: Final = 2
NAMES: Final = ("difference_in_means", "logistic", "lda", "leace", "som")
DRAWS: Final = 200
SHUFFLES: Final = 10
FPR: Final = 0.01
BENIGN_COMPONENTS: Final = 10


def compare_estimators(
    contrast: Contrast,
    names: Sequence[str | DirectionEstimator] = NAMES,
    *,
    fpr: float = FPR,
    draws: int = DRAWS,
    shuffles: int = SHUFFLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> EstimatorComparison:
    """Fit estimators on one contrast and compare what they find at every depth.

    Args:
        contrast: with a test split.
        names: estimators by name, or made with options of their own; `GivenDirections` are those
            of a selection or a learned cone.
        fpr: share of negative prompts that may score above the threshold of the TPR.
        draws: random directions per depth.
        shuffles: refits of every estimator on shuffled training labels.
        seed: of the fits, draws, shuffles and resamples.
        progress: told of fits.

    Returns: scores of the test prompts, angles and overlaps, and the floors of each.

    Raises:
        ConfigError: no estimator, an unknown one, or one given twice.
        DataError: the contrast holds no test prompts, or an estimator cannot be fitted on it.

    Note: every estimator is fitted `shuffles + 3` times: on the training goals, on two halves of
        them, and on shuffled labels.
    """
    made = [estimator(each) if isinstance(each, str) else each for each in names]
    own = [each.name for each in made]
    if not made or len(set(own)) != len(own):
        raise ConfigError("Give at least one estimator, and each once.")
    tested = contrast.rows_of(TEST)
    estimates, known, nulls = _fitted(made, contrast, shuffles, seed, progress)
    states = {h: contrast.at(h)[tested] for h in contrast.hidden_indices}
    labels = contrast.labels[tested]
    return EstimatorComparison(
        names=tuple(own),
        hidden_indices=contrast.hidden_indices,
        position=contrast.position,
        classes=contrast.classes,
        estimates=estimates,
        scores=_scores(estimates, states),
        cosines=_between(estimates, contrast.hidden_indices, _cosine),
        overlaps=_between(estimates, contrast.hidden_indices, _overlap),
        overlap_floors=_between(estimates, contrast.hidden_indices, _chance),
        benign_overlap=_benign_overlap(estimates, contrast),
        reliability=known,
        random=np.stack([_random(contrast, h, states[h], labels, draws, seed) for h in states]),
        shuffled=np.moveaxis(nulls, 1, 2),
        labels=labels,
        goals=tuple(g for g, inside in zip(contrast.goals, tested, strict=True) if inside),
        d_model=contrast.d_model,
        fpr=fpr,
        seed=seed,
    )


def _fitted(
    made: Sequence[DirectionEstimator],
    contrast: Contrast,
    shuffles: int,
    seed: int,
    progress: Progress | None,
) -> tuple[dict[str, Estimate], Floats, Floats]:
    """Fit estimators on a contrast, on halves of its goals and on shuffled labels.

    Returns: the estimates by name; how far two halves agree, (estimator, hidden_index); the AUROC
        of shuffled labels, (estimator, shuffle, hidden_index).
    """
    shuffled = [_shuffled(contrast, seed, k) for k in range(shuffles)]
    if progress is not None:
        progress.start("fitting directions", len(made) * (shuffles + 3))
    depths = contrast.hidden_indices
    estimates = {}
    known = np.full((len(made), len(depths)), np.nan)
    nulls = np.full((len(made), shuffles, len(depths)), np.nan)
    for place, each in enumerate(made):
        estimates[each.name] = each.fit(contrast, seed=seed)
        if not isinstance(each, GivenDirections):  # neither labels nor goals made those
            known[place] = reliability(each, contrast, depths, seed=seed)
            for k, one in enumerate(shuffled):
                nulls[place, k] = _null(each, one, contrast, seed)
        if progress is not None:
            progress.advance(shuffles + 3)
    return estimates, known, nulls


def _scores(estimates: dict[str, Estimate], states: dict[int, Floats]) -> Floats:
    """Return test prompts along the leading directions, (estimator, hidden_index, prompt)."""
    return np.stack(
        [
            np.stack([one.leading(h).projections(x) for h, x in states.items()])
            for one in estimates.values()
        ]
    )


def _between(
    estimates: dict[str, Estimate], hidden_indices: Sequence[int], measure: Pairwise
) -> Floats:
    """Return a figure of every pair of estimators; axes (hidden_index, estimator, estimator)."""
    found = [
        [[measure(a, b, h) for b in estimates.values()] for a in estimates.values()]
        for h in hidden_indices
    ]
    return np.array(found, np.float64)


def _cosine(first: Estimate, second: Estimate, hidden_index: int) -> float:
    return float(first.leading(hidden_index).vector @ second.leading(hidden_index).vector)


def _overlap(first: Estimate, second: Estimate, hidden_index: int) -> float:
    return overlap(first.basis(hidden_index), second.basis(hidden_index))


def _chance(first: Estimate, second: Estimate, hidden_index: int) -> float:
    bases = first.basis(hidden_index), second.basis(hidden_index)
    return chance_overlap(len(bases[0]), len(bases[1]), bases[0].shape[1])


def _benign_overlap(estimates: dict[str, Estimate], contrast: Contrast) -> Floats:
    """Return how far each subspace lies in what negative prompts vary by most.

    Returns: axes (estimator, hidden_index, 2): the overlap, and what chance gives.
    """
    rows = contrast.fitting & ~contrast.positive
    found = np.zeros((len(estimates), len(contrast.hidden_indices), 2))
    for place, hidden_index in enumerate(contrast.hidden_indices):
        leading = leading_components(contrast.at(hidden_index)[rows], BENIGN_COMPONENTS)
        for e, one in enumerate(estimates.values()):
            basis = one.basis(hidden_index)
            found[e, place] = (
                overlap(basis, leading),
                chance_overlap(len(basis), len(leading), contrast.d_model),
            )
    return found


def _shuffled(contrast: Contrast, seed: int, draw: int) -> Contrast:
    """Return the contrast with labels of whole goals shuffled outside the test split."""
    rng = np.random.default_rng(item_seed(seed, "shuffled labels", draw))
    labels, free = contrast.labels.copy(), np.array(contrast.splits) != TEST
    for split in sorted({split for split in contrast.splits if split != TEST}):
        rows = np.flatnonzero(free & (np.array(contrast.splits) == split))
        own, goals = labels[rows], [contrast.goals[row] for row in rows]
        exchange = Exchange.of(own, Clusters.of(goals, len(rows)), units=own.tolist())
        labels[rows] = exchange.draw(rng)
    return contrast.relabelled(labels)


def _null(made: DirectionEstimator, shuffled: Contrast, real: Contrast, seed: int) -> list[float]:
    """Return the AUROC on the test prompts of directions fitted on shuffled labels, by depth."""
    tested = real.rows_of(TEST)
    fitted = made.fit(shuffled, seed=seed)
    return [
        auroc(fitted.leading(h).projections(real.at(h)[tested]), real.labels[tested])
        for h in real.hidden_indices
    ]


def _random(
    contrast: Contrast,
    hidden_index: int,
    x: Floats,
    labels: NDArray[np.int64],
    draws: int,
    seed: int,
) -> Floats:
    """Return the AUROC of random directions on the test prompts, axis (draw).

    Each is turned to the positive class of the training prompts, as an estimator's is.
    """
    apart = class_gap(contrast, hidden_index)
    found = []
    for draw in range(draws):
        own = item_seed(seed, "random direction", hidden_index, draw)
        vector = random_vector(contrast.d_model, 1.0, own)
        found.append(auroc(x @ (vector if apart @ vector >= 0 else -vector), labels))
    return np.array(found)
