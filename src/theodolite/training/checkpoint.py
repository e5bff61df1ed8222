"""The checkpoint of a training: weights and optimiser state in one safetensors file.

The file is written beside the old one and renamed, so that a killed training finds one whole
checkpoint. No random state is kept: every step seeds its own chance from the plan's seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from theodolite.errors import RunError
from theodolite.runs.atomic import as_run_error, write_file
from theodolite.text.display import escape

NAME = "checkpoint.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def trainable(module: Any) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def save_checkpoint(
    path: Path,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    plan: str,
) -> None:
    """Write the state after `step` finished steps, whole or not at all.

    Args:
        plan: the key of the plan; only a training of the same plan may go on from here.
    """
    from safetensors.torch import save_file

    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.detach()
        for moment in _MOMENTS:
            tensors[f"{moment}/{name}"] = optimizer.state[parameter][moment]
    kept = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    facts = {"step": str(step), "plan": plan}
    with as_run_error(path):
        write_file(path, lambda temporary: save_file(kept, str(temporary), metadata=facts))


def finished_steps(path: Path, plan: str) -> int:
    """Return after how many steps the checkpoint was written; 0 where there is none.

    Raises:
        RunError: the file is broken, or belongs to another plan.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{escape(str(path))} cannot be read: {escape(str(error), 120)}.",
            fix="Delete it to train from the start.",
        ) from error
    if facts.get("plan") != plan or not facts.get("step", "").isdigit():
        raise RunError(
            f"{escape(str(path))} belongs to another training: its rows, recipe or tokenizer "
            "differ.",
            fix="Start a new run.",
        )
    return int(facts["step"])


def load_checkpoint(
    path: Path,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
) -> None:
    """Put weights and optimiser state back as they were after `step` steps.

    Raises:
        RunError: the file does not hold exactly the parameters that are trained.
    """
    from safetensors import safe_open

    kinds = ("weight", *_MOMENTS)
    with safe_open(path, framework="pt") as file:
        if set(file.keys()) != {f"{kind}/{name}" for kind in kinds for name in parameters}:
            raise RunError(
                f"{escape(str(path))} holds other weights than this recipe trains.",
                fix="Start a new run.",
            )
        for name, parameter in parameters.items():
            place = {"device": parameter.device}
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"weight/{name}"))
            optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                **{m: file.get_tensor(f"{m}/{name}").to(**place) for m in _MOMENTS},
            }
