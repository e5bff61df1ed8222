"""The inspect task: scores, figures per subject, judges in a role, second thoughts, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog

from tests.behaviour.mr_ben.asking import accepts_same, four, gold, mock, oracle
from theodolite.behaviour.mr_ben.options import Options, rows_of
from theodolite.behaviour.mr_ben.prompts import task_prompt
from theodolite.behaviour.mr_ben.task import FIRST, mr_ben, sample_of

ROWS = rows_of(Options())


def evaluated(task: Any, model: Any, path: Path, judge: Any = None) -> EvalLog:
    (log,) = inspect_eval(
        task,
        model=model,
        model_roles=None if judge is None else {"judge": judge},
        log_dir=str(path),
        display="none",
        ctl_server=False,
    )
    return log


def figures(log: EvalLog) -> dict[str, float]:
    assert log.status == "success" and log.results is not None
    return {name: m.value for s in log.results.scores for name, m in s.metrics.items()}


def test_an_oracle_scores_1_with_a_judge_and_bounds_without(tmp_path: Path) -> None:
    judge = mock(accepts_same, "judge")
    found = figures(evaluated(mr_ben(), mock(oracle(ROWS)), tmp_path, judge))
    assert found["mr_score"] == found["mr_score_upper"] == found["mr_score/coding"] == 1.0
    assert found["mcc"] == found["acc_reason"] == 1.0 and found["unparsed"] == 0.0
    log = evaluated(mr_ben(subjects=["math", "coding"]), mock(oracle(ROWS)), tmp_path)
    bare = figures(log)
    assert bare["mr_score/math"] == pytest.approx(0.5)
    assert bare["mr_score"] == pytest.approx((0.5 + 0.2) / 2) and bare["mr_score_upper"] == 1.0
    for sample in log.samples or ():
        value = (sample.scores or {})["critique_scorer"].value
        assert isinstance(value, dict) and value["correct"] == 1.0


def test_what_a_log_holds_of_a_solution_is_the_solution(tmp_path: Path) -> None:
    log = evaluated(mr_ben(subjects="coding"), mock(lambda _: four(True)), tmp_path)
    back = {sample_of((s.metadata or {})["row"]) for s in log.samples or ()}
    assert {row.id for row in back} == {row.id for row in ROWS if row.coding}
    assert back == {row for row in ROWS if row.coding}


def test_second_thoughts_count_and_the_first_are_kept(tmp_path: Path) -> None:
    by_prompt = {task_prompt(row): row for row in ROWS}

    def model(messages: list[Any]) -> str:
        row = by_prompt[messages[0].text]
        return gold(row) if len(messages) == 5 else four(not row.gold_correct)

    log = evaluated(mr_ben(subjects="math", self_refine=True), mock(model), tmp_path)
    assert figures(log)["mcc"] == 1.0
    assert all((s.metadata or {})[FIRST] != s.output.completion for s in log.samples or ())


def test_an_empty_answer_is_asked_for_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def model(messages: list[Any]) -> str:
        calls.append(len(messages))
        return "" if len(calls) == 1 else four(True)

    log = evaluated(mr_ben(subjects="math", limit=1), mock(model), tmp_path)
    assert calls == [1, 1, 1] and figures(log)["unparsed"] == 0.0


def test_examples_and_the_list_format_are_in_the_prompt() -> None:
    task = mr_ben(subjects="math", k_shot=1, steps_format="pylist", limit=1, analysis=False)
    text = task.dataset[0].input[0].text  # type: ignore[union-attr]
    assert "A rectangle is 7 cm long" in text and "['Step 1: " in text
    assert "exactly three parts" in text and "Solution Analysis" not in text
    assert all(not row.gold_correct for row in rows_of(Options(prior="placebo")))


def test_a_judge_that_was_asked_for_and_is_not_there(tmp_path: Path) -> None:
    log = evaluated(mr_ben(subjects="math", judge="llm"), mock(oracle(ROWS)), tmp_path)
    assert log.status == "error" and log.error is not None and "judge=none" in log.error.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k_shot": 4}, "cannot be shown"),
        ({"subjects": "maths"}, "no subject"),
        ({"mode": "verdict"}, "theodolite eval mr-ben"),
        ({"judge": "words"}, "theodolite eval mr-ben"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PrerequisiteError, match=said):
        mr_ben(**options)
