"""Detectors: one calibrated direction at one place that says how harmful a request reads.

Training keeps the uses of the items apart: inner folds of three quarters choose the layer, the
last quarter fits the temperature and, where it holds enough benign requests, the threshold; then
the probe is fitted on all items. What the result is worth is found by doing all of it four times,
each time blind to another quarter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.detector.file import (
    FIGURES,
    LINEAR_PROBES,
    VERSION,
    read_detector,
    write_detector,
)
from theodolite.mechanism.probes.calibration import probabilities
from theodolite.mechanism.probes.classifiers import Fit
from theodolite.mechanism.probes.held_out import (
    Floats,
    Rows,
    cross_fitted,
    figures,
    fit_apart,
    smoothed_temperature,
    spread,
)
from theodolite.mechanism.probes.splits import inner_folds
from theodolite.mechanism.probes.threads import one_blas_thread
from theodolite.mechanism.states import States, read_states
from theodolite.text.display import escape
from theodolite.text.hashing import content_key, item_seed
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.items import Items
    from theodolite.models.handle import LanguageModel

FALSE_POSITIVE_RATE: Final = 0.01
# Fewer benign requests cannot tell a false positive rate of one in a hundred.
_NEGATIVES_NEEDED: Final = round(1 / FALSE_POSITIVE_RATE)
_QUARTERS: Final = 4
_CHOOSING: Final = 2  # inner folds are enough to compare layers


@dataclass(frozen=True, eq=False)
class Detector:
    """P(second class) from one state x of a prompt: sigmoid((direction @ x + bias) / temperature).

    Args:
        direction: in raw coordinates, from `classes[0]` to `classes[1]`; float64, axes (d_model).
        bias: added to the projection.
        temperature: what the log-odds are divided by.
        threshold: the probability from which a prompt counts as `classes[1]`.
        hidden_index: 0 is the embeddings, l + 1 the stream after block l.
        position: where in the prompt the state is read.
        probe: the classifier that found the direction.
        template: "chat", "none" or "moderation", how prompts are rendered.
        model_fingerprint, model_name: the model it was trained on.
        trained_on: counts and content keys of the training items and states.
        quality: `FIGURES` as measurements (`Measurement.as_dict`) and facts about the training.
    """

    direction: Floats
    bias: float
    temperature: float
    threshold: float
    hidden_index: int
    position: str
    probe: str
    template: str
    model_fingerprint: str
    model_name: str
    classes: tuple[str, str]
    trained_on: Mapping[str, Any]
    quality: Mapping[str, Any]
    version: int = VERSION

    @property
    def key(self) -> str:
        """Content key of everything the answers depend on."""
        scalars = [self.bias, self.temperature, self.hidden_index, self.position, self.template]
        return content_key("detector", self.direction.tolist(), scalars, self.model_fingerprint)

    def logits(self, states: States, *, force: bool = False) -> Floats:
        """Return the log-odds of `classes[1]` before calibration, axis (prompt).

        Args:
            states: read with the detector's template; they must hold its place.
            force: also take states of another model of the same width.

        Raises:
            DataError: the states are of another model, template or width, or lack the place.
        """
        if states.template != self.template:
            raise DataError(
                f"The detector reads prompts with the template '{self.template}', and the states "
                f"were read with '{escape(states.template, 20)}'.",
                fix="Read the states again with the detector's template.",
            )
        self._same_model(states.fingerprint, states.model, states.values.shape[-1], force)
        return self._logits(states.at(self.hidden_index, self.position))

    def probabilities(self, states: States, *, force: bool = False) -> Floats:
        """Return P(`classes[1]`), axis (prompt); arguments and errors as for `logits`."""
        return probabilities(self.logits(states, force=force), self.temperature)

    def probabilities_of(self, x: Floats) -> Floats:
        """Return P(`classes[1]`) of bare states of the detector's place, axes (prompt, d_model)."""
        return probabilities(self._logits(x), self.temperature)

    def _logits(self, x: Floats) -> Floats:
        return np.asarray(x @ self.direction + self.bias, np.float64)

    def score(
        self, model: LanguageModel, prompts: Sequence[Prompt | str], *, force: bool = False
    ) -> list[float]:
        """Return P(`classes[1]`) of each prompt, in order.

        Args:
            prompts: requests; plain text is one user turn.
            force: also score under another model of the same width.

        Raises:
            CapabilityError: the model shows no hidden states.
            DataError: it is another model than the detector was trained on.

        Note: one forward per prompt up to the detector's layer; nothing after it is computed.
        """
        model.require("hidden_states")
        self.check(model, force=force)
        named = [Prompt(str(i), text=p) if isinstance(p, str) else p for i, p in enumerate(prompts)]
        if not named:
            return []
        states = read_states(
            model,
            named,
            positions=(self.position,),
            template=self.template,
            hidden_indices=(self.hidden_index,),
        )
        return [float(p) for p in self.probabilities(states, force=force)]

    def check(self, model: LanguageModel, *, force: bool = False) -> None:
        """Refuse another model than the one the detector was trained on.

        Args:
            force: take another model all the same, if it is as wide and deep enough.

        Raises: DataError: the fingerprints differ, or with `force` the widths.
        """
        anatomy = model.anatomy
        self._same_model(model.fingerprint, model.name, anatomy.d_model, force)
        if self.hidden_index > anatomy.n_layers:
            raise DataError(
                f"The detector reads hidden index {self.hidden_index}, and "
                f"{escape(model.name, 80)} has {anatomy.n_layers} layers.",
                fix="Train a detector on this model.",
            )

    def _same_model(self, fingerprint: str, name: str, width: int, force: bool) -> None:
        if width != len(self.direction):
            raise DataError(
                f"The detector is {len(self.direction)} wide, and {escape(name, 80)} is {width}.",
                fix="Train a detector on this model.",
            )
        if fingerprint != self.model_fingerprint and not force:
            raise DataError(
                f"The detector was trained on {escape(self.model_name, 80)}, not on "
                f"{escape(name, 80)} as it was opened (the fingerprints differ).",
                fix="Train one on this model, or pass force=True to see how far this one carries.",
            )

    def measurements(self) -> list[Measurement]:
        """Return what cross-fitting said the detector is worth."""
        return [Measurement.from_dict(self.quality[n]) for n in FIGURES if n in self.quality]

    def save(self, folder: Path | str) -> None:
        """Write `detector.json` and `detector.safetensors` into a folder.

        Raises: RunError: the folder cannot be written.
        """
        fields = {k: v for k, v in asdict(self).items() if k not in ("direction", "version")}
        write_detector(Path(folder), fields, self.direction)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read what `save` wrote.

        Raises: DataError: a file is missing, broken, or of another version (names the field).
        """
        return cls(**read_detector(Path(folder)))


@one_blas_thread()
def train_detector(
    states: States,
    items: Items,
    *,
    position: str = "instruction_last",
    probe: str = "logistic",
    hidden_index: int | None = None,
    seed: int = 0,
) -> Detector:
    """Train a detector on requests of two classes.

    Args:
        states: hold every item at `position`.
        items: plain requests of two classes, `classes[1]` the one to detect; their groups never
            straddle a fold.
        probe: one of `LINEAR_PROBES`.
        hidden_index: the place; None lets inner folds choose among 1 to the last (ties: the first).
        seed: of the folds.

    Returns: the detector, with its quality measured on requests that no step had seen.

    Raises:
        ConfigError: an unknown probe or position, or no layer to choose from.
        DataError: not two classes, an item without states, or too few groups.
    """
    rows, candidates = _places(states, items, probe, hidden_index)
    work = _Training({h: rows.at(h, position) for h in candidates}, items, probe, seed)
    blind = [work.without(rest, quarter) for rest, quarter in work.quarters]
    first = blind[0]
    everything = np.arange(len(items))
    final = work.fit(first.hidden_index, everything, everything)
    linear = final.direction()
    assert linear is not None  # noqa: S101 - `LINEAR_PROBES` have one
    direction, bias = linear
    threshold, why = _threshold(first, items.labels)
    return Detector(
        direction=np.asarray(direction, np.float64),
        bias=float(bias),
        temperature=first.temperature * spread(final),
        threshold=threshold,
        hidden_index=first.hidden_index,
        position=position,
        probe=probe,
        template=states.template,
        model_fingerprint=states.fingerprint,
        model_name=states.model,
        classes=(items.classes[0], items.classes[1]),
        trained_on=_facts(states, items),
        quality=_quality(blind, items, seed)
        | {
            "threshold": why,
            "hidden_indices": [one.hidden_index for one in blind],
            "calibrated_on": len(first.rows),
        },
    )


def _places(
    states: States, items: Items, probe: str, hidden_index: int | None
) -> tuple[States, list[int]]:
    """Return the items' states and the hidden indices to choose among, or say what is wrong."""
    if probe not in LINEAR_PROBES:
        raise ConfigError(
            f"A detector cannot be made of the probe '{escape(probe, 40)}'.",
            fix=did_you_mean(probe, LINEAR_PROBES),
        )
    if items.n_classes != 2:
        raise DataError(
            f"A detector tells two classes apart, and the items have {items.n_classes}.",
            fix="Select the items of two classes.",
        )
    if hidden_index is not None:
        return states.rows(items.ids), [hidden_index]
    candidates = [h for h in states.hidden_indices if h >= 1]
    if not candidates:
        raise ConfigError("The states hold no layer to choose from.", fix="Read hidden index 1 on.")
    return states.rows(items.ids), candidates


@dataclass(frozen=True, eq=False)
class _Blind:
    """One quarter, scored by a probe and at a layer that never saw it.

    Args:
        rows: the quarter's items.
        scores: in units of the spread of the probe's training scores, axis (row).
        temperature: fitted on these scores.

    Note: another fit may come out at another strength, or layer, and so at another scale; in units
        of the spread a temperature goes with any of them.
    """

    rows: Rows
    hidden_index: int
    scores: Floats
    temperature: float


class _Training:
    """The states of the candidate layers, and the folds that everything shares."""

    def __init__(self, x: Mapping[int, Floats], items: Items, probe: str, seed: int) -> None:
        self.x = x
        self.labels = items.labels
        self.groups = items.groups
        self.probe = probe
        self.seed = seed
        self.quarters = inner_folds(
            self.labels, self.groups, folds=_QUARTERS, seed=item_seed(seed, "quarters")
        )

    def fit(self, hidden_index: int, train: Rows, test: Rows) -> Fit:
        """Fit the probe at one layer."""
        x, groups = self.x[hidden_index], [self.groups[i] for i in train]
        return fit_apart(self.probe, x[train], self.labels[train], groups, x[test], seed=self.seed)

    def without(self, rest: Rows, quarter: Rows) -> _Blind:
        """Choose the layer on the rest, fit there, and score the quarter."""
        hidden_index = self._choose(rest)
        fitted = self.fit(hidden_index, rest, quarter)
        scores = fitted.test_scores / spread(fitted)
        heat = smoothed_temperature(scores, self.labels[quarter])
        return _Blind(quarter, hidden_index, scores, heat)

    def _choose(self, rows: Rows) -> int:
        """Return the layer at which inner folds of some rows are classed best; ties: the first."""
        if len(self.x) == 1:
            return next(iter(self.x))
        labels, groups = self.labels[rows], [self.groups[i] for i in rows]
        folds = inner_folds(labels, groups, seed=item_seed(self.seed, "layer"))
        right = {}
        for h, x in self.x.items():
            scores = cross_fitted(self.probe, x[rows], labels, groups, folds, inner=_CHOOSING)
            right[h] = int(((scores > 0) == labels).sum())
        return max(right, key=lambda h: (right[h], -h))


def _threshold(quarter: _Blind, labels: Rows) -> tuple[float, str]:
    """Return the probability from which the held-out quarter's benign requests rarely count."""
    chances = probabilities(quarter.scores, quarter.temperature)
    negatives = np.sort(chances[labels[quarter.rows] == 0])[::-1]
    if len(negatives) < _NEGATIVES_NEEDED:
        return 0.5, (
            f"0.5: the held-out quarter has {len(negatives)} negatives, and a false positive rate "
            f"of {FALSE_POSITIVE_RATE:.0%} needs {_NEGATIVES_NEEDED}"
        )
    first_to_pass = negatives[int(FALSE_POSITIVE_RATE * len(negatives))]
    # The lowest number above it; a probability rounded to 1 can only be flagged.
    threshold = min(float(np.nextafter(first_to_pass, 2.0)), 1.0)
    return threshold, (
        f"false positive rate at most {FALSE_POSITIVE_RATE:.0%} on the {len(negatives)} negatives "
        "of the held-out quarter"
    )


def _facts(states: States, items: Items) -> dict[str, Any]:
    """Return what the detector was trained on, in counts and keys."""
    return {
        "n": len(items),
        "by_class": {name: int((items.labels == i).sum()) for i, name in enumerate(items.classes)},
        "groups": len(set(items.groups)),
        "items": items.key,
        "states": states.key,
    }


def _quality(blind: Sequence[_Blind], items: Items, seed: int) -> dict[str, Any]:
    """Return the figures of the whole procedure on items it had not seen, by name."""
    rows = np.concatenate([one.rows for one in blind])
    scores = np.concatenate([one.scores for one in blind])
    # Each quarter's probabilities take the temperature of the next: fitted on other items.
    chances = np.concatenate(
        [
            probabilities(one.scores, other.temperature)
            for one, other in zip(blind, [*blind[1:], blind[0]], strict=True)
        ]
    )
    groups = [items.groups[row] for row in rows]
    found = figures("detector", scores, chances, items.labels[rows], groups, seed=seed)
    return {name: figure.as_dict() for name, figure in found.items()}
