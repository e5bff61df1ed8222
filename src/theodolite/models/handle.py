"""Handles: a model is opened once and serves text, log-probabilities, states and interventions."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from theodolite.errors import CapabilityError

if TYPE_CHECKING:
    import torch

    from theodolite.models.anatomy import Anatomy
    from theodolite.models.chat import ChatFormat

CAPABILITIES: dict[str, str] = {
    "text": "generating text",
    "logprobs": "reading log-probabilities",
    "hidden_states": "reading hidden states",
    "interventions": "changing activations",
    "training": "training adapters",
}


@dataclass(eq=False)
class LanguageModel:
    """An opened local model: Hugging Face module, tokenizer, and proven anatomy.

    Args:
        ref: the reference it was opened by.
        name: short name for run folders and tables.
        revision: hub commit, or None.
        fingerprint: content key of weights, config, tokenizer, adapter, dtype and chat template.
        module: `PreTrainedModel` in eval mode, without gradients.
        tokenizer: a fast tokenizer.
        max_context: longest prompt plus completion in tokens, or None where the config names none.
        trained_by: the method of training that its adapter names; None where none does.
        interventions: the active ones; the engine adds and removes them.
        lock: held during a pass; its hooks lie on the module and act in every thread.
    """

    ref: str
    name: str
    revision: str | None
    fingerprint: str
    module: Any
    tokenizer: Any
    anatomy: Anatomy
    chat: ChatFormat
    dtype: torch.dtype
    device: torch.device
    max_context: int | None
    trained_by: str | None = None
    capabilities: frozenset[str] = frozenset(CAPABILITIES)
    interventions: tuple[Any, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def require(self, *capabilities: str) -> None:
        """Refuse with a `CapabilityError` unless the handle has every capability named."""
        _require(self.ref, self.capabilities, capabilities, "the handle was opened without it")


@dataclass(frozen=True, eq=False)
class ApiModel:
    """A model behind an API: text in, text out.

    Args:
        ref: `api:PROVIDER/MODEL`.
        name: `PROVIDER/MODEL`, as inspect_ai names it.
        fingerprint: content key of the reference; a provider may change the model behind it.
    """

    ref: str
    name: str
    fingerprint: str
    revision: None = None
    module: None = None
    tokenizer: None = None
    anatomy: None = None
    chat: None = None
    dtype: None = None
    device: None = None
    max_context: None = None
    capabilities: frozenset[str] = field(default=frozenset({"text"}))

    def require(self, *capabilities: str) -> None:
        """Refuse with a `CapabilityError` unless only text is asked for."""
        _require(self.ref, self.capabilities, capabilities, "an API returns text only")


def _require(ref: str, have: frozenset[str], wanted: tuple[str, ...], why: str) -> None:
    for capability in wanted:
        if capability not in have:
            raise CapabilityError(
                f"{CAPABILITIES[capability].capitalize()} with {ref}",
                why,
                "Use a local model, for example smollm2",
            )
