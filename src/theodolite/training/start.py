"""Go on from an adapter: a training that begins with its weights, on the base it was made for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.models.adapters import WEIGHTS, adapter_method, check_adapter
from theodolite.models.bundled import BUNDLED, bundled_adapter
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean
from theodolite.training.recipe import Lora, Recipe

BUNDLED_START: Final = "bundled:"


def start_folder(start: str) -> Path:
    """Return the folder of the adapter that `lora.start` names.

    Raises:
        ConfigError: there is no such folder or bundled adapter.
        ModelError: the folder holds no whole LoRA adapter in safetensors form.
    """
    if start.startswith(BUNDLED_START):
        name = start.removeprefix(BUNDLED_START)
        found = bundled_adapter(name)
        if found is None:
            known = [each for each, model in BUNDLED.items() if model.base]
            raise ConfigError(
                f"`lora.start` names the bundled adapter {shown(name)}, and there is none.",
                fix=did_you_mean(name, known),
            )
        return found[1]
    folder = Path(start)
    if not folder.is_dir():
        raise ConfigError(
            f"`lora.start` names {escape(start, 160)}, and there is no such folder.",
            fix="Check the path.",
        )
    check_adapter(folder)
    return folder


def going_on(recipe: Recipe) -> Recipe:
    """Return a recipe with rank, alpha and targets of the adapter it starts from, if it does.

    Raises:
        ConfigError: the recipe names others, or the adapter was made for another bundled model.
        ModelError: the folder holds no whole adapter.
    """
    if recipe.lora.start is None:
        return recipe
    folder = start_folder(recipe.lora.start)
    config = _config(folder)
    base = config.base_model_name_or_path
    if base in BUNDLED and recipe.model in BUNDLED and base != recipe.model:
        raise ConfigError(
            f"The adapter `lora.start` names was made for {base}, and the recipe trains "
            f"{recipe.model}.",
            fix=f'Use model = "{base}".',
        )
    own: dict[str, Any] = {
        "r": int(config.r),
        "alpha": float(config.lora_alpha),
        "targets": _targets(folder),
    }
    for name, value in own.items():
        asked, default = getattr(recipe.lora, name), getattr(Lora(), name)
        if asked != default and _plain(asked) != _plain(value):
            raise ConfigError(
                f"`lora.{name}` is {asked!r}, and the adapter of `lora.start` has {value!r}.",
                fix=f"Leave `lora.{name}` out: it is the adapter's.",
            )
    return replace(recipe, lora=replace(recipe.lora, **own))


def trainable_start(module: Any, recipe: Recipe) -> Any:
    """Return a base model with the starting adapter beside its weights, ready to be trained.

    Args:
        module: the causal language model without that adapter; changed in place.

    Returns: the PEFT model; only the adapter's weights have gradients.
    """
    from peft import PeftModel

    folder = start_folder(str(recipe.lora.start))
    config = _config(folder)
    config.lora_dropout = recipe.lora.dropout
    return PeftModel.from_pretrained(module, str(folder), config=config, is_trainable=True)


def start_file(recipe: Recipe) -> dict[str, Path]:
    """Return the weights that the training starts from, for the manifest; {} without any."""
    start = recipe.lora.start
    return {} if start is None else {"start": start_folder(start) / WEIGHTS}


def methods_of(recipe: Recipe) -> str:
    """Return the method of a recipe, after that of the adapter it starts from where it is known."""
    start = recipe.lora.start
    before = None if start is None else adapter_method(start_folder(start))
    return f"{before} then {recipe.method}" if before else recipe.method


def _config(folder: Path) -> Any:
    from peft import LoraConfig

    return LoraConfig.from_pretrained(str(folder))


def _targets(folder: Path) -> tuple[str, ...]:
    """Return the names of the modules an adapter lies on, as its weights tell them."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        modules = {name.partition(".lora_")[0] for name in file.keys() if ".lora_" in name}  # noqa: SIM118 (no mapping)
    return tuple(sorted({module.rpartition(".")[2] for module in modules}))


def _plain(value: Any) -> Any:
    """Return a value to compare by: the order of names says nothing."""
    return value if isinstance(value, str) or not isinstance(value, Iterable) else set(value)
