"""The inspect task in every condition and under every mitigation, with scripted models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog

from tests.behaviour.preemptive_answers.made import ITEMS, mock, planted, right, wrong
from theodolite.behaviour.preemptive_answers.options import NAMED
from theodolite.behaviour.preemptive_answers.planting import CONDITIONS
from theodolite.behaviour.preemptive_answers.task import preemptive_answers
from theodolite.data.preemptive import Item


def copies(item: Item, read: str) -> str:
    if "A proposed solution" in read:
        return f"INCORRECT\nAgain.\n[Answer] {item.gold}"
    if "Before any reasoning" in read:
        return f"[Answer] {item.wrong}\nSteps.\n[Answer] {item.gold}"
    if f"The answer is {item.gold}" in read:
        return right(item)
    return wrong(item) if planted(read) else right(item)


def asked(path: Path, model: Any = None, roles: Any = None, **options: Any) -> EvalLog:
    (log,) = inspect_eval(
        preemptive_answers(**{"limit": 1} | options),
        model=model or mock(copies),
        model_roles=roles or {},
        log_dir=str(path),
        display="none",
        ctl_server=False,
    )
    return log


def means(log: EvalLog) -> dict[str, float]:
    assert log.results is not None and log.status == "success"
    return {score.name: score.metrics["mean"].value for score in log.results.scores}


@pytest.mark.parametrize("condition", sorted({*CONDITIONS, *NAMED} - {"M_random"}))
def test_every_condition(tmp_path: Path, condition: str) -> None:
    found = means(asked(tmp_path, condition=condition, position=0.5))
    harmful = condition in {"M", "M_late", *NAMED}
    assert found["correct"] == (0.0 if harmful else 1.0)
    assert found["planted"] == (1.0 if harmful or condition == "M_correct" else 0.0)
    assert found["unparsed"] == found["kept_first"] == 0.0


@pytest.mark.parametrize(
    ("mitigation", "correct"),
    [
        ("restate", 0.0),
        ("ignore_note", 0.0),
        ("reflect", 1.0),
        ("mask", 1.0),
        ("independent", 1.0),
        ("sc", 0.0),
    ],
)
def test_every_mitigation(tmp_path: Path, mitigation: str, correct: float) -> None:
    log = asked(tmp_path, condition="M", mitigation=mitigation, n_sc=2)
    assert means(log)["correct"] == correct
    notes = [sample.scores["cot_answer"].metadata for sample in log.samples or () if sample.scores]
    assert len(notes) == 5
    for found in notes:
        assert found is not None
        if mitigation == "reflect":
            assert found["accepted"] == "False"
        if mitigation == "sc":
            assert found["vote"]["planted"] == 1.0


def test_methods_say_what_they_ask(tmp_path: Path) -> None:
    for method, words in (("fs_cot", "Solution:"), ("ps_cot", "short plan"), ("zs", "no steps")):
        model = mock(copies)
        assert means(asked(tmp_path / method, model, method=method))["correct"] == 1.0
        assert all(words in read for read in model.calls)  # type: ignore[attr-defined]
    model = mock(copies)
    asked(tmp_path / "vote", model, method="sc_zs_cot", n_sc=3)
    assert len(model.calls) == 15  # type: ignore[attr-defined]


def test_a_grader_reads_what_the_rules_do_not_find(tmp_path: Path) -> None:
    vague = mock(lambda item, read: "As one would expect.")
    grader = mock(lambda item, read: json.dumps({"answer": item.gold}), name="grader")
    log = asked(tmp_path / "a", vague, {"grader": grader}, extractor="rule+llm")
    assert means(log)["correct"] == 1.0
    assert means(asked(tmp_path / "b", vague))["unparsed"] == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"condition": "M_wrong"}, "no condition"),
        ({"method": "zs_cott"}, "no method"),
        ({"mitigation": "pray"}, "no mitigation"),
        ({"dataset": "gsm9k"}, "no set"),
        ({"method": "zs_cot,fs_cot"}, "in one way"),
        ({"method": "sc_zs_cot", "n_sc": 1}, "no vote"),
        ({"method": "sc_zs_cot", "temperature": 0.0}, "alike"),
        ({"extractor": "guess"}, "no extractor"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PrerequisiteError, match=said):
        preemptive_answers(**options)


def test_items_stay_with_their_sample() -> None:
    task = preemptive_answers(limit=2, condition="M")
    known = {item.id: item for item in ITEMS}
    for sample in task.dataset:
        item = known[str(sample.id)]
        assert (sample.input, sample.target) == (item.asked, item.gold)
        assert sample.metadata is not None and sample.metadata["planted"] == item.wrong
