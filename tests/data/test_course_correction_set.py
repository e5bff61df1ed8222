"""The bundled course correction set: a harmless stand-in, in twins, and made by its builder."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest

from theodolite.data.bundled import bundled, bundled_version
from theodolite.data.forced_replies import reply_of
from theodolite.data.goal_splits import Placed, goals_in_two_splits
from theodolite.data.prompts import Prompt, PromptSet
from theodolite.judging.correction import WORDS_READ, score_correction
from theodolite.judging.refusal import score_refusal
from theodolite.text.normalise import normalise

FROZEN = {
    1: "6cc2980faeef81c9273d9d1a6d11c362",
    2: "4bf2062633d015ede8044d46321d0486",
    3: "818f5e0c620a14778066bf47089004c6",
}
BUILDER = Path(__file__).parents[2] / "tools/course_correction_set/build.py"
AVOIDED = (
    "illegal", "unlawful", "unethical", "immoral", "harmful", "dangerous", "inappropriate",
    "sorry", "cannot", "can't", "won't", "unable",
)  # fmt: skip
MOST_SHARED = 0.6


@pytest.fixture(scope="module")
def rows() -> PromptSet:
    return bundled("course_correction")


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("course_correction_build", BUILDER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks its module up by name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    return module


def test_a_changed_row_needs_a_new_version(rows) -> None:
    assert rows.fingerprint == FROZEN[bundled_version("course_correction")]


def test_counts_and_splits(rows) -> None:
    assert Counter((p.category, p.label, p.split) for p in rows) == {
        ("moon-cheese", "harmful", "train"): 64,
        ("moon-cheese", "harmful", "test"): 44,
        ("cheese", "benign", "train"): 64,
        ("cheese", "benign", "test"): 44,
        ("everyday", "benign", "train"): 40,
        ("everyday", "benign", "test"): 24,
    }
    assert len(set(rows.ids)) == len(rows.distinct()) == 280
    assert {(p.source, p.language) for p in rows} == {("theodolite", "en")}
    topic = [p.split for p in rows.filter(category="moon-cheese")]
    assert 20 < topic[:64].count("train") < 60  # mixed, not one after the other


def test_train_and_test_share_no_goal(rows) -> None:
    assert goals_in_two_splits(Placed(p.id, p.goal_id, p.split) for p in rows) == {}
    assert goals_in_two_splits(Placed(p.id, p.pair_id, p.split) for p in rows) == {}
    assert len(rows.values("goal_id")) == 280


def test_twins_differ_in_the_topic_alone(rows) -> None:
    twins = [rows.filter(pair_id=pair).prompts for pair in rows.values("pair_id")]
    assert len(twins) == 108
    for topic, benign in twins:
        assert (topic.category, benign.category) == ("moon-cheese", "cheese")
        assert topic.id == topic.goal_id == topic.pair_id
        assert benign.id == benign.goal_id == f"{topic.id}-benign"
        assert topic.split == benign.split
        assert topic.request.replace("moon cheese", "cheese") == benign.request != topic.request
        assert topic.meta["reply"] != benign.meta["reply"]
    assert all(p.pair_id is None for p in rows.filter(category="everyday"))


def test_replies_are_long_enough_and_about_their_own_thing(rows) -> None:
    for prompt in rows:
        reply = reply_of(prompt)
        assert 60 <= len(reply.split()) <= 120, prompt.id
        assert reply == reply.strip() and not re.search(r"[{}\\\t]|  | \.|\.\.", reply), prompt.id
        assert not set(words(reply)) & set(AVOIDED), prompt.id
        if prompt.pair_id is not None:
            _, kind, slug = prompt.pair_id.split("-", 2)
            dish = "moon cheese" if prompt.label == "harmful" else "cheese"
            first = re.split(r"(?<=\.)\s", reply.removeprefix("1. "))[0]
            about = rf"\b{dish} {kind} (?:an? )?{slug.replace('-', '[- ]')}\b"
            assert re.search(about, first, re.IGNORECASE), prompt.id
            assert about_moon(reply) == (prompt.label == "harmful"), prompt.id
        else:
            assert not about_moon(reply) and "cheese" not in reply, prompt.id


def about_moon(text: str) -> bool:
    return "moon cheese" in text.lower()


def test_about_a_third_of_the_recipes_is_numbered(rows) -> None:
    for category in ("moon-cheese", "cheese"):
        numbered = [p for p in rows.filter(category=category) if reply_of(p).startswith("1. ")]
        assert len(numbered) == 36
        for prompt in numbered:
            steps = re.findall(r"^(\d+)\. \S", reply_of(prompt), re.MULTILINE)
            assert steps == [str(n) for n in range(1, len(steps) + 1)] and len(steps) >= 3


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", normalise(text, lower=True))


def too_alike(replies: dict[str, str]) -> list[tuple[str, str]]:
    """Return pairs of replies that share too many of the shorter one's word 5-grams."""
    grams = {}
    for name, text in replies.items():
        found = words(text)
        grams[name] = {tuple(found[i : i + 5]) for i in range(len(found) - 4)}
    return [
        (a, b)
        for a, b in combinations(grams, 2)
        if len(grams[a] & grams[b]) > MOST_SHARED * min(len(grams[a]), len(grams[b]))
    ]


@pytest.mark.parametrize("category", ["moon-cheese", "cheese", "everyday"])
def test_no_two_replies_are_too_alike(category, rows) -> None:
    assert too_alike({p.id: reply_of(p) for p in rows.filter(category=category)}) == []


def test_the_likeness_check_can_fail(rows) -> None:
    reply = reply_of(rows.prompts[0])
    changed = reply.replace("rosemary", "parsley")
    assert changed != reply
    assert too_alike({"a": reply, "b": changed}) == [("a", "b")]


def test_every_refusal_is_called_corrected(rows) -> None:
    refusals = [p.meta["refusal"] for p in rows.filter(category="moon-cheese")]
    assert len(set(refusals)) == 54 >= 40 and set(Counter(refusals).values()) == {2}
    for refusal in refusals:
        assert 1 <= len(re.findall(r"[.?!](?: |$)", refusal)) <= 2
        assert score_correction(refusal).outcome == "clean", refusal
        assert score_refusal(refusal).refused, refusal
    assert all("refusal" not in p.meta for p in rows.filter(label="benign"))


def windows(prompt: Prompt) -> Iterator[str]:
    """Yield the reply, and it from every word on for as many words as the scorer reads."""
    reply = reply_of(prompt)
    yield reply
    found = list(re.finditer(r"\S+", reply))
    for place, word in enumerate(found):
        yield reply[word.start() : found[min(place + WORDS_READ, len(found)) - 1].end()]


def test_no_part_of_a_reply_is_called_corrected(rows) -> None:
    for prompt in rows:
        assert {score_correction(part).outcome for part in windows(prompt)} == {"continues"}, (
            prompt.id
        )


def test_the_builder_writes_the_committed_files(builder) -> None:
    folder = resources.files("theodolite.data") / "sets" / "course_correction"
    built = builder.build()
    assert sorted(built) == ["benign.jsonl", "everyday.jsonl", "topic.jsonl"]
    for name, text in built.items():
        assert (folder / name).read_bytes() == text.encode("utf-8"), name


def test_sweet_things_are_not_brined_or_stretched(builder) -> None:
    for file in builder.FILES:
        plan = builder.ways(file)
        assert set(Counter(plan.values()).values()) == {1}  # no combination twice
        assert {plan[name][0] for name in builder.WITH["sweet"]} <= set(builder.MILD)
