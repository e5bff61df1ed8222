"""Separability by layer: from which block on can harmful and benign requests be told apart?

Two classifiers are fitted on captured states of the train goals and scored on the test goals: the
difference of means (a direction) and a logistic probe. Beside them stands what the words alone give
away: TF-IDF with the same logistic classifier on the same split. A curve above that floor says that
the network adds something to the words; a curve at the floor says nothing about the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure, Progress

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.run import Run

METHOD_VERSION = 1
Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
Classifier = Callable[[Array], Labels]
METHODS = ("difference_of_means", "logistic")
POSITIONS = ("instruction_last", "prompt_last")
# Strength of the L2 penalty; states are standardised first, so one value serves every layer.
LOGISTIC_C = 0.01


@dataclass(frozen=True)
class SeparabilityResult:
    """Outcomes of both classifiers at every layer and position on the test goals.

    Args:
        correct: bool (method, position, hidden_index, test prompt): the class was right.
        validation: float (method, position, hidden_index): accuracy on the val goals, which picks
            the layer that is named, so that the named figure is not the best of many.
        text_correct: bool (test prompt): the TF-IDF floor's outcomes.
        labels: bool (test prompt): True where harmful.
        clusters: pair ids of the test prompts; a harmful request and its benign twin share one.
        prompt_ids: ids of the test prompts.
        n_train: prompts the classifiers were fitted on.
    """

    correct: NDArray[np.bool_]
    validation: NDArray[np.float64]
    text_correct: NDArray[np.bool_]
    labels: NDArray[np.bool_]
    clusters: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    n_train: int
    seed: int

    @property
    def floor(self) -> Floor:
        """The accuracy that the words alone give on the same items."""
        return Floor("TF-IDF text", float(self.text_correct.mean()))

    def accuracy(self, method: str, position: str, hidden_index: int) -> Measurement:
        """Return test accuracy at one place, with an interval clustered by pair."""
        m, p = METHODS.index(method), POSITIONS.index(position)
        return proportion(
            f"separability/{method}/{position}/{hidden_index}",
            self.correct[m, p, hidden_index].tolist(),
            clusters=self.clusters,
            floor=self.floor,
            unit="accuracy",
            seed=self.seed,
        )

    def chosen_layer(self, method: str, position: str) -> int:
        """Return the hidden_index that is best on the val goals (the first, if several are)."""
        m, p = METHODS.index(method), POSITIONS.index(position)
        return int(self.validation[m, p].argmax())

    def chosen_place(self) -> tuple[str, str, int]:
        """Return the (method, position, hidden_index) that is best on the val goals."""
        m, p, layer = np.unravel_index(self.validation.argmax(), self.validation.shape)
        return METHODS[m], POSITIONS[p], int(layer)

    def gain(self) -> Measurement:
        """Return accuracy at the chosen place minus the text floor's, paired by test prompt."""
        method, position, layer = self.chosen_place()
        correct = self.correct[METHODS.index(method), POSITIONS.index(position), layer]
        return paired_difference(
            correct.tolist(),
            self.text_correct.tolist(),
            self.clusters,
            name="separability/gain_over_text",
            unit="accuracy",
            floor=Floor("nothing beyond the words", 0.0),
            seed=self.seed,
        )

    def measurements(self) -> list[Measurement]:
        """Return the text floor, what the states add to it, and accuracy per method and position.

        Layers are chosen on the val goals, so that no figure is the best of many on the test goals.
        """
        rows = [
            self.gain(),
            proportion(
                "separability/text_floor",
                self.text_correct.tolist(),
                clusters=self.clusters,
                floor=Floor(
                    "always one class", float(max(self.labels.mean(), 1 - self.labels.mean()))
                ),
                unit="accuracy",
                seed=self.seed,
            ),
        ]
        for method in METHODS:
            for position in POSITIONS:
                layer = self.chosen_layer(method, position)
                place = self.accuracy(method, position, layer)
                note = f"hidden_index {layer}, chosen on the val goals"
                rows.append(replace(place, name=f"separability/{method}/{position}", reason=note))
        return rows

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per method, position and layer; `hidden_index` 0 is the embeddings."""
        rows = []
        for method in METHODS:
            for position in POSITIONS:
                for index in range(self.correct.shape[2]):
                    m = self.accuracy(method, position, index)
                    site = "resid_pre" if index == 0 else "resid_post"
                    rows.append(
                        {
                            "method": method,
                            "position": position,
                            "hidden_index": index,
                            "layer": max(index - 1, 0),
                            "site": site,
                            "accuracy": m.value,
                            "low": m.low,
                            "high": m.high,
                            "n": m.n,
                            "n_clusters": m.n_clusters,
                            "text_floor": self.floor.value,
                        }
                    )
        return rows

    def outcomes(self) -> list[dict[str, Any]]:
        """Return one row per measurement and test prompt, so that two models can be paired."""
        method, position, layer = self.chosen_place()
        best = self.correct[METHODS.index(method), POSITIONS.index(position), layer]
        columns = {
            "separability/gain_over_text": best.astype(float) - self.text_correct,
            "separability/text_floor": self.text_correct,
        }
        for m, method in enumerate(METHODS):
            for p, position in enumerate(POSITIONS):
                layer = self.chosen_layer(method, position)
                columns[f"separability/{method}/{position}"] = self.correct[m, p, layer]
        return [
            {"measurement": name, "id": prompt, "outcome": float(right), "cluster": cluster}
            for name, column in columns.items()
            for prompt, cluster, right in zip(self.prompt_ids, self.clusters, column, strict=True)
        ]

    def figure(self) -> Figure:
        """Return the curve by layer with its bands and the text floor."""
        table = self.frame()
        series = []
        for method in METHODS:
            for position in POSITIONS:
                rows = [r for r in table if r["method"] == method and r["position"] == position]
                label = f"{method.replace('_', ' ')}, {position.replace('_', ' ')}"
                series.append(
                    Series(
                        label,
                        [r["hidden_index"] for r in rows],
                        [r["accuracy"] for r in rows],
                        [r["low"] for r in rows],
                        [r["high"] for r in rows],
                    )
                )
        floors = [FloorLine(self.floor.name, self.floor.value), FloorLine("one class", 0.5)]
        spec = curve_by_layer(series, y_title="accuracy on test goals", floors=floors)
        caption = (
            f"Harmful against benign requests: accuracy on {len(self.labels)} test prompts "
            f"({len(set(self.clusters))} pairs), fitted on {self.n_train} prompts with other "
            "goals. "
            "Bands: 95 % intervals by pair, one layer at a time. 0 on the axis is the embeddings."
        )
        return Figure("separability", "Where harm becomes readable", caption, spec, "separability")

    def save(self, run: Run) -> None:
        """Write the arrays and the items they belong to into the run folder."""
        arrays = {"correct": self.correct, "validation": self.validation}
        run.save_tensors("separability", {**arrays, "design": np.array([self.n_train, self.seed])})
        run.save_table(
            "separability_items",
            [
                {"id": i, "pair_id": c, "harmful": bool(h), "text_correct": bool(t)}
                for i, c, h, t in zip(
                    self.prompt_ids, self.clusters, self.labels, self.text_correct, strict=True
                )
            ],
        )

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        arrays = run.load_tensors("separability")
        items = run.load_table("separability_items")
        n_train, seed = (int(v) for v in np.asarray(arrays["design"]))
        return cls(
            correct=np.asarray(arrays["correct"], bool),
            validation=np.asarray(arrays["validation"], np.float64),
            text_correct=np.array([row["text_correct"] for row in items], bool),
            labels=np.array([row["harmful"] for row in items], bool),
            clusters=tuple(row["pair_id"] for row in items),
            prompt_ids=tuple(row["id"] for row in items),
            n_train=n_train,
            seed=seed,
        )


def separability(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> SeparabilityResult:
    """Measure how well each layer tells harmful from benign requests, split by goal.

    Source: difference of means as in arXiv:2406.11717; the split by goal, twins and text floor are
    ours.
    Args:
        prompts: with `label` harmful | benign, `split` train | val | test and `pair_id`.
    Returns: outcomes per method, position, layer (embeddings and every block) and test prompt.
    Raises: DataError: a split lacks one of the two classes.
    Note: one captured forward pass per prompt; deterministic.
    """
    from theodolite.engine import capture

    prompts = [p for p in prompts if p.label in ("harmful", "benign")]
    splits = {
        name: [i for i, p in enumerate(prompts) if p.split == name]
        for name in ("train", "val", "test")
    }
    for name, rows in splits.items():
        if {prompts[i].label for i in rows} != {"harmful", "benign"}:
            raise DataError(
                f"The {name} split holds no {'prompts' if not rows else 'second class'}.",
                fix="Give prompts labelled harmful and benign in the splits train, val and test.",
            )
    states = capture(
        model,
        prompts,
        sites=("resid_pre", "resid_post"),
        positions=POSITIONS,
        journal=journal,
        progress=progress,
    )
    stacked = hidden_states(states.get("resid_pre"), states.get("resid_post"))
    labels = np.array([p.label == "harmful" for p in prompts])
    train, val, test = (np.array(splits[name]) for name in ("train", "val", "test"))
    n_layers = stacked.shape[1]
    correct = np.zeros((len(METHODS), len(POSITIONS), n_layers, len(test)), bool)
    validation = np.zeros(correct.shape[:3])
    for p in range(len(POSITIONS)):
        for layer in range(n_layers):
            x = stacked[:, layer, p].astype(np.float64)
            for m, fit in enumerate((difference_of_means, logistic)):
                predict = fit(x[train], labels[train])
                correct[m, p, layer] = predict(x[test]) == labels[test]
                validation[m, p, layer] = (predict(x[val]) == labels[val]).mean()
    texts = [prompt.as_messages()[-1]["content"] for prompt in prompts]
    text_correct = (
        text_floor([texts[i] for i in train], labels[train], [texts[i] for i in test])
        == labels[test]
    )
    return SeparabilityResult(
        correct=correct,
        validation=validation,
        text_correct=text_correct,
        labels=labels[test],
        clusters=tuple(prompts[i].pair_id or prompts[i].id for i in test),
        prompt_ids=tuple(prompts[i].id for i in test),
        n_train=len(train),
        seed=seed,
    )


def hidden_states(resid_pre: Any, resid_post: Any) -> Array:
    """Return states by `hidden_index` (prompt, hidden_index, position, d_model), embeddings first.

    Args:
        resid_pre, resid_post: tensors (prompt, layer, position, d_model).
    """
    first = np.asarray(resid_pre[:, :1], np.float64)
    return np.concatenate([first, np.asarray(resid_post, np.float64)], axis=1)


def difference_of_means(x: Array, harmful: Labels) -> Classifier:
    """Fit the direction between the class means; the threshold is half way between them.

    Args:
        x: states (prompt, d_model); harmful: bool (prompt).
    """
    mean_harmful, mean_benign = x[harmful].mean(0), x[~harmful].mean(0)
    direction = mean_harmful - mean_benign
    middle = direction @ (mean_harmful + mean_benign) / 2
    return lambda states: states @ direction > middle


def logistic(x: Array, harmful: Labels) -> Classifier:
    """Fit an L2-penalised logistic probe on standardised states.

    Args:
        x: states (prompt, d_model); harmful: bool (prompt).
    """
    from sklearn.linear_model import LogisticRegression

    centre, scale = x.mean(0), x.std(0)
    # A coordinate that never moves (one shared template token at the embeddings) carries nothing.
    scale = np.where(scale > 1e-6, scale, np.inf)
    probe = LogisticRegression(C=LOGISTIC_C, max_iter=1000).fit((x - centre) / scale, harmful)
    return lambda states: np.asarray(probe.predict((states - centre) / scale), bool)


def text_floor(train: Sequence[str], harmful: Labels, test: Sequence[str]) -> Labels:
    """Return the classes that TF-IDF word features alone predict for the test texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    classifier = make_pipeline(words, LogisticRegression(C=10.0, max_iter=1000))
    return np.asarray(classifier.fit(train, harmful).predict(test), bool)
