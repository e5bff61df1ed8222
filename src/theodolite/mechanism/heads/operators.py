"""Head outputs under ablation: what a layer's heads would have put out, all heads at once.

Heads of one layer do not read each other, so the ablated outputs of all of them come from one
computation on the intact input of the layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from theodolite.errors import ConfigError
from theodolite.mechanism.heads.ablation import HeadAblation
from theodolite.models.attention import Change, undifferentiated

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy, OutProjection


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """What a layer's attention gave on the intact input, at some positions of some rows.

    Args:
        z: head outputs, axes (row, position, head, head_dim).
        values: the values from absolute position 0 on, axes (row, place, kv_head, head_dim); needed
            by the closed form only, whose positions are the last ones.
        shadow: head outputs of the same attention on changed queries or keys, axes as z.
        reference: head outputs to put in their place, axes as z.
    """

    z: torch.Tensor
    values: torch.Tensor | None = None
    shadow: torch.Tensor | None = None
    reference: torch.Tensor | None = None


def needs_values(ablation: HeadAblation) -> bool:
    """Return whether the closed form is used, which reads the values of attention."""
    return ablation.name == "undifferentiated" and ablation.factor == 0.0


def shadow_of(ablation: HeadAblation) -> Change | None:
    """Return the change of queries or keys whose attention gives the ablated head outputs.

    Returns: a function of (layer, q, k, v) for all heads at once, axes (row, head, position,
        width) each; None where no second attention is needed.
    """
    if ablation.name == "undifferentiated" and ablation.factor != 0.0:
        # Scaling keys instead is the same: the factor is a scalar on the scores.
        return lambda _layer, q, k, v: (q * ablation.factor, k, v)
    if ablation.name == "head_mean" and ablation.at == "q":
        return lambda _layer, q, k, v: (_levelled(q), k, v)
    if ablation.name == "head_mean" and ablation.at == "k":
        return lambda _layer, q, k, v: (q, _levelled(k), v)
    return None


def keeps_first(ablation: HeadAblation, anatomy: Anatomy) -> bool:
    """Return whether the first token is as it was: alone, it can only attend to itself."""
    return ablation.name == "undifferentiated" and anatomy.row.sinks is None


def ablated_heads(
    ablation: HeadAblation, anatomy: Anatomy, layer: int, outputs: HeadOutputs
) -> torch.Tensor:
    """Return what every head of a layer puts out when it is ablated.

    Args:
        outputs: of the intact layer.

    Returns: axes (row, position, head, head_dim).

    Raises:
        CapabilityError: the closed form does not hold for this family.
        ConfigError: something the operator needs was not given.
    """
    z = outputs.z
    if needs_values(ablation):
        even = undifferentiated(anatomy, layer, _given(outputs.values, "values"))
        return even[:, -z.shape[1] :].to(z.dtype)
    if shadow_of(ablation) is not None:
        return _given(outputs.shadow, "shadow")
    if ablation.name in ("scale", "zero"):
        return z * ablation.factor
    if ablation.name == "head_mean":
        return z.mean(2, keepdim=True).expand_as(z)
    return _given(outputs.reference, "reference").to(z)


def deltas(
    ablation: HeadAblation,
    anatomy: Anatomy,
    units: Sequence[int],
    change: torch.Tensor,
    out: OutProjection,
) -> torch.Tensor:
    """Return what ablating each unit alone adds to the output of the out projection.

    Args:
        units: heads, or groups of heads, of the layer.
        change: ablated minus intact head outputs, axes (row, position, head, head_dim).
        out: the layer's output projection, by head.

    Returns: axes (unit, row, position, d_model), before the projection's scale and any norm.
    """
    heads = torch.tensor([ablation.heads_of(anatomy, unit) for unit in units])
    rows, positions = change.shape[:2]
    # (unit, row, position, heads of the unit, head_dim), then one product per unit.
    chosen = change[:, :, heads].permute(2, 0, 1, 3, 4).flatten(3).flatten(1, 2)
    weight = out.weight[heads].flatten(1, 2).to(change.dtype)
    return torch.bmm(chosen, weight).reshape(len(units), rows, positions, -1)


def _levelled(heads: torch.Tensor) -> torch.Tensor:
    """Return every head replaced by the mean over heads, axes (row, head, position, width)."""
    return heads.mean(1, keepdim=True).expand_as(heads)


def _given(value: torch.Tensor | None, name: str) -> torch.Tensor:
    if value is None:
        raise ConfigError(f"The operator needs {name}, which were not given.")
    return value
