"""On a local model: one original for all methods, batches that hold many samples, and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import EvalLog, resolve_sample_attachments
from inspect_ai.model import GenerateConfig

from tests.correction.perspective_taking.made import PROMPT, record_of
from tests.models.tiny import TEMPLATE, tiny_model
from theodolite.correction.perspective_taking.conversation import Conversation
from theodolite.correction.perspective_taking.registry import make_solver
from theodolite.correction.perspective_taking.setting import Caps, Setting
from theodolite.correction.perspective_taking.talk import FOLDED
from theodolite.correction.perspective_taking.window import GAP, cut_middle, make_room
from theodolite.errors import TheodoliteError
from theodolite.models.handle import LanguageModel
from theodolite.providers.evaluate import evaluate
from theodolite.providers.theodolite import TheodoliteAPI
from theodolite.runs.run import Run

SETTING = Setting(caps=Caps(listing=6, thinking=6, writing=4))
NO_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}{% endfor %}" + TEMPLATE
)


def wide(template: str = TEMPLATE, context: int = 8192) -> LanguageModel:
    model = tiny_model("llama", template=template)
    model.max_context = context
    return model


def task(name: str, **options: Any) -> Task:
    samples = [
        Sample(input=f"{PROMPT} {i}", id=f"p{i}", metadata={"continuation_prompt": f"{PROMPT} {i}"})
        for i in range(2)
    ]
    return Task(
        dataset=MemoryDataset(samples),
        solver=make_solver(name, setting=options.pop("setting", SETTING), **options),
        epochs=2,
        config=GenerateConfig(max_tokens=8, max_connections=8, temperature=1.2, top_p=0.9),
        name="toy",
    )


def new_run(path: Path) -> Run:
    return Run.create("eval toy", "tiny", out=path)


def records(log: EvalLog) -> dict[tuple[Any, int], dict[str, Any]]:
    return {(sample.id, sample.epoch): record_of(sample) for sample in log.samples or []}


def test_methods_start_from_the_originals_of_base(tmp_path: Path) -> None:
    found = {}
    for name in ("base", "rewrite_only", "pet_both"):
        with new_run(tmp_path / name) as run:
            found[name] = records(evaluate(task(name), wide(), run=run, seed=3))
    originals = [{key: one["original"] for key, one in of.items()} for of in found.values()]
    assert originals[0] == originals[1] == originals[2]
    assert len(set(originals[0].values())) == 4  # prompts and epochs differ
    with new_run(tmp_path / "other") as run:
        other = records(evaluate(task("base"), wide(), run=run, seed=4))
    assert {key: one["original"] for key, one in other.items()} != originals[0]


def test_samples_share_batches_and_a_resumed_run_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    complete = TheodoliteAPI.complete

    def counted(self: TheodoliteAPI, requests: Any) -> Any:
        sizes.append(len(requests))
        return complete(self, requests)

    monkeypatch.setattr(TheodoliteAPI, "complete", counted)
    with new_run(tmp_path / "run") as run:
        first = records(evaluate(task("pet_io", k=2), wide(), run=run, seed=3))
    assert sum(sizes) == 16 and len(sizes) < 16
    with Run.resume(tmp_path / "run", command="eval toy") as run:
        again = records(evaluate(task("pet_io", k=2), wide(), run=run, seed=3))
    assert again == first and sum(sizes) == 16
    with new_run(tmp_path / "alone") as run:
        one = evaluate(task("pet_io", k=2), wide(), run=run, seed=3, max_connections=1, limit=1)
    alone = records(one)
    assert alone == {key: first[key] for key in alone} and len(alone) == 2


def test_costs_are_those_of_the_provider_and_caps_are_hit(tmp_path: Path) -> None:
    with new_run(tmp_path / "run") as run:
        (one, *_) = records(evaluate(task("pet_io"), wide(), run=run, seed=3)).values()
    reads = [stage["n_in"] for stage in one["stages"]]
    assert reads == sorted(reads) and one["usage"]["in"] == sum(reads)
    assert all(0 < stage["n_out"] <= 6 for stage in one["stages"])
    capped = [stage["n_out"] == cap for stage, cap in zip(one["stages"], (4, 6, 6, 4))]
    assert [stage["capped"] for stage in one["stages"]] == capped
    assert one["usage"]["capped"] == sum(capped) > 0


def test_a_model_without_system_turns_is_noted(tmp_path: Path) -> None:
    with new_run(tmp_path / "run") as run:
        found = records(evaluate(task("base"), wide(NO_SYSTEM), run=run))
    assert all(one["notes"] == [FOLDED] for one in found.values())


def test_a_template_that_refuses_later_turns_is_named(tmp_path: Path) -> None:
    short = "{% if messages|length > 5 %}{{ raise_exception('too long') }}{% endif %}" + TEMPLATE
    with (
        new_run(tmp_path / "run") as run,
        pytest.raises(TheodoliteError, match="chat template refuses this chat: too long"),
    ):
        evaluate(task("pet_io"), wide(short), run=run)


def test_the_window_costs_the_readers_their_middle(tmp_path: Path) -> None:
    setting = Setting(caps=Caps(listing=90, thinking=8, writing=8))
    with new_run(tmp_path / "free") as run:
        free = records(evaluate(task("pet_io", setting=setting), wide(), run=run, limit=1))
    (one, *_) = free.values()
    need = max(stage["n_in"] + 8 for stage in one["stages"])
    with new_run(tmp_path / "run") as run:
        log = evaluate(task("pet_io", setting=setting), wide(context=need - 40), run=run, limit=1)
    (cut, *_) = records(log).values()
    assert [stage["truncated"] for stage in cut["stages"]][-1] is True
    assert cut["stages"][:2] == one["stages"][:2]
    assert all(stage["n_in"] + 8 <= need - 40 for stage in cut["stages"][2:])
    sample = resolve_sample_attachments((log.samples or [])[0], "full")
    events = [event for event in sample.events if event.event == "model"]
    last = [turn.text for turn in events[-1].input]
    assert PROMPT in last[3] and GAP in last[6]


def test_what_may_not_be_cut_is_left_alone() -> None:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    words = "word " * 100
    talk = Conversation([ChatMessageUser(content=words), ChatMessageAssistant(content=words)])
    assert make_room(wide(context=64), talk, 8) is False
    talk.answer(ChatMessageAssistant(content=words), current=True)
    assert make_room(wide(context=64), talk, 8) is False
    talk.answer(ChatMessageAssistant(content=words))
    assert make_room(wide(context=64), talk, 8) is True
    assert [turn.text == words for turn in talk.messages] == [True, True, True, False]
    assert make_room(None, talk, 8) is False


def test_cutting_keeps_both_ends_at_white_space() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    for limit in (20, 60, 200):
        cut = cut_middle(text, limit)
        head, tail = cut.split(GAP)
        assert len(cut) <= limit and text.startswith(f"{head} ") and text.endswith(f" {tail}")
    assert cut_middle(text, 10_000) == text
    assert GAP in cut_middle("x" * 500, 40) and len(cut_middle("x" * 500, 40)) <= 40
