"""Probes: at which places of the network can classes of requests be told apart, and is that news?

Weak classifiers are fitted at every layer and position and scored on held-out requests. The same
splits are given to everything that could explain the score without the network's help: permuted
labels, the words alone, and the same architecture with untrained weights. The layer that is named
is chosen on inner folds of the training requests, never on the test requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import ConfigError, DataError
from theodolite.execution import Unit, map_units
from theodolite.mechanism.items import Items
from theodolite.mechanism.probes.classifiers import PROBES, Design, fit_many
from theodolite.mechanism.probes.paper import PAPER_PROBES, paper_fit
from theodolite.mechanism.probes.result import Place, ProbeResult, Rows, SplitFacts
from theodolite.mechanism.probes.splits import Split, headline_kind, inner_folds, make_splits
from theodolite.mechanism.probes.text_floors import text_floors
from theodolite.mechanism.probes.threads import one_blas_thread
from theodolite.mechanism.states import States
from theodolite.text.hashing import content_key, item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

METHOD_VERSION: Final = 1
HEADLINE: Final = "headline"
PAPER: Final = "paper"
CONTROLS: Final = 3  # permuted labellings of each split; one alone is noisy on few items


@dataclass(frozen=True)
class ProbeOptions:
    """How probes are fitted and scored.

    Args:
        probes: names of `PROBES`; the first one is the headline's.
        splits: kinds of `splits.KINDS`; `headline` stands for the strictest one the items allow.
        repeats: resplits of `random` and `group`.
        permutations: relabelings of the permutation test; 0 leaves it out.
        preset: `paper` fits the classifiers of arXiv:2406.05644 on its single split instead.
    """

    probes: tuple[str, ...] = ("logistic", "difference_of_means")
    splits: tuple[str, ...] = ("random", "group", HEADLINE)
    repeats: int = 10
    permutations: int = 100
    preset: Literal["paper"] | None = None

    def check(self) -> None:
        """Refuse options that cannot be used.

        Raises: ConfigError: an unknown probe, or a count that is too small.
        """
        for name in self.probes:
            if name not in PROBES:
                raise ConfigError(f"There is no probe {name!r}.", fix=did_you_mean(name, PROBES))
        if not self.probes or not self.splits:
            raise ConfigError("At least one probe and one kind of split must be given.")
        if self.repeats < 2 or self.permutations < 0:
            raise ConfigError("repeats must be at least 2 and permutations at least 0.")

    def resolved(self, items: Items) -> ProbeOptions:
        """Return the options with the headline's kind in place, and the preset's own settings."""
        if self.preset == PAPER:
            return ProbeOptions(PAPER_PROBES, ("reference",), 2, 0, self.preset)
        kinds = [headline_kind(items)[0] if kind == HEADLINE else kind for kind in self.splits]
        return ProbeOptions(
            self.probes, tuple(dict.fromkeys(kinds)), self.repeats, self.permutations
        )


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is fitted at every place: the splits, their inner folds and permuted labels."""

    splits: tuple[Split, ...]
    inner: tuple[list[tuple[NDArray[np.int64], NDArray[np.int64]]], ...]
    control: NDArray[np.int64]  # (split, labelling, item)

    @property
    def rows(self) -> int:
        return sum(len(split.test) for split in self.splits)

    @property
    def key(self) -> str:
        parts = [
            [s.kind, s.repeat, s.held_out, s.train.tolist(), s.test.tolist()] for s in self.splits
        ]
        folds = [[[a.tolist(), b.tolist()] for a, b in folds] for folds in self.inner]
        return content_key(parts, folds, self.control.tolist())


def probe(
    states: States,
    items: Items,
    *,
    task: str = "harmful_vs_benign",
    options: ProbeOptions = ProbeOptions(),
    untrained: Sequence[States] = (),
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> ProbeResult:
    """Fit and score probes at every layer and position, beside everything that could explain them.

    Source: arXiv:2406.05644 (weak classifiers per layer), arXiv:1909.03368 (control tasks); splits,
        floors and choice of the layer are ours.
    Args:
        states: the model's states; they must hold every item.
        items: classes, groups and sources.
        untrained: states of the same items in networks of the same architecture with fresh
            weights, one per seed.
        journal: finished places are kept there and not fitted again.

    Returns: predictions at every place for every test item, and what is to be made of them.

    Raises:
        ConfigError: an option cannot be used.
        DataError: items without states, or a split that these items do not allow.

    Note: deterministic; independent of the order in which places are fitted.
    """
    options.check()
    options = options.resolved(items)
    headline, why = _headline(options, items)
    plan = _plan(items, options, seed)
    variants = [one.rows(items.ids) for one in (states, *untrained)]
    for other in variants[1:]:
        if (other.hidden_indices, other.positions) != (states.hidden_indices, states.positions):
            raise DataError(
                "The untrained network was read at other places than the model.",
                fix="Read both with the same positions and hidden indices.",
            )
    fitted = _fit_places(variants, items, plan, options, seed, journal, progress)
    return ProbeResult(
        task=task,
        classes=items.classes,
        positions=states.positions,
        hidden_indices=states.hidden_indices,
        probes=options.probes,
        rows=_rows(items, plan),
        splits=tuple(_facts(split) for split in plan.splits),
        headline=headline,
        why=why,
        floors=text_floors(items, plan.splits),
        significance=_significance(variants[0], items, options, seed),
        warnings=items.warnings,
        seed=seed,
        **fitted,
    )


def _plan(items: Items, options: ProbeOptions, seed: int) -> _Plan:
    splits: list[Split] = []
    for kind in options.splits:
        splits += make_splits(items, kind, repeats=options.repeats, seed=seed)
    groups = np.array(items.groups)
    inner = [
        inner_folds(items.labels[s.train], groups[s.train].tolist(), seed=item_seed(seed, s.kind))
        for s in splits
    ]
    control = [
        np.stack(
            [permuted_labels(items, item_seed(seed, s.kind, s.repeat, k)) for k in range(CONTROLS)]
        )
        for s in splits
    ]
    return _Plan(tuple(splits), tuple(inner), np.stack(control))


def permuted_labels(items: Items, seed: int) -> NDArray[np.int64]:
    """Return labels that carry nothing: permuted over all items, the class counts as they were.

    Source: arXiv:1909.03368. Permuting within one-class sources would change nothing.
    """
    return np.random.default_rng(seed).permutation(items.labels)


def _fit_places(
    variants: Sequence[States],
    items: Items,
    plan: _Plan,
    options: ProbeOptions,
    seed: int,
    journal: Journal | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Fit every place as one planned unit each; return the arrays of a `ProbeResult`."""
    first = variants[0]
    settings = [METHOD_VERSION, items.key, plan.key, options.probes, options.preset, seed]
    places = {
        content_key("probe", settings, states.key, position, index, variant == 0): Place(
            variant, position, index
        )
        for variant, states in enumerate(variants)
        for position in first.positions
        for index in first.hidden_indices
    }

    def work(unit: Unit) -> dict[str, Any]:
        place = places[unit.key]
        x = variants[place.variant].at(place.hidden_index, place.position)
        return fit_place(x, items, plan, options, seed, controls=place.variant == 0)

    units = [Unit(key, ()) for key in places]
    with one_blas_thread():
        results = map_units(units, work, journal=journal, progress=progress, label="probes")
    axes = (len(variants), len(first.positions), len(first.hidden_indices))

    def gather(name: str, count: int = axes[0] * axes[1] * axes[2]) -> NDArray[Any]:
        stacked = np.stack([np.asarray(result[name]) for result in results[:count]])
        return stacked.reshape(-1, *axes[1:], *stacked.shape[1:])

    own = axes[1] * axes[2]
    return {
        "predicted": gather("predicted"),
        "inner": gather("inner"),
        "scores": gather("scores", own)[0],
        "control": gather("control", own)[0],
        "control_train": gather("control_train", own)[0],
    }


def fit_place(
    x: NDArray[np.float64],
    items: Items,
    plan: _Plan,
    options: ProbeOptions,
    seed: int,
    *,
    controls: bool,
) -> dict[str, Any]:
    """Fit all probes of one place on every split.

    Args:
        x: states (item, d_model).
        controls: also fit the permuted labels.

    Returns: `predicted`, `scores` and `control` (the share of permuted labellings whose own fit is
        right), axes (probe, row); `inner` (accuracy on the inner folds) and `control_train`
        (accuracy on the permuted labels of the training items), axes (probe, split).
    """
    probes, splits, n_classes = options.probes, plan.splits, len(items.classes)
    predicted = np.zeros((len(probes), plan.rows), np.int8)
    scores = np.zeros(predicted.shape, np.float32)
    control = np.zeros(predicted.shape, np.float32)
    inner = np.zeros((len(probes), len(splits)))
    control_train = np.zeros(inner.shape)
    begin = 0
    for s, split in enumerate(splits):
        rows = slice(begin, begin + len(split.test))
        begin = rows.stop
        labels = items.labels[None, split.train]
        if controls:
            labels = np.concatenate([labels, plan.control[s][:, split.train]])
        fits = _fits(x, split, labels, plan.inner[s], options, n_classes, seed)
        for p, (real, *permuted) in enumerate(fits):
            predicted[p, rows] = real.predicted
            scores[p, rows] = real.score
            # Only the first probe chooses places; for the others this would cost further fits.
            inner[p, s] = real.inner_accuracy if p == 0 else np.nan
            for one, shuffled in zip(permuted, plan.control[s] if controls else ()):
                control[p, rows] += (one.predicted == shuffled[split.test]) / CONTROLS
                fitted = (one.train_predicted == shuffled[split.train]).mean()
                control_train[p, s] += fitted / CONTROLS
    return {
        "predicted": predicted,
        "scores": scores,
        "control": control,
        "inner": inner,
        "control_train": control_train,
    }


def _fits(
    x: NDArray[np.float64],
    split: Split,
    labels: NDArray[np.int64],
    inner: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    options: ProbeOptions,
    n_classes: int,
    seed: int,
) -> list[list[Any]]:
    """Return per probe the fits on each labelling of the training items."""
    if options.preset == PAPER:
        states = x.astype(np.float32)  # as the published code holds them
        train, test = states[split.train], states[split.test]
        return [[paper_fit(name, train, one, test) for one in labels] for name in options.probes]
    design = Design.of(x[split.train], x[split.test])
    return [
        fit_many(name, design, labels, inner=inner, classes=n_classes, seed=seed)
        for name in options.probes
    ]


def _rows(items: Items, plan: _Plan) -> Rows:
    item = np.concatenate([split.test for split in plan.splits])
    sizes = [len(split.test) for split in plan.splits]
    split = np.repeat(np.arange(len(sizes)), sizes)
    return Rows(
        item=item,
        split=split,
        truth=items.labels[item],
        ids=tuple(items.ids),
        groups=tuple(items.groups),
    )


def _facts(split: Split) -> SplitFacts:
    return SplitFacts(split.kind, split.repeat, split.held_out, len(split.train), len(split.test))


def _headline(options: ProbeOptions, items: Items) -> tuple[str, str]:
    """Return the kind of split that the headline stands on, and why."""
    if options.preset == PAPER:
        return options.splits[-1], "the paper's single split"
    kind, why = headline_kind(items)
    if kind in options.splits:
        return kind, why
    return options.splits[-1], "the last of the splits that were asked for"


def _significance(
    states: States, items: Items, options: ProbeOptions, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return by position the family-wise permutation p of every hidden index."""
    from theodolite.mechanism.probes.gram import permutation_test

    if not options.permutations or len(items.classes) > 2:
        return {}
    return {
        position: permutation_test(
            [states.at(index, position) for index in states.hidden_indices],
            items.labels,
            items.groups,
            permutations=options.permutations,
            seed=seed,
        ).family_wise
        for position in states.positions
    }
