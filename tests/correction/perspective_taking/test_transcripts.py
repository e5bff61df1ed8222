"""Every turn of every method, as it was when it was written down."""

from __future__ import annotations

import json

import pytest

from tests.correction.perspective_taking.transcripts import GOLDEN, transcripts
from theodolite.correction.perspective_taking.registry import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_said(name: str) -> None:
    assert transcripts(name) == json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))


def test_every_golden_file_is_of_a_method() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(METHODS)
