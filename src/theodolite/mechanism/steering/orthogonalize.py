"""Weights that cannot write along a direction, inside one context and in memory only.

Ablating a direction at everything that writes to the stream equals projecting it out of the weights
that write there: W <- (I - v v^T) W for the embeddings, the output projections of attention and the
last projections of the MLPs, biases included. It is here to check the one against the other, and
because no hooks cost nothing while a measurement runs. The model's own tensors are never touched:
edited copies stand in their places and leave with the context. While they do, the model carries
another fingerprint and refuses to be trained or written to disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from theodolite.data.prompts import shown
from theodolite.engine.intervention_fields import digest
from theodolite.engine.intervention_lines import orthonormal
from theodolite.errors import CapabilityError, ConfigError
from theodolite.mechanism.directions.direction import Direction
from theodolite.models.taps import read
from theodolite.text.hashing import content_key
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel

__all__ = ["ROLES", "orthogonalized"]

ROLES: Final = ("embed", "attn_out", "mlp_out")
_INSTEAD: Final = 'Use `intervene` with mode "ablate" at all sites, which needs no weights'
# Names of the projection from an MLP's inner width to the stream, in the families that are known.
_DOWN: Final = ("down_proj", "dense_4h_to_h", "fc2", "fc_out", "c_proj")
_WRITES: Final = ("save_pretrained", "push_to_hub", "state_dict")
_LEFT: Final = {torch.float32: 1e-5, torch.float64: 1e-9}
_LEFT_NARROW: Final = 3e-2
_TOKENS: Final = 3


@contextmanager
def orthogonalized(
    model: LanguageModel,
    direction: Direction | Sequence[Direction],
    roles: Sequence[str] = ROLES,
) -> Iterator[LanguageModel]:
    """Let the weights write nothing along directions while the context is open.

    Source: arXiv:2406.11717, section 2.4. Ours: position tables count as embeddings, tied
        embeddings are untied inside the context, and a forward pass proves the result.

    Args:
        model: an open local model.
        direction: one, or several whose span is projected out.
        roles: what is edited, of `ROLES`.

    Raises:
        ConfigError: a role is not known, or a direction has another width.
        CapabilityError: the weights are quantised or elsewhere, a norm follows them, an MLP has no
            single last projection, or the stream still holds the direction; nothing was changed.

    Note: memory is one copy of the edited weights. They lie on the module: other threads that use
        the model feel them too. Everything is put back bit by bit, also under an exception.
    """
    model.require("interventions")
    units = _units(model.anatomy, direction)
    writers = _writers(model.anatomy, roles)
    with ExitStack() as stack:
        probe = torch.randn(2, units.shape[1], generator=torch.Generator().manual_seed(0))
        read_out = _logits(model, probe)
        for module in writers:
            for name in ("weight", "bias"):
                own = module._parameters.get(name)
                if own is not None:
                    stack.callback(module._parameters.__setitem__, name, own)
                    module._parameters[name] = _projected(module, name, own, units)
        _prove(model, units, roles)
        if not torch.equal(_logits(model, probe), read_out):
            raise CapabilityError(
                f"Orthogonalising {model.ref}",
                "its output layer changes with the weights that write",
                _INSTEAD,
            )
        _mark(stack, model, content_key("orthogonalised", digest(units), list(roles)))
        yield model


def _units(anatomy: Anatomy, direction: Direction | Sequence[Direction]) -> torch.Tensor:
    """Return an orthonormal basis of what is projected out, axes (direction, d_model)."""
    several = [direction] if isinstance(direction, Direction) else list(direction)
    for one in several:
        if one.vector.size != anatomy.d_model:
            raise ConfigError(
                f"The direction {shown(one.name)} has the width {one.vector.size}, and the model "
                f"has {anatomy.d_model}.",
                fix="Fit it on this model.",
            )
    if not several:
        raise ConfigError("There is no direction.", fix="Give at least one.")
    return orthonormal(torch.stack([torch.from_numpy(one.vector) for one in several]))


def _writers(anatomy: Anatomy, roles: Sequence[str]) -> list[nn.Module]:
    """Return the modules whose weights write to the stream; none is touched."""
    for role in roles or ("",):
        if role not in ROLES:
            raise ConfigError(f"There is no role {shown(role)}.", fix=did_you_mean(role, ROLES))
    if anatomy.row.post_norm and set(roles) != {"embed"}:
        raise CapabilityError(
            f"Orthogonalising a model of the family {anatomy.family}",
            "a norm stands between its projections and the stream, and would turn what they write",
            _INSTEAD,
        )
    found: list[nn.Module] = []
    if "embed" in roles:
        found += [m for m in anatomy.decoder.modules() if isinstance(m, nn.Embedding)]
    for block in anatomy.blocks:
        if "attn_out" in roles:
            found.append(block.get_submodule(anatomy.row.out_proj))
        if "mlp_out" in roles:
            found.append(_down(anatomy, block.get_submodule(anatomy.row.mlp)))
    for module in found:
        weight: Any = module.weight
        if not weight.is_floating_point() or weight.is_meta:
            raise CapabilityError(
                f"Orthogonalising a model of the family {anatomy.family}",
                "its weights are stored quantised or off the device",
                _INSTEAD,
            )
    return list(dict.fromkeys(found))


def _down(anatomy: Anatomy, mlp: nn.Module) -> nn.Module:
    """Return the projection that writes an MLP's output."""
    if isinstance(getattr(mlp, "weight", None), torch.Tensor):
        return mlp
    named = [child for name, child in mlp.named_children() if name in _DOWN]
    if len(named) != 1 or any(True for _ in named[0].children()):
        raise CapabilityError(
            f"Orthogonalising a model of the family {anatomy.family}",
            f"no single projection writes the role mlp_out ({type(mlp).__name__} mixes experts, or "
            "its parts are not known)",
            _INSTEAD,
        )
    return named[0]


def _projected(
    module: nn.Module, name: str, own: nn.Parameter, units: torch.Tensor
) -> nn.Parameter:
    """Return a copy of a parameter without what it writes along the units."""
    exact = own.detach().to(torch.promote_types(own.dtype, torch.float32))
    u = units.to(exact)
    # Embeddings, biases and the transposed projections of GPT-2 hold the stream on the last axis.
    last = name == "bias" or isinstance(module, nn.Embedding) or type(module).__name__ == "Conv1D"
    new = exact - (exact @ u.mT) @ u if last else exact - u.mT @ (u @ exact)
    return nn.Parameter(new.to(own.dtype), requires_grad=False)


def _prove(model: LanguageModel, units: torch.Tensor, roles: Sequence[str]) -> None:
    """Refuse unless what the roles write holds nothing along the units, on a few tokens.

    Raises: CapabilityError: naming the place and how much is left.
    """
    anatomy = model.anatomy
    sites = [site for site in ("attn_out", "mlp_out") if site in roles]
    places = [(n, site) for n in range(anatomy.n_layers) for site in sites]
    if "embed" in roles:
        places.insert(0, (0, "resid_pre"))
    left: dict[tuple[int, str], float] = {}

    def look(place: tuple[int, str], value: torch.Tensor) -> None:
        wide = value.double()
        along = (wide @ units.mT.to(wide)).norm(dim=-1)
        left[place] = float((along / wide.norm(dim=-1).clamp_min(1e-30)).max())

    ids = torch.linspace(anatomy.vocab_size // 3, anatomy.vocab_size - 1, _TOKENS).long()
    taps = {place: anatomy.tap(*place) for place in places}
    with model.lock, torch.inference_mode(), read(taps, look):
        anatomy.decoder(input_ids=ids[None].to(model.device), use_cache=False)
    most = _LEFT.get(model.dtype, _LEFT_NARROW)
    for (layer, site), share in left.items():
        if not share <= most:
            raise CapabilityError(
                f"Orthogonalising {model.ref}",
                f"{site} of layer {layer} still holds {share:.1e} of its length along the "
                "direction, so something else writes there",
                _INSTEAD,
            )


def _logits(model: LanguageModel, hidden: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.anatomy.logits_from_final(hidden.to(model.device, model.dtype))


def _mark(stack: ExitStack, model: LanguageModel, key: str) -> None:
    """Give the model another fingerprint, and let nothing train it or write it to disk."""

    def refused(*_: Any, **__: Any) -> Any:
        raise CapabilityError(
            f"Writing {model.ref} to disk inside `orthogonalized`",
            "these weights exist for a measurement only",
            "Leave the context first",
        )

    before = model.fingerprint, model.capabilities
    stack.callback(_restore, model, *before)
    model.fingerprint = content_key(model.fingerprint, key)
    model.capabilities = model.capabilities - {"training"}
    own: dict[str, Any] = model.module.__dict__
    for name in _WRITES:
        if name in own:  # a context around this one
            stack.callback(own.__setitem__, name, own[name])
        else:
            stack.callback(own.pop, name)
        own[name] = refused


def _restore(model: LanguageModel, fingerprint: str, capabilities: frozenset[str]) -> None:
    model.fingerprint, model.capabilities = fingerprint, capabilities
