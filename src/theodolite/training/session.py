"""Train: walk the planned steps with TRL, keep checkpoints, and be able to go on where it stopped.

TRL's trainers compute the losses and take the steps. Order, learning rate and chance come from the
plan, checkpoints are ours: a session trains the steps that are left, so stopping and going on
changes no byte of the result (same machine, same number of threads).
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import PrinterCallback, TrainerCallback

from theodolite.data.prompts import shown
from theodolite.errors import CapabilityError, ConfigError, NumericsError
from theodolite.models.quiet import quiet
from theodolite.runs.panel import Progress
from theodolite.runs.run import Run
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean
from theodolite.training import checkpoint as checkpoints
from theodolite.training.batches import Layout, lean, packed, packs_exactly, padded, paired, ranked
from theodolite.training.examples import Example
from theodolite.training.schedule import Plan
from theodolite.training.start import trainable_start
from theodolite.training.tree import grows_exactly, tree

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.training.penalty import StillSubspace

# TRL's name for the frozen copy of a starting adapter; it is no part of the trained model.
REFERENCE: Final = "ref"


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Args:
        module: the trained module; an adapter still lies beside the weights.
        log: a row per step: step (from 1), loss, lr, tokens, seconds.
        trainable: how many numbers were trained, and of how many.
        layout: how the rows of a pass became tensors, in a word.
    """

    module: Any
    log: tuple[dict[str, Any], ...]
    trainable: tuple[int, int]
    layout: str


def train(
    model: LanguageModel,
    examples: Sequence[Example],
    plan: Plan,
    *,
    run: Run,
    progress: Progress,
    penalty: StillSubspace | None = None,
) -> Trained:
    """Train an opened model on planned steps; goes on from the run's checkpoint where there is one.

    Args:
        model: its module is changed: wrapped into an adapter, or trained itself. Where the recipe
            starts from an adapter, the model without it.
        examples: what the plan's passes point at.

    Raises:
        NumericsError: the loss is not finite; names the step.
        RunError: the checkpoint belongs to another plan.
        KeyboardInterrupt: Ctrl-C; the last checkpoint is kept.
    """
    path = run.path / checkpoints.NAME
    done = checkpoints.finished_steps(path, plan.key)
    layout = _layout(model, examples, plan)
    collate = _collator(model, examples, layout)
    folder = Path(tempfile.mkdtemp(prefix="theodolite-"))
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what TRL, transformers and PEFT tell each other
            trainer = _trainer(model, plan, done, collate, folder, penalty)
            trainer.remove_callback(PrinterCallback)
            if plan.recipe.method == "listwise":
                trainer.reference = _reference(trainer, collate, examples, plan, run, progress)
            parameters = checkpoints.trainable(trainer.model)
            optimizer = _optimizer(parameters, plan)
            if done:
                checkpoints.load_checkpoint(path, parameters, optimizer, step=done)
            trainer.optimizer = optimizer
            trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: plan.rate(min(done + step, len(plan) - 1))
            )
            watch = _Watch(run, plan, examples, done, progress, parameters, optimizer)
            trainer.add_callback(watch)
            progress.start("training steps", len(plan))
            progress.advance(done)
            if done < len(plan):
                trainer.train()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    named = trainer.model.named_parameters()
    total = sum(p.numel() for name, p in named if f".{REFERENCE}." not in name)
    return Trained(
        module=trainer.model,
        log=training_log(run, len(plan)),
        trainable=(sum(p.numel() for p in parameters.values()), total),
        layout=layout.__name__,
    )


def training_log(run: Run, steps: int) -> tuple[dict[str, Any], ...]:
    """Return the rows of the steps that are finished, in order."""
    found = (run.journal.get(_key(step)) for step in range(1, steps + 1))
    return tuple(dict(row) for row in found if row is not None)


def _layout(model: LanguageModel, examples: Sequence[Example], plan: Plan) -> Layout:
    """Return how rows become tensors; packing is taken where it changes nothing but the speed."""
    if plan.recipe.method == "listwise":
        return tree if grows_exactly(model.module, examples) else ranked
    if plan.recipe.prefers:
        return paired
    if plan.recipe.packing is False:
        return padded
    if packs_exactly(model.module, examples):
        return packed if plan.recipe.packing else lean
    if plan.recipe.packing:
        raise CapabilityError(
            f"Packing rows for {model.name}",
            "packed rows would attend to each other in this family",
            "Leave `packing` out of the recipe",
        )
    return padded


def _collator(model: LanguageModel, examples: Sequence[Example], layout: Layout) -> Any:
    fill = _padding(model)

    def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        places = [place for item in items for place in item["rows"]]
        batch = layout([examples[place] for place in places], fill)
        if layout in (
            ranked,
            tree,
        ):  # the reference goes by places, the loss by the rows of the step
            batch |= {"places": torch.tensor(places), "of": torch.tensor(items[0]["of"])}
        return batch

    return collate


def _padding(model: LanguageModel) -> int:
    pad = model.tokenizer.pad_token_id
    return int(pad if pad is not None else (model.tokenizer.eos_token_id or 0))


def _reference(
    trainer: Any,
    collate: Any,
    examples: Sequence[Example],
    plan: Plan,
    run: Run,
    progress: Progress,
) -> dict[int, torch.Tensor]:
    """Return what the model says of every answer of the plan before its first step."""
    from theodolite.training.reference import reference_logprobs

    return reference_logprobs(
        trainer,
        examples,
        [rows for step in plan.steps for rows in step],
        collate=collate,
        journal=run.journal,
        progress=progress,
    )


def _trainer(
    model: LanguageModel,
    plan: Plan,
    done: int,
    collate: Any,
    folder: Path,
    penalty: StillSubspace | None,
) -> Any:
    from datasets import Dataset

    recipe = plan.recipe
    passes = [
        {"rows": list(rows), "of": sum(map(len, step))}
        for step in plan.steps[done:]
        for rows in step
    ]
    goes_on = recipe.lora.start is not None
    parts: dict[str, Any] = {
        "model": trainable_start(model.module, recipe) if goes_on else model.module,
        "processing_class": model.tokenizer,
        "train_dataset": Dataset.from_list(passes or [{"rows": [0], "of": 1}]),
        "data_collator": collate,
        "peft_config": None if recipe.full or goes_on else _lora(model, plan),
    }
    if recipe.full:
        model.module.requires_grad_(True)
    arguments = _arguments(model, plan, done, folder)
    if recipe.method == "dpo":
        from theodolite.training.dpo import dpo_trainer

        return dpo_trainer(parts, arguments, recipe)
    if recipe.method == "listwise":
        from theodolite.training.listwise import listwise_trainer

        return listwise_trainer(parts, arguments, model.anatomy, recipe)
    from theodolite.training.ssft import ssft_trainer

    return ssft_trainer(parts, arguments, model.anatomy, penalty)


def _lora(model: LanguageModel, plan: Plan) -> Any:
    """Return PEFT's settings of the adapter.

    Raises: ConfigError: a target names no linear layer of a block.
    """
    from peft import LoraConfig

    lora = plan.recipe.lora
    linear = {
        name.rpartition(".")[2]
        for block in model.anatomy.blocks
        for name, module in block.named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
    }
    if not isinstance(lora.targets, str):
        for target in lora.targets:
            if target not in linear:
                raise ConfigError(
                    f"`lora.targets` names {shown(target)}, and no block of {model.name} has a "
                    "linear layer of that name.",
                    fix=did_you_mean(target, linear),
                )
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else sorted(lora.targets),
        task_type="CAUSAL_LM",
    )


def _arguments(model: LanguageModel, plan: Plan, done: int, folder: Path) -> dict[str, Any]:
    """Return what both trainers are told; all that TRL would decide or write itself is off."""
    recipe = plan.recipe
    cpu = model.device.type == "cpu"
    return {
        "output_dir": str(folder),
        "max_steps": max(1, len(plan) - done),
        "per_device_train_batch_size": 1,  # an item of the data set is a whole pass
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.learning_rate,
        "max_grad_norm": recipe.grad_clip,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "bf16": model.dtype == torch.bfloat16 and not cpu,
        "use_cpu": cpu,
        "seed": recipe.seed,
        "max_length": None,  # rows that are too long never get here
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def _optimizer(parameters: dict[str, torch.nn.Parameter], plan: Plan) -> torch.optim.AdamW:
    """Return AdamW; norms and biases are not decayed."""
    matrices = [p for p in parameters.values() if p.ndim >= 2]
    vectors = [p for p in parameters.values() if p.ndim < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}]
    if vectors:
        groups.append({"params": vectors, "weight_decay": 0.0})
    recipe = plan.recipe
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _key(step: int) -> str:
    return f"step/{step}"


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Seeds every step, keeps the log and the checkpoints, and tells of progress."""

    def __init__(
        self,
        run: Run,
        plan: Plan,
        examples: Sequence[Example],
        done: int,
        progress: Progress,
        parameters: dict[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.run, self.plan, self.done, self.progress = run, plan, done, progress
        self.parameters, self.optimizer = parameters, optimizer
        self.lengths = [sum(len(e.prompt) + len(a) for a in e.answers) for e in examples]
        self.began = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        torch.manual_seed(item_seed(self.plan.recipe.seed, "step", self.done + state.global_step))
        self.began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "loss" not in (logs or {}):
            return
        step = self.done + state.global_step
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise NumericsError(
                f"The loss of step {step} is {loss}.", fix="Lower the learning rate."
            )
        row = {
            "step": step,
            "loss": loss,
            "lr": self.plan.recipe.learning_rate * self.plan.rate(step - 1),
            "tokens": sum(self.lengths[i] for rows in self.plan.steps[step - 1] for i in rows),
            "seconds": time.monotonic() - self.began,
        }
        self.run.journal.put(_key(step), row)
        if step % self.plan.recipe.save_steps == 0 or step == len(self.plan):
            checkpoints.save_checkpoint(
                self.run.path / checkpoints.NAME,
                self.parameters,
                self.optimizer,
                step=step,
                plan=self.plan.key,
            )
        self.progress.advance()
