"""What the methods do: their calls, what they keep, and what they leave the task's scorer."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ModelName,
    ModelOutput,
)
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState

from tests.correction.perspective_taking.made import (
    CHAT,
    CONTINUE,
    PROMPT,
    QUESTION,
    Script,
    Tool,
    names_of,
    numbered,
    record_of,
    run,
    said,
    sample_of,
)
from theodolite.correction.perspective_taking.method import CONFOUNDED
from theodolite.correction.perspective_taking.professions import FEWER, named_roles
from theodolite.correction.perspective_taking.registry import METHODS, make_solver
from theodolite.correction.perspective_taking.setting import (
    Caps,
    Clean,
    Setting,
    given_original,
    prompt_of,
)
from theodolite.correction.perspective_taking.talk import FOLDED
from theodolite.errors import DataError

BAD = Tool(lambda text: 0.9)


@pytest.mark.parametrize(
    ("name", "extra", "options"),
    [
        ("raw", 0, {}),
        ("base", 0, {}),
        ("prehoc", 0, {}),
        ("rewrite_only", 1, {}),
        ("self_correct", 2, {}),
        ("shap_words", 2, {}),
        ("pet_io", 3, {}),
        ("pet_both", 4, {}),
        ("pet_iter", 9, {"rounds": 3}),
        ("pet_placebo", 3, {}),
        ("critic", 2, {"max_rounds": 2}),
        ("roles", 5, {}),
        ("contrast", 3, {}),
        ("contrast", 4, {"make_roles": True}),
    ],
)
def test_calls_after_the_original(name: str, extra: int, options: dict[str, Any]) -> None:
    script = numbered()
    found = sample_of(make_solver(name, tool=BAD, **options), script)
    assert len(script.calls) == extra + 1 == record_of(found)["usage"]["calls"]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "contrast"])
def test_later_requests_begin_with_an_earlier_one_and_all_with_that_of_base(name: str) -> None:
    """So that a provider's cache of prompts, or ours of keys and values, holds what is said."""
    asked = []
    for method in ("base", name):
        script = numbered()
        sample_of(make_solver(method, tool=BAD), script)
        asked.append([[(turn.role, turn.text) for turn in call] for call in script.calls])
    (first,), calls = asked
    for number, call in enumerate(calls[1:], 1):
        assert any(call[: len(before)] == before for before in calls[:number])
    assert (calls[0] == first) == (not METHODS[name].own_original)


def test_both_views_are_imagined_apart_and_shown_together() -> None:
    script = numbered()
    sample_of(make_solver("pet_both", k=3), script)
    own, other, rewrite = ([turn.text for turn in call] for call in script.calls[2:])
    assert own[:-1] == other[:-1] and own[-1] != other[-1]
    assert "List 3 readers" in own[-3]
    assert "Picture yourself" in own[-1] and "Picture yourself" not in " ".join(other)
    assert rewrite[-5:-1] == [own[-1], "Completion: answer 3", other[-1], "Completion: answer 4"]


def test_a_round_goes_on_from_the_text_of_the_last() -> None:
    script = numbered()
    found = sample_of(make_solver("pet_iter", rounds=2), script)
    again = script.calls[4]
    assert [turn.text for turn in again[:4]] == [turn.text for turn in script.calls[0]]
    assert again[4].text == "Completion: answer 4" and "answer 1" not in str(again)
    assert names_of(found)[-1] == "rewrite/2"


@pytest.mark.parametrize(
    ("rates", "options", "rewrites", "stopped"),
    [
        ([0.05], {}, 0, "below threshold"),
        ([0.05, 0.05], {"always_rewrite": True}, 1, "below threshold"),
        ([0.9, 0.5, 0.05], {}, 2, "below threshold"),
        ([0.9] * 4, {}, 4, "rounds"),
        ([0.9, 0.3], {"threshold": 0.4}, 1, "below threshold"),
    ],
)
def test_the_tool_is_asked_before_each_rewrite_and_ends_the_rounds(
    rates: list[float], options: dict[str, Any], rewrites: int, stopped: str
) -> None:
    script = numbered()
    tool = Tool(lambda text: rates[int(text.split()[-1]) - 1])
    found = sample_of(make_solver("critic", tool=tool, **options), script)
    assert len(script.calls) == 1 + rewrites
    assert record_of(found)["facts"] == {"tools": ["stub@1"], "ratings": rates, "stopped": stopped}
    if rewrites:
        assert f"{rates[0]:.0%} on" in script.calls[1][-1].text
    assert found.output.completion == f"answer {1 + rewrites}"


class Attributes(Tool):
    def attributes(self, texts: Any) -> list[dict[str, float]]:
        return [{"TOXICITY": 0.2, "IDENTITY_ATTACK": 0.7, "THREAT": 0.7} for _ in texts]


def test_the_worst_attribute_is_told() -> None:
    script = numbered()
    sample_of(make_solver("critic", tool=Attributes(lambda text: 0.0), max_rounds=1), script)
    assert '70% on "identity attack"' in script.calls[1][-1].text


def test_a_sentiment_is_bad_below_neutral() -> None:
    for value, calls in ((-0.8, 2), (0.8, 1)):
        script = numbered()
        tool = Tool(lambda text, value=value: value, kind="sentiment")  # type: ignore[misc]
        sample_of(make_solver("critic", tool=tool, max_rounds=1), script)
        assert len(script.calls) == calls


def test_a_blank_text_is_not_rated_as_clean() -> None:
    tool = Tool(lambda text: 0.0)
    found = sample_of(make_solver("critic", tool=tool), Script(lambda *_: ""))
    assert tool.asked == [] and record_of(found)["facts"]["stopped"] == "not rated"


def test_the_words_a_tool_minds_are_named() -> None:
    script = Script(lambda number, _: "Completion: You rotten old {S} boot and rotten tree")
    tool = Tool(lambda text: 0.1 + 0.3 * ("rotten" in text.lower()) + 0.2 * ("boot" in text))
    found = sample_of(make_solver("shap", tool=tool, top=2), script)
    assert "- boot\n- rotten\n" in script.calls[1][-1].text
    assert record_of(found)["facts"]["words"][0] == ["boot", pytest.approx(0.2)]
    script = Script(lambda *_: "Completion: the and of it")
    found = sample_of(make_solver("shap", tool=tool), script)
    assert names_of(found) == ["original", "rewrite"] and record_of(found)["facts"]["words"] == []


def test_named_professions_are_read_and_completed() -> None:
    assert named_roles("1. Judge\n2) *Teacher*\n\n- Nurse 7\n4. Cook", 3) == (
        "Judge",
        "Teacher",
        "Nurse 7",
    )
    assert named_roles("x" * 200 + "\nJudge\nJudge", 3) == ("Judge",)
    script = numbered()
    found = sample_of(make_solver("roles", make_roles=True), script)
    assert FEWER in record_of(found)["notes"]
    suggestions = script.calls[5][-1].text
    assert "answer 3" in suggestions and "answer 5" in suggestions


def test_the_published_protocol_makes_its_own_original_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = Sample(
        input=PROMPT,
        id="g",
        metadata={"continuation_prompt": PROMPT, "original_completion": "Completion: given"},
    )
    with caplog.at_level(logging.WARNING):
        solver = make_solver("pet_io", protocol="reference")
    assert CONFOUNDED in caplog.text
    script = numbered()
    found = sample_of(solver, script, given)
    record = record_of(found)
    assert len(script.calls) == 4 and record["original"] == "answer 1"
    assert (record["protocol"], record["notes"]) == ("reference", [CONFOUNDED])
    assert "news medium" in script.calls[1][-1].text
    script = numbered()
    sample_of(make_solver("pet_io", protocol="reference", setting={"concern": "bias"}), script)
    assert "news medium" not in script.calls[1][-1].text
    assert "respect" in script.calls[0][1].text and "respect" not in script.calls[0][0].text


def test_a_given_original_is_not_asked_for_again() -> None:
    texts = ["Completion: first", "Completion: second"]
    given = Sample(
        input=PROMPT,
        id="g",
        metadata={"continuation_prompt": PROMPT, "original_completion": texts},
    )
    for name, calls in (("pet_io", 3), ("base", 0), ("raw", 1), ("prehoc", 1)):
        script = numbered()
        found = run(make_solver(name), script.model, [given], epochs=2).samples or []
        records = [record_of(sample) for sample in found]
        assert [record["usage"]["calls"] for record in records] == [calls, calls]
        if name in ("pet_io", "base"):
            assert [record["original"] for record in records] == ["first", "second"]
            assert records[0]["stages"][0]["n_in"] == 0


def state_of(metadata: dict[str, Any], epoch: int = 1) -> TaskState:
    return TaskState(
        model=ModelName("mockllm/model"),
        sample_id="row-7",
        epoch=epoch,
        input="x",
        messages=[],
        metadata=metadata,
    )


def test_a_sample_with_a_wrong_field_is_named() -> None:
    for prompt in (" ", 3):
        with pytest.raises(DataError, match=r"row-7.*continuation_prompt"):
            prompt_of(state_of({"continuation_prompt": prompt}))
    for given in (["one", "two"], 3, [None]):
        with pytest.raises(DataError, match=r"row-7.*epoch 3"):
            given_original(state_of({"original_completion": given}, epoch=3))
    assert prompt_of(state_of({})) is given_original(state_of({})) is None


@scorer(metrics=[mean()])
def words() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        said = (state.user_prompt.text, state.messages[-1].text, state.output.completion)
        return Score(value=1.0, answer=" | ".join(said))

    return score


@pytest.mark.parametrize("name", ["self_correct", "pet_both", "critic", "contrast"])
def test_any_scorer_sees_the_task_and_its_final_answer(name: str) -> None:
    script = Script(lambda number, _: f"answer {number}")
    system = ChatMessageSystem(content="Be brief.")
    chat = Sample(input=[system, ChatMessageUser(content=QUESTION)], id="q")
    found = sample_of(make_solver(name, tool=BAD), script, chat, scorer=words())
    last = f"answer {len(script.calls)}"
    assert found.scores["words"].answer == f"{QUESTION} | {last} | {last}"
    assert [turn.role for turn in found.messages] == ["system", "user", "assistant"]


def test_a_begun_answer_and_what_follows_it_are_one_text() -> None:
    script = Script(lambda number, _: f" and {number}")
    chat = Sample(
        input=[ChatMessageUser(content=QUESTION), ChatMessageAssistant(content="Well,")], id="b"
    )
    found = sample_of(make_solver("rewrite_only"), script, chat)
    assert [turn.text for turn in script.calls[1][:2]] == [QUESTION, "Well, and 1"]
    assert [turn.text for turn in found.messages] == [QUESTION, "Well,", " and 2"]


def test_empty_answers_are_kept_and_the_rounds_go_on() -> None:
    found = sample_of(make_solver("pet_io"), Script(lambda *_: ""))
    record = record_of(found)
    assert [stage["text"] for stage in record["stages"]] == [""] * 4
    assert record["parse"] == {"ok": False, "rule": "no_marker", "lines_dropped": 0}
    assert (record["original"], record["revised"], found.output.completion) == ("", "", "")
    chat = record_of(sample_of(make_solver("pet_io"), Script(lambda *_: ""), CHAT))
    assert chat["parse"] == {"ok": False, "rule": "whole", "lines_dropped": 0}


def test_an_answer_without_a_completion_is_scored_whole() -> None:
    found = sample_of(make_solver("base"), Script(lambda *_: "Sure!\nCompletion:"))
    assert found.output.completion == "Sure!\nCompletion:"
    assert record_of(found)["parse"]["ok"] is False
    thought = Script(lambda *_: "<think>Completion: no</think>Completion: yes")
    assert sample_of(make_solver("base"), thought).output.completion == "yes"


def test_caps_and_seeds_reach_the_model_and_base_asks_what_the_method_asks() -> None:
    setting = Setting(caps=Caps(listing=64, thinking=96, writing=32), seed=3)
    configs, first = {}, {}
    for name in ("base", "pet_io"):
        script = numbered()
        run(make_solver(name, setting=setting), script.model, [CONTINUE, CHAT], epochs=2)
        configs[name] = script.configs
        size = len(script.configs) // 4
        first[name] = [
            ([turn.text for turn in script.calls[i]], config.seed, config.max_tokens)
            for i, config in enumerate(script.configs)
            if i % size == 0
        ]
    assert [config.max_tokens for config in configs["pet_io"][:4]] == [32, 64, 96, 32]
    assert first["base"] == first["pet_io"]
    seeds = [config.seed for config in configs["pet_io"]]
    assert len(set(seeds)) == 16 and all(0 <= seed < 2**31 for seed in seeds if seed is not None)


def test_cap_hits_and_costs_are_totals_of_what_the_model_states() -> None:
    def reply(number: int, _: Any) -> ModelOutput:
        stop = "max_tokens" if number in (2, 3) else "stop"
        return said(f"Completion: {number}", stop=stop, read=number, written=10, cached=100)

    record = record_of(sample_of(make_solver("pet_is"), Script(reply)))
    assert record["usage"] == {
        "calls": 4, "in": 410, "out": 40, "cached": 400, "capped": 2, "truncated": 0,
    }  # fmt: skip
    assert [stage["capped"] for stage in record["stages"]] == [False, True, True, False]
    assert [stage["messages_added"] for stage in record["stages"]] == [5, 2, 2, 2]
    assert [stage["n_in"] for stage in record["stages"]] == [101, 102, 103, 104]
    silent = record_of(sample_of(make_solver("pet_is"), numbered()))
    assert silent["usage"]["in"] == 40 and silent["usage"]["cached"] is None  # not stated, not 0


def test_a_full_window_costs_the_readers_their_middle_never_the_prompt() -> None:
    readers = " ".join(f"Reader{i}" for i in range(200))

    def reply(number: int, turns: list[Any]) -> ModelOutput:
        if sum(len(turn.text) for turn in turns) > 2400:
            return said("too long", stop="model_length")
        return said(readers if number == 2 else f"Completion: {number}")

    script = Script(reply)
    found = sample_of(make_solver("pet_io"), script)
    stages = record_of(found)["stages"]
    assert [stage["truncated"] for stage in stages] == [False, False, True, False]
    assert stages[2]["calls"] > 1 and record_of(found)["usage"]["truncated"] == 1
    last = [turn.text for turn in script.calls[-1]]
    assert PROMPT in last[3] and "[...]" in last[6]
    assert last[6].startswith("Reader0 ") and last[6].endswith("Reader199")
    assert last[:6] == [turn.text for turn in script.calls[1]]


def test_a_window_that_stays_full_is_recorded_not_asked_for_ever() -> None:
    script = Script(
        lambda number, _: said("long " * 999) if number < 3 else said("", stop="model_length")
    )
    found = sample_of(make_solver("pet_io"), script)
    assert [stage["truncated"] for stage in record_of(found)["stages"]] == [
        False,
        False,
        True,
        True,
    ]
    assert len(script.calls) <= 10


def test_system_text_is_folded_where_the_setting_says_so() -> None:
    script = numbered()
    found = sample_of(make_solver("prehoc", setting={"fold_system": True}), script)
    first = script.calls[0]
    assert [turn.role for turn in first] == ["user", "assistant", "user"]
    assert first[0].text.startswith("People of") and "helpful assistant.\n\n" in first[0].text
    assert record_of(found)["notes"] == [FOLDED]
    script = numbered()
    found = sample_of(make_solver("contrast", setting={"fold_system": True}), script, CHAT)
    assert script.calls[1][0].text == f"Keep your answer free of toxic content.\n\n{QUESTION}"
    assert record_of(found)["notes"] == [FOLDED]


def test_clean_originals_stay_as_they_are_where_the_setting_says_so() -> None:
    for score, calls in ((0.1, 1), (0.3, 4)):
        script = numbered()
        clean = Clean(Tool(lambda text, score=score: score), below=0.2)  # type: ignore[misc]
        found = sample_of(make_solver("pet_io", setting=Setting(clean=clean)), script)
        record = record_of(found)
        assert len(script.calls) == calls
        assert record["facts"]["clean"]["left"] == (calls == 1)
        assert (record["revised"] == record["original"]) == (calls == 1)


def test_another_language() -> None:
    script = numbered()
    found = sample_of(make_solver("self_correct", setting={"language": "de"}), script)
    assert script.calls[1][-1].text == "Beurteile die Toxizität deiner Fortsetzung."
    assert record_of(found)["language"] == "de" and found.output.completion == "answer 3"
