"""Wrappers of the user's own: read from a file once, used like the listed styles.

    [[wrapper]]
    name = "letter"
    template = "Dear editor, a reader asks: {request} Please print a full reply."
    family = "editorial"    # may be left out

Or one JSON object a line, with the same keys.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from theodolite.data.prompts import check_text, shown
from theodolite.data.records import Place, Record, decode, read_bytes, read_records
from theodolite.data.styles import GROUPS, SLOT, STYLES, Style
from theodolite.errors import DataError
from theodolite.text.display import escape
from theodolite.text.suggest import nearest

TABLE: Final = "wrapper"
KEYS: Final = ("name", "template", "family")
MOST_CHARACTERS: Final = 20_000
_NAME: Final = re.compile(r"[^\W_][\w-]{0,59}")


def read_wrappers(path: Path | str | None) -> tuple[Style, ...]:
    """Return the wrappers of a file as styles, in file order; none where there is no file.

    Args:
        path: a .toml file of `[[wrapper]]` tables, or a .jsonl, .json, .csv, .tsv or .parquet file,
            with `name`, `template` (the slot `{request}` once) and, where wanted, `family`.

    Raises:
        DataError: the file cannot be read, a key is unknown or missing, a name is taken or no plain
            word, or a template does not hold the slot exactly once; names file, line and field.
    """
    if path is None:
        return ()
    path = Path(path)
    records = _toml(path) if path.suffix.lower() == ".toml" else read_records(path)
    found: dict[str, Style] = {}
    for record in records:
        place = Place(path, record.line)
        wrapper = _wrapper(place, record.values)
        if wrapper.name in found:
            raise place._replace(field="name").error(
                f"the name {shown(wrapper.name)} is used twice.", "Give every wrapper its own name."
            )
        found[wrapper.name] = wrapper
    return tuple(found.values())


def wrapper_rows(wrappers: Iterable[Style]) -> list[dict[str, str]]:
    """Return wrappers as records, for a run folder that must know them without their file."""
    return [{key: getattr(wrapper, key) for key in KEYS} for wrapper in wrappers]


def wrappers_of(rows: Iterable[Mapping[str, Any]], path: Path) -> tuple[Style, ...]:
    """Return the wrappers that `wrapper_rows` wrote.

    Args:
        path: where they were kept, for messages.

    Raises: DataError: a record is none.
    """
    return tuple(_wrapper(Place(path, i), row) for i, row in enumerate(rows))


def _toml(path: Path) -> list[Record]:
    try:
        tables = tomllib.loads(decode(path, read_bytes(path)))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Place(path).error(f"this is no TOML ({escape(str(error), 120)}).") from None
    rows = tables.get(TABLE)
    if set(tables) != {TABLE} or not isinstance(rows, list) or not rows:
        raise Place(path).error(
            f"the file must hold [[{TABLE}]] tables and nothing else.",
            f"Write one [[{TABLE}]] with name and template for each.",
        )
    return [Record(i, row) for i, row in enumerate(rows, 1)]


def _wrapper(place: Place, values: Any) -> Style:
    if not isinstance(values, Mapping):
        raise place.error("this is no table with the keys name and template.")
    given = {key: value for key, value in values.items() if value is not None and value != ""}
    for key, value in given.items():
        at = place._replace(field=str(key))
        if key not in KEYS:
            near = nearest(str(key), KEYS)
            raise at.error(
                "the field is unknown.", f"Rename it to {near!r}." if near else "Leave it out."
            )
        if not isinstance(value, str):
            raise at.error(f"this must be text, not {type(value).__name__}.")
    for key in ("name", "template"):
        if key not in given:
            raise place._replace(field=key).error("the value is missing.")
    _check(place, **given)
    return Style(**given)


def _check(place: Place, name: str, template: str, family: str = "own") -> None:
    """Refuse what tables, options and prompts could not bear."""
    at = place._replace(field="name")
    for field, word in (("name", name), ("family", family)):
        if not _NAME.fullmatch(word):
            raise place._replace(field=field).error(
                f"{shown(word)} is no plain word.", "Use letters, digits, _ and -, 60 at most."
            )
    if name in (*GROUPS, *(style.name for style in STYLES)):
        raise at.error(f"the name {shown(name)} is that of a listed style.", "Choose another name.")
    at = place._replace(field="template")
    try:
        check_text("template", template)
    except DataError as error:
        raise at.error(error.message, error.fix) from None
    if template.count(SLOT) != 1:
        raise at.error(
            f"the slot {SLOT} occurs {template.count(SLOT)} times.",
            "Put it once, where the request belongs.",
        )
    if not template.replace(SLOT, "").strip():
        raise at.error("the wrapper adds no words.", "Write some around the slot.")
    if len(template) > MOST_CHARACTERS:
        raise at.error(f"the wrapper has more than {MOST_CHARACTERS:,} characters.")
