"""Secrets never reach a manifest, and differences are told leaf by leaf."""

from __future__ import annotations

from typing import Any

import pytest

from theodolite.runs.manifest import differences, package_versions, without_secrets


@pytest.mark.parametrize(
    "value",
    [
        {"api_key": "tiny"},
        {"openai-api-key": "tiny"},
        {"judge": {"APIKEY": "tiny"}},
        {"headers": {"Authorization": "tiny"}},
        {"hf_token": "tiny"},
        {"password": "tiny"},
        {"client_secret": ["tiny"]},
        {"credentials": {"user": "tiny"}},
        {"private_keys": ["tiny"]},
        {"base_url": "https://me:tiny@host/v1"},
        {"base_url": "https://host/v1?api_key=tiny&x=1"},
        {"args": ["--header", "Bearer tinytinytinytiny"]},
        {"args": ["sk-tiny0123456789abcdef"]},
        {"args": "key hf_tiny0123456789abcdef here"},
    ],
)
def test_keys_and_passwords_are_hidden(value: dict[str, Any]) -> None:
    shown = str(without_secrets(value))
    assert "tiny" not in shown and "(not stored)" in shown


def test_values_of_secret_variables_are_hidden_wherever_they_occur(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOMEBODY_API_KEY", "opensesame!")
    monkeypatch.setenv("SHORT_KEY", "abc")
    value = {"note": ["pre-opensesame!-post", "abc"]}
    assert without_secrets(value) == {"note": ["pre-(not stored)-post", "abc"]}


@pytest.mark.parametrize(
    "value",
    [
        {"max_new_tokens": 32, "tokens": 5, "token_budget": 4, "keys": ["a"], "key": "name"},
        {"eos_token": "<|im_end|>", "pad_token": "x", "api_key": None},
        {"base_url": "https://host:8000/v1", "model": "org/sk-name", "monkey": "a"},
    ],
)
def test_what_is_no_secret_is_stored(value: dict[str, Any]) -> None:
    assert without_secrets(value) == value


def test_differences_name_each_leaf() -> None:
    old = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": None, "secret": "(not stored)"}
    new = {"a": 1, "b": {"c": [1, 3], "d": "x"}, "f": 2, "secret": "other"}
    assert differences(old, new) == ["b.c was [1, 2], is [1, 3]", "f was not set, is 2"]
    assert differences(old, old) == []


def test_differences_show_hostile_text_escaped() -> None:
    (phrase,) = differences({"a\x1b": "x\u202e"}, {"a\x1b": "y" * 500})
    assert "\x1b" not in phrase and "\u202e" not in phrase and len(phrase) < 200


def test_versions_are_read_without_importing() -> None:
    versions = package_versions()
    assert versions["transformers"] and versions["theodolite"]
