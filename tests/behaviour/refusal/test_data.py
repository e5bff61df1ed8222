"""Requests: twins together, test goals only, styles as asked, bad input named."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from theodolite.behaviour.refusal.data import form_of, load_requests
from theodolite.behaviour.refusal.prompts import SYSTEM_PROMPTS, system_prompt
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError


def test_the_default_is_the_test_goals_with_their_twins_side_by_side() -> None:
    prompts = load_requests()
    assert Counter(prompt.label for prompt in prompts) == {"harmful": 48, "benign": 48}
    assert {prompt.split for prompt in prompts} == {"test"}
    for harmful, benign in zip(prompts.prompts[::2], prompts.prompts[1::2], strict=True):
        assert (harmful.label, benign.label) == ("harmful", "benign")
        assert harmful.pair_id == benign.pair_id


def test_a_smaller_limit_is_a_part_of_a_larger_one_and_the_seed_changes_the_order() -> None:
    assert load_requests(limit=10).ids == load_requests(limit=30).ids[:10]
    assert load_requests(limit=10).ids != load_requests(limit=10, seed=1).ids


def test_styles_come_after_the_bare_requests() -> None:
    prompts = load_requests(styles="plain,quiz", limit=4)
    assert [prompt.style for prompt in prompts] == ["plain"] * 4 + ["quiz"] * 4
    assert len(load_requests(styles=["quiz"], limit=4)) == 4
    assert {prompt.goal_id for prompt in prompts} == {p.goal_id for p in prompts.prompts[:4]}


@pytest.mark.parametrize(
    ("text", "meta", "form"),
    [
        ("How?", {}, "question"),
        ("Do it.", {}, "command"),
        ("Do it.", {"form": "question"}, "question"),
    ],
)
def test_form(text: str, meta: dict[str, str], form: str) -> None:
    assert form_of(Prompt("x", text, meta=meta)) == form


def test_a_file_of_ones_own_needs_labels(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"id": "a", "text": "Hi.", "label": "benign"}\n')
    assert load_requests(path).ids == ("a",)
    path.write_text('{"id": "a", "text": "Hi."}\n')
    with pytest.raises(DataError, match=r"'a'.*label"):
        load_requests(path)


def test_system_prompts_by_name() -> None:
    assert system_prompt("none") is None and system_prompt("guarded") == SYSTEM_PROMPTS["guarded"]
    with pytest.raises(ConfigError, match="guarded"):
        system_prompt("gaurded")


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data not at hand")
def test_xstest_is_read_from_the_official_file() -> None:
    prompts = load_requests("xstest")
    assert Counter(prompt.label for prompt in prompts) == {"benign": 250, "harmful": 200}
    assert len(prompts.values("category")) == 18
