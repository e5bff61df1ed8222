"""evaluate(): quiet, planned ahead, bit-equal when resumed, and honest about failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import Generate, Solver, TaskState, chain, generate, solver

from tests.models.tiny import tiny_model
from theodolite.errors import CapabilityError, Interrupted, ModelError
from theodolite.models.handle import LanguageModel
from theodolite.providers.evaluate import evaluate
from theodolite.providers.theodolite import TheodoliteAPI
from theodolite.runs.run import Run

WORDS = ["bake bread", "a small boat", "the weather", "a quiet lake", "write a story"]


def toy(*, solver: Solver | None = None, epochs: int = 1, tokens: int = 6) -> Task:
    return Task(
        dataset=MemoryDataset([Sample(input=word, target="a", id=word) for word in WORDS]),
        solver=solver or generate(),
        scorer=includes(),
        epochs=epochs,
        config=GenerateConfig(max_tokens=tokens, max_connections=8),
        name="toy",
    )


def new_run(path: Path) -> Run:
    return Run.create("eval toy", "tiny", out=path)


def answers(log: EvalLog) -> list[str]:
    return [sample.output.completion for sample in log.samples or ()]


class CountingModel:
    """How many forward passes a handle makes."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.passes = 0
        model.anatomy.embed.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.passes += 1


@solver
def second_turn() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.messages.append(ChatMessageUser(content="And then?"))
        return await generate(state)

    return solve


def test_first_turns_are_planned_and_inspect_never_asks_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(TheodoliteAPI, "complete", lambda *_: pytest.fail("asked the model"))
    with new_run(tmp_path / "run") as run:
        log = evaluate(toy(), tiny_model(), run=run, limit=3)
    assert log.status == "success" and len(answers(log)) == 3
    assert Path(log.location.removeprefix("file://")).parent == tmp_path / "run" / "logs"
    assert answers(read_eval_log(log.location)) == answers(log)
    assert capfd.readouterr().out == ""


def test_a_resumed_run_repeats_nothing_and_gives_the_same_answers(tmp_path: Path) -> None:
    counting = CountingModel(tiny_model())
    task = toy(solver=chain(generate(), second_turn()))
    with new_run(tmp_path / "run") as run:
        first = evaluate(task, counting.model, run=run, temperature=1.3, seed=5)
    passes = counting.passes
    assert passes > 0
    with Run.resume(tmp_path / "run", command="eval toy") as run:
        again = evaluate(task, counting.model, run=run, temperature=1.3, seed=5)
        assert counting.passes == passes
        other = evaluate(task, counting.model, run=run, temperature=1.3, seed=6)
    assert answers(again) == answers(first) != answers(other)


def test_epochs_differ_when_sampling_and_are_the_same_planned_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[dict[str, list[str]]] = []
    for name in ("planned", "queued"):
        with new_run(tmp_path / name) as run:
            log = evaluate(toy(epochs=3), tiny_model(), run=run, temperature=1.5, seed=1)
        texts: dict[str, list[str]] = {}
        for sample in log.samples or ():
            texts.setdefault(str(sample.id), []).append(sample.output.completion)
        found.append(texts)
        monkeypatch.setattr("theodolite.providers.evaluate.first_requests", lambda *_: [])
    assert all(len(set(texts)) == 3 for texts in found[0].values())
    assert found[0] == found[1]


def test_asking_one_thing_twice_in_a_sample_gives_two_samples(tmp_path: Path) -> None:
    @solver
    def twice() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            model = get_model()
            texts = [(await model.generate(state.input_text)).completion for _ in range(2)]
            state.metadata["texts"] = texts
            state.output = ModelOutput.from_content("tiny", texts[0])
            return state

        return solve

    for seed in (1, 1):
        with new_run(tmp_path / str(time.monotonic_ns())) as run:
            log = evaluate(toy(solver=twice()), tiny_model(), run=run, temperature=1.5, seed=seed)
        pairs = [sample.metadata["texts"] for sample in log.samples or ()]
        assert all(first != second for first, second in pairs)


def test_an_inspect_model_is_taken_as_it_is(tmp_path: Path) -> None:
    usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    outputs = [ModelOutput(model="m", choices=[], completion="a", usage=usage) for _ in WORDS]
    for output in outputs:
        output.choices = ModelOutput.from_content("m", "a").choices
    mock = get_model("mockllm/model", custom_outputs=outputs)
    with new_run(tmp_path / "run") as run:
        log = evaluate(toy(), mock, run=run)
    assert answers(log) == ["a"] * len(WORDS)


def test_our_errors_come_back_as_they_are(tmp_path: Path) -> None:
    task = toy(solver=chain(generate()))
    with new_run(tmp_path / "run") as run, pytest.raises(CapabilityError, match="logit_bias"):
        evaluate(task, tiny_model(), run=run, logit_bias={3: 1.0})


def test_any_other_failure_names_the_log_in_one_sentence(tmp_path: Path) -> None:
    @solver
    def broken() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            raise ValueError("first line\nsecond line")

        return solve

    with new_run(tmp_path / "run") as run, pytest.raises(ModelError) as caught:
        evaluate(toy(solver=broken()), tiny_model(), run=run)
    assert "first line" in str(caught.value) and ".eval" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stage", ["queued", pytest.param("planned", marks=pytest.mark.slow)])
def test_ctrl_c_ends_in_seconds_and_says_how_to_go_on(tmp_path: Path, stage: str) -> None:
    program = textwrap.dedent(
        f"""
        from pathlib import Path
        from inspect_ai.solver import chain, generate
        from tests.providers.test_evaluate import new_run, toy
        from tests.models.tiny import tiny_model
        from theodolite.errors import TheodoliteError
        from theodolite.providers.evaluate import evaluate
        task = toy(tokens=480, solver=generate() if {stage == "planned"} else chain(generate()))
        model = tiny_model()
        model.anatomy.embed.register_forward_pre_hook(lambda *_: print("pass", flush=True))
        try:
            evaluate(task, model, run=new_run(Path({str(tmp_path / "run")!r})))
        except TheodoliteError as error:
            print(type(error).__name__, error)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "pass\n":
        assert process.poll() is None, line
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, _ = process.communicate(timeout=60)
    assert Interrupted.__name__ in out and "--resume" in out.replace("\n", " ")
    assert process.returncode == 0 and out.count("pass") < 470
    assert time.monotonic() - start < 30
