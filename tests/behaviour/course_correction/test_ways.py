"""Another way is held against the plain one by row and depth, and its price stands beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.behaviour.course_correction.asked import ON, measured, mock, values
from tests.behaviour.course_correction.made import made_rows
from tests.models.tiny import tiny_model
from theodolite.behaviour.course_correction.scoring import ANY_DEPTH, SUPPRESSED, Item
from theodolite.behaviour.course_correction.ways import asked_of, finding, measurements, table
from theodolite.correction import any_depth
from theodolite.errors import ConfigError
from theodolite.judging.refusal import RefusalVerdict


def items(label: str, plain: str, changed: str, way: str = ANY_DEPTH) -> list[Item]:
    """Return one item per letter (1 turned, 0 not) under both ways."""
    made = [
        Item(f"{label}{i}@10", f"{label}{i}", label, f"g{i}", 10, ("continues", "clean")[int(one)])
        for i, one in enumerate(plain)
    ]
    other = [
        replace(item, outcome=("continues", "clean")[int(one)], prefill=way)
        for item, one in zip(made, changed, strict=True)
    ]
    return [*made, *other]


def test_rates_effects_and_words() -> None:
    both = items("harmful", "0010", "1011") + items("benign", "0000", "0100")
    found = measurements(both, ANY_DEPTH)
    got = {m.name.removeprefix("course-correction/any_depth/"): m.value for m in found}
    assert got == {
        "corr": 0.75,
        "corr_effect": 0.5,
        "false_correction": 0.25,
        "false_correction_effect": 0.25,
    }
    (said,) = finding(found, ANY_DEPTH)
    assert "by +50 points" in said and "broken off by +25" in said
    assert {(row["label"], row["prefill"]) for row in table(both, ANY_DEPTH)} == {
        ("harmful", ANY_DEPTH),
        ("benign", ANY_DEPTH),
    }


def test_good_replies_need_no_attacker() -> None:
    assert not asked_of("benign", SUPPRESSED) and asked_of("benign", ANY_DEPTH)
    found = measurements(items("harmful", "11", "10", SUPPRESSED), SUPPRESSED)
    assert len(found) == 2 and found[1].value == -0.5
    assert "good" not in finding(found, SUPPRESSED)[0] and finding([], SUPPRESSED) == []


def test_the_defence_is_asked_the_same_rows_and_the_headline_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, model = made_rows(3), tiny_model("llama")
    plain = measured(tmp_path / "a", model, monkeypatch, rows)
    always = RefusalVerdict("refusal", True, 1.0, "test")
    monkeypatch.setattr(any_depth, "score_refusal", lambda *_: always)
    found = measured(tmp_path / "b", model, monkeypatch, rows, defence=ANY_DEPTH)
    added = {name for name in values(found) if name.startswith("any_depth/")}
    assert {k: v for k, v in values(found).items() if k not in added} == values(plain)
    assert added == {
        "any_depth/corr",
        "any_depth/corr_effect",
        "any_depth/false_correction",
        "any_depth/false_correction_effect",
    }
    assert any("a new assistant turn is opened in a branch" in sentence for sentence in found.how)
    with pytest.raises(ConfigError, match="needs a local model"):
        measured(
            tmp_path / "c", mock(lambda _: ON), monkeypatch, rows, unit="word", defence=ANY_DEPTH
        )
    with pytest.raises(ConfigError, match="no defence"):
        measured(tmp_path / "d", model, monkeypatch, rows, defence="armour")
