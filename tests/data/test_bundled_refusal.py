"""The bundled refusal set: frozen, balanced, ours, and not to be told apart by its words alone."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from theodolite.data.bundled import bundled, bundled_names, bundled_version
from theodolite.data.prompts import PromptSet
from theodolite.data.readers import read_prompts
from theodolite.errors import DataError
from theodolite.text.normalise import normalise

FROZEN = {1: "94a38848ade60cb2184762ef882e6944"}
OFFICIAL = os.environ.get("THEODOLITE_DATA")
PUBLIC = (
    "safety-heads/advbench_goal_target.csv",
    "safety-heads/jailbreakbench_behaviors.csv",
    "safety-heads/maliciousinstruct.csv",
    "refusal/xstest_prompts.csv",
    "hidden-state-probes/malicious_prompt.csv",
    "hidden-state-probes/normal_prompt.csv",
    "course-correction/c2_eval_test.jsonl",
    "safety-residual-space/prompts_sample.csv",
)


@pytest.fixture(scope="module")
def refusal() -> PromptSet:
    return bundled("refusal")


def test_a_changed_row_needs_a_new_version(refusal) -> None:
    assert refusal.fingerprint == FROZEN[bundled_version("refusal")]
    assert bundled("refusal") is refusal


def test_an_unknown_set_is_refused() -> None:
    assert bundled_names()[:4] == ("refusal", "passages", "safety_training", "course_correction")
    with pytest.raises(DataError, match="Did you mean `refusal`"):
        bundled("refusals")


def test_counts(refusal) -> None:
    harmful, benign = refusal.filter(label="harmful"), refusal.filter(label="benign")
    assert len(harmful) == len(benign) == 120
    assert len(refusal.values("category")) == 12
    assert Counter(p.split for p in harmful) == {"train": 48, "val": 24, "test": 48}
    cells = Counter((p.category, p.split, p.meta["form"], p.label) for p in refusal)
    per_cell = {"train": 2, "val": 1, "test": 2}
    assert len(cells) == 12 * 3 * 2 * 2
    assert all(count == per_cell[split] for (_, split, _, _), count in cells.items())


def test_twins_share_everything_but_label_and_words(refusal) -> None:
    twins = {pair: refusal.filter(pair_id=pair).prompts for pair in refusal.values("pair_id")}
    assert len(twins) == 120
    for harmful, benign in twins.values():
        assert (harmful.label, benign.label) == ("harmful", "benign")
        assert harmful.id == harmful.pair_id == harmful.goal_id
        assert benign.goal_id == benign.id == f"{harmful.id}-benign"
        for name in ("category", "split", "source", "style", "language", "meta"):
            assert getattr(harmful, name) == getattr(benign, name)
        assert harmful.request.split()[0] == benign.request.split()[0]
        shared, all_words = words(harmful.request) & words(benign.request), words(harmful.request)
        assert len(shared) >= 0.4 * len(all_words), harmful.id


def test_every_request_is_one_short_sentence(refusal) -> None:
    assert len(refusal.distinct()) == 240
    for prompt in refusal:
        question = prompt.meta["form"] == "question"
        assert re.fullmatch(r"[A-Z][^.?!]*" + (r"\?" if question else r"\."), prompt.request), (
            prompt.id
        )
        assert 5 <= len(prompt.request.split()) <= 16, prompt.id
        assert prompt.request == normalise(prompt.request) and prompt.request.isascii()
        assert prompt.source == f"theodolite-{prompt.meta['form']}s"


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z0-9']+", normalise(text, lower=True)))


def near_duplicates(ours: PromptSet, theirs: PromptSet) -> list[str]:
    """Return the ids of our prompts whose word set is nearly one of theirs (never the words)."""
    known = {words(prompt.request) for prompt in theirs}
    return [p.id for p in ours if any(near(words(p.request), other) for other in known)]


def near(a: frozenset[str], b: frozenset[str]) -> bool:
    """Say whether the Jaccard index of two word sets is above 0.8."""
    return min(len(a), len(b)) > 0.8 * max(len(a), len(b)) and len(a & b) > 0.8 * len(a | b)


@pytest.mark.skipif(not OFFICIAL, reason="THEODOLITE_DATA is not set")
@pytest.mark.parametrize("name", PUBLIC)
def test_no_wording_is_taken_from_a_public_set(name, refusal) -> None:
    assert near_duplicates(refusal, read_prompts(Path(OFFICIAL or "") / name)) == []


def test_the_duplicate_check_can_fail(refusal) -> None:
    copied = [p for p in refusal if p.category == "cyber"][:3]
    assert near_duplicates(refusal, refusal.derive(copied)) == [p.id for p in copied]


def fit_and_score(train: PromptSet, test: PromptSet, **vectoriser: object) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(**vectoriser), LogisticRegression(C=10, max_iter=1000))
    model.fit([p.request for p in train], [p.label for p in train])
    return float(model.score([p.request for p in test], [p.label for p in test]))


def test_the_text_only_floor(refusal) -> None:
    """A bag of words trained on the train goals knows little about the test goals (0.594)."""
    train, test = refusal.split("train"), refusal.split("test")
    floor = fit_and_score(train, test)
    characters = fit_and_score(train, test, analyzer="char_wb", ngram_range=(2, 5))
    assert 0.50 <= floor <= 0.70
    assert 0.50 <= characters <= 0.70
    forms = {form: refusal.filter(source=f"theodolite-{form}s") for form in ("command", "question")}
    assert fit_and_score(forms["command"], forms["question"]) <= 0.75
    # Twins of test goals known: the words do carry the label once they have been seen.
    assert fit_and_score(test, test) == 1.0


def test_length_does_not_tell_the_label(refusal) -> None:
    lengths = {
        label: np.array([len(p.request.split()) for p in refusal.filter(label=label)])
        for label in ("harmful", "benign")
    }
    both = np.concatenate(list(lengths.values()))
    best = max(
        np.mean(np.r_[lengths["harmful"] <= cut, lengths["benign"] > cut])
        for cut in np.unique(both)
    )
    assert max(best, 1 - best) < 0.6
