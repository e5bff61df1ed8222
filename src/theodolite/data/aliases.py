"""The one table that maps the column names of public prompt files to the fields of a Prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

# Columns that answer yes or no whether the row is harmful.
FLAGS: Final = ("harmful", "is_harmful")

# In order of preference: where a file has several of a row's names, the first one is taken and
# the others stay in `meta`. "instruction" stands before "input" because files that have both
# keep an optional context in "input"; "prompt" before "goal" because the prompt wraps the goal.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id", "prompt_id", "index", "idx", "uid", "uuid", "behavior_id", "question_id"),
    "text": (
        "text",
        "prompt",
        "instruction",
        "input",
        "request",
        "goal",
        "question",
        "query",
        "adversarial",
        "forbidden_prompt",
        "user_input",
        "behavior",
    ),
    "messages": ("messages", "conversation", "conversations", "dialog", "chat"),
    "label": ("label", "harm_label", "harmfulness", *FLAGS),
    "style": ("style", "wrapper", "method", "attack"),
    "goal_id": ("goal_id",),
    "pair_id": ("pair_id",),
    "source": ("source", "dataset", "origin"),
    "category": (
        "category",
        "semantic_category",
        "semanticcategory",
        "functional_category",
        "type",
        "topic",
        "domain",
        "hazard",
    ),
    "split": ("split",),
    "language": ("language", "lang"),
    "meta": ("meta",),
}

COMPLETION: Final = ("completion", "response", "output", "answer", "generation", "model_output")

LABELS: Final[Mapping[str, str]] = {
    "harmful": "harmful",
    "unsafe": "harmful",
    "malicious": "harmful",
    "harmless": "benign",
    "benign": "benign",
    "safe": "benign",
}

ANSWERS: Final[Mapping[str, str]] = {
    "true": "harmful",
    "yes": "harmful",
    "1": "harmful",
    "false": "benign",
    "no": "benign",
    "0": "benign",
}

SPLIT_NAMES: Final[Mapping[str, str]] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def fold(name: str) -> str:
    """Return a column name as the table spells it: lower case, words joined by underscores."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def map_columns(header: Iterable[str]) -> dict[str, str]:
    """Return which column of a file holds which field of a Prompt.

    Args:
        header: the column names as the file spells them.

    Returns:
        field -> column, for the fields the file has.
    """
    columns: dict[str, str] = {}
    for column in header:
        columns.setdefault(fold(column), column)
    found: dict[str, str] = {}
    for field, names in ALIASES.items():
        for name in names:
            if name in columns:
                found[field] = columns[name]
                break
    return found
