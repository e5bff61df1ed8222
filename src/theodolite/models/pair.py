"""Pairs: a model before and after training, opened for comparison on the same prompts.

Where the second is the first with a LoRA adapter, both are opened from one load: the aligned model
has modules of its own, so that hooks and interventions on one never act on the other, and shares
every parameter; its adapted layers carry the adapter in a side path. Everything else is two loads.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from theodolite.errors import CapabilityError, ConfigError, DataError
from theodolite.models.adapters import WEIGHTS, adapter_method, apply_adapter, check_adapter
from theodolite.models.anatomy import Anatomy
from theodolite.models.bundled import bundled_adapter
from theodolite.models.handle import LanguageModel
from theodolite.models.low_rank import LowRank
from theodolite.models.open import fingerprint_of, open_model
from theodolite.models.prove import prove
from theodolite.models.quiet import quiet
from theodolite.models.refs import parse_reference
from theodolite.models.sources import locate
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

# What a tokenizer file says of its last use, not of how it cuts text.
_USE = ("padding", "truncation", "version")
_SIDE_PATH = (".lora_A.weight", ".lora_B.weight")


@dataclass(frozen=True, eq=False)
class ModelPair:
    """Two open models that read the same tokens.

    Args:
        base: the model before training.
        aligned: the model after it.
        shared: both come from one load and share their unadapted parameters.
        same_until: the highest hidden_index at which both streams are the same numbers, because
            nothing below it was adapted; -1 where that is not known.
    """

    base: LanguageModel
    aligned: LanguageModel
    shared: bool = False
    same_until: int = -1

    def __post_init__(self) -> None:
        check_comparable(self.base, self.aligned)

    @property
    def name(self) -> str:
        """Both names, for tables."""
        return f"{self.base.name} -> {self.aligned.name}"


def open_pair(
    base: str,
    aligned: str | None = None,
    *,
    adapter: str | Path | None = None,
    dtype: str = "auto",
    device: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    verify: bool = False,
    chat_options: Mapping[str, Any] | None = None,
) -> ModelPair:
    """Open a model before and after training.

    Args:
        base: reference of the model before training.
        aligned: reference of the model after it, such as "smollm2-aligned", or the folder of a LoRA
            adapter of the base; may be left out where an `adapter` is given.
        adapter: folder of a LoRA adapter of the base.
        dtype, device, revision, trust_remote_code, verify, chat_options: as for `open_model`, for
            both; the revision is the base's.

    Returns: both handles, usable at any time and in any order; in memory the base and the adapter
        where one load is enough, else two models.

    Raises:
        ModelError, UnsupportedArchitecture: as for `open_model`.
        ConfigError: an adapter and another aligned model are given, or neither.
        DataError: the two cannot be compared: tokenizer, chat template, width or depth differ.
        CapabilityError: one of them runs behind an API.

    Note: an adapter that touches more than linear layers is merged into a second load.
    """
    folder, named = _adapter_of(base, aligned, adapter)
    options: dict[str, Any] = {
        "dtype": dtype,
        "device": device,
        "trust_remote_code": trust_remote_code,
        "verify": verify,
        "chat_options": chat_options,
    }
    first = _local(open_model(base, revision=revision, **options))
    if aligned not in (None, base) and folder is None:
        return ModelPair(first, _local(open_model(str(aligned), **options)))
    module = _twin(first.module, folder)
    if module is None:
        second = open_model(base, revision=revision, adapter=folder, **options)
        return ModelPair(first, _local(second))
    second = _beside(first, module, base, folder, named, trust_remote_code, verify)
    return ModelPair(first, second, shared=True, same_until=_same_until(module, second.anatomy))


def _beside(
    first: LanguageModel,
    module: nn.Module,
    base: str,
    folder: Path | None,
    named: str | None,
    code: bool,
    verify: bool,
) -> LanguageModel:
    """Return the handle of the trained model that shares the first one's weights."""
    reference = parse_reference(named or base)
    source = locate(reference, revision=first.revision, code=code, verify=verify)
    return LanguageModel(
        ref=named or base,
        name=named or (first.name if folder is None else f"{first.name}+{folder.name}"),
        revision=first.revision,
        fingerprint=fingerprint_of(
            source,
            None if named else folder,
            dtype=first.dtype,
            template_hash=first.chat.template_hash,
            verify=verify,
        ),
        module=module,
        tokenizer=first.tokenizer,
        anatomy=prove(module),
        chat=first.chat,
        dtype=first.dtype,
        device=first.device,
        max_context=first.max_context,
        trained_by=None if folder is None else adapter_method(folder),
    )


def check_comparable(base: LanguageModel, aligned: LanguageModel) -> None:
    """Refuse two models whose states on a prompt cannot be set side by side.

    Raises: DataError: their tokenizers, chat templates, widths or depths differ (both are named).
    """
    facts = {
        "tokenizers": (tokenizer_hash(base.tokenizer), tokenizer_hash(aligned.tokenizer)),
        "chat templates": (base.chat.template_hash, aligned.chat.template_hash),
        "widths": (base.anatomy.d_model, aligned.anatomy.d_model),
        "depths": (base.anatomy.n_layers, aligned.anatomy.n_layers),
    }
    for what, (one, other) in facts.items():
        if one != other:
            raise DataError(
                f"{_shown(base)} and {_shown(aligned)} cannot be compared, as their {what} differ: "
                f"{_short(one)} and {_short(other)}.",
                fix="Give the model that the second one was trained from.",
            )


def tokenizer_hash(tokenizer: Any) -> str:
    """Return the hash of how a tokenizer cuts text; padding and truncation do not count."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return content_key({key: value for key, value in state.items() if key not in _USE})


def is_side_path(folder: Path) -> bool:
    """Return whether a LoRA adapter is nothing but low-rank paths beside linear layers.

    Raises: ModelError: it is no whole adapter.
    """
    from safetensors import safe_open

    check_adapter(folder)
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        return all(name.endswith(_SIDE_PATH) for name in file.keys())  # noqa: SIM118


def _adapter_of(
    base: str, aligned: str | None, adapter: str | Path | None
) -> tuple[Path | None, str | None]:
    """Return the adapter that makes the aligned model of the base, and its name if it has one."""
    if adapter is not None:
        if aligned not in (None, base):
            raise ConfigError(
                f"An adapter of '{escape(base, 120)}' was given, and another aligned model too.",
                fix="Leave one of them out.",
            )
        return Path(adapter), None
    if aligned is None:
        raise ConfigError(
            "A pair needs the model after training.", fix="Give `aligned`, or an `adapter`."
        )
    own = bundled_adapter(aligned)
    if own is not None and own[0] == base:
        return own[1], aligned
    folder = Path(aligned).expanduser()
    return (folder, None) if (folder / "adapter_config.json").is_file() else (None, None)


def _local(model: Any) -> LanguageModel:
    if not isinstance(model, LanguageModel):
        raise CapabilityError(
            f"Comparing the states of {model.ref}",
            "an API returns text only",
            "Give two local models",
        )
    return model


def _twin(module: nn.Module, folder: Path | None) -> nn.Module | None:
    """Return a copy that shares every parameter and buffer, with an adapter beside its layers.

    Returns: None where the adapter is more than paths beside linear layers.
    """
    if folder is not None and not is_side_path(folder):
        return None  # seen before it is applied, as it might write into what is shared
    kept = [*module.parameters(), *module.buffers()]
    twin = copy.deepcopy(module, {id(tensor): tensor for tensor in kept})
    if folder is not None:
        with quiet():
            twin = apply_adapter(twin, folder, merge=False)
        if not _unwrap(twin):
            return None
    return twin.eval().requires_grad_(False)


def _unwrap(module: nn.Module) -> bool:
    """Replace the adapter library's layers by `LowRank` ones, whose weight is the effective one.

    Returns: False where a layer is not a plain linear one.
    """
    from peft.tuners.lora import LoraLayer
    from transformers.pytorch_utils import Conv1D

    wrapped = {name: m for name, m in module.named_modules() if isinstance(m, LoraLayer)}
    for name, layer in wrapped.items():
        plain = layer.get_base_layer()
        if type(plain) not in (nn.Linear, Conv1D):
            return False
        down = layer.lora_A["default"].weight.data
        up = layer.lora_B["default"].weight.data * layer.scaling["default"]
        beside = LowRank(plain, down, up, transposed=isinstance(plain, Conv1D))
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, beside)
    return True


def _same_until(module: nn.Module, anatomy: Anatomy) -> int:
    """Return the highest hidden_index that no adapted layer lies below."""
    adapted = {id(m) for m in module.modules() if isinstance(m, LowRank)} - {id(anatomy.lm_head)}
    inside = [{id(m) for m in block.modules()} & adapted for block in anatomy.blocks]
    if adapted - set().union(*inside):
        return -1
    return next((i for i, found in enumerate(inside) if found), anatomy.n_layers)


def _shown(model: LanguageModel) -> str:
    return f"'{escape(model.name, 80)}'"


def _short(fact: object) -> str:
    return str(fact)[:12]
