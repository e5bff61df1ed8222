"""kill -9 at random points of audits: a resumed run ends with the same measurements.

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

ROOT = Path(__file__).resolve().parents[2]
AUDIT = """
import sys
from pathlib import Path
from tests.audit.small_panels import make_small
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
make_small()
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
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, **quiet)


def audit_with_kills(model: Path | str, folder: Path, kills: int, seed: int) -> list[int]:
    """Kill audits at random moments, each resumed until it ends; check every one against the whole.

    Returns: for every audit how many units were started again, beyond the kills it took.
    """
    whole = folder / "whole"
    began = time.monotonic()
    assert start(model, whole, folder / "whole.log").wait() == 0
    lasts = time.monotonic() - began
    units = set((folder / "whole.log").read_text().split())
    same = Run.open(whole).load_measurements_by_panel()
    dice = random.Random(seed)
    beyond = []
    while kills > 0:
        out, log = folder / f"killed-{len(beyond)}", folder / f"killed-{len(beyond)}.log"
        taken = 0
        while not killed_or_finished(start(model, out, log), dice.uniform(0, lasts), kills):
            taken += 1
            kills -= 1
        starts = Counter(log.read_text().split())
        assert starts.keys() == units
        assert Run.open(out).finished
        assert Run.open(out).load_measurements_by_panel() == same
        beyond.append(sum(count - 1 for count in starts.values()) - taken)
    return beyond


def killed_or_finished(process: subprocess.Popen[bytes], after: float, kills: int) -> bool:
    """Kill a process after some seconds while kills are left; return whether it ended by itself."""
    try:
        assert process.wait(timeout=after if kills > 0 else None) == 0
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def test_a_kill(tmp_path: Path) -> None:
    model = save_folder(tmp_path / "model", wide=True)
    assert max(audit_with_kills(model, tmp_path, kills=1, seed=1)) <= 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills(tmp_path: Path) -> None:
    """THEODOLITE_KILL_MODEL=smollm2 does the same on the real default model."""
    named = os.environ.get("THEODOLITE_KILL_MODEL")
    model = named or save_folder(tmp_path / "model", wide=True)
    assert max(audit_with_kills(model, tmp_path, kills=20, seed=2)) <= 0
