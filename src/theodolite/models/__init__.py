"""Models: one handle per opened model, its proven anatomy, and its prompts as tokens."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "open_model": "open",
    "open_pair": "pair",
    "ModelPair": "pair",
    "LanguageModel": "handle",
    "ApiModel": "handle",
    "Anatomy": "anatomy",
    "Tap": "taps",
    "Encoded": "chat",
    "encode": "chat",
    "encode_all": "chat",
    "encode_plain": "chat",
    "resolve_position": "positions",
    "parse_reference": "refs",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
