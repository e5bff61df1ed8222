"""Many runs: listed, queried, and never deleted by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from theodolite.errors import RunError
from theodolite.measure.measurement import Measurement
from theodolite.runs.listing import find_run, list_runs, query_measurements, remove_run
from theodolite.runs.run import Run


def figure(value: float) -> Measurement:
    return Measurement("refusal/harmful", value, "share", 10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "ru[n]s*"  # a folder whose name means something to a glob
    for value in (0.25, 0.5):
        with Run.create("audit", f"m{value}", root=root, seed=3) as run:
            run.save_measurements([figure(value)], "refusal")
            run.commit()
    Run.create("eval refusal", "m", root=root).close()
    (root / "notes").mkdir()
    (root / "broken").mkdir()
    (root / "broken" / "manifest.json").write_text('{"kind": "theodolite run", "format": 1}')
    (root / "link").symlink_to(run.path)
    return root


def test_runs_are_listed_newest_first_and_other_folders_passed_over(root: Path) -> None:
    runs = list_runs(root)
    assert {run.model for run in runs} == {"m0.25", "m0.5", "m"}
    assert [run.started for run in runs] == sorted((run.started for run in runs), reverse=True)
    assert {run.command: run.status for run in runs} == {
        "audit": "complete",
        "eval refusal": "unfinished",
    }
    assert list_runs(root / "nowhere") == []


def test_a_run_being_written_is_listed_as_running(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path):
        assert [run.status for run in list_runs(tmp_path)] == ["running"]
    assert [run.status for run in list_runs(tmp_path)] == ["unfinished"]


def test_runs_are_found_by_path_by_name_and_as_latest(root: Path) -> None:
    newest = list_runs(root)[0].path
    assert find_run("latest", root) == find_run(newest.name, root) == newest
    assert find_run(str(newest), Path("elsewhere")) == newest
    with pytest.raises(RunError, match=r"There is no run nothing\\u202e here"):
        find_run("nothing\u202e", root)
    with pytest.raises(RunError, match="There are no runs"):
        find_run("latest", root / "nowhere")


def test_measurements_of_many_runs_answer_a_query(root: Path) -> None:
    rows = query_measurements(root)
    assert {row["model"]: row["value"] for row in rows} == {"m0.25": 0.25, "m0.5": 0.5}
    assert {row["seed"] for row in rows} == {3} and rows[0]["panel"] == "refusal"
    sql = "SELECT command, max(value) AS best FROM measurements WHERE value > ? GROUP BY command"
    assert query_measurements(root, sql, [0.1]) == [{"command": "audit", "best": 0.5}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "COPY measurements TO 'stolen.csv'",
        "ATTACH 'stolen.db'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "SELECT nothing FROM measurements",
        "SELECT",
    ],
)
def test_a_query_reads_the_measurements_and_nothing_else(
    root: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    with pytest.raises(RunError, match="The query does not work"):
        query_measurements(root, sql)
    assert not list(root.parent.glob("stolen*"))


def test_a_query_without_runs_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds measurements yet"):
        query_measurements(tmp_path)


def test_only_a_run_inside_the_root_is_removed(root: Path, tmp_path: Path) -> None:
    kept = sorted(root.rglob("*"))
    outside = Run.create("audit", "m", out=tmp_path / "outside")
    outside.close()
    for path, why in [
        (root / "notes", "is not a run folder"),
        (root / "link", "is a link"),
        (root, "is not inside"),
        (outside.path, "is not inside"),
        (root / ".." / "outside", "is not inside"),
        (tmp_path, "is not inside"),
    ]:
        with pytest.raises(RunError, match=why):
            remove_run(path, root)
    assert sorted(root.rglob("*")) == kept and outside.path.is_dir()
    gone = list_runs(root)[0].path
    remove_run(gone, root)
    assert not gone.exists() and len(list_runs(root)) == 2


def test_a_run_being_written_is_not_removed(tmp_path: Path) -> None:
    run = Run.create("audit", "m", root=tmp_path)
    with run, pytest.raises(RunError, match="is being written"):
        remove_run(run.path, tmp_path)
    remove_run(run.path, tmp_path)
