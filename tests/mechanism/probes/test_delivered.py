"""The published experiment on its own files: the curve it reports, and what explains the curve.

Sets of the first 100 distinct prompts per file, chat template, the published classifiers. The files
are read from the data folder; where it is not set, nothing of this runs.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from theodolite.data.catalogue import official
from theodolite.mechanism.explain import Subject
from theodolite.mechanism.probes.explain import Options, fit
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.requests import Requests, read_requests
from theodolite.models import open_model
from theodolite.runs.panel import PanelResult

pytestmark = pytest.mark.skipif(
    not os.environ.get("THEODOLITE_DATA"), reason="the official files are not at hand"
)


def delivered(limit: int) -> Requests:
    names = ("malicious_prompt", "normal_prompt")
    harmful, benign = (str(official(f"hidden-state-probes/{name}")) for name in names)
    return read_requests(harmful, benign, limit=limit)


def published(limit: int, untrained: int) -> PanelResult:
    model, requests = open_model("smollm2"), delivered(limit)
    options = Options(preset="paper", untrained=untrained, causality=0)
    return fit(
        Reader(model, options.places(), "chat"), Subject(model, requests, "chat"), options, seed=0
    )


def test_few_prompts_show_the_shape_of_the_curve() -> None:
    """A small twin of the published table: 30 prompts per class, no untrained networks."""
    rows = [r for r in published(30, 0).tables["probes"] if r["probe"] == "svm"]
    curve = np.array([row["accuracy"] for row in rows])
    assert rows[0]["hidden_index"] == 0 and rows[0]["n"] == 18
    assert abs(curve[0] - 0.5) <= 0.2
    assert curve[8:].mean() > 0.8


@pytest.mark.slow
def test_the_published_table_with_its_floors() -> None:
    result = published(100, 3)
    # The published figures are the SVM's; one of 60 test items is 0.017.
    for probe, least in (("svm", 0.92), ("mlp", 0.90)):
        rows = [row for row in result.tables["probes"] if row["probe"] == probe]
        curve = np.array([row["accuracy"] for row in rows])
        control = np.array([row["control"] for row in rows])
        untrained = np.array([row["untrained_floor"] for row in rows])
        assert abs(curve[0] - 0.5) <= 0.06
        assert curve[4:].min() >= least
        assert abs(control[1:].mean() - 0.5) <= 0.1
        assert untrained[1:].mean() >= 0.85
    found = {m.name.rsplit("/", 1)[-1]: m for m in result.measurements}
    assert found["gain_over_text"].low is not None and found["gain_over_text"].low <= 0.0
    assert any("no evidence" in sentence for sentence in result.findings)
