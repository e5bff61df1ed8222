"""A yes is a yes however it is written, and two logits give its share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.models.tiny import tiny_model
from theodolite.data.prompts import Prompt
from theodolite.engine import next_token
from theodolite.errors import ConfigError
from theodolite.judging.yes_no import p_yes, read_yes_no, yes_no_tokens, yes_share


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("Yes", True), ("yes.", True), (" YES\n", True), ("y", True), ('"Yes"', True),
        ("No", False), ("n", False), ("no!", False), ("**No.**", False),
        ("", None), ("maybe", None), ("yes and no", None), ("nope", None), ("yesterday", None),
    ],
)  # fmt: skip
def test_replies(reply: str, verdict: bool | None) -> None:
    assert read_yes_no(reply) is verdict


def test_the_share_is_the_softmax_of_two_logits() -> None:
    yes, no = np.array([[1.5], [-40.0]]), np.array([[0.25], [12.0]])
    expected = np.exp(yes) / (np.exp(yes) + np.exp(no))
    assert yes_share(yes, no) == pytest.approx(expected[:, 0], rel=1e-12)


def test_a_local_judge_is_read_at_its_first_token() -> None:
    model = tiny_model("llama")
    questions = [Prompt("a", text="Is it?"), Prompt("b", text="Does it turn away?")]
    yes, no = yes_no_tokens(model)
    assert set(yes).isdisjoint(no)
    found = next_token(model, questions).double()
    mass = [found[:, list(ids)].logsumexp(-1) for ids in (yes, no)]
    expected = torch.stack(mass).softmax(0)[0].numpy()
    assert p_yes(model, questions) == pytest.approx(expected, rel=1e-9)


def test_a_tokenizer_that_begins_both_alike_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr("theodolite.judging.first_words._ids", lambda model, text: [7])
    with pytest.raises(ConfigError, match="begin with the same token"):
        yes_no_tokens(model)
