"""`correct respond --method any_depth`: an answer stays, or a fresh turn's refusal replaces it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.correction.test_any_depth import MODEL, REQUEST, fresh, verdicts
from tests.models.tiny_files import save_folder
from theodolite.audit.loops.respond import respond
from theodolite.correction.any_depth import PROBE
from theodolite.correction.respond import answer_prompts
from theodolite.correction.respond_any_depth import DEPTH
from theodolite.correction.respond_request import RespondRequest, work_of
from theodolite.engine import generate
from theodolite.errors import CapabilityError, ConfigError
from theodolite.models.chat import encode
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


def asked(**more: Any) -> RespondRequest:
    values = {"prompt": REQUEST, "method": "any_depth", "max_tokens": 10, "options": {"every": 4}}
    return RespondRequest(**(values | more))


def answered(folder: Path, request: RespondRequest) -> dict[str, Any]:
    with Run.create("correct respond", "tiny", out=folder) as run:
        (record,) = answer_prompts(MODEL, work_of(request), run=run, progress=SilentProgress())
    return record


def plain() -> str:
    turns = [{"role": "user", "content": REQUEST}]
    return generate(MODEL, [encode(MODEL, turns)], max_new_tokens=10)[0].text


def test_an_answer_that_no_fresh_turn_refuses_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = verdicts(monkeypatch, lambda _: False)
    record = answered(tmp_path / "run", asked())
    assert record["original"] == record["revised"] == plain()
    assert record["method"] == "any_depth" and record["facts"][DEPTH] is None
    assert seen[-1] == fresh(plain().rstrip(), PROBE)
    assert record["usage"]["calls"] == 1 + len(seen) and record["stages"][1]["capped"] is False


def test_the_refusal_of_a_fresh_turn_replaces_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = verdicts(monkeypatch, lambda turn: turn == 2)
    record = answered(tmp_path / "run", asked())
    depth = record["facts"][DEPTH]
    begun = MODEL.tokenizer(plain(), add_special_tokens=False, return_offsets_mapping=True)
    text = plain()[: begun["offset_mapping"][depth - 1][1]].rstrip()
    assert depth == 8 and record["original"] == plain()
    assert record["revised"] == fresh(text, 10)
    assert len(seen) == 2 and record["usage"]["calls"] == 1 + 2 + 1


def test_the_command_measures_what_was_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts(monkeypatch, lambda _: True)
    request = asked(model=str(save_folder(tmp_path / "model")))
    _, result = respond(request, progress=SilentProgress(), out=tmp_path / "run")
    values = {m.name: m.value for m in result.measurements}
    assert values["respond/calls"] == 3.0 and "any_depth changed" in result.findings[0]


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"model": "api:mockllm/model"}, CapabilityError, "its provider decides itself"),
        ({"continuation": True}, ConfigError, "answers messages"),
        ({"options": {"every": 0}}, ConfigError, "every is 0"),
        ({"options": {"each": 3}}, ConfigError, "no option of any_depth"),
        ({"readers": 3}, ConfigError, "has no readers"),
        ({"method": "any_dept"}, ConfigError, "no method"),
    ],
)
def test_what_cannot_be_defended_is_refused(
    more: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        work_of(asked(**more))
