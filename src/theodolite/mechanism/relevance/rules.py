"""What a block is made of, found by looking: its norms, its activations and its routing weights.

Relevance needs three facts of every block: which modules norm, which apply a nonlinear function to
single numbers, and which hand out weights that are to count as constants. No list of class names
says so. Every module without children is run on a few random vectors and has to prove that it is
one of: affine; a function of each number with f(0) = 0; or a norm, y = shift + weight * z * r with
one number r per vector, z being x or x less its mean. What is none of these is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from theodolite.errors import CapabilityError
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy

INSTEAD = "Use the back end integrated_gradients or leave_one_out, which need no rules"
TOKENS = 5
_TINY = 1e-30  # below it a quotient f(x) / x is not trusted and f'(0) stands in
_NEARLY = 1e-5  # xIELU misses 0 by a millionth
_SLACK, _QUANTISED = 1e-4, 0.03


@dataclass(frozen=True, eq=False)
class Norm:
    """A module that computes shift + weight * z * r, one r per vector.

    Args:
        module: it.
        weight: what each coordinate is multiplied by; trailing axes of the module's input.
        shift: what is added, of the same axes; 0 without a bias.
        centred: z is x less its mean over the last axis; else z is x.
    """

    module: nn.Module
    weight: Tensor
    shift: Tensor
    centred: bool

    def moved(self, x: Tensor) -> Tensor:
        """Return z in the precision of the fit."""
        wide = x.to(self.weight.dtype)
        return wide - wide.mean(-1, keepdim=True) if self.centred else wide

    def factor(self, x: Tensor, y: Tensor, *, shifted: bool = True) -> Tensor:
        """Return weight * r with which the module made y of x, a constant; axes of x.

        Args:
            shifted: y holds the shift (False where biases were set to 0).

        Note: without shift and mean it is y / x, so that nothing is lost to the rounding of norms
            that compute in single precision whatever they are given.
        """
        with torch.no_grad():
            factor = self.fitted(x, y, shifted=shifted)
            if self.centred or bool(self.shift.any()):
                return factor
            z = self.moved(x)
            return torch.where(z.abs() > _TINY, y.to(z.dtype) / z, factor)

    def fitted(self, x: Tensor, y: Tensor, *, shifted: bool = True) -> Tensor:
        """Return weight * r with r by least squares over each vector; axes of x."""
        part = self.moved(x) * self.weight
        rest = y.to(part.dtype) - self.shift if shifted else y.to(part.dtype)
        size = (part * part).sum(-1, keepdim=True).clamp_min(_TINY)
        return self.weight * ((rest * part).sum(-1, keepdim=True) / size)


@dataclass(frozen=True, eq=False)
class Activation:
    """A module that applies one function with f(0) = 0 to every number.

    Args:
        module: it.
        slope: f'(0), what f(x) / x tends to at 0.
    """

    module: nn.Module
    slope: float

    def ratio(self, x: Tensor, y: Tensor) -> Tensor:
        """Return f(x) / x, a constant; axes of x."""
        with torch.no_grad():
            quotient = y / x
            return torch.where(x.abs() > _TINY, quotient, torch.full_like(quotient, self.slope))


@dataclass(frozen=True, eq=False)
class BlockRules:
    """What the rules act on in one block.

    Args:
        norms, activations: see there.
        routers: modules that return several tensors: how tokens are routed, constants.
        routed: modules that are handed routing weights beside their input.
    """

    norms: tuple[Norm, ...]
    activations: tuple[Activation, ...]
    routers: tuple[nn.Module, ...]
    routed: tuple[nn.Module, ...]


@dataclass
class _Seen:
    """The modules of one block, as a short pass met them."""

    leaves: dict[str, tuple[nn.Module, Tensor]] = field(default_factory=dict)
    routers: dict[str, nn.Module] = field(default_factory=dict)
    routed: dict[str, nn.Module] = field(default_factory=dict)


def find_rules(anatomy: Anatomy) -> tuple[BlockRules, ...]:
    """Find what the rules act on, block by block.

    Args:
        anatomy: of the model; nothing may act on it.

    Returns: one `BlockRules` per layer.

    Raises: CapabilityError: a module is none of the kinds that have a rule.

    Note: one pass over 5 tokens, and a few calls of every module without children.
    """
    seen = _traced(anatomy)
    with torch.no_grad():
        return tuple(_classified(layer, found) for layer, found in enumerate(seen))


def probe_ids(anatomy: Anatomy) -> Tensor:
    """Return the few tokens that checks run on, spread over the vocabulary; axes (1, position)."""
    spread = torch.linspace(anatomy.vocab_size // 3, anatomy.vocab_size - 1, TOKENS + 1)[:TOKENS]
    device = next(anatomy.decoder.parameters()).device
    return spread.long()[None].to(device)


@contextmanager
def without_biases(anatomy: Anatomy) -> Iterator[None]:
    """Set every bias of a decoder to 0 inside the context, on this model alone."""
    with ExitStack() as stack:
        for module in anatomy.decoder.modules():
            for name, bias in module.named_parameters(recurse=False):
                if "bias" in name:
                    stack.callback(setattr, module, name, bias)
                    zero = nn.Parameter(torch.zeros_like(bias), requires_grad=False)
                    setattr(module, name, zero)
        yield


def after(stack: ExitStack, module: nn.Module, rule: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Let `rule(input, output)` say what a module returns, as long as the stack is open."""

    def hook(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        return rule(args[0] if args else next(iter(kwargs.values())), output)

    stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)


def as_value(linear: Tensor, value: Tensor) -> Tensor:
    """Return `value` as a number, with the gradient of `linear`."""
    return linear + (value - linear).detach()


def _traced(anatomy: Anatomy) -> list[_Seen]:
    seen = [_Seen() for _ in range(anatomy.n_layers)]
    with ExitStack() as stack:
        for layer, found in enumerate(seen):
            inside = set(anatomy.attention(layer).modules())
            for name, module in anatomy.blocks[layer].named_modules():
                if name:
                    hook = _noting(found, name, module in inside)
                    stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)
        with torch.no_grad():
            anatomy.decoder(input_ids=probe_ids(anatomy), use_cache=False)
    return seen


def _noting(found: _Seen, name: str, in_attention: bool) -> Callable[..., None]:
    def note(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        given = [*args, *kwargs.values()]
        floats = [value for value in given if torch.is_tensor(value) and value.is_floating_point()]
        leaf = next(module.children(), None) is None
        if leaf and floats and torch.is_tensor(output):
            found.leaves.setdefault(name, (module, floats[0]))
        elif leaf and floats and not in_attention:
            found.routers.setdefault(name, module)
        elif len(floats) > 1 and not in_attention:
            found.routed.setdefault(name, module)

    return note


def _classified(layer: int, found: _Seen) -> BlockRules:
    norms: list[Norm] = []
    activations: list[Activation] = []
    for name, (module, sample) in found.leaves.items():
        trial = _Trial.of(module, sample, item_seed(0, "relevance rules", layer, name))
        try:
            if _affine(trial):
                continue
            part = _activation(trial) or _norm(trial)
        except (TypeError, RuntimeError):  # it needs more than its input
            part = None
        if part is None:
            raise CapabilityError(
                "Relevance by rules",
                f"the module '{name}' of layer {layer} is neither affine, nor a norm, nor a "
                "function of single numbers",
                INSTEAD,
            )
        if isinstance(part, Norm):
            norms.append(part)
        else:
            activations.append(part)
    return BlockRules(
        tuple(norms),
        tuple(activations),
        tuple(found.routers.values()),
        tuple(found.routed.values()),
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """A module to be tried out, in single precision at least, whatever it is stored in.

    Args:
        module: it.
        run: it, as a function.
        draws: random inputs of it, all numbers away from 0, so that one may divide by them.
        slack: relative difference up to which results count as equal.
    """

    module: nn.Module
    run: Callable[[Tensor], Tensor]
    draws: Iterator[Tensor]
    slack: float

    @classmethod
    def of(cls, module: nn.Module, sample: Tensor, seed: int) -> _Trial:
        """Make a module ready; a sample is of the shape it is given by its model."""
        wide = sample.dtype if sample.dtype == torch.float64 else torch.float32
        stored = dict(module.named_parameters())
        if not all(value.is_floating_point() for value in stored.values()):
            return cls(module, module, _draws(sample, sample.dtype, seed), _QUANTISED)
        widened = {name: value.to(wide) for name, value in stored.items()}

        def run(x: Tensor) -> Tensor:
            return cast(Tensor, torch.func.functional_call(module, widened, (x,)))

        return cls(module, run, _draws(sample, wide, seed), _SLACK)

    def at_once(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what the module makes of several inputs; its weights are read once."""
        return self.run(torch.cat(inputs)).chunk(len(inputs))

    def near(self, a: Tensor, b: Tensor) -> bool:
        """Return whether two results are equal up to the slack."""
        size = max(float(b.abs().max()), _TINY)
        return a.shape == b.shape and float((a - b).abs().max()) <= self.slack * size


def _draws(sample: Tensor, dtype: torch.dtype, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        size = 1.0 + torch.rand(sample.shape, generator=generator)
        sign = torch.randint(0, 2, sample.shape, generator=generator) * 2 - 1
        yield (size * sign).to(sample.device, dtype)


def _affine(trial: _Trial) -> bool:
    # So large that an activation is far from any line, however coarse the numbers are.
    x, z = next(trial.draws) * 8.0, next(trial.draws) * 8.0
    both, zero, first, second = trial.at_once(x + z, torch.zeros_like(x), x, z)
    return trial.near(both + zero, first + second)


def _activation(trial: _Trial) -> Activation | None:
    x = next(trial.draws)
    changed = x.clone()
    changed[..., 0] *= -2.0
    zero, y, rolled, beside = trial.at_once(torch.zeros_like(x), x, x.roll(1, -1), changed)
    if y.shape != x.shape or float(zero.abs().max()) > _NEARLY:
        return None
    if not (trial.near(rolled, y.roll(1, -1)) and trial.near(beside[..., 1:], y[..., 1:])):
        return None
    with torch.enable_grad():
        origin = torch.zeros_like(x).requires_grad_(True)
        (slope,) = torch.autograd.grad(trial.run(origin).sum(), origin)
    return Activation(trial.module, float(slope.flatten()[0]))


def _norm(trial: _Trial) -> Norm | None:
    """Fit the form of a norm to one draw and prove it on another."""
    x, fresh = next(trial.draws) * 1e3, next(trial.draws)  # x so that no epsilon counts
    shift, y, moved, again = trial.at_once(torch.zeros_like(x), x, x + 3e3, fresh)
    if y.shape != x.shape:
        return None
    centred = trial.near(moved, y)
    z = x - x.mean(-1, keepdim=True) if centred else x
    unit = z / z.square().mean(-1, keepdim=True).sqrt()
    for axes in range(1, x.ndim):  # the trailing ones that share their weights, fewest first
        last = x.ndim - 1 - axes
        lead = unit.flatten(0, last)
        weight = ((y - shift).flatten(0, last) * lead).sum(0) / (lead * lead).sum(0)
        norm = Norm(trial.module, weight, shift.flatten(0, last)[0], centred)
        if trial.near(norm.moved(fresh) * norm.fitted(fresh, again) + norm.shift, again):
            return norm
    return None
