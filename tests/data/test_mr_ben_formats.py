"""MR-GSM8K's and ProcessBench's formats give the same shape."""

from __future__ import annotations

import json

import pytest

from theodolite.behaviour.mr_ben.data import load_rows
from theodolite.data.step_formats import read_mr_gsm8k, read_processbench
from theodolite.errors import ConfigError, DataError

GSM = {
    "uuid": "u1",
    "question": "q",
    "model_output_steps": ["Step 1: a", "Step 2: b"],
    "model_output_answer_correctness": "correct",
    "model_output_solution_correctness": "wrong",
    "model_output_solution_first_error_step": 2,
    "model_output_solution_first_error_reason": "b is off",
    "question_type": "POT",
}
BENCH = {
    "id": "gsm8k-0",
    "generator": "G",
    "problem": "p",
    "steps": ["a", "b"],
    "final_answer_correct": False,
    "label": 1,
}


def written(path, *rows, name="rows.jsonl"):
    file = path / name
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def test_mr_gsm8k(tmp_path) -> None:
    right = GSM | {
        "uuid": "u2",
        "model_output_solution_correctness": "correct",
        "model_output_solution_first_error_step": "N/A",
        "model_output_solution_first_error_reason": "N/A",
    }
    wrong, good = read_mr_gsm8k(written(tmp_path, GSM, right)).samples
    assert (wrong.gold_step, wrong.reasons, wrong.process_only) == (2, ("b is off",), True)
    assert (good.gold_correct, good.gold_step, good.reasons) == (True, None, ())
    assert wrong.sub_subject == "POT"


def test_processbench_counts_from_zero_and_minus_one_is_right(tmp_path) -> None:
    rows = written(
        tmp_path,
        BENCH,
        BENCH | {"id": "math-1", "label": -1, "final_answer_correct": True},
        BENCH | {"id": "math-2", "label": 0, "final_answer_correct": True},
    )
    first, right, process = load_rows(rows, file_format="processbench").samples
    assert (first.gold_step, first.steps[1].label, first.steps[1].text) == (2, 2, "Step 2: b")
    assert (right.gold_correct, right.gold_step, right.sub_subject) == (True, None, "math")
    assert (process.process_only, first.process_only) == (True, False)


@pytest.mark.parametrize(
    ("read", "row", "change", "field"),
    [
        (read_processbench, BENCH, {"label": 2}, "label"),
        (read_processbench, BENCH, {"label": True}, "label"),
        (read_processbench, BENCH, {"steps": []}, "steps"),
        (read_mr_gsm8k, GSM, {"model_output_solution_first_error_step": "N/A"}, "first_error_step"),
        (read_mr_gsm8k, GSM, {"model_output_solution_correctness": 1}, "solution_correctness"),
    ],
)
def test_broken_rows(tmp_path, read, row, change, field) -> None:
    path = written(tmp_path, row | change)
    with pytest.raises(DataError, match=field):
        read(path)
    assert len(read(path, strict=False).skipped) == 1


def test_an_id_that_occurs_twice_and_an_unknown_format(tmp_path) -> None:
    path = written(tmp_path, BENCH, BENCH)
    with pytest.raises(DataError, match="occurs twice"):
        read_processbench(path)
    with pytest.raises(ConfigError, match="Did you mean `processbench`"):
        load_rows(path, file_format="process-bench")
