"""A backward pass that follows the rules of relevance, on one model, while a context lasts.

Inside the context a forward pass gives the same numbers, and gradient times input at any point of
the stream is relevance:

  norm              z * weight * r with r held constant
  activation        x * (f(x) / x) with the quotient held constant
  gate * up         AttnLRP: half to each branch; CP-LRP: the activated gate is a constant
  attention         AttnLRP: half to the values, a quarter each to queries and keys;
                    CP-LRP: the attention weights are constants
  routing weights   constants
  everything else   as it is: affine maps, sums, rotations

Hooks lie on the modules of one handle and are gone when the context ends. Nothing is believed: on
entry a few tokens must show that every block conserves relevance, biases set aside, which also
finds out whether a block has a gate. A fused kernel that a hook cannot reach does not pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.relevance.rules import (
    INSTEAD,
    Activation,
    BlockRules,
    Norm,
    after,
    as_value,
    find_rules,
    probe_ids,
    without_biases,
)
from theodolite.models.attention import Attend, Visitor, require_interface, visiting
from theodolite.models.taps import read, write
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel

Rules = Literal["attnlrp", "cplrp"]
RULES = ("attnlrp", "cplrp")
_LEAK = 1e-5  # share of the relevance that rounding may lose in one block
_ROUNDINGS = 2.0  # the same in units of a coarse dtype's epsilon


@dataclass(frozen=True, eq=False)
class Proven:
    """The rules of a model, found and proven on it.

    Args:
        blocks: what they act on, axis (layer).
        gated: whether a block multiplies its activation by a second branch, axis (layer).
        leak: the largest share of relevance a block lost on the probe, biases set aside.
    """

    blocks: tuple[BlockRules, ...]
    gated: tuple[bool, ...]
    leak: float


@dataclass
class _Attention:
    """What one block's attention read and gave on the probe."""

    query: Tensor
    key: Tensor
    value: Tensor
    z: Tensor


@contextmanager
def relevance_rules(model: LanguageModel, rules: Rules = "attnlrp") -> Iterator[Proven]:
    """Let backward passes of a model follow the rules of relevance inside the context.

    Args:
        model: an open local model without interventions; it is locked to this thread.
        rules: "attnlrp", or "cplrp" (attention weights and activated gates are constants).

    Returns: what was found on the model.

    Raises:
        CapabilityError: the family computes attention by itself, a module has no rule, or the
            probe shows that relevance is lost: some computation bypasses the rules.
        ConfigError: unknown rules, or an intervention is active.

    Note: two or three passes over 5 tokens on entry. Parallel threads may use other models.
    """
    check_rules(rules)
    with model.lock:
        proven = prove_rules(model, rules)
        with ruled(model.anatomy, proven.blocks, proven.gated, rules):
            yield proven


def check_rules(rules: str) -> None:
    """Refuse rules that do not exist.

    Raises: ConfigError: they are none of `RULES`.
    """
    if rules not in RULES:
        raise ConfigError(
            f"There are no relevance rules '{rules}'.", fix=f"Use {' or '.join(RULES)}."
        )


def prove_rules(model: LanguageModel, rules: Rules) -> Proven:
    """Find the rules of a model and prove them.

    Raises: CapabilityError, ConfigError: see `relevance_rules`.
    """
    model.require("hidden_states")
    anatomy = model.anatomy
    if model.interventions:
        raise ConfigError(
            "Relevance by rules explains the model as it is, and an intervention is active.",
            fix="Leave `apply`, or use the back end integrated_gradients.",
        )
    if not anatomy.row.interface:
        raise CapabilityError(
            "Relevance by rules",
            f"the family '{anatomy.family}' computes attention by itself",
            INSTEAD,
        )
    blocks = find_rules(anatomy)
    plain, gate = (_leaks(anatomy, blocks, [g] * len(blocks)) for g in (False, True))
    gated = tuple(with_gate < without for with_gate, without in zip(gate, plain, strict=True))
    leaks = [min(pair) for pair in zip(gate, plain, strict=True)]
    _require_conserved(anatomy, leaks, tolerance(model.dtype))
    if rules == "attnlrp":
        shared = _attention_leaks(anatomy, blocks, gated)
        _require_conserved(anatomy, shared, tolerance(model.dtype))
    return Proven(blocks, gated, max(leaks))


def tolerance(dtype: torch.dtype) -> float:
    """Return the share of relevance that rounding may lose in one block."""
    return max(_LEAK, _ROUNDINGS * float(torch.finfo(dtype).eps))


@contextmanager
def ruled(
    anatomy: Anatomy,
    blocks: Sequence[BlockRules],
    gated: Sequence[bool],
    rules: Rules,
    *,
    shifted: bool = True,
    note: Callable[[int, _Attention], None] | None = None,
) -> Iterator[None]:
    """Put the rules on the modules of a model; nothing is checked.

    Args:
        blocks, gated: see `Proven`.
        shifted: norms add their biases (False where these were set to 0).
        note: gets what attention read and gave, layer by layer.
    """
    require_interface(anatomy)
    with ExitStack() as stack:
        for layer, (block, gate) in enumerate(zip(blocks, gated, strict=True)):
            for norm in block.norms:
                after(stack, norm.module, _norm_rule(norm, shifted))
            constant = gate and rules == "cplrp"
            for activation in block.activations:
                after(stack, activation.module, _activation_rule(activation, constant))
            for router in block.routers:
                stack.callback(router.register_forward_hook(_constants_out).remove)
            for module in block.routed:
                stack.callback(module.register_forward_pre_hook(_constants_in).remove)
            visitor = _attention_rule(layer, rules, note)
            stack.enter_context(visiting(anatomy.attention(layer), visitor))
            if gate and rules == "attnlrp":
                # Each path through the MLP crosses one product, so its half may be taken here.
                stack.enter_context(write(anatomy.tap(layer, "mlp_out"), _halved))
        yield


def _norm_rule(norm: Norm, shifted: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def rule(x: Tensor, y: Tensor) -> Tensor:
        linear = norm.moved(x) * norm.factor(x, y, shifted=shifted)
        return as_value(linear.to(y.dtype), y)

    return rule


def _activation_rule(activation: Activation, constant: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def rule(x: Tensor, y: Tensor) -> Tensor:
        return y.detach() if constant else as_value(x * activation.ratio(x, y), y)

    return rule


def _constants_out(_module: Any, _args: Any, output: Any) -> Any:
    return tuple(item.detach() if torch.is_tensor(item) else item for item in output)


def _constants_in(_module: Any, args: tuple[Any, ...]) -> Any:
    first, *rest = args
    return (first, *(item.detach() if torch.is_tensor(item) else item for item in rest))


def _halved(value: Tensor) -> Tensor:
    return _shared(value, 0.5)


def _shared(value: Tensor, share: float) -> Tensor:
    """Return the value with only a share of its gradient."""
    return as_value(value * share, value)


def _attention_rule(
    layer: int, rules: Rules, note: Callable[[int, _Attention], None] | None
) -> Visitor:
    def visitor(attend: Attend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if rules == "cplrp":
            z = attend(query.detach(), key.detach(), value)
        else:
            z = attend(_shared(query, 0.25), _shared(key, 0.25), _shared(value, 0.5))
        if note is not None:
            note(layer, _Attention(query, key, value, z))
        return z

    return visitor


def _leaks(anatomy: Anatomy, blocks: Sequence[BlockRules], gated: Sequence[bool]) -> list[float]:
    """Return which share of relevance each block loses under CP-LRP without biases.

    What a block adds to the stream is proven apart from what it lets pass, which may be far larger.
    """
    sites = ("attn_out", "mlp_out")
    with ruled(anatomy, blocks, gated, "cplrp", shifted=False):
        stream, added = _unbiased(anatomy, sites)
    found = []
    for layer, (pre, post) in enumerate(pairwise(stream)):
        starts = [(post, _weights(post, layer))]
        starts += [(added[layer, site], added[layer, site].detach()) for site in sites]
        found.append(max(_lost_below(start, pre, weights) for start, weights in starts))
    return found


def _lost_below(start: Tensor, pre: Tensor, weights: Tensor) -> float:
    """Return the share of relevance lost from a read-out of `start` down to `pre`."""
    if not start.requires_grad:  # all of it was made a constant
        return 1.0
    (gradient,) = torch.autograd.grad(start, pre, weights, retain_graph=True)
    return _lost(pre * gradient, start * weights)


def _attention_leaks(
    anatomy: Anatomy, blocks: Sequence[BlockRules], gated: Sequence[bool]
) -> list[float]:
    """Return how far each block is from what AttnLRP must keep.

    The softmax rule does not conserve. But what reaches the block is what left it, with attention's
    share replaced by that of values, queries and keys; values get half of attention's share; and
    queries and keys get the same.
    """
    seen: dict[int, _Attention] = {}
    with ruled(anatomy, blocks, gated, "attnlrp", shifted=False, note=seen.__setitem__):
        stream, _ = _unbiased(anatomy, ())
    found = []
    for layer, (pre, post) in enumerate(pairwise(stream)):
        weights, inner = _weights(post, layer), seen[layer]
        places = (pre, inner.query, inner.key, inner.value, inner.z)
        gradients = torch.autograd.grad(post, places, weights, retain_graph=True)
        below, query, key, value, z = (a * g for a, g in zip(places, gradients, strict=True))
        parts = (post * weights, -z, query, key, value)
        kept = torch.cat([part.flatten() for part in parts])
        found.append(max(_lost(below, kept), _lost(value, z / 2), _lost(query, key)))
    return found


def _unbiased(
    anatomy: Anatomy, sites: Sequence[str]
) -> tuple[list[Tensor], dict[tuple[int, str], Tensor]]:
    """Run the decoder with its biases set to 0.

    Returns: the stream, axis (hidden_index), its first entry a leaf; and the sites of each layer;
        all axes (1, position, d_model).
    """
    found: dict[tuple[int, str], Tensor] = {}
    layers = range(anatomy.n_layers)

    def leaf(value: Tensor) -> Tensor:
        found[-1, "resid_post"] = value.detach().clone().requires_grad_(True)
        return found[-1, "resid_post"]

    taps = {(n, site): anatomy.tap(n, site) for n in layers for site in (*sites, "resid_post")}
    with (
        torch.enable_grad(),
        without_biases(anatomy),
        write(anatomy.tap(0, "resid_pre"), leaf),
        read(taps, found.__setitem__),
    ):
        anatomy.decoder(input_ids=probe_ids(anatomy), use_cache=False)
    return [found[n, "resid_post"] for n in (-1, *layers)], found


def _weights(after: Tensor, layer: int) -> Tensor:
    """Return the random read-out that a block is proven on."""
    generator = torch.Generator().manual_seed(item_seed(0, "relevance probe", layer) % (1 << 62))
    return torch.randn(after.shape, generator=generator).to(after)


def _lost(found: Tensor, wanted: Tensor) -> float:
    """Return the difference of two sums as a share of what is summed."""
    found, wanted = found.detach().double(), wanted.detach().double()
    size = found.abs().sum() + wanted.abs().sum()
    return float((found.sum() - wanted.sum()).abs() / size.clamp_min(1e-300))


def _require_conserved(anatomy: Anatomy, leaks: Sequence[float], allowed: float) -> None:
    worst = max(range(len(leaks)), key=leaks.__getitem__)
    if not leaks[worst] <= allowed:
        raise CapabilityError(
            "Relevance by rules",
            f"layer {worst} of this '{anatomy.family}' model does not conserve it (share lost "
            f"{leaks[worst]:.1e}, allowed {allowed:.0e}): a fused kernel or an operation without a "
            "rule bypasses the rules",
            INSTEAD,
        )
