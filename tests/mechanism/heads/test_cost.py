"""The cost of an ablation, against plain loops and closed cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.engine import apply
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.mechanism.heads.asr_conditions import INTACT, Condition
from theodolite.mechanism.heads.cost import ablation_cost, benign_requests
from theodolite.mechanism.heads.cost_result import CostResult
from theodolite.models.chat import encode_plain
from theodolite.runs.journal import Journal
from theodolite.runs.run import Run

ZERO = HeadAblation("zero")
HEADS = [(0, 1), (2, 3)]
ASKED = [
    Prompt(f"q{i}", text, label="benign") for i, text in enumerate(["Why?", "How do bees fly?"])
]


def cost(model: Any, groups: Any = None, **options: Any) -> CostResult:
    options = {"benign": ASKED, "random_groups": 2, "max_new_tokens": 4, "ablation": ZERO} | options
    return ablation_cost(model, {"two": HEADS} if groups is None else groups, **options)


def made(
    nats: Sequence[Sequence[float]],
    labels: Sequence[Sequence[str]],
    tokens: Sequence[int] = (10, 20, 30),
) -> CostResult:
    """Return a result with these numbers for intact, one group of two heads, random groups."""
    heads = ((0, 1), (1, 0))
    conditions = [Condition(INTACT, INTACT, ((),)), Condition("two", "group", (heads,))]
    for draw in range(len(nats) - 2):
        conditions.append(Condition(f"random 2/{draw + 1}", "random", (heads,)))
    count = len(labels[0])
    return CostResult(
        nats=np.array(nats, np.float64),
        tokens=np.array(tokens),
        labels=tuple(tuple(row) for row in labels),
        conditions=tuple(conditions),
        passage_ids=tuple(f"p{i}" for i in range(len(tokens))),
        prompt_ids=tuple(f"q{i}" for i in range(count)),
        clusters=tuple(f"q{i}" for i in range(count)),
        operator="zero",
        epsilon=0.0,
        target="v",
        unit="head",
        template="chat",
        max_new_tokens=4,
        model="tiny",
        dtype="float32",
        vocabulary=368,
        seed=0,
    )


def test_the_passages_are_many_plain_and_ours() -> None:
    passages = bundled("passages")
    assert len(passages) == 40 == len(set(passages.ids)) == len({p.request for p in passages})
    for passage in passages:
        assert passage.request.isascii() and 30 <= len(passage.request.split()) <= 60
        assert passage.label == "benign" and passage.source == "theodolite-passages"


def test_benign_requests_are_those_of_the_test_set() -> None:
    requests = benign_requests()
    assert len(requests) == 48
    assert {(p.label, p.split) for p in requests} == {("benign", "test")}


def test_perplexity_is_that_of_a_plain_loop() -> None:
    model = tiny_model()
    found = cost(model)
    for condition in found.conditions:
        group, heads = condition.name, condition.of(0)
        nats, tokens = 0.0, 0
        with apply(model, *ZERO.interventions(model.anatomy, heads)), torch.inference_mode():
            for passage in bundled("passages"):
                ids = torch.tensor([encode_plain(model, passage.request).ids])
                logprobs = model.module(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
                nats -= float(logprobs[:-1].gather(-1, ids[0, 1:, None]).double().sum())
                tokens += ids.shape[1] - 1
        assert found.perplexity(group).value == pytest.approx(math.exp(nats / tokens), rel=1e-5)
        assert int(found.tokens.sum()) == tokens
    assert found.perplexity_change("two").value != 0


def test_what_the_tokenizer_puts_around_a_text_is_not_scored() -> None:
    from tokenizers.processors import TemplateProcessing

    model = tiny_model()
    plain = cost(model, random_groups=0)
    ends = [("<|start|>", 0), ("<|end|>", 1)]
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|start|> $A <|end|>", special_tokens=ends
    )
    # Where a token opens the text, its own first token is scored too; what closes it never is.
    assert (cost(model, random_groups=0).tokens == plain.tokens + 1).all()


def test_an_ablation_that_changes_nothing_costs_nothing() -> None:
    found = cost(tiny_model(), ablation=HeadAblation("scale", epsilon=1.0))
    change = found.perplexity_change("two")
    assert change.value == pytest.approx(0.0, abs=1e-4)
    for rate in ("refused", "complied", "broken"):
        assert found.rate_change("two", rate).value == 0.0


def test_changes_are_weighed_by_tokens_and_paired_by_passage() -> None:
    labels = [["complied", "complied"]] * 2
    # Twice as many nats per token in every passage alike: the change has no spread.
    found = made([[10.0, 20.0, 30.0], [20.0, 40.0, 60.0]], labels)
    change = found.perplexity_change("two")
    assert change.value == pytest.approx(100 * (math.e - 1)) and change.low is None
    assert "equal" in (change.reason or "")
    # Only the longest passage suffers: half of all tokens.
    found = made([[10.0, 20.0, 30.0], [10.0, 20.0, 60.0]], labels)
    change = found.perplexity_change("two")
    assert change.value == pytest.approx(100 * (math.exp(0.5) - 1))
    assert change.n == 60 and change.n_clusters == 3
    assert change.low is not None and change.low < change.value < (change.high or 0)
    assert found.perplexity(INTACT).value == pytest.approx(math.e)
    assert found.perplexity(INTACT).floor.value == 368  # type: ignore[union-attr]


def test_rates_count_what_became_of_each_request() -> None:
    intact = ["complied"] * 6 + ["refused"] * 2
    two = ["complied"] * 3 + ["degenerate"] * 3 + ["refused"] * 2
    found = made([[1.0, 1.0, 1.0]] * 2, [intact, two])
    assert found.rate(INTACT, "refused").value == 0.25
    assert found.rate("two", "complied").value == 0.375
    assert found.rate("two", "broken").value == 0.375
    change = found.rate_change("two", "broken")
    assert change.value == 0.375 and change.floor.value == 0.0  # type: ignore[union-attr]
    assert found.rate_change("two", "refused").value == 0.0
    assert found.rate_over_random("two", "broken").status == "not_measured"
    quality = found.rate("two", "refused").judge, found.rate("two", "complied").judge
    assert quality[0].sensitivity == quality[1].specificity  # type: ignore[union-attr]
    assert found.rate("two", "broken").judge is None


def test_random_groups_stand_beside() -> None:
    labels = [["complied"] * 4, ["degenerate"] * 4, ["complied"] * 4]
    labels.append(["complied", "complied", "degenerate", "degenerate"])
    nats = [[10.0, 20.0, 30.0], [15.0, 31.0, 44.0], [11.0, 22.0, 33.0], [20.0, 40.0, 60.0]]
    found = made(nats, labels)
    over = found.perplexity_over_random("two")
    mean = (66 + 120) / 2
    assert over.value == pytest.approx(100 * (math.exp((90 - mean) / 60) - 1))
    assert "1 of 2 random groups" in (over.reason or "")
    assert found.rate_over_random("two", "broken").value == pytest.approx(1 - 0.25)
    names = {m.name for m in found.measurements()}
    assert not any("random " in name for name in names)
    assert "heads/cost/two/broken/over_random" in names


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ({"two": []}, "has no heads"),
        ({"intact": HEADS}, "intact"),
        ({"own": [HEADS, HEADS]}, "'own' has other heads for every prompt"),
        ([(0, 4)], "no head 0-4"),
        ([(3, 0)], "no head 3-0"),
        ([(la, h) for la in range(2) for h in range(4)], "4 are left"),
    ],
)
def test_groups_that_cannot_be_are_refused_before_anything_runs(groups: Any, says: str) -> None:
    model = tiny_model()
    model.anatomy.decoder.forward = None
    with pytest.raises(ConfigError, match=says):
        cost(model, groups)


def test_texts_that_cannot_be_read_are_named() -> None:
    model = tiny_model()
    with pytest.raises(DataError, match="no passages"):
        cost(model, passages=[])
    with pytest.raises(DataError, match="'short' has a single token"):
        cost(model, passages=[Prompt("short", "a")])
    with pytest.raises(DataError, match="no prompts"):
        cost(model, benign=[])


def test_it_resumes_saves_and_tells(tmp_path: Path) -> None:
    model = tiny_model()
    run = Run.create("explain", "tiny", out=tmp_path / "run")
    with Journal(tmp_path / "journal.jsonl") as journal:
        found = cost(model, journal=journal)
        done = len(journal)
        model.anatomy.decoder.forward = None  # whatever is computed again would fail
        again = cost(model, journal=journal)
        assert len(journal) == done
    assert np.array_equal(again.nats, found.nats) and again.labels == found.labels
    assert not model.interventions
    found.save(run)
    run.save_table("heads_cost", found.frame())
    loaded = CostResult.load(run)
    assert loaded.frame() == found.frame() == run.load_table("heads_cost")
    assert loaded.measurements() == found.measurements()
    assert loaded.conditions == found.conditions
    assert [row["condition"] for row in found.frame()] == list(found.names)
    assert [row["kind"] for row in found.frame()] == ["intact", "group", "random", "random"]
    assert found.frame()[1]["heads"] == "0-1 2-3"
    figure = found.figure()
    assert "2 benign requests" in figure.caption and len(figure.spec["data"]) >= 3
    assert {row["measurement"] for row in found.outcomes()} >= {"heads/cost/two/refused"}
    kept = (tmp_path / "run").rglob("*")
    assert not any(b"bees fly" in path.read_bytes() for path in kept if path.is_file())
