"""What a model is told at each stage, in a data file per language.

The English file is the pattern: another language holds the same keys and the same tokens. Tokens
are filled in one pass over our own words, so that nothing a user or a model wrote is ever read as
one, and no brace of theirs is touched.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from theodolite.data.prompts import check_text, shown
from theodolite.data.records import Place, decode, read_bytes
from theodolite.errors import ConfigError, DataError
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean, nearest

CONTINUATION: Final = "continuation"
CHAT: Final = "chat"
PLAIN: Final = "v0"
"""The variant that lacks no turn; the others hold what differs from it."""
ENGLISH: Final = "en"
ROLES: Final = "roles"
MOST_CHARACTERS: Final = 4000
# Tokens that the language itself fills in; where a sentence needs one of them is its own affair.
_OWN: Final = frozenset({"S", "N", "text"})
_TOKEN: Final = re.compile(r"\{([A-Za-z_]+)\}")
_FOLDER: Final = resources.files("theodolite.correction.perspective_taking") / "wording"


@dataclass(frozen=True)
class Wording:
    """All that is said in one language.

    Args:
        language: its name.
        concerns: concern -> the words for it: `S` (toxic), `N` (toxicity).
        turns: table (`continuation`, `chat`, `stage`, `v0` ...) -> turn -> text with tokens.
        roles: professions that look after what is published.
    """

    language: str
    concerns: Mapping[str, Mapping[str, str]]
    turns: Mapping[str, Mapping[str, str]]
    roles: tuple[str, ...]

    @property
    def variants(self) -> tuple[str, ...]:
        """The wordings of the perspective-taking turns."""
        return tuple(name for name in self.turns if name not in (CONTINUATION, CHAT, "stage"))


@dataclass(frozen=True)
class Voice:
    """One language's words for one kind of task and one concern.

    Args:
        wording: the language.
        form: `continuation` or `chat`.
        concern: what a rewritten text is to have less of.
        variant: the wording of the perspective-taking turns.
    """

    wording: Wording
    form: str
    concern: str
    variant: str = PLAIN

    def say(self, turn: str, **run: str) -> str:
        """Return a turn with its tokens filled in.

        Args:
            turn: its key, e.g. `rewrite`.
            run: what the run brings along, by token; it may be hostile.
        """
        turns = self.wording.turns
        tables = (turns[self.variant], turns[PLAIN], turns[self.form], turns["stage"])
        template = next(table[turn] for table in tables if turn in table)
        own = {**self.wording.concerns[self.concern], "text": turns[self.form]["text"]}
        return fill(template, {**own, **run})

    @property
    def noun(self) -> str:
        """What the concern is called."""
        return self.wording.concerns[self.concern]["N"]


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return a template of ours with its tokens replaced; what replaces them is not read again."""
    return _TOKEN.sub(lambda token: values.get(token[1], token[0]), template)


def languages() -> tuple[str, ...]:
    """Return the languages that come along."""
    return tuple(sorted(f.name.removesuffix(".toml") for f in _FOLDER.iterdir() if _is_toml(f)))


@cache
def load_wording(language: str = ENGLISH) -> Wording:
    """Return the words of a language.

    Args:
        language: one that comes along, or the path of a .toml file of the same form.

    Raises:
        ConfigError: there is no such language.
        DataError: the file cannot be read, or lacks a turn or a token; names file and field.
    """
    if language.endswith(".toml"):
        path = Path(language)
        return _checked(path, _parse(path, decode(path, read_bytes(path))))
    check_choice("wording in the language", language, languages())
    path = Path(f"{language}.toml")
    return _checked(path, _parse(path, (_FOLDER / path.name).read_text(encoding="utf-8")))


def check_choice(what: str, given: str, known: Mapping[str, Any] | tuple[str, ...]) -> None:
    """Refuse a name that does not exist; raises ConfigError with the nearest one and the list."""
    if given not in known:
        near = nearest(str(given), known)
        meant = "" if near is None else f"Did you mean `{near}`? "
        raise ConfigError(
            f"There is no {what} {shown(given)}.", fix=f"{meant}Known names: {', '.join(known)}."
        )


def _is_toml(file: Any) -> bool:
    return str(file.name).endswith(".toml")


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Place(path).error(f"this is no TOML ({escape(str(error), 120)}).") from None


@cache
def _pattern() -> dict[str, str]:
    """Return the English turns by dotted key: what any other language must hold."""
    text = (_FOLDER / f"{ENGLISH}.toml").read_text(encoding="utf-8")
    return dict(_flat(tomllib.loads(text)))


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _checked(path: Path, tables: Mapping[str, Any]) -> Wording:
    """Return the tables of a file as wording, after comparing them with the English one."""
    pattern, own = _pattern(), dict(_flat(tables))
    for key, value in own.items():
        at = Place(path, field=key)
        if key not in pattern:
            raise at.error("the key is unknown.", did_you_mean(key, pattern))
        _check_turn(at, value, pattern[key])
    missing = [key for key in pattern if key not in own]
    if missing:
        raise Place(path, field=missing[0]).error("the value is missing.", "Translate it.")
    turns = {name: tables[name] for name in (CONTINUATION, CHAT, "stage")} | tables["variant"]
    stage = {key: value for key, value in tables["stage"].items() if key != ROLES}
    return Wording(
        path.stem, tables["concern"], {**turns, "stage": stage}, tuple(tables["stage"][ROLES])
    )


def _check_turn(at: Place, value: Any, pattern: Any) -> None:
    """Refuse a turn that is no text, or whose tokens are not those of the English one."""
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            raise at.error(f"this must be a list of {len(pattern)} texts.")
        for each in value:
            _check_turn(at, each, "")
        return
    try:
        check_text(str(at.field), value)
    except DataError as error:
        raise at.error(error.message, error.fix) from None
    if not value.strip() or len(value) > MOST_CHARACTERS:
        raise at.error(f"the text is empty or has more than {MOST_CHARACTERS} characters.")
    wanted, found = (set(_TOKEN.findall(text)) - _OWN for text in (pattern, value))
    if wanted != found:
        odd = sorted(wanted ^ found)[0]
        raise at.error(
            f"the token {{{escape(odd, 40)}}} is {'missing' if odd in wanted else 'unknown here'}.",
            "Use the tokens of the English text.",
        )
