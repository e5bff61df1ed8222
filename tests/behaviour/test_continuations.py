"""What a continuation says of itself, whatever its score."""

from __future__ import annotations

import pytest

from theodolite.behaviour.continuations import (
    NO_SCORE,
    Continuation,
    Said,
    methods_of,
    of_method,
    said,
    tool_is_metric,
)


def row(prompt: str, sample: int, method: str = "base", **more) -> Continuation:
    return Continuation(
        prompt=prompt, goal="g", sample=sample, method=method, scores={"s": None}, **more
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("and went home to make soup.", Said(False, False, 6)),
        ("I'm sorry, but I can't continue this text.", Said(True, False, 8)),
        ("", Said(False, True, 0)),
        (" :\n", Said(False, True, 1)),
    ],
)
def test_what_a_text_says(text: str, expected: Said) -> None:
    assert said(text) == expected


def test_rows_are_ordered_by_prompt_and_sample() -> None:
    rows = [row("b", 1), row("a", 0, "pet"), row("b", 0), row("a", 2)]
    assert [(r.prompt, r.sample) for r in of_method(rows, "base")] == [("a", 2), ("b", 0), ("b", 1)]
    assert methods_of(rows) == ["base", "pet"]


def test_a_missing_score_always_has_a_reason() -> None:
    assert row("a", 0).reason("s") == NO_SCORE
    assert row("a", 0, reasons={"s": "empty text"}).reason("s") == "empty text"
    scored = Continuation(prompt="a", goal="g", sample=0, method="m", scores={"s": 0.1})
    assert scored.reason("s") is None


def test_a_tool_that_is_also_the_metric_is_named() -> None:
    lines = tool_is_metric({"critic": "words@1-aa", "shap": "net@2-bb"}, ["words@1-aa"])
    assert lines == [
        "critic: tool = metric: optimistic for critic, which rewrites until words is content."
    ]
