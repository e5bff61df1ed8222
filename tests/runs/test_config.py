"""A configuration file is checked key by key, and a mistake is named with its line."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.errors import ConfigError
from theodolite.runs.config import config_toml, load_config


@dataclass(frozen=True)
class Decoding:
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    mode: Literal["greedy", "sample"] = "greedy"


@dataclass(frozen=True)
class Config:
    limit: int = 100
    judge: str | None = None
    verbose: bool = False
    data: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    layers: list[int] | Literal["all"] = "all"
    decoding: Decoding = field(default_factory=Decoding)


@dataclass(frozen=True)
class Required:
    name: str


def load(folder: Path, text: str, overrides: dict[str, Any] | None = None) -> Config:
    path = folder / "config.toml"
    path.write_text(text)
    return load_config(Config, path, overrides)


def test_defaults_then_file_then_options(tmp_path: Path) -> None:
    text = 'limit = 5\ndata = "x"\n[decoding]\ntemperature = 1\nstop = ["a"]\n[weights]\na = 1\n'
    config = load(tmp_path, text, {"limit": 7, "judge": None, "decoding.mode": "sample"})
    assert config == Config(
        limit=7,
        data=Path("x"),
        weights={"a": 1.0},
        decoding=Decoding(temperature=1.0, stop=("a",), mode="sample"),
    )
    assert type(config.decoding.temperature) is float
    assert load_config(Config) == Config()
    assert load(tmp_path, "layers = [1, 2]").layers == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# x\nlimt = 5",
            r"config\.toml, line 2: `limt` is not a known key\. Did you mean `limit`",
        ),
        ("[decodin]\nx = 1", r"line 1: `decodin` is not a known key\. Did you mean `decoding`"),
        ("a = 1\n[decoding]\ntemprature = 1", r"line 1: `a` is not a known key"),
        (
            "\n[decoding]\ntemprature = 1",
            r"line 3: `decoding\.temprature` is not a known key\. Did you mean `temperature`",
        ),
        ("decoding.temprature = 1", r"line 1: `decoding\.temprature` is not"),
        ('limit = "5"', r"line 1: `limit` must be a whole number, not '5'"),
        ("limit = true", r"`limit` must be a whole number, not True"),
        ("limit = 5.0", r"`limit` must be a whole number, not 5\.0"),
        ("verbose = 1", r"`verbose` must be true or false, not 1"),
        ("judge = 1", r"`judge` must be text, not 1"),
        ("data = 1", r"`data` must be a path, not 1"),
        ("decoding = 1", r"`decoding` must be a table, not 1"),
        ('[decoding]\nstop = "a"', r"line 2: `decoding\.stop` must be a list, each text, not 'a'"),
        ("[decoding]\nstop = [1]", r"`decoding\.stop` must be a list, each text, not \[1\]"),
        ('[decoding]\nmode = "beam"', r"must be one of 'greedy', 'sample', not 'beam'"),
        ('[weights]\na = "x"', r"line 1: `weights` must be a table, each value a number"),
        ('layers = ["a"]', r"`layers` must be a list, each a whole number or one of 'all'"),
        ("limit = x\n", r"is not valid TOML: .*line 1"),
        ("limit = 1\nlimit = 2", r"is not valid TOML"),
        ('judge = 1 # "\\u202e"', r"`judge` must be text"),
        ("x = " + "[" * 9999, r"is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_hostile_keys_are_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, '"\\u202e\\u001b" = "\\u001b"')
    assert "\u202e" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_wrong_option_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Command line: `limit` must be a whole number"):
        load(tmp_path, "limit = 5", {"limit": "x"})
    with pytest.raises(ConfigError, match=r"^Command line: `decoding\.mod` is not a known key"):
        load(tmp_path, "", {"decoding.mod": "x"})


def test_a_missing_key_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the key `name` is missing"):
        load_config(Required)
    assert load_config(Required, overrides={"name": "x"}) == Required("x")
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        load_config(Config, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(Config, tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"judge = '\xe9'")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config(Config, tmp_path / "latin.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="larger than 1 MB"):
        load_config(Config, tmp_path / "big.toml")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@settings(max_examples=60)
@given(
    config=st.builds(
        Config,
        limit=st.integers(-(2**63), 2**63 - 1),
        judge=st.none() | TEXT,
        verbose=st.booleans(),
        weights=st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=2),
        layers=st.just("all") | st.lists(st.integers(0, 99), max_size=3),
        decoding=st.builds(
            Decoding,
            temperature=st.floats(allow_nan=False),
            stop=st.lists(TEXT, max_size=2).map(tuple),
            mode=st.sampled_from(["greedy", "sample"]),
        ),
    )
)
def test_a_written_configuration_reads_back(
    tmp_path_factory: pytest.TempPathFactory, config: Config
) -> None:
    path = tmp_path_factory.mktemp("c") / "config.toml"
    path.write_text(config_toml(config), encoding="utf-8")
    assert load_config(Config, path) == config


@settings(max_examples=60)
@given(text=st.text(max_size=60) | st.text("limtjudge=\"'[]{}.,1e-# \n", max_size=60))
def test_any_text_is_a_configuration_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("c") / "config.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        config = load_config(Config, path)
    except ConfigError:
        return
    assert math.isfinite(config.limit)
