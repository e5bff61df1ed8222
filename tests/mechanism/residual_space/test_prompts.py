"""A table of the user's own, already in styles: whole goals are drawn, and nothing leaks."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mechanism.residual_space.made_styles import made_requests
from theodolite.data.prompts import Prompt
from theodolite.data.styles import styled
from theodolite.errors import DataError
from theodolite.mechanism.requests import Requests, read_requests, read_table
from theodolite.mechanism.residual_space.prompts import study_prompts
from theodolite.text.hashing import content_key

STYLES = ("plain", "role_play", "code")


def table(path: Path, goals: int = 12, **changed: object) -> Path:
    """Write a table with the columns of published ones; goals come style by style."""
    made = made_requests(goals)
    own = made.derive(replace(prompt, text=content_key(prompt.id)) for prompt in made)
    rows = sorted(styled(own, STYLES), key=lambda prompt: str(prompt.style))
    with path.open("w", encoding="utf-8") as file:
        for prompt in rows:
            row = {
                "id": prompt.id,
                "goal_id": prompt.goal_id,
                "pair_id": prompt.pair_id,
                "method": prompt.style,
                "text": prompt.text,
                "harmful": prompt.label == "harmful",
                "hazard": 3,
                "split": "test" if int(str(prompt.pair_id)) % 2 else "train",
            }
            file.write(json.dumps(row | changed) + "\n")
    return path


def forms(prompts: list[Prompt]) -> dict[str | None, Counter[str | None]]:
    """Return the styles of each goal."""
    found: dict[str | None, Counter[str | None]] = {}
    for prompt in prompts:
        found.setdefault(prompt.goal_id, Counter())[prompt.style] += 1
    return found


def test_a_goal_is_taken_with_all_its_styles_and_its_twin(tmp_path: Path) -> None:
    requests = read_table(str(table(tmp_path / "own.jsonl")))
    assert len(requests.harmful) == len(requests.benign) == 36
    prompts = study_prompts(requests, 4)
    assert Counter((p.split, p.label) for p in prompts) == {
        (part, label): 4 * 3 for part in ("train", "test") for label in ("harmful", "benign")
    }
    assert all(styles == Counter(STYLES) for styles in forms(prompts).values())
    assert all(n == 6 for n in Counter(prompt.pair_id for prompt in prompts).values())
    assert {prompt.category for prompt in prompts} == {"3"}
    again = study_prompts(read_table(str(tmp_path / "own.jsonl")), 4)
    assert [p.id for p in again] == [p.id for p in prompts]
    # Fewer goals are a part of more, and all of them is all rows.
    fewer = {p.id for p in study_prompts(requests, 2)}
    assert fewer < {p.id for p in prompts}
    assert len(study_prompts(requests, 100)) == 72


def test_a_limit_counts_goals_of_a_table(tmp_path: Path) -> None:
    requests = read_table(str(table(tmp_path / "own.jsonl")), limit=5)
    assert len(requests.harmful) == 5 * 3 and len(forms(list(requests.benign))) == 5


def test_goals_without_twins_are_counted_for_each_class() -> None:
    rows = [
        Prompt(
            id=f"{label}-{goal}-{style}",
            text=f"{style}: {content_key(label, goal)}",
            label=label,
            style=style,
            goal_id=f"{label}-{goal}",
            split=("train", "test")[goal % 2],
        )
        for label in ("harmful", "benign")
        for goal in range(12)
        for style in ("plain", "own style")
    ]
    sides = [tuple(p for p in rows if p.label == label) for label in ("harmful", "benign")]
    prompts = study_prompts(Requests(*sides), 3)
    goals = {(p.split, p.label, p.goal_id) for p in prompts}
    assert Counter(found[:2] for found in goals) == {
        (part, label): 3 for part in ("train", "test") for label in ("harmful", "benign")
    }
    assert len(prompts) == 2 * len(goals)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"harmful": "perhaps"}, "field 'harmful': 'perhaps' does not say"),
        ({"harmful": None}, "neither harmful nor benign"),
        ({"harmful": True}, "is benign, and two classes"),
        ({"goal_id": "one"}, "1 goal stands in more than one split"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(
    changed: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = table(tmp_path / "own.jsonl", **changed)
    with pytest.raises(DataError) as refused:
        read_table(str(path))
    assert said in str(refused.value)


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="THEODOLITE_DATA is not set")
def test_the_published_sample_is_cut_by_goal(tmp_path: Path) -> None:
    path = Path(os.environ["THEODOLITE_DATA"]) / "safety-residual-space" / "prompts_sample.csv"
    with pytest.raises(DataError, match="is benign, and two classes"):
        read_table(str(path))
    with path.open(newline="", encoding="utf-8") as file:
        methods = {row["method"] for row in csv.DictReader(file)}
    benign = tmp_path / "benign.jsonl"
    with benign.open("w", encoding="utf-8") as file:
        for i in range(24):
            for method in sorted(methods):
                row = {"id": f"b{i}/{method}", "goal_id": f"b{i}", "method": method,
                       "text": f"{method}: {content_key(i)}",
                       "split": ("train", "test")[i % 2]}  # fmt: skip
                file.write(json.dumps(row) + "\n")
    prompts = study_prompts(read_requests(str(path), str(benign)), 5)
    harmful = [p for p in prompts if p.label == "harmful"]
    assert {p.style for p in harmful} == methods and len(methods) == 9
    for part in ("train", "test"):
        found = forms([p for p in harmful if p.split == part])
        assert 1 <= len(found) <= 5
    # A wording that stands twice in the file counts once; no goal loses more than that.
    assert all(len(styles) >= 7 for styles in forms(harmful).values())
