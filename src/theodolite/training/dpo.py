"""Preference training: TRL's DPO on pairs that are already token ids.

TRL would render chats itself: it closes a prompt that ends in an assistant's turn and opens a new
one, and text gets a second BOS where the tokenizer adds one. So pairs reach it as ids.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from trl import DPOConfig, DPOTrainer

from theodolite.training.recipe import Recipe


class _Trainer(DPOTrainer):  # type: ignore[misc]
    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the planned passes untouched; there is no text left to tokenise."""
        return dataset


def dpo_trainer(parts: Mapping[str, Any], arguments: Mapping[str, Any], recipe: Recipe) -> Any:
    """Return TRL's trainer; the reference is the model before training.

    Args:
        parts: model, tokenizer, data set of planned passes, collator and adapter. With a new
            adapter the reference is the model with the adapter off; with one that the training
            starts from it is a frozen copy of that adapter, which TRL makes; else a copy of the
            model.
        arguments: of the training, as `session` sets them.
    """
    losses = {"sigmoid": 1.0}
    if recipe.sft_weight:
        losses["sft"] = recipe.sft_weight  # per token of the chosen answers of a pass
    config = DPOConfig(
        **arguments,
        beta=recipe.beta,
        loss_type=list(losses),
        loss_weights=list(losses.values()),
    )
    reference = None
    if recipe.full:
        reference = copy.deepcopy(parts["model"]).eval().requires_grad_(False)
    return _Trainer(args=config, ref_model=reference, **parts)
