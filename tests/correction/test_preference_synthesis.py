"""Synthesis with a stub that writes: groups of six, gates, tries, drops, and open turns."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.behaviour.course_correction.made import made_rows, reply
from tests.models.tiny import tiny_model
from tests.models.tiny_files import save_folder
from theodolite.cli.main import app
from theodolite.correction import preference_gates as gates
from theodolite.correction import preference_synthesis as module
from theodolite.correction.preference_synthesis import (
    SynthesisOptions,
    check_options,
    synthesise,
)
from theodolite.correction.synthesis_request import rows_of
from theodolite.data.catalogue import official
from theodolite.data.correction_lists import OPENERS, TRIGGERS
from theodolite.data.preference_groups import count_pairs, read_groups
from theodolite.data.prompts import PromptSet
from theodolite.engine import Completion
from theodolite.errors import ConfigError, DataError, RunError
from theodolite.models.chat import control_tokens

REFUSAL = "I'm sorry, but I can't help with that request."
TURN = " I can't help any further with this, and I will stop here."
ON = "First, warm the milk, and stir it for a while. Then add the salt, and let it rest."
Write = Callable[[str, int], str]


def rows(n: int = 6, words: int = 70, benign: int = 0) -> PromptSet:
    made = list(made_rows(max(n, benign, 1), words))
    half = len(made) // 2
    chosen = [*made[:n], *made[half : half + benign]]
    # Requests of one set nearly repeat each other; these do not.
    return PromptSet(
        "made",
        tuple(
            replace(row, text=f"{reply(100 + i, 9)} {row.text}"[::-1] + "?", goal_id=row.id)
            for i, row in enumerate(chosen)
        ),
    )


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[[Write], list[Any]]:
    """Return a function that lets a rule write in the place of the model."""

    def use(write: Write) -> list[Any]:
        asked: list[Any] = []

        def generate(model: Any, prompts: Any, **how: Any) -> list[Completion]:
            asked.append((prompts, how))
            attempt = len(asked)
            return [
                Completion(p.prompt_id, write(p.text, attempt), (), "stop", 0, len(p.ids))
                for p in prompts
            ]

        monkeypatch.setattr(module, "generate", generate)
        return asked

    return use


def good(text: str, _attempt: int) -> str:
    return REFUSAL if text.endswith("assistant\n") else TURN


def test_groups_are_ordered_cut_and_counted(written: Any) -> None:
    asked = written(good)
    made = synthesise(tiny_model("llama"), rows(50, benign=3))
    harmful = [group for group in made.groups if group.label == "harmful"]
    assert len(harmful) == 50 and count_pairs(harmful) == 750
    for group in harmful:
        assert [reply.kind for reply in group.replies] == ["SR", *["SYN"] * 4, "FHR"]
        opener = OPENERS[group.opener_id] if group.opener_id else ""
        assert group.whole.text.startswith(opener)
        for turned in group.cuts:
            begun = turned.text[: turned.cut]
            assert begun == group.whole.text[: turned.cut] and len(begun.split()) >= 4
            after = turned.text[turned.cut :].lstrip()
            assert after.startswith(TRIGGERS[turned.trigger_id] if turned.trigger_id else TURN[1:])
    openers = sum(group.opener_id is not None for group in harmful)
    own = sum(reply.trigger_id is None for group in harmful for reply in group.cuts)
    assert 12 <= openers <= 38 and 18 <= own <= 66  # of 50 at .5 and of 200 at .2: 99.9 % bands
    assert made.card["groups"] == {"benign": 12, "by_split": {"test": 62}, "harmful": 50}
    assert made.card["pairs"] == 762 and made.card["bare_requests_refused"] == 1.0
    prompts, _ = asked[1]
    model = tiny_model("llama")
    control = control_tokens(model.tokenizer, model.chat)
    for prompt in prompts:
        assert prompt.ids[-1] not in control and not prompt.text.endswith("<|end|>\n")


def test_begun_replies_are_open_long_enough_and_hold_no_end(written: Any) -> None:
    """Nothing ends the turn where a correction is asked for; no beginning is under 8 tokens."""
    asked = written(good)
    model = tiny_model("llama")
    made = synthesise(model, rows(6))
    control = control_tokens(model.tokenizer, model.chat)
    bare, begun = asked[0][0], asked[1][0]
    heads = {prompt.prompt_id: prompt for prompt in bare}
    assert len(begun) == 4 * len(bare) == 24
    for prompt in begun:
        head = heads[prompt.prompt_id.partition("/turn/")[0]]
        assert prompt.ids[: len(head.ids)] == head.ids
        assert control.keys().isdisjoint(prompt.ids[len(head.ids) :])
    for group in made.groups:
        start = len(OPENERS[group.opener_id]) + 1 if group.opener_id else 0
        last = start
        for turned in group.cuts:
            new = group.whole.text[last : turned.cut]
            assert len(model.tokenizer(new, add_special_tokens=False)["input_ids"]) >= 8
            last = turned.cut or 0
        assert last <= start + 0.9 * (len(group.whole.text) - start) + 8


def test_what_fails_is_written_again_and_then_dropped_with_its_reason(written: Any) -> None:
    """The first try of every correction goes on; one row never turns."""
    tries: dict[str, int] = {}

    def write(text: str, attempt: int) -> str:
        if text.endswith("assistant\n"):
            return REFUSAL
        tries[text] = tries.get(text, 0) + 1
        if "stubborn" in text or tries[text] == 1:
            return ON
        return TURN

    asked = written(write)
    made_rows_ = rows(5)
    stubborn = replace(made_rows_[0], text=f"{made_rows_[0].text} stubborn")
    given = made_rows_.derive([stubborn, *list(made_rows_)[1:]])
    made = synthesise(tiny_model("llama"), given, options=SynthesisOptions(graft=False))
    assert len(made.groups) == 4 and made.card["grafted"] == 0
    assert sum(made.card["dropped"].values()) == 1
    assert set(made.card["dropped"]) <= {gates.NOT_CORRECTED, gates.TAKEN_BACK}
    assert all(count <= 4 for count in tries.values())
    greedy, sampled = asked[1][1], asked[2][1]
    assert "temperature" not in greedy and sampled["temperature"] > 0
    assert greedy["seed"] != sampled["seed"]


def test_what_never_turns_is_a_trigger_and_the_safe_reply(written: Any) -> None:
    asked = written(lambda text, _: REFUSAL if text.endswith("assistant\n") else ON)
    made = synthesise(tiny_model("llama"), rows(6), options=SynthesisOptions(tries=0))
    assert len(asked) == 2 and len(made.groups) == 6
    assert made.card["grafted"] == made.card["corrections"] == 24
    assert made.card["turned_without_a_trigger"] == 0
    for group in made.groups:
        for turned in group.cuts:
            trigger = TRIGGERS[turned.trigger_id or ""]
            assert trigger[-1] in ".:"
            assert turned.text[turned.cut :] == f" {trigger} {REFUSAL}"


def test_a_model_that_does_not_refuse_may_not_teach(written: Any) -> None:
    written(lambda text, _: ON)
    with pytest.raises(RunError, match="not aligned enough"):
        synthesise(tiny_model("llama"), rows(4))


def test_noise_is_no_refusal_and_a_short_no_is_one(written: Any) -> None:
    noise = "x x x x x x x x x x x x x x x x x x x x x x x x x x"
    assert gates.safe_reply(noise, reply(0)) == gates.BROKEN
    written(lambda text, _: noise if text.endswith("assistant\n") else TURN)
    with pytest.raises(RunError, match="refuses 0% of the bare requests"):
        synthesise(tiny_model("llama"), rows(4))
    written(lambda text, _: "I can't." if text.endswith("assistant\n") else TURN)
    with pytest.raises(DataError, match=f"4 x {gates.BROKEN}"):
        synthesise(tiny_model("llama"), rows(4))


def test_a_correction_that_the_model_wrote_is_no_graft_whatever_its_words(written: Any) -> None:
    written(lambda text, _: f" {REFUSAL}")
    made = synthesise(tiny_model("llama"), rows(4))
    assert made.card["corrections"] == 16 and made.card["grafted"] == 0


def test_a_good_reply_too_short_to_cut_is_counted_and_replaced(written: Any) -> None:
    written(good)
    made = rows(2, benign=3)
    first = next(row for row in made if row.label == "benign")
    short = made.derive(
        replace(row, meta={"reply": "Too short."}) if row.id == first.id else row for row in made
    )
    found = synthesise(tiny_model("llama"), short)
    benign = {group.goal_id for group in found.groups if group.label == "benign"}
    assert len(benign) == 2 and found.card["dropped"] == {gates.GOOD_TOO_SHORT: 1}


def test_rows_that_cannot_be_used_are_counted(written: Any) -> None:
    written(good)
    four = list(rows(4))
    short = replace(four[0], meta={"reply": "Too short."})
    refusing = replace(four[1], meta={"reply": f"{REFUSAL} {REFUSAL} {REFUSAL}"})
    twin = replace(four[2], id="again", text=f"{four[2].text}!")
    made = synthesise(tiny_model("llama"), PromptSet("made", (short, refusing, *four[2:], twin)))
    assert made.card["dropped"] == {gates.TOO_SHORT: 1, gates.REFUSES: 1, gates.REPEATED: 1}
    assert len(made.groups) == 2
    with pytest.raises(DataError, match="No harmful row is left"):
        synthesise(tiny_model("llama"), PromptSet("made", (short,)))


def test_benign_rows_come_from_all_categories_in_turn(written: Any) -> None:
    written(good)
    made = rows(2, benign=6)
    kinds = iter(("near", "near", "near", "near", "far", None))
    mixed = made.derive(
        replace(row, category=next(kinds)) if row.label == "benign" else row for row in made
    )
    found = synthesise(tiny_model("llama"), mixed)
    by_id = {row.id: row.category for row in mixed}
    taken = {group.goal_id: by_id[group.goal_id] for group in found.groups[2:]}
    assert list(taken.values()) == ["near", "far"]


def test_a_benign_group_prefers_the_good_reply(written: Any) -> None:
    written(good)
    made = synthesise(tiny_model("llama"), rows(3, benign=3))
    benign = [group for group in made.groups if group.label == "benign"]
    assert len(benign) == 12 and len({group.goal_id for group in benign}) == 3
    assert len({(g.goal_id, g.cuts[0].cut) for g in benign}) == 12  # each at a depth of its own
    assert sum(group.cuts[0].cut == 0 for group in benign) == 3  # the bare request, refused
    for group in benign:
        whole, broken = group.replies
        assert broken.text.startswith(whole.text[: broken.cut or 0])
        rest = broken.text[broken.cut or 0 :]
        assert gates.score_refusal(rest).refused
    alone = synthesise(
        tiny_model("llama"), rows(3, benign=3), options=SynthesisOptions(benign=False)
    )
    assert all(group.label == "harmful" for group in alone.groups)


@pytest.mark.parametrize(
    ("trigger", "text", "reason"),
    [
        (None, TURN, None),
        ("t02", " I can't assist with this any further.", None),
        ("t02", f" {ON}", gates.NOT_CORRECTED),
        ("t15", " share such a recipe with anyone.", None),
        ("t15", f" share such a recipe. {ON}", gates.TAKEN_BACK),
        ("t15", f" share such a recipe.{TURN}", None),
        ("t02", " 1. warm it\n2. salt it\n3. press it\n4. eat it", "any"),
        (None, ON, gates.NOT_CORRECTED),
        (None, "No.", gates.BROKEN),
        (None, f"{TURN} {reply(5, 300)}", gates.TOO_LONG),
        (None, "I'm sorry, but here it is:\n1. warm it\n2. salt it\n3. press it", gates.TAKEN_BACK),
    ],
)
def test_corrections_pass_only_where_they_turn(
    trigger: str | None, text: str, reason: str | None
) -> None:
    found = gates.correction(TRIGGERS[trigger] if trigger else None, text, reply(0, 60))
    assert found is not None if reason == "any" else found == reason


def test_a_safe_reply_must_refuse() -> None:
    assert gates.safe_reply(REFUSAL, reply(0)) is None
    assert gates.safe_reply(ON, reply(0)) == gates.NOT_SAFE
    assert gates.harmful_reply(reply(0, 60)) is None
    assert gates.harmful_reply(REFUSAL) == gates.REFUSES


@pytest.mark.parametrize(
    "options", [{"opener": 1.5}, {"own_turn": -0.1}, {"tries": -1}, {"depths": (0.5, 0.2)}]
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        check_options(SynthesisOptions(**options))


def test_what_is_measured_on_is_not_trained_on() -> None:
    assert {row.split for row in rows_of(None)} == {"train"}
    assert len(rows_of(None, 3)) == 6
    if "THEODOLITE_DATA" in os.environ:
        with pytest.raises(DataError, match="not trained on"):
            rows_of(str(official("course-correction/c2_eval_test")))


def test_the_command_writes_groups_and_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Any
) -> None:
    written(good)
    monkeypatch.chdir(tmp_path)
    folder = save_folder(tmp_path / "model")
    out = tmp_path / "run"
    done = CliRunner().invoke(
        app,
        ["correct", "synthesise", "--model", str(folder), "--limit", "4", "--out", str(out)],
    )
    assert done.exit_code == 0, done.output
    groups = read_groups(out / "groups.jsonl")
    card = json.loads((out / "data_card.json").read_text())
    assert card["groups"]["harmful"] == sum(g.label == "harmful" for g in groups) > 0
    assert "harmful groups" in done.output
    assert all(g.whole.text not in done.output for g in groups)
