"""Run commands as a user would: in an empty folder, watching both streams and the exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from theodolite.cli.main import main

Command = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Command:
    """Return a function that runs a command in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("THEODOLITE_DEBUG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        out, err = capfd.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


@pytest.fixture
def refused(command: Command) -> Refused:
    """Return a function that runs a command, checks its manners and returns its sentence."""

    def run(*arguments: str) -> str:
        code, out, err = command(*arguments)
        assert code == 2, err
        assert "Traceback" not in err
        assert out == ""
        lines = [line for line in err.splitlines() if line.startswith("theodolite: ")]
        assert len(lines) == 1, err
        return lines[0]

    return run
