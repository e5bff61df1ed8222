"""Mapping units: order, reuse, interruption, and the real kill -9."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite.errors import Interrupted, NumericsError
from theodolite.execution import Unit, map_units
from theodolite.execution.units import Work
from theodolite.runs.journal import Journal


class Steps:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.label, self.total, self.done = "", 0, 0

    def start(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0

    def advance(self, steps: int = 1) -> None:
        self.done += steps

    def message(self, text: str) -> None:
        raise AssertionError(text)


def units(n: int) -> list[Unit]:
    return [Unit(f"key-{i}", (i,), cost=i + 1) for i in range(n)]


def square(unit: Unit) -> dict[str, Any]:
    return {"square": unit.items[0] ** 2, "pair": (unit.key, 0.1)}


def refuse(unit: Unit) -> dict[str, Any]:
    raise AssertionError(f"{unit.key} was computed again")


def test_results_come_in_unit_order_and_progress_counts_costs() -> None:
    progress = Steps()
    results = map_units(units(5), square, progress=progress, label="squares")
    assert [result["square"] for result in results] == [0, 1, 4, 9, 16]
    assert (progress.label, progress.total, progress.done) == ("squares", 15, 15)


def test_a_resumed_result_equals_a_fresh_one_and_is_not_computed(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        fresh = map_units(units(5), square, journal=journal)
    with Journal(tmp_path / "journal.jsonl") as journal:
        progress = Steps()
        assert map_units(units(5), refuse, journal=journal, progress=progress) == fresh
        assert progress.done == progress.total == 15
        ran: list[str] = []

        def note(unit: Unit) -> dict[str, Any]:
            ran.append(unit.key)
            return square(unit)

        results = map_units(units(7)[::-1], note, journal=journal)
        assert ran == ["key-6", "key-5"]
        assert [result["square"] for result in results] == [36, 25, 16, 9, 4, 1, 0]


def test_arrays_in_a_result_go_beside_the_journal(tmp_path: Path) -> None:
    def work(unit: Unit) -> dict[str, Any]:
        return {"ids": list(unit.items), "x": np.full(3, unit.items[0], dtype=np.float32)}

    with Journal(tmp_path / "journal.jsonl") as journal:
        fresh = map_units(units(3), work, journal=journal)
        again = map_units(units(3), refuse, journal=journal)
    for one, other in zip(fresh, again, strict=True):
        assert one["ids"] == other["ids"]
        np.testing.assert_array_equal(one["x"], other["x"])
    assert b"safetensors" in (tmp_path / "journal.jsonl").read_bytes()


def test_work_may_store_its_own_result(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:

        def work(unit: Unit) -> dict[str, Any]:
            journal.put_tensors(unit.key, {"x": np.arange(2)}, {"n": 1})
            return {}

        (result,) = map_units(units(1), work, journal=journal)
        assert result["n"] == 1 and result["x"].tolist() == [0, 1]
        assert len(journal.path.read_bytes().splitlines()) == 1


@pytest.mark.parametrize("with_journal", [True, False])
def test_units_with_one_key_are_computed_once(tmp_path: Path, with_journal: bool) -> None:
    ran: list[str] = []

    def work(unit: Unit) -> dict[str, Any]:
        ran.append(unit.key)
        return {"n": len(ran)}

    twice = [Unit("a", (1,), 2), Unit("b", (2,), 3), Unit("a", (1,), 2)]
    progress = Steps()
    journal = Journal(tmp_path / "journal.jsonl") if with_journal else None
    results = map_units(twice, work, journal=journal, progress=progress)
    assert [result["n"] for result in results] == [1, 2, 1] and ran == ["a", "b"]
    assert progress.done == progress.total == 7
    if journal:
        journal.close()


def test_an_executor_may_finish_units_in_any_order(tmp_path: Path) -> None:
    def backwards(todo: Any, work: Work, /) -> Any:
        for unit in reversed(todo):
            yield unit, work(unit)

    with Journal(tmp_path / "journal.jsonl") as journal:
        results = map_units(units(4), square, journal=journal, executor=backwards)
        assert list(journal.keys()) == ["key-3", "key-2", "key-1", "key-0"]
    assert [result["square"] for result in results] == [0, 1, 4, 9]


def test_an_error_in_one_unit_keeps_the_results_before_it(tmp_path: Path) -> None:
    def work(unit: Unit) -> dict[str, Any]:
        if unit.key == "key-3":
            raise NumericsError("NaN at layer 4 of prompt p3.")
        return square(unit)

    with Journal(tmp_path / "journal.jsonl") as journal:
        with pytest.raises(NumericsError, match="prompt p3"):
            map_units(units(5), work, journal=journal)
        assert list(journal.keys()) == ["key-0", "key-1", "key-2"]
        assert len(map_units(units(5), square, journal=journal)) == 5


@pytest.mark.parametrize("resume", ["theodolite audit --resume runs/a", ""])
def test_an_interrupt_says_what_is_kept_and_how_to_go_on(tmp_path: Path, resume: str) -> None:
    def work(unit: Unit) -> dict[str, Any]:
        if unit.key == "key-2":
            raise KeyboardInterrupt
        return square(unit)

    with Journal(tmp_path / "journal.jsonl", resume=resume) as journal:
        with pytest.raises(Interrupted, match=r"squares: 2 of 5 units are kept\.") as caught:
            map_units(units(5), work, journal=journal, label="squares")
        assert (f"`{resume}`" in str(caught.value)) == bool(resume)
        assert [r["square"] for r in map_units(units(5), square, journal=journal)][-1] == 16


def test_an_interrupt_without_a_journal_does_not_promise_anything() -> None:
    def work(unit: Unit) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="nothing was kept"):
        map_units(units(2), work)


SCRIPT = """
import json, pathlib, sys, time
from theodolite.errors import Interrupted
from theodolite.execution import Unit, map_units
from theodolite.runs.journal import Journal

folder = pathlib.Path(sys.argv[1])

def work(unit):
    with (folder / "started.txt").open("a") as file:
        file.write(unit.key + "\\n")
    time.sleep(0.03)
    return {"value": unit.items[0] ** 2 / 7, "text": "x" * 300}

units = [Unit(f"u{i}", (i,)) for i in range(30)]
try:
    with Journal(folder / "journal.jsonl", resume="theodolite audit --resume") as journal:
        print("ready", flush=True)
        results = map_units(units, work, journal=journal)
except Interrupted as stop:
    sys.exit(f"{stop}")
(folder / "results.json").write_text(json.dumps(results))
"""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def expected() -> list[dict[str, Any]]:
    return [{"value": i**2 / 7, "text": "x" * 300} for i in range(30)]


def test_killed_again_and_again_it_repeats_at_most_one_unit_each_time(tmp_path: Path) -> None:
    dice = random.Random(20)
    kills = 0
    for _ in range(10):
        process = start(tmp_path)
        time.sleep(dice.uniform(0.0, 0.06))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    last = start(tmp_path)
    assert last.communicate()[1] == "" and last.returncode == 0
    assert json.loads((tmp_path / "results.json").read_text()) == expected()
    started = (tmp_path / "started.txt").read_text().split()
    assert set(started) == {f"u{i}" for i in range(30)}
    assert kills >= 5  # a loaded machine may let a run finish before its kill
    assert len(started) <= 30 + kills
    # A repeat is always the unit in flight at the kill: it directly follows its first try.
    repeats = [i for i, key in enumerate(started) if key in started[:i]]
    assert all(started[i] == started[i - 1] for i in repeats)


def test_ctrl_c_stops_with_one_sentence_and_loses_nothing_finished(tmp_path: Path) -> None:
    process = start(tmp_path)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    error = process.communicate()[1]
    assert process.returncode == 1
    assert "units are kept. Resume with `theodolite audit --resume`." in error
    assert "Traceback" not in error
    kept = len((tmp_path / "journal.jsonl").read_bytes().splitlines())
    assert kept >= len((tmp_path / "started.txt").read_text().split()) - 1
    last = start(tmp_path)
    last.communicate()
    assert json.loads((tmp_path / "results.json").read_text()) == expected()
