"""Scores of completions equal one pair at a time, whatever they share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from tests.oracles import engine_forward as oracle
from theodolite.engine.interventions import MlpIntervention, ResidualIntervention, apply
from theodolite.engine.score import score
from theodolite.errors import DataError
from theodolite.models.chat import Encoded


def test_scores_equal_one_pair_at_a_time(family: Any, prompts: list[Encoded]) -> None:
    answers = [[7, 8, 9, 10, 11], [7, 8, 12], [40], [7, 8, 9]]
    pairs = [(prompt, answer) for prompt in prompts[:7] for answer in answers]
    for (prompt, answer), found in zip(pairs, score(family, pairs, batch_tokens=150)):
        expected = oracle.logprobs(family, prompt.ids, answer).tolist()
        assert found.logprobs == pytest.approx(expected, abs=2e-4)
        assert found.token_ids == tuple(answer)
        assert found.sum == pytest.approx(sum(expected), abs=1e-3)
        assert found.mean == pytest.approx(sum(expected) / len(expected), abs=1e-3)


def test_text_is_tokenised_as_a_continuation(llama: Any) -> None:
    (found,) = score(llama, [("How do I bake bread?", "The boat")])
    tokens = llama.tokenizer("The boat", add_special_tokens=False)["input_ids"]
    assert found.token_ids == tuple(tokens)


def test_the_prompt_ends_where_the_completion_begins(llama: Any, prompts: list[Encoded]) -> None:
    pairs = [(prompts[0], [7, 8, 9]), (prompts[0], [7, 20])]
    plain = score(llama, pairs)
    with apply(llama, MlpIntervention(layer=1, operator="zero", positions="generated")):
        changed = score(llama, pairs)
    assert plain[0].logprobs[0] == changed[0].logprobs[0]
    assert plain[0].logprobs[1] != changed[0].logprobs[1]


def test_what_cannot_be_scored(llama: Any, prompts: list[Encoded]) -> None:
    with pytest.raises(DataError, match="Completion 1 is empty"):
        score(llama, [(prompts[0], [3]), (prompts[0], [])])
    with pytest.raises(DataError, match="reads at most 512"):
        score(llama, [(prompts[0], [3] * 600)])


@pytest.mark.parametrize("positions", ["prompt", "generated", "prompt_last", (-1,)])
def test_equal_texts_cut_at_different_places_are_scored_apart(llama: Any, positions: Any) -> None:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    steer = ResidualIntervention(layer=1, operator="add", vector=vector, positions=positions)
    pairs: list[Any] = [(bare([9, 8, 7, 6]), [11, 12, 13]), (bare([9, 8, 7, 6, 11]), [12, 13])]
    with apply(llama, steer):
        for pair, found in zip(pairs, score(llama, pairs)):
            assert found.logprobs == pytest.approx(score(llama, [pair])[0].logprobs, abs=1e-4)


@pytest.mark.parametrize(
    ("completion", "message"),
    [([5, 100_000], "token 100000"), ([-1], "token -1"), ("a\ud800", "unpaired surrogate")],
)
def test_a_completion_the_model_cannot_read_is_refused(
    llama: Any, completion: Any, message: str
) -> None:
    with pytest.raises(DataError, match=f"Completion 1 .*{message}"):
        score(llama, [("Hello", "you"), ("Hello", completion)])
