"""Angles between leading subspaces of prompts: exact where they are tiny, blind where promised."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import subspace as oracle
from theodolite.errors import DataError, NumericsError
from theodolite.mechanism.heads import subspace
from theodolite.mechanism.heads.subspace import Leading, principal_angles, subspace_scores

FEW = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 10_000)


def matrices(seed: int, prompts: int = 8, width: int = 12, heads: int = 3) -> tuple[Any, Any]:
    """Return states with a shared mean, and as many changed ones; float64."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(prompts, width)) + 2 * rng.normal(size=width)
    ablated = base + rng.normal(size=(heads, prompts, width)) * 10 ** rng.uniform(-4, 0)
    return torch.from_numpy(base), torch.from_numpy(ablated)


def with_left(left: Any, lengths: Any, seed: int, width: int = 12) -> torch.Tensor:
    """Return a matrix with these left singular vectors and singular values."""
    right, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, left.shape[1])))
    return torch.from_numpy(left * lengths @ right.T)


def orthogonal(seed: int, size: int) -> torch.Tensor:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return torch.from_numpy(q)


def same(
    found: dict[str, Any], wanted: dict[str, Any], names: tuple[str, ...] | None = None
) -> None:
    for name in names or tuple(wanted):
        assert np.allclose(found[name], wanted[name], rtol=1e-6, atol=1e-8), name


LEFT = ("angle_r1", "angle_r2", "angle_r4")


@settings(max_examples=4, deadline=None)
@given(seeds)
def test_scores_are_those_of_full_decompositions_in_fifty_digits(seed: int) -> None:
    base, ablated = matrices(seed, width=9, heads=1)
    found = subspace_scores(base, ablated)
    for head, rows in enumerate(ablated.numpy()):
        for rank in (1, 2, 4):
            wanted = oracle.angle_sum(base.numpy(), rows, rank)
            assert found[f"angle_r{rank}"][head] == pytest.approx(wanted, rel=1e-7, abs=1e-9)
        centred = oracle.angle_sum(base.numpy(), rows, 1, center=True)
        assert found["angle_r1_centered"][head] == pytest.approx(centred, rel=1e-7, abs=1e-9)
        right = oracle.angle_sum(base.numpy(), rows, 1, right=True)
        assert found["angle_r1_right"][head] == pytest.approx(right, rel=1e-7, abs=1e-9)


@FEW
@given(seeds, st.integers(2, 20), st.integers(1, 30))
def test_the_same_states_are_not_turned(seed: int, prompts: int, width: int) -> None:
    base, _ = matrices(seed, prompts, width)
    found = subspace_scores(base, base.expand(3, prompts, width))
    assert all(np.nan_to_num(angles).max() <= 1e-9 for angles in found.values())
    assert np.isfinite(found["angle_r1"]).all()


@FEW
@given(seeds, st.floats(-7, 0))
def test_a_known_rotation_is_recovered(seed: int, exponent: float) -> None:
    degrees = 10**exponent
    left = orthogonal(seed, 8).numpy()
    turn = math.radians(degrees)
    turned = left.copy()
    turned[:, 0] = math.cos(turn) * left[:, 0] + math.sin(turn) * left[:, -1]
    turned[:, -1] = math.cos(turn) * left[:, -1] - math.sin(turn) * left[:, 0]
    lengths = np.array([20.0, 9, 7, 6, 5, 4, 3, 2])
    base, after = with_left(left, lengths, seed), with_left(turned, lengths, seed + 1)
    found = subspace_scores(base, after[None])
    for name in LEFT:
        assert found[name][0] == pytest.approx(degrees, rel=0.01)


def test_the_arc_cosine_alone_would_not_see_a_small_angle() -> None:
    """The trap that the sine form is for: in the cosine's eyes, this rotation is none."""
    turn = math.radians(1e-7)
    first, second = np.eye(2)[:, :1], np.array([[math.cos(turn)], [math.sin(turn)]])
    assert math.degrees(math.acos(min(1.0, float((first.T @ second)[0, 0])))) == 0.0
    assert principal_angles(first, second)[0] == pytest.approx(1e-7, rel=1e-9)


@FEW
@given(seeds, st.floats(1e-3, 1e3), st.booleans())
def test_scaling_and_common_rotation_of_the_states_are_not_seen(
    seed: int, factor: float, flipped: bool
) -> None:
    base, ablated = matrices(seed)
    found = subspace_scores(base, ablated)
    scaled = ablated * (-factor if flipped else factor)
    same(subspace_scores(base, scaled), found)
    turned = subspace_scores(base, ablated @ orthogonal(seed, 12))
    same(turned, found, (*LEFT, "angle_r1_centered"))
    assert not np.allclose(turned["angle_r1_right"], found["angle_r1_right"], atol=1e-3)


@FEW
@given(seeds)
def test_the_order_of_prompts_does_not_count_if_it_is_the_same(seed: int) -> None:
    base, ablated = matrices(seed)
    order = np.random.default_rng(seed).permutation(len(base))
    found = subspace_scores(base, ablated)
    same(subspace_scores(base[order], ablated[:, order]), found)
    alone = subspace_scores(base, ablated[:, order])
    same(alone, found, ("angle_r1_right",))
    if (order != np.arange(len(base))).sum() > 2:
        assert not np.allclose(alone["angle_r2"], found["angle_r2"], atol=1e-3)


@FEW
@given(seeds)
def test_scores_are_symmetric_and_in_their_range(seed: int) -> None:
    base, ablated = matrices(seed, heads=1)
    found, back = subspace_scores(base, ablated), subspace_scores(ablated[0], base[None])
    same(found, back)
    for rank in (1, 2, 4):
        assert 0 <= found[f"angle_r{rank}"][0] <= 90 * rank + 1e-9


@FEW
@given(seeds, st.integers(2, 9))
def test_the_whole_space_is_never_turned(seed: int, prompts: int) -> None:
    base, ablated = matrices(seed, prompts)
    first, second = Leading.of(base[None], prompts), Leading.of(ablated, prompts)
    assert principal_angles(first.left, second.left).sum(-1).max() <= 1e-9


def test_opposite_subspaces_are_ninety_degrees_apart() -> None:
    left = np.eye(8)
    lengths = np.array([9.0, 8, 7, 6, 5, 4, 3, 2])
    base, after = with_left(left, lengths, 0), with_left(left[:, ::-1].copy(), lengths, 1)
    found = subspace_scores(base, after[None])
    assert [found[name][0] for name in LEFT] == pytest.approx([90, 180, 360])


@FEW
@given(seeds, st.sampled_from([1e-3, 1e-5, 1e-7]))
def test_inner_products_give_way_to_qr_where_they_lose_digits(seed: int, small: float) -> None:
    """Below a large first direction the turn of the second one is still seen."""
    left = orthogonal(seed, 8).numpy()
    turn = math.radians(1e-3)
    turned = left.copy()
    turned[:, 1] = math.cos(turn) * left[:, 1] + math.sin(turn) * left[:, -1]
    turned[:, -1] = math.cos(turn) * left[:, -1] - math.sin(turn) * left[:, 1]
    lengths = np.array([1.0, *(small * np.array([9, 7, 5, 4, 3, 2, 1]))])
    base, after = with_left(left, lengths, seed), with_left(turned, lengths, seed + 1)
    assert subspace_scores(base, after[None])["angle_r2"][0] == pytest.approx(1e-3, rel=1e-2)


@FEW
@given(seeds)
def test_both_ways_to_decompose_agree(seed: int) -> None:
    rows = matrices(seed)[1]
    (left, lengths), (other, others) = subspace._by_inner_products(rows), subspace._by_qr(rows)
    assert np.allclose(lengths, others, rtol=1e-6, atol=1e-7)
    assert principal_angles(left[:, :, :2], other[:, :, :2]).max() < 1e-8


@pytest.mark.parametrize("width", [3, 12])
def test_a_subspace_that_is_not_determined_has_no_angle(width: int) -> None:
    """Four times the same two prompts: ranks 1 and 2 exist, rank 4 does not."""
    two, _ = matrices(3, 2, width)
    base = two.repeat(4, 1)
    found = subspace_scores(base, torch.stack([base, base + 1]))
    assert np.isfinite(found["angle_r1"]).all() and np.isfinite(found["angle_r2"]).all()
    assert np.isnan(found["angle_r4"]).all()


def test_tied_singular_values_have_no_leading_vector() -> None:
    base, ablated = matrices(5)
    tied = with_left(orthogonal(1, 8).numpy(), np.array([5.0, 5, 4, 3, 2, 1, 0.5, 0.1]), 1)
    alone = subspace_scores(base, torch.stack([ablated[0], tied]))
    assert np.isnan(alone["angle_r1"]).tolist() == [False, True]
    assert np.isnan(alone["angle_r1_right"]).tolist() == [False, True]
    assert np.isfinite(alone["angle_r2"]).all()
    assert np.isnan(subspace_scores(tied, ablated)["angle_r1"]).all()


def test_equal_prompts_have_no_centred_direction() -> None:
    base, _ = matrices(0, 1)
    found = subspace_scores(base.repeat(4, 1), base.repeat(2, 4, 1))
    assert np.isnan(found["angle_r1_centered"]).all()
    assert found["angle_r1"].max() <= 1e-9


@pytest.mark.parametrize(
    ("prompts", "ranks"), [(2, {"1"}), (3, {"1"}), (4, {"1", "2"}), (16, {"1", "2", "4", "8"})]
)
def test_ranks_above_half_the_prompts_are_left_out(prompts: int, ranks: set[str]) -> None:
    found = subspace_scores(*matrices(0, prompts))
    wanted = {f"angle_r{rank}" for rank in ranks} | {"angle_r1_right"}
    assert set(found) == wanted | ({"angle_r1_centered"} if prompts >= 3 else set())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_any_float_dtype_is_computed_in_float64(dtype: torch.dtype) -> None:
    base, ablated = (rows.to(dtype) for rows in matrices(0))
    same(subspace_scores(base, ablated), subspace_scores(base.double(), ablated.double()))
    assert subspace_scores(base, base[None])["angle_r1"][0] <= 1e-9


def test_heads_taken_in_parts_score_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    base, ablated = matrices(0, heads=7)
    at_once = subspace_scores(base, ablated)
    monkeypatch.setattr(subspace, "_VALUES_AT_ONCE", 2 * base.numel())
    same(subspace_scores(base, ablated), at_once)
    assert len(subspace_scores(base, ablated)["angle_r1"]) == 7


def test_no_heads_give_no_angles() -> None:
    base, ablated = matrices(0)
    found = subspace_scores(base, ablated[:0])
    assert set(found) == set(subspace_scores(base, ablated))
    assert {angles.shape for angles in found.values()} == {(0,)}


def test_what_cannot_be_scored_is_refused() -> None:
    base, ablated = matrices(0)
    with pytest.raises(DataError, match="two prompts, not 1"):
        subspace_scores(base[:1], ablated[:, :1])
    with pytest.raises(DataError, match="do not fit"):
        subspace_scores(base, ablated[:, 1:])
    broken = ablated.clone()
    broken[1, 2, 3] = math.nan
    with pytest.raises(NumericsError, match="ablation 1 is"):
        subspace_scores(base, broken)
    with pytest.raises(NumericsError, match="intact"):
        subspace_scores(broken[1], ablated)
