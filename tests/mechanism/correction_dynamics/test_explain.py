"""The command, from files to a report; and no word of a reply in anything it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Command, Refused, command, refused
from tests.mechanism.correction_dynamics.made_replies import made, write
from tests.models.tiny_files import save_folder
from theodolite.data.prompts import PromptSet
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.correction_dynamics import replies
from theodolite.mechanism.correction_dynamics.replies import requested_replies
from theodolite.mechanism.explain import ExplainRequest

__all__ = ["command", "refused"]  # fixtures

COMMAND = ("explain", "correction-dynamics")
QUICK = ("-T", "length=8", "-T", "ks=0,4")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Make a model, one of other weights without a template, as before training, and rows."""
    save_folder(tmp_path / "model")
    save_folder(tmp_path / "base", template=None)
    weights = load_file(tmp_path / "base" / "model.safetensors")
    other = {name: value + 0.05 * value.flip(-1) for name, value in weights.items()}
    save_file(other, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    write(tmp_path / "rows.jsonl", made())
    return tmp_path


def grams(text: str, size: int = 3) -> set[str]:
    words = text.split()
    return {" ".join(words[i : i + size]) for i in range(len(words) - size + 1)}


def test_a_pair_gives_one_document_and_no_word_of_a_reply(command: Command, here: Path) -> None:
    files = ("--model", "model", "--base", "base", "--prompts", "rows.jsonl", "--out", "run")
    code, out, err = command(*COMMAND, *files, *QUICK, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert {
        "correction_dynamics",
        "correction_dynamics_bands",
        "correction_dynamics_tokens",
    } <= set(document["tables"])
    names = {m["name"] for m in document["measurements"]}
    assert "correction_dynamics/harmful/kl/tokens_0_4" in names
    page = (here / "run" / "report.html").read_text("utf-8")
    assert "Turning round inside a reply" in page
    written = [path for path in (here / "run").rglob("*") if path.is_file()]
    texts = [path.read_text("utf-8", errors="ignore") for path in written]
    replies_seen = set().union(*(grams(row.meta["reply"]) for row in made()))
    assert len(replies_seen) > 20
    for text in (out, err, *texts):
        assert not [gram for gram in replies_seen if gram in text]


def test_one_model_prints_its_bands(command: Command, here: Path) -> None:
    code, out, err = command(*COMMAND, "--model", "model", "--prompts", "rows.jsonl", *QUICK)
    assert code == 0, err
    assert "Along harmful replies, refusing openings" in out
    assert "P(refusing" in out and "KL" not in out
    assert "Turning round minus going on, in nats per token" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("-T", "length=0"), "length of 0 follows nothing"),
        (("-T", "ks=20,10"), "cuts 20, 10 cannot be used"),
        (("-T", "ks=ten"), "'ten' is not a list of whole numbers"),
        (("--limit", "0"), "limit of 0 leaves nothing"),
        (("--template", "none"), "no template choice 'none'"),
    ],
)
def test_options_that_cannot_be_used_are_refused_first(
    refused: Refused, here: Path, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused(*COMMAND, "--model", "model", "--prompts", "rows.jsonl", *words)


def test_files_without_replies_or_harm_are_refused(refused: Refused, here: Path) -> None:
    (here / "bare.jsonl").write_text('{"request": "How?"}\n')
    assert "no reply to force" in refused(*COMMAND, "--model", "model", "--prompts", "bare.jsonl")
    write(here / "good.jsonl", [row for row in made() if row.label == "benign"])
    said = refused(*COMMAND, "--model", "model", "--prompts", "good.jsonl")
    assert "No row of 'good.jsonl' is harmful" in said


def test_the_control_is_the_files_own_or_another_or_bundled(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = made()
    bundled = PromptSet("made", tuple(_split(row) for row in rows), "bundled made")
    monkeypatch.setattr(replies, "bundled", lambda name: bundled)
    monkeypatch.setattr(replies, "control_replies", lambda split: bundled.filter(label="benign"))
    both = requested_replies(ExplainRequest(prompts=str(here / "rows.jsonl")))
    assert [len(both.harmful), len(both.benign), both.source] == [3, 3, "rows.jsonl"]
    write(here / "bad.jsonl", [row for row in rows if row.label == "harmful"])
    own = requested_replies(ExplainRequest(prompts=str(here / "bad.jsonl")))
    assert own.source == "bad.jsonl and bundled made" and len(own.benign) == 3
    (here / "good.jsonl").write_text('{"id": "g", "request": "How?", "reply": "So."}\n')
    named = requested_replies(
        ExplainRequest(prompts=str(here / "bad.jsonl"), benign=str(here / "good.jsonl"))
    )
    assert [(row.id, row.label) for row in named.benign] == [("g", "benign")]
    default = requested_replies(ExplainRequest(limit=1))
    assert len({row.goal_id for row in default.harmful}) == 1 and default.files == {}


def _split(row: Any) -> Any:
    return type(row).from_json({**row.to_json(), "split": "test"})


@pytest.mark.parametrize("option", ["harmful", "jailbreak"])
def test_files_of_bare_requests_have_no_part(option: str) -> None:
    request = ExplainRequest(**{option: "x.csv"})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"--{option} has no part"):
        requested_replies(request)


def test_rows_whose_reply_is_lost_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = [type(row).from_json({**_split(row).to_json(), "meta": {}}) for row in made()]
    monkeypatch.setattr(replies, "bundled", lambda name: PromptSet("made", tuple(bare), "made"))
    with pytest.raises(DataError, match="has no reply to force"):
        requested_replies(ExplainRequest())


def test_the_bundled_rows_can_be_followed() -> None:
    found = requested_replies(ExplainRequest(limit=3))
    assert found.harmful and found.benign
    for label, rows in (("harmful", found.harmful), ("benign", found.benign)):
        assert {(row.label, row.split) for row in rows} == {(label, "test")}
        assert len({row.goal_id or row.id for row in rows}) == 3
        assert all(len(str(row.meta["reply"]).split()) > 20 for row in rows)
