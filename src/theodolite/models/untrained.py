"""The same architecture before any training: the floor for what a network has learnt.

Random layers mix words into states that a classifier reads well, so a figure on a trained model
says something about its training only beside this one. Everything but the weights is the model's
own: configuration, tokenizer, chat format, dtype and device.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from theodolite.errors import CapabilityError
from theodolite.models.prove import prove
from theodolite.models.quiet import quiet
from theodolite.text.hashing import content_key, item_seed

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

VERSION = 1


def untrained(model: LanguageModel, seed: int) -> LanguageModel:
    """Return a model of the same architecture whose weights its family has drawn anew.

    Args:
        model: an open local model; interventions that are active on it do not act on the new one.
        seed: equal seeds give equal weights, on every device (they are drawn on the CPU in
            float32).

    Returns: a handle with a fingerprint of its own; the tokenizer is shared.

    Raises:
        CapabilityError: the model runs elsewhere, is quantised, or lies on several devices.
        UnsupportedArchitecture: the anatomy could not be proven on the new weights.

    Note: needs the memory of a second model; the global random state is left as it was.
    """
    model.require("hidden_states")
    _check(model)
    # Only the CPU's generator is seeded: `torch.manual_seed` would move those of GPUs too.
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(item_seed(seed, "untrained"))
        module = type(model.module)(deepcopy(model.module.config))
    module = module.to(device=model.device, dtype=model.dtype).eval().requires_grad_(False)
    return replace(
        model,
        ref=f"{model.ref} (untrained, seed {seed})",
        name=f"{model.name}-untrained-{seed}",
        fingerprint=content_key("untrained", VERSION, model.fingerprint, seed),
        module=module,
        anatomy=prove(module),
        interventions=(),
    )


def _check(model: LanguageModel) -> None:
    module: Any = model.module
    if getattr(module, "is_quantized", False):
        why = "its weights are stored quantised, which no family draws"
    elif len({p.device for p in module.parameters()}) > 1:
        why = "its weights lie on several devices"
    else:
        return
    raise CapabilityError(
        f"An untrained copy of {model.ref}",
        why,
        "Open it without quantization, on one device",
    )
