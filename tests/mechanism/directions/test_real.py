"""On the embedded model: what parts harmful from benign requests stands above its floors."""

from __future__ import annotations

import pytest

from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.mechanism.directions.comparison import compare_estimators
from theodolite.mechanism.directions.contrast import read_contrasts
from theodolite.mechanism.items import make_items
from theodolite.models.open import open_model


@pytest.mark.slow
def test_estimators_pass_their_floors_on_the_bundled_set() -> None:
    prompts = list(bundled("refusal"))
    items = make_items({x: [p for p in prompts if p.label == x] for x in (HARMFUL, BENIGN)})
    model = open_model("smollm2")
    contrast = read_contrasts(model, items, hidden_indices=(18, 27))["prompt_last"]
    names = ("difference_in_means", "logistic", "lda", "leace")
    found = compare_estimators(contrast, names, fpr=0.05, shuffles=3)
    for row in found.frame():
        assert row["auroc_low"] > row["random_floor"]
        assert row["shuffled_high"] < row["auroc_low"]
        assert row["reliability"] > 2 * found.pairs()[0]["cosine_floor"]
    # Much the same ranking, from directions far apart.
    wide = [r for r in found.pairs() if {r["first"], r["second"]} == {"difference_in_means", "lda"}]
    assert all(row["degrees"] > 30 for row in wide)
