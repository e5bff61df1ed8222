"""A local judge decides by its odds of yes; the words say only how a continuation turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from tests.behaviour.course_correction.made import made_rows
from theodolite.behaviour.course_correction import yes_no_judge as module
from theodolite.behaviour.course_correction.prefixes import make_prefixes
from theodolite.behaviour.course_correction.scoring import Item
from theodolite.data.prompts import Prompt
from theodolite.errors import JudgeError
from theodolite.judging.correction_judge import canary_rows

Rule = Callable[[str], float]
PREFIXES = make_prefixes(list(made_rows(2)), (4,), unit="word")
OWN = ("turn one", "on", "turn two", "")
LEXICAL = ("late", "warning", "continues", "empty")


def judged(
    monkeypatch: pytest.MonkeyPatch, rule: Rule, lexical: Sequence[str | None] = LEXICAL
) -> tuple[list[Item], list[int]]:
    asked: list[int] = []

    def shares(model: object, questions: Sequence[Prompt]) -> np.ndarray:
        asked.append(len(questions))
        return np.array([rule(str(question.text)) for question in questions])

    monkeypatch.setattr(module, "open_judge", lambda judge: judge)
    monkeypatch.setattr(module, "p_yes", shares)
    items = [
        Item(p.id, p.prompt.id, "harmful", p.prompt.id, 4, outcome)
        for p, outcome in zip(PREFIXES, lexical, strict=True)
    ]
    return module.judged_by_yes_no("theodolite/any", items, PREFIXES, OWN), asked


def right(text: str) -> float:
    turned = [row["own"] for row, yes in zip(*canary_rows(), strict=True) if yes]
    known = any(own.strip().split("\n")[0][:30] in text for own in turned)
    return 0.9 if known or "| turn" in text else 0.2


def test_the_odds_decide_and_what_is_empty_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    items, asked = judged(monkeypatch, right)
    assert [item.outcome for item in items] == ["late", "warning", "clean", "empty"]
    assert [item.lexical for item in items[:3]] == list(LEXICAL[:3])
    assert [item.p_yes for item in items] == [0.9, 0.2, 0.9, None]
    assert asked == [4, 3]  # the canaries, then three continuations


def test_a_sample_that_failed_stays_without_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    items, asked = judged(monkeypatch, right, ("late", None, "continues", "empty"))
    assert items[1].outcome is None and items[1].p_yes is None and asked == [4, 2]


def test_a_judge_that_says_yes_to_all_fails_its_canaries(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JudgeError, match="got 2 of 4 canaries wrong"):
        judged(monkeypatch, lambda text: 0.9)
