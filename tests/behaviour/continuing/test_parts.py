"""Cost, quality, the table of methods, labels: by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.behaviour.continuing.made import answer, prompt, record, stage
from tests.models.tiny import tiny_model
from theodolite.behaviour.continuing.answers import Answer
from theodolite.behaviour.continuing.costs import cost_measurements, cost_table
from theodolite.behaviour.continuing.export import pairs_table, preference_pairs
from theodolite.behaviour.continuing.quality import NO_ROOM, joined, perplexities
from theodolite.behaviour.continuing.summary import (
    beaten_by,
    headlines_first,
    labels_of,
    method_rows,
    table_name,
)
from theodolite.correction.rewritten import NOT_STATED
from theodolite.engine import score
from theodolite.judging.toxicity import EMPTY
from theodolite.measure.measurement import Measurement
from theodolite.models.chat import encode_plain

GIVEN = stage(calls=0, n_in=0, n_out=0)
AUDIENCE, REWRITE = stage("audience", n_in=30, capped=True), stage("rewrite", n_in=50, n_out=6)


def named(found: list[Measurement]) -> dict[str, Measurement]:
    return {m.name: m for m in found}


def test_a_given_original_costs_what_base_paid() -> None:
    rewritten = answer("pet_io", revised="three", stages=[GIVEN, AUDIENCE, REWRITE])
    found = named(cost_measurements([answer("base"), rewritten], "toxicity"))
    assert found["toxicity/base/calls"].value == 1 and found["toxicity/pet_io/calls"].value == 3
    assert found["toxicity/pet_io/tokens_in"].value == 10 + 30 + 50
    assert found["toxicity/pet_io/tokens_out"].value == 4 + 4 + 6
    assert found["toxicity/pet_io/capped"].value == 1.0
    table = cost_table([answer("base"), rewritten])
    assert [(row["method"], row["stage"], row["tokens_in"], row["capped"]) for row in table] == [
        ("base", "original", 10, 0),
        ("pet_io", "original", 10, 0),
        ("pet_io", "audience", 30, 1),
        ("pet_io", "rewrite", 50, 0),
    ]


def test_stages_that_few_samples_reach_weigh_by_all_of_them() -> None:
    """Rows of a method add up to what one continuation costs on average."""
    short = answer("critic", 0, revised="x", stages=[stage()])
    long = answer("critic", 1, revised="y", stages=[stage(), stage("critic", n_in=30)])
    rows = cost_table([short, long])
    total = named(cost_measurements([short, long], "t"))["t/critic/tokens_in"].value
    assert sum(row["tokens_in"] for row in rows) == total == 25
    assert [row["answers"] for row in rows] == [2, 1]


def test_unknown_tokens_are_counted_not_zero() -> None:
    found = named(cost_measurements([answer(stages=[stage(n_in=None)])], "t"))
    m = found["t/base/tokens_in"]
    assert m.value is None and m.unscored.reasons == {NOT_STATED: 1}
    assert cost_table([answer(stages=[stage(n_in=None)])])[0]["tokens_in"] is None


def test_clean_originals_are_reported() -> None:
    kept = answer("pet_io", 0, revised="a", clean={"left": True})
    other = answer("pet_io", 1, revised="b", clean={"left": False})
    assert named(cost_measurements([kept, other], "t"))["t/pet_io/left_clean"].value == 0.5
    assert "t/base/left_clean" not in named(cost_measurements([answer()], "t"))


def test_perplexity_is_of_the_continuation_given_its_prompt() -> None:
    model = tiny_model("llama")
    texts = ["and went home.", "and the weather", ", as ever"]
    answers = [replace(answer(sample=i), text=text) for i, text in enumerate(texts)]
    answers.append(replace(answer(sample=3), text=" "))
    (m,) = perplexities(model, answers, "t")
    nats, count = 0.0, 0
    for text in texts:
        start = encode_plain(model, prompt().request)
        own = model.tokenizer(joined(text), add_special_tokens=False).input_ids
        (one,) = score(model, [(start, own)])
        nats, count = nats - one.sum, count + len(own)
    assert m.value == pytest.approx(math.exp(nats / count), rel=1e-6)
    assert m.unscored.reasons == {EMPTY: 1} and m.floor is not None and m.floor.value == 368
    assert joined(", as ever") == ", as ever" and joined(" and") == " and"


def test_a_window_that_a_prompt_fills_leaves_no_room() -> None:
    model = tiny_model("llama")
    model.max_context = len(encode_plain(model, prompt().request).ids)
    (m,) = perplexities(model, [answer()], "t")
    assert m.value is None and m.unscored.reasons == {NO_ROOM: 1}


def figure(name: str, value: float | None) -> Measurement:
    if value is None:
        return Measurement(name=name, value=None, unit="", n=0, status="not_measured", reason="x")
    return Measurement(name=name, value=value, unit="", n=3)


def test_a_method_is_beaten_by_what_is_nowhere_worse() -> None:
    found = [
        figure(f"t/{method}/{part}", value)
        for method, values in {
            "base": (0.5, 0.0, 10.0, 5.0, 5.0),
            "refuser": (0.0, 1.0, 10.0, 5.0, 5.0),
            "dear": (0.2, 0.0, 12.0, 50.0, 9.0),
            "worse": (0.2, 0.0, 12.0, 60.0, 9.0),
        }.items()
        for part, value in zip(
            ("s/emt", "refusal", "perplexity", "tokens_in", "tokens_out"), values, strict=True
        )
    ]
    methods = ("base", "refuser", "dear", "worse")
    rows = method_rows(
        found,
        {m: f"t/{m}/s" for m in methods},
        ("emt", "tf"),
        beside={m: f"t/{m}" for m in methods},
        scorer="s@1",
    )
    assert [row["beaten_by"] for row in rows] == ["", "", "", "dear"]
    assert rows[0]["tokens"] == 10 and rows[0]["emt_n"] == 3 and rows[0]["tf"] is None
    # Refusing everything beats nobody, for it refuses.
    assert all("refuser" not in row["beaten_by"] for row in rows)
    bare = [{**row, "perplexity": None} for row in rows]
    assert beaten_by(bare[3], bare, ("emt", "refusal", "perplexity", "tokens")) == ["dear"]


def test_names_are_fit_for_files_and_figures_have_plain_words() -> None:
    assert table_name("bias_a/b_gaps", "hf:x[y]") == "bias_a-b_gaps_hf-x-y"
    names = ["t/base/s/emt", "t/pet_io-minus-base/s/emt/reduction", "t/base/distinct/2", "t/odd"]
    words = {"emt": "worst", "distinct/2": "pairs"}
    found = labels_of([figure(name, 0.1) for name in names], words)
    assert found == {
        "t/base/s/emt": "worst, base",
        "t/pet_io-minus-base/s/emt/reduction": "relative reduction: worst, pet_io against base",
        "t/base/distinct/2": "pairs, base",
    }
    figures = [figure(name, 0.1) for name in names]
    assert next(m.name for m in headlines_first(figures, names[2:3])) == names[2]


def test_rewritten_texts_make_pairs_and_others_are_counted() -> None:
    from tests.behaviour.continuing.made import KIND, RUDE, words_tool

    def made(sample: int, before: str, after: str) -> Answer:
        facts = record("pet_io", sample, original=before, revised=after)
        return Answer.of_record(facts, prompt(), "pet_io")

    answers = [
        answer("base"),
        made(0, f"{RUDE} one", f"{KIND} one"),
        made(1, f"{KIND} one", f"{KIND} two"),
        made(2, f"{RUDE} same", f"{RUDE} same"),
    ]
    found = preference_pairs(answers, words_tool(), split="train")
    assert [row["margin"] for row in found.rows] == [pytest.approx(0.8)]
    table = {row["outcome"]: row["pairs"] for row in pairs_table(found)}
    assert table.pop("written") == 1 and sum(table.values()) == 2
