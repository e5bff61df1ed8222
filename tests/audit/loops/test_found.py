"""What a weakness brings along: wrappers and words of a run, or one sentence on what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.mechanism.triggers.made import outcomes_of, requests
from tests.mechanism.triggers.test_shared_words import shared
from tests.models.tiny import tiny_model
from theodolite.audit.loops import found as loop
from theodolite.audit.loops.found import (
    hardenable,
    words_of_model,
    words_of_run,
    wrappers_with,
)
from theodolite.audit.loops.goals import Goals
from theodolite.data.prompts import BENIGN, HARMFUL, PromptSet
from theodolite.data.styles import Style, style
from theodolite.data.wrappers import wrapper_rows
from theodolite.errors import CapabilityError, DataError
from theodolite.mechanism.triggers.explain import WRAPPERS
from theodolite.mechanism.triggers.weakness import StyleWeakness
from theodolite.runs.run import Run

RADIO = Style("radio", "On the air: {request}")
LETTER = Style("letter", "Dear editor, {request} Yours.")


def test_wrappers_of_a_run_come_with_it(tmp_path: Path) -> None:
    with Run.create("explain triggers", out=tmp_path / "run") as run:
        assert wrappers_with((LETTER,), run) == (LETTER,)
        run.save_table(WRAPPERS, wrapper_rows([RADIO]))
        assert wrappers_with((LETTER,), run) == (LETTER, RADIO)
        assert wrappers_with((RADIO,), run) == (RADIO,)
        with pytest.raises(DataError, match="other words"):
            wrappers_with((Style("radio", "Tonight: {request}"),), run)


def test_a_style_known_by_its_rows_alone_is_one_sentence() -> None:
    assert hardenable("radio", (RADIO,), "run") is RADIO
    assert hardenable("quiz", (), "run") is style("quiz")
    with pytest.raises(DataError, match="own rows alone") as caught:
        hardenable("radio", (), "runs/x")
    assert "wrappers = FILE" in str(caught.value.fix)


def test_words_of_a_run_are_read_or_said_to_be_missing(tmp_path: Path) -> None:
    with Run.create("explain triggers", out=tmp_path / "run") as run:
        assert "no words" in str(words_of_run(run))
        shared().save(run)
        read = words_of_run(run)
    assert not isinstance(read, str) and read.carriers() == ["grim"]


def goals(n: int = 6) -> Goals:
    train = PromptSet("t", (*requests(n, HARMFUL, "train"), *requests(n, BENIGN, "train")), "made")
    find = requests(3, HARMFUL, "val"), requests(3, BENIGN, "val")
    return Goals(find, train, find, "made")


def test_a_model_without_rules_leaves_the_words_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> Any:
        raise CapabilityError("Relevance", "the family has no rules", "Use another")

    monkeypatch.setattr(loop, "refused_relevance", refuses)
    said = words_of_model(object(), object(), goals(), 0, {})  # type: ignore[arg-type]
    assert isinstance(said, str) and "no rules" in said
    monkeypatch.setattr(loop, "refused_relevance", lambda *_, **__: "0 of 3 were refused")
    assert words_of_model(object(), object(), goals(), 0, {}) == "0 of 3 were refused"  # type: ignore[arg-type]


def test_words_of_a_model_are_those_of_its_refused_goals() -> None:
    asked = goals()
    ids = tuple(p.id for p in asked.find[0])
    refused = StyleWeakness(replace(outcomes_of({"plain": [1, 1, 1]}), prompt_ids=ids))
    words = words_of_model(tiny_model(), refused, asked, 0, {})
    assert not isinstance(words, str) and words.prompt_ids == ids
    assert {"how", "do", "i", "grim", "number"} <= set(words.words)
    one = StyleWeakness(replace(outcomes_of({"plain": [1, 0, 0]}), prompt_ids=ids))
    said = words_of_model(tiny_model(), one, asked, 0, {})
    assert said == "1 of 3 bare harmful requests were refused"
    few = words_of_model(tiny_model(), refused, goals(2), 0, {})
    assert isinstance(few, str) and "at least 10 prompts" in few
