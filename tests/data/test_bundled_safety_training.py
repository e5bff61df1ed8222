"""The bundled training set: ours, balanced, and no goal of the refusal set is in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from theodolite.data.bundled import bundled, bundled_version
from theodolite.data.goal_splits import Placed, refuse_goals_in_two_splits
from theodolite.data.prompts import PromptSet
from theodolite.data.readers import read_prompts
from theodolite.mechanism.items import near_pairs
from theodolite.text.normalise import normalise

FROZEN = {2: "c3b7f53915aace4a021d7690dee9f6ae"}
OFFICIAL = os.environ.get("THEODOLITE_DATA")
PUBLIC = (
    "safety-heads/advbench_goal_target.csv",
    "safety-heads/jailbreakbench_behaviors.csv",
    "safety-heads/maliciousinstruct.csv",
    "refusal/xstest_prompts.csv",
    "hidden-state-probes/malicious_prompt.csv",
    "hidden-state-probes/normal_prompt.csv",
    "safety-residual-space/prompts_sample.csv",
)


@pytest.fixture(scope="module")
def training() -> PromptSet:
    return bundled("safety_training")


def test_a_changed_row_needs_a_new_version(training) -> None:
    assert training.fingerprint == FROZEN[bundled_version("safety_training")]


def test_counts(training) -> None:
    harmful = training.filter(label="harmful")
    assert Counter(p.category for p in harmful) == dict.fromkeys(
        bundled("refusal").values("category"), 105
    )
    assert Counter(p.label for p in training) == {"harmful": 1260, "benign": 1824}
    assert Counter(p.split for p in harmful) == {"train": 1224, "val": 36}
    assert set(Counter(p.meta["form"] for p in harmful)) == {
        "question",
        "command",
        "statement",
        "fragment",
    }


def test_twins_stay_together(training) -> None:
    refuse_goals_in_two_splits((Placed(p.id, p.goal_id, p.split) for p in training), "the set")
    for pair in training.values("pair_id"):
        twins = training.filter(pair_id=pair).prompts
        assert {p.label for p in twins} == {"harmful", "benign"}
        assert len({(p.goal_id, p.split, p.category) for p in twins}) == 1


def alike(ours: PromptSet, theirs: PromptSet) -> list[str]:
    """Return the ids of our requests that are near one of theirs (never the words)."""
    texts = [normalise(p.request, lower=True) for p in (*ours, *theirs)]
    pairs = near_pairs(texts)
    return [ours.prompts[a].id for a, b in pairs if a < len(ours) <= b]


def test_no_goal_of_the_refusal_set_is_trained_on(training) -> None:
    refusal = bundled("refusal")
    assert alike(training, refusal) == []
    assert not {p.goal_id for p in training} & {p.goal_id for p in refusal}
    assert max(likeness(training, refusal.split(split)) for split in ("val", "test")) <= 0.45


def likeness(ours: PromptSet, theirs: PromptSet) -> float:
    """Return the largest 5-gram Jaccard similarity of two requests of two sets."""

    def grams(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(max(len(text) - 4, 1))}

    known = [grams(p.request.lower()) for p in theirs]
    own = [grams(p.request.lower()) for p in ours]
    return max(len(a & b) / len(a | b) for a in own for b in known)


def cosines(ours: PromptSet, theirs: PromptSet, splits: Sequence[str]) -> list[np.ndarray]:
    """Return each of our requests' largest TF-IDF cosine with a request of each split."""
    words = TfidfVectorizer(stop_words="english").fit(p.request for p in (*ours, *theirs))
    own = words.transform([p.request for p in ours])
    known = [words.transform([p.request for p in theirs.split(split)]) for split in splits]
    return [(own @ other.T).max(axis=1).toarray()[:, 0] for other in known]


def test_requests_share_few_words_with_those_measured() -> None:
    training = bundled("safety_training")  # no fixture: a failure would print its words
    limits = {"test": 0.52, "val": 0.72}
    found = cosines(training, bundled("refusal"), tuple(limits))
    for largest, limit in zip(found, limits.values(), strict=True):
        assert len(largest) == len(training)
        assert largest.max() <= limit and np.quantile(largest, 0.99) < 0.40


def test_the_overlap_checks_can_fail(training) -> None:
    copied = bundled("refusal").split("test").prompts[:2]
    mixed = training.derive([*training.prompts[:5], *copied])
    assert alike(mixed, bundled("refusal")) == [p.id for p in copied]
    assert likeness(mixed, bundled("refusal")) == 1.0
    (test,) = cosines(mixed, bundled("refusal"), ("test",))
    assert test.max() == pytest.approx(1.0)


def test_no_two_goals_share_a_wording(training) -> None:
    assert len(training.distinct()) == len(training)
    prompts = training.prompts
    pairs = near_pairs([p.request for p in training])
    assert [
        (prompts[a].id, prompts[b].id) for a, b in pairs if prompts[a].goal_id != prompts[b].goal_id
    ] == []


@pytest.mark.skipif(not OFFICIAL, reason="THEODOLITE_DATA is not set")
@pytest.mark.parametrize("name", PUBLIC)
def test_no_wording_is_taken_from_a_public_set(name, training) -> None:
    assert alike(training, read_prompts(Path(OFFICIAL or "") / name)) == []
