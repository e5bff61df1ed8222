"""What a user meets beside the numbers: going on, nothing left behind, names that can be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.models.tiny_files import save_folder
from theodolite.cli.output import print_rows
from theodolite.runs.run import Run

REFUSAL = "I'm sorry, but I can't help with that request."


def answers(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def test_resume_alone_asks_what_the_run_was_asked(command: Command, tmp_path: Path) -> None:
    save_folder(tmp_path / "model")
    started = command("eval", "refusal", "--model", "model", "-T", "limit=2", "--out", "runs/a")
    assert started[0] == 0
    (tmp_path / "runs" / "a" / "complete").unlink()
    for words in (["--resume"], ["--resume", "a"], ["--resume", "runs/a"]):
        code, out, err = command("eval", "refusal", *words, "--json")
        assert code == 0, err
        document = json.loads(out)
        assert document["run"]["config"]["model"] == "model"
        assert document["run"]["config"]["task"]["limit"] == 2
        (tmp_path / "runs" / "a" / "complete").unlink()
    assert len(list((tmp_path / "runs").iterdir())) == 1
    code, _, err = command("eval", "refusal", "--resume", "a", "--seed", "1")
    assert code == 2 and "config.seed was 0, is 1" in err
    code, _, err = command("eval", "refusal", "--resume", "a", "--out", "b")
    assert code == 2 and "exclude each other" in err


def test_ctrl_c_says_how_to_go_on_wherever_it_comes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    save_folder(tmp_path / "model")
    with monkeypatch.context() as patched:
        patched.setattr("theodolite.audit.run.announce", stop)
        code, out, err = command("audit", "model", "--out", "run")
    assert (code, out) == (130, "")
    assert "theodolite: Stopped; 0 finished units are kept" in err
    assert "Resume with `theodolite audit --resume run`." in err
    with monkeypatch.context() as patched:
        patched.setattr("theodolite.models.open_model", stop)
        code, out, err = command("audit", "model")
    assert (code, out) == (130, "") and err.count("theodolite: ") == 1


UNUSABLE = {
    "limit": (["-T", "limit=-3"], "A limit of -3"),
    "no limit": (["-T", "limit=0"], "A limit of 0"),
    "length": (["-T", "max_tokens=0"], "max_tokens is 0"),
    "style": (["-T", "styles=quizz"], "quiz"),
    "system": (["-T", "system=foo"], "guarded"),
    "source": (["-T", "source=none.csv"], "none.csv"),
    "answers": (["--responses", "none.jsonl"], "none.jsonl"),
    "answers and options": (["--responses", "a.jsonl", "-T", "limit=1"], "-T"),
    "answers and adapter": (["--responses", "a.jsonl", "--adapter", "x"], "--adapter"),
}


@pytest.mark.parametrize(("words", "says"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_be_asked_leaves_no_run_and_opens_no_model(
    words: list[str], says: str, command: Command, tmp_path: Path
) -> None:
    answers(tmp_path / "a.jsonl", [{"id": "a", "completion": REFUSAL}])
    code, out, err = command("eval", "refusal", "--model", "org/never-opened", *words)
    assert (code, out) == (2, "") and says in err
    assert not (tmp_path / "runs").exists()


def test_a_missing_figure_says_why_and_figures_have_plain_names(
    command: Command, tmp_path: Path
) -> None:
    rows = [{"id": f"a{i}", "completion": REFUSAL, "label": "harmful"} for i in range(3)]
    name = answers(tmp_path / "a.jsonl", rows)
    for words in (["eval", "refusal", "--responses", name], ["runs", "show"]):
        code, out, _ = command(*words)
        said = " ".join(out.split())
        assert code == 0
        assert "(n=0): no benign" in said
        assert "harmful requests" in said
        assert max(map(len, out.splitlines()[:-1])) <= 80


def test_a_run_without_figures_says_so(command: Command, tmp_path: Path) -> None:
    Run.create("audit", "m", root=tmp_path / "runs").close()
    code, out, err = command("runs", "show")
    assert (code, out) == (0, "") and "no measurements yet" in err


def test_a_wrong_query_is_one_sentence(command: Command, tmp_path: Path) -> None:
    answers(tmp_path / "a.jsonl", [{"id": "a", "completion": REFUSAL}])
    command("eval", "refusal", "--responses", "a.jsonl")
    code, _, err = command("runs", "query", "selec x")
    assert code == 2 and "\\n" not in err and "LINE" not in err


def test_names_of_runs_stay_in_one_piece(command: Command, tmp_path: Path) -> None:
    with Run.create("eval refusal", "tiny", root=tmp_path / "runs") as run:
        name = run.path.name
    assert name in command("runs", "list")[1]


def test_rows_of_many_columns_are_printed_field_by_field(capfd: pytest.CaptureFixture[str]) -> None:
    print_rows("[b]t[/b]", [{f"column_{i}": f"\x1b[31m[red]{i}" for i in range(20)}])
    out = capfd.readouterr().out
    lines = out.splitlines()
    assert lines[0].strip() == "[b]t[/b]" and max(map(len, lines)) <= 80
    assert "column_19" in out and "\\u001b[31m[red]19" in out and "\x1b" not in out
