"""Samples that go in step: every turn is planned as a whole, and a resumed run repeats no unit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.solver import Generate, Solver, TaskState, solver

from tests.models.tiny import tiny_model
from theodolite.engine.session import Session
from theodolite.errors import DataError, Interrupted
from theodolite.providers.evaluate import evaluate
from theodolite.providers.in_step import Step
from theodolite.runs.run import Run

WORDS = ["bake bread", "a small boat", "the weather", "a quiet lake", "write a story"]


@solver
def talk(turns: dict[str, int]) -> Solver:
    """Ask so many turns of each sample, which differ in number and length."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        for number in range(turns.get(str(state.sample_id), 1)):
            config = GenerateConfig(max_tokens=3 + number)
            state.output = await get_model().generate(state.messages, config=config)
            state.messages += [state.output.message, ChatMessageUser(content=f"and {number}?")]
        return state

    return solve


TURNS = {"a small boat": 3, "the weather": 2, "a quiet lake": 3}


def toy(turns: dict[str, int] = TURNS) -> Task:
    return Task(
        dataset=MemoryDataset([Sample(input=word, id=word) for word in WORDS]),
        solver=talk(turns),
        epochs=2,
        config=GenerateConfig(temperature=1.1, max_connections=2),
        name="toy",
    )


def new_run(path: Path) -> Run:
    return Run.create("eval toy", "tiny", out=path)


def said(log: EvalLog) -> dict[tuple[Any, int], list[str]]:
    return {(s.id, s.epoch): [m.text for m in s.messages] for s in log.samples or ()}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of requests of each step."""
    sizes: list[int] = []
    answer = Step._answer

    def counted(self: Step, requests: Sequence[Any]) -> Any:
        sizes.append(len(requests))
        return answer(self, requests)

    monkeypatch.setattr(Step, "_answer", counted)
    return sizes


def test_all_samples_are_asked_together_turn_by_turn(tmp_path: Path, steps: list[int]) -> None:
    task = toy()
    with new_run(tmp_path / "run") as run:
        log = evaluate(task, tiny_model(), run=run, seed=3, in_step=True)
        assert len(run.journal) > 0
    # Those that are done leave: 5 samples ask once, 3 twice, 2 thrice, two epochs each.
    assert steps == [10, 6, 4]
    assert task.cleanup is None
    with new_run(tmp_path / "queue") as run:
        queued = evaluate(toy(), tiny_model(), run=run, seed=3)
    assert said(queued) == said(log) and steps == [10, 6, 4]


def test_a_stopped_run_goes_on_with_the_very_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_run(tmp_path / "whole") as run:
        whole = said(evaluate(toy(), tiny_model(), run=run, seed=3, in_step=True))
        units = set(run.journal.keys())
    answer, count = Step._answer, [0]

    def stop(self: Step, requests: Sequence[Any]) -> Any:
        count[0] += 1
        if count[0] == 3:
            raise Interrupted("Stopped.")
        return answer(self, requests)

    with monkeypatch.context() as patched:
        patched.setattr(Step, "_answer", stop)
        with pytest.raises(Interrupted), new_run(tmp_path / "run") as run:
            evaluate(toy(), tiny_model(), run=run, seed=3, in_step=True)
    with Run.resume(tmp_path / "run", command="eval toy") as run:
        kept = set(run.journal.keys())
        again = said(evaluate(toy(), tiny_model(), run=run, seed=3, in_step=True))
        assert kept < units == set(run.journal.keys())
    assert again == whole


def test_a_failure_ends_the_evaluation_and_nobody_waits(tmp_path: Path) -> None:
    long = Task(
        dataset=MemoryDataset([Sample(input="x " * 900, id="long"), Sample(input="a", id="b")]),
        solver=talk({"b": 2}),
        name="toy",
    )
    with pytest.raises(DataError, match="at most 512"), new_run(tmp_path / "run") as run:
        evaluate(long, tiny_model(), run=run, in_step=True)


def test_a_tasks_own_cleanup_is_kept(tmp_path: Path) -> None:
    seen = []

    async def own(state: TaskState) -> None:
        seen.append(state.sample_id)

    task = toy({})
    task.cleanup = own
    with new_run(tmp_path / "run") as run:
        evaluate(task, tiny_model(), run=run, in_step=True)
    assert sorted(seen) == sorted(WORDS * 2) and task.cleanup is own


def unit_lines(path: Path) -> dict[str, Any]:
    rows = map(json.loads, (path / "journal.jsonl").read_bytes().splitlines())
    return {row["key"]: row["value"] for row in rows}


def test_a_run_killed_after_any_unit_ends_like_one_that_was_not(tmp_path: Path) -> None:
    def ask(run: Run) -> dict[tuple[Any, int], list[str]]:
        return said(evaluate(toy(), tiny_model(), run=run, seed=3, in_step=True))

    with new_run(tmp_path / "whole") as run:
        whole = ask(run)
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for count in range(len(lines)):
        path = tmp_path / f"killed-{count}"
        new_run(path).__exit__(None, None, None)
        (path / "journal.jsonl").write_bytes(b"".join(lines[:count]) + lines[count][:30])
        with Run.resume(path, command="eval toy") as run:
            assert ask(run) == whole
        assert unit_lines(path) == unit_lines(tmp_path / "whole")


def test_later_turns_read_only_what_is_new(tmp_path: Path) -> None:
    model = tiny_model()
    read = {}
    for name, most in (("none", 0), ("all", None)):
        session = Session(model, most_bytes=most)
        with new_run(tmp_path / name) as run:
            evaluate(toy(), model, run=run, seed=3, in_step=True, session=session)
        read[name] = session.tokens_read
    assert 0 < read["all"] < 0.8 * read["none"]
