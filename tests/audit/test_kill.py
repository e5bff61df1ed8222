"""kill -9 at random points of an audit: the resumed run ends with the same measurements.

A start of every unit is written to a log by the process that is killed, so repeated work can be
counted: a kill may cost the unit that was running, and nothing else.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.models.tiny_files import save_folder
from theodolite.runs.run import Run

AUDIT = """
import sys
from pathlib import Path
from theodolite.audit.request import AuditRequest
from theodolite.audit.run import run_audit
from theodolite.execution import local
from theodolite.runs.progress import SilentProgress

model, out, log = sys.argv[1:]

def logged(units, work):
    def told(unit):
        with open(log, "a") as file:
            print(unit.key, file=file, flush=True)
        return work(unit)
    return in_process(units, told)

in_process = local.in_process
local.map_units.__kwdefaults__["executor"] = logged
resume = Path(out) if (Path(out) / "manifest.json").exists() else None
run_audit(
    AuditRequest(model=model),
    progress=SilentProgress(),
    out=None if resume else Path(out),
    resume=resume,
)
"""


def start(model: Path | str, out: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start (or go on with) an audit in a process of its own."""
    command = [sys.executable, "-c", AUDIT, str(model), str(out), str(log)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def audit_with_kills(model: Path | str, folder: Path, kills: int, seed: int) -> tuple[Run, int]:
    """Kill an audit at random moments, let it finish, and return it with its repeated units."""
    whole = folder / "whole"
    began = time.monotonic()
    assert start(model, whole, folder / "whole.log").wait() == 0
    lasts = time.monotonic() - began
    dice = random.Random(seed)
    out, log = folder / "killed", folder / "killed.log"
    done = 0
    for _ in range(50 * kills):
        process = start(model, out, log)
        try:
            finished = process.wait(timeout=dice.uniform(0.3, 1.0) * lasts)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
        else:
            assert finished == 0
            (out / "complete").unlink()
        if done == kills:
            break
    assert start(model, out, log).wait() == 0
    starts = Counter(log.read_text().split())
    assert starts.keys() == set((folder / "whole.log").read_text().split())
    repeated = sum(count - 1 for count in starts.values())
    same = Run.open(whole).load_measurements_by_panel()
    assert Run.open(out).load_measurements_by_panel() == same
    assert Run.open(out).finished
    return Run.open(out), repeated


def test_two_kills(tmp_path: Path) -> None:
    model = save_folder(tmp_path / "model")
    _, repeated = audit_with_kills(model, tmp_path, kills=2, seed=1)
    assert repeated <= 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills(tmp_path: Path) -> None:
    """THEODOLITE_KILL_MODEL=smollm2 does the same on the real default model."""
    named = os.environ.get("THEODOLITE_KILL_MODEL")
    model = named or save_folder(tmp_path / "model")
    _, repeated = audit_with_kills(model, tmp_path, kills=20, seed=2)
    assert repeated <= 20
