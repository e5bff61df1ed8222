"""Transfer: what a probe of one language, model or layer is worth in another.

All sets of items are cut by one list of folds, and whatever shares a goal, a pair or a group, in
whichever set, lies in one fold: a request is never scored by a probe that saw its translation. So
the diagonal is cross-fitted like every other cell, by probes of the same size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.measure.intervals import proportion
from theodolite.mechanism.probes.calibration import auroc
from theodolite.mechanism.probes.held_out import Floats, Folds, Rows, fit_apart
from theodolite.mechanism.probes.splits import inner_folds
from theodolite.mechanism.probes.threads import one_blas_thread
from theodolite.mechanism.probes.transfer_result import TransferResult
from theodolite.mechanism.probes.whitening import Whitener
from theodolite.runs.figures import FloorLine, heatmap
from theodolite.runs.panel import Figure
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.items import Items
    from theodolite.mechanism.states import States

METHOD_VERSION = 1
FOLDS = 5


@one_blas_thread()
def transfer_matrix(
    states_by_name: Mapping[str, States],
    items_by_name: Mapping[str, Items],
    *,
    position: str = "instruction_last",
    probe: str = "logistic",
    hidden_indices: Sequence[int] | None = None,
    whiten: bool = False,
    seed: int = 0,
) -> TransferResult:
    """Fit probes on each set and score the items of every set with them.

    Args:
        states_by_name: of languages, models or checkpoints; each holds its own set's items.
        items_by_name: two classes each, the same two.
        hidden_indices: places (default: all that the sets have in common).
        whiten: give each set the mean and covariance of its own training rows first, so that what
            sets merely differ by does not count.
        seed: of the folds.

    Returns: a cell for each pair of sets; empty, with the reason, where widths differ.

    Raises:
        DataError: fewer than two sets, sets without a place in common, other classes than the first
            set's, or too few groups.
        ConfigError: a place was not read, or an unknown probe.
    """
    names = tuple(states_by_name)
    _check_sets(names, items_by_name)
    indices = tuple(hidden_indices or _common(list(states_by_name.values())))
    rows = {name: states_by_name[name].rows(items_by_name[name].ids) for name in names}
    sets = _Sets.of(items_by_name, names, seed)
    widths = {name: rows[name].values.shape[-1] for name in names}
    reasons = {
        (a, b): f"the states are {widths[a]} and {widths[b]} wide"
        for a in names
        for b in names
        if widths[a] != widths[b]
    }
    filled = [(a, b) for a in names for b in names if (a, b) not in reasons]
    scores = {(a, b): np.zeros((len(indices), len(items_by_name[b]))) for a, b in filled}
    directions: dict[str, list[Floats]] = {name: [] for name in names}
    for place, index in enumerate(indices):
        x = {name: rows[name].at(index, position) for name in names}
        for a in names:
            tests = [b for b in names if (a, b) in scores]
            for b, test, found in sets.scored(x, a, tests, probe, whiten, seed):
                scores[a, b][place, test] = found
            directions[a].append(sets.direction(x[a], a, probe, whiten, seed))
    cosines = {(a, b): _cosines(directions[a], directions[b]) for a, b in scores}
    return TransferResult(
        names=names,
        hidden_indices=indices,
        position=position,
        probe=probe,
        whiten=whiten,
        scores=scores,
        cosines=cosines,
        labels={name: items_by_name[name].labels for name in names},
        groups={name: sets.groups[name] for name in names},
        reasons=reasons,
    )


def by_language(states: States, items: Items) -> tuple[dict[str, States], dict[str, Items]]:
    """Return states and items by language, for `transfer_matrix`.

    Raises: DataError: an item names no language, or all name the same.
    """
    tags = sorted({tag for tag in items.languages if tag})
    if len(tags) < 2 or None in items.languages:
        raise DataError(
            f"The items name {len(tags)} languages"
            f"{', and some name none' if None in items.languages else ''}.",
            fix="Set the field 'language' of every prompt, in at least two languages.",
        )
    parts = {
        tag: items.select([i for i, t in enumerate(items.languages) if t == tag]) for tag in tags
    }
    return {tag: states.rows(part.ids) for tag, part in parts.items()}, parts


@dataclass(frozen=True, eq=False)
class LayerMatrix:
    """Held-out scores at every layer by probes of every layer.

    Args:
        scores: axes (train hidden_index, test hidden_index, item).
        labels, groups: of the items.
    """

    hidden_indices: tuple[int, ...]
    position: str
    probe: str
    scores: Floats
    labels: Rows
    groups: tuple[str, ...]

    @property
    def accuracy(self) -> Floats:
        """Axes (train hidden_index, test hidden_index)."""
        return np.asarray(((self.scores > 0) == self.labels).mean(-1))

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per pair of places."""
        found = []
        for i, train in enumerate(self.hidden_indices):
            for j, test in enumerate(self.hidden_indices):
                right = (self.scores[i, j] > 0) == self.labels
                cell = proportion("cell", right.tolist(), clusters=self.groups, unit="accuracy")
                found.append(
                    {
                        "train_hidden_index": train,
                        "test_hidden_index": test,
                        "accuracy": cell.value,
                        "low": cell.low,
                        "high": cell.high,
                        "n": cell.n,
                        "auroc": auroc(self.scores[i, j], self.labels),
                        "floor": self._majority,
                    }
                )
        return found

    def figure(self) -> Figure:
        """Return accuracy by training and test layer."""
        spec = heatmap(
            self.accuracy.tolist(),
            x=self.hidden_indices,
            y=self.hidden_indices,
            x_title="tested at hidden index",
            y_title="trained at hidden index",
            value_title="accuracy",
            floor=FloorLine("always one class", self._majority),
        )
        caption = (
            f"Accuracy of {self.probe} probes at {self.position}, fitted at one layer and read at "
            f"another, on {len(self.labels)} requests whose goals they had not seen. Blocks of "
            "equal colour share one code for harm."
        )
        return Figure("layer_transfer", "One code or many?", caption, spec, "layer_transfer")

    @property
    def _majority(self) -> float:
        share = float(self.labels.mean())
        return max(share, 1 - share)


@one_blas_thread()
def layer_matrix(
    states: States,
    items: Items,
    *,
    position: str = "instruction_last",
    probe: str = "logistic",
    hidden_indices: Sequence[int] | None = None,
    seed: int = 0,
) -> LayerMatrix:
    """Fit probes at each layer and score held-out items at every layer with them.

    Args: as for `transfer_matrix`.

    Note: streams grow from layer to layer, so a threshold may not carry over where the ranking
        does: read accuracy beside the AUROC.
    """
    indices = states.hidden_indices if hidden_indices is None else tuple(hidden_indices)
    rows = states.rows(items.ids)
    x = [rows.at(index, position) for index in indices]
    scores = np.zeros((len(indices), len(indices), len(items)))
    for train, test in _folds(items.labels, items.groups, seed):
        groups = [items.groups[i] for i in train]
        tests = np.concatenate([layer[test] for layer in x])
        for i, layer in enumerate(x):
            fitted = fit_apart(probe, layer[train], items.labels[train], groups, tests, seed=seed)
            scores[i][:, test] = fitted.test_scores.reshape(len(indices), -1)
    return LayerMatrix(indices, position, probe, scores, items.labels, items.groups)


@dataclass(frozen=True, eq=False)
class _Sets:
    """The sets' items laid end to end, cut by one list of folds.

    Args:
        labels: by set; groups: by set, tied across sets.
        parts: by set, per fold, the (training, held-out) rows of that set.
    """

    labels: Mapping[str, Rows]
    groups: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, Folds]

    @classmethod
    def of(cls, items: Mapping[str, Items], names: Sequence[str], seed: int) -> _Sets:
        """Tie what belongs together in all sets and cut the folds."""
        tied = tied_groups([items[name] for name in names])
        labels = np.concatenate([items[name].labels for name in names])
        folds = _folds(labels, tied, seed)
        ends = np.cumsum([len(items[name]) for name in names])
        begins = [0, *ends[:-1]]
        parts = {
            name: [(_within(train, a, b), _within(test, a, b)) for train, test in folds]
            for name, a, b in zip(names, begins, ends, strict=True)
        }
        return cls(
            labels={name: items[name].labels for name in names},
            groups={n: tuple(tied[a:b]) for n, a, b in zip(names, begins, ends, strict=True)},
            parts=parts,
        )

    def scored(
        self,
        x: Mapping[str, Floats],
        name: str,
        tests: Sequence[str],
        probe: str,
        whiten: bool,
        seed: int,
    ) -> Iterator[tuple[str, Rows, Floats]]:
        """Yield (test set, its held-out rows, their scores) for every fold of one training set."""
        for fold in range(len(self.parts[name])):
            rows = {b: self.parts[b][fold] for b in (name, *tests)}
            maps = {b: _map(x[b][train], whiten) for b, (train, _) in rows.items()}
            train = rows[name][0]
            seen = np.concatenate([maps[b].apply(x[b][rows[b][1]]) for b in tests])
            fitted = fit_apart(
                probe,
                maps[name].apply(x[name][train]),
                self.labels[name][train],
                [self.groups[name][i] for i in train],
                seen,
                seed=seed,
            )
            ends = np.cumsum([len(rows[b][1]) for b in tests])
            for b, found in zip(tests, np.split(fitted.test_scores, ends[:-1]), strict=True):
                yield b, rows[b][1], found

    def direction(self, x: Floats, name: str, probe: str, whiten: bool, seed: int) -> Floats:
        """Return the direction of a probe fitted on all items of a set, in raw coordinates."""
        own = _map(x, whiten)
        mapped = own.apply(x)
        labels, groups = self.labels[name], self.groups[name]
        linear = fit_apart(probe, mapped, labels, groups, mapped[:1], seed=seed).direction()
        return np.full(x.shape[1], np.nan) if linear is None else own.root(linear[0])


def _map(x: Floats, whiten: bool) -> Whitener:
    return Whitener.of(x) if whiten else Whitener.none(x.shape[1])


def tied_groups(sets: Sequence[Items]) -> list[str]:
    """Return a group per item of all sets, end to end; what shares a goal or pair shares it.

    Args:
        sets: their own groups are kept together, also across sets where they have one name.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    known: dict[tuple[str, str], int] = {}
    first, second = [], []
    place = 0
    for items in sets:
        for prompt, group in zip(items.prompts, items.groups, strict=True):
            names = (("group", group), ("goal", prompt.goal_id), ("pair", prompt.pair_id))
            for kind, name in names:
                if name is not None:
                    first.append(place)
                    second.append(known.setdefault((kind, name), place))
            place += 1
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(place, place))
    return [str(group) for group in connected_components(graph, directed=False)[1]]


def _folds(labels: Rows, groups: Sequence[str], seed: int) -> Folds:
    return inner_folds(labels, groups, folds=FOLDS, seed=item_seed(seed, "transfer"))


def _common(states: Sequence[States]) -> list[int]:
    """Return the hidden indices that all states hold."""
    found = set.intersection(*(set(one.hidden_indices) for one in states))
    if not found:
        raise DataError(
            "The sets have no hidden index in common.", fix="Read the same places of each."
        )
    return sorted(found)


def _within(rows: Rows, begin: int, end: int) -> Rows:
    """Return the rows of one set, counted from its own first."""
    return rows[(rows >= begin) & (rows < end)] - begin


def _cosines(first: Sequence[Floats], second: Sequence[Floats]) -> Floats:
    """Return the cosine per hidden index; NaN where a direction has no length."""
    a, b = np.stack(first), np.stack(second)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found = np.full(len(a), np.nan)
    np.divide((a * b).sum(1), lengths, out=found, where=lengths > 0)
    return found


def _check_sets(names: Sequence[str], items: Mapping[str, Items]) -> None:
    if len(names) < 2 or set(names) != set(items):
        raise DataError(
            f"Transfer needs the states and items of two sets, and there are {len(names)} and "
            f"{len(items)}.",
            fix="Give both by the same names.",
        )
    for name in names:
        if items[name].n_classes != 2 or items[name].classes != items[names[0]].classes:
            raise DataError(
                f"The set {shown(name)} has the classes {', '.join(items[name].classes)}, and "
                f"{shown(names[0])} has {', '.join(items[names[0]].classes)}.",
                fix="Give every set the same two classes.",
            )
