"""Probing steps: planted signals are found, shuffled labels are not, questions stay apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.behaviour.mr_ben.solved import solution, solutions
from tests.models.tiny import tiny_model
from tests.oracles import engine_forward
from theodolite.behaviour.mr_ben.prefix_cost import counted
from theodolite.behaviour.mr_ben.step_probe import (
    UNKNOWN,
    StepStates,
    fit_steps,
    read_steps,
    split_questions,
    step_probe,
)
from theodolite.behaviour.mr_ben.stepwise import prompts_of
from theodolite.behaviour.mr_ben.walks import walk_of
from theodolite.data.step_critique import CritiqueSet
from theodolite.errors import ConfigError, DataError
from theodolite.runs.run import Run


def planted(strength: float, *, questions: int = 240, width: int = 20, seed: int = 0) -> StepStates:
    """Return random states of steps; the second of two layers holds a signal of that strength."""
    draw = np.random.default_rng(seed)
    wrong, places, names = [], [], []
    for question in range(questions):
        for _ in range(3):
            first = int(draw.integers(0, 6))
            for place in range(min(first + 1, 5)):
                wrong.append(place == first)
                places.append(place)
                names.append(f"q{question}")
    values = draw.normal(size=(len(wrong), 2, width)).astype(np.float32)
    values[:, 1, 3] += strength * np.array(wrong)
    return StepStates(values, (4, 9), np.array(wrong), np.array(places), tuple(names), {})


def test_a_planted_signal_is_found_where_it_is() -> None:
    found = fit_steps(planted(4.0))
    assert found.chosen == 9
    probe, shuffled = found.measurements()
    assert probe.value is not None and probe.value > 0.95
    assert probe.floor is not None and probe.floor.name == "the step's place alone"
    assert shuffled.value is not None and abs(shuffled.value - 0.5) < 0.05
    weak, strong = found.frame()
    assert abs(weak["auroc"] - 0.5) < 0.08 and strong["chosen"]
    assert strong["hidden_index"] == 10


@pytest.mark.parametrize("seed", [1, 2])
def test_shuffled_labels_give_chance(seed: int) -> None:
    found = fit_steps(planted(4.0, seed=seed), seed=seed)
    assert np.abs(found.control.mean(0) - 0.5).max() < 0.05
    nothing = fit_steps(planted(0.0, seed=seed), seed=seed)
    assert abs((nothing.auroc(nothing.chosen).value or 0) - 0.5) < 0.08


def test_no_question_is_on_both_sides() -> None:
    states = planted(1.0)
    for seed in range(5):
        train, test = split_questions(states.questions, 0.6, seed=seed)
        first, second = ({states.questions[i] for i in part} for part in (train, test))
        assert not first & second and len(first) == 144 and len(second) == 96
        assert sorted([*train, *test]) == list(range(len(states.wrong)))
    found = fit_steps(states)
    train, test = split_questions(states.questions, 0.6, seed=0)
    assert found.questions == tuple(states.questions[i] for i in test)
    assert found.n_train == len(train)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_states_are_those_of_a_plain_forward(name: str) -> None:
    model = replace(tiny_model(name), max_context=None)
    walks = [walk_of(row) for row in solutions(("math",), 2)]
    found = read_steps(model, walks, layers=[0, 2])
    row = 0
    for walk, prompts in zip(walks, prompts_of(model, walks), strict=True):
        assert prompts is not None
        whole = engine_forward.site_values(model, prompts[-1].ids, "resid_post")
        places = walk.last_tokens(model, prompts[-1])
        assert places is not None
        for step, wrong in enumerate(walk.wrong):
            if wrong is None:
                continue
            ids = prompts[-1].ids[: places[step] + 1]
            read = model.tokenizer.decode(list(ids))
            assert read.endswith(walk.text[: walk.ends[step]].rstrip())
            expected = whole[[0, 2], places[step]].numpy()
            assert np.allclose(found.values[row], expected, rtol=1e-4, atol=1e-4)
            assert found.wrong[row] == wrong and found.places[row] == step
            row += 1
    assert row == len(found.wrong)


def test_the_whole_way_and_its_resuming(tmp_path: Path) -> None:
    model = replace(tiny_model("llama"), max_context=None)
    odd = replace(solution("math", 0, 0, right=False), id="odd", gold_step=77)
    rows = CritiqueSet((*solutions(("math",), 12), odd))
    with Run.create("eval mr-ben", out=tmp_path / "run") as run:
        first = step_probe(model, rows, run=run, layers=[1])
        with counted(model) as passes:
            again = step_probe(model, rows, run=run, layers=[1])
    assert not passes
    assert np.array_equal(first.scores, again.scores)
    assert first.left_out == {UNKNOWN: 1}
    result = first.result()
    assert len(result.measurements) == 2 and result.figures[0].table in result.tables
    assert "UNKNOWN" not in result.how[0] and "1 left out" in result.how[0]


def test_what_cannot_be_probed() -> None:
    model: Any = replace(tiny_model("llama"), max_context=None)
    with pytest.raises(ConfigError, match="no layers"):
        step_probe(model, solutions(), layers=[99])
    with pytest.raises(DataError, match="too few"):
        step_probe(model, solutions(("math",), 1), layers=[0])


def test_control_tokens_in_a_solution_leave_it_out() -> None:
    model = replace(tiny_model("llama"), max_context=None)
    row = solution("math", 0, 0, right=False)
    hostile = replace(row, question="What does <|end|> do?")
    found = read_steps(model, [walk_of(row), walk_of(hostile)], layers=[0])
    assert len(found.wrong) == 2 and sum(found.left_out.values()) == 1
