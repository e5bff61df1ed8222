"""LoRA adapters: read from safetensors, merged into the opened model in memory."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

from theodolite.errors import ModelError
from theodolite.models.sources import PICKLED, check_safetensors
from theodolite.text.display import escape

WEIGHTS = "adapter_model.safetensors"
CARD = "data_card.json"  # lies in the folder of an adapter of ours
_METHOD = re.compile(r"[a-z]+(?:[ -][a-z]+){0,15}")


def check_adapter(folder: Path) -> None:
    """Refuse a folder that is not a whole LoRA adapter in safetensors form.

    Raises:
        ModelError: says what is missing, pickled, or of another kind.
    """
    shown = escape(str(folder), 160)
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"'{shown}' is not an adapter: there is no adapter_config.json in it.",
            fix="Give the folder that peft's save_pretrained wrote.",
        )
    if not (folder / WEIGHTS).is_file():
        pickled = any(path.suffix in PICKLED for path in folder.iterdir())
        raise ModelError(
            f"The adapter '{shown}' has "
            + ("pickled weights only, which can run code." if pickled else "no weights."),
            fix=f"Save it again as {WEIGHTS}.",
        )
    check_safetensors(folder / WEIGHTS)
    try:
        kind = json.loads((folder / "adapter_config.json").read_text("utf-8"))["peft_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"The adapter_config.json of '{shown}' cannot be read.", fix="Save the adapter again."
        ) from error
    if kind != "LORA":
        raise ModelError(
            f"The adapter '{shown}' is of kind '{escape(str(kind), 40)}'.",
            fix="Only LoRA adapters can be opened.",
        )


def adapter_method(folder: Path) -> str | None:
    """Return the method of training that the data card in an adapter's folder names, if any.

    An adapter that went on from another names both in turn: `ssft-chat then dpo`.
    """
    try:
        named = json.loads((folder / CARD).read_text("utf-8"))["method"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return named if isinstance(named, str) and _METHOD.fullmatch(named) else None


def apply_adapter(module: Any, folder: Path, *, merge: bool) -> Any:
    """Put a checked LoRA adapter on a model.

    Args:
        merge: add it to the weights in memory, so that every part of the model is plain again;
            left beside them where the weights are quantised.

    Returns: the causal language model, changed in place.

    Raises:
        ModelError: the adapter was made for another model, or holds whole embeddings that its
            config does not speak of.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    vocabulary = _vocabulary(module)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
            wrapped = PeftModel.from_pretrained(module, str(folder))
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        # The first line may only announce those that say what does not fit.
        said = [line.strip().rstrip(".") for line in str(error).strip().splitlines()]
        what = next((line for line in said if not line.endswith(":")), type(error).__name__)
        raise ModelError(
            f"The adapter '{escape(str(folder), 160)}' does not fit this model: "
            f"{escape(what, 240)}.",
            fix="Open the base model it was trained on.",
        ) from error
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        # Left to itself, peft asks the hub whether the vocabulary has grown.
        own = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        strangers = set(own) ^ set(file.keys())
    whole = strangers & vocabulary - set(own)
    if whole and whole == strangers:
        raise ModelError(
            f"The adapter '{escape(str(folder), 160)}' also holds whole weights of the vocabulary "
            f"('{escape(min(whole), 120)}'), which its config does not name and nothing reads.",
            fix="Save it again with save_embedding_layers=False; if they were trained, name their "
            "modules in modules_to_save.",
        )
    if strangers:  # peft would leave them out, or at their random start
        raise ModelError(
            f"The adapter '{escape(str(folder), 160)}' does not fit this model: "
            f"{len(strangers)} weights are on one side only, such as "
            f"'{escape(min(strangers), 120)}'.",
            fix="Open the base model it was trained on.",
        )
    return wrapped.merge_and_unload() if merge else wrapped.base_model.model


def _vocabulary(module: Any) -> set[str]:
    """Return what peft calls the weights of the embeddings and of the output layer in a file."""
    ends = (module.get_input_embeddings(), module.get_output_embeddings())
    names = [name for name, each in module.named_modules() if any(each is end for end in ends)]
    kinds = ("", ".base_layer")
    return {f"base_model.model.{name}{kind}.weight" for name in names for kind in kinds}
