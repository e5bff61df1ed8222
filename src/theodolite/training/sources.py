"""The rows of a recipe: read from files and bundled sets, checked together, and counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from theodolite.data.bundled import bundled, bundled_version
from theodolite.data.moderation import FRAME_VERSION
from theodolite.data.preference_groups import read_groups
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.runs.strict_json import strict_dumps
from theodolite.text.suggest import did_you_mean
from theodolite.training.guard import refuse_unsafe_rows, unsafe_groups
from theodolite.training.preference_rows import (
    as_order,
    form_of,
    holds_groups,
    preference_rows,
)
from theodolite.training.recipe import Recipe
from theodolite.training.rows import (
    TrainingRow,
    check_method,
    read_rows,
    refuse_leaking_rows,
    rows_of,
)

BUNDLED: Final = "bundled:"
SAFETY: Final = "bundled:safety"  # rows of ours; the model that is trained writes their answers
TRAINED, HELD_OUT, LEFT_ALONE = "trained on", "held out", "left alone"
TOO_LONG: Final = "left out: too long"
NOT_SEEN_TO_DECLINE: Final = "left out: an answer to harm is not seen to decline"
USES: Final = {"train": TRAINED, "val": HELD_OUT, "test": LEFT_ALONE}


@dataclass(frozen=True)
class Rows:
    """All rows of a recipe, checked.

    Args:
        rows: in the order of the sources.
        files: the row files and the versions of bundled sets, by name, for the manifest.
        left_out: why a row is not used after all, by its id.
    """

    rows: tuple[TrainingRow, ...]
    files: Mapping[str, Path | str]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def used(self, split: str) -> list[TrainingRow]:
        """Return the rows of a split that are used."""
        return [row for row in self.rows if row.split == split and row.id not in self.left_out]

    def without(self, left_out: Mapping[str, str]) -> Rows:
        """Return the same rows with more of them left out."""
        return replace(self, left_out={**self.left_out, **left_out})

    def card(self) -> list[dict[str, Any]]:
        """Return the data card: rows and goals by use, split, label, style and source."""
        groups: dict[tuple[str, ...], list[TrainingRow]] = {}
        for row in self.rows:
            use = self.left_out.get(row.id, USES[row.split])
            groups.setdefault((use, row.split, row.label, row.style, row.source), []).append(row)
        names = ("use", "split", "label", "style", "source")
        return [
            {
                **dict(zip(names, key, strict=True)),
                "rows": len(rows),
                "goals": len({row.goal_id for row in rows}),
            }
            for key, rows in sorted(groups.items())
        ]

    def facts(self, recipe: Recipe) -> dict[str, Any]:
        """Return the data card as one JSON object, with hashes in place of texts."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update((strict_dumps(row.to_json()) + "\n").encode())
        uses = Counter(self.left_out.get(row.id, USES[row.split]) for row in self.rows)
        return {
            "method": recipe.method,
            "sources": {
                name: _sha256(value) if isinstance(value, Path) else value
                for name, value in self.files.items()
            },
            "rows": len(self.rows),
            "goals": len({row.goal_id for row in self.rows}),
            "uses": dict(sorted(uses.items())),
            "rows_sha256": digest.hexdigest(),
            "moderation_frame": FRAME_VERSION if recipe.method == "ssft-label" else None,
            "table": self.card(),
        }


def gather_rows(recipe: Recipe, written: Sequence[TrainingRow] | None = None) -> Rows:
    """Return the rows a recipe names.

    Args:
        written: the rows of `bundled:safety` (see `training.safety_rows`); None before the model
            has written them, then they are missing and the checks of all rows wait for them.

    Raises:
        DataError: a row is wrong, an id or a goal of one source clashes with another's, nothing is
            left to train on, or rows would train safety away.
        ConfigError: a weight names no source, or the method has no use for preference groups.
    """
    rows: list[TrainingRow] = []
    judged: list[TrainingRow] = []  # of groups: the guard has looked at whole groups
    left_out: dict[str, str] = {}
    files: dict[str, Path | str] = {}
    for name in recipe.data.rows:
        if name == SAFETY:
            if recipe.method == "listwise":
                raise ConfigError(
                    f"{SAFETY} has no ranked answers, and listwise needs them.",
                    fix="Name files of preference groups or of ranked rows.",
                )
            rows += written or ()
            files[name] = f"version {bundled_version('safety_training')}"
        elif name.startswith(BUNDLED):
            bundle = name.removeprefix(BUNDLED)
            found = rows_of(bundled(bundle))
            for row in found:
                check_method(row, recipe.method)
            rows += found
            files[name] = f"version {bundled_version(bundle)}"
        elif holds_groups(Path(name)):
            found, unsafe = _group_rows(Path(name), recipe)
            judged += found
            left_out |= dict.fromkeys(unsafe, NOT_SEEN_TO_DECLINE)
            files[name] = Path(name)
        else:
            rows += read_rows(Path(name), recipe.method)
            files[name] = Path(name)
    every = Rows((*rows, *judged), files, left_out)
    if written is None and SAFETY in recipe.data.rows:
        return every
    _refuse_shared_ids(every.rows)
    refuse_leaking_rows(every.rows, "The rows of the recipe")
    refuse_unsafe_rows(rows, recipe.method)
    _check_weights(recipe, every.rows)
    if not every.used("train"):
        raise DataError("The recipe's rows hold no train split.", fix="Add rows of split 'train'.")
    return every


def _group_rows(path: Path, recipe: Recipe) -> tuple[list[TrainingRow], list[str]]:
    """Return the rows of a file of preference groups, and the ids of those to leave out."""
    form = form_of(recipe)
    groups = read_groups(path)
    unsafe = unsafe_groups(groups)
    rows, ids = [], []
    for group in groups:
        found = preference_rows([group], form, seed=recipe.seed, source=path.stem)
        if recipe.method == "listwise":
            found = [as_order(row) for row in found]
        rows += found
        ids += [row.id for row in found if group.id in unsafe]
    return rows, ids


def _refuse_shared_ids(rows: Sequence[TrainingRow]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        if row.id in seen:
            raise DataError(
                f"Two sources hold a row {shown(row.id)}: {shown(seen[row.id])} and "
                f"{shown(row.source)}.",
                fix="Give every row of the recipe its own id.",
            )
        seen[row.id] = row.source


def _check_weights(recipe: Recipe, rows: Sequence[TrainingRow]) -> None:
    known = {row.source for row in rows}
    for name in recipe.data.weights:
        if name not in known:
            raise ConfigError(
                f"`data.weights` names the source {shown(name)}, and no row has it.",
                fix=did_you_mean(name, known),
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
