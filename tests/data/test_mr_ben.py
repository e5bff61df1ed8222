"""MR-Ben's files: what the official ones hold, and what a broken one is refused for."""

from __future__ import annotations

import json
import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviour.mr_ben.made import CODE, RIGHT, folder, row_of
from theodolite.behaviour.mr_ben.data import load_rows
from theodolite.data import mr_ben
from theodolite.data.mr_ben import (
    BLANK_LINE,
    LABELS_REPEAT,
    NO_SUCH_LABEL,
    OTHER_ID,
    TWICE,
    official_demos,
    official_mr_ben,
    read_demos,
    read_mr_ben,
)
from theodolite.data.reason_judgements import official_judgements, read_judgements
from theodolite.data.step_critique import label_of
from theodolite.errors import ConfigError, DataError

official_only = pytest.mark.skipif(
    not os.environ.get("THEODOLITE_DATA"), reason="needs the official data"
)
TABLE = {  # questions, solutions, correct, incorrect, label equals index + 1
    "biology": (345, 1035, 617, 418, 376),
    "chemistry": (284, 848, 382, 466, 381),
    "physics": (223, 667, 319, 348, 191),
    "math": (306, 918, 149, 769, 631),
    "medicine": (277, 828, 257, 571, 487),
    "coding": (90, 238, 74, 164, 0),
}
SUB_SUBJECTS = {
    "college_biology": 705, "high_school_biology": 330, "high_school_chemistry": 579,
    "college_chemistry": 269, "high_school_physics": 426, "college_physics": 241,
    "high_school_math": 666, "college_math": 252, "college_medicine": 828, "coding": 238,
}  # fmt: skip


@pytest.fixture(scope="module")
def official():
    return official_mr_ben(list(TABLE))


@official_only
def test_the_official_counts(official) -> None:
    assert (len(official), official.skipped) == (4534, ())
    for subject, (questions, solutions, right, wrong, at_index) in TABLE.items():
        own = [row for row in official if row.subject == subject]
        assert len({row.key for row in own}) == questions
        assert len(own) == solutions
        assert [sum(r.gold_correct is v for r in own) for v in (True, False)] == [right, wrong]
        index = sum(
            r.gold_step is not None
            and r.gold_step <= len(r.steps)
            and r.steps[r.gold_step - 1].label == r.gold_step
            for r in own
        )
        assert index == at_index
    assert Counter(row.sub_subject for row in official) == SUB_SUBJECTS
    assert len({(row.subject, row.id) for row in official}) == len(official)


@official_only
def test_the_official_oddities(official) -> None:
    assert official.oddities == {
        OTHER_ID: 9, TWICE: 1, NO_SUCH_LABEL: 4, LABELS_REPEAT: 7, BLANK_LINE: 13,
    }  # fmt: skip
    assert sum(not r.coding and r.final_choice is None for r in official) == 146
    assert sum(r.coding and not r.gold_correct and r.gold_line == "" for r in official) == 9
    # The last letter named, among the letters of the key. No rule is published; others that leave
    # as many choices unread give about 380 to 463.
    assert sum(bool(r.process_only) for r in official) == 433
    assert {len(r.reasons) for r in official if not r.coding and not r.gold_correct} == {2}


@official_only
def test_the_official_demos() -> None:
    demos = official_demos()
    assert {len(listed) for listed in demos.values()} == {3} and len(demos) == 11
    wrong = {name: sum(not d.sample.gold_correct for d in own) for name, own in demos.items()}
    assert {n for n, w in wrong.items() if w == 3} == {
        "college_physics", "high_school_math", "college_medicine", "coding",
    }  # fmt: skip
    assert {n for n, w in wrong.items() if w == 0} == {"high_school_physics", "college_biology"}


@official_only
def test_the_official_judgements() -> None:
    rows = official_judgements()
    assert (len(rows), sum(row.human for row in rows)) == (851, 365)
    assert sum(row.human == row.stored for row in rows) == 674


@official_only
def test_a_limit_takes_whole_questions_and_grows() -> None:
    few, more = (load_rows(subjects=["physics"], limit=n) for n in (6, 20))
    assert len({row.key for row in few}) == 6
    assert {row.id for row in few} < {row.id for row in more}
    assert set(Counter(r.sub_subject for r in few)) == {"college_physics", "high_school_physics"}


def test_the_label_counts_and_not_the_place(tmp_path) -> None:
    row = read_mr_ben(folder(tmp_path, {"math": {"q1": [row_of()]}})).samples[0]
    assert (row.gold_step, row.labels, row.id) == (2, (1, 2), "q1/A/0")
    assert [step.label for step in row.steps] == [1, None, 2, None]
    assert (row.final_choice, row.process_only, row.position) == ("B", False, "middle third")
    assert row.reasons == ("It is 4.", "The sum is 4.")


@pytest.mark.parametrize(
    ("line", "label"),
    [("Step 3: x", 3), ("  **Step 12** x", 12), ("step 3", None), ("So Step 3", None), ("", None)],
)
def test_labels(line: str, label: int | None) -> None:
    assert label_of(line) == label


def test_a_right_answer_with_wrong_steps(tmp_path) -> None:
    steps = ["Step 1: x", "Solution: Choice_A"]
    both = row_of(Model_Solution_Steps=steps, Ground_Truth_Answer_Modified="AC")
    rows = read_mr_ben(folder(tmp_path, {"math": {"q": [both], "r": [both | RIGHT]}})).samples
    assert [row.process_only for row in rows] == [True, False]


def test_any_subset_of_the_subjects_and_odd_rows(tmp_path) -> None:
    files = {
        "coding": {"c": [row_of("c", **CODE), row_of("c", **CODE)]},
        "logic": {"l": [row_of("other", Subject="logic")]},
    }
    found = read_mr_ben(folder(tmp_path, files))
    assert found.subjects == ("coding", "logic")
    assert found.oddities == {TWICE: 1, OTHER_ID: 1}
    assert found.samples[0].lines == ["def f(x):", "    return x + 1"]
    assert len(read_mr_ben(tmp_path, ["logic"])) == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"Question": None}, "Question"),
        ({"Question": "  "}, "Question"),
        ({"Options": 3}, "Options"),
        ({"Model_Solution_Steps": "text"}, "Model_Solution_Steps"),
        ({"Model_Solution_Steps": []}, "Model_Solution_Steps"),
        ({"Model_Solution_Correctness": "maybe"}, "Model_Solution_Correctness"),
        ({"Model_Solution_First_Error_Step": "N/A"}, "Model_Solution_First_Error_Step"),
        ({"Model_Solution_Error_Reason": [1]}, "Model_Solution_Error_Reason"),
        ({"Sampled_Model": None}, "Sampled_Model"),
    ],
)
def test_a_broken_row_names_file_solution_and_field(tmp_path, change, field) -> None:
    path = folder(tmp_path, {"math": {"q7": [row_of(), row_of(**change)]}})
    with pytest.raises(DataError) as caught:
        read_mr_ben(path)
    for part in ("math.json", field, "solution 1 of 'q7'"):
        assert part in caught.value.message
    lenient = read_mr_ben(path, strict=False)
    assert (len(lenient), len(lenient.skipped)) == (1, 1)


def test_what_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match="Did you mean `biology`"):
        read_mr_ben(tmp_path, ["biologie"])
    with pytest.raises(DataError, match=r"biology.json, chemistry.json"):
        read_mr_ben(tmp_path)
    with pytest.raises(DataError, match=r"has no math.json"):
        read_mr_ben(folder(tmp_path, {"coding": {"c": [row_of("c", **CODE)]}}), ["math"])
    with pytest.raises(DataError, match="list of solutions"):
        read_mr_ben(folder(tmp_path, {"coding": {"c": {}}}))


def test_made_demos(tmp_path) -> None:
    code = {k: v for k, v in row_of("c", **CODE).items() if k != "Model_Solution_Steps"}
    content = {
        "college_math": [row_of(cot_analysis="Solution Correctness: incorrect")],
        "coding": [code | {"Solution": "def f():\n  pass", "cot_analysis": "x"}],
    }
    path = tmp_path / "demos.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    demos = read_demos(path)
    assert demos["college_math"][0].sample.sub_subject == "college_math"
    assert demos["coding"][0].sample.coding
    del content["coding"][0]["Solution"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match="Solution"):
        read_demos(path)


def test_a_broken_judgement_is_refused(tmp_path) -> None:
    row = {
        "uuid": "u", "question": "q", "solution_steps": ["Step 1: x"], "gold_first_error_step": 1,
        "gold_error_reason": "r", "pred_error_reason": "p", "human_label": "correct",
    }  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    assert read_judgements(path)[0].stored is None
    path.write_text(json.dumps(row | {"human_label": "maybe"}), encoding="utf-8")
    with pytest.raises(DataError, match="human_label"):
        read_judgements(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(column=st.sampled_from(sorted(row_of())), value=JSON)
def test_a_reader_reads_or_says_why(tmp_path_factory, column, value) -> None:
    path = tmp_path_factory.mktemp("rows")
    found = folder(path, {"math": {"q": [row_of(**{column: value})]}})
    try:
        assert len(read_mr_ben(found)) == 1
    except DataError as error:
        assert "math.json" in error.message
    assert mr_ben.final_choice([str(value)]) in (None, "A", "B", "C", "D")
