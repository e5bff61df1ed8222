"""Answering and rewriting prompts: what is asked, what is kept, and what a stopped run repeats."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.correction.perspective_taking.made import Script, Tool, numbered
from tests.models.tiny import tiny_model
from theodolite.correction import respond, respond_request
from theodolite.correction.perspective_taking.registry import METHODS
from theodolite.correction.perspective_taking.setting import PROMPT_KEY
from theodolite.correction.respond import (
    ANSWERS,
    answer_prompts,
    keys_of,
    to_sample,
    write_answers,
)
from theodolite.correction.respond_request import RespondRequest, work_of
from theodolite.data.prompts import Message, Prompt
from theodolite.errors import ConfigError, DataError, Interrupted, ModelError, TheodoliteError
from theodolite.providers import evaluate as evaluation
from theodolite.providers.theodolite import TheodoliteAPI
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run

BAD = Tool(lambda text: 0.9)
ONE_AT_A_TIME = {"connections": 1}


@pytest.fixture(autouse=True)
def stub_tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(respond_request, "text_scorer", lambda *_, **__: BAD)
    yield


def rows(path: Path, count: int = 3, **fields: Any) -> str:
    lines = [json.dumps({"id": f"p{i}", "prompt": f"Ask {{k}} {i}"} | fields) for i in range(count)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def answered(
    folder: Path, script: Script, *, resume: bool = False, **asked: Any
) -> list[dict[str, Any]]:
    work = work_of(RespondRequest(**asked))
    new = partial(Run.create, "correct respond", "mock", out=folder)
    begun = partial(Run.resume, folder, command="correct respond")
    with begun() if resume else new() as run:
        return answer_prompts(script.model, work, run=run, progress=SilentProgress())


def written(folder: Path) -> bytes:
    return (folder / ANSWERS).read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_with_the_calls_it_states(tmp_path: Path, method: str) -> None:
    script = numbered()
    (record,) = answered(tmp_path / "run", script, prompt="Why {S}?", method=method)
    entry = METHODS[method]
    assert record["usage"]["calls"] == len(script.calls) == 1 + entry.extra_calls
    assert (record["revised"] is None) == (entry.extra_calls == 0)
    assert RespondRequest(method=method).rewrites == (record["revised"] is not None)
    assert [json.loads(line) for line in written(tmp_path / "run").splitlines()] == [record]


def test_a_file_is_answered_in_its_order_as_chats(tmp_path: Path) -> None:
    script = Script(lambda _, turns: f"to {turns[0].text}")
    name = rows(tmp_path / "asked.jsonl")
    found = answered(tmp_path / "run", script, prompts=name, method="base", limit=2)
    assert [one["id"] for one in found] == ["p0", "p1"]
    assert [one["original"] for one in found] == ["to Ask {k} 0", "to Ask {k} 1"]
    assert {one["form"] for one in found} == {"chat"}


def test_a_continuation_is_read_behind_its_marker(tmp_path: Path) -> None:
    script = numbered("Of course.\nCompletion: ")
    (record,) = answered(
        tmp_path / "run", script, prompt="They {prompt}", continuation=True, method="rewrite_only"
    )
    assert (record["original"], record["revised"]) == ("answer 1", "answer 2")
    assert '"They {prompt}"' in script.calls[0][-1].text and record["form"] == "continuation"


def test_the_turns_of_a_chat_are_sent_as_they_are(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Yes?"), ("user", "Soup?")]
    path = tmp_path / "chat.jsonl"
    chat = [{"role": role, "content": content} for role, content in turns]
    path.write_text(json.dumps({"id": "c", "messages": chat}) + "\n")
    script = numbered("")
    answered(tmp_path / "run", script, prompts=str(path), method="rewrite_only")
    assert [(turn.role, turn.text) for turn in script.calls[0]] == turns
    assert [(t.role, t.text) for t in script.calls[1]][:5] == [*turns, ("assistant", "answer 1")]


def test_settings_reach_the_method(tmp_path: Path) -> None:
    script = numbered("")
    asked: dict[str, Any] = {"prompt": "Why?", "max_tokens": 7, "listing_tokens": 5}
    (record,) = answered(
        tmp_path / "run",
        script,
        method="pet",
        readers=3,
        wording="v2",
        language="de",
        concern="bias",
        thinking_tokens=6,
        options={"protocol": "paper", "rounds": 2},
        **asked,
    )
    assert (record["method"], record["wording"], record["language"]) == ("pet_iter", "v2", "de")
    assert record["options"] == {"kind": "io", "k": 3, "rounds": 2}
    assert [config.max_tokens for config in script.configs] == [7, 5, 6, 7, 5, 6, 7]
    assert "3 Leser" in script.calls[1][-1].text


def stop_at(number: int, error: type[BaseException]) -> Script:
    """Return a model that answers by what it is asked, and fails at a call."""

    def reply(call: int, turns: list[Any]) -> str:
        if call == number:
            raise error
        return f"answer {len(turns)} to {turns[0].text}"

    return Script(reply)


@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt, Interrupted), (ValueError, ModelError)]
)
def test_what_was_finished_is_kept_and_a_resumed_run_is_the_same(
    tmp_path: Path, error: type[BaseException], raised: type[TheodoliteError]
) -> None:
    asked = {"prompts": rows(tmp_path / "asked.jsonl", 4), "method": "self_correct"} | ONE_AT_A_TIME
    answered(tmp_path / "whole", stop_at(0, error), **asked)
    with pytest.raises(raised):
        answered(tmp_path / "cut", stop_at(8, error), **asked)
    partly = written(tmp_path / "cut")
    assert partly.count(b"\n") == 2 and written(tmp_path / "whole").startswith(partly)
    again = stop_at(0, error)
    answered(tmp_path / "cut", again, resume=True, **asked)
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    assert len(again.calls) == 6  # two prompts of four, three calls each
    nothing = stop_at(1, error)
    answered(tmp_path / "cut", nothing, resume=True, **asked)
    assert nothing.calls == [] and written(tmp_path / "cut") == written(tmp_path / "whole")


LOCAL: dict[str, Any] = {
    "readers": 2,
    "max_tokens": 5,
    "listing_tokens": 6,
    "thinking_tokens": 6,
    "temperature": 1.2,
}


def answered_locally(
    folder: Path, *, resume: bool = False, seed: int = 3, **asked: Any
) -> list[dict[str, Any]]:
    model = tiny_model("llama")
    model.max_context = 8192
    work = work_of(RespondRequest(seed=seed, **LOCAL, **asked))
    new = partial(Run.create, "correct respond", "tiny", out=folder)
    with Run.resume(folder, command="correct respond") if resume else new() as run:
        return answer_prompts(model, work, run=run)


def test_a_local_run_that_was_stopped_is_the_same_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(respond, "AT_ONCE", 2)
    asked = {"prompts": rows(tmp_path / "asked.jsonl", 4), "method": "pet_io"}
    computed: list[int] = []
    calls = []
    generate, complete = TheodoliteAPI.generate, evaluation.answer_requests

    async def stopped(self: TheodoliteAPI, *given: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 13:  # the second part is at its third stage
            raise KeyboardInterrupt
        return await generate(self, *given, **named)

    def counted(model: Any, requests: Any, **how: Any) -> Any:
        computed.append(len(requests))
        return complete(model, requests, **how)

    answered_locally(tmp_path / "whole", **asked)
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        patched.setattr(TheodoliteAPI, "generate", stopped)
        answered_locally(tmp_path / "cut", **asked)
    partly = written(tmp_path / "cut")
    assert partly.count(b"\n") == 2 and written(tmp_path / "whole").startswith(partly)
    monkeypatch.setattr(evaluation, "answer_requests", counted)
    answered_locally(tmp_path / "cut", resume=True, **asked)
    assert written(tmp_path / "cut") == written(tmp_path / "whole")
    assert computed == [2, 2, 2, 2]  # the stages of the second part, the same batches again


def test_the_same_seed_gives_the_same_bytes_on_a_local_model(tmp_path: Path) -> None:
    asked = {"prompts": rows(tmp_path / "asked.jsonl", 2), "method": "pet_is"}
    bytes_of = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        answered_locally(tmp_path / name, seed=seed, **asked)
        bytes_of[name] = written(tmp_path / name)
    assert bytes_of["a"] == bytes_of["b"]
    originals = [[json.loads(r)["original"] for r in bytes_of[n].splitlines()] for n in "ac"]
    assert originals[0] != originals[1]


def test_answers_are_kept_under_what_decides_them(tmp_path: Path) -> None:
    model = tiny_model("llama")
    first = RespondRequest(prompts=rows(tmp_path / "asked.jsonl"), scorers=("alt_profanity",))

    def key(**changed: Any) -> str:
        return keys_of(model, work_of(replace(first, **changed)))["p0"]

    same: list[dict[str, Any]] = [{"scorers": ()}, {"limit": 1}, {"connections": 3}]
    other: list[dict[str, Any]] = [
        {"seed": 1},
        {"method": "pet_is"},
        {"readers": 4},
        {"language": "de"},
        {"max_tokens": 9},
        {"continuation": True},
        {"options": {"protocol": "reference"}},
    ]
    assert {key(**changed) for changed in same} == {key()}
    assert len({key(), *(key(**changed) for changed in other)}) == 1 + len(other)
    rows(tmp_path / "asked.jsonl", prompt="Another prompt")
    assert key() != keys_of(model, work_of(first)) and key() == key(limit=2)


TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@given(text=TEXT, continuation=st.booleans())
def test_a_prompt_is_asked_as_it_is(text: str, continuation: bool) -> None:
    sample = to_sample(Prompt("a", text=text), continuation=continuation)
    assert sample.input == text and sample.id == "a"
    assert (sample.metadata or {}).get(PROMPT_KEY) == (text if continuation else None)
    chat = Prompt("a", messages=(Message("system", "x"), Message("user", text)))
    turns = to_sample(chat, continuation=False).input
    assert not isinstance(turns, str) and [turn.text for turn in turns] == ["x", text]


@given(texts=st.lists(st.text(), max_size=4))
def test_written_answers_command_no_terminal_and_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    made = [{"id": str(i), "original": text} for i, text in enumerate(texts)]
    data = write_answers(tmp_path_factory.mktemp("out"), made).read_bytes()
    assert [json.loads(line) for line in data.splitlines()] == made
    assert all(32 <= byte < 127 or byte == 10 for byte in data)


BOTH = {"prompt": "Why?", "prompts": "x.jsonl"}
WRONG: dict[str, tuple[dict[str, Any], type[TheodoliteError], str]] = {
    "nothing": ({}, ConfigError, "--prompt TEXT or --prompts FILE"),
    "both": (BOTH, ConfigError, "either one prompt or a file"),
    "blank": ({"prompt": " \n"}, ConfigError, "empty"),
    "half a pair": ({"prompt": "a\ud800"}, DataError, "surrogate"),
    "no file": ({"prompts": "none.jsonl"}, DataError, "none.jsonl"),
    "method": ({"prompt": "a", "method": "pet_ioo"}, ConfigError, "`pet_io`"),
    "option": ({"prompt": "a", "options": {"kk": 2}}, ConfigError, "`k`"),
    "odd option": ({"prompt": "a", "options": {"k": [2]}}, ConfigError, "a number"),
    "tool option": ({"prompt": "a", "options": {"tool": "x"}}, ConfigError, "option of pet_io"),
    "readers": ({"prompt": "a", "readers": 0}, ConfigError, "readers is 0"),
    "no readers": ({"prompt": "a", "method": "critic", "readers": 2}, ConfigError, "--readers"),
    "no wording": ({"prompt": "a", "method": "base", "wording": "v1"}, ConfigError, "--wording"),
    "wording": ({"prompt": "a", "wording": "v7"}, ConfigError, "v0, v1"),
    "language": ({"prompt": "a", "language": "dee"}, ConfigError, "`de`"),
    "concern": ({"prompt": "a", "concern": "bais"}, ConfigError, "`bias`"),
    "no use for a tool": ({"prompt": "a", "tool": "vader"}, ConfigError, "asks no tool"),
    "cap": ({"prompt": "a", "max_tokens": 0}, ConfigError, "0 tokens"),
    "limit": ({"prompt": "a", "limit": 0}, ConfigError, "limit is 0"),
    "connections": ({"prompt": "a", "connections": 0}, ConfigError, "connections is 0"),
    "below": ({"prompt": "a", "leave_below": 0.0}, ConfigError, "leave_below is 0"),
    "below of base": (
        {"prompt": "a", "leave_below": 0.1, "method": "base"},
        ConfigError,
        "rewrites nothing",
    ),
    "top_p": ({"prompt": "a", "top_p": 1.5}, ConfigError, "top_p is 1.5"),
    "temperature": ({"prompt": "a", "temperature": float("nan")}, ConfigError, "nan"),
    "pairs": ({"prompt": "a", "pairs": True}, ConfigError, "Pairs need a scorer"),
    "pairs of base": (
        {"prompt": "a", "pairs": True, "method": "base", "scorers": ("x",)},
        ConfigError,
        "rewrites",
    ),
}


@pytest.mark.parametrize(("asked", "error", "says"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_asked_is_refused(
    asked: dict[str, Any], error: type[TheodoliteError], says: str
) -> None:
    with pytest.raises(error, match=says):
        work_of(RespondRequest(**asked))


CHATS: dict[str, tuple[list[tuple[str, str]], bool, str]] = {
    "continued": ([("user", "a")], True, "is a chat"),
    "tool": ([("user", "a"), ("tool", "b")], False, "what a tool said"),
    "nobody asks": ([("system", "a")], False, "no user turn"),
    "empty": ([("user", " ")], False, "empty message"),
}


@pytest.mark.parametrize(("turns", "continuation", "says"), CHATS.values(), ids=CHATS.keys())
def test_chats_that_cannot_be_answered_are_named(
    turns: list[tuple[str, str]], continuation: bool, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "chat.jsonl"
    chat = [{"role": role, "content": content} for role, content in turns]
    path.write_text(json.dumps({"id": "the-id", "messages": chat}) + "\n")
    with pytest.raises(DataError, match=f"the-id.*{says}"):
        work_of(RespondRequest(prompts=str(path), continuation=continuation))


def test_a_tool_takes_part_where_a_method_or_a_threshold_needs_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []
    scorer: Callable[..., Tool] = lambda name, **_: opened.append(name) or BAD  # type: ignore[func-returns-value]  # noqa: E731
    monkeypatch.setattr(respond_request, "text_scorer", scorer)
    assert work_of(RespondRequest(prompt="a")).tool is None and opened == []
    assert work_of(RespondRequest(prompt="a", method="critic")).tool is BAD
    assert work_of(RespondRequest(prompt="a", leave_below=0.2, tool="vader")).tool is BAD
    assert opened == ["alt_profanity", "vader"]


def test_a_local_answer_hangs_on_the_state_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, work = tiny_model("llama"), work_of(RespondRequest(prompt="a"))
    before = keys_of(model, work)
    monkeypatch.setattr(respond, "interventions_key", lambda _: ["changed"])
    assert keys_of(model, work) != before
