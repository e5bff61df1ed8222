"""Answers do not depend on what they were written beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from theodolite.engine.decoding.rules import DecodingRule, uniforms
from theodolite.engine.generate import end_tokens, generate
from theodolite.engine.next_token import next_token
from theodolite.engine.score import score
from theodolite.engine.writing import Writer
from theodolite.errors import ConfigError, DataError, NumericsError
from theodolite.models.chat import Encoded
from theodolite.runs.journal import Journal

SAMPLED: dict[str, Any] = {"max_new_tokens": 10, "temperature": 0.9, "top_p": 0.95, "top_k": 40}


def test_greedy_equals_hugging_face(llama: Any, prompts: list[Encoded]) -> None:
    for prompt, answer in zip(prompts, generate(llama, prompts, max_new_tokens=20)):
        ids = torch.tensor([prompt.ids])
        expected = llama.module.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False
        )
        assert answer.token_ids == tuple(expected[0, ids.shape[1] :].tolist())
        assert answer.prompt_tokens == len(prompt.ids)
        assert (answer.token_ids[-1] in end_tokens(llama)) == (answer.finish == "stop")


def test_samples_do_not_depend_on_batch_or_order(llama: Any, prompts: list[Encoded]) -> None:
    whole = generate(llama, prompts, n=3, seed=5, **SAMPLED)
    one = generate(llama, prompts[3:4], n=2, seed=5, batch_tokens=32, **SAMPLED)
    assert [(c.prompt_id, c.sample) for c in whole[:4]] == [
        ("p0", 0),
        ("p0", 1),
        ("p0", 2),
        ("p1", 0),
    ]
    for rows in (1, 2, 7, 64):
        other = generate(llama, prompts[::-1], n=3, seed=5, batch_rows=rows, **SAMPLED)
        keyed = {(c.prompt_id, c.sample): c for c in other}
        assert all(keyed[c.prompt_id, c.sample] == c for c in whole)
    assert one == whole[9:11]
    assert len({c.token_ids for c in whole[:3]}) == 3
    assert generate(llama, prompts[:2], seed=6, **SAMPLED) != [whole[0], whole[3]]


def test_equal_prompts_without_ids_are_sampled_apart(llama: Any) -> None:
    same = [bare([5, 6, 7, 8])] * 2
    first, second = generate(llama, same, **SAMPLED)
    assert first.token_ids != second.token_ids
    greedy = generate(llama, same, max_new_tokens=5, n=2)
    assert [c.sample for c in greedy] == [0, 1, 0, 1]
    assert len({c.token_ids for c in greedy}) == 1


def test_stop_strings_end_the_text(llama: Any, prompts: list[Encoded]) -> None:
    free = generate(llama, prompts, max_new_tokens=30)
    target = next(c for c in free if len(c.text) > 12 and c.finish == "length")
    stop = target.text[6:8]
    stopped = generate(llama, prompts, max_new_tokens=30, stop=[stop, "never appears"])
    for before, after in zip(free, stopped):
        if stop in before.text:
            assert after.text == before.text[: before.text.index(stop)]
            assert after.finish == "stop"
            assert after.token_ids == before.token_ids[: len(after.token_ids)]
        else:
            assert after == before
    assert any(stop in c.text for c in free)


def test_the_context_ends_an_answer(llama: Any) -> None:
    long = bare(torch.randint(2, 300, (509,), generator=torch.Generator().manual_seed(1)).tolist())
    short = bare([9, 8, 7])
    answers = generate(llama, [long, short], max_new_tokens=9)
    assert len(answers[0].token_ids) <= 3
    assert answers[1] == generate(llama, [bare([4]), short], max_new_tokens=9)[1]
    with pytest.raises(DataError, match="leaves no room"):
        generate(llama, [bare([3] * 512)], max_new_tokens=1)


def test_finished_units_are_not_written_again(
    llama: Any, prompts: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"n": 2, "seed": 1, "batch_rows": 4, **SAMPLED}
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = generate(llama, prompts, journal=journal, **asked)
        units = len(journal)
        monkeypatch.setattr(Writer, "__call__", lambda *_: 1 / 0)
        assert generate(llama, prompts, journal=journal, **asked) == first
        with pytest.raises(ZeroDivisionError):
            generate(llama, prompts, journal=journal, **{**asked, "seed": 2})
    assert units > 1


def test_options_are_checked(llama: Any) -> None:
    for wrong in ({"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"n": 0}, {"stop": [""]}):
        with pytest.raises(ConfigError):
            generate(llama, ["hello"], **{"max_new_tokens": 2, **wrong})


@pytest.mark.parametrize(("part", "where"), [("block", "layer 1"), ("norm", "final norm or the")])
def test_nan_is_an_error_that_names_layer_and_prompt(
    llama: Any, prompts: list[Encoded], part: str, where: str
) -> None:
    anatomy = llama.anatomy
    module = anatomy.final_norm if part == "norm" else anatomy.blocks[1].input_layernorm
    saved = module.weight.clone()
    module.weight[0] = torch.nan
    try:
        with pytest.raises(NumericsError, match=f"{where}.*prompt 'p"):
            generate(llama, prompts, max_new_tokens=2)
        with pytest.raises(NumericsError, match=f"{where}.*prompt 'p"):
            next_token(llama, prompts)
        with pytest.raises(NumericsError, match=f"{where}.*prompt 'p"):
            score(llama, [(prompt, [5, 6]) for prompt in prompts])
    finally:
        module.weight.copy_(saved)


class TestRules:
    """Sampling keeps exactly the tokens its options allow, in their proportions."""

    def test_proportions(self) -> None:
        probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
        logits = probabilities.log().expand(20000, 4)
        uniform = uniforms(3, 20000)

        def shares(rule: DecodingRule) -> torch.Tensor:
            return torch.bincount(rule.choose(logits, uniform), minlength=4) / 20000

        assert torch.allclose(shares(DecodingRule(1.0)), probabilities, atol=0.015)
        kept = torch.tensor([0.625, 0.375, 0, 0])
        assert torch.allclose(shares(DecodingRule(1.0, top_k=2)), kept, atol=0.015)
        assert torch.allclose(shares(DecodingRule(1.0, top_p=0.75)), kept, atol=0.015)
        squared = probabilities**2 / (probabilities**2).sum()
        assert torch.allclose(shares(DecodingRule(0.5)), squared, atol=0.015)
        assert shares(DecodingRule(1.0, top_p=0.3)).tolist() == [1, 0, 0, 0]

    def test_a_wide_nucleus_equals_the_full_sort(self) -> None:
        logits = 0.3 * torch.randn(5, 3000, generator=torch.Generator().manual_seed(0))
        order = logits.sort(dim=-1, descending=True)
        mass = order.values.softmax(-1).double().cumsum(-1)
        for row in range(5):
            count = int((mass[row] < 0.9).sum()) + 1
            allowed = set(order.indices[row, :count].tolist())
            rule = DecodingRule(1.0, top_p=0.9)
            chosen = rule.choose(logits[row].expand(4000, -1), uniforms(row, 4000))
            assert set(chosen.tolist()) <= allowed

    def test_greedy_needs_no_numbers(self) -> None:
        logits = torch.tensor([[0.0, 2.0, 1.0]])
        assert DecodingRule().choose(logits, None).tolist() == [1]
        assert DecodingRule(1.0, top_k=1).greedy

    def test_no_temperature_is_too_low(self) -> None:
        logits = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
        cold = DecodingRule(1e-42).choose(logits, uniforms(0, 8))
        assert torch.equal(cold, logits.argmax(-1))

    def test_rounding_changes_hardly_any_choice(self) -> None:
        draw = torch.Generator().manual_seed(0)
        rule = DecodingRule(1.0)
        changed = 0
        for step in range(20):
            logits = 3 * torch.randn(64, 30_000, generator=draw)
            near = logits + 1e-5 * torch.randn(logits.shape, generator=draw)
            numbers = uniforms(step, 64)
            changed += int((rule.choose(logits, numbers) != rule.choose(near, numbers)).sum())
        assert changed <= 1  # of 1,280; one number per choice, inverted, changes about ten


def test_one_stop_string_may_be_given_bare(llama: Any, prompts: list[Encoded]) -> None:
    target = next(c for c in generate(llama, prompts, max_new_tokens=30) if len(c.text) > 12)
    stop = target.text[6:9]
    bare_one = generate(llama, prompts, max_new_tokens=30, stop=stop)
    assert bare_one == generate(llama, prompts, max_new_tokens=30, stop=[stop])


def test_a_special_token_can_be_a_stop_string(llama: Any, prompts: list[Encoded]) -> None:
    asked: dict[str, Any] = {"max_new_tokens": 60, "temperature": 3.0, "n": 20}
    free = generate(llama, prompts[:2], **asked)
    stopped = generate(llama, prompts[:2], stop=["<|start|>"], **asked)
    assert any(0 in c.token_ids for c in free)  # its text does not show it
    for before, after in zip(free, stopped):
        if 0 in before.token_ids:
            end = before.token_ids.index(0) + 1
            assert (after.token_ids, after.finish) == (before.token_ids[:end], "stop")
        else:
            assert after == before
