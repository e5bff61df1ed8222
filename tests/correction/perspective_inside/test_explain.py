"""The command, from files to a report; what cannot be asked is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Refused, command, refused
from tests.correction.perspective_inside.test_reading import labelled
from tests.models.tiny_files import save_folder
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.beginnings import requested_beginnings
from theodolite.mechanism.explain import ExplainRequest

__all__ = ["command", "refused"]  # fixtures

COMMAND = ("explain", "perspective-taking")
CAPS = ("-T", "listing_tokens=4", "-T", "thinking_tokens=4", "-T", "max_tokens=4", "-T", "draws=20")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a model with a long window, beginnings and labelled texts."""
    save_folder(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["max_position_embeddings"] = 8192
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    lines = [f"The beginning number {i} of a text that" for i in range(4)]
    (tmp_path / "begin.txt").write_text("\n".join(lines) + "\n")
    labelled(tmp_path / "texts.csv")
    return tmp_path


def test_one_model_gives_a_report_and_no_word_of_a_text(command: Command, here: Path) -> None:
    files = ("--model", "model", "--prompts", "begin.txt", "--texts", "texts.csv", "--out", "run")
    code, out, err = command(*COMMAND, *files, "--limit", "3", *CAPS, "--json")
    assert code == 0, err
    document = json.loads(out)
    names = [m["name"] for m in document["measurements"]]
    assert names[0] == "perspective_taking/direction/auroc" and len(names) == 4
    assert len({row["id"] for row in document["tables"]["perspective_taking_outcomes"]}) == 3
    page = (here / "run" / "report.html").read_text("utf-8")
    assert "Perspective-taking from inside" in page
    for text in (out, err, page):
        assert "zzz boat" not in text and "beginning number" not in text
    manifest = json.loads((here / "run" / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"prompts", "texts"}
    code, out, err = command(*COMMAND, "--resume", "run")
    assert code == 0, err
    assert "hidden_index" in out and "difference of the two" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-T", "method=pet_oi"), "Known names: pet_io"),
        (("-T", "method=base"), "no method"),
        (("-T", "readers=0"), "readers"),
        (("-T", "samples=0"), "task.samples is 0"),
        (("-T", "draws=3"), "task.draws is 3"),
        (("-T", "max_tokens=0"), "0 tokens"),
        (("-T", "scorer=alt_profanty"), "alt_profanity"),
        (("--texts", "none.csv"), "none.csv"),
        (("--limit", "1"), "leaves too few"),
        (("--template", "none"), "no template choice"),
    ],
)
def test_what_cannot_be_asked_is_refused_first(
    refused: Refused, here: Path, words: tuple[str, ...], sentence: str
) -> None:
    given = () if "scorer=alt_profanty" in words else ("--texts", "texts.csv")
    assert sentence in refused(*COMMAND, "--model", "model", *given, *words)


def test_beginnings_are_drawn_alike_and_chats_are_refused(tmp_path: Path) -> None:
    few, more = (requested_beginnings(ExplainRequest(limit=n)) for n in (5, 20))
    assert len(few.bare) == 5 and {p.id for p in few.bare} < {p.id for p in more.bare}
    assert len(requested_beginnings(ExplainRequest()).bare) == 80
    with pytest.raises(ConfigError, match="--benign has no part"):
        requested_beginnings(ExplainRequest(benign="x"))
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps({"id": "c", "messages": [{"role": "user", "content": "a"}]}) + "\n")
    with pytest.raises(DataError, match=r"'c' .* is a chat"):
        requested_beginnings(ExplainRequest(prompts=str(path)))
