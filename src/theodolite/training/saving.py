"""Write what was trained: an adapter or a whole model, in safetensors, without machine paths."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from theodolite.models.adapters import CARD
from theodolite.models.quiet import quiet
from theodolite.models.refs import parse_reference
from theodolite.runs.atomic import as_run_error, write_file, write_text
from theodolite.runs.strict_json import strict_dumps

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

ADAPTER: Final = "adapter"
MODEL: Final = "model"
_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def base_name(ref: str) -> str:
    """Return how an adapter names its base: a reference anybody can open, never a local path."""
    reference = parse_reference(ref)
    return ref if reference.kind in ("bundled", "hub") else reference.name


def save_adapter(
    folder: Path, module: Any, *, base: str, dtype: str, card: Mapping[str, Any]
) -> Path:
    """Write a LoRA adapter; equal weights give equal bytes.

    Args:
        module: the PEFT model.
        base: the reference of the model it was trained on.
        dtype: `float32` or `bfloat16`, of the stored weights.
        card: what it was trained by and on, in counts and hashes; it goes with the adapter.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    # Left to itself, peft asks the hub whether the vocabulary has grown.
    weights = get_peft_model_state_dict(module, save_embedding_layers=False)
    kept = {
        name: tensor.detach().cpu().to(_DTYPES[dtype]).contiguous().clone()
        for name, tensor in sorted(weights.items())
    }
    config = {key: _plain(value) for key, value in module.peft_config["default"].to_dict().items()}
    config |= {
        "base_model_name_or_path": base_name(base),
        "inference_mode": True,
        "auto_mapping": None,
        "revision": None,
    }
    with as_run_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        write_text(folder / "adapter_config.json", text)
        write_text(folder / CARD, strict_dumps(dict(card), indent=1) + "\n")
        write_file(
            folder / "adapter_model.safetensors",
            lambda path: save_file(kept, str(path), metadata={"format": "pt"}),
        )
    return folder


def save_model(folder: Path, model: LanguageModel, module: Any, *, dtype: str) -> Path:
    """Write a whole model and its tokenizer as a folder that `open_model` reads."""
    module.config._name_or_path = base_name(model.ref)
    with as_run_error(folder), quiet():
        module.to(_DTYPES[dtype]).save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
    return folder


def _plain(value: Any) -> Any:
    """Return a setting as JSON; sets are sorted, or their order would change from run to run."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return getattr(value, "value", value)
