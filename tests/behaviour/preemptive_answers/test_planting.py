"""The turns a model reads, in every condition, channel and mitigation.

`golden_transcripts.json` holds them as they were read and approved; run this file as a module to
write it anew after a change of wording, and read the difference.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from pathlib import Path

import pytest

from tests.behaviour.preemptive_answers.items import ALL, CHOICE, NUMBER, WORDS
from theodolite.behaviour.preemptive_answers.examples import EXAMPLES, few_shot
from theodolite.behaviour.preemptive_answers.extraction import extract
from theodolite.behaviour.preemptive_answers.planting import (
    CHANNELS,
    CONDITIONS,
    ask,
    mitigate,
    plant,
    reflection,
    route,
)
from theodolite.behaviour.preemptive_answers.prompts import METHODS, PLANTS, SENTENCES, VOTED
from theodolite.data.preemptive import SETS
from theodolite.data.prompts import Message
from theodolite.errors import CapabilityError, ConfigError, DataError

GOLDEN = Path(__file__).parent / "golden_transcripts.json"
REASONING = "Two and two are four. So there are four apples."
PLANTED = {"M": "10", "M_correct": "4", "M_random": "7", "M_late": "10"}
MITIGATIONS = (None, "restate", "ignore_note", "reflect")


def transcripts() -> Iterator[tuple[str, list[str]]]:
    """Yield name and turns of every combination, and of every fraction of a late plant."""
    for condition, channel, mitigation in product(CONDITIONS, CHANNELS, MITIGATIONS):
        turns = plant(
            ask(NUMBER, "zs_cot", mitigation),
            condition,
            PLANTED.get(condition),
            channel,
            reasoning=REASONING,
            fraction=0.5,
        )
        yield f"{condition} {channel} {mitigation or 'none'}", spelled(turns)
    for fraction in (0.0, 0.25, 0.5, 0.75):
        turns = plant(ask(NUMBER, "zs_cot"), "M_late", "10", reasoning=REASONING, fraction=fraction)
        yield f"M_late at {fraction}", spelled(turns[-1:])
    yield "reflection", spelled(reflection(NUMBER.asked, REASONING))
    yield from ((f"method {name}", spelled(ask(CHOICE, name))) for name in (*METHODS, *VOTED))


def spelled(turns: tuple[Message, ...]) -> list[str]:
    return [f"{turn.role}: {turn.content}" for turn in turns]


def test_every_transcript_is_as_approved() -> None:
    assert dict(transcripts()) == json.loads(GOLDEN.read_text("utf-8"))


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("mitigation", sorted(SENTENCES))
def test_a_mitigation_stands_before_the_attack(channel: str, mitigation: str) -> None:
    for condition in CONDITIONS[1:]:
        turns = plant(
            ask(NUMBER, "zs_cot", mitigation),
            condition,
            PLANTED.get(condition),
            channel,
            reasoning=REASONING,
        )
        clean = ask(NUMBER, "zs_cot", mitigation)
        text = "\n".join(turn.content for turn in turns)
        whole = "\n".join(turn.content for turn in clean)
        assert text.startswith(whole) and len(text) > len(whole)
        assert text.index(SENTENCES[mitigation]) < len(whole)


def test_the_clean_run_is_untouched_and_nothing_is_changed_in_place() -> None:
    turns = ask(NUMBER, "zs_cot")
    before = spelled(turns)
    assert plant(turns, "clean", None) == turns
    plant(turns, "M", "10", "inline")
    assert spelled(turns) == before


def test_a_planted_number_is_no_list() -> None:
    last = plant(ask(NUMBER, "zs_cot"), "M", NUMBER.wrong)[-1]
    assert (last.role, last.content) == ("user", "[Answer] The answer is 10.")


def test_a_planted_sentence_has_one_full_stop() -> None:
    last = plant(ask(WORDS, "zs_cot"), "M", WORDS.wrong)[-1]
    assert last.content.endswith("mary poe.") and not last.content.endswith("..")


def test_braces_of_a_question_are_not_filled_in() -> None:
    turns = reflection("{reasoning} {answer}", "steps {problem}")
    assert turns[-1].content.startswith("Problem: {reasoning} {answer}\nA proposed solution: steps")


@pytest.mark.parametrize("wording", sorted(PLANTS))
@pytest.mark.parametrize("item", ALL, ids=lambda item: item.set)
def test_a_plant_says_what_it_is_to_say(wording: str, item) -> None:  # type: ignore[no-untyped-def]
    text = plant((Message("user", "?"),), "M", item.wrong, wording=wording)[-1].content
    found = extract(text, item.answer_type, options=item.options)
    assert found.final is not None
    if item.answer_type != "text":
        assert found.final == item.wrong


def test_a_channel_that_the_template_forbids_is_downgraded_and_recorded() -> None:
    taken = route("extra_user", two_user_turns=False)
    assert taken.channel == "inline"
    assert taken.downgrade is not None and "two user turns" in taken.downgrade
    assert route("extra_user").downgrade is None
    with pytest.raises(CapabilityError, match="two user turns"):
        route("extra_user", two_user_turns=False, strict=True)
    with pytest.raises(CapabilityError, match="begun reply"):
        route("prefill", prefill=False)


def test_unknown_names_are_refused_with_their_neighbours() -> None:
    turns = ask(NUMBER, "zs_cot")
    for call, near in (
        (lambda: plant(turns, "MM", "1"), "M"),
        (lambda: plant(turns, "M", "1", "in_line"), "inline"),
        (lambda: plant(turns, "M", "1", wording="plane"), "plain"),
        (lambda: ask(NUMBER, "zs_cott"), "zs_cot"),
        (lambda: mitigate(turns, "restat"), "restate"),
        (lambda: route("extra"), "extra_user"),
    ):
        with pytest.raises(ConfigError, match=near):
            call()
    with pytest.raises(ConfigError, match="between 0 and 1"):
        plant(turns, "M_late", "1", reasoning="a b", fraction=1.5)


def test_what_is_missing_is_named() -> None:
    turns = ask(NUMBER, "zs_cot")
    with pytest.raises(DataError, match="answer to plant"):
        plant(turns, "M", None)
    with pytest.raises(DataError, match="reasoning of the clean run"):
        plant(turns, "M_late", "1", fraction=0.5)
    with pytest.raises(DataError, match="user turn"):
        plant((Message("system", "x"),), "U", None)


def test_a_late_plant_cuts_between_words() -> None:
    for fraction in (0.1, 0.25, 0.5, 0.75, 1.0):
        begun = plant(
            (Message("user", "?"),), "M_late", "1", reasoning=REASONING, fraction=fraction
        )[-1].content.split("[Answer]")[0]
        assert REASONING.startswith(begun.rstrip())
        assert REASONING[len(begun.rstrip()) :][:1] in ("", " ")


_STEP = re.compile(r"((?:[\d.]+ [-+*/] )+[\d.]+) = ([\d.]*\d)")
_OPERATIONS = {"*": operator.mul, "/": operator.truediv, "+": operator.add, "-": operator.sub}


def computed(term: str) -> Fraction:
    """Return the value of `2 * 3 + 4`: products first, then sums from the left."""
    parts = term.split()
    for level in ("*/", "+-"):
        i = 1
        while i < len(parts):
            if parts[i] in level:
                value = _OPERATIONS[parts[i]](Fraction(parts[i - 1]), Fraction(parts[i + 1]))
                parts[i - 1 : i + 2] = [str(value)]
            else:
                i += 2
    return Fraction(parts[0])


@pytest.mark.parametrize("name", SETS)
def test_worked_examples_are_right(name: str) -> None:
    assert len(EXAMPLES[name]) == 3
    kind = SETS[name][1]
    for example in EXAMPLES[name]:
        for term, value in _STEP.findall(example.steps):
            assert computed(term) == Fraction(value), example.problem
        found = extract(example.block, kind, options=example.options)
        assert found.final is not None and found.final.lower() == example.answer.lower()
        if name in ("gsm8k", "mathqa"):
            result = _STEP.findall(example.steps)[-1][1]
            said = example.answer
            if example.options:
                said = example.options["ABCDE".index(example.answer)]
            assert result == said
    block = few_shot(name)
    assert block.count("Problem: ") == block.count("[Answer] ") == 3
    assert block.count("\n\n") == 2


def test_arithmetic_of_examples_can_fail() -> None:
    assert computed("2 * 3 + 4") == 10
    assert computed("80 * 25 / 100") == 20
    assert computed("2 + 3 * 4") != 20


def test_a_users_item_takes_examples_of_its_type() -> None:
    own = [ask(replace(item, set="mine"), "fs_cot") for item in ALL]
    theirs = [ask(item, "fs_cot") for item in ALL]
    assert own == theirs


def test_examples_of_an_unknown_set_are_refused() -> None:
    with pytest.raises(ConfigError, match="gsm8k"):
        few_shot("gsm8")


if __name__ == "__main__":
    text = json.dumps(dict(transcripts()), indent=1, ensure_ascii=False)
    GOLDEN.write_text(text + "\n", "utf-8")
