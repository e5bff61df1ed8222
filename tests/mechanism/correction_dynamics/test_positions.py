"""Readings along replies equal one whole forward per position, whatever shares a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.mechanism.correction_dynamics.made_replies import SHORT, made, opened
from tests.oracles import correction_dynamics as oracle
from theodolite.engine.interventions import MlpIntervention, apply
from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.mechanism.correction_dynamics import CorrectionDynamics, correction_dynamics
from theodolite.mechanism.correction_dynamics.kinds import QUANTITIES
from theodolite.mechanism.correction_dynamics.positions import quantities
from theodolite.mechanism.correction_dynamics.replies import encode_replies

LENGTH = 12
# Grouped queries, a sliding window in two of three blocks, and one in every block.
FAMILIES = ("llama", "gemma2", "mistral")


def followed(model: Any, rows: Any, base: Any = None, **options: Any) -> CorrectionDynamics:
    return correction_dynamics(model, rows, base, **{"length": LENGTH, "cuts": (0,)} | options)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_position_equals_a_forward_of_its_own(family: str) -> None:
    model, base, rows = opened(family), opened("qwen2"), made()
    found = followed(model, rows, base, batch_tokens=150)
    for row, one in enumerate(encode_replies(model, rows)):
        for t, truth in enumerate(one.reply[:LENGTH]):
            before = (*one.head, *one.reply[:t])
            mine, theirs = (oracle.distribution(m.module, before) for m in (model, base))
            for curves, said in ((found.model, mine), (found.base, theirs)):
                *expected, rank = oracle.position(said, truth, found.tokens.ids)
                got = [float(getattr(curves, name)[row, t]) for name in QUANTITIES]
                assert got[:3] == pytest.approx(expected, abs=1e-4)
                near = sum(abs(v - max(said[i] for i in found.tokens.ids)) < 1e-4 for v in said)
                assert abs(got[3] - rank) <= near - 1  # only a tie may change a rank
            assert found.kl is not None
            expected_kl = oracle.divergence(mine, theirs)
            assert found.kl[row, t] == pytest.approx(expected_kl, abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_does_not_diverge_from_itself(family: str) -> None:
    found = followed(opened(family), made(), opened(family))
    assert found.kl is not None and found.base is not None
    assert float(np.nanmax(np.abs(found.kl))) == 0.0
    assert np.array_equal(found.model.rank, found.base.rank, equal_nan=True)


def test_masses_are_probabilities_and_hold_no_token_twice() -> None:
    found = followed(opened("llama"), made(), length=60)
    for values in (found.model.refusal_mass, found.model.reply_probability):
        read = values[~np.isnan(values)]
        assert ((read >= 0) & (read <= 1)).all() and len(read)
    assert len(set(found.tokens.ids)) == len(found.tokens.ids)


def test_a_reply_that_ends_is_masked_not_zero() -> None:
    model, rows = opened("llama"), made()
    found = followed(model, rows, model, length=60)
    tokens = [min(len(one.reply), 60) for one in encode_replies(model, rows)]
    assert found.lengths.tolist() == tokens
    assert 0 < tokens[2] < 60 and rows[2].meta["reply"] == SHORT
    assert found.kl is not None
    for values in (found.kl, *(getattr(found.model, name) for name in QUANTITIES)):
        assert (~np.isnan(values)).sum(1).tolist() == tokens
        assert np.isnan(values[2, tokens[2] :]).all()


def test_batches_and_order_do_not_count() -> None:
    model, base, rows = opened("llama"), opened("qwen2"), made()
    one = followed(model, rows, base, batch_tokens=1)
    many = followed(model, rows[::-1], base, batch_tokens=4000)
    assert one.ids == many.ids[::-1] and one.kl is not None and many.kl is not None
    for name in (*QUANTITIES[:3], "gap"):
        first, second = getattr(one.model, name), getattr(many.model, name)[::-1]
        np.testing.assert_allclose(first, second, atol=1e-4)
    np.testing.assert_allclose(one.kl, many.kl[::-1], atol=1e-4)


def test_rows_of_one_request_with_equal_beginnings_keep_their_own_tokens() -> None:
    model = opened("llama")
    first, *_ = made()
    second = replace(first, id="other", meta={"reply": first.meta["reply"][:-4] + "dish."})
    found = followed(model, [first, second], length=400)
    for row, one in enumerate(encode_replies(model, [first, second])):
        t = len(one.reply) - 2
        said = oracle.distribution(model.module, (*one.head, *one.reply[:t]))
        expected = oracle.position(said, one.reply[t], found.tokens.ids)[:3]
        got = [float(getattr(found.model, name)[row, t]) for name in QUANTITIES[:3]]
        assert got == pytest.approx(expected, abs=1e-4)


def test_ranks_are_exact_where_logits_are_planted() -> None:
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0], [0.0, 9.0, 1.0, 2.0, 3.0]])
    found = quantities(logits.log_softmax(-1), torch.tensor([0, 3]), [2, 4])
    assert found[:, 3].tolist() == [2, 1]  # the best listed: token 2, then token 4
    assert found[:, 2].tolist() == pytest.approx([-2.0, 1.0], abs=1e-6)
    planted = torch.full((1, 5), -40.0)
    planted[0, 4] = 40.0
    found = quantities(planted.log_softmax(-1), torch.tensor([0]), [4])
    assert found[0].tolist() == pytest.approx([1.0, 0.0, 80.0, 0.0])


def test_interventions_that_act_on_what_is_written_act_on_the_reply() -> None:
    model = opened("llama")
    plain = followed(model, made(), cuts=(0, 3))
    with apply(model, MlpIntervention(layer=1, operator="zero", positions="generated")):
        changed = followed(model, made(), cuts=(0, 3))
    # The first token is what the head predicts, and nothing acts on the head.
    assert changed.model.log_odds[0, 0] == pytest.approx(plain.model.log_odds[0, 0], abs=1e-5)
    assert changed.model.log_odds[0, 1] != pytest.approx(plain.model.log_odds[0, 1], abs=1e-5)
    assert changed.model.gap[0, 1] != pytest.approx(plain.model.gap[0, 1], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length of 0 follows nothing"),
        ({"cuts": ()}, "cuts .none. cannot be used"),
        ({"cuts": (5, 5)}, "cuts 5, 5 cannot be used"),
        ({"cuts": (-1, 5)}, "cuts -1, 5 cannot be used"),
    ],
)
def test_places_that_cannot_be_read_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        followed(opened("llama"), made(), **options)


def test_rows_that_cannot_be_followed_are_refused() -> None:
    model, (row, *_) = opened("llama"), made()
    with pytest.raises(DataError, match="'harmful-0' has no reply to force"):
        followed(model, [replace(row, meta={})])
    with pytest.raises(DataError, match="'harmful-0' is labelled neither"):
        followed(model, [replace(row, label=None)])
    with pytest.raises(DataError, match="no reply to follow"):
        followed(model, [])
    with pytest.raises(DataError, match=r"'harmful-0' has .* tokens, and tiny-llama reads"):
        followed(model, [replace(row, meta={"reply": "moon " * 600})])


def test_a_base_that_reads_other_tokens_is_refused() -> None:
    model, other = opened("llama"), replace(opened("qwen2"))
    other.tokenizer = other.tokenizer.__class__(
        tokenizer_object=other.tokenizer.backend_tokenizer.__class__.from_str(
            other.tokenizer.backend_tokenizer.to_str()
        ),
        **{f"{kind}_token": "<|end|>" for kind in ("bos", "eos", "pad")},
    )
    other.tokenizer.add_tokens(["<|turn|>"])
    with pytest.raises(DataError, match="'tiny-llama' and 'tiny-qwen2' have different tokenizers"):
        followed(model, made(), other)
    short = replace(opened("qwen2"))
    short.max_context = 40
    with pytest.raises(DataError, match="tiny-qwen2 reads at most 40"):
        followed(model, made(), short)


def test_a_model_without_probabilities_is_refused() -> None:
    mute = replace(opened("llama"), capabilities=frozenset({"text"}))
    with pytest.raises(CapabilityError, match="log-probabilities"):
        followed(mute, made())
