"""Rows with perspectives: DebateQA's own form and ours, answers to them, and what is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.debates import (
    CONTESTED,
    DEBATABLE,
    SETTLED,
    Perspective,
    as_sentence,
    documents_of,
    perspectives_of,
    read_debates,
    read_generations,
)
from theodolite.data.goal_splits import Placed, goals_in_two_splits
from theodolite.data.perspectrum import read_perspectrum
from theodolite.data.prompts import Prompt, PromptSet
from theodolite.errors import ConfigError, DataError

needs_official = pytest.mark.skipif(
    "THEODOLITE_DATA" not in os.environ, reason="official data are not at hand"
)
VIEW = {"point_of_view": "Yes, it should", "explanation": "Because it helps."}
ROW = {"id": 1, "question": "Should it?", "partial_answers": [VIEW]}


def lines(tmp_path: Path, *records: Any) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("view", "joined"),
    [
        ("It should", "It should. Why not?"),
        ("It should.", "It should. Why not?"),
        ("It should! ", "It should! Why not?"),
        ("Should it?", "Should it? Why not?"),
        ('It "should."', 'It "should.". Why not?'),
    ],
)
def test_the_target_joins_with_one_full_stop(view: str, joined: str) -> None:
    perspective = Perspective(view, " Why not? ")
    assert perspective.target() == perspective.target("explanation") == "Why not?"
    assert perspective.target("pov+explanation") == joined


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no target 'pov-explanation'.*`pov\+explanation`"):
        Perspective("A", "B").target("pov-explanation")


filled = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(str.strip)


@given(view=filled, explanation=filled)
def test_a_target_ends_in_the_explanation_and_a_sentence_stays_one(view, explanation) -> None:
    sentence = as_sentence(view)
    assert as_sentence(sentence) == sentence and sentence[-1] in ".!?"
    target = Perspective(view, explanation).target("pov+explanation")
    assert target == f"{sentence} {explanation.strip()}"


def test_the_published_rows_are_read_unchanged(tmp_path: Path) -> None:
    second = {**VIEW, "stance": "against", "docs_used": [0, 3]}
    rows = [ROW, {"id": 2, "question": "How?", "partial_answers": [second]}]
    path = tmp_path / "test.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = read_debates(path)
    assert list(found) == list(read_debates(lines(tmp_path, *rows)).derive(found)) == list(found)
    assert found.ids == found.values("goal_id") == ("1", "2")
    assert {(p.label, p.split, p.source) for p in found} == {(DEBATABLE, None, "test")}
    assert perspectives_of(found["1"]) == (Perspective(**VIEW),)
    (other,) = perspectives_of(found["2"])
    assert (other.stance, other.meta) == ("against", {"docs_used": [0, 3]})
    assert Perspective.from_json(other.to_json()) == other


def test_fields_beside_the_published_ones(tmp_path: Path) -> None:
    documents = [
        {"title": "A", "text": "One.", "stance": "for", "id": 7},
        {"title": "B", "text": "Two.", "link": "x"},
    ]
    row = ROW | {"topic": "food", "split": "dev", "claim": "It should.", "docs": documents}
    (prompt,) = read_debates(lines(tmp_path, row | {"language": "en", "empty": None}))
    assert (prompt.category, prompt.split, prompt.language) == ("food", "val", "en")
    assert prompt.meta["claim"] == "It should." and "empty" not in prompt.meta
    first, second = documents_of(prompt)
    assert (first.title, first.text, first.stance, first.id) == ("A", "One.", "for", "7")
    assert (second.stance, second.id, second.meta) == (None, None, {"link": "x"})


def test_what_a_set_writes_is_read_back(tmp_path: Path) -> None:
    ours = bundled("debateqa")
    again = read_debates(ours.write(tmp_path / "again.jsonl"))
    assert again.fingerprint == ours.fingerprint
    assert [perspectives_of(p) for p in again] == [perspectives_of(p) for p in ours]
    assert documents_of(again[0]) == documents_of(ours[0]) != ()


def test_a_question_without_perspectives_is_kept(tmp_path: Path) -> None:
    settled = {"id": "s", "question": "Is it?", "label": SETTLED, "answer": "Yes."}
    contested = {"id": "c", "question": "Was it?", "label": CONTESTED}
    found = read_debates(lines(tmp_path, ROW | {"partial_answers": []}, settled, contested))
    assert [perspectives_of(p) for p in found] == [documents_of(p) for p in found] == [()] * 3
    assert [p.label for p in found] == [DEBATABLE, SETTLED, CONTESTED]
    assert found["s"].meta == {"answer": "Yes."}


def test_rows_of_one_question_share_a_goal(tmp_path: Path) -> None:
    again = [ROW | {"id": 2, "question": "should  it?"}, ROW | {"id": 3, "goal_id": "mine"}]
    found = read_debates(lines(tmp_path, ROW, *again))
    assert [p.goal_id for p in found] == ["1", "1", "mine"]


def with_view(**change: Any) -> dict[str, Any]:
    return {"partial_answers": [VIEW, VIEW | change]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partial_answers": None}, "field 'partial_answers': the field is missing"),
        ({"partial_answers": "no"}, "field 'partial_answers': this must be a list of objects"),
        ({"partial_answers": ["no"]}, "field 'partial_answers[0]': this must be an object"),
        (with_view(explanation=""), "'partial_answers[1]': the field 'explanation' is empty"),
        (with_view(explanation=" \n"), "'partial_answers[1]': the field 'explanation' is empty"),
        (with_view(explanation=None), "[1]': the field 'explanation' is missing"),
        (with_view(point_of_view=3), "[1]': the field 'point_of_view' must be text"),
        (with_view(stance=["for"]), "[1]': the field 'stance' must be text"),
        ({"docs": [{"title": "A"}]}, "field 'docs[0]': the field 'text' is missing"),
        ({"question": ""}, "field 'question': the question is missing"),
        ({"question": ["a"]}, "field 'question': this must be text, not list"),
        ({"id": None}, "field 'id': the id is missing"),
        ({"id": True}, "field 'id': this must be text, not bool"),
        ({"label": "open"}, "field 'label': the label 'open' is unknown"),
        ({"split": "third"}, "field 'split': the split 'third' is unknown"),
        ({"meta": 3}, "field 'meta': this must be an object"),
    ],
)
def test_a_wrong_row_is_one_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = lines(tmp_path, ROW | {"id": 0}, ROW | change)
    with pytest.raises(DataError) as caught:
        read_debates(path)
    assert said in str(caught.value) and f"{path.name}, line 2, field" in str(caught.value)


def test_an_id_that_occurs_twice_names_both_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3, field 'id': the id '1' is already .* line 1"):
        read_debates(lines(tmp_path, ROW, ROW | {"id": 2}, ROW | {"id": "1"}))


@pytest.mark.parametrize("wrong", ["text", {"a": 1}, [1], [{"point_of_view": "x"}]])
def test_a_prompt_made_by_hand_is_checked_too(wrong: Any) -> None:
    prompt = Prompt("mine", text="Is it?", meta={"partial_answers": wrong, "docs": wrong})
    for read, name in ((perspectives_of, "partial_answers"), (documents_of, "docs")):
        with pytest.raises(DataError, match=f"In the prompt 'mine', {name}: "):
            read(prompt)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["point_of_view", "explanation", "text"]), inner)
    ),
    max_leaves=8,
)
KEYS = ["id", "question", "partial_answers", "docs", "label", "meta", "pids", "generation"]


@given(rows=st.lists(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), max_size=3))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_values_are_read_or_refused(rows, tmp_path) -> None:
    path = lines(tmp_path, *rows)
    for read, kind in ((read_debates, PromptSet), (read_generations, dict)):
        try:
            assert isinstance(read(path), kind)
        except DataError as error:
            assert path.name in str(error)


def test_answers_are_keyed_by_the_text_of_their_id(tmp_path: Path) -> None:
    rows = [{"id": 2, "generation": "B"}, {"generation": "", "id": "a"}]
    answers = read_generations(lines(tmp_path, *rows))
    assert answers == {"2": "B", "a": ""} and list(answers) == ["2", "a"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": 2, "generation": 5}, "line 2, field 'generation': this must be text, not int"),
        ({"id": 2, "generation": ["a"]}, "line 2, field 'generation': this must be text"),
        ({"id": 2, "generation": None}, "line 2, field 'generation': the value is missing"),
        ({"id": 2}, "line 2: the field 'completion' is missing"),
        ({"id": 1, "generation": "b"}, "line 2: sample 0 of '1' is already on line 1"),
        ({"id": 1, "generation": "b", "sample": 1}, "the question '1' is answered twice"),
    ],
)
def test_a_wrong_answer_is_one_sentence(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_generations(lines(tmp_path, {"id": 1, "generation": "a"}, row))
    assert said in str(caught.value) and "rows.jsonl" in str(caught.value)


CLAIM = {
    "cId": 4,
    "text": "It works. ",
    "source": "procon",
    "topics": ["health", "law"],
    "perspectives": [
        {"pids": [1, 2, 3, 4], "stance_label_3": "SUPPORT"},
        {"pids": [5], "stance_label_3": "UNDERMINE"},
    ],
}
POOL = [(1, "It helps"), (2, "It aids"), (3, "It helps "), (4, "Help is given!"), (5, "It fails")]


def perspectrum(folder: Path, *claims: Any, own_names: bool = False) -> Path:
    prefix = ("perspectrum_", "perspectrum_") if not own_names else ("", "dataset_")
    files = {
        "perspectrum_with_answers_v1.0.json": list(claims),
        f"{prefix[0]}perspective_pool_v1.0.json": [{"pId": i, "text": t} for i, t in POOL],
        f"{prefix[1]}split_v1.0.json": {"4": "dev", "5": "train"},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("own_names", [False, True])
def test_clusters_become_perspectives(tmp_path: Path, own_names: bool) -> None:
    again = CLAIM | {"cId": 5, "topics": []}
    first, second = read_perspectrum(perspectrum(tmp_path, CLAIM, again, own_names=own_names))
    assert (first.id, first.source, first.split) == ("perspectrum-4", "perspectrum-procon", "val")
    assert first.request == 'Is this claim right? "It works."'
    assert (first.category, first.meta["topics"]) == ("health", ["health", "law"])
    assert (second.category, second.split, second.goal_id) == (None, "train", first.id)
    helps, fails = perspectives_of(first)
    assert (helps.point_of_view, helps.stance) == ("It helps", "for")
    assert helps.explanation == "It aids. Help is given!"
    assert helps.meta["paraphrases"] == ["It aids", "Help is given!"]
    assert (fails.point_of_view, fails.explanation) == ("It fails", "It fails")
    assert (fails.stance, fails.meta["paraphrases"]) == ("against", [])


def one_cluster(**change: Any) -> dict[str, Any]:
    return {"perspectives": [{"pids": [1], "stance_label_3": "SUPPORT"} | change]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_cluster(pids=[9]), "field 'perspectives': the pool has no wording '9'"),
        (one_cluster(pids=[[1]]), "field 'perspectives': the pool has no wording"),
        (one_cluster(pids=[]), "field 'perspectives': a cluster has no wording"),
        (one_cluster(pids=None), "field 'perspectives': a cluster must be an object"),
        (one_cluster(stance_label_3="MAYBE"), "the stance of a cluster is unknown"),
        ({"perspectives": {}}, "field 'perspectives': this must be a list"),
        ({"text": 3}, "field 'text': the claim must be text"),
        ({"cId": 6}, "field 'cId': the split 'None' is unknown"),
    ],
)
def test_a_wrong_claim_is_one_sentence(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_perspectrum(perspectrum(tmp_path, CLAIM, CLAIM | {"cId": 5} | change))
    assert said in str(caught.value) and "with_answers_v1.0.json, row 1" in str(caught.value)


def test_a_folder_without_perspectrum_says_which_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"perspectrum_perspective_pool_v1\.0\.json: there is no"):
        read_perspectrum(tmp_path)


@needs_official
def test_the_stand_in_claims_have_the_counts_of_their_source() -> None:
    found = read_debates(official("debateqa/debate_claims_debateqa_schema"))
    views = [perspectives_of(p) for p in found]
    assert len(found) == len(found.values("goal_id")) == 392
    assert sum(map(len, views)) == 3672  # 9.37 per claim
    assert (min(map(len, views)), max(map(len, views))) == (3, 46)
    assert all({v.stance for v in of_one} == {"for", "against"} for of_one in views)
    assert set(found.values("source")) == {"debatewise", "procon"}
    words = [len(v.explanation.split()) for of_one in views for v in of_one]
    assert round(sum(words) / len(words)) == 110


@needs_official
def test_perspectrum_has_the_counts_of_its_source() -> None:
    path = official("debateqa/perspectrum_with_answers_v1.0")
    found = read_perspectrum(path.parent)
    views = [v for p in found for v in perspectives_of(p)]
    assert len(found) == 907 and len(found.values("goal_id")) == 902
    assert [len(found.split(s)) for s in ("train", "val", "test")] == [541, 139, 227]
    assert sum(v.stance == "for" for v in views) == 2627
    assert sum(v.stance == "against" for v in views) == 2468
    assert sum(v.explanation == v.point_of_view for v in views) == 2048
    placed = [Placed(p.id, p.goal_id, p.split) for p in found]
    assert len(goals_in_two_splits(placed)) == 4


@needs_official
def test_the_demo_answers_have_the_counts_of_their_source() -> None:
    answers = read_generations(official("debateqa/debateqa_test_demo_answers"))
    assert set(answers) == {str(i) for i in range(1, 1001)}
    words = [len(answer.split()) for answer in answers.values()]
    assert (min(words), max(words), round(sum(words) / 1000)) == (31, 615, 334)
