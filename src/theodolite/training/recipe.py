"""The recipe: one TOML file that decides a training, checked before anything is opened.

method = "ssft-chat"
model = "smollm2"
epochs = 2

[data]
rows = ["bundled:safety_training", "mine.jsonl"]
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from theodolite.errors import ConfigError
from theodolite.runs.config import load_config

Method = Literal["ssft-label", "ssft-chat", "dpo", "listwise"]
Ranking = Literal["pairs", "plackett-luce"]
Form = Literal["pairs", "conditional", "order"]
Schedule = Literal["constant", "linear", "cosine"]
PREFERENCES: Final = ("dpo", "listwise")
# In which forms a method reads preference groups; the first is its own.
FORMS: Final[Mapping[str, tuple[str, ...]]] = {
    "dpo": ("conditional", "pairs"),
    "listwise": ("order", "conditional"),
}
DTYPES: Final = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class Data:
    """Where rows come from.

    Args:
        rows: row files (see `training.rows`), or `bundled:NAME`; `train` rows are trained on, `val`
            rows measured before and after, `test` rows left alone.
        weights: how often a row of a source is seen per epoch, by the row's `source`; 1 where not
            named, 0.5 is every second row, drawn anew each epoch.
        form: what is made of files of preference groups: `conditional` (how to go on from a begun
            reply; the default of `dpo`), `pairs` (whole replies; `dpo`) or `order` (all replies of
            a group; the default of `listwise`).
    """

    rows: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    form: Form | None = None


@dataclass(frozen=True)
class Lora:
    """The adapter.

    Args:
        r: rank.
        alpha: scale; the update is multiplied by alpha / r.
        dropout: share of the adapter's inputs dropped in training.
        targets: `all-linear`, or the names of modules, e.g. ["q_proj", "v_proj"].
        start: the folder of an adapter whose weights the training begins with, or `bundled:NAME`;
            r, alpha and targets are that adapter's. None begins with none.
    """

    r: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"
    start: str | None = None


@dataclass(frozen=True)
class Penalty:
    """Hold a subspace of the stream still on benign rows that stand in a style.

    Adds mu * sum_l ||P_l (h - h_0)||^2, averaged over those rows, at the last prompt token; h_0 is
    the stream of the model before training.

    Args:
        subspace: a safetensors file with one tensor `L<hidden_index>` per depth, axes
            (component, d_model); None for no penalty.
        mu: its weight.
    """

    subspace: str | None = None
    mu: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training's result.

    Args:
        method: `ssft-label` (a moderator's word), `ssft-chat` (answers of a chat), `dpo` or
            `listwise` (answers in their order).
        model, revision: what is trained.
        dtype: the weights while training; `auto` is float32 on a CPU.
        full: train all weights instead of an adapter.
        epochs, max_steps: passes over the rows; and where to stop at the latest.
        batch_size: rows of one forward pass.
        gradient_accumulation: forward passes of one step.
        schedule, warmup: the learning rate after the warm-up, a share of all steps.
        grad_clip: largest norm of a gradient; 0 for none.
        max_length: most tokens of prompt and completion; None is what the model reads.
        too_long: longer rows are an `error`, or left out (`leave_out`) and counted; never cut.
        packing: lay the rows of a pass end to end, without padding; None: SSFT does where that is
            faster and the model keeps packed rows apart. Preferences are never packed.
        gradient_checkpointing: less memory for about a fifth more time.
        save_steps: steps between two checkpoints; a stopped training goes on from the last.
        store_dtype: of the saved adapter or model.
        beta: strength of the tie to the model before training, for preferences.
        ranking: what `listwise` makes of an order: the loss of all its `pairs`, or
            `plackett-luce`.
        sft_weight: weight of the loss per token on the best answer beside that of the preference.
        length_normalised: `listwise` compares log-probabilities per token.
    """

    method: Method = "ssft-chat"
    model: str = "smollm2"
    revision: str | None = None
    dtype: str = "auto"
    device: str | None = None
    seed: int = 0
    full: bool = False
    epochs: int = 1
    max_steps: int | None = None
    batch_size: int = 8
    gradient_accumulation: int = 1
    learning_rate: float = 2e-4
    schedule: Schedule = "cosine"
    warmup: float = 0.1
    weight_decay: float = 0.0
    grad_clip: float = 1.0
    max_length: int | None = None
    too_long: Literal["error", "leave_out"] = "error"
    packing: bool | None = None
    gradient_checkpointing: bool = False
    save_steps: int = 20
    store_dtype: Literal["float32", "bfloat16"] = "bfloat16"
    beta: float = 0.1
    ranking: Ranking = "pairs"
    sft_weight: float = 0.0
    length_normalised: bool = False
    data: Data = field(default_factory=Data)
    lora: Lora = field(default_factory=Lora)
    penalty: Penalty = field(default_factory=Penalty)

    @property
    def command(self) -> str:
        """The command that runs this recipe."""
        return f"train {self.method if self.prefers else 'ssft'}"

    @property
    def prefers(self) -> bool:
        """Whether the method learns from preferences."""
        return self.method in PREFERENCES


def load_recipe(path: Path | None, overrides: dict[str, Any] | None = None) -> Recipe:
    """Return a checked recipe.

    Args:
        path: the TOML file; relative row files are looked up beside it.
        overrides: options of the command line, by key.

    Raises:
        ConfigError: a key is unknown (the nearest is named), a value is of the wrong type or out of
            range, or two settings exclude each other.
    """
    recipe = load_config(Recipe, path, overrides)
    if path is not None:
        recipe = beside(recipe, path.parent)
    check_recipe(recipe)
    return recipe


def beside(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe whose relative files are those in a folder, where they are there."""

    def found(name: str) -> str:
        return str(folder / name) if (folder / name).exists() else name

    rows = tuple(found(name) for name in recipe.data.rows)
    subspace, start = recipe.penalty.subspace, recipe.lora.start
    return replace(
        recipe,
        data=replace(recipe.data, rows=rows),
        lora=replace(recipe.lora, start=None if start is None else found(start)),
        penalty=replace(recipe.penalty, subspace=None if subspace is None else found(subspace)),
    )


def check_recipe(recipe: Recipe) -> None:
    """Refuse values that cannot be used.

    Raises: ConfigError: names the key.
    """
    for key, low in _AT_LEAST.items():
        value = getattr(recipe, key)
        if value is not None and value < low:
            raise ConfigError(f"`{key}` is {value}.", fix=f"Give at least {low}.")
    for key, value in _numbers(recipe).items():
        if not math.isfinite(value) or value < 0:
            raise ConfigError(f"`{key}` is {value}.", fix="Give a number from 0 up.")
    _check_shares(recipe)
    if not recipe.data.rows:
        raise ConfigError(
            "The recipe names no rows.", fix='Add rows = ["bundled:NAME", ...] under [data].'
        )
    if recipe.dtype not in DTYPES:
        raise ConfigError(f"`dtype` is {recipe.dtype!r}.", fix=f"Use {', '.join(DTYPES)}.")
    _check_preferences(recipe)
    if recipe.lora.start is not None and recipe.full:
        raise ConfigError(
            "`lora.start` is an adapter to train on, and `full` trains all weights.",
            fix="Leave one of them out.",
        )
    if (recipe.penalty.subspace is None) != (recipe.penalty.mu == 0.0):
        raise ConfigError(
            "The penalty needs both a subspace and a `mu` above 0.", fix="Set both or neither."
        )
    if recipe.penalty.subspace is not None and (recipe.full or recipe.prefers):
        raise ConfigError(
            "The penalty compares with the model before training, which only SSFT of an adapter "
            "keeps at hand.",
            fix='Use method = "ssft-chat" or "ssft-label" without `full`.',
        )
    if recipe.penalty.subspace is not None and recipe.lora.start is not None:
        raise ConfigError(
            "The penalty compares with the model whose adapter is off, which is not where a "
            "training with `lora.start` begins.",
            fix="Leave `lora.start` or the penalty out.",
        )


def _check_preferences(recipe: Recipe) -> None:
    if recipe.prefers and recipe.packing:
        raise ConfigError("Preferences cannot be packed.", fix="Leave `packing` out.")
    default = Recipe()
    only = {"ranking": ("listwise",), "length_normalised": ("listwise",), "sft_weight": PREFERENCES}
    for key, methods in only.items():
        if getattr(recipe, key) != getattr(default, key) and recipe.method not in methods:
            raise ConfigError(
                f"`{key}` belongs to {' and '.join(methods)}, and the method is {recipe.method}.",
                fix="Leave it out.",
            )
    forms = FORMS.get(recipe.method, ())
    if recipe.data.form is not None and recipe.data.form not in forms:
        raise ConfigError(
            f"`data.form` is {recipe.data.form}, which {recipe.method} does not read.",
            fix=f"Use {' or '.join(forms)}." if forms else "Leave it out.",
        )


def _numbers(recipe: Recipe) -> dict[str, float]:
    found = {key: float(getattr(recipe, key)) for key in _POSITIVE}
    found |= {"lora.alpha": recipe.lora.alpha, "penalty.mu": recipe.penalty.mu}
    return found | {f"data.weights.{name}": value for name, value in recipe.data.weights.items()}


def _check_shares(recipe: Recipe) -> None:
    for key, value in (("warmup", recipe.warmup), ("lora.dropout", recipe.lora.dropout)):
        if not 0 <= value < 1:
            raise ConfigError(f"`{key}` is {value}.", fix="Give a share from 0 to below 1.")
    if recipe.lora.r < 1:
        raise ConfigError(f"`lora.r` is {recipe.lora.r}.", fix="Give a rank from 1 up.")
    targets = recipe.lora.targets
    if not targets or (isinstance(targets, str) and targets != "all-linear"):
        raise ConfigError(
            f"`lora.targets` is {targets!r}.",
            fix='Use "all-linear" or a list of module names, e.g. ["q_proj", "v_proj"].',
        )


_AT_LEAST: Final = {
    "epochs": 1,
    "max_steps": 1,
    "batch_size": 1,
    "gradient_accumulation": 1,
    "max_length": 2,
    "save_steps": 1,
}
_POSITIVE: Final = ("learning_rate", "weight_decay", "grad_clip", "beta", "warmup", "sft_weight")
