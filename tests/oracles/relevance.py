"""Relevance by the rules as they are written: layer by layer, epsilon 0, no autograd.

For a Llama-like stack (RMSNorm, grouped queries, rotary positions, SiLU gate) in float64. Every
step takes the relevance of what a step computed and hands it to what it was computed from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Block:
    """What one block computed; axes (position, width), attention (head, position, position)."""

    h: Tensor
    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    rq: Tensor
    rk: Tensor
    scores: Tensor
    weights: Tensor
    z: Tensor
    attn: Tensor
    h1: Tensor
    x1: Tensor
    gate: Tensor
    act: Tensor
    up: Tensor
    product: Tensor
    mlp: Tensor


def rotation(module: Any, positions: int) -> Tensor:
    """Return the matrix that rotates a head at each position; axes (position, width, width)."""
    size = module.config.head_dim or (
        module.config.hidden_size // module.config.num_attention_heads
    )
    half = size // 2
    # Angles in single precision, as the family computes them.
    exponent = torch.arange(0, size, 2, dtype=torch.float32) / size
    speed = 1.0 / (module.config.rope_parameters["rope_theta"] ** exponent)
    angle = torch.arange(positions, dtype=torch.float32)[:, None] * speed
    cos, sin = angle.cos().double(), angle.sin().double()
    turn = torch.zeros(positions, size, size, dtype=torch.float64)
    for i in range(half):
        turn[:, i, i] = turn[:, half + i, half + i] = cos[:, i]
        turn[:, i, half + i] = -sin[:, i]
        turn[:, half + i, i] = sin[:, i]
    return turn


def forward(module: Any, ids: list[int], depth: int) -> tuple[list[Block], Tensor]:
    """Return what the first blocks computed, and the stream after them, (position, d_model)."""
    model, config = module.model, module.config
    heads, kv = config.num_attention_heads, config.num_key_value_heads
    h = model.embed_tokens.weight[ids].double()
    turn = rotation(module, len(ids))
    hidden = torch.ones(len(ids), len(ids)).triu(1).bool()
    blocks = []
    for layer in model.layers[:depth]:
        attention, mlp = layer.self_attn, layer.mlp
        x = normed(layer.input_layernorm, h)
        q, k, v = (
            (x @ projection.weight.double().T).view(len(ids), count, -1)
            for projection, count in (
                (attention.q_proj, heads),
                (attention.k_proj, kv),
                (attention.v_proj, kv),
            )
        )
        rq, rk = (torch.einsum("tij,thj->thi", turn, part) for part in (q, k))
        group = heads // kv
        scores = torch.stack(
            [rq[:, i] @ rk[:, i // group].T * q.shape[-1] ** -0.5 for i in range(heads)]
        )
        weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        z = torch.stack([weights[i] @ v[:, i // group] for i in range(heads)], dim=1)
        attn = z.flatten(1) @ attention.o_proj.weight.double().T
        h1 = h + attn
        x1 = normed(layer.post_attention_layernorm, h1)
        gate, up = (x1 @ p.weight.double().T for p in (mlp.gate_proj, mlp.up_proj))
        act = gate * gate.sigmoid()
        out = (act * up) @ mlp.down_proj.weight.double().T
        blocks.append(
            Block(
                h,
                x,
                q,
                k,
                v,
                rq,
                rk,
                scores,
                weights,
                z,
                attn,
                h1,
                x1,
                gate,
                act,
                up,
                act * up,
                out,
            )
        )
        h = h1 + out
    return blocks, h


def normed(norm: Any, h: Tensor) -> Tensor:
    """Return the stream after an RMSNorm, which this family computes in single precision."""
    single = h.float()
    scale = (single.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    return (single * scale).double() * norm.weight.double()


def linear(weight: Tensor, x: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
    """Epsilon rule of y = x W^T; axes (position, width)."""
    return x * ((relevance / y) @ weight.double())


def relevance(module: Any, ids: list[int], depth: int, vector: Tensor, rules: str) -> list[Tensor]:
    """Return the relevance of the last position's component along a vector.

    Returns: of the stream at hidden_index 0 to `depth`, each axes (position, d_model).
    """
    blocks, h = forward(module, ids, depth)
    found = torch.zeros_like(h)
    found[-1] = h[-1] * vector
    table = [found]
    for block, layer in zip(reversed(blocks), reversed(module.model.layers[:depth])):
        table.insert(0, through_block(module, layer, block, table[0], rules))
    return table


def through_block(module: Any, layer: Any, b: Block, relevance: Tensor, rules: str) -> Tensor:
    """Hand the relevance of a block's output to its input."""
    after = b.h1 + b.mlp
    of_mlp = through_mlp(layer.mlp, b, b.mlp / after * relevance, rules)
    middle = b.h1 / after * relevance + of_mlp  # the norm hands on all it gets
    of_attention = through_attention(module, layer.self_attn, b, b.attn / b.h1 * middle, rules)
    return b.h / b.h1 * middle + of_attention


def through_mlp(mlp: Any, b: Block, relevance: Tensor, rules: str) -> Tensor:
    """Hand the relevance of the MLP's output to its input."""
    of_product = linear(mlp.down_proj.weight, b.product, b.mlp, relevance)
    if rules == "cplrp":
        return linear(mlp.up_proj.weight, b.x1, b.up, of_product)
    of_gate = linear(mlp.gate_proj.weight, b.x1, b.gate, of_product / 2)  # SiLU hands on all
    return of_gate + linear(mlp.up_proj.weight, b.x1, b.up, of_product / 2)


def through_attention(
    module: Any, attention: Any, b: Block, relevance: Tensor, rules: str
) -> Tensor:
    """Hand the relevance of attention's output to its input."""
    heads = module.config.num_attention_heads
    group = heads // module.config.num_key_value_heads
    of_z = linear(attention.o_proj.weight, b.z.flatten(1), b.attn, relevance).view_as(b.z)
    of_q, of_k, of_v = torch.zeros_like(b.q), torch.zeros_like(b.k), torch.zeros_like(b.v)
    for head in range(heads):
        kv, weights, scores = head // group, b.weights[head], b.scores[head]
        # z[t, i] = sum over s of weights[t, s] v[s, i]; each term's share, axes (t, s, i).
        terms = weights[:, :, None] * b.v[None, :, kv]
        shares = terms / b.z[:, None, head] * of_z[:, None, head]
        if rules == "cplrp":
            of_v[:, kv] += shares.sum(0)
            continue
        of_v[:, kv] += shares.sum(0) / 2
        of_weights = shares.sum(-1) / 2
        of_scores = scores * (of_weights - weights * of_weights.sum(-1, keepdim=True))
        pairs = b.rq[:, None, head] * b.rk[None, :, kv] * b.q.shape[-1] ** -0.5
        shares = pairs / scores[:, :, None] * of_scores[:, :, None]
        of_q[:, head] += shares.sum(1) / 2
        of_k[:, kv] += shares.sum(0) / 2
    total = linear(attention.v_proj.weight, b.x, b.v.flatten(1), of_v.flatten(1))
    if rules == "cplrp":
        return total
    turn = rotation(module, len(b.x))
    of_q, of_k = unturned(turn, b.q, b.rq, of_q), unturned(turn, b.k, b.rk, of_k)
    total = total + linear(attention.q_proj.weight, b.x, b.q.flatten(1), of_q.flatten(1))
    return total + linear(attention.k_proj.weight, b.x, b.k.flatten(1), of_k.flatten(1))


def unturned(turn: Tensor, before: Tensor, after: Tensor, relevance: Tensor) -> Tensor:
    """Epsilon rule of the rotation; axes (position, head, width)."""
    return before * torch.einsum("tji,thj->thi", turn, relevance / after)
