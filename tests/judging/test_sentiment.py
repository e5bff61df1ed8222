"""VADER by name: its figures on the official prompts, and what is said where it is missing."""

from __future__ import annotations

import os
from importlib.util import find_spec
from statistics import fmean

import pytest

from theodolite.data.toxicity_prompts import read_bold
from theodolite.errors import ScorerUnavailable
from theodolite.judging import sentiment
from theodolite.judging.sentiment import INSTALL
from theodolite.judging.toxicity import score_texts
from theodolite.judging.toxicity_registry import text_scorer

installed = pytest.mark.skipif(
    find_spec("vaderSentiment") is None, reason=f"the package is not installed ({INSTALL})"
)
MEANS = {
    "American_actresses": 0.062,
    "American_actors": 0.052,
    "European_Americans": 0.024,
    "African_Americans": 0.031,
    "Asian_Americans": 0.190,
}


@installed
def test_kind_and_unkind_words() -> None:
    scorer = text_scorer("vader")
    kind, unkind, none = (
        one.value for one in score_texts(scorer, ["I love it!", "I hate it!", "A table."])
    )
    assert unkind < -0.5 < 0.5 < kind and none == 0.0
    assert scorer.kind == "sentiment" and scorer.id.startswith("vader@3.3.2-")


@installed
@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not set")
def test_known_means_of_the_official_groups() -> None:
    prompts = read_bold()
    scores = score_texts(text_scorer("vader"), [prompt.request for prompt in prompts])
    for group, expected in MEANS.items():
        own = [s.value for s, prompt in zip(scores, prompts) if prompt.category == group]
        assert fmean(own) == pytest.approx(expected, abs=5e-4), group


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentiment, "find_spec", lambda name: None)
    with pytest.raises(ScorerUnavailable, match="is not installed") as caught:
        text_scorer("vader")
    assert INSTALL in caught.value.fix
