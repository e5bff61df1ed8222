"""Interventions equal weight surgery and slow per-token hooks, wherever sharing put the token."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.engine.conftest import bare
from tests.oracles import engine_forward as oracle
from tests.oracles import engine_surgery as surgery
from theodolite.engine.capture import capture
from theodolite.engine.generate import end_tokens, generate
from theodolite.engine.interventions import (
    DirectionIntervention,
    HeadIntervention,
    Intervention,
    MlpIntervention,
    ResidualIntervention,
    SubspaceIntervention,
    apply,
)
from theodolite.engine.next_token import next_token
from theodolite.errors import CapabilityError, ConfigError
from theodolite.models.chat import Encoded


def last(logits: torch.Tensor) -> torch.Tensor:
    return logits[-1].log_softmax(-1)


def vector(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("operator", "factor"), [("zero", 0.0), ("scale", 0.25)])
def test_heads_equal_edited_output_columns(
    family: Any, prompts: list[Encoded], operator: str, factor: float
) -> None:
    heads = HeadIntervention(layer=1, heads=(0, 2), operator=operator, epsilon=0.25)
    with apply(family, heads):
        found = next_token(family, prompts[:6])
    with surgery.head_columns_scaled(family, 1, (0, 2), factor):
        for row, prompt in enumerate(prompts[:6]):
            expected = last(oracle.logits(family, prompt.ids))
            assert torch.allclose(found[row], expected[: found.shape[1]], atol=1e-4)


def projector(*directions: torch.Tensor) -> torch.Tensor:
    """Return the projection onto the span of directions, by least squares in float64."""
    wide = torch.stack(directions).double()
    return (torch.linalg.pinv(wide) @ wide).float()


def cases(model: Any) -> list[tuple[Intervention, Any]]:
    """Interventions, and what each does to one vector."""
    width = model.anatomy.d_model
    direction, offset = vector(width), vector(width, 1)
    unit = direction / direction.norm()
    z = vector(2 * model.anatomy.head_dim, 2).view(2, -1)

    def replaced_heads(value: torch.Tensor) -> torch.Tensor:
        heads = value.view(model.anatomy.n_heads, -1).clone()
        heads[1], heads[3] = z[0], z[1]
        return heads.flatten()

    line = {"layer": 1, "direction": direction}
    few = torch.stack([vector(width, seed) for seed in range(3, 9)])
    return [
        (DirectionIntervention(operator="ablate", **line), lambda x: x - (x @ unit) * unit),
        (
            DirectionIntervention(operator="add", alpha=2.0, site="attn_out", **line),
            lambda x: x + 2.0 * unit,
        ),
        (
            DirectionIntervention(operator="clamp", alpha=1.5, site="resid_pre", **line),
            lambda x: x + (1.5 - x @ unit) * unit,
        ),
        (
            DirectionIntervention(operator="subtract", alpha=2.0, **line),
            lambda x: x - 2.0 * unit,
        ),
        (
            DirectionIntervention(operator="affine", alpha=-0.7, share=0.5, **line),
            lambda x: x + 0.5 * (-0.7 - x @ unit) * unit,
        ),
        (
            DirectionIntervention(operator="bound", low=-0.1, high=0.2, **line),
            lambda x: x + ((x @ unit).clamp(-0.1, 0.2) - x @ unit) * unit,
        ),
        (
            DirectionIntervention(operator="bound", low=0.3, site="mlp_out", **line),
            lambda x: x + ((x @ unit).clamp(min=0.3) - x @ unit) * unit,
        ),
        (
            SubspaceIntervention(
                layer=1, operator="ablate", basis=torch.stack([direction, 3 * offset, -direction])
            ),
            lambda x: x - projector(direction, offset) @ x,
        ),
        (
            SubspaceIntervention(layer=2, basis=few, operator="affine", mean=offset, share=0.7),
            lambda x: x - 0.7 * projector(*few) @ (x - offset),
        ),
        (
            ResidualIntervention(layer=0, operator="add", vector=offset, alpha=0.5),
            lambda x: x + 0.5 * offset,
        ),
        (
            ResidualIntervention(layer=2, operator="replace", vector=offset, site="mlp_out"),
            lambda x: offset,
        ),
        (
            ResidualIntervention(layer=1, operator="interpolate", vector=offset, alpha=0.3),
            lambda x: 0.7 * x + 0.3 * offset,
        ),
        (MlpIntervention(layer=1, operator="zero"), torch.zeros_like),
        (MlpIntervention(layer=0, operator="scale", epsilon=3.0), lambda x: 3.0 * x),
        (HeadIntervention(layer=1, heads=(1, 3), operator="replace", vector=z), replaced_heads),
    ]


PLACES: list[tuple[Any, Any]] = [
    ("all", lambda place, length: True),
    ("prompt_last", lambda place, length: place == length - 1),
    ("prompt", lambda place, length: place < length),
    ((2, -3), lambda place, length: place in (2, length - 3)),
]


@pytest.mark.parametrize("case", range(15))
@pytest.mark.parametrize("place", range(len(PLACES)))
def test_operators_at_positions_equal_the_slow_hook(
    llama: Any, prompts: list[Encoded], case: int, place: int
) -> None:
    intervention, effect = cases(llama)[case]
    positions, chosen = PLACES[place]
    placed = type(intervention)(**{**vars(intervention), "positions": positions})
    with apply(llama, placed):
        found = next_token(llama, prompts, batch_tokens=200)
    for row, prompt in enumerate(prompts):
        length = len(prompt.ids)

        def change(x: torch.Tensor, at: int, length: int = length) -> torch.Tensor:
            return effect(x) if chosen(at, length) else x

        expected = surgery.changed_logits(llama, prompt.ids, placed.layer, placed.at, change)
        assert torch.allclose(found[row], last(expected), atol=1e-4)


@pytest.mark.parametrize(("alpha", "exact"), [(0.0, "nothing"), (1.0, "replace")])
def test_interpolation_ends_in_identity_and_replacement(
    llama: Any, prompts: list[Encoded], alpha: float, exact: str
) -> None:
    line = {"layer": 1, "vector": vector(llama.anatomy.d_model), "positions": "prompt_last"}
    ends = {"replace": [ResidualIntervention(operator="replace", **line)], "nothing": []}
    with apply(llama, *ends[exact]):
        expected = next_token(llama, prompts[:4])
    with apply(llama, ResidualIntervention(operator="interpolate", alpha=alpha, **line)):
        assert torch.allclose(next_token(llama, prompts[:4]), expected, atol=1e-5)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", "prompt_last", (3, -2)])
def test_generation_keeps_positions(llama: Any, prompts: list[Encoded], positions: Any) -> None:
    width = llama.anatomy.d_model
    steer = ResidualIntervention(
        layer=1, operator="add", vector=3.0 * vector(width), positions=positions
    )
    chosen = {
        "all": lambda place, n: True,
        "prompt": lambda place, n: place < n,
        "generated": lambda place, n: place >= n,
        "prompt_last": lambda place, n: place == n - 1,
        (3, -2): lambda place, n: place in (3, n - 2),
    }[positions]
    with apply(llama, steer):
        answers = generate(llama, prompts[:6], max_new_tokens=6)
    for answer, prompt in zip(answers, prompts):
        n, written = len(prompt.ids), []
        while len(written) < len(answer.token_ids):
            logits = surgery.changed_logits(
                llama,
                [*prompt.ids, *written],
                1,
                "resid_post",
                lambda x, at, n=n: x + 3.0 * vector(width) if chosen(at, n) else x,
            )
            written.append(int(logits[-1].argmax()))
        assert tuple(written) == answer.token_ids
        assert answer.finish == ("stop" if written[-1] in end_tokens(llama) else "length")


def test_capture_sees_the_change_and_contexts_nest(llama: Any, prompts: list[Encoded]) -> None:
    direction = vector(llama.anatomy.d_model)
    unit = direction / direction.norm()
    ablate = DirectionIntervention(layer=1, direction=direction, operator="ablate")
    push = DirectionIntervention(layer=1, direction=direction, operator="add", alpha=2.0)
    before = capture(llama, prompts).get("resid_post")
    with apply(llama, ablate):
        inside = capture(llama, prompts).get("resid_post", layer=1)
        assert (inside @ unit).abs().max() < 1e-5
        with apply(llama, push):
            assert llama.interventions == (ablate, push)
            both = capture(llama, prompts).get("resid_post", layer=1)
            assert torch.allclose(both @ unit, torch.tensor(2.0), atol=1e-5)
        assert llama.interventions == (ablate,)
    assert torch.equal(capture(llama, prompts).get("resid_post"), before)


def hooks(model: Any) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for module in model.module.modules()
    )


def test_everything_is_undone_under_exceptions(llama: Any, prompts: list[Encoded]) -> None:
    before = next_token(llama, prompts)
    count = hooks(llama)
    with pytest.raises(KeyError), apply(llama, MlpIntervention(layer=0, operator="zero")):
        assert hooks(llama) > count
        raise KeyError
    wrong = MlpIntervention(layer=99, operator="zero")
    good = MlpIntervention(layer=0, operator="zero")
    with pytest.raises(ConfigError, match="layer is 99"), apply(llama, good, wrong):
        pass
    assert hooks(llama) == count
    assert llama.interventions == ()
    assert torch.equal(next_token(llama, prompts), before)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"operator": "ablat"}, "Did you mean 'ablate'"),
        ({"operator": "ablate", "site": "head_z"}, "site is 'head_z'"),
        ({"operator": "ablate", "positions": "prompts"}, "Did you mean 'prompt'"),
        ({"operator": "ablate", "direction": torch.ones(3)}, r"direction has shape \(3,\)"),
        ({"operator": "ablate", "direction": torch.zeros(32)}, "zero vector"),
        ({"operator": "ablate", "direction": torch.full((32,), torch.nan)}, "zero vector|finite"),
        ({"operator": "add", "alpha": float("nan")}, "alpha is nan"),
        ({"operator": "ablate", "share": float("inf")}, "share is inf"),
        ({"operator": "subtract", "share": 0.5}, "share does not belong"),
        ({"operator": "bound"}, "needs low or high"),
        ({"operator": "bound", "low": 1.0, "high": 0.0}, "above high"),
        ({"operator": "clamp", "high": 1.0}, "takes neither"),
    ],
)
def test_what_does_not_fit_is_refused(llama: Any, fields: dict[str, Any], message: str) -> None:
    wrong = DirectionIntervention(**{"layer": 0, "direction": torch.ones(32), **fields})
    with pytest.raises(ConfigError, match=message), apply(llama, wrong):
        pass


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"basis": torch.ones(32)}, r"basis has shape \(32,\)"),
        ({"basis": torch.ones(0, 32)}, r"basis has shape \(0, 32\)"),
        ({"basis": torch.eye(32)[:2] * torch.tensor([[1.0], [0.0]])}, "zero vector"),
        ({"operator": "affine"}, "mean has shape None"),
        ({"mean": torch.ones(32)}, "mean does not belong"),
        ({"share": float("nan")}, "share is nan"),
    ],
)
def test_a_subspace_that_does_not_fit_is_refused(
    llama: Any, fields: dict[str, Any], message: str
) -> None:
    wrong = {"layer": 0, "operator": "ablate", "basis": torch.eye(32)[:2], **fields}
    with pytest.raises(ConfigError, match=message), apply(llama, SubspaceIntervention(**wrong)):
        pass


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shares_of_nothing_change_no_bit_and_ablating_twice_is_ablating_once(dtype: Any) -> None:
    value = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0)).to(dtype)
    line = {"layer": 0, "direction": vector(32)}
    for nothing in (
        DirectionIntervention(operator="ablate", share=0.0, **line),
        DirectionIntervention(operator="add", alpha=0.0, **line),
        DirectionIntervention(operator="subtract", alpha=0.0, **line),
        DirectionIntervention(operator="bound", low=-1e9, **line),
    ):
        assert torch.equal(nothing.lines(value), value)
    ablate = DirectionIntervention(operator="ablate", **line).lines
    once = ablate(value)
    # In bfloat16 what is left of the component is rounding, of the size of single coordinates.
    rounding = 1e-6 if dtype == torch.float32 else 2e-2
    assert torch.allclose(ablate(once).float(), once.float(), atol=rounding)
    assert (once.double() @ ablate.units[0]).abs().max() < rounding


def test_a_bare_forward_knows_no_prompt(llama: Any) -> None:
    last_only = MlpIntervention(layer=0, operator="zero", positions="prompt_last")
    with apply(llama, last_only), pytest.raises(CapabilityError, match="not started by the engine"):
        llama.module(input_ids=torch.tensor([[3, 4]]))


def test_keys_follow_content() -> None:
    one = DirectionIntervention(layer=1, direction=torch.ones(4), operator="ablate")
    same = DirectionIntervention(layer=1, direction=torch.ones(4), operator="ablate")
    other = DirectionIntervention(layer=1, direction=2 * torch.ones(4), operator="ablate")
    assert one.key == same.key != other.key
    assert bare([5, 6, 7]).key == bare([5, 6, 7]).key


def test_no_positions_at_all_are_refused(llama: Any) -> None:
    nothing = MlpIntervention(layer=0, operator="zero", positions=())
    with pytest.raises(ConfigError, match="positions is empty"), apply(llama, nothing):
        pass
