"""Perspectives by a scoring model: equal to one plain forward each, and what P.D. really is."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.tiny import tiny_model
from tests.oracles.debateqa import auroc, masked_label_ppl, target_sum
from theodolite.behaviour.debateqa.contexts import PAPER, PLAIN, REFERENCE, Contexts
from theodolite.behaviour.debateqa.perspectives import (
    Scores,
    Scoring,
    check_scoring,
    mismatched,
    score_perspectives,
)
from theodolite.behaviour.debateqa.separation import null_calibration
from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.debates import POV_AND_EXPLANATION, perspectives_of, read_debates
from theodolite.data.prompts import Prompt
from theodolite.errors import ConfigError, DataError

FAMILIES = ("llama", "gpt2", "qwen2")
VIEWS = (
    ("A park gives shade", "Trees cool a street, and people who walk there stay longer.", "for"),
    ("A park costs too much.", "Every tree has to be watered, cut and paid for.", "against"),
    ("It depends on the street", "Narrow streets have no room for any of this!", "other"),
)


def question(name: str, views: Sequence[tuple[str, str, str]] = VIEWS) -> Prompt:
    partial = [
        {"point_of_view": view, "explanation": f"{text} So say those of {name}.", "stance": stance}
        for view, text, stance in views
    ]
    return Prompt(
        name,
        text=f"Should {name} have a park?",
        label="debatable",
        meta={"partial_answers": partial},
    )


ROWS = [question(name) for name in ("Ayton", "Beeville", "Ceeham")]
ANSWERS = {
    "Ayton": "Some want shade. Others fear the cost.",
    "Beeville": "I do not know.",
    "Ceeham": "Yes, because trees cool a street.",
}


def forward(model: Any, context: Sequence[int], text: str) -> tuple[np.ndarray, list[int], int]:
    """Return the logits of one plain pass, its ids, and how many of them are context."""
    ids = [*context, *model.tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logits = model.module(input_ids=torch.tensor([ids])).logits[0]
    return logits.double().numpy(), ids, len(context)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", ["corrected", PAPER, REFERENCE])
def test_sums_are_those_of_one_forward_each(family: str, variant: str) -> None:
    model = tiny_model(family)
    scoring = Scoring(variant=variant, nulls=1)
    found = score_perspectives(model, ROWS, ANSWERS, scoring)
    alone, asked = Contexts(model, variant), Contexts(model)
    for row, gain in zip(found.pd, found.gains, strict=True):
        prompt = next(p for p in ROWS if p.id == row.question)
        view = perspectives_of(prompt)[row.index]
        own = alone.of(ANSWERS[row.question], 0).encoded.ids
        wanted = target_sum(*forward(model, own, view.target(POV_AND_EXPLANATION)))
        assert row.nll_sum == pytest.approx(wanted, rel=1e-4) and row.n_context == len(own)
        told = asked.of(ANSWERS[row.question], 0, question=prompt.request).encoded.ids
        bare = asked.of("", 0, question=prompt.request).encoded.ids
        assert gain.nll_sum == pytest.approx(
            target_sum(*forward(model, told, view.target())), rel=1e-4
        )
        assert gain.prior_sum == pytest.approx(
            target_sum(*forward(model, bare, view.target())), rel=1e-4
        )
        assert len(gain.null_sums) == 1 and gain.stance == view.stance


def test_the_reference_is_the_masked_label_arithmetic() -> None:
    model = tiny_model("llama")
    found = score_perspectives(model, ROWS, ANSWERS, Scoring(variant=REFERENCE))
    contexts = Contexts(model, REFERENCE)
    for row in found.pd:
        prompt = next(p for p in ROWS if p.id == row.question)
        ids = contexts.of(ANSWERS[row.question], 0).encoded.ids
        text = perspectives_of(prompt)[row.index].target(POV_AND_EXPLANATION)
        assert row.ppl_reference == pytest.approx(
            masked_label_ppl(*forward(model, ids, text)), rel=1e-5
        )
        power = row.n_tokens / (row.n_context + row.n_tokens - 1)
        assert row.ppl_reference == pytest.approx(row.ppl**power, rel=1e-5)


def test_a_uniform_model_has_the_closed_form() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.module.lm_head.weight.zero_()
    found = score_perspectives(model, ROWS, ANSWERS)
    size = model.module.lm_head.weight.shape[0]
    for row in found.pd:
        assert row.ppl == pytest.approx(size, rel=1e-5)
        power = row.n_tokens / (row.n_context + row.n_tokens - 1)
        assert row.ppl_reference == pytest.approx(size**power, rel=1e-5)
    assert all(row.gain == pytest.approx(0.0, abs=1e-6) for row in found.gains)


def test_order_and_batch_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model("llama")
    turned = [replace(p, meta={"partial_answers": p.meta["partial_answers"][::-1]}) for p in ROWS]
    first = score_perspectives(model, ROWS, ANSWERS)
    for rows in (ROWS[::-1], turned):
        other = score_perspectives(model, rows, ANSWERS)
        for mine, theirs in ((first.pd, other.pd), (first.gains, other.gains)):
            assert sorted(row.nll_sum for row in mine) == pytest.approx(
                sorted(row.nll_sum for row in theirs), rel=1e-4
            )

    monkeypatch.setattr(sys.modules["theodolite.engine.score"], "token_budget", lambda *_: 1)
    small = score_perspectives(model, ROWS, ANSWERS)
    for mine, theirs in ((first.pd, small.pd), (first.gains, small.gains)):
        assert [row.nll_sum for row in mine] == pytest.approx(
            [row.nll_sum for row in theirs], rel=1e-4
        )


def test_a_long_answer_is_cut_from_its_end_and_no_perspective_is() -> None:
    model = tiny_model("llama")
    long = {**ANSWERS, "Ayton": "Trees are tall. " * 400}
    found = score_perspectives(model, ROWS, long)
    cut = [row for row in found.pd if row.question == "Ayton"]
    assert found.truncated == {"Ayton"} and all(row.flags == ("truncated",) for row in cut)
    limit = model.max_context
    assert limit is not None
    assert limit - 4 <= max(row.n_context + row.n_tokens for row in cut) <= limit
    assert found.answer_tokens["Ayton"] > limit
    whole = score_perspectives(model, ROWS, ANSWERS)
    assert [r.n_tokens for r in found.pd] == [r.n_tokens for r in whole.pd]
    huge = question("Deeton", [("A view", "word " * 3 * limit, "for")])
    with pytest.raises(DataError, match="leave no room for any answer"):
        score_perspectives(model, [huge], {"Deeton": "Yes."})


def test_an_empty_answer_is_scored_and_rows_without_one_are_left_out() -> None:
    found = score_perspectives(tiny_model("llama"), ROWS, {"Ayton": ""})
    assert {row.question for row in found.pd} == {"Ayton"} and len(found.pd) == 3
    assert found.gains[0].null_sums == ()  # there is nobody to compare with
    assert found.gains[0].gain == pytest.approx(0.0, abs=1e-6)


def test_mismatched_answers_are_never_ones_own_and_serve_equally_often() -> None:
    names = {f"q{i}": f"q{i}" for i in range(9)}
    found = mismatched(names, 2, seed=3)
    assert all(name not in others and len(set(others)) == 2 for name, others in found.items())
    counts = [sum(name in others for others in found.values()) for name in names]
    assert counts == [2] * 9
    turned = dict(reversed(names.items()))
    assert mismatched(turned, 2, seed=3) == found != mismatched(names, 2, seed=4)
    assert mismatched({"q0": "q0"}, 2) == {"q0": []}


def test_an_answer_to_the_same_goal_is_no_mismatched_one() -> None:
    goals = {f"q{i}": f"g{i // 2}" for i in range(8)}
    for seed in range(5):
        found = mismatched(goals, 3, seed=seed)
        assert all(goals[one] != goals[name] for name, own in found.items() for one in own)
        assert {len(set(own)) for own in found.values()} == {3}
    assert mismatched(dict.fromkeys(goals, "g"), 2) == {name: [] for name in goals}


@pytest.mark.parametrize("answer", ["é€漢字" * 400, "🙂" * 300, "word " * 400])
def test_an_answer_is_cut_to_nothing_before_a_question_is_refused(answer: str) -> None:
    """The few bytes that are left of a letter can tokenise longer than they were."""
    model: Any = tiny_model("llama")
    contexts = Contexts(model)
    bare = len(contexts.of("", 0).encoded)
    for left in range(6):
        context = contexts.of(answer, model.max_context - bare - left)
        assert context.cut and bare <= len(context.encoded) <= bare + left
    with pytest.raises(DataError, match="leave no room for any answer"):
        contexts.of(answer, model.max_context - bare + 1)


def test_the_side_of_padding_does_not_count() -> None:
    left, right = tiny_model("llama"), tiny_model("llama")
    left.tokenizer.padding_side, right.tokenizer.padding_side = "left", "right"
    one, other = (score_perspectives(model, ROWS, ANSWERS) for model in (left, right))
    assert [row.nll_sum for row in one.gains] == [row.nll_sum for row in other.gains]
    assert [row.nll_sum for row in one.pd] == [row.nll_sum for row in other.pd]


def test_scorers_that_cannot_serve_are_refused() -> None:
    bare: Any = tiny_model("llama", template=None)
    with pytest.raises(ConfigError, match="no chat template") as error:
        score_perspectives(bare, ROWS, ANSWERS)
    assert "template=plain" in str(error.value.fix)
    assert score_perspectives(bare, ROWS, ANSWERS, Scoring(template=PLAIN)).pd
    for wrong in (
        Scoring(variant="v"),
        Scoring(target="t"),
        Scoring(template="t"),
        Scoring(nulls=-1),
    ):
        with pytest.raises(ConfigError):
            check_scoring(wrong)


FILLER = " The weather was mild that day, and nothing else of note was said by anyone."


def made_of_views(rows: Sequence[Prompt]) -> dict[str, str]:
    """Return for each question an answer that states every point of view on it."""
    return {row.id: "\n".join(v.point_of_view for v in perspectives_of(row)) for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_smollm2_gives_what_one_plain_forward_each_gives() -> None:
    from theodolite.models import open_model

    model: Any = open_model("smollm2", dtype="float32")
    rows = [
        replace(row, meta={"partial_answers": row.meta["partial_answers"][:5]})
        for row in list(bundled("debateqa").filter(label="debatable"))[:3]
    ]
    answers = made_of_views(rows)
    found = score_perspectives(model, rows, answers, Scoring(nulls=0)).pd
    contexts, views = Contexts(model), {row.id: perspectives_of(row) for row in rows}
    for row in found:
        ids = contexts.of(answers[row.question], 0).encoded.ids
        text = views[row.question][row.index].target(POV_AND_EXPLANATION)
        nats = target_sum(*forward(model, ids, text))
        assert row.ppl == pytest.approx(np.exp(nats / row.n_tokens), rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_mismatched_answer_in_twenty_counts_as_covered_by_smollm2() -> None:
    from theodolite.models import open_model

    model: Any = open_model("smollm2")
    rows = list(bundled("debateqa").filter(label="debatable"))
    gains = score_perspectives(model, rows, made_of_views(rows), Scoring(nulls=2)).gains
    found = null_calibration(gains)
    print("covered by mismatched answers", found.value, "of", found.n)
    assert found.n >= 400 and found.value == pytest.approx(0.05, abs=0.03)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_released_arithmetic_is_a_meter_of_length() -> None:
    from theodolite.models import open_model

    model: Any = open_model("smollm2")
    rows = list(bundled("debateqa").filter(label="debatable"))[:3]
    shown = []
    for count in (0, 3, 6, 13, 26):
        answers = {row.id: "I do not know." + FILLER * count for row in rows}
        true, diluted = (
            score_perspectives(model, rows, answers, Scoring(variant, nulls=0)).pd
            for variant in ("corrected", REFERENCE)
        )
        values = [(r.n_context, r.ppl, d.ppl_reference) for r, d in zip(true, diluted, strict=True)]
        shown.append(np.mean(np.array(values, float), axis=0))
    print(np.round(shown, 2).tolist())
    true_pd, released = np.array(shown)[:, 1], np.array(shown)[:, 2]
    assert all(a > b for a, b in itertools.pairwise(released))
    assert np.abs(true_pd / true_pd[0] - 1).max() <= 0.10


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
@pytest.mark.parametrize(("target", "least"), [(POV_AND_EXPLANATION, 0.95), ("explanation", 0.80)])
def test_smollm2_tells_matched_views_from_others_on_official_claims(
    target: str, least: float
) -> None:
    from theodolite.models import open_model

    claims = list(read_debates(official("debateqa/debate_claims_debateqa_schema")))[:8]
    rows = [
        replace(c, meta={"partial_answers": c.meta["partial_answers"][:4]}, goal_id=c.id)
        for c in claims
    ]
    views = {row.id: [v.point_of_view for v in perspectives_of(row)] for row in rows}
    model: Any = open_model("smollm2")

    def scored(answers: dict[str, list[str]]) -> Scores:
        texts = {name: "\n".join(parts) for name, parts in answers.items()}
        return score_perspectives(model, rows, texts, Scoring(target=target, nulls=1))

    full = scored(views)
    half = scored({name: parts[:2] for name, parts in views.items()})
    matched = [row.gain or 0.0 for row in full.gains]
    others = [gain for row in full.gains for gain in row.null_gains]
    included = [row.gain or 0.0 for row in half.gains if row.index < 2]
    left_out = [row.gain or 0.0 for row in half.gains if row.index >= 2]
    print(target, "AUC", auroc(matched, others), "gain", np.mean(matched), np.mean(others))
    print("included", np.mean(included), "left out", np.mean(left_out), auroc(included, left_out))
    assert auroc(matched, others) >= least
    assert np.mean(included) > np.mean(left_out)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data are not at hand")
def test_the_reference_on_delivered_demo_answers_and_unrelated_targets() -> None:
    """The published test rows are not at hand, so targets are perspectives of other claims."""
    from theodolite.models import open_model

    lines = official("debateqa/debateqa_test_demo_answers").read_text().splitlines()[:20]
    answers = {str(row["id"]): str(row["generation"]) for row in map(json.loads, lines)}
    claims = read_debates(official("debateqa/debate_claims_debateqa_schema"))
    views_of = (claim.meta["partial_answers"] for claim in claims)
    targets = (views[:5] for views in views_of if len(views) >= 5)
    rows = [
        Prompt(name, text="unrelated", label="debatable", meta={"partial_answers": views})
        for name, views in zip(answers, targets, strict=False)
    ]
    model: Any = open_model("smollm2")
    found = score_perspectives(model, rows, answers, Scoring(REFERENCE, nulls=0)).pd
    contexts = Contexts(model, REFERENCE)
    views = {row.id: perspectives_of(row) for row in rows}
    assert len({row.question for row in found}) == 20 and len(found) == 100
    for row in found:
        ids = contexts.of(answers[row.question], 0).encoded.ids
        target = views[row.question][row.index].target(POV_AND_EXPLANATION)
        oracle = masked_label_ppl(*forward(model, ids, target))
        assert row.ppl_reference == pytest.approx(oracle, rel=1e-5)
        power = row.n_tokens / (row.n_context + row.n_tokens - 1)
        assert row.ppl_reference == pytest.approx(row.ppl**power, rel=1e-5)
    corrected, reference = ([getattr(r, part) for r in found] for part in ("ppl", "ppl_reference"))
    print("unrelated targets", len(found), np.mean(corrected), np.mean(reference))
