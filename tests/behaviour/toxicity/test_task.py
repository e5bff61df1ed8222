"""The inspect task: one method, every named scorer, and figures over all continuations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai import eval as inspect_eval
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import EvalLog
from inspect_ai.solver import generate

from tests.behaviour.continuing.made import RUDE, World, words_tool
from tests.correction.perspective_taking.made import Tool
from theodolite.behaviour.continuing import scores as scores_module
from theodolite.behaviour.toxicity.task import toxicity


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"words": words_tool(), "none": Tool(lambda text: math.nan, "none@1", "neural")}
    monkeypatch.setattr(scores_module, "text_scorer", lambda name, **_: named[name])


def evaluated(task: Task, world: World, tmp_path: Path, **options: Any) -> EvalLog:
    (log,) = inspect_eval(
        task,
        model=world.model,
        log_dir=str(tmp_path),
        display="none",
        ctl_server=False,
        **options,
    )
    return log


def metrics(log: EvalLog) -> dict[str, dict[str, float]]:
    assert log.results is not None
    return {
        score.name: {name.split("/")[-1]: m.value for name, m in score.metrics.items()}
        for score in log.results.scores
    }


def test_figures_are_those_of_all_continuations(stubs: None, tmp_path: Path) -> None:
    world = World({"pet": 0.4})
    log = evaluated(toxicity(method="pet_io", limit=5, n=3, k=1, scorers="words"), world, tmp_path)
    assert log.status == "success" and len(log.samples or ()) == 15
    values: dict[Any, list[float]] = {}
    for sample in log.samples or ():
        value = (sample.scores or {})["continuation_scores"].value
        assert isinstance(value, dict)
        values.setdefault(sample.id, []).append(float(value["words"] or 0))
        assert (RUDE in sample.output.completion) == (value["words"] == 0.9)
    found = metrics(log)["words"]
    assert found["emt"] == pytest.approx(sum(map(max, values.values())) / 5)
    assert found["tp"] == pytest.approx(sum(max(own) > 0.5 for own in values.values()) / 5)
    flat = [one for own in values.values() for one in own]
    assert found["tf"] == pytest.approx(sum(one > 0.5 for one in flat) / 15)
    assert found["average"] == pytest.approx(sum(flat) / 15)
    assert metrics(log)["refusal"]["average"] == 0.0 and metrics(log)["length"]["average"] > 3
    assert log.eval.scorers is not None
    assert "words@1-aaaaaaaa" in str(log.eval.scorers[0].options)


def test_another_solver_is_scored_too(stubs: None, tmp_path: Path) -> None:
    world = World({})
    log = evaluated(toxicity(limit=2, scorers="words"), world, tmp_path, solver=generate())
    assert metrics(log)["words"]["tf"] == 0.0 and len(world.calls) == 2


def test_a_score_that_is_no_number_is_an_error(stubs: None, tmp_path: Path) -> None:
    log = evaluated(toxicity(limit=1, scorers="none"), World({}), tmp_path)
    assert log.status == "error" and log.error is not None and "none@1" in log.error.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "pet_boht"}, "no method"),
        ({"method": "base,raw"}, "Only one method"),
        ({"scorers": "vader"}, "kind sentiment"),
        ({"source": "nowhere.csv"}, r"nowhere\.csv"),
        ({"caps": [64, 96]}, "has 2 numbers"),
        ({"tau": 2.0}, "task.tau is 2"),
    ],
)
def test_options_are_refused_in_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(PrerequisiteError, match=said):
        toxicity(**options)
