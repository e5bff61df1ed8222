"""Pieces are cut at whole steps, harm is carried on where a reply ends, and turns have a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviour.course_correction.asked import ON, TURN, measured, mock, values
from tests.behaviour.course_correction.made import made_rows
from theodolite.behaviour.course_correction import harm_curve, yes_no_judge
from theodolite.behaviour.course_correction.harm_curve import pieces_of
from theodolite.behaviour.course_correction.prefixes import make_prefixes
from theodolite.behaviour.course_correction.scoring import Item
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, JudgeError
from theodolite.judging.correction_judge import CANARIES, canary_rows
from theodolite.judging.still_harmful import harm_questions

LATE = ON + ". I'm sorry, I can't help with this any further, so please ask for other things."
ADDS, TURNS = '"adds"', '"clean"'


@given(st.lists(st.sampled_from(("a", "bb", "c.", "d\n")), max_size=40))
def test_pieces_are_beginnings_one_step_long_each(words: list[str]) -> None:
    text = " ".join(words)
    pieces = pieces_of(text, step=8)
    n = len(text.split())
    assert [piece.units for piece in pieces] == [*range(8, n, 8), *([n] if n else [])]
    for piece in pieces:
        assert text.startswith(piece.text) and len(piece.text.split()) == piece.units
        assert 0 <= piece.sentence < piece.units


def test_a_turn_is_at_the_beginning_of_its_sentence() -> None:
    text = "one two three. four five six seven eight nine ten. I stop"
    assert [(p.units, p.sentence) for p in pieces_of(text, step=4)] == [(4, 3), (8, 3), (12, 10)]
    assert pieces_of("\n one two three.", step=8)[0].sentence == 0


def judge(messages: list[Any], *, harm: bool = True) -> str:
    """Answer both questions from the words of part B; `harm=False` never sees any."""
    text = messages[0].text
    tag = text.split("<<<PART B ")[1].split(">>>")[0]
    own = text.split("<<<PART B ")[1]
    turned = any(words in own for words in ("can't help", "won't write"))
    if ADDS in text:
        helps = any(words in own for words in ("stir it", "its number", "water over it"))
        said = "adds" if harm and helps else "adds nothing"
    else:
        said = "clean" if turned else "continues"
    return f'{{"item": "{tag}", "verdict": "{said}"}}'


def test_the_curve_of_three_kinds_of_replies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row turns at once, one goes on first, one never turns; harm stays where it was added."""
    kinds = {"number 0": TURN, "number 1": LATE, "number 2": ON}
    subject = mock(lambda m: next(kinds[k] for k in kinds if k in m[0].text))
    found = measured(
        tmp_path, subject, monkeypatch, made_rows(3), unit="word", ks="4",
        judge=mock(judge, "judge"), harm_curve=True,
    )  # fmt: skip
    got = values(found)
    assert got["still_harmful"] == pytest.approx(2 / 3)
    assert got["still_harmful/at/8"] == got["still_harmful/at/24"] == pytest.approx(2 / 3)
    curve = found.tables["course_correction_judged_survival"]
    turns = len(ON.split())  # LATE turns where its second sentence begins, TURN behind its dots
    assert [row["words"] for row in curve] == [1.0, float(turns)]
    assert got["judged_median_words"] == turns
    assert any("Harm was judged every 8 words" in sentence for sentence in found.how)


def test_a_judge_that_sees_no_harm_fails_its_canaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = mock(lambda m: judge(m, harm=False), "judge")
    with pytest.raises(JudgeError, match="canaries wrong"):
        measured(
            tmp_path, mock(lambda _: ON), monkeypatch, made_rows(2), unit="word", ks="4",
            judge=blind, harm_curve=True,
        )  # fmt: skip


def test_a_local_judge_is_asked_for_its_odds_and_equal_pieces_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def shares(model: object, questions: Sequence[Prompt]) -> np.ndarray:
        asked.append(len(questions))
        texts = [str(question.text) for question in questions]
        turned = [any(w in t for w in ("can't help", "won't write")) for t in texts]
        return np.array([(0.8 if one else 0.1) if "turn away" in t else (0.1 if one else 0.8)
                         for t, one in zip(texts, turned, strict=True)])  # fmt: skip

    for module in (harm_curve, yes_no_judge):
        monkeypatch.setattr(module, "p_yes", shares)
    monkeypatch.setattr(yes_no_judge, "open_judge", lambda judge: judge)
    (prefix,) = make_prefixes([made_rows(1)[0]], (4,), unit="word")
    facts = (prefix.id, prefix.prompt.id, "harmful", "g", 4)
    items = [Item(*facts, outcome, path=i) for i, outcome in enumerate(("clean", "continues"))]
    items.append(replace(items[1], path=2))
    found = harm_curve.measured("theodolite/any", items, [prefix], [TURN, ON, ON])
    got = {m.name.removeprefix("course-correction/"): m.value for m in found["measurements"]}
    assert got["still_harmful"] == pytest.approx(2 / 3)
    assert asked[0] == len(CANARIES) and asked[1] == 4  # two pieces of each text, ON once
    assert found["tables"]["course_correction_judged_survival"][0]["words"] == 1.0


def test_a_harm_curve_needs_a_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="needs a judge"):
        measured(
            tmp_path, mock(lambda _: ON), monkeypatch, made_rows(2), unit="word", harm_curve=True
        )


def test_questions_keep_forced_and_own_words_apart() -> None:
    rows, _ = canary_rows()
    questions = harm_questions(rows, ids=[str(i) for i in range(len(rows))])
    assert len({question.text for question in questions}) == len(CANARIES)
    for question, row in zip(questions, rows, strict=True):
        forced, own = str(question.text).split("<<<PART B ")[:2]
        assert row["begun"].split("\n")[0] in forced and row["own"].strip()[:20] in own
