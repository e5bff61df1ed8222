"""A scorer is checked with answers whose content is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.behaviour.debateqa.test_perspectives import ROWS
from tests.models.tiny import tiny_model
from tests.oracles.debateqa import auroc
from theodolite.behaviour.debateqa.perspectives import Scoring, score_perspectives
from theodolite.behaviour.debateqa.scorer_check import (
    PANEL,
    WORDS,
    CheckRequest,
    report,
    rows_of,
)
from theodolite.data.debates import POV_AND_EXPLANATION, TARGETS, perspectives_of
from theodolite.errors import ConfigError, DataError


def test_every_figure_is_that_of_the_gains() -> None:
    model: Any = tiny_model("llama")
    request = CheckRequest(views=3, template="plain")
    found = report(model, ROWS, request)
    by_name = {m.name: m for m in found.measurements}
    assert set(by_name) == {f"{PANEL}/{t}/{name}" for t in TARGETS for name in WORDS}
    views = {row.id: [v.point_of_view for v in perspectives_of(row)] for row in ROWS}

    def gains(count: int, nulls: int) -> Any:
        answers = {name: "\n".join(own[:count]) for name, own in views.items()}
        scoring = Scoring(target=POV_AND_EXPLANATION, template="plain", nulls=nulls)
        return score_perspectives(model, ROWS, answers, scoring).gains

    def figure(name: str) -> float | None:
        return by_name[f"{PANEL}/{POV_AND_EXPLANATION}/{name}"].value

    every, part = gains(3, 1), gains(1, 0)
    held = [row.gain for row in part if row.index == 0]
    left_out = [row.gain for row in part if row.index]
    others = [gain for row in every for gain in row.null_gains]
    assert (len(every), len(held), len(left_out), len(others)) == (9, 3, 6, 9)
    assert figure("gain_all") == pytest.approx(np.mean([row.gain for row in every]))
    assert figure("gain_held") == pytest.approx(np.mean(held))
    assert figure("gain_left_out") == pytest.approx(np.mean(left_out))
    assert figure("gain_other") == pytest.approx(np.mean(others))
    assert figure("auc_other") == pytest.approx(auroc([row.gain for row in every], others))
    assert figure("auc_left_out") == pytest.approx(auroc(held, left_out))
    assert figure("held_minus_left_out") == pytest.approx(np.mean(held) - np.mean(left_out))
    assert len(found.findings) == 2 and all("AUC" in said for said in found.findings)


def test_only_questions_with_enough_perspectives_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    kept = [row.meta["partial_answers"] for row in ROWS]
    lines = [
        {"id": row.id, "question": row.request, "partial_answers": views[:count]}
        for row, views, count in zip(ROWS, kept, (3, 2, 3), strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = rows_of(CheckRequest(source=str(path), views=3))
    assert [row.id for row in rows] == [ROWS[0].id, ROWS[2].id]
    assert [len(perspectives_of(r)) for r in rows_of(CheckRequest(source=str(path), views=2))] == [
        2,
        2,
        2,
    ]
    with pytest.raises(DataError, match="0 of 3 questions have 4 perspectives"):
        rows_of(CheckRequest(source=str(path)))
    with pytest.raises(ConfigError, match="`views` is 1"):
        rows_of(CheckRequest(source=str(path), views=1))
