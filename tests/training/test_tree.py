"""One tree for all answers of a pass: the same numbers, shared beginnings once, no leaks."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.tiny import tiny_model
from tests.oracles.training import row_logprobs
from tests.training.made_groups import made_groups
from theodolite.training import tree as module
from theodolite.training.batches import ranked
from theodolite.training.examples import Example, encode_rows
from theodolite.training.preference_rows import as_order, preference_rows
from theodolite.training.rows import TrainingRow
from theodolite.training.tree import answer_sums, grows_exactly, model_inputs, tree

FAMILIES = ("llama", "gpt2", "qwen2", "qwen3", "olmo2", "gemma")
tokens = st.lists(st.integers(0, 3), min_size=1, max_size=5)


def example(prompt: list[int], answers: list[list[int]]) -> Example:
    row = TrainingRow(
        id="r", goal_id="r", split="train", label="benign", style="plain", source="s", text="x",
        ranked=("a", "b"),
    )  # fmt: skip
    return Example(row, tuple(prompt), (), ranked=tuple(map(tuple, answers)))


@given(rows=st.lists(st.tuples(tokens, st.lists(tokens, min_size=2, max_size=4)), max_size=4))
@settings(max_examples=150, deadline=None)
def test_every_answer_is_a_path_of_the_tree(rows: list[tuple[list[int], list[list[int]]]]) -> None:
    examples = [example(*row) for row in rows]
    if not examples:
        return
    found = tree(examples, 0)
    ids, depths = found["input_ids"][0], found["position_ids"][0]
    seen = found["attention_mask"][0, 0] == 0
    paths = iter(found["paths"].tolist())
    for prompt, answers in rows:
        for answer in answers:
            path = [place for place in next(paths) if place >= 0]
            assert [int(found["targets"][i]) for i in path] == answer
            for i, asked in enumerate(path):
                parent = int(found["parents"][asked])
                own = [int(j) for j in seen[parent].nonzero()[:, 0]]
                # What a place sees is the very sequence before the token, and nothing else.
                assert [int(ids[j]) for j in own] == [*prompt, *answer[:i]]
                assert [int(depths[j]) for j in own] == list(range(len(own)))
    beginnings = {
        tuple([*p, *a][: i + 1]) for p, every in rows for a in every for i in range(len(p + a) - 1)
    }
    assert len(ids) == len(beginnings)  # each once


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tree_gives_the_values_of_single_rows(family: str) -> None:
    model = tiny_model(family)
    rows = preference_rows(made_groups(), "listwise")
    rows += [as_order(row) for row in preference_rows(made_groups(), "conditional")]
    examples = encode_rows(model, rows, "listwise")[:6]
    assert grows_exactly(model.module, examples)
    batch = tree(examples, 0)
    with torch.no_grad():
        logits = model.module(**model_inputs(batch, model.dtype), use_cache=False).logits[0]
    picked = logits[batch["parents"]].log_softmax(-1)
    values = answer_sums(picked.gather(1, batch["targets"][:, None])[:, 0], batch["paths"])
    wanted = [
        float(row_logprobs(model.module, e.prompt, answer).sum())
        for e in examples
        for answer in e.ranked
    ]
    assert values.tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-3)
    width = ranked(examples, 0)["input_ids"]
    assert batch["input_ids"].shape[1] < 0.6 * width.numel()


def test_a_window_shorter_than_a_row_is_found_out() -> None:
    model = tiny_model("mistral")
    window = model.module.config.sliding_window
    examples = encode_rows(model, preference_rows(made_groups(), "listwise"), "listwise")
    assert window < max(map(len, examples))
    assert not grows_exactly(model.module, examples)
    assert grows_exactly(model.module, [example([1, 2], [[3, 4], [5]])])


def test_a_model_that_lets_answers_see_each_other_is_found_out() -> None:
    model = tiny_model("llama")
    examples = encode_rows(model, preference_rows(made_groups(), "listwise"), "listwise")
    forward = model.module.forward

    def leaks(*args: Any, attention_mask: Any = None, **more: Any) -> Any:
        if attention_mask is not None and attention_mask.ndim == 4:
            attention_mask = None
        return forward(*args, attention_mask=attention_mask, **more)

    def refuses(*args: Any, attention_mask: Any = None, **more: Any) -> Any:
        if attention_mask is not None and attention_mask.ndim == 4:
            raise ValueError("no such mask")
        return forward(*args, attention_mask=attention_mask, **more)

    assert grows_exactly(model.module, examples)
    for wrong in (leaks, refuses):
        model.module.forward = wrong
        assert not grows_exactly(model.module, examples)


def test_a_very_large_pass_stays_in_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    dice = random.Random(0)
    examples = [example([i], [[dice.randrange(9) for _ in range(9)]] * 2) for i in range(4)]
    assert "paths" in tree(examples, 0)
    monkeypatch.setattr(module, "MOST_TOKENS", 20)
    assert "paths" not in tree(examples, 0) and "labels" in tree(examples, 0)
