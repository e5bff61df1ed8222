"""Safety fine-tuning: TRL's supervised trainer on rows that are already token ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch.nn import functional
from trl import SFTConfig, SFTTrainer

from theodolite.training.batches import IGNORED
from theodolite.training.opening import opens_exactly, shared_opening, states_after_opening
from theodolite.training.penalty import MODEL_INPUTS
from theodolite.training.tree import model_inputs

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.training.penalty import StillSubspace


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """Runs passes up to the states that completion tokens follow."""

    anatomy: Anatomy
    shares: bool | None = None  # whether rows may share their opening; None: not tried yet

    def states_and_labels(
        self, model: Any, inputs: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last states of a pass and their labels; a shared opening is run once.

        Returns: axes (row, token, d_model) and (row, token), both without the shared opening.
        """
        inner = _body(model)
        kept = {name: inputs[name] for name in MODEL_INPUTS if name in inputs}
        ids, labels = inputs["input_ids"], inputs["labels"]
        opening = (
            0 if "position_ids" in kept or self.shares is False else shared_opening(ids, labels)
        )
        if opening and self.shares is None:
            trains = inner.training
            inner.eval()  # without dropout, so that the trial draws no chance that a step is due
            self.shares = opens_exactly(inner, ids, kept["attention_mask"], opening)
            inner.train(trains)
        if not opening or not self.shares:
            return inner(**kept, use_cache=False).last_hidden_state, labels
        states = states_after_opening(inner, ids, kept["attention_mask"], opening)
        return states, labels[:, opening:]

    def tree_states(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the last states of a pass that is one tree; axes (token, d_model)."""
        inner = _body(model)
        found: torch.Tensor = inner(**model_inputs(inputs, inner.dtype), use_cache=False)[0]
        return found[0]


def _body(model: Any) -> Any:
    """Return the model without its output layer, adapters in place."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model


class _Trainer(CompletionTrainer):
    """Loss over completions, and the penalty where there is one."""

    penalty: StillSubspace | None = None

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of one pass; where prompts end is for the penalty, not for the model."""
        rows, tokens, still = (inputs.pop(name) for name in ("rows", "prompt_last", "still"))
        if self.penalty is None or not bool(still.any()):
            return self._completion_loss(model, inputs, num_items_in_batch)
        places = (rows[still], tokens[still])
        with self.penalty.reading(places) as states:
            loss = self._completion_loss(model, inputs, num_items_in_batch)
        passes = self.current_gradient_accumulation_steps
        return loss + self.penalty.of(model, inputs, places, states) / passes

    def _completion_loss(self, model: Any, inputs: dict[str, torch.Tensor], items: Any) -> Any:
        """Return the mean loss of completion tokens over all passes of the step.

        TRL's own loss runs the output layer at every position where there is no Triton, which is
        half of the time of a short row on a CPU; here it runs where a completion token follows.
        """
        if inputs["input_ids"].is_cuda or self.aux_loss_enabled:
            return super().compute_loss(model, inputs, num_items_in_batch=items)
        final, labels = self.states_and_labels(model, inputs)
        final, labels = final[:, :-1], labels[:, 1:]
        asked = labels != IGNORED
        logits = self.anatomy.logits_from_final(final[asked]).float()
        loss = functional.cross_entropy(logits, labels[asked], reduction="sum")
        return loss / (asked.sum() if items is None else items)


Kind = TypeVar("Kind", bound=CompletionTrainer)


def completion_trainer(
    kind: type[Kind], parts: Mapping[str, Any], arguments: Mapping[str, Any], anatomy: Anatomy
) -> Kind:
    """Return a trainer of a kind; rows are passed through as they are.

    Args:
        parts: model, tokenizer, data set of planned passes, collator and adapter.
        arguments: of the training, as `session` sets them.
        anatomy: of the model.
    """
    config = SFTConfig(
        **arguments, dataset_kwargs={"skip_prepare_dataset": True}, shuffle_dataset=False
    )
    trainer = kind(args=config, **parts)
    trainer.anatomy = anatomy
    if arguments["gradient_checkpointing"]:
        trainer.shares = False  # checkpoints keep no cache
    return trainer


def ssft_trainer(
    parts: Mapping[str, Any],
    arguments: Mapping[str, Any],
    anatomy: Anatomy,
    penalty: StillSubspace | None,
) -> Any:
    """Return TRL's trainer with its loss on completions only.

    Args:
        parts, arguments, anatomy: as `completion_trainer` takes them.
        penalty: holds a subspace still.
    """
    trainer = completion_trainer(_Trainer, parts, arguments, anatomy)
    trainer.penalty = penalty
    if penalty is not None:
        trainer.shares = False  # a penalty counts places in whole rows
    return trainer
