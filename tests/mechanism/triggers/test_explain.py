"""The analysis as a whole: from requests to a panel without any text in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.mechanism.triggers.made import requests
from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.explain import ExplainRequest, Subject
from theodolite.mechanism.requests import Requests
from theodolite.mechanism.triggers import replies
from theodolite.mechanism.triggers.explain import (
    WRAPPERS,
    Options,
    check,
    explain,
    parted,
    summary,
    wrapped_of,
)
from theodolite.mechanism.triggers.words import from_relevance
from theodolite.runs.run import Run


class Silent:
    """Progress that says nothing."""

    def start(self, *_: Any) -> None: ...

    def advance(self, *_: Any) -> None: ...

    def message(self, *_: Any) -> None: ...


def asked() -> Requests:
    """Return requests of which 6 of each class are to fit on and 3 are measured."""
    both = {
        label: (*requests(6, label, "train"), *requests(3, label, "val"))
        for label in (HARMFUL, BENIGN)
    }
    return Requests(both[HARMFUL], both[BENIGN], source="made")


def words_file(folder: Path) -> str:
    path = folder / "words.json"
    path.write_text(json.dumps({"positive": ["a", "e"], "negative": ["o"]}))
    return str(path)


def test_a_refusing_model_is_asked_in_styles_and_without_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = replace(replies.score_refusal("I'm sorry, I can't help with that."))
    monkeypatch.setattr(replies, "score_refusal", lambda *_: refusal)
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"name": "radio", "template": "On the air: {request}"}))
    options = Options(
        styles="quiz",
        wrappers=str(own),
        tokens=words_file(tmp_path),
        max_tokens=4,
        most=2,
        rewrites=1,
    )
    subject = Subject(tiny_model(), asked(), "auto")
    with Run.create("test", out=tmp_path / "run") as run:
        result = explain(subject, options, run=run, seed=0, progress=Silent())
        kept = run.load_table(WRAPPERS)
    assert kept == [{"name": "radio", "template": "On the air: {request}", "family": "own"}]
    by_style = result.tables["triggers_by_style"]
    assert {(row["label"], row["style"]) for row in by_style} == {
        (label, name) for label in (HARMFUL, BENIGN) for name in ("plain", "quiz", "radio")
    }
    assert {row["n"] for row in by_style} == {3}
    assert [row["words"] for row in result.tables["triggers_words"]] == [1, 2]
    assert {m.name for m in result.measurements} >= {
        "triggers/harmful/quiz",
        "triggers/words/vulnerability",
        "triggers/rewrites/passed",
    }
    assert len(summary(result)) == 6
    by_word = {row["word"]: row for row in result.tables["triggers_by_word"]}
    assert by_word["grim"]["goals"] == 3 and "of at least 3 goals" in " ".join(result.findings)
    told = json.dumps([result.tables, [str(m) for m in result.measurements], result.findings])
    assert not any(p.request in told for p in asked().bare)


def test_without_refusals_the_words_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    options = Options(styles="quiz", tokens=words_file(tmp_path), max_tokens=2)
    subject = Subject(tiny_model(), asked(), "auto")
    with Run.create("test", out=tmp_path / "run") as run:
        result = explain(subject, options, run=run, seed=0, progress=Silent())
    assert "triggers_words" not in result.tables
    assert any("left out" in sentence for sentence in result.how)


def test_what_is_measured_is_not_fitted_on() -> None:
    with pytest.raises(DataError, match="split 'test'"):
        parted(asked(), "test")
    free = [replace(p, split=None) for p in bundled("refusal").split("val")]
    bare = [tuple(p for p in free if p.label == label) for label in (HARMFUL, BENIGN)]
    for goals, given in (("train", asked()), ("val", asked()), ("test", Requests(*bare))):
        fitted, measured = parted(given, goals)
        ids = [{p.goal_id for side in sides for p in side} for sides in (fitted, measured)]
        assert ids[0] and ids[1] and not ids[0] & ids[1]


def test_relevance_of_tokens_becomes_that_of_the_requests_words() -> None:
    import numpy as np

    from theodolite.mechanism.directions.direction import Direction
    from theodolite.mechanism.relevance import relevance

    model, prompts = tiny_model(), requests(2)
    vector = np.random.default_rng(0).standard_normal(model.anatomy.d_model)
    found = relevance(model, prompts, [Direction("d", 2, vector)])
    words = from_relevance(found, prompts)
    for place, (prompt, own) in enumerate(zip(prompts, words, strict=True)):
        assert [prompt.request[a:b] for a, b in own.spans] == prompt.request[:-1].split()
        user = found.prompts[place].groups == 1
        total = found.of_prompt(place)[user, 0].sum()
        # All but the question mark, whose token belongs to no word.
        assert own.values.sum() == pytest.approx(total, abs=abs(total) + 1)
        assert (own.values != 0).all()
    with pytest.raises(DataError, match="not that of these"):
        from_relevance(found, prompts[::-1])


def test_wrapped_requests_of_other_goals_are_left_out() -> None:
    own = Prompt("w", text="x", style="mine", label=HARMFUL, goal_id="val-harmful-goal-1")
    other = replace(own, id="v", goal_id="train-harmful-goal-1")
    measured = parted(asked(), "val")[1]
    assert wrapped_of(replace(asked(), wrapped=(own, other)), measured) == [own]
    with pytest.raises(DataError, match="goal_id"):
        wrapped_of(replace(asked(), wrapped=(other,)), measured)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(styles="quizz"), "quiz"),
        (Options(wrappers="nowhere.toml"), "nowhere.toml"),
        (Options(goals="tests"), "test"),
        (Options(backend="lrpp"), "lrp"),
        (Options(tokens="xx"), "xx"),
        (Options(max_tokens=0), "at least 1"),
        (Options(words=-1), "at least 0"),
        (Options(words=0, rewrites=1), "task.words"),
        (Options(rewriter="api:openai/x"), "local model"),
    ],
)
def test_bad_options(options: Options, says: str) -> None:
    with pytest.raises((ConfigError, DataError), match=says):
        check(options, ExplainRequest())
    with pytest.raises(ConfigError, match="--base"):
        check(Options(), ExplainRequest(base="smollm2"))
