"""Text that several parts share: hashing, normalising, safe display and name suggestions."""

from theodolite.text.display import escape, truncate
from theodolite.text.hashing import content_key, item_seed
from theodolite.text.normalise import normalise, strip_reasoning
from theodolite.text.suggest import did_you_mean, nearest

__all__ = [
    "content_key",
    "did_you_mean",
    "escape",
    "item_seed",
    "nearest",
    "normalise",
    "strip_reasoning",
    "truncate",
]
