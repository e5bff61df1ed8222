"""What a command prints: progress on stderr, one JSON document on stdout."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from theodolite.measure.measurement import Measurement
from theodolite.runs.document import json_document
from theodolite.runs.panel import Progress
from theodolite.runs.progress import RichProgress, SilentProgress
from theodolite.runs.run import Run


def stages(progress: Progress) -> None:
    progress.start("read [bold]x[/]", 4)
    progress.advance(3)
    progress.message("file \x1b[31m\u202eevil [red]markup[/red]")
    progress.advance()
    progress.start("second", 2)
    progress.advance()


def test_silent_progress_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with SilentProgress() as progress:
        stages(progress)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_are_shown_and_never_obeyed(terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120, color_system=None)
    with RichProgress(console) as progress:
        stages(progress)
    text = stream.getvalue()
    assert "file \\u001b[31m\\u202eevil [red]markup[/red]\n" in text
    assert "\u202e" not in text
    assert "read [bold]x[/]: 4 of 4 in" in text and "second: 1 of 2 in" in text


def test_progress_goes_to_stderr_and_survives_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), RichProgress() as progress:
        progress.start("work", 3)
        progress.advance()
        raise ZeroDivisionError
    out, err = capfd.readouterr()
    assert out == "" and "work: 1 of 3" in err


def test_the_document_is_strict_json_with_all_three_parts(tmp_path: Path) -> None:
    figure = Measurement("a", 0.5, "share", 3)
    with Run.create("audit", "m", root=tmp_path) as run:
        run.save_measurements([figure])
        run.save_table("p/t", [{"x": math.nan, "y": {"z": [1]}}])
        run.commit()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    document = json.loads(json_document(run), parse_constant=refuse)
    assert list(document) == ["run", "measurements", "tables"]
    assert document["run"]["path"] == str(run.path) and document["run"]["finished"] is True
    assert document["run"]["command"] == "audit"
    assert document["measurements"] == [figure.as_dict()]
    assert document["tables"] == {"p/t": [{"x": None, "y": {"z": [1]}}]}
    empty = json.loads(json_document(None, [], {"rows": [{"x": math.inf}]}))
    assert empty == {"run": None, "measurements": [], "tables": {"rows": [{"x": None}]}}


def test_importing_runs_and_execution_is_light() -> None:
    code = (
        "import sys, theodolite.runs, theodolite.execution, theodolite.runs.listing,"
        " theodolite.runs.config, theodolite.runs.document, theodolite.runs.progress;"
        "heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'duckdb', 'rich', 'plotly',"
        " 'safetensors', 'scipy'}; sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
