"""Items hold every request once, and know what must stay together."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import items as oracle
from theodolite.data import official, read_prompts
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Message, Prompt, PromptSet
from theodolite.data.styles import STYLES, styled
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.items import Items, make_items
from theodolite.mechanism.near_duplicates import near_pairs

BREAD = "Write a recipe for a loaf of bread with seeds."
BOAT = "Describe a small boat on a quiet lake at dawn."


def prompts(*texts: str, prefix: str = "p", **facts: Any) -> list[Prompt]:
    return [Prompt(f"{prefix}{i}", text=text, **facts) for i, text in enumerate(texts)]


def refusal_items(**options: Any) -> Items:
    rows = list(bundled("refusal"))
    return make_items(
        {name: [p for p in rows if p.label == name] for name in ("harmful", "benign")}, **options
    )


texts = st.lists(st.text("ab c?", min_size=1, max_size=14).filter(str.strip), max_size=12)


@settings(max_examples=60)
@given(texts)
def test_near_pairs_equal_the_oracle(found: list[str]) -> None:
    assert [tuple(pair) for pair in near_pairs(found).tolist()] == oracle.near_pairs(found)


def test_near_pairs_of_a_hand_made_case() -> None:
    """Nine letters have five 5-grams; a tenth adds a sixth: 5/6 > 0.8. Two more: 5/7 < 0.8."""
    assert near_pairs(["abcdefghi", "ABCDEFGHIJ", "abcdefghijk"]).tolist() == [[0, 1], [1, 2]]
    assert near_pairs(["abcd", "abcd", "abc"]).tolist() == [[0, 1]]
    assert near_pairs([]).tolist() == []


def test_rows_of_the_similarity_matrix_join() -> None:
    """More texts than one part of the matrix holds, with a pair across the border."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnop", k=20)) for _ in range(600)]
    words[599] = words[3]
    assert near_pairs(words).tolist() == [[3, 599]]


ids = st.sampled_from(["g1", "g2", "g3", None])


@settings(max_examples=40)
@given(st.lists(st.tuples(texts, ids, ids), min_size=2, max_size=9), st.randoms())
def test_groups_equal_the_oracle_in_any_order(rows: list[Any], shuffle: random.Random) -> None:
    made = [
        Prompt(f"{i}", text=" ".join(words) or "?", goal_id=goal, pair_id=pair)
        for i, (words, goal, pair) in enumerate(rows)
    ]
    expected = dict(zip([p.id for p in made], oracle.groups(made), strict=True))
    shuffle.shuffle(made)
    items = make_items({"benign": made[:1], "harmful": made[1:]}, dedupe=False)
    assert dict(zip(items.ids, items.groups, strict=True)) == expected


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (3, 2, 1, 0)])
def test_a_goal_in_two_wordings_is_tied_by_either(order: tuple[int, ...]) -> None:
    """A bare request speaks for itself, whichever wording of its goal stands first."""
    goals = [("one", BREAD), ("one", BOAT), ("one", BREAD), ("two", BREAD)]
    made = [Prompt(f"p{i}", text=text, goal_id=goal) for i, (goal, text) in enumerate(goals)]
    rows = [made[i] for i in order]
    items = make_items({"benign": rows[:1], "harmful": rows[1:]}, dedupe=False)
    assert set(items.groups) == {"p0"}


def test_twins_are_tied_and_none_is_dropped() -> None:
    items = refusal_items()
    assert len(items) == 240
    assert items.classes == ("benign", "harmful")
    assert set(items.exact_duplicates.values()) | set(items.near_duplicates.values()) == {0}
    assert items.tied == 2
    assert len(set(items.groups)) == 120
    assert set(Counter(items.groups).values()) == {2}
    for group, prompt in zip(items.groups, items.prompts, strict=True):
        assert group == prompt.pair_id
    assert set(items.sources) == {"theodolite-commands", "theodolite-questions"}
    assert len(set(items.categories)) == 12
    assert set(items.languages) == {"en"}
    assert (items.labels == items.positive).all()
    assert items.positive.tolist() == [p.label == "harmful" for p in items.prompts]


def test_near_twins_are_tied_by_their_words_alone() -> None:
    harmful = prompts(BREAD, BOAT, prefix="h")
    benign = prompts(BREAD.replace(".", "!"), "Something else.", prefix="b")
    items = make_items({"harmful": harmful, "benign": benign})
    assert items.tied == 1
    assert items.groups == ("b0", "b1", "b0", "h1")


def test_duplicates_are_dropped_within_a_class_and_counted() -> None:
    rows = prompts(BREAD, f" {BREAD}\n", BREAD.replace("loaf of", "loaf of "), BREAD + "!", BOAT)
    items = make_items({"harmful": rows, "benign": prompts("A.", "B.", prefix="b")})
    assert items.exact_duplicates == {"benign": 0, "harmful": 2}
    assert items.near_duplicates == {"benign": 0, "harmful": 1}
    assert items.ids == ("b0", "b1", "p0", "p4")
    whole = make_items({"harmful": rows, "benign": prompts("A.", "B.", prefix="b")}, dedupe=False)
    assert len(whole) == 7
    assert set(whole.exact_duplicates.values()) | set(whole.near_duplicates.values()) == {0}
    assert whole.groups[2:] == ("p0", "p0", "p0", "p0", "p4")


def test_near_duplicates_of_a_dropped_prompt_stay() -> None:
    """Each is like its neighbour and not like the one after: the middle one goes, the ends stay."""
    base = "abcdefghijklmnopqrstuvwxyz0123456789"
    chain = [base[i : i + 20] for i in (0, 1, 2)]
    assert near_pairs(chain).tolist() == [[0, 1], [1, 2]]
    items = make_items({"harmful": prompts(*chain), "benign": prompts("A.", prefix="b")})
    assert items.ids == ("b0", "p0", "p2")


def test_the_same_words_in_two_classes_are_dropped_from_both() -> None:
    classes = {"harmful": prompts(BREAD, BOAT), "benign": prompts(BREAD, "B.", prefix="b")}
    items = make_items(classes)
    assert items.ids == ("b1", "p1")
    assert items.warnings == (
        "2 prompts stand in two classes with the same words and were dropped.",
    )
    kept = make_items(classes, dedupe=False)
    assert len(kept) == 4
    assert "are kept" in kept.warnings[0]
    assert kept.groups[0] == kept.groups[2]


def test_one_wrapper_does_not_make_requests_alike() -> None:
    plain = bundled("refusal").filter(label="harmful")
    benign = list(bundled("refusal").filter(label="benign"))
    wrapped = list(styled(plain, [style for style in STYLES if style.name != "plain"]))
    items = make_items({"benign": benign, "harmful": plain, "jailbreak": wrapped})
    assert items.classes == ("benign", "harmful", "jailbreak")
    assert len(items) == 240 + len(wrapped)
    assert set(items.near_duplicates.values()) == {0}
    assert len(set(items.groups)) == 120
    families = {style.family for style in STYLES} - {"plain"}
    assert {s for s, c in zip(items.sources, items.labels, strict=True) if c == 2} == families


def test_a_wrapper_without_a_name_is_warned_of() -> None:
    shared = "You play an old sailor who has an answer to everything. Someone says: {} Reply now."
    rows = prompts(*map(shared.format, ("Cake", "Boat", "Tree", "Lake", "Moon")))
    benign = prompts("A.", prefix="b")
    items = make_items({"jailbreak": rows, "benign": benign})
    assert items.near_duplicates["jailbreak"] >= 3
    assert "name it in their field 'style'" in items.warnings[0]
    named = [Prompt(p.id, text=p.text, style="sailor") for p in rows]
    assert len(make_items({"jailbreak": named, "benign": benign})) == 6


def test_chats_are_compared_by_all_their_turns_but_not_by_a_shared_system_turn() -> None:
    def chat(name: str, *turns: str) -> Prompt:
        roles = ["system", *(["user", "assistant"] * len(turns))]
        said = zip(roles, ("Answer as a careful and friendly assistant in one line.", *turns))
        return Prompt(name, messages=tuple(Message(r, t) for r, t in said))

    rows = [
        chat("a", "How do I bake?", "With flour.", "Go on."),
        chat("b", "How do I sail?", "With wind.", "Go on."),
        chat("c", "Why?"),
    ]
    items = make_items({"harmful": rows, "benign": prompts("A.")})
    assert items.ids == ("p0", "a", "b", "c")
    assert items.texts[1:] == ("Go on.", "Go on.", "Why?")


def test_limit_counts_distinct_prompts_in_file_order() -> None:
    rows = prompts(BREAD, BREAD, BOAT, "C?", "D?")
    items = make_items({"harmful": rows, "benign": prompts("A.", "B.", prefix="b")}, limit=2)
    assert items.ids == ("b0", "b1", "p0", "p2")
    with pytest.raises(ConfigError, match="limit is 0"):
        make_items({"harmful": rows, "benign": rows}, limit=0)


def test_classes_stand_in_a_fixed_order_and_the_key_says_who_is_in_which() -> None:
    a, b = prompts(BREAD, prefix="a"), prompts(BOAT, prefix="b")
    one, two = make_items({"harmful": a, "benign": b}), make_items({"benign": b, "harmful": a})
    assert one.key == two.key
    assert make_items({"harmful": b, "benign": a}).key != one.key
    assert make_items({"harmful": a, "ordinary": b}).classes == ("ordinary", "harmful")
    assert make_items({"harmful": a, "ordinary": b}).positive.tolist() == [False, True]
    assert make_items({"harmful": a, "jailbreak": b}).positive.tolist() == [True, False]
    assert make_items({"french": a, "english": b}).positive.tolist() == [False, True]


def test_selection() -> None:
    items = refusal_items()
    some = items.select(np.arange(len(items)) % 3 == 0)
    assert len(some) == 80
    assert some.ids == items.ids[::3]
    assert some.groups == items.groups[::3]
    assert some.key != items.key
    assert items.select(range(len(items))).key == items.key
    turned = items.select([239, 0])
    assert (turned.ids, turned.labels.tolist()) == ((items.ids[239], items.ids[0]), [1, 0])
    one = items.select(items.positive)
    assert (one.classes, one.n_classes, set(one.labels.tolist())) == (("harmful",), 1, {0})
    assert one.exact_duplicates == {"harmful": 0}
    with pytest.raises(DataError, match="1 classes, so none"):
        _ = one.positive


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "Two classes are needed, and there is none"),
        ({"harmful": prompts(BREAD)}, "Two classes are needed, and there is only 'harmful'"),
        ({"harmful": prompts(BREAD), "benign": []}, "The class 'benign' is empty"),
        ({"harmful": prompts(BREAD), " ": prompts(BOAT)}, "A class has no name"),
        (
            {"harmful": prompts(BREAD), "benign": prompts(BOAT)},
            "'p0' of the class 'harmful' has the id of another one in 'benign'",
        ),
        (
            {"harmful": prompts(BREAD), "benign": prompts(BOAT, prefix="b", label="harmful")},
            "'b0' of the class 'benign' is labelled harmful",
        ),
        (
            {"harmful": prompts(BREAD), "benign": prompts(BREAD, prefix="b")},
            "Nothing is left of the class 'benign'",
        ),
        (
            {
                "harmful": prompts(BREAD),
                "benign": [Prompt("blank", messages=(Message("user", " "),))],
            },
            "'blank' of the class 'benign' is empty",
        ),
        (
            {
                "harmful": prompts(BREAD),
                "benign": [Prompt("dumb", messages=(Message("system", "Hi"),))],
            },
            "'dumb' has no user turn",
        ),
    ],
)
def test_what_cannot_be_gathered_is_one_sentence(classes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_items(classes)


def test_jailbreak_prompts_may_be_labelled_harmful() -> None:
    items = make_items(
        {"benign": prompts("A."), "jailbreak": prompts("B.", prefix="j", label="harmful")}
    )
    assert items.classes == ("benign", "jailbreak")


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="THEODOLITE_DATA is not set")
def test_delivered_files() -> None:
    items = make_items(
        {
            "harmful": read_prompts(official("hidden-state-probes/malicious_prompt")),
            "benign": read_prompts(official("hidden-state-probes/normal_prompt")),
        }
    )
    assert items.exact_duplicates == {"harmful": 51, "benign": 7}
    assert items.near_duplicates == {"harmful": 17, "benign": 5}
    assert len(items) == 915 - 17 + 493 - 5
    sources = {"advbench", "strongreject-early", "jailbreakbench", "ihs-normal"}
    assert set(items.sources) == sources
    assert near_pairs(items.texts).tolist() == []


def test_wrapped_requests_share_the_group_of_the_bare_one_that_names_no_goal() -> None:
    words = ["paint the fence", "cook dumplings", "file a claim", "tune guitars", "knit hats"]
    words += ["read maps", "grow kelp", "plan a trip"]
    bare = [Prompt(id=f"h{i}", text=text) for i, text in enumerate(words[:4])]
    wrapped = styled(PromptSet("bare", tuple(bare)), ["role_play", "code"])
    benign = [Prompt(id=f"b{i}", text=text) for i, text in enumerate(words[4:])]
    items = make_items({"harmful": bare, "benign": benign, "jailbreak": wrapped})
    groups = dict(zip(items.ids, items.groups, strict=True))
    assert all(groups[p.id] == groups[p.goal_id or ""] for p in wrapped)
    assert len(set(items.groups)) == 8
