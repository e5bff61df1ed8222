"""How many tokens and rows one pass may have, known before the run and equal on every run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel

# Wider passes are not faster on a CPU (caches), narrower ones read the weights too often.
CPU_TOKENS = 768
GPU_TOKENS = 16384
CPU_ROWS = 64
GPU_ROWS = 256
# Of what is left beside the weights, one pass may take this part.
SHARE = 0.4
# And keys and values that wait for later turns this one.
REMEMBERED = 0.3


def token_budget(model: LanguageModel, longest: int) -> int:
    """Return the most tokens of one pass, halved until it fits the machine's memory.

    Args:
        model: an open model.
        longest: tokens of the longest sequence.

    Note: asks for the memory the machine has, not for what is free, so that a resumed run on the
        same machine plans the same batches.
    """
    budget = CPU_TOKENS if model.device.type == "cpu" else GPU_TOKENS
    room = memory_left(model) * SHARE
    while budget > max(longest, 64) and budget * bytes_per_token(model) > room:
        budget //= 2
    return budget


def row_budget(model: LanguageModel, length: int) -> int:
    """Return the most rows to decode together, given the longest prompt and answer in tokens."""
    rows = CPU_ROWS if model.device.type == "cpu" else GPU_ROWS
    room = memory_left(model) * SHARE
    # Keys and values exist twice while a batch is relaid or compacted; logits are float32.
    each = 2 * length * kv_bytes_per_token(model) + 12 * model.anatomy.vocab_size
    while rows > 1 and rows * each > room:
        rows //= 2
    return rows


def remembered_bytes(model: LanguageModel) -> float:
    """Return the most bytes of keys and values to hold for later prompts."""
    return memory_left(model) * REMEMBERED


def kv_bytes_per_token(model: LanguageModel) -> int:
    """Return bytes of keys and values one token leaves in all layers."""
    anatomy = model.anatomy
    return 2 * anatomy.n_layers * anatomy.n_kv_heads * anatomy.head_dim * model.dtype.itemsize


def bytes_per_token(model: LanguageModel) -> int:
    """Return an upper estimate of what one token of a running pass holds in memory."""
    anatomy = model.anatomy
    config: Any = model.module.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * anatomy.d_model
    live = 8 * anatomy.d_model + 4 * inner  # one block's temporaries
    return live * max(model.dtype.itemsize, 4) + kv_bytes_per_token(model)


def memory_left(model: LanguageModel) -> float:
    """Return bytes of memory on the model's device beside the model's own weights."""
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    everything = _memory(model)
    return float(max(everything - weights, everything * 0.05))


def _memory(model: LanguageModel) -> float:
    if model.device.type == "cuda":
        import torch

        return float(torch.cuda.get_device_properties(model.device).total_memory)
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:  # a container may have less than its machine
        return min(total, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):
        return total
