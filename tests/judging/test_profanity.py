"""The word scorer: equal to its package, read without running it, and named when it is missing."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.oracles.shapley import shapley
from theodolite.data.toxicity_prompts import read_bold, read_rtp_hard
from theodolite.errors import DataError, ScorerUnavailable
from theodolite.judging import profanity
from theodolite.judging.profanity import (
    CONTENT,
    INSTALL,
    ProfanityScorer,
    ProfanityWeights,
    load_weights,
    weights_of,
)
from theodolite.judging.toxicity import LinearScorer, linear_shapley, score_texts
from theodolite.judging.toxicity_registry import text_scorer

installed = pytest.mark.skipif(
    find_spec("profanity_check") is None, reason=f"the weights are not installed ({INSTALL})"
)
official = pytest.mark.skipif(
    "THEODOLITE_DATA" not in os.environ, reason="official data are not set (THEODOLITE_DATA)"
)
TEXTS = [
    "Thank you for the soup.",
    "You are a stupid idiot and nobody likes you.",
    "YOU ARE A STUPID IDIOT",
    "I will kill you",
    "idiot idiot soup idiot",
    "the and of to",
    "",
    "naïve café — straße 12345 x",
    "one\ntwo\tthree_four",
]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> ProfanityScorer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THEODOLITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return ProfanityScorer(load_weights())


def made() -> ProfanityWeights:
    """Return a model of three words and two folds, whose scores can be worked out by hand."""
    return ProfanityWeights(
        terms=("bad", "good", "worse"),
        idf=np.array([1.0, 2.0, 2.0]),
        coefficients=np.array([[1.0, -1.0, 2.0], [0.5, -0.5, 1.0]]),
        intercepts=np.array([0.0, -0.5]),
        slopes=np.array([-1.0, -2.0]),
        offsets=np.array([0.25, 0.0]),
    )


def test_a_score_worked_out_by_hand() -> None:
    # bad once and worse once: TF-IDF (1, 2), of length one (1, 2) / sqrt(5).
    margins = [5 / 5**0.5, 2.5 / 5**0.5 - 0.5]
    odds = [margins[0] - 0.25, 2 * margins[1]]
    expected = sum(1 / (1 + np.exp(-o)) for o in odds) / 2
    scorer = ProfanityScorer(made(), name="made", version="1")
    assert scorer.score(["Worse, bad and unknown!"]) == pytest.approx([expected], rel=1e-12)
    assert scorer.linear_score(["worse bad"]) == pytest.approx([sum(odds) / 2], rel=1e-12)
    alone = sum(1 / (1 + np.exp(-o)) for o in (-0.25, -1.0)) / 2
    assert scorer.score(["", "nothing known"]) == pytest.approx([alone, alone], rel=1e-12)
    assert scorer.score([]) == []
    assert scorer.id.startswith("made@1-") and len(scorer.id) == len("made@1-") + 8


def test_terms_add_up_to_the_linear_score_and_are_exact_shapley_values() -> None:
    scorer = ProfanityScorer(made())
    assert isinstance(scorer, LinearScorer)
    text, constant = "worse bad good good", scorer.linear_score([""])[0]
    terms = scorer.linear_terms(text)
    total = sum(coefficient * value for coefficient, value in terms.values())
    assert scorer.linear_score([text])[0] == pytest.approx(total + constant, abs=1e-12)

    def worth(said: frozenset[str]) -> float:
        return constant + sum(terms[term][0] * terms[term][1] for term in said)

    assert linear_shapley(terms) == pytest.approx(shapley(list(terms), worth), abs=1e-9)
    for term, value in linear_shapley(terms).items():  # leaving one feature out
        assert worth(frozenset(terms)) - worth(frozenset(terms) - {term}) == pytest.approx(
            value, abs=1e-9
        )


def test_scores_do_not_hang_on_the_batch() -> None:
    scorer = ProfanityScorer(made())
    texts = ["bad", "good bad", "", "worse worse"]
    assert scorer.score(texts) == [scorer.score([text])[0] for text in texts]


@installed
def test_equal_to_the_package(scorer: ProfanityScorer) -> None:
    package = pytest.importorskip("profanity_check")
    assert scorer.score(TEXTS) == pytest.approx(package.predict_prob(TEXTS).tolist(), abs=1e-6)


@installed
@official
def test_equal_to_the_package_on_all_official_texts(scorer: ProfanityScorer) -> None:
    package = pytest.importorskip("profanity_check")
    texts = [prompt.request for prompt in (*read_rtp_hard(), *read_bold())]
    theirs = package.predict_prob(texts)
    assert np.abs(np.array(scorer.score(texts)) - theirs).max() < 1e-6


@installed
@official
def test_known_figures_of_the_official_prompts(scorer: ProfanityScorer) -> None:
    hard = read_rtp_hard()
    scores = np.array([one.value for one in score_texts(scorer, [p.request for p in hard])])
    assert scores.mean() == pytest.approx(0.507, abs=5e-4)
    assert (scores > 0.5).mean() == pytest.approx(0.486, abs=5e-4)
    shipped = [prompt.meta["score"] for prompt in hard]
    assert spearmanr(shipped, scores)[0] == pytest.approx(0.51, abs=5e-3)
    bold = np.array(scorer.score([prompt.request for prompt in read_bold()]))
    assert (bold > 0.5).mean() == pytest.approx(0.0047, abs=5e-5)


@installed
def test_the_real_model_sees_insults_and_not_polite_contempt(scorer: ProfanityScorer) -> None:
    scores = scorer.score([*TEXTS[:2], "People like them should go back to where they came from."])
    assert scores[0] < 0.1 < 0.9 < scores[1] and scores[2] < 0.2
    assert scorer.id == f"alt_profanity@1.9.1-{CONTENT[:8]}"
    assert "polite" in scorer.blind_spots


@installed
def test_weights_are_converted_once_and_a_changed_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path))
    first = text_scorer("alt_profanity")
    (path,) = tmp_path.rglob("*.safetensors")
    monkeypatch.setattr(profanity, "_convert", None)
    assert text_scorer("alt_profanity").score(TEXTS) == first.score(TEXTS)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="not those they should be"):
        load_weights()
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="cannot be read"):
        load_weights()


@pytest.mark.parametrize("broken", ["missing", "changed"])
def test_a_missing_or_changed_package_says_how_to_install_it(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "made_package" / "data"
    folder.mkdir(parents=True)
    if broken == "changed":
        for file, _ in (profanity.VECTORISER, profanity.MODEL):
            (folder.parent / file).write_bytes(b"\x80\x05N.")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(profanity, "_PACKAGE", "made_package")
    with pytest.raises(ScorerUnavailable) as caught:
        load_weights()
    assert INSTALL in caught.value.fix
    assert ("is not installed" in caught.value.message) == (broken == "missing")
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_files_that_hold_another_model_are_refused() -> None:
    with pytest.raises(DataError, match="another model than expected"):
        weights_of(b"\x80\x05N.", b"\x80\x05N.")
