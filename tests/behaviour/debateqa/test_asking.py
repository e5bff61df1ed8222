"""Which questions are asked and what is read first; the folder's ranking; no hint at a dispute."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from theodolite.behaviour.debateqa.data import MODES, check_mode, load_rows, reading
from theodolite.behaviour.debateqa.prompts import STYLES, check_style, put
from theodolite.behaviour.debateqa.retrieval import K1, B, Index, read_folder
from theodolite.data.debates import Document, documents_of, perspectives_of
from theodolite.errors import ConfigError, DataError

TEXTS = ("cats sleep all day", "dogs bark at cats", "the sea is deep and the sea is cold")
DOCS = [Document(f"T{i}", text) for i, text in enumerate(TEXTS)]


def bm25(question: str, documents: list[Document]) -> list[float]:
    """Return the scores, slowly: term by term."""
    words = [f"{d.title} {d.text}".lower().split() for d in documents]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for own in words:
        total = 0.0
        for term in dict.fromkeys(question.lower().split()):
            holding = sum(term in other for other in words)
            if not holding:
                continue
            rarity = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            count = own.count(term)
            total += rarity * count * (K1 + 1) / (count + K1 * (1 - B + B * len(own) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize("question", ["cats", "the cold sea", "dogs and cats", "nothing known"])
def test_the_ranking_is_bm25(question: str) -> None:
    index = Index(DOCS)
    assert index.scores(question).tolist() == pytest.approx(bm25(question, DOCS))
    best = index.best(question, 2)
    assert len(best) == sum(score > 0 for score in sorted(bm25(question, DOCS))[-2:])


def test_a_folder_is_read_and_an_empty_one_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.md").write_text("# Cats\n\nThey sleep.\n")
    (tmp_path / "b" / "c.txt").write_text("One line alone")
    (tmp_path / "d.bin").write_bytes(b"\x00\x01")
    found = read_folder(tmp_path)
    assert [(d.title, d.text) for d in found] == [
        ("Cats", "They sleep."),
        ("One line alone", "One line alone"),
    ]
    with pytest.raises(DataError, match="no folder"):
        read_folder(tmp_path / "none")
    (tmp_path / "e").mkdir()
    with pytest.raises(DataError, match="holds no text"):
        read_folder(tmp_path / "e")


def test_documents_without_a_word_are_refused() -> None:
    with pytest.raises(DataError, match="holds a word"):
        Index([Document("!", "...")])


def test_claims_without_the_data_folder_say_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THEODOLITE_DATA", str(tmp_path))
    with pytest.raises(DataError, match="debate_claims_debateqa_schema") as error:
        load_rows("claims")
    assert "THEODOLITE_DATA" in str(error.value.fix)


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_claims_are_a_source_of_their_own() -> None:
    rows = load_rows("claims", limit=3, controls=2)
    labels = [row.label for row in rows]
    assert [labels.count(x) for x in ("debatable", "settled", "contested")] == [3, 2, 2]
    assert all(len(perspectives_of(row)) >= 3 for row in rows if row.label == "debatable")


def test_rows_have_perspectives_and_controls_and_limits_nest() -> None:
    rows = load_rows(limit=6, controls=5)
    labels = [row.label for row in rows]
    assert [labels.count(x) for x in ("debatable", "settled", "contested")] == [6, 5, 5]
    assert all(perspectives_of(row) for row in rows if row.label == "debatable")
    assert {row.id for row in rows} <= {row.id for row in load_rows(limit=9, controls=8)}
    assert not [row for row in load_rows(limit=2, controls=0) if row.label != "debatable"]
    assert {row.split for row in load_rows()} == {"test"}
    for wrong in ({"limit": 0}, {"controls": -1}, {"source": "nowhere.jsonl"}):
        with pytest.raises(DataError):
            load_rows(**wrong)  # type: ignore[arg-type]


def test_modes_read_what_they_say() -> None:
    row = load_rows(limit=1, controls=0).prompts[0]
    every = {d.title: d.stance for d in documents_of(row)}
    how = {"count": 4, "words": 20}
    assert reading(row, "closed", **how) == []
    gold = reading(row, "gold_docs", **how)
    assert {d.title for d in gold} == set(every)
    assert all(len(d.text.split()) <= 20 for d in gold)
    stances = [d.stance for d in reading(row, "balanced_docs", **how)]
    assert stances[0] != stances[1] and stances[2] != stances[3]
    assert len({d.stance for d in reading(row, "one_sided_docs", **how)}) == 1
    assert reading(row, "gold_docs", **how, seed=1) != gold  # another order
    found = reading(row, "retrieved", count=1, words=9, index=Index(list(documents_of(row))))
    assert len(found) == 1
    rows = load_rows(controls=0)
    first = [reading(one, "balanced_docs", **how)[0].stance for one in rows]
    assert 0.25 < first.count("for") / len(first) < 0.75  # no side is always read first
    bare = load_rows(limit=1, controls=1).filter(label="settled").prompts[0]
    assert reading(bare, "gold_docs", **how) == []
    with pytest.raises(ConfigError, match="belong together"):
        check_mode("retrieved", None)
    with pytest.raises(ConfigError, match="no mode"):
        check_mode("close", None)
    assert set(MODES) > {"closed"}


def test_no_wording_but_one_hints_at_a_dispute() -> None:
    hints = ("debat", "disput", "controvers", "disagree", "opinion", "views", "sides")
    for style in STYLES:
        text = put("Is tea better than coffee?", style, DOCS[:1]).lower()
        said = [hint for hint in hints if hint in text]
        assert said == (["views"] if style == "views" else []), style
    put_in = put("Why {question} {texts} {count}?", "plain", [Document("T {question}", "{texts}")])
    assert put_in.endswith("Question: Why {question} {texts} {count}?")  # braces survive
    assert "[1] T {question}\n{texts}\n" in put_in
    with pytest.raises(ConfigError, match="no style"):
        check_style("short")
