"""Configuration: a dataclass is the schema, a TOML file fills it, command-line options win.

    @dataclass(frozen=True)
    class RefusalConfig:
        limit: int = 100
        styles: tuple[str, ...] = ()
        judge: str | None = None

Fields that are dataclasses are TOML tables. Every value is checked against its annotation.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from theodolite.errors import ConfigError
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

T = TypeVar("T")

_MOST_BYTES = 1_000_000
_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.\"' -]+?)\s*=")
_PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class _Mismatch(Exception):
    """A value is not what its annotation asks for; holds what was expected, in words."""


def load_config(
    schema: type[T], path: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> T:
    """Return the resolved configuration: defaults, then the file, then the options given.

    Args:
        schema: a dataclass whose fields are the known keys; nested dataclasses are tables. Known
            annotations: str, int, float, bool, Path, Literal, `X | None`, tuple and list of one
            type, `dict[str, X]`, Any.
        path: a TOML file; None for none.
        overrides: options of the command line by key, dotted into tables; None is "not given".

    Raises:
        ConfigError: the file is missing or no TOML, a key is unknown (the nearest one is named), a
            value has the wrong type, or a key without a default is missing; names file and line.
    """
    text = "" if path is None else _read(path)
    values = _parse(path, text) if path is not None else {}
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    for key, value in given.items():
        _set(values, key.split("."), value)
    filled: T = _Source(path, text, frozenset(given)).fill(schema, values, "")
    return filled


def config_toml(config: Any) -> str:
    """Return a configuration (a dataclass instance) as TOML that `load_config` reads back.

    Keys that are not set (None) are written as comments, since TOML has no null.
    """
    return "\n".join(_toml_lines(config, "")) + "\n"


def with_task(request: type[Any], options: type[Any]) -> type[Any]:
    """Return a request's dataclass with one more field, the table `task` of further options."""
    added = [("task", options, dataclasses.field(default_factory=options))]
    return dataclasses.make_dataclass(
        f"{request.__name__}Task", added, bases=(request,), frozen=True
    )


def typed_options(config: Any, *, leave: Sequence[str] = ()) -> list[str]:
    """Return what one would type for a configuration: the options that are not the default.

    Args:
        leave: fields that are not options, e.g. positional arguments. A table (a nested
            dataclass) becomes `-T key=value`.
    """
    words: list[str] = []
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        if dataclasses.is_dataclass(value):
            for each in dataclasses.fields(value):
                inner = getattr(value, each.name)
                if inner != each.default:
                    words += ["-T", f"{each.name.replace('_', '-')}={_typed(inner)}"]
        elif option.name not in leave and value != option.default:
            words.append(f"--{option.name.replace('_', '-')}")
            words += [] if isinstance(value, bool) else [_typed(value)]
    return words


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


@dataclass(frozen=True)
class _Source:
    """Where values came from, for messages."""

    path: Path | None
    text: str
    options: frozenset[str]

    def fill(self, schema: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
        fields = {field.name: field for field in dataclasses.fields(schema) if field.init}
        hints = get_type_hints(schema)
        for key in values:
            if key not in fields:
                raise ConfigError(
                    f"{self.where(prefix + key)}: `{escape(prefix + key, 80)}` is not a known key.",
                    fix=did_you_mean(key, fields),
                )
        filled = {}
        for name, field in fields.items():
            if name in values:
                filled[name] = self.check(values[name], hints[name], prefix + name)
            elif field.default is field.default_factory is dataclasses.MISSING:
                raise ConfigError(
                    f"{self.where('')}: the key `{prefix}{name}` is missing.", fix="Set it."
                )
        return schema(**filled)

    def check(self, value: Any, hint: Any, name: str) -> Any:
        if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, Mapping):
            return self.fill(hint, value, f"{name}.")
        try:
            return _convert(value, hint)
        except _Mismatch as expected:
            shown = escape(repr(value), 60)
            raise ConfigError(
                f"{self.where(name)}: `{name}` must be {expected}, not {shown}.", fix="Change it."
            ) from None

    def where(self, name: str) -> str:
        if name in self.options:
            return "Command line"
        if self.path is None:
            return "Configuration"
        line = _line_of(self.text, name) if name else None
        return escape(str(self.path)) + (f", line {line}" if line else "")


def _read(path: Path) -> str:
    name = escape(str(path))
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{name} is larger than 1 MB.", fix="Give a TOML configuration.")
        return path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{name} cannot be read: {error.strerror}.", fix="Check --config."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8 text.", fix="Save it as UTF-8.") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"{escape(str(path))} is not valid TOML: {escape(str(error), 200)}.",
            fix="Correct that line.",
        ) from error


def _set(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        inner = values.get(key)
        values[key] = inner = inner if isinstance(inner, dict) else {}
        values = inner
    values[keys[-1]] = value


def _convert(value: Any, hint: Any) -> Any:
    """Return the value as its annotation asks, or raise `_Mismatch`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments)
    if origin is Literal:
        if value in arguments and type(value) in {type(choice) for choice in arguments}:
            return value
        raise _Mismatch("one of " + ", ".join(repr(choice) for choice in arguments))
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            raise _Mismatch(_words(hint))
        return origin(_convert_all(value, arguments[0], hint))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _Mismatch(_words(hint))
        return dict(zip(value, _convert_all(value.values(), arguments[1], hint), strict=True))
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise _Mismatch(_words(hint))
    return value


def _convert_union(value: Any, arms: Sequence[Any]) -> Any:
    for arm in arms:
        try:
            return _convert(value, arm)
        except _Mismatch:
            continue
    known = [arm for arm in arms if arm is not type(None)]
    raise _Mismatch(" or ".join(_words(arm) for arm in known))


def _convert_all(values: Any, hint: Any, whole: Any) -> list[Any]:
    try:
        return [_convert(value, hint) for value in values]
    except _Mismatch:
        raise _Mismatch(_words(whole)) from None


def _words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hint is Path:
        return "a path"
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (tuple, list):
        return f"a list, each {_words(arguments[0])}"
    if origin is dict:
        return f"a table, each value {_words(arguments[1])}"
    return "a table"


def _line_of(text: str, name: str) -> int | None:
    """Return the first line that sets a dotted key or opens its table, counted from 1."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = _bare(header[1])
            found = table
        elif key := _KEY.match(line):
            found = f"{table}.{_bare(key[1])}" if table else _bare(key[1])
        else:
            continue
        if found == name or found.startswith(f"{name}."):
            return number
    return None


def _bare(key: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in key.split("."))


def _toml_lines(config: Any, table: str) -> list[str]:
    lines, inner = [], []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            name = f"{table}.{field.name}" if table else field.name
            inner += ["", f"[{name}]", *_toml_lines(value, name)]
        elif value is None:
            lines.append(f"# {field.name} is not set")
        else:
            lines.append(f"{field.name} = {_toml(value)}")
    return lines + inner


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float):
        return repr(value)  # 1e-05, inf and nan are TOML, too
    if isinstance(value, bool | int):
        return json.dumps(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
