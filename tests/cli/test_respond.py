"""theodolite correct respond: both texts of a prompt, figures of a file; or one sentence."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command, Refused
from tests.correction.perspective_taking.made import Script, said
from tests.models.tiny_files import save_folder
from theodolite.correction.respond import ANSWERS
from theodolite.correction.respond_request import RespondRequest
from theodolite.providers import kept
from theodolite.providers.evaluate import evaluate
from theodolite.runs.config import load_config

ORIGINAL = "You fool.\nIt is \x1b[2J cold {k} \u202e \x07."
REWRITTEN = "It is \x9b31m cold [b]now[/b]\r {S}."
API = ("--model", "api:mockllm/model")
ASK = ("correct", "respond", *API)
SHORT = ("--method", "rewrite_only")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Let a script stand behind the API: a hostile answer, and a hostile rewritten one."""
    script = Script(
        lambda _, turns: said(REWRITTEN if "anew" in turns[-1].text else ORIGINAL, read=1000)
    )
    monkeypatch.setattr(kept, "evaluate", lambda t, _, **how: evaluate(t, script.model, **how))
    return script


def prompts(folder: Path, count: int = 3) -> str:
    lines = [json.dumps({"id": f"p\x1b{i}", "prompt": f"Ask {i}"}) for i in range(count)]
    (folder / "asked.jsonl").write_text("\n".join(lines) + "\n")
    return "asked.jsonl"


def is_calm(text: str) -> bool:
    """Return whether no character of a text could command a terminal."""
    return all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf") for c in text)


def test_a_typed_prompt_shows_both_texts_and_the_cost(
    command: Command, script: Script, tmp_path: Path
) -> None:
    code, out, err = command(*ASK, "--prompt", "Why {S}?", "--out", "run")
    assert code == 0, err
    assert out == (
        "Original:\nYou fool.\nIt is \\u001b[2J cold {k} \\u202e \\u0007.\n\n"
        "Rewritten (pet_io):\nIt is \\u009b31m cold [b]now[/b]\\r {S}.\n\n"
    )
    assert "4 calls, 4,000 tokens read, 20 written, 0 cut at a cap." in err
    assert "Run: run" in err and is_calm(out + err)
    (row,) = map(json.loads, (tmp_path / "run" / ANSWERS).read_text().splitlines())
    assert (row["original"], row["revised"]) == (ORIGINAL, REWRITTEN)
    assert script.calls[0][0].text == "Why {S}?"


def test_a_method_that_rewrites_nothing_shows_one_text(command: Command, script: Script) -> None:
    code, out, err = command(*ASK, "--prompt", "Why?", "--method", "base")
    assert code == 0 and out.startswith("Answer:\nYou fool.") and "Rewritten" not in out
    assert "1 call, 1,000 tokens read" in err and "did not change" not in err


def test_remarks_stand_beside_the_text(
    command: Command, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.reply = lambda *_: said("I'm sorry, but I can't help with that.", stop="max_tokens")
    code, _, err = command(*ASK, *SHORT, "--prompt", "Why?", "--scorers", "alt_profanity")
    if "pip install" in err:
        pytest.skip("the scorer's package is not installed")
    assert code == 0, err
    assert "2 cut at a cap" in err and "The text did not change." in err
    assert "The answer refuses." in err and "Scores: before/alt_profanity 0." in err


def test_a_file_shows_figures_and_texts_only_when_asked(
    command: Command, script: Script, tmp_path: Path
) -> None:
    name = prompts(tmp_path)
    code, out, err = command(*ASK, *SHORT, "--prompts", name, "--out", "run")
    assert code == 0, err
    assert "fool" not in out + err and "cold" not in out + err
    assert "respond/changed" in out and "rewrite_only changed 3 of 3 answers" in out
    assert "--scorers" in out and "Run: run" in out
    code, out, _ = command(*ASK, *SHORT, "--prompts", name, "--show-text")
    assert code == 0 and out.count("You fool.") == 3 and is_calm(out)
    assert "Original of p\\u001b0:" in out and "Rewritten of p\\u001b2 (rewrite_only):" in out


def test_one_document(command: Command, script: Script, tmp_path: Path) -> None:
    code, out, err = command(*ASK, *SHORT, "--prompts", prompts(tmp_path), "--json")
    assert code == 0, err
    document = json.loads(out)
    assert set(document["tables"]) == {"answers", "items"} and "fool" not in out
    assert document["run"]["command"] == "correct respond"
    names = {m["name"] for m in document["measurements"]}
    assert {"respond/changed", "respond/refusal/change", "respond/calls"} <= names
    code, out, _ = command(*ASK, *SHORT, "--prompt", "Why?", "--json")
    (texts,) = json.loads(out)["tables"]["texts"]
    assert code == 0 and is_calm(out)
    assert texts == {
        "id": "prompt",
        "prompt": "Why?",
        "original": ORIGINAL,
        "final": REWRITTEN,
    }


def test_settings_come_from_a_file_that_config_prints(
    command: Command, script: Script, tmp_path: Path
) -> None:
    code, out, _ = command("config", "correct", "respond")
    assert code == 0 and out.startswith("# theodolite correct respond --config FILE;")
    (tmp_path / "all.toml").write_text(out)
    assert load_config(RespondRequest, tmp_path / "all.toml") == RespondRequest()
    (tmp_path / "own.toml").write_text('method = "pet_is"\n[options]\nk = 2\n')
    words = ("--config", "own.toml", "--prompt", "Why?", "--rounds", "2", "--out", "run")
    assert command(*ASK, *words)[0] == 0
    (row,) = map(json.loads, (tmp_path / "run" / ANSWERS).read_text().splitlines())
    assert row["options"] == {"kind": "is", "k": 2, "rounds": 2} and row["usage"]["calls"] == 7


def test_ctrl_c_keeps_finished_answers(command: Command, script: Script, tmp_path: Path) -> None:
    (tmp_path / "slow.toml").write_text("connections = 1\n")
    words = (*SHORT, "--prompts", prompts(tmp_path), "--config", "slow.toml")
    reply = script.reply

    def stopped(number: int, turns: list[Any]) -> Any:
        if number == 4:
            raise KeyboardInterrupt
        return reply(number, turns)

    script.reply = stopped
    code, out, err = command(*ASK, *words, "--out", "run")
    assert (code, out) == (130, "") and "1 finished unit is kept" in err
    assert "theodolite correct respond --resume run" in err.replace("\n", "")
    assert (tmp_path / "run" / ANSWERS).read_bytes().count(b"\n") == 1
    script.reply = reply
    code, _, err = command("correct", "respond", "--resume", "run")
    assert code == 0, err
    assert command(*ASK, *words, "--out", "whole")[0] == 0
    both = [(tmp_path / name / ANSWERS).read_bytes() for name in ("run", "whole")]
    assert both[0] == both[1] and both[0].count(b"\n") == 3


def test_a_run_that_was_asked_another_prompt_is_not_gone_on_with(
    command: Command, script: Script, tmp_path: Path
) -> None:
    secret = "Is sk-" + "a" * 20 + " a key?"
    assert command(*ASK, *SHORT, "--prompt", secret, "--out", "run")[0] == 0
    manifest = (tmp_path / "run" / "manifest.json").read_text()
    assert "aaaa" not in manifest
    code, _, err = command("correct", "respond", "--resume", "run")  # its prompt is not stored
    assert code == 2 and "inputs.prompt" in err
    assert command("correct", "respond", "--resume", "run", "--prompt", secret)[0] == 0


def test_a_local_model_from_end_to_end(command: Command, tmp_path: Path) -> None:
    config = save_folder(tmp_path / "model") / "config.json"
    wide = json.loads(config.read_text()) | {"max_position_embeddings": 8192}
    config.write_text(json.dumps(wide))
    (tmp_path / "short.toml").write_text("listing_tokens = 4\nthinking_tokens = 4\n")
    (tmp_path / "asked.txt").write_text("They looked at the soup and\nShe said that\n")
    words = ("--model", "./model", "--prompts", "asked.txt", "--continuation", "--readers", "2")
    code, _, err = command(
        *("correct", "respond", *words, "--max-tokens", "4", "--config", "short.toml"),
        *("--out", "run"),
    )
    assert code == 0, err
    data = (tmp_path / "run" / ANSWERS).read_bytes()
    rows = [json.loads(line) for line in data.splitlines()]
    assert [row["id"] for row in rows] == ["asked/0", "asked/1"]
    assert {row["form"] for row in rows} == {"continuation"}
    assert all(row["usage"]["calls"] == 4 and row["usage"]["in"] for row in rows)
    (tmp_path / "run" / "complete").unlink()
    code, _, err = command("correct", "respond", "--resume", "run")
    assert code == 0 and (tmp_path / "run" / ANSWERS).read_bytes() == data


WRONG = {
    "nothing": ((), "--prompt TEXT or --prompts FILE"),
    "both": (("--prompt", "a", "--prompts", "b.txt"), "either one prompt or a file"),
    "empty": (("--prompt", ""), "The prompt is empty."),
    "no file": (("--prompts", "none.jsonl"), "none.jsonl"),
    "method": (("--prompt", "a", "--method", "pet-io2"), "Did you mean `pet_io`?"),
    "readers": (("--prompt", "a", "--readers", "0"), "readers is 0"),
    "no readers": (("--prompt", "a", "--method", "base", "--readers", "2"), "--readers"),
    "wording": (("--prompt", "a", "--wording", "v9"), "v0, v1"),
    "language": (("--prompt", "a", "--language", "none.toml"), "none.toml"),
    "tool": (("--prompt", "a", "--method", "critic", "--tool", "vadr"), "`vader`"),
    "useless tool": (("--prompt", "a", "--tool", "vader"), "asks no tool"),
    "scorer": (("--prompt", "a", "--scorers", "alt_profanty"), "`alt_profanity`"),
    "cap": (("--prompt", "a", "--max-tokens", "0"), "0 tokens"),
    "resumed and new": (("--resume", "x", "--out", "y"), "exclude each other"),
    "no such run": (("--resume", "x"), "x"),
    "config": (("--prompt", "a", "--config", "wrong.toml"), "`method`"),
    "model": (("--prompt", "a", "--model", "smolm2"), "smollm2"),
}


@pytest.mark.parametrize(("words", "says"), WRONG.values(), ids=WRONG.keys())
def test_bad_input_is_one_sentence(
    refused: Refused, words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    (tmp_path / "wrong.toml").write_text('methd = "pet_io"\n')
    assert says in refused("correct", "respond", *words)
    assert not (tmp_path / "runs").exists() and not (tmp_path / "y").exists()


def test_a_broken_row_is_named_with_its_line(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "ok"}\n{"prompt": 3}\n')
    sentence = refused("correct", "respond", "--prompts", "a.jsonl")
    assert "a.jsonl" in sentence and "line 2" in sentence and "prompt" in sentence


def test_settings_of_a_correction_that_does_not_exist(refused: Refused) -> None:
    assert "Did you mean `respond`?" in refused("config", "correct", "respnd")
