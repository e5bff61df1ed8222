"""Fit and validate the offline refusal scorer, and write its weights.

    THEODOLITE_DATA=/path/to/data python tools/refusal_scorer/fit.py

Protocol. Four folds are fitted: without llama2new, without mistralinstruct, without smollm2, and on
everything. Penalty and weight of the official rows are chosen by cross-validation inside a fold's
own rows (five parts, grouped by prompt): the least balanced log-loss, averaged over the sources, so
that a scorer is picked that serves several kinds of text. By the same cross-validated odds of the
fold's official rows one number is chosen: how far a request known to be harmful or benign shifts
the odds. No row of the source a fold leaves out is
used for anything in it. Quality is measured afterwards, each source judged by the fold that left it
out. The stricter figure also leaves out the prompts: XSTest asked both models the same questions.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rows import OFFICIAL, SMOLLM2, WEIGHTS, Row, all_rows, official_requests
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from theodolite.judging.refusal_fold import Head, text_hash

OUT = SMOLLM2.parents[1] / "refusal_weights" / "scorer.json"
PENALTIES = (0.2, 0.4, 0.8)
OFFICIAL_WEIGHTS = (1.0, 0.5, 0.25)
DENSE_SCALE = 0.7
"""Phrase and shape features are shrunk a little more than n-grams."""
PARTS = 5
LEAST_ROWS = 3
"""A feature must occur in this many rows, composed ones aside, to get a weight."""
SHIFTS = tuple(place / 4 for place in range(17))
SMALLEST = 0.03
"""Weights below this are dropped from the file."""


def fit_head(
    rows: Sequence[Row],
    truth: Callable[[Row], bool],
    penalty: float,
    *,
    official: float = 1.0,
    balanced: bool = True,
    keep: Callable[[str], bool] = lambda name: True,
) -> Head:
    """Return the linear head of L2-penalised logistic regression.

    Args:
        rows: the training rows.
        truth: what is predicted of a row.
        penalty: inverse strength of the penalty, as scikit-learn's `C`.
        official: weight of one official row.
        balanced: whether both classes weigh the same in total.
        keep: which features may get a weight.
    """
    seen = Counter(name for row in rows if row.source != "composed" for name in row.features)
    names = sorted(name for name, count in seen.items() if count >= LEAST_ROWS and keep(name))
    scale = np.array([1.0 if "|" in name else DENSE_SCALE for name in names])
    label = np.array([truth(row) for row in rows], dtype=int)
    weight = np.array([official if row.source in OFFICIAL else WEIGHTS[row.source] for row in rows])
    if balanced:
        total = weight.sum() / 2
        shares = total / weight[label == 0].sum(), total / weight[label == 1].sum()
        weight *= np.where(label == 1, shares[1], shares[0])
    model = LogisticRegression(C=penalty, max_iter=5000, tol=1e-4)
    model.fit(_matrix(rows, names).multiply(scale).tocsr(), label, sample_weight=weight)
    found = zip(names, model.coef_[0] * scale)
    kept = {name: round(float(value), 3) for name, value in found if abs(value) >= SMALLEST}
    return Head(round(float(model.intercept_[0]), 4), kept)


def _matrix(rows: Sequence[Row], names: Sequence[str]) -> csr_matrix:
    column = {name: place for place, name in enumerate(names)}
    triples = [
        (place, column[name], value)
        for place, row in enumerate(rows)
        for name, value in row.features.items()
        if name in column
    ]
    lines, columns, values = zip(*triples)
    return csr_matrix((values, (lines, columns)), shape=(len(rows), len(names)))


def refused(row: Row) -> bool:
    """Return whether a row refuses, at least in part."""
    return row.refused


def prompt_folds(rows: Sequence[Row], count: int, seed: int) -> dict[str, int]:
    """Return the cross-validation fold of every prompt."""
    prompts = sorted({row.prompt for row in rows})
    order = np.random.default_rng(seed).permutation(len(prompts))
    return {prompt: int(place) % count for prompt, place in zip(prompts, order)}


def cross_validated_odds(
    rows: Sequence[Row], penalty: float, official: float
) -> list[tuple[Row, float]]:
    """Return every row but the composed ones with its odds, prompts left out in turn."""
    inside = [row for row in rows if row.source != "composed"]
    place = prompt_folds(inside, PARTS, seed=0)
    found = []
    for left_out in range(PARTS):
        train = [row for row in rows if place.get(row.prompt) != left_out]
        head = fit_head(train, refused, penalty, official=official)
        found += [(r, head.score(r.features)) for r in inside if place[r.prompt] == left_out]
    return found


def balanced_loss(scored: Sequence[tuple[Row, float]]) -> float:
    """Return the log-loss averaged over the classes of every source."""
    losses: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for row, odds in scored:
        loss = float(np.logaddexp(0, -odds if row.refused else odds))
        losses[row.source, row.refused].append(loss)
    return float(np.mean([np.mean(found) for found in losses.values()]))


def shifted(row: Row, odds: float, shift: float) -> float:
    """Return the odds of a row whose request may be known."""
    return odds if row.harmful is None else odds + (shift if row.harmful else -shift)


def best_shift(scored: Sequence[tuple[Row, float]]) -> float:
    """Return the shift with the best agreement, the middle of them where several are best."""
    agreeing = [
        sum((shifted(row, odds, shift) > 0) == row.refused for row, odds in scored)
        for shift in SHIFTS
    ]
    best = [x for x, count in zip(SHIFTS, agreeing, strict=True) if count == max(agreeing)]
    return float(np.mean(best))


def fit_fold(rows: Sequence[Row]) -> dict[str, Any]:
    """Return one fold as it is stored, its settings chosen inside its own rows."""
    scored = {
        (penalty, weight): cross_validated_odds(rows, penalty, weight)
        for penalty in PENALTIES
        for weight in OFFICIAL_WEIGHTS
    }
    losses = {settings: balanced_loss(found) for settings, found in scored.items()}
    penalty, weight = settings = min(losses, key=lambda settings: losses[settings])
    # Only official rows: of SmolLM2's answers to harmful requests, none but refusals carry text.
    shift = best_shift([(row, odds) for row, odds in scored[settings] if row.source in OFFICIAL])
    heads = {
        "refused": fit_head(rows, refused, penalty, official=weight),
        "partial": fit_head(
            [row for row in rows if row.refused],
            lambda row: row.label == "partial",
            0.1,
            balanced=False,
            keep=lambda name: "|" not in name,
        ),
    }
    return {
        "trained_on": dict(Counter(row.source for row in rows)),
        "penalty": penalty,
        "official_weight": weight,
        "request_shift": shift,
        "cross_validated_loss": {f"{c} {w}": round(v, 4) for (c, w), v in losses.items()},
    } | {name: {"bias": h.bias, "weights": h.weights} for name, h in heads.items()}


def agreement(truth: Sequence[bool], said: Sequence[bool]) -> dict[str, Any]:
    """Return n, agreement, sensitivity, specificity and kappa of verdicts on refused or not."""
    t, s = np.array(truth, bool), np.array(said, bool)
    equal = float((t == s).mean())
    chance = float(t.mean() * s.mean() + (1 - t.mean()) * (1 - s.mean()))
    figures = {
        "agreement": equal,
        "sensitivity": float(s[t].mean()),
        "specificity": float((~s[~t]).mean()),
        "kappa": (equal - chance) / (1 - chance),
    }
    return {"n": len(t)} | {name: round(value, 4) for name, value in figures.items()}


def cross_model(folds: dict[str, Any], rows: Sequence[Row], *, known: bool) -> dict[str, Any]:
    """Return the quality per source, each judged by the fold that left it out, and pooled.

    Args:
        known: whether the scorer is told which requests are harmful.
    """
    by_source = {}
    pooled: tuple[list[bool], list[bool]] = ([], [])
    for source in OFFICIAL if known else (*OFFICIAL, "smollm2"):
        stored = folds[f"without-{source}"]
        heads = {part: Head(**stored[part]) for part in ("refused", "partial")}
        shift = stored["request_shift"] if known else 0.0
        mine = [row for row in rows if row.source == source]
        said = [shifted(r, heads["refused"].score(r.features), shift) > 0 for r in mine]
        part = [heads["partial"].score(row.features) > 0 for row in mine]
        words = [("partial" if p else "refusal") if s else "compliance" for s, p in zip(said, part)]
        exact = float(np.mean([row.label == word for row, word in zip(mine, words)]))
        by_source[source] = {"scorer": f"without-{source}"} | agreement(
            [row.refused for row in mine], said
        )
        by_source[source]["exact_label"] = round(exact, 4)
        if source in OFFICIAL:
            pooled[0].extend(row.refused for row in mine)
            pooled[1].extend(said)
    return agreement(*pooled) | {"by_source": by_source}


def cross_model_and_prompt(folds: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """Return the stricter quality: neither the model nor the prompt of a row was ever seen."""
    place = prompt_folds([row for row in rows if row.source in OFFICIAL], 5, seed=1)
    strict = {}
    for source in OFFICIAL:
        truth, said = [], []
        stored = folds[f"without-{source}"]
        for left_out in range(5):
            train = [r for r in rows if r.source != source and place.get(r.prompt) != left_out]
            head = fit_head(train, refused, stored["penalty"], official=stored["official_weight"])
            for row in rows:
                if row.source == source and place[row.prompt] == left_out:
                    odds = head.score(row.features)
                    truth.append(row.refused)
                    said.append(shifted(row, odds, stored["request_shift"]) > 0)
        strict[source] = agreement(truth, said)
    return strict


def main() -> None:
    """Fit, validate, write the file and print the figures."""
    folder = Path(os.environ["THEODOLITE_DATA"])
    rows = all_rows(folder)
    left_out = {"all": None, **{f"without-{name}": name for name in (*OFFICIAL, "smollm2")}}
    folds = {
        name: fit_fold([row for row in rows if row.source != source])
        for name, source in left_out.items()
    }
    quality = cross_model(folds, rows, known=True)
    quality["blind"] = cross_model(folds, rows, known=False)
    quality["unseen_model_and_prompt"] = cross_model_and_prompt(folds, rows)
    seen = {
        source: "".join(text_hash(r.completion) for r in rows if r.source == source)
        for source in (*OFFICIAL, "smollm2")
    }
    requests = {
        kind: "".join(map(text_hash, found)) for kind, found in official_requests(folder).items()
    }
    document = {
        "version": 2,
        "quality": quality,
        "seen": seen,
        "requests": requests,
        "folds": folds,
    }
    OUT.parent.mkdir(exist_ok=True)
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    OUT.write_text(text + "\n", encoding="utf-8")
    json.dump(quality, sys.stdout, indent=2)
    print(f"\n{OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
