"""Anatomy: one vocabulary for the parts of any decoder-only model.

decoder
  embed                    (0, resid_pre) is what enters block 0, after any embedding scale
  blocks[layer]            resid_pre -> resid_post = resid_pre + attn_out + mlp_out
    attn                   attn_out, the vector added to the stream
      attention function   head_q is its query: after norm and rotation, all heads side by side
      out_proj             head_z is its input, all heads side by side
    mlp                    mlp_out, the vector added to the stream
  final_norm               final_norm
lm_head                    logits = softcap(scale * lm_head(final_norm))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from theodolite.errors import CapabilityError, ConfigError, UnsupportedArchitecture
from theodolite.models.attention import require_interface
from theodolite.models.families import FAMILIES, Family
from theodolite.models.taps import Tap
from theodolite.text.display import escape

BLOCK_SITES = ("resid_pre", "head_z", "attn_out", "mlp_out", "resid_post")
SITES = (*BLOCK_SITES, "final_norm")
QUERY_SITE = "head_q"  # not in `SITES`: families that compute attention by themselves have none
_OTHER_MODEL = "Open it with a supported version of transformers, or use another model."
_LOCAL_KINDS = ("sliding_attention", "chunked_attention", "local")


@dataclass(frozen=True, eq=False)
class OutProjection:
    """How heads enter the stream: attention output = sum over heads of z_h @ weight[h] + bias.

    Args:
        weight: axes (head, head_dim, d_model), a view of the model's own weight.
        bias: axes (d_model), or None.
        adds_up: the sum, times `scale`, is `attn_out`; False where a norm stands in between.
    """

    weight: Tensor
    bias: Tensor | None
    scale: float
    adds_up: bool


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one opened model under the names used everywhere (sizes are counts)."""

    family: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    head_dim: int
    vocab_size: int
    sliding_windows: tuple[int | None, ...]
    parallel_blocks: bool
    decoder: nn.Module = field(repr=False)
    embed: nn.Module = field(repr=False)
    blocks: Sequence[nn.Module] = field(repr=False)
    final_norm: nn.Module = field(repr=False)
    lm_head: nn.Module = field(repr=False)
    row: Family = field(repr=False)
    scales: Mapping[str, float]
    logit_softcap: float | None

    def tap(self, layer: int, site: str) -> Tap:
        """Return where a site's value lives.

        Args:
            layer: the block, 0 to n_layers - 1; ignored for `final_norm`.
            site: one of `SITES`, or "head_q".

        Raises:
            ConfigError: no such site or layer.
            CapabilityError: "head_q" in a family that does not show its queries.
        """
        if site == "final_norm":
            return Tap(self.final_norm, "output")
        if site not in (*BLOCK_SITES, QUERY_SITE):
            raise ConfigError(f"There is no site '{site}'.", fix=f"Use one of {', '.join(SITES)}.")
        if not 0 <= layer < self.n_layers:
            raise ConfigError(
                f"There is no layer {layer}: the model has {self.n_layers} layers.",
                fix=f"Use 0 to {self.n_layers - 1}.",
            )
        block, row = self.blocks[layer], self.row
        if site == QUERY_SITE:
            require_interface(self)
            return Tap(self.attention(layer), "query")
        if site == "resid_pre":
            return Tap(block, "input")
        if site == "resid_post":
            return Tap(block, "output")
        if site == "head_z":
            return Tap(block.get_submodule(row.out_proj), "input")
        if site == "attn_out":
            return Tap(block.get_submodule(row.attn), "output", self.scales["attn"])
        return Tap(
            block.get_submodule(row.mlp),
            "output",
            self.scales["mlp"],
            clone=row.mlp_in_place,
            folded_by=block if row.mlp_folded else None,
        )

    def attention(self, layer: int) -> nn.Module:
        """Return the module that computes a block's attention: the one with the out projection."""
        return self.blocks[layer].get_submodule(self.row.out_proj.rpartition(".")[0])

    def logits_from_final(self, hidden: Tensor) -> Tensor:
        """Map `final_norm` values, axes (..., d_model), to the model's logits, (..., vocab)."""
        logits = cast(Tensor, self.lm_head(hidden))
        if self.scales["logits"] != 1.0:
            logits = logits * self.scales["logits"]
        if self.logit_softcap is not None:
            logits = torch.tanh(logits / self.logit_softcap) * self.logit_softcap
        return logits

    def splits_heads(self, layer: int) -> bool:
        """Return whether the output projection's weight is at hand as plain numbers."""
        weight = cast(Tensor, self.blocks[layer].get_submodule(self.row.out_proj).weight)
        return weight.is_floating_point() and not weight.is_meta

    def out_projection(self, layer: int) -> OutProjection:
        """Return the output projection of a block, split by head.

        Raises: CapabilityError: the weight is stored quantised, so its heads cannot be taken apart.
        """
        module = self.blocks[layer].get_submodule(self.row.out_proj)
        weight = cast(Tensor, module.weight)
        if not self.splits_heads(layer):
            raise CapabilityError(
                "Splitting attention by head",
                "the output projection of this model is stored quantised or off the device",
                "Open the model without quantization, on a device that holds it",
            )
        by_input = weight if self.row.transposed else weight.T
        return OutProjection(
            weight=by_input.reshape(self.n_heads, self.head_dim, -1),
            bias=cast("Tensor | None", getattr(module, "bias", None)),
            scale=self.scales["attn"],
            adds_up=not self.row.post_norm,
        )


def bind(module: nn.Module, family: str, row: Family) -> Anatomy:
    """Bind a family's row to a live model; nothing is proven yet.

    Raises: UnsupportedArchitecture: the row names modules or config fields that the model does not
        have (all are listed with what they are for), or the model has no block.
    """
    model = cast(Any, module)
    config = model.config.get_text_config()
    missing = _missing_modules(module, row) + _missing_fields(config, row)
    if missing:
        raise UnsupportedArchitecture(
            f"The parts of this '{escape(family, 40)}' model are not where expected: it has no "
            f"{', no '.join(missing)}.",
            fix=_OTHER_MODEL,
        )
    try:
        decoder = module.get_submodule(row.decoder)
        blocks = cast(Sequence[nn.Module], decoder.get_submodule(row.blocks))
        return Anatomy(
            family=family,
            n_layers=len(blocks),
            n_heads=config.num_attention_heads,
            n_kv_heads=_kv_heads(config, row),
            d_model=config.hidden_size,
            head_dim=getattr(config, row.head_dim, None)
            or config.hidden_size // config.num_attention_heads,
            vocab_size=config.vocab_size,
            sliding_windows=_windows(config, row, len(blocks)),
            parallel_blocks=row.parallel,
            decoder=decoder,
            embed=model.get_input_embeddings(),
            blocks=blocks,
            final_norm=decoder.get_submodule(row.final_norm),
            lm_head=model.get_output_embeddings(),
            row=row,
            scales={
                "attn": _fact(config, row.attn_scale),
                "mlp": _fact(config, row.mlp_scale),
                "logits": _fact(config, row.logit_scale) / _fact(config, row.logit_divisor),
            },
            logit_softcap=getattr(config, row.logit_softcap) if row.logit_softcap else None,
        )
    except (AttributeError, TypeError, RuntimeError) as error:
        raise UnsupportedArchitecture(
            f"The parts of this '{escape(family, 40)}' model are not where expected: {error}.",
            fix=_OTHER_MODEL,
        ) from error


def rows_for(config: Any) -> tuple[Family, ...]:
    """Return the rows of a model's family whose conditions its config meets (empty: unknown)."""
    rows = FAMILIES.get(config.model_type, ())
    text = config.get_text_config()
    return tuple(r for r in rows if all(getattr(text, k) == v for k, v in r.when.items()))


def _missing_modules(module: nn.Module, row: Family) -> list[str]:
    """Return the roles whose modules are not there, with the names looked for."""
    roles = {
        "decoder": row.decoder,
        "blocks": f"{row.decoder}.{row.blocks}",
        "final norm": f"{row.decoder}.{row.final_norm}",
    }
    missing = [role for role, name in roles.items() if _submodule(module, name) is None]
    found = [f"{role} '{roles[role]}'" for role in missing]
    if "blocks" not in missing:
        blocks = list(module.get_submodule(roles["blocks"]).children())
        if not blocks:
            found.append(f"block in '{roles['blocks']}'")
        inside = {
            "attention": row.attn,
            "MLP": row.mlp,
            "projection from heads to the stream": row.out_proj,
        }
        for role, name in inside.items():
            without = [n for n, block in enumerate(blocks) if _submodule(block, name) is None]
            if without:
                where = f"in layer {without[0]}"
                if len(without) > 1:
                    where += f" and {len(without) - 1} more"
                found.append(f"{role} '{name}' {where}")
    return found


def _missing_fields(config: Any, row: Family) -> list[str]:
    """Return the fields that are not in a configuration, with their names."""
    roles = (
        ("number of heads", "num_attention_heads"),
        ("width", "hidden_size"),
        ("size of the vocabulary", "vocab_size"),
        ("scale of attention", row.attn_scale),
        ("scale of the MLP", row.mlp_scale),
        ("scale of the logits", row.logit_scale),
        ("divisor of the logits", row.logit_divisor),
        ("cap of the logits", row.logit_softcap),
    )
    return [
        f"{role} (config field '{name}')"
        for role, name in roles
        if name is not None and not hasattr(config, name)
    ]


def _submodule(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def _fact(config: Any, name: str | None) -> float:
    return 1.0 if name is None else float(getattr(config, name))


def _kv_heads(config: Any, row: Family) -> int:
    if isinstance(row.kv_heads, int):
        return row.kv_heads
    return int(getattr(config, row.kv_heads, None) or config.num_attention_heads)


def _windows(config: Any, row: Family, n_layers: int) -> tuple[int | None, ...]:
    """Return the attention window of each layer in tokens; None where it sees everything."""
    window = getattr(config, row.window, None)
    kinds = getattr(config, row.layer_kinds, None) or ["sliding_attention"] * n_layers
    return tuple(window if kind in _LOCAL_KINDS else None for kind in kinds)
