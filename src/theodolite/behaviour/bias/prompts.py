"""The wording of this benchmark: what its groups are called where people read of them.

What a model is told is the wording of the methods, in `correction/perspective_taking/wording`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GROUPS: Final[Mapping[str, str]] = {
    "women": "women",
    "men": "men",
    "ostvale": "Ostvale (invented)",
    "merrowin": "Merrowin (invented)",
    "karthene": "Karthene (invented)",
    "American_actors": "American actors (men)",
    "American_actresses": "American actresses",
    "European_Americans": "European Americans",
    "African_Americans": "African Americans",
    "Asian_Americans": "Asian Americans",
}


def in_words(group: str) -> str:
    """Return what a group is called; one of a user's own is called what the file calls it."""
    return GROUPS.get(group, group)
