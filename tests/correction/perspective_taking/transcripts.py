"""What every method says to a scripted model, as golden files.

Write them anew with `python -m tests.correction.perspective_taking.transcripts`, and read the
difference: a changed turn is a changed method (raise `VERSION` in method.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from inspect_ai.dataset import Sample

from tests.correction.perspective_taking.made import (
    CHAT,
    CONTINUE,
    Tool,
    names_of,
    numbered,
    record_of,
    run,
)
from theodolite.correction.perspective_taking.registry import METHODS, make_solver

GOLDEN = Path(__file__).parent / "golden"
SCENES: dict[str, Sample] = {"continuation": CONTINUE, "chat": CHAT}
OPTIONS: dict[str, dict[str, Any]] = {"roles": {"make_roles": True}}
HAS_REFERENCE = ("pet_io", "contrast")


def transcripts(name: str) -> dict[str, Any]:
    """Return the transcripts of a method in every scene."""
    found = _transcripts(name, SCENES)
    if name in HAS_REFERENCE:
        scenes = {"reference": CONTINUE}
        found |= _transcripts(name, scenes, protocol="reference")
    return found


def _transcripts(name: str, scenes: dict[str, Sample], **options: Any) -> dict[str, Any]:
    """Return the calls of each scene, each call as what it adds to the one before it."""
    script = numbered()
    solver = make_solver(name, tool=Tool(lambda text: 0.5), **OPTIONS.get(name, {}), **options)
    samples = run(solver, script.model, list(scenes.values())).samples or []
    by_id = {sample.id: sample for sample in samples}
    told: dict[str, Any] = {}
    calls = iter(script.calls)  # one sample after the other
    for scene, sample in scenes.items():
        found = by_id[sample.id]
        record = record_of(found)
        own = [next(calls) for _ in range(record["usage"]["calls"])]
        told[scene] = {
            "stages": names_of(found),
            "calls": _growth(own),
            "messages": _turns(found.messages),
            "completion": found.output.completion,
            "original": record["original"],
            "revised": record["revised"],
        }
    assert next(calls, None) is None
    return told


def _growth(calls: list[Any]) -> list[dict[str, Any]]:
    grown, before = [], []
    for turns in map(_turns, calls):
        same = 0
        while same < min(len(before), len(turns)) and before[same] == turns[same]:
            same += 1
        grown.append({"as_before": same, "then": turns[same:]})
        before = turns
    return grown


def _turns(messages: Any) -> list[str]:
    return [f"{turn.role}: {turn.text}" for turn in messages]


def as_text(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def write() -> None:
    for name in METHODS:
        (GOLDEN / f"{name}.json").write_text(as_text(transcripts(name)), encoding="utf-8")


if __name__ == "__main__":
    write()
