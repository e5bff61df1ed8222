"""Probes of hidden states: reading the states, and fitting every layer.

python -m bench.probes [reading|fitting]

Reading: 100 prompts one at a time, as the published code does it (all hidden states with the
vocabulary logits, every position copied to the CPU), the same without logits and for the last
position only, and ours. The prompts are official ones where they are at hand, else bundled ones.

Fitting: states at `instruction_last`, classes harmful and benign, standardised, 70 % to train on;
labels as they are, and permuted, which is what a control costs. scikit-learn does what it is asked
layer by layer: `LogisticRegression` for five strengths by five folds (a loop, and its own
`LogisticRegressionCV`), `SVC`, and `RidgeCV` once per permutation. Equality is checked before the
clock starts, which warms all up: coefficients against fits of far smaller tolerance.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.prompts import Prompt
from theodolite.data.readers import read_prompts
from theodolite.errors import DataError
from theodolite.mechanism.items import make_items
from theodolite.mechanism.probes.classifiers import STRENGTHS, Design, Fit, fit
from theodolite.mechanism.probes.gram import PENALTIES, permutation_test
from theodolite.mechanism.probes.paper import paper_preset
from theodolite.mechanism.states import encode_for_states, read_states
from theodolite.models import open_model

PER_CLASS = 200
READ_PER_CLASS = 50
FOLDS = 5
PERMUTATIONS = 100
PERMUTED_LAYERS = 5  # RidgeCV needs minutes for all of them
RUNS = 3
Array = np.ndarray[Any, Any]


def items_of(per_class: int) -> tuple[str, Any]:
    """Return the name of the set and its first distinct prompts per class."""
    try:
        files = {"benign": "normal_prompt", "harmful": "malicious_prompt"}
        found = {n: read_prompts(official(f"hidden-state-probes/{f}")) for n, f in files.items()}
        return "official", make_items(found, limit=per_class)
    except DataError:
        rows = list(bundled("refusal"))
        own = {name: [p for p in rows if p.label == name] for name in ("benign", "harmful")}
        return "bundled", make_items(own, limit=per_class)


def published_way(model: Any, ids: Sequence[Sequence[int]]) -> Array:
    """All hidden states and the logits, one prompt at a time, every position kept as numpy."""
    rows = []
    for one in ids:
        output = model.module(input_ids=torch.tensor([one]), output_hidden_states=True)
        states = [hidden.numpy()[0] for hidden in output.hidden_states]
        rows.append(np.stack([np.array(hidden)[-1] for hidden in states]))
    return np.stack(rows)


def lean_way(model: Any, ids: Sequence[Sequence[int]]) -> Array:
    """The decoder without its head, one prompt at a time, the last position only."""
    rows = []
    for one in ids:
        output = model.module.model(
            input_ids=torch.tensor([one]), output_hidden_states=True, use_cache=False
        )
        rows.append(torch.stack([hidden[0, -1] for hidden in output.hidden_states]).numpy())
    return np.stack(rows)


@torch.inference_mode()
def reading(model: Any) -> None:
    """Check that all read the same states, then time them in turn."""
    source, items = items_of(READ_PER_CLASS)
    prompts: Sequence[Prompt] = items.prompts
    ids = [encoded.ids for encoded in encode_for_states(model, prompts)]
    rivals: dict[str, Callable[[], Array]] = {
        "theodolite, last position": lambda: read_states(
            model, prompts, positions=("prompt_last",)
        ).values[:, :, 0],
        "theodolite, three positions": lambda: read_states(model, prompts).values[:, :, 1],
        "published way": lambda: published_way(model, ids),
        "no logits, last position": lambda: lean_way(model, ids),
    }
    reference = rivals["published way"]()
    differences = {}
    for name, rival in rivals.items():
        # The last entry of hidden_states is after the final norm, so it is left out.
        error = np.linalg.norm((rival() - reference)[:, :-1], axis=-1)
        relative = error / np.linalg.norm(reference[:, :-1], axis=-1)
        differences[name] = f"{relative.max():.1e}"
    rows = summarise(side_by_side(rivals, runs=RUNS, warmup=0), "theodolite, last position")
    for row in rows:
        row["largest_difference"] = differences[row["rival"]]
    publish(
        "probes_reading",
        rows,
        prompts=f"{len(prompts)} {source}",
        mean_tokens=round(sum(map(len, ids)) / len(ids), 1),
        threads=torch.get_num_threads(),
    )


class Task:
    """States of every layer, split and standardised the same way for all rivals."""

    def __init__(self, states: Array, labels: Array) -> None:
        self.states, self.labels = states, labels
        self.train, self.test = train_test_split(
            np.arange(len(labels)), test_size=0.3, random_state=0, stratify=labels
        )
        self.y = labels[self.train]
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        self.inner = list(folds.split(self.train, self.y))
        self.layers = range(1, states.shape[1])

    def scaled(self, layer: int) -> tuple[Array, Array]:
        """Return standardised training and test rows."""
        x = self.states[:, layer].astype(np.float64)
        scaler = StandardScaler().fit(x[self.train])
        return scaler.transform(x[self.train]), scaler.transform(x[self.test])

    def ours(self, layer: int) -> Fit:
        """Return our logistic fit."""
        x = self.states[:, layer]
        return fit("logistic", Design.of(x[self.train], x[self.test]), self.y, inner=self.inner)

    def loop(self, layer: int) -> LogisticRegression:
        """Return the library's fit with the strength that a loop over folds finds."""
        train, _ = self.scaled(layer)
        right, loss = np.zeros(len(STRENGTHS)), np.zeros(len(STRENGTHS))
        for s, strength in enumerate(STRENGTHS):
            for own, val in self.inner:
                model = LogisticRegression(C=strength, max_iter=1000).fit(train[own], self.y[own])
                scores = model.decision_function(train[val])
                signed = np.where(self.y[val] > 0, scores, -scores)
                right[s] += (signed > 0).sum()
                loss[s] += np.logaddexp(0, -signed).sum()
        best = STRENGTHS[np.lexsort((loss, -right))[0]]
        return LogisticRegression(C=best, max_iter=1000).fit(train, self.y)

    def search(self, layer: int) -> LogisticRegressionCV:
        """Return the fit of the library's own search, which starts each fit at the last one."""
        train, _ = self.scaled(layer)
        model = LogisticRegressionCV(
            Cs=STRENGTHS, cv=self.inner, max_iter=1000, l1_ratios=(0,), use_legacy_attributes=False
        )
        return model.fit(train, self.y)

    def agreement(self) -> dict[str, Any]:
        """Return how far our fits and the library's, at our strength, agree."""
        worst, same, strengths = 0.0, [], 0
        for layer in self.layers:
            train, test = self.scaled(layer)
            ours = self.ours(layer)
            exact = LogisticRegression(C=ours.strength, tol=1e-9, max_iter=50_000)
            exact.fit(train, self.y)
            linear = ours.direction()
            assert linear is not None
            spread = self.states[self.train, layer].astype(np.float64).std(0)
            error = np.linalg.norm(linear[0] * spread - exact.coef_[0])
            worst = max(worst, float(error / np.linalg.norm(exact.coef_[0])))
            same.append((exact.predict(test) == ours.predicted).mean())
            strengths += ours.strength == self.loop(layer).C
        return {
            "same_predictions": float(np.mean(same)),
            "coefficient_difference": f"{worst:.1e}",
            "same_strength": f"{strengths} of {len(self.layers)} layers",
        }


def logistic_rows(name: str, task: Task) -> list[dict[str, Any]]:
    """Time all layers' logistic fits with inner folds."""
    equal = task.agreement()
    task.search(task.layers[0])
    rivals = {
        "theodolite": lambda: [task.ours(layer) for layer in task.layers],
        "scikit-learn, loop": lambda: [task.loop(layer) for layer in task.layers],
        "scikit-learn, own search": lambda: [task.search(layer) for layer in task.layers],
    }
    rows = summarise(side_by_side(rivals, runs=RUNS, warmup=0), "theodolite")
    return [
        {"task": name, **row, **(equal if row["rival"] == "theodolite" else {})} for row in rows
    ]


def paper_rows(task: Task) -> list[dict[str, Any]]:
    """Time the published SVM at all layers."""
    states, labels = task.states, task.labels

    def library() -> Array:
        train, test = train_test_split(np.arange(len(labels)), test_size=0.3, random_state=42)
        layers = range(states.shape[1])
        fits = [SVC(kernel="linear").fit(states[train, i], labels[train]) for i in layers]
        return np.stack([model.predict(states[test, i]) for i, model in enumerate(fits)])

    rivals = {
        "theodolite": lambda: paper_preset(states, labels, probes=("svm",))["svm"],
        "scikit-learn, loop": library,
    }
    same = float((rivals["theodolite"]() == library()).mean())
    rows = summarise(side_by_side(rivals, runs=RUNS, warmup=0), "theodolite")
    return [{"task": "published SVM", **row, "same_predictions": same} for row in rows]


def permutation_rows(task: Task) -> list[dict[str, Any]]:
    """Time a permutation test of some layers, with leave-one-out errors as its statistic."""
    rng = np.random.default_rng(0)
    layers = np.linspace(1, task.states.shape[1] - 1, PERMUTED_LAYERS).astype(int)
    x = [task.states[:, layer].astype(np.float64) for layer in layers]

    def library() -> Array:
        found = []
        for rows in x:
            scaled = StandardScaler().fit_transform(rows)
            unit = (scaled**2).sum() / len(scaled)
            explained = []
            for shuffle in range(PERMUTATIONS + 1):
                signs = 2.0 * (rng.permutation(task.labels) if shuffle else task.labels) - 1
                model = RidgeCV(alphas=unit * np.array(PENALTIES)).fit(scaled, signs)
                explained.append(1 + model.best_score_ / signs.var())
            found.append(explained)
        return np.array(found)

    def ours() -> Any:
        return permutation_test(x, task.labels, None, permutations=PERMUTATIONS, seed=0)

    difference = np.abs(ours().statistic - library()[:, 0]).max()
    rivals: dict[str, Callable[[], Any]] = {
        "theodolite": ours,
        "scikit-learn, refits": library,
        "theodolite, one permutation": lambda: permutation_test(
            x, task.labels, None, permutations=1, seed=0
        ),
    }
    rows = summarise(side_by_side(rivals, runs=RUNS, warmup=0), "theodolite")
    name = f"{PERMUTATIONS} permutations, {len(layers)} layers"
    return [{"task": name, **row, "statistic_difference": f"{difference:.1e}"} for row in rows]


def fitting(model: Any) -> None:
    """Check that all fits agree, then time them in turn."""
    source, items = items_of(PER_CLASS)
    states = read_states(model, items.prompts, positions=("instruction_last",)).values[:, :, 0]
    task = Task(states, items.labels)
    permuted = Task(states, np.random.default_rng(0).permutation(items.labels))
    rows = [
        *logistic_rows("logistic, labels", task),
        *logistic_rows("logistic, permuted labels", permuted),
        *paper_rows(task),
        *permutation_rows(task),
    ]
    publish(
        "probes_fitting",
        rows,
        prompts=f"{len(items.prompts)} {source}",
        layers=len(task.layers),
        width=states.shape[2],
        threads=torch.get_num_threads(),
    )


def main() -> None:
    """Time the reading and the fitting, or the one that is named."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    model = open_model("smollm2", dtype="float32")
    parts = {"reading": reading, "fitting": fitting}
    for name in sys.argv[1:] or parts:
        parts[name](model)


if __name__ == "__main__":
    main()
