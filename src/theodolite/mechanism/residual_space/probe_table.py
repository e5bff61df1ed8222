"""Which component tells two classes apart, and how well on goals it has never seen.

Source: arXiv 2502.09674 scores every component on the prompts it was fitted on, with a threshold
that calls as many prompts positive as there are; that rule is kept as `reference_accuracy`. Ours
chooses orientation, threshold, layer and component on training goals and reports test goals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.measure.closed_form import Clusters
from theodolite.measure.exchange import Exchange
from theodolite.mechanism.directions.direction import component_name
from theodolite.mechanism.requests import TEST, TRAIN
from theodolite.mechanism.residual_space import scores as column
from theodolite.mechanism.residual_space.baselines import (
    DRAWS,
    Baseline,
    Nulls,
    best_of,
    fitted_baselines,
    random_areas,
    shuffled_areas,
)
from theodolite.mechanism.residual_space.collect import PairedStates
from theodolite.mechanism.residual_space.probe_result import COLUMNS, ProbeTable
from theodolite.mechanism.residual_space.space import ShiftSpace
from theodolite.mechanism.residual_space.spectrum import spectrum
from theodolite.text.suggest import did_you_mean

Floats = NDArray[np.float64]
COMPONENTS = 10
STATES = ("aligned", "base", "shift")
RESAMPLES = 1000


def probe_table(
    space: ShiftSpace,
    paired: PairedStates,
    labels: Mapping[str, bool | None] | None = None,
    *,
    label: str | None = None,
    states: str = "aligned",
    components: int = COMPONENTS,
    baselines: bool = True,
    draws: int = DRAWS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ProbeTable:
    """Score every leading component of a space as a detector.

    Args:
        space: fitted on the training part of `paired`.
        paired: all rows; its parts say what is chosen on and what is reported.
        labels: prompt id -> positive, or None where it has no verdict; default: harmful or not.
            For behaviour, give whether the model refused.
        label: what the labels say (default: "harmful", or "refused" where labels are given).
        states: whose projections are scored: "aligned", "base" or "shift".
        components: leading ones of each depth.
        baselines: also fit the probes and draw the nulls it stands beside.
        draws: random directions and shuffled labellings.
        resamples: of goals, for the intervals.
        seed: of all of them.

    Raises:
        ConfigError: there are no such states.
        DataError: a part lacks a class.
    """
    if states not in STATES:
        raise ConfigError(f"There are no states {shown(states)}.", fix=did_you_mean(states, STATES))
    data = _Data.of(space, paired, labels, states)
    own = [layer for layer in space.layers if len(layer.components)]
    count = min([components, *(len(layer.components) for layer in own)]) if own else 0
    values: dict[str, Floats] = {key: np.zeros(0) for key in COLUMNS}
    test = np.zeros((len(data.test_labels), 0))
    found: tuple[Baseline, ...] = ()
    nulls = None
    if own:
        vectors = np.stack([layer.components[:count] for layer in own])
        train, test = _projected(data.train, vectors), _projected(data.test, vectors)
        values |= _figures(data, train, test, resamples, seed)
        values |= _reference(data, _projected(data.reference, vectors))
        values["hidden_index"] = np.repeat([float(x.hidden_index) for x in own], count)
        values["component"] = np.tile(np.arange(1.0, count + 1), len(own))
        values["random_high"] = np.full(test.shape[1], np.nan)
        if baselines:
            found, nulls = _beside(data, train, test, draws, seed)
            values["random_high"] = np.repeat(nulls.random_high, count)
    return ProbeTable(
        label=label or ("harmful" if labels is None else "refused"),
        states=states,
        names=tuple(component_name(x.hidden_index, k + 1) for x in own for k in range(count)),
        values=values,
        baselines=found,
        nulls=nulls,
        test_scores=test * values["orientation"],
        test_labels=data.test_labels,
        test_goals=data.test_goals,
        n_train=len(data.train_labels),
        unlabelled=data.unlabelled,
        resamples=resamples,
        seed=seed,
    )


@dataclass(frozen=True, eq=False)
class _Data:
    """States and labels of either part; states have axes (row, hidden_index, d_model)."""

    train: Floats
    reference: Floats
    test: Floats
    train_labels: NDArray[np.bool_]
    test_labels: NDArray[np.bool_]
    train_goals: tuple[str, ...]
    test_goals: tuple[str, ...]
    train_harmful: NDArray[np.bool_]
    test_harmful: NDArray[np.bool_]
    unlabelled: int

    def exchange(self, part: str) -> Exchange:
        """Return whose labels may be exchanged: those of a goal with those of its twin."""
        labels, goals, harmful = (
            (self.train_labels, self.train_goals, self.train_harmful)
            if part == TRAIN
            else (self.test_labels, self.test_goals, self.test_harmful)
        )
        return Exchange.of(labels, Clusters.of(goals, len(goals)), units=harmful.tolist())

    @classmethod
    def of(
        cls,
        space: ShiftSpace,
        paired: PairedStates,
        labels: Mapping[str, bool | None] | None,
        states: str,
    ) -> _Data:
        """Gather the labelled rows of either part at the depths where the space is not empty."""
        given = (
            {p.id: bool(h) for p, h in zip(paired.prompts, paired.harmful, strict=True)}
            if labels is None
            else labels
        )
        rows: dict[str, list[int]] = {TRAIN: [], TEST: []}
        unlabelled = 0
        for i, (prompt, part) in enumerate(zip(paired.prompts, paired.parts, strict=True)):
            if given.get(prompt.id) is None:
                unlabelled += 1
            elif part is not None:
                rows[part].append(i)
        truth = {
            part: np.array([bool(given[paired.prompts[i].id]) for i in own], bool)
            for part, own in rows.items()
        }
        for part, own_truth in truth.items():
            if not len(own_truth) or own_truth.all() or not own_truth.any():
                raise DataError(
                    f"The {part} part has no two classes to tell apart.",
                    fix="Give labelled prompts of more goals.",
                )
        depths = [layer.hidden_index for layer in space.layers if len(layer.components)]
        values = {name: _states(paired, name, space.position, depths) for name in {states, "base"}}
        goals = {part: tuple(paired.goals[i] for i in own) for part, own in rows.items()}
        return cls(
            train=values[states][rows[TRAIN]],
            reference=values["base"][rows[TRAIN]],
            test=values[states][rows[TEST]],
            train_labels=truth[TRAIN],
            test_labels=truth[TEST],
            train_goals=goals[TRAIN],
            test_goals=goals[TEST],
            train_harmful=paired.harmful[rows[TRAIN]],
            test_harmful=paired.harmful[rows[TEST]],
            unlabelled=unlabelled,
        )


def _states(paired: PairedStates, name: str, position: str, depths: list[int]) -> Floats:
    """Return states of all rows, axes (row, hidden_index, d_model)."""
    read = {
        "aligned": paired.aligned.at,
        "base": paired.base.at,
        "shift": paired.shift,
    }[name]
    width = paired.base.values.shape[-1]
    found = [read(depth, position) for depth in depths]
    return np.stack(found, axis=1) if found else np.zeros((len(paired), 0, width))


def _projected(states: Floats, vectors: Floats) -> Floats:
    """Return projections, axes (row, hidden_index * component)."""
    found = np.einsum("nhd,hkd->nhk", states, vectors, optimize=True)
    return np.asarray(found.reshape(len(states), -1))


def _beside(
    data: _Data, train: Floats, test: Floats, draws: int, seed: int
) -> tuple[tuple[Baseline, ...], Nulls]:
    """Return what the components stand beside: probes that know the labels, and chance."""
    labels, truth = data.train_labels, data.test_labels
    depths = data.train.shape[1]
    fitted = fitted_baselines(data.train, labels, data.train_goals, data.test, truth, seed=seed)
    best = best_of(train, labels, test, truth, depths)
    own = _principal(data.reference, train.shape[1] // depths, seed)
    sides = (_projected(data.train, own), labels, _projected(data.test, own), truth)
    before = best_of(*sides, depths, what="principal directions of the base")
    random = random_areas(data.train, labels, data.test, truth, draws=draws, seed=seed)
    shuffled = shuffled_areas(
        *(train, data.exchange(TRAIN), test, data.exchange(TEST)), draws=draws, seed=seed
    )
    return (*fitted, best, before), Nulls(random, shuffled)


def _principal(states: Floats, count: int, seed: int) -> Floats:
    """Return principal directions of states, axes (hidden_index, component, d_model)."""
    found = np.zeros((states.shape[1], count, states.shape[2]))
    for h in range(states.shape[1]):
        centred = states[:, h] - states[:, h].mean(0)
        own = spectrum(centred, kept=count, seed=seed).components
        found[h, : len(own)] = own
    return found


def _reference(data: _Data, scores: Floats) -> dict[str, Floats]:
    """Return the paper's figures of base states on the rows that the space was fitted on."""
    limits = column.base_rate_thresholds(scores, data.train_labels)
    return {
        "reference_accuracy": column.accuracies(scores, data.train_labels, limits),
        "reference_margin": column.margins(scores, data.train_labels),
    }


def _figures(
    data: _Data, train: Floats, test: Floats, resamples: int, seed: int
) -> dict[str, Floats]:
    """Return the figures of every column, oriented on training goals."""
    signs = np.where(column.areas(train, data.train_labels) < 0.5, -1.0, 1.0)
    train, test = train * signs, test * signs
    limits = column.best_thresholds(train, data.train_labels)
    truth = data.test_labels
    low, high = column.area_intervals(test, truth, data.test_goals, seed=seed, resamples=resamples)
    return {
        "orientation": signs,
        "threshold": limits,
        "train_auroc": column.areas(train, data.train_labels),
        "auroc": column.areas(test, truth),
        "low": low,
        "high": high,
        "balanced_accuracy": column.balanced_accuracies(test, truth, limits),
        "auprc": column.average_precisions(test, truth),
        "tpr_at_1": column.rates_at(test, truth),
        "nll": column.calibrated_losses(train, data.train_labels, test, truth),
        "r": column.correlations(test, truth),
    }
