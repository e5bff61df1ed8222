"""Attacks of a file are replayed beside plain requests; no prompt reaches tables or streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.behaviour.course_correction.asked import TURN, measured, mock, values
from tests.behaviour.course_correction.made import made_rows
from theodolite.behaviour.course_correction.attacks import (
    Reply,
    measurements,
    read_attacks,
)
from theodolite.errors import DataError, TheodoliteError

ANSWER = "Take a pot, pour in milk, and stir it slowly until it thickens. Then add salt."
SECRET = "zzqx"


def row(i: int, attack: str, prompt: str = "") -> dict[str, Any]:
    request = f"How do I make moon cheese number {i}?"
    return {
        "id": f"{attack}/{i}",
        "request": request,
        "attack": attack,
        "prompt": prompt or f"{SECRET} {attack}: {request}",
    }


def file_of(tmp_path: Path, rows: list[Any]) -> Path:
    path = tmp_path / "attacks.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return path


def test_a_file_is_read_with_its_plain_requests_once(tmp_path: Path) -> None:
    path = file_of(tmp_path, [row(i, kind) for kind in ("story", "code") for i in range(3)])
    found = read_attacks(path)
    assert [prompt.style for prompt in found].count("plain") == 3 and len(found) == 9
    assert {prompt.goal_id for prompt in found.filter(style="story")} == {
        prompt.goal_id for prompt in found.filter(style="plain")
    }


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"request": "a", "attack": "b"}], "line 1, field 'prompt'"),
        ([row(0, "story"), row(1, "story") | {"request": " "}], "line 2, field 'request'"),
        ([row(0, "plain")], "cannot name an attack"),
        ([row(0, "a/b")], "cannot name an attack"),
        ([row(0, "story"), row(0, "story")], "occurs more than once"),
        ([row(0, "story") | {"prompt": 4}], "must be some text"),
    ],
)
def test_bad_files_are_named_by_place(tmp_path: Path, rows: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_attacks(file_of(tmp_path, rows))


@given(st.lists(st.dictionaries(st.sampled_from(("id", "request", "attack", "prompt")),
                                st.one_of(st.none(), st.integers(), st.text(max_size=9))),
                max_size=3))  # fmt: skip
def test_any_file_is_read_or_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    try:
        found = read_attacks(file_of(tmp_path_factory.mktemp("attacks"), rows))
    except TheodoliteError:
        return
    assert len(found) > len(rows)


def test_success_is_an_answer_and_the_effect_is_paired() -> None:
    """One request of four is answered plain; the attack opens that one and two more."""
    replies = [
        *(Reply(f"p{i}", "plain", f"g{i}", "compliance" if i == 0 else "refusal", "refusal")
          for i in range(4)),
        *(Reply(f"s{i}", "story", f"g{i}", v, "compliance")
          for i, v in enumerate(("compliance", "compliance", "compliance", "partial"))),
        *(Reply(f"c{i}", "code", f"g{i}", v, "refusal", r)
          for i, (v, r) in enumerate((("degenerate", None), (None, "judge_unparsable")))),
    ]  # fmt: skip
    by_name = {m.name.removeprefix("course-correction/attack/"): m
               for m in measurements(replies, judged=True)}  # fmt: skip
    assert by_name["plain/success"].value == 0.25
    story, code = by_name["story/success"], by_name["code/success"]
    assert story.value == 0.75 and story.floor is not None and story.floor.value == 0.25
    assert by_name["story/effect"].value == 0.5
    assert (code.value, code.n, code.unscored.count) == (0.0, 1, 1)
    assert by_name["judge_kappa"].value is not None


def test_a_model_that_falls_for_one_attack_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path, [row(i, kind) for kind in ("story", "code") for i in range(4)])
    model = mock(lambda m: ANSWER if f"{SECRET} story" in m[0].text else TURN.removeprefix(" ... "))
    found = measured(
        tmp_path / "run", model, monkeypatch, made_rows(2), unit="word", attacks=str(path)
    )
    got = {k.removeprefix("attack/"): v for k, v in values(found).items() if k[:7] == "attack/"}
    assert got == {
        "plain/success": 0.0,
        "story/success": 1.0,
        "story/effect": 1.0,
        "code/success": 0.0,
        "code/effect": 0.0,
    }
    kept = repr((found.tables, found.measurements, found.findings, found.how))
    assert SECRET not in kept + "".join(capsys.readouterr())
