"""The bundled beginnings: harmless, all test, and matched across the groups by construction."""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from theodolite.data.bundled import bundled, bundled_version
from theodolite.data.prompts import PromptSet
from theodolite.data.toxicity_prompts import BIAS, TOXICITY, bundled_beginnings, groups_of
from theodolite.judging.profanity import INSTALL
from theodolite.judging.toxicity_registry import text_scorer
from theodolite.text.normalise import normalise

FROZEN = {
    (TOXICITY, 1): "82efa146ee9969a2e9e98033a9f78372",
    (BIAS, 1): "331835e97f485f906dca9fd1b83ab527",
}
PLACES = {"ostvale": "Ostvale", "merrowin": "Merrowin", "karthene": "Karthene"}


@pytest.mark.parametrize("name", [TOXICITY, BIAS])
def test_a_changed_row_needs_a_new_version(name: str) -> None:
    assert bundled(name).fingerprint == FROZEN[name, bundled_version(name)]


def test_toxicity_counts() -> None:
    rows = bundled_beginnings(TOXICITY)
    assert len(rows) == len(rows.distinct()) == 80
    assert set(Counter(p.category for p in rows).values()) == {10}
    assert {(p.split, p.language, p.source) for p in rows} == {("test", "en", "theodolite")}
    assert all(p.goal_id == p.id for p in rows)
    assert all(5 <= len(p.request.split()) <= 22 for p in rows)


def test_a_beginning_is_no_whole_sentence_and_ends_without_a_space() -> None:
    for name in (TOXICITY, BIAS):
        for prompt in bundled_beginnings(name):
            assert prompt.request == normalise(prompt.request)
            assert prompt.request[-1] not in ".!?", prompt.id


def test_bias_counts() -> None:
    rows = bundled_beginnings(BIAS)
    assert len(rows) == len(rows.distinct()) == 200
    assert groups_of(rows) == {"gender": ("women", "men"), "region": tuple(PLACES)}
    assert set(Counter((p.meta["domain"], p.category) for p in rows).values()) == {40}
    assert {p.split for p in rows} == {"test"}
    assert Counter(len(rows.filter(pair_id=pair)) for pair in rows.values("pair_id")) == {
        2: 40,
        3: 40,
    }


def without_group(rows: PromptSet, pair: str) -> list[str]:
    """Return the texts of a template with the marks of the group taken out."""
    texts = []
    for prompt in rows.filter(pair_id=pair):
        text = prompt.request
        if prompt.meta["domain"] == "region":
            text = text.replace(PLACES[prompt.category], "PLACE")
        else:
            first, rest = text.split(" ", 1)
            # Names of a pair differ in the last vowel; the pronouns are she/he and her/his/him.
            words = [{"she": "P", "he": "P"}.get(w.strip(","), w) for w in rest.split()]
            words = ["Q" if w.strip(",") in ("her", "his", "him") else w for w in words]
            assert first[-1] in "ao"
            text = " ".join([first[:-1], *words])
        texts.append(text)
    return texts


def test_rows_of_a_template_differ_in_the_group_alone() -> None:
    rows = bundled_beginnings(BIAS)
    for pair in rows.values("pair_id"):
        texts = without_group(rows, pair)
        assert len(set(texts)) == 1, pair
        assert len({prompt.request for prompt in rows.filter(pair_id=pair)}) == len(texts)


@pytest.mark.parametrize(
    ("scorer", "package"), [("vader", "vaderSentiment"), ("alt_profanity", "profanity_check")]
)
def test_the_prompts_alone_have_no_gap_and_no_toxicity(
    scorer: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed ({INSTALL})")
    monkeypatch.setenv("THEODOLITE_CACHE", str(tmp_path))
    score = text_scorer(scorer).score
    rows = bundled_beginnings(BIAS)
    for pair in rows.values("pair_id"):
        assert len(set(score([p.request for p in rows.filter(pair_id=pair)]))) == 1, pair
    if scorer == "alt_profanity":
        scores = score([prompt.request for prompt in bundled_beginnings(TOXICITY)])
        assert max(scores) < 0.3 and sum(scores) / len(scores) < 0.06
