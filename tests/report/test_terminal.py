"""The terminal summary: 80 columns, every figure and reason, no control characters."""

from __future__ import annotations

import io

from tests.report import hostile
from tests.report.demo import demo_report
from theodolite.report import Report, summary_lines


def printed(report: Report, width: int = 80) -> str:
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=False).print(summary_lines(report))
    return stream.getvalue()


def test_the_summary_fits_and_says_everything() -> None:
    text = printed(demo_report())
    assert max(map(len, text.splitlines())) <= 80
    for part in ("refusal/harmful", "78.3 %", "71.0 to 85.7", "incomplete", "Safety heads skipped"):
        assert part in text
    assert "Repair failed: The forward pass" in text


def test_nothing_overflows_a_narrow_terminal() -> None:
    assert max(map(len, printed(demo_report(), 60).splitlines())) <= 60


def test_hostile_text_is_printed_letter_by_letter() -> None:
    text = printed(hostile.hostile_report())
    assert max(map(len, text.splitlines())) <= 80
    for bad in ("\x1b", "\x07", "\x00", "\u202e", "\u200b"):
        assert bad not in text


def test_markup_of_the_terminal_library_is_text() -> None:
    report = Report("t", "m", None, "quick", 0, "", "r", ["[red]not red[/red] [link=x]y"], [])
    assert "[red]not red[/red] [link=x]y" in printed(report)
