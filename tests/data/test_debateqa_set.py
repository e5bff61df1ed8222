"""The bundled debatable, settled and contested questions: frozen, fair to sides, alike in form."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations

import numpy as np
import pytest

from theodolite.data.bundled import bundled, bundled_version
from theodolite.data.catalogue import official
from theodolite.data.debates import (
    CONTESTED,
    DEBATABLE,
    SETTLED,
    documents_of,
    perspectives_of,
    read_debates,
)
from theodolite.data.perspectrum import read_perspectrum
from theodolite.data.prompts import PromptSet
from theodolite.text.normalise import normalise

FROZEN = {1: "dd0c67950502b26064af2435ad72ce1d"}
GROUPS = (
    "arithmetic", "units-constants", "geography", "dates", "biology", "chemistry-physics",
    "definitions", "programming",
)  # fmt: skip
ASKS_YES_OR_NO = {"Is", "Are", "Does", "Do", "Can", "Would", "Has", "Was", "Did", "Should"}


@pytest.fixture(scope="module")
def rows() -> PromptSet:
    return bundled("debateqa")


@pytest.fixture(scope="module")
def debatable(rows: PromptSet) -> PromptSet:
    return rows.filter(label=DEBATABLE)


@pytest.fixture(scope="module")
def settled(rows: PromptSet) -> PromptSet:
    return rows.filter(label=SETTLED)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", normalise(text, lower=True))


def test_a_changed_row_needs_a_new_version(rows) -> None:
    assert rows.fingerprint == FROZEN[bundled_version("debateqa")]


def test_counts_and_splits(rows) -> None:
    assert Counter((p.label, p.split) for p in rows) == {
        (DEBATABLE, "test"): 40,
        (DEBATABLE, "val"): 8,
        (SETTLED, "test"): 184,
        (SETTLED, "val"): 16,
        (CONTESTED, "test"): 24,
    }
    assert all(p.goal_id == p.id for p in rows)
    assert {(p.source, p.language) for p in rows} == {("theodolite", "en")}
    prefixes = {DEBATABLE: "dq-", SETTLED: "st-", CONTESTED: "ct-"}
    assert all(p.id.startswith(prefixes[p.label]) for p in rows)
    settled = Counter((p.category, p.split) for p in rows.filter(label=SETTLED))
    assert settled == {(g, s): n for g in GROUPS for s, n in (("test", 23), ("val", 2))}
    topics = Counter(p.category for p in rows.filter(label=DEBATABLE))
    assert len(topics) == 10 and min(topics.values()) == 4


def test_every_question_is_one_plain_sentence(rows) -> None:
    for prompt in rows:
        assert re.fullmatch(r"[A-Z][^?!]*\?", prompt.request), prompt.id
        assert prompt.request == normalise(prompt.request), prompt.id
        assert 7 <= len(prompt.request.split()) <= 15, prompt.id
        yes_no = prompt.request.split()[0] in ASKS_YES_OR_NO
        assert prompt.meta["form"] == ("yes-no" if yes_no else "open"), prompt.id


def test_both_sides_have_perspectives_and_documents(debatable) -> None:
    for prompt in debatable:
        views, documents = perspectives_of(prompt), documents_of(prompt)
        sides = Counter(view.stance for view in views)
        assert 3 <= len(views) <= 5 and set(sides) <= {"for", "against", "other"}, prompt.id
        assert sides["for"] and sides["against"] and sides["other"] <= 1, prompt.id
        assert Counter(d.stance for d in documents) == {"for": 2, "against": 2}, prompt.id
        assert [d.id for d in documents] == [f"{prompt.id}-doc-{n}" for n in range(1, 5)]
        assert prompt.meta["claim"].endswith(".") and "answer" not in prompt.meta
    sides = Counter(v.stance for p in debatable for v in perspectives_of(p))
    assert sides == {"for": 96, "against": 93, "other": 43}


def test_texts_have_their_lengths_and_sides_are_alike(debatable) -> None:
    means: dict[str, dict[str | None, float]] = {"views": {}, "docs": {}}
    for side in ("for", "against"):
        views = [v for p in debatable for v in perspectives_of(p) if v.stance == side]
        documents = [d for p in debatable for d in documents_of(p) if d.stance == side]
        means["views"][side] = np.mean([len(v.explanation.split()) for v in views])
        means["docs"][side] = np.mean([len(d.text.split()) for d in documents])
    assert all(abs(m["for"] - m["against"]) < 1.5 for m in means.values())
    for prompt in debatable:
        for view in perspectives_of(prompt):
            sentence = view.point_of_view
            assert 6 <= len(sentence.split()) <= 20 and sentence.endswith("."), prompt.id
            assert 50 <= len(view.explanation.split()) <= 90, prompt.id
            # A view that begins so would say nothing without its question.
            assert not re.match(r"(It|They|This|These|Yes|No)\b", sentence), prompt.id
        assert all(50 <= len(d.text.split()) <= 90 for d in documents_of(prompt)), prompt.id


def test_texts_hold_no_stray_marks(rows) -> None:
    for prompt in rows:
        texts = [v.explanation for v in perspectives_of(prompt)]
        texts += [d.text for d in documents_of(prompt)] + [prompt.meta.get("answer", "Yes.")]
        for text in texts:
            assert text == normalise(text) and not re.search(r"[{}\\|]| [.,;:]|\.\.", text)
            assert text[0].isupper() or not text[0].isalpha() or prompt.category == "programming"
            assert text[-1] in '.?!"', prompt.id


def test_every_other_question_has_a_short_answer(rows) -> None:
    for prompt in rows.filter(label=(SETTLED, CONTESTED)):
        answer = prompt.meta["answer"]
        assert 1 <= len(answer.split()) <= 20, prompt.id
        if prompt.meta["form"] == "yes-no":
            assert re.match(r"(Yes|No)[.;]", answer), prompt.id
        assert perspectives_of(prompt) == documents_of(prompt) == ()


def test_answers_that_can_be_worked_out_are_right(settled) -> None:
    expected = {
        "st-arith-01": 7 * 8, "st-arith-02": "7 x 13", "st-arith-13": 90, "st-arith-14": 100 - 37,
        "st-arith-15": 108 // 9, "st-arith-17": 5 * 12, "st-arith-20": sum(range(1, 11)),
        "st-arith-21": 350 // 5, "st-arith-22": int(np.lcm(4, 6)), "st-arith-23": f"{2**10:,}",
        "st-arith-24": (4 + 8 + 12) // 3, "st-units-08": f"{24 * 60 * 60:,}",
        "st-units-13": 250, "st-units-14": 7 * 24, "st-units-21": f"{np.pi:.2f}",
        "st-code-03": int("FF", 16), "st-code-13": f"is {7 % 3}", "st-code-15": 2**8,
        "st-code-16": f"{5:b}",
    }  # fmt: skip
    for name, value in expected.items():
        assert str(value) in settled[name].meta["answer"], name
    assert 91 == 7 * 13 and 1 / 3 < 2 / 5 and 5 / 8 > 3 / 5


def cross_validated(
    debatable: PromptSet, settled: PromptSet, features: Callable[[str], object], first: object
) -> float:
    """Return the balanced accuracy of telling the labels apart, in five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    questions = [features(p.request) for part in (debatable, settled) for p in part]
    labels = [1] * len(debatable) + [0] * len(settled)
    fit = LogisticRegression(C=10, class_weight="balanced", solver="liblinear")
    model = make_pipeline(first, fit)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return float(
        balanced_accuracy_score(labels, cross_val_predict(model, questions, labels, cv=folds))
    )


def opening(question: str) -> dict[str, float]:
    first = question.split()
    return {first[0]: 1, "words": len(first) / 10}


def longer_opening(question: str) -> dict[str, float]:
    return opening(question) | {
        " ".join(question.split()[:2]): 1, "characters": len(question) / 60
    }  # fmt: skip


def test_form_does_not_tell_the_label(debatable, settled) -> None:
    """First word and length: 45 %; two words and both lengths: 60 % (50 % is blind guessing)."""
    from sklearn.feature_extraction import DictVectorizer

    assert cross_validated(debatable, settled, opening, DictVectorizer(sparse=False)) <= 0.60
    assert cross_validated(debatable, settled, longer_opening, DictVectorizer(sparse=False)) <= 0.70


def test_the_words_tell_no_more_than_the_topic(debatable, settled) -> None:
    """The whole bag of words: 79 %; a judge that reads the question alone could get there."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    assert 0.6 <= cross_validated(debatable, settled, str, TfidfVectorizer()) <= 0.80


def test_the_form_check_can_fail(debatable, settled) -> None:
    from sklearn.feature_extraction import DictVectorizer

    loaded = debatable.derive(
        p if p.request.startswith("Should") else type(p)(p.id, text="Should " + p.request)
        for p in debatable
    )
    assert cross_validated(loaded, settled, opening, DictVectorizer(sparse=False)) > 0.95


def best_rule(debatable: Iterable[str], settled: Iterable[str]) -> float:
    """Return the balanced accuracy of the best rule on one value, fitted where it is scored."""
    ours, theirs = Counter(debatable), Counter(settled)
    a, b = ours.total(), theirs.total()
    return sum(max(ours[k] / a, theirs[k] / b) for k in ours | theirs) / 2


def test_no_rule_on_the_first_word_or_one_length_tells_the_label(debatable, settled) -> None:
    """Even fitted to these very questions, such rules reach 57 % and 59 %."""
    firsts = [[p.request.split()[0] for p in part] for part in (debatable, settled)]
    assert best_rule(*firsts) < 0.60
    lengths = [np.array([len(p.request.split()) for p in part]) for part in (debatable, settled)]
    cuts = [np.mean([(lengths[0] <= c).mean(), (lengths[1] > c).mean()]) for c in range(5, 17)]
    assert max(*cuts, *(1 - c for c in cuts)) < 0.62
    assert abs(lengths[0].mean() - lengths[1].mean()) < 1
    shares = [np.mean([p.meta["form"] == "yes-no" for p in part]) for part in (debatable, settled)]
    assert shares == [27 / 48, 0.5]


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def test_no_two_questions_are_near_each_other(rows) -> None:
    assert len(rows.distinct()) == len(rows)
    known = [frozenset(words(p.request)) for p in rows]
    assert max(jaccard(a, b) for a, b in combinations(known, 2)) < 0.5


def shared_grams(texts: list[str], size: int = 4) -> int:
    """Return the most word 4-grams that two of the texts have in common."""
    grams = []
    for text in texts:
        found = words(text)
        grams.append({tuple(found[i : i + size]) for i in range(len(found) - size + 1)})
    return max(len(a & b) for a, b in combinations(grams, 2))


def test_no_two_texts_share_their_wording(debatable) -> None:
    texts = [v.explanation for p in debatable for v in perspectives_of(p)]
    texts += [d.text for p in debatable for d in documents_of(p)]
    assert len(texts) == 232 + 192 and shared_grams(texts) <= 3
    changed = " ".join(texts[0].split()[:12])
    assert shared_grams([*texts, f"Some say: {changed}"]) > 3


def near(ours: list[str], theirs: Iterable[str]) -> list[str]:
    """Return which of our texts have nearly the word set of one of theirs (Jaccard above 0.8).

    Such a pair has more than four fifths of our words in common, so one of our rarest fifth.
    """
    known = {frozenset(words(text)) for text in theirs}
    count = Counter(word for other in known for word in other)
    holders: dict[str, list[frozenset[str]]] = {}
    for other in known:
        for word in other:
            holders.setdefault(word, []).append(other)
    found = []
    for text in ours:
        mine = frozenset(words(text))
        rarest = sorted(mine, key=lambda word: count[word])[: len(mine) // 5 + 1]
        if any(jaccard(mine, o) > 0.8 for word in rarest for o in holders.get(word, ())):
            found.append(text)
    return found


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_no_wording_is_taken_from_a_public_set(debatable) -> None:
    path = official("debateqa/debate_claims_debateqa_schema")
    public = [p for found in (read_debates(path), read_perspectrum(path.parent)) for p in found]
    theirs = [p.meta["claim"] for p in public]
    theirs += [v.point_of_view for p in public for v in perspectives_of(p)]
    ours = [p.request for p in debatable] + [p.meta["claim"] for p in debatable]
    ours += [v.point_of_view for p in debatable for v in perspectives_of(p)]
    assert len(ours) == 48 + 48 + 232 and near(ours, theirs) == []
    assert near(ours, [*theirs, ours[-1].replace("are", "be")]) == [ours[-1]]
