"""Sentence beginnings that a model continues: official ones, and ours, for toxicity and for bias.

Traps this file exists for:
  - texts occur more than once, so rows are not independent: equal texts share a goal;
  - groups are of unequal size: every figure of a group is made within it, then averaged;
  - the earlier completions that stand in a file hold several texts each and belong to nobody's
    model here: they are left out.

Some official texts are offensive. Loading them prints nothing; messages name rows, never texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.forced_replies import goal_of
from theodolite.data.prompts import Prompt, PromptSet, check_text, shown
from theodolite.data.readers import MAX_PROMPT_CHARS
from theodolite.data.records import Place, read_records
from theodolite.errors import DataError

TOXICITY: Final = "toxicity"
BIAS: Final = "bias"
RTP_HARD: Final = "rtp-hard"
BOLD: Final = "bold-1.5k"
DOMAIN: Final = "domain"
GROUP: Final = "category"
_FILES: Final = {RTP_HARD: "rtp_hard", BOLD: "bold_1.5k"}
_SOURCES: Final = {RTP_HARD: "realtoxicityprompts", BOLD: "bold"}


def read_rtp_hard(path: Path | str | None = None) -> PromptSet:
    """Return the 1,604 sentence beginnings that provoke toxic continuations.

    Args:
        path: rows with `id`, `prompt` and `score`; default: the official file of the data folder.

    Returns: prompts in file order, `id` as `rtp-hard/17`, `meta["score"]` the toxicity they were
        chosen by. The file does not say which text or scorer that belongs to.

    Raises: DataError: as `read_bold`.
    """
    return _read(RTP_HARD, path, ("score",))


def read_bold(path: Path | str | None = None) -> PromptSet:
    """Return the 1,500 encyclopedia-like sentence beginnings about people of five groups.

    Args:
        path: rows with `id`, `prompt`, `domain` and `category`; default: the official file.

    Returns: prompts in file order, `id` as `bold-1.5k/17`, `category` the group and
        `meta["domain"]` gender or race.

    Raises: DataError: the file is missing or changed, or a row lacks a field; names the row and
        its id.
    """
    return _read(BOLD, path, (DOMAIN, GROUP))


def groups_of(prompts: PromptSet) -> dict[str, tuple[str, ...]]:
    """Return domain -> its groups, in order of first occurrence.

    Raises: DataError: a prompt has no domain or no group.
    """
    found: dict[str, dict[str, None]] = {}
    for prompt in prompts:
        domain = prompt.meta.get(DOMAIN)
        if not isinstance(domain, str) or prompt.category is None:
            raise DataError(
                f"The prompt {shown(prompt.id)} belongs to no group.",
                fix="Give it a category, and a domain under meta.",
            )
        found.setdefault(domain, {})[prompt.category] = None
    return {domain: tuple(groups) for domain, groups in found.items()}


def bundled_beginnings(name: str, split: str = "test") -> PromptSet:
    """Return our own sentence beginnings, `toxicity` or `bias`; harmless, and all of them test."""
    return bundled(name).split(split)


def _read(name: str, path: Path | str | None, wanted: tuple[str, ...]) -> PromptSet:
    file = official(f"perspective-taking/{_FILES[name]}") if path is None else Path(path)
    prompts = [
        _prompt(name, Place(file, record.line), record.values, wanted)
        for record in read_records(file)
    ]
    return PromptSet(name, tuple(prompts), file.name)


def _prompt(name: str, place: Place, row: Mapping[str, Any], wanted: tuple[str, ...]) -> Prompt:
    number = row.get("id")
    if not isinstance(number, int) or isinstance(number, bool):
        raise place._replace(field="id").error("the id must be a whole number.")
    text = _text(place, number, row, "prompt")
    found: dict[str, Any] = {}
    for field in wanted:
        found[field] = (
            _score(place, number, row) if field == "score" else _text(place, number, row, field)
        )
    group = found.pop(GROUP, None)
    return Prompt(
        id=f"{name}/{number}",
        text=text,
        goal_id=goal_of(text),
        source=_SOURCES[name],
        category=group,
        language="en",
        meta=found,
    )


def _text(place: Place, number: int, row: Mapping[str, Any], field: str) -> str:
    """Return a text as it stands: white space at its end is part of what is continued."""
    place = place._replace(field=field)
    if field not in row:
        raise place.error(f"the {field} of id {number} is missing.", "Add it.")
    value = row[field]
    try:
        check_text(field, value)
    except DataError as error:
        raise place.error(f"id {number}: {error.message}", error.fix) from None
    if not value.strip() or len(value) > MAX_PROMPT_CHARS:
        raise place.error(f"the {field} of id {number} is empty or too long.")
    text: str = value
    return text


def _score(place: Place, number: int, row: Mapping[str, Any]) -> float:
    value = row.get("score")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise place._replace(field="score").error(
            f"the score of id {number} must be a number from 0 to 1."
        )
    return float(value)
