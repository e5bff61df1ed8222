"""The run folder: what is saved comes back, and what cannot go on is refused with a reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theodolite.errors import DataError, Interrupted, RunError
from theodolite.measure.measurement import (
    Floor,
    JudgeQuality,
    Measurement,
    Unscored,
    not_measured,
)
from theodolite.runs.folder import safe_name
from theodolite.runs.panel import Figure, PanelResult, Sample, TokenMap
from theodolite.runs.run import Run

FULL = Measurement(
    name="refusal/harmful",
    value=0.5,
    unit="share",
    n=10,
    n_clusters=5,
    low=0.2,
    high=0.8,
    method="wilson",
    floor=Floor("always refuse", 1.0),
    range=(0.0, 1.0),
    unscored=Unscored(2, {"judge down": 2}, 0.4, 0.6),
    judge=JudgeQuality("rules", 0.9, 0.8, None),
)
NONE = not_measured("refusal/benign", "share", "too few items")

RESULT = PanelResult(
    measurements=(FULL, NONE),
    tables={"items": [{"id": "a", "outcome": 1, "meta": {"k": [1, None]}}, {"id": "b"}]},
    figures=(Figure("rates", "Rates", "By style", {"data": [{"y": np.arange(2.0)}]}, "items"),),
    samples=(Sample("a", "refusal", True, "p \ud83d", "c\n", {"style": "plain"}),),
    findings=("It refuses.",),
    limits=("Ten items.",),
    how=("Greedy.",),
    labels={"refusal/harmful": "harmful requests refused"},
    token_maps=(
        TokenMap("a", "L3-C1", True, "said", ["<s>", " a\u202e"], [1.0, -0.5], [True, False]),
    ),
)


def test_a_panel_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path) as run:
        assert not run.panel_done("refusal")
        run.save_panel("refusal", RESULT, key="1")
        run.save_measurements([FULL])
        assert run.panel_done("refusal", key="1") and not run.panel_done("refusal", key="2")
        path = run.path
    run = Run.open(path)
    back = run.load_panel("refusal")
    assert back.measurements == (FULL, NONE)
    assert back.tables == {
        "items": [
            {"id": "a", "outcome": 1, "meta": {"k": [1, None]}},
            {"id": "b", "outcome": None, "meta": None},
        ]
    }
    assert back.figures == (
        Figure("rates", "Rates", "By style", {"data": [{"y": [0.0, 1.0]}]}, "items"),
    )
    assert (back.samples, back.findings) == (RESULT.samples, RESULT.findings)
    assert (back.limits, back.how) == (RESULT.limits, RESULT.how)
    assert back.token_maps == RESULT.token_maps
    words = run.path / "panels" / "refusal.json"
    old = json.loads(words.read_text("utf-8"))
    del old["token_maps"]  # as runs of earlier versions were written
    words.write_text(json.dumps(old), "utf-8")
    assert run.load_panel("refusal").token_maps == ()
    assert back.labels == RESULT.labels
    assert run.panel_names() == ["refusal"] and run.table_names() == ["refusal/items"]
    assert [m for _, m in run.load_measurements_by_panel()] == [FULL, NONE, FULL]
    assert [m.name for m in run.load_measurements()][2] == "/refusal/harmful"
    assert run.load_measurements("") == [FULL]


def test_a_panel_saved_again_replaces_its_rows_only(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path) as run:
        run.save_measurements([FULL, NONE], "one")
        run.save_measurements([NONE], "two")
        run.save_measurements([NONE], "one")
        assert run.load_measurements("one") == [NONE] == run.load_measurements("two")
        run.save_measurements([])
        assert len(run.load_measurements()) == 2


def test_a_panel_is_not_done_until_everything_it_points_at_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for step in ("save_table", "save_figure", "save_samples", "save_measurements"):
        with Run.create("audit", step, root=tmp_path) as run:
            monkeypatch.setattr(run, step, dies)
            with pytest.raises(KeyboardInterrupt):
                run.save_panel("refusal", RESULT)
            assert not run.panel_done("refusal") and run.panel_names() == []


def test_tensors_come_back_and_names_stay_inside(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path) as run:
        run.save_tensors("probes/weights", {"w": np.eye(2)})
        np.testing.assert_array_equal(run.load_tensors("probes/weights")["w"], np.eye(2))
        for name in ("../../x", "/x", "a/../../x", "", "a\nb", ".hidden", "x" * 300):
            with pytest.raises(RunError, match="cannot name a file"):
                run.save_table(name, [])


def test_the_manifest_says_what_ran(tmp_path: Path) -> None:
    data = tmp_path / "prompts.jsonl"
    data.write_text("{}\n")
    with Run.create(
        "eval refusal",
        "org/model",
        root=tmp_path / "deep" / "runs",
        config={"limit": 3, "styles": ("plain",), "t": float("nan")},
        inputs={"prompts": data, "bundled": "abc"},
        seed=7,
        methods={"refusal": 2},
    ) as run:
        run.describe(model={"fingerprint": "f00"}, methods={"probe": 1})
        run.commit()
    manifest = Run.open(run.path).manifest
    assert manifest["command"] == "eval refusal" and manifest["seed"] == 7
    assert manifest["model"] == {"name": "org/model", "fingerprint": "f00"}
    assert manifest["config"] == {"limit": 3, "styles": ["plain"], "t": None}
    assert manifest["inputs"]["prompts"]["sha256"].startswith("ca3d163b")
    assert manifest["inputs"]["bundled"] == "abc"
    assert manifest["methods"] == {"refusal": 2, "probe": 1}
    (session,) = manifest["sessions"]
    assert {"python", "torch", "transformers", "theodolite"} <= session["versions"].keys()
    assert session["cpu_threads"] >= 1
    assert manifest["started"] <= manifest["ended"]
    assert run.path.name.endswith("-eval-refusal-org-model")


def test_the_marker_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run.create("audit", "m", root=tmp_path) as run:
        renamed: list[str] = []
        real = Path.replace

        def note(self: Path, target: Path) -> Path:
            renamed.append(target.name)
            return real(self, target)

        monkeypatch.setattr(Path, "replace", note)
        assert not run.finished
        run.commit()
        assert renamed == ["manifest.json", "complete"] and run.finished


def test_runs_of_one_second_do_not_collide(tmp_path: Path) -> None:
    runs = [Run.create("audit", "m", root=tmp_path) for _ in range(5)]
    assert len({run.path for run in runs}) == 5
    for run in runs:
        run.close()


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("org/name", "org-name"),
        ("../../etc/passwd", "etc-passwd"),
        ("a\n\u202eb\0c", "a-b-c"),
        ("模型", ""),
        ("x" * 500, "x" * 60),
        ("api:openai/gpt-4.1", "api-openai-gpt-4.1"),
    ],
)
def test_model_names_are_made_safe_for_paths(name: str, safe: str, tmp_path: Path) -> None:
    assert safe_name(name) == safe
    with Run.create("audit", name, root=tmp_path) as run:
        assert run.path.parent == tmp_path and run.path.is_dir()


def test_out_may_be_new_or_empty_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/folder"):
        Run.create("audit", "m", out=tmp_path / name).close()
        with pytest.raises(RunError, match="holds a run already"):
            Run.create("audit", "m", out=tmp_path / name)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and is not a run"):
        Run.create("audit", "m", out=tmp_path / "full")
    with pytest.raises(RunError, match=r"could not be written: (Not a directory|File exists)"):
        Run.create("audit", "m", out=tmp_path / "full" / "thesis.txt")
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="Permission denied"):
        Run.create("audit", "m", root=tmp_path / "runs")


def test_resume_goes_on_with_the_newest_unfinished_run_of_the_command(tmp_path: Path) -> None:
    paths = []
    for command in ("audit", "audit", "eval refusal"):
        with Run.create(command, "m", root=tmp_path) as run:
            paths.append(run.path)
    Run.create("audit", "m", root=tmp_path).commit()
    with Run.resume(command="audit", root=tmp_path) as run:
        assert run.path == paths[1]
        run.journal.put("a", {"n": 1})
        assert len(run.manifest["sessions"]) == 2
    with Run.resume(command="audit", root=tmp_path) as run:
        assert run.journal.get("a") == {"n": 1}
        assert len(Run.open(run.path).manifest["sessions"]) == 3


def test_resume_removes_what_a_killed_writer_left_half_written(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path) as run:
        run.save_table("p/t", [{"x": 1}])
    part = run.path / "tables" / "p" / ".u.parquet.0a1b2c3d.part"
    part.write_bytes(b"half")
    with Run.resume(command="audit", root=tmp_path) as run:
        assert not part.exists() and run.table_names() == ["p/t"]


def test_resume_says_why_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no unfinished run of `audit`"):
        Run.resume(command="audit", root=tmp_path / "nowhere")
    run = Run.create("audit", "m", root=tmp_path)
    run.commit()
    with pytest.raises(RunError, match=r"the newest one, .*-audit-m, is finished"):
        Run.resume(command="audit", root=tmp_path)
    with pytest.raises(RunError, match="is a run of `audit`, not of `eval refusal`"):
        Run.resume(run.path, command="eval refusal")
    with pytest.raises(RunError, match="There is no run"):
        Run.resume(tmp_path, command="audit")


def test_resume_of_a_finished_run_by_name_reopens_it(tmp_path: Path) -> None:
    run = Run.create("audit", "m", root=tmp_path)
    run.commit()
    with Run.resume(run.path, command="audit") as again:
        assert not again.finished and again.manifest["ended"] is None
        again.commit()
        assert again.finished


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        ({"config": {"limit": 4, "judge": {"name": "a"}}}, r"config\.limit was 3, is 4"),
        ({"config": {"limit": 3, "judge": {"name": "b"}}}, r'config\.judge\.name was "a", is "b"'),
        ({"config": {"limit": 3}}, r"config\.judge was .*, is not set"),
        ({"seed": 1}, r"seed was 0, is 1"),
        ({"model": {"fingerprint": "f2"}}, r'model\.fingerprint was "f1", is "f2"'),
        ({"inputs": {"file": "h2"}}, r'inputs\.file was "h1", is "h2"'),
    ],
)
def test_resume_refuses_another_question(
    tmp_path: Path, asked: dict[str, Any], difference: str
) -> None:
    config = {"limit": 3, "judge": {"name": "a"}}
    model = {"fingerprint": "f1", "template_hash": None}
    inputs = {"file": "h1"}
    Run.create("audit", "m", root=tmp_path, config=config, model=model, inputs=inputs).close()
    with pytest.raises(RunError, match=f"was asked something else: {difference}"):
        Run.resume(command="audit", root=tmp_path, **asked)
    same = {"config": config, "seed": 0, "inputs": inputs}
    model = {"name": "m", "fingerprint": "f1", "template_hash": "known later"}
    Run.resume(command="audit", root=tmp_path, model=model, **same).close()


def test_a_moved_input_file_is_the_same_input(tmp_path: Path) -> None:
    for name, text in (("a.txt", "same"), ("b.txt", "same"), ("c.txt", "other")):
        (tmp_path / name).write_text(text)
    Run.create("audit", "m", root=tmp_path, inputs={"p": tmp_path / "a.txt"}).close()
    Run.resume(command="audit", root=tmp_path, inputs={"p": tmp_path / "b.txt"}).close()
    with pytest.raises(RunError, match=r"inputs\.p was"):
        Run.resume(command="audit", root=tmp_path, inputs={"p": tmp_path / "c.txt"})


def test_a_run_being_written_is_not_resumed_but_can_be_read(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path) as run:
        run.journal.put("a", {"n": 1})
        with pytest.raises(RunError, match="is being written by process"):
            Run.resume(command="audit", root=tmp_path)
        reader = Run.open(run.path)
        assert reader.journal.get("a") == {"n": 1}
        with pytest.raises(RunError, match="open for reading only"):
            reader.save_table("t", [])


def test_a_closed_run_is_still_read(tmp_path: Path) -> None:
    run = Run.create("audit", "m", root=tmp_path)
    run.journal.put("a", {"n": 1})
    run.save_table("t", [{"x": 1}])
    run.commit()
    assert run.journal.get("a") == {"n": 1} and run.load_table("t") == [{"x": 1}]
    with pytest.raises(RunError, match="open for reading only"):
        run.save_table("t", [])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "other"}', "[" * 99999])
def test_a_broken_manifest_is_an_error_in_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=r"not valid JSON|not a run folder"):
        Run.open(tmp_path)


def test_a_run_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"kind": "theodolite run", "format": 99}')
    with pytest.raises(RunError, match="newer version"):
        Run.open(tmp_path)


def test_a_full_disk_names_what_is_kept_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError(28, "No space left on device")

    with Run.create("audit", "m", root=tmp_path) as run:
        run.journal.put("a", {})
        run.save_panel("refusal", RESULT)
        before = sorted(run.path.rglob("*"))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(
                RunError, match=r"1 finished unit is kept .* panels: refusal\."
            ) as e:
                run.save_table("t", [{"x": 1}])
        assert "tables/t.parquet" in str(e.value)
        assert sorted(run.path.rglob("*")) == before


def test_lost_files_are_named(tmp_path: Path) -> None:
    with Run.create("audit", "m", root=tmp_path) as run:
        run.save_panel("refusal", RESULT)
        (run.path / "samples" / "refusal.json").unlink()
        (run.path / "tables" / "refusal" / "items.parquet").write_bytes(b"PAR1 no")
        with pytest.raises(RunError, match=r"samples/refusal\.json is missing"):
            run.load_samples("refusal")
        with pytest.raises(RunError, match=r"items\.parquet cannot be read"):
            run.load_table("refusal/items")
        with pytest.raises(RunError, match=r"none\.parquet cannot be read"):
            run.load_table("none")


@pytest.mark.parametrize("given", ["none", "new", "empty"])
def test_a_run_refused_before_its_first_result_leaves_nothing(tmp_path: Path, given: str) -> None:
    out = tmp_path / "out" if given != "none" else None
    if given == "empty":
        (tmp_path / "out").mkdir()
    with (
        pytest.raises(DataError),
        Run.create("explain", "tiny", root=tmp_path / "runs", out=out) as run,
    ):
        run.save_table("draft", [{"a": 1}])
        raise DataError("A prompt is empty.")
    assert run.path.exists() == (given == "empty")
    assert not list((tmp_path / "runs").glob("*")) if given == "none" else True
    assert given != "empty" or not list(run.path.iterdir())


def test_a_run_with_results_is_kept_when_something_is_refused_later(tmp_path: Path) -> None:
    with pytest.raises(DataError), Run.create("explain", root=tmp_path) as run:
        run.journal.put("unit", {"a": 1})
        raise DataError("A prompt is empty.")
    assert (run.path / "manifest.json").is_file()
    with (
        pytest.raises(DataError),
        Run.resume(run.path, command="explain", root=tmp_path) as again,
    ):
        raise DataError("A prompt is empty.")
    assert (again.path / "manifest.json").is_file()


def test_a_run_inside_another_goes_on_with_the_outer_one(tmp_path: Path) -> None:
    with (
        pytest.raises(Interrupted) as error,
        Run.create("correct synthesise", "m", out=tmp_path / "loop"),
        Run.create("train dpo", "m", out=tmp_path / "loop" / "training"),
    ):
        raise KeyboardInterrupt
    assert "theodolite correct synthesise --resume" in error.value.fix
    assert "training" not in error.value.fix
