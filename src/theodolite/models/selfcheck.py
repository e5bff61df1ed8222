"""The self-check on open: what a family's row claims is proven on the model itself.

One forward pass over a few tokens. Row 0 of the batch is left alone; every other row has one tapped
value disturbed. On all rows and layers at once:
  1. every tap fires once per pass, with axes (batch, position, width) and the right width;
  2. resid_pre + attn_out + mlp_out == resid_post, and resid_post is the next layer's resid_pre;
  3. the heads, taken apart and summed, give the output of the output projection;
  4. the logits recomputed from final_norm are the model's logits;
  5. disturbing attn_out changes mlp_out exactly where the row does not call the block parallel;
  6. disturbing a tapped value changes the logits of its row.
Because disturbed rows take part in 2 to 4, a tap that only looks right on quiet values fails too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn

from theodolite.errors import UnsupportedArchitecture
from theodolite.models.anatomy import BLOCK_SITES, Anatomy
from theodolite.models.taps import Tap, read, write
from theodolite.text.display import escape

TOKENS = 3
_LOUDNESS = 16.0  # disturbance as a multiple of the value's own size
_SILENCE = 2e-3  # a change of the logits below this share of the largest counts as none
_ROUNDINGS = 8.0  # tolerated rounding errors per sum, in units of the dtype's epsilon

Values = dict[tuple[int, str], Tensor]


def check_anatomy(module: nn.Module, anatomy: Anatomy) -> None:
    """Prove that the taps of an anatomy are what their names say.

    Args:
        module: the causal language model, in eval mode.

    Raises:
        UnsupportedArchitecture: an identity does not hold; the message says which, where and by
            how much.

    Note: one forward pass over at most 17 rows of 3 tokens.
    """
    targets = _targets(anatomy)
    values, logits = _observe(module, anatomy, targets)
    _check_shapes(anatomy, values, rows=len(targets) + 1)
    _check_sums(anatomy, values, targets)
    for layer in sorted({layer for layer, site in targets if site == "head_z"}):
        _check_heads(anatomy, layer, values, targets)
    _check_order(anatomy, values, targets)
    _check_logits(anatomy, values, logits)
    _check_effects(anatomy, targets, logits)


def _targets(anatomy: Anatomy) -> list[tuple[int, str]]:
    """Return the taps to disturb: every site of the first, middle and last layer."""
    last = anatomy.n_layers - 1
    layers = sorted({0, last // 2, last})
    return [(layer, site) for layer in layers for site in BLOCK_SITES] + [(last, "final_norm")]


def _observe(
    module: nn.Module, anatomy: Anatomy, targets: Sequence[tuple[int, str]]
) -> tuple[Values, Tensor]:
    """Run the disturbed batch; return all tapped values and the logits, axes (row, position, .)."""
    values: Values = {}
    seen: dict[tuple[int, str], int] = {}

    def keep(key: tuple[int, str], value: Tensor) -> None:
        values[key] = value
        seen[key] = seen.get(key, 0) + 1

    last = anatomy.n_layers - 1
    places = [(layer, site) for layer in range(anatomy.n_layers) for site in BLOCK_SITES]
    places.append((last, "final_norm"))
    taps: dict[tuple[int, str], Tap] = {place: anatomy.tap(*place) for place in places}
    taps[(anatomy.n_layers, "resid_pre")] = Tap(anatomy.final_norm, "input")
    device = cast(Any, module).get_input_embeddings().weight.device
    spread = torch.linspace(anatomy.vocab_size // 3, anatomy.vocab_size - 1, TOKENS + 1)[:TOKENS]
    ids = spread.long().expand(len(targets) + 1, TOKENS).to(device)
    with torch.inference_mode(), ExitStack() as stack:
        for row, target in enumerate(targets, start=1):
            stack.enter_context(write(taps[target], _disturb(row)))
        stack.enter_context(read(taps, keep))
        try:
            output = module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise _refusal(
                anatomy, f"a forward pass with taps failed: {escape(str(error), 200)}"
            ) from error
    for place in taps:
        if seen.get(place, 0) != 1:
            raise _refusal(
                anatomy, f"{_name(place)} was computed {seen.get(place, 0)} times in one pass"
            )
    return values, cast(Tensor, output.logits)


def _disturb(row: int) -> Any:
    """Return a write function that adds loud noise to one row of the batch."""
    generator = torch.Generator().manual_seed(row)

    def change(value: Tensor) -> Tensor:
        noise = torch.randn(value.shape[1:], generator=generator).to(value)
        size = value[row].float().square().mean().sqrt().clamp_min(1e-3).to(value.dtype)
        changed = value.clone()
        changed[row] += noise * size * _LOUDNESS
        return changed

    return change


def _check_shapes(anatomy: Anatomy, values: Values, rows: int) -> None:
    heads = anatomy.n_heads * anatomy.head_dim
    for place, value in values.items():
        wanted = (rows, TOKENS, heads if place[1] == "head_z" else anatomy.d_model)
        if tuple(value.shape) != wanted:
            raise _refusal(
                anatomy, f"{_name(place)} has shape {tuple(value.shape)} instead of {wanted}"
            )


def _check_sums(anatomy: Anatomy, values: Values, targets: Sequence[tuple[int, str]]) -> None:
    for layer in range(anatomy.n_layers):
        rows = _rows_without(targets, (layer, "resid_post"))
        pre, attn, mlp, post = (
            values[layer, site][rows] for site in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        _same(
            anatomy,
            f"resid_pre + attn_out + mlp_out == resid_post in layer {layer}",
            [pre, attn, mlp],
            post,
        )
        onward = _rows_without(targets, (layer + 1, "resid_pre"))
        after = "the next layer reads" if layer < anatomy.n_layers - 1 else "final_norm reads"
        _same(
            anatomy,
            f"resid_post of layer {layer} is what {after}",
            [values[layer, "resid_post"][onward]],
            values[layer + 1, "resid_pre"][onward],
        )


def _rows_without(targets: Sequence[tuple[int, str]], target: tuple[int, str]) -> list[int]:
    """Return the rows in which this tap was not written: there its value is the model's own."""
    return [0, *(row for row, other in enumerate(targets, start=1) if other != target)]


def _check_heads(
    anatomy: Anatomy, layer: int, values: Values, targets: Sequence[tuple[int, str]]
) -> None:
    """Compare the output projection with the sum of its heads, computed apart."""
    if not anatomy.splits_heads(layer):
        return  # heads are not offered either (Anatomy.out_projection)
    projection = anatomy.out_projection(layer)
    rows = _rows_without(targets, (layer, "attn_out"))
    z = values[layer, "head_z"][rows]
    by_head = _exact(z).reshape(*z.shape[:-1], anatomy.n_heads, anatomy.head_dim)
    total = torch.einsum("bphi,hid->bpd", by_head, _exact(projection.weight))
    if projection.bias is not None:
        total = total + _exact(projection.bias)
    if projection.adds_up:
        whole = values[layer, "attn_out"][rows]
        total = total * projection.scale
    else:
        with torch.inference_mode():
            whole = anatomy.blocks[layer].get_submodule(anatomy.row.out_proj)(z)
    error = _relative(total, whole)
    if not error <= _slack(whole.dtype, anatomy.n_heads * anatomy.head_dim):
        raise _refusal(
            anatomy,
            f"sum of head outputs == attention output does not hold in layer {layer} "
            f"(relative error {error:.1e})",
        )


def _check_order(anatomy: Anatomy, values: Values, targets: Sequence[tuple[int, str]]) -> None:
    """Compare what the row says of parallel blocks with what a disturbed attention does."""
    for row, (layer, site) in enumerate(targets, start=1):
        if site == "attn_out":
            mlp = values[layer, "mlp_out"]
            follows = _relative(mlp[row], mlp[0]) > _slack(mlp.dtype, anatomy.d_model)
            if follows == anatomy.parallel_blocks:
                raise _refusal(
                    anatomy,
                    f"the MLP of layer {layer} {'reads' if follows else 'does not read'} "
                    "the attention output",
                )


def _check_logits(anatomy: Anatomy, values: Values, logits: Tensor) -> None:
    with torch.inference_mode():
        final = values[anatomy.n_layers - 1, "final_norm"]
        again = anatomy.logits_from_final(final)
    if again.shape != logits.shape:
        raise _refusal(
            anatomy,
            f"the recomputed logits have shape {tuple(again.shape)} instead of "
            f"{tuple(logits.shape)}",
        )
    error = _relative(again, logits)
    if not error <= _slack(final.dtype, anatomy.d_model):
        raise _refusal(
            anatomy, f"logits from final_norm == logits does not hold (relative error {error:.1e})"
        )


def _check_effects(anatomy: Anatomy, targets: Sequence[tuple[int, str]], logits: Tensor) -> None:
    last = _exact(logits[:, -1])
    noise = _SILENCE * last[0].abs().max()
    for row, target in enumerate(targets, start=1):
        change = (last[row] - last[0]).abs().max()
        if not change > noise:
            raise _refusal(anatomy, f"changing {_name(target)} does not change the logits")


def _same(anatomy: Anatomy, identity: str, parts: Sequence[Tensor], whole: Tensor) -> None:
    """Refuse unless the parts add up to the whole, element by element, within rounding."""
    epsilon = max(torch.finfo(t.dtype).eps for t in (*parts, whole))
    wide, total = [_exact(part) for part in parts], _exact(whole)
    size = sum((part.abs() for part in wide), total.abs())
    error = sum(wide, -total).abs() / size.clamp_min(1e-30)
    worst = float(error.max())
    if not worst <= _ROUNDINGS * epsilon:
        raise _refusal(
            anatomy,
            f"{identity} does not hold (relative error {worst:.1e}, allowed "
            f"{_ROUNDINGS * epsilon:.0e})",
        )


def _exact(value: Tensor) -> Tensor:
    return value.to("cpu", torch.float64)  # layers may lie on several devices


def _relative(a: Tensor, b: Tensor) -> float:
    """Return the largest difference relative to the largest value of `b`, per position."""
    a, b = _exact(a), _exact(b)
    scale = b.abs().amax(-1).clamp_min(1e-30)
    return float(((a - b).abs().amax(-1) / scale).max())


def _slack(dtype: torch.dtype, terms: int) -> float:
    """Return the tolerated relative error of a dot product of so many terms."""
    epsilon = torch.finfo(dtype).eps
    within = min(epsilon, torch.finfo(torch.float32).eps)  # sums are kept in float32 or wider
    return float(_ROUNDINGS * (epsilon + within * terms**0.5))


def _name(place: tuple[int, str]) -> str:
    layer, site = place
    return site if site == "final_norm" else f"{site} of layer {layer}"


def _refusal(anatomy: Anatomy, what: str) -> UnsupportedArchitecture:
    return UnsupportedArchitecture(
        f"This model does not fit the '{anatomy.family}' anatomy: {what}.",
        fix="Its hidden states cannot be measured; use another model or report its architecture.",
    )
