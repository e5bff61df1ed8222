"""The journal's promise: what `put` returned from is there after any crash, and nothing else is."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theodolite.errors import RunError
from theodolite.runs.journal import Journal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def write(path: Path, values: dict[str, Any]) -> bytes:
    with Journal(path) as journal:
        for key, value in values.items():
            journal.put(key, value)
    return path.read_bytes()


def test_a_value_is_read_back_by_this_and_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.put("a", {"text": "line\nbreak \u2028 \ud83d", "n": math.inf})
        assert journal.get("a") == {"text": "line\nbreak \u2028 \ud83d", "n": math.inf}
        assert journal.get("b") is None
        assert journal.has("a") and not journal.has("b") and len(journal) == 1
    with Journal(path) as journal:
        assert list(journal.keys()) == ["a"]
        assert journal.get("a") == {"text": "line\nbreak \u2028 \ud83d", "n": math.inf}


def test_get_returns_a_copy(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.put("a", {"list": [1]})
        value = journal.get("a")
        assert value is not None
        value["list"].append(2)
        assert journal.get("a") == {"list": [1]}


def test_the_last_value_of_a_key_holds(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.put("a", {"n": 1})
        journal.put("a", {"n": 2})
        assert journal.get("a") == {"n": 2} and len(journal) == 1
    with Journal(path, read_only=True) as journal:
        assert journal.get("a") == {"n": 2}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.dictionaries(st.text(min_size=1), st.dictionaries(st.text(), JSON), min_size=1),
    data=st.data(),
)
def test_cut_at_any_byte_it_loses_at_most_the_last_entry(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    whole = write(path, values)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    survivors = list(values)[: whole[:cut].count(b"\n")]
    with Journal(path) as journal:
        assert list(journal.keys()) == survivors
        for key in survivors:
            assert repr(journal.get(key)) == repr(json.loads(json.dumps(values[key])))
        journal.put("afterwards", {"n": 1})
    with Journal(path) as journal:
        assert set(journal.keys()) == {*survivors, "afterwards"}


@pytest.mark.parametrize(
    "tail", [b'{"key": "b", "val', b"\0\0\0\0", b"\xff\xfe\n", b"{}\n", b"1\n"]
)
def test_an_unreadable_last_line_is_dropped(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    whole = write(path, {"a": {"n": 1}})
    path.write_bytes(whole + tail)
    with Journal(path, read_only=True) as journal:
        assert list(journal.keys()) == ["a"]
    assert path.read_bytes() == whole + tail  # a reader changes nothing
    with Journal(path) as journal:
        assert list(journal.keys()) == ["a"]
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    [b'{"key": "b", "val\n', b"\n", b"[]\n", b'{"key": 1, "value": {}}\n', b"[" * 99999 + b"\n"],
)
def test_a_corrupt_line_in_the_middle_is_an_error_that_names_it(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "journal.jsonl"
    lines = write(path, {"a": {}, "b": {}, "c": {}}).splitlines(keepends=True)
    path.write_bytes(lines[0] + line + lines[2])
    with pytest.raises(RunError, match=r"^Line 2 of .*journal\.jsonl is corrupt"):
        Journal(path)
    assert not (tmp_path / "journal.lock").exists()  # the refused open holds nothing


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.put("a", {"n": 1})
        with pytest.raises(RunError, match=f"is being written by process {os.getpid()}"):
            Journal(path)
        with Journal(path, read_only=True) as reader:
            assert reader.get("a") == {"n": 1}
            with pytest.raises(RunError, match="not open for writing"):
                reader.put("b", {})
    with Journal(path):
        pass
    assert not (tmp_path / "journal.lock").exists()


def test_the_lock_of_another_living_process_names_it_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    code = (
        "import sys, time, pathlib; from theodolite.runs.journal import Journal;"
        "j = Journal(pathlib.Path(sys.argv[1])); j.put('a', {}); print('ready', flush=True);"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "ready\n"
        with pytest.raises(RunError, match=f"is being written by process {other.pid}"):
            Journal(path)
        other.kill()
    assert (tmp_path / "journal.lock").read_text().strip() == str(other.pid)
    with Journal(path) as journal:
        assert journal.has("a")


def test_a_lock_file_without_a_living_holder_is_taken_over(tmp_path: Path) -> None:
    # Process 1 lives, but it does not hold the lock: a reused process id must not block.
    (tmp_path / "journal.lock").write_text("1\n")
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.put("a", {})
    assert not (tmp_path / "journal.lock").exists()


def test_threads_may_put_and_get_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:

        def work(worker: int) -> None:
            for i in range(10):
                journal.put(f"{worker}-{i}", {"text": "x" * 50 * worker})
                assert journal.get(f"{worker}-{i}") == {"text": "x" * 50 * worker}

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(journal) == 60
    with Journal(path) as journal:
        assert len(journal) == 60


def test_an_interrupted_write_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    real = os.write
    with Journal(path) as journal:
        journal.put("a", {"n": 1})

        def half(handle: int, data: bytes) -> int:
            real(handle, data[: len(data) // 2])
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "write", half)
            journal.put("b", {"n": 2})
        journal.put("c", {"n": 3})
    with Journal(path) as journal:
        assert list(journal.keys()) == ["a", "c"]


def test_a_full_disk_is_one_sentence_that_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.put("a", {"n": 1})

        def full(handle: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(RunError, match=r"^The disk is full: .* 1 finished unit is kept in"):
                journal.put("b", {"n": 2})
        assert journal.get("a") == {"n": 1}


def test_a_value_without_json_form_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        with pytest.raises(TypeError):
            journal.put("a", {"x": object()})
        assert not journal.has("a") and path.read_bytes() == b""


def test_a_closed_journal_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.put("a", {})
    journal.close()
    journal.close()
    with pytest.raises(RunError, match="closed"):
        journal.get("a")
    with pytest.raises(RunError, match="not open for writing"):
        journal.put("b", {})


def test_tensors_come_back_as_what_they_were(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    base = torch.arange(6.0).reshape(2, 3)
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.put_tensors("n", {"x": np.arange(6).reshape(2, 3).T}, {"ids": ["a"]})
        journal.put_tensors("t", {"x": base[:1], "y": base[1:], "z": base.T.bfloat16()})
        journal.put("plain", {"x": 1})
    with Journal(tmp_path / "journal.jsonl") as journal:
        assert journal.get("n") == {"ids": ["a"]}
        stored = journal.get_tensors("n")
        assert stored is not None
        assert stored[1] == {"ids": ["a"]}
        np.testing.assert_array_equal(stored[0]["x"], np.arange(6).reshape(2, 3).T)
        stored = journal.get_tensors("t")
        assert stored is not None and stored[1] == {}
        assert torch.equal(stored[0]["x"], base[:1]) and torch.equal(stored[0]["y"], base[1:])
        assert torch.equal(stored[0]["z"], base.T.bfloat16())
        assert journal.get_tensors("plain") is None and journal.get_tensors("none") is None


def test_tensors_are_on_disk_before_their_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:

        def dies(*_: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(journal, "_append", dies)
        with pytest.raises(KeyboardInterrupt):
            journal.put_tensors("a", {"x": np.zeros(3)})
        assert [file.name for file in (tmp_path / "units").iterdir()] == ["a.safetensors"]
        assert not journal.has("a")


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_lost_tensors_are_an_error_that_names_the_file(tmp_path: Path, damage: str) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.put_tensors("a", {"x": np.zeros(3)})
        file = tmp_path / "units" / "a.safetensors"
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-4])
        with pytest.raises(RunError, match=r"units/a\.safetensors cannot be read"):
            journal.get_tensors("a")


@pytest.mark.parametrize("key", ["../a", "/a", "a/../b", "", ".a", "a b", "a\0"])
def test_tensor_keys_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with journal, pytest.raises(RunError, match="cannot name a file"):
        journal.put_tensors(key, {"x": np.zeros(3)})
