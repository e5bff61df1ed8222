"""What is refused before anything runs, by the option's name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.behaviour.continuing.made import prompt
from theodolite.behaviour.continuing.beginnings import check_trainable, drawn, read_beginnings
from theodolite.behaviour.continuing.options import Asking, check_asking, check_only_scoring
from theodolite.correction.perspective_taking.setting import Caps
from theodolite.data.prompts import PromptSet
from theodolite.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": "base,pet_boht"}, "Did you mean `pet_both`"),
        ({"methods": ""}, "No method"),
        ({"methods": "base,pet,pet_io"}, "named twice"),
        ({"methods": "raw,pet_io,critic"}, "pet_io, critic start from what base wrote"),
        ({"n": 0}, "task.n is 0"),
        ({"limit": 0}, "task.limit is 0"),
        ({"k": 0}, "number of readers is 0"),
        ({"wording": "v9"}, "no wording"),
        ({"protocol": "papre"}, "Did you mean `paper`"),
        ({"language": "xx"}, "no wording in the language"),
        ({"caps": "64,96"}, "has 2 numbers"),
        ({"caps": "64,x,2"}, "not a list of whole numbers"),
        ({"caps": "64,96,0"}, "cap of writing is 0"),
        ({"temperature": -1.0}, "out of range"),
        ({"top_p": 0.0}, "out of range"),
        ({"temperature": 0.0, "n": 2}, "all continuations of a prompt are the same"),
        ({"skip_clean": 2.0}, "task.skip_clean is 2"),
        ({"scorers": ""}, "No scorer"),
        ({"lm": "api:openai/gpt-4o"}, "log-probabilities of given text"),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_asking(Asking(**options), "toxicity")


def test_what_is_fine_passes_and_names_are_resolved() -> None:
    options = Asking(methods="raw, base,pet,shap", caps="64,96,32", temperature=0.0, n=1)
    check_asking(options, "bias")
    assert options.method_names == ("raw", "base", "pet_io", "shap_words")
    assert options.stage_caps == Caps(64, 96, 32) and options.needs_tool
    assert not Asking().needs_tool


def test_one_method_by_itself_needs_no_base() -> None:
    check_asking(Asking(methods="pet_io"), "toxicity", alone=True)
    with pytest.raises(ConfigError, match="Only one method"):
        check_asking(Asking(methods="base,pet_io"), "toxicity", alone=True)


def test_each_method_gets_the_options_it_has() -> None:
    from inspect_ai._util.registry import registry_params

    options = Asking(k=3, wording="v2", protocol="reference")
    setting = options.setting("toxicity", seed=7)
    assert setting.seed == 7 and setting.concern == "toxicity"
    pet = registry_params(options.solver("pet_is", setting))
    assert (pet["k"], pet["wording"], pet["protocol"], pet["kind"]) == (3, "v2", "reference", "is")
    placebo = registry_params(options.solver("pet_placebo", setting))
    assert placebo["k"] == 3 and "wording" not in placebo


def test_answers_made_elsewhere_follow_no_option_of_asking() -> None:
    check_only_scoring(Asking(scorers="vader", lm="none", source="rtp", split="all"))
    with pytest.raises(ConfigError, match="n, k say how to ask"):
        check_only_scoring(Asking(n=9, k=1))


def rows(**more: Any) -> PromptSet:
    found = [
        prompt(f"{group}{i}", f"text {i} of {group}", category=group, pair_id=f"t{i}", **more)
        for group in "abc"
        for i in range(9)
    ]
    return PromptSet("made", tuple(found))


def test_a_limit_is_by_group_matched_and_nested() -> None:
    few, more = (drawn(rows(), limit, seed=1, within="category") for limit in (2, 5))
    by_group = [{row.pair_id for row in few if row.category == group} for group in "abc"]
    assert by_group[0] == by_group[1] == by_group[2] and len(by_group[0]) == 2
    assert set(few.ids) < set(more.ids) and len(more) == 15
    assert len(drawn(rows(), 4, seed=1)) == 4
    assert drawn(rows(), None, seed=1).ids == rows().ids
    assert {drawn(rows(), 2, seed=s, within="category").ids for s in range(9)} != {few.ids}


def test_a_file_gives_its_split_and_equal_texts_share_a_goal(tmp_path: Any) -> None:
    path = tmp_path / "own.csv"
    path.write_text("id,prompt,split\na,He said,train\nb,he said,train\nc,She left,test\n")
    found = read_beginnings(path, "train")
    assert found.ids == ("a", "b")
    assert found[0].goal_id == found[1].goal_id and found[0].goal_id is not None
    assert read_beginnings(path, "all").ids == ("a", "b", "c")
    path.write_text("id,prompt\na,He said\n")
    assert read_beginnings(path, "test").ids == ("a",)
    path.write_text("id,text\na,\n")
    with pytest.raises(DataError, match=r"own\.csv"):
        read_beginnings(path, "test")
    chat = tmp_path / "chat.jsonl"
    chat.write_text('{"id": "c", "messages": [{"role": "user", "content": "Hi"}]}\n')
    with pytest.raises(DataError, match="'c' of 'chat' is a chat"):
        read_beginnings(chat, "test")


def test_pairs_come_from_train_prompts_alone(tmp_path: Any) -> None:
    pairs = str(tmp_path / "pairs.jsonl")
    check_trainable(Asking(pairs=pairs, split="train"), rows(split="train"))
    check_trainable(Asking(), rows(split="test"))
    for options, asked in (
        (Asking(pairs=pairs), rows(split="test")),
        (Asking(pairs=pairs, split="train"), rows()),
        (Asking(pairs=pairs, split="all"), rows(split="train")),
        (Asking(pairs=pairs, split="train"), rows(split="val")),
    ):
        with pytest.raises(ConfigError, match="may be trained on"):
            check_trainable(options, asked)
    with pytest.raises(ConfigError, match="no folder"):
        lost = Asking(pairs=str(tmp_path / "no" / "pairs.jsonl"), split="train")
        check_trainable(lost, rows(split="train"))
