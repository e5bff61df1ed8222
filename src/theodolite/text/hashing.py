"""Stable hashes: the source of every content key and of every random choice."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def content_key(*parts: Any) -> str:
    """Return a 32-character hex key of JSON-like values, equal on every machine and run."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def item_seed(seed: int, *parts: Any) -> int:
    """Return the 63-bit seed of one item, independent of batch, order and worker."""
    return int(content_key(seed, *parts)[:16], 16) >> 1
