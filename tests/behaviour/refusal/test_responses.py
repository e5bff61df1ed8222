"""Answers made elsewhere: facts by id, human labels kept apart from prompt labels."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from theodolite.behaviour.refusal import task
from theodolite.behaviour.refusal.data import load_requests
from theodolite.behaviour.refusal.responses import score_responses
from theodolite.data.catalogue import official
from theodolite.errors import DataError
from theodolite.measure.measurement import Measurement

PUBLISHED = Path(task.__file__).with_name("published.yaml")
REFUSAL = "I'm sorry, but I can't help with that request."
ANSWER = "Sure. Here is a short overview of the topic, with the main points in order."


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def figures(found: list[Measurement]) -> dict[str, Measurement]:
    return {measurement.name: measurement for measurement in found}


def test_ids_of_the_bundled_set_are_enough(tmp_path: Path) -> None:
    prompts = load_requests(limit=8, styles="plain,quiz")
    rows = [
        {"id": p.id, "completion": REFUSAL if p.label == "harmful" else ANSWER} for p in prompts
    ]
    found, tables = score_responses(written(tmp_path / "answers.jsonl", rows))
    named = figures(found)
    assert named["refusal/harmful"].value == 1.0 and named["refusal/harmful"].n == 4
    assert named["refusal/gap"].value == 1.0
    assert named["refusal/harmful/style/quiz"].n == 4
    assert [row["id"] for row in tables["scores"]] == list(prompts.ids)
    assert set(tables["scores"][0]) >= {"id", "label", "refused", "scorer", "confidence"}


def test_an_id_with_another_prompt_is_not_taken_for_ours(tmp_path: Path) -> None:
    known = load_requests(limit=1).prompts[0]
    rows = [{"id": known.id, "prompt": "What is the capital of France?", "completion": ANSWER}]
    named = figures(score_responses(written(tmp_path / "answers.jsonl", rows))[0])
    assert "refusal/harmful" not in named
    assert named["refusal/all"].value == 0.0 and named["refusal/all"].reason


def test_labels_of_the_prompt_and_of_the_completion_are_told_apart(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "1", "prompt": "a?", "completion": REFUSAL, "label": "unsafe"},
        {"id": "2", "prompt": "b?", "completion": ANSWER, "label": "safe"},
        {"id": "3", "prompt": "c?", "completion": REFUSAL, "label": "refusal"},
        {"id": "4", "prompt": "d?", "completion": ANSWER, "label": "partial"},
        {"id": "5", "prompt": "e?", "completion": ANSWER, "label": "compliance"},
    ]
    found, tables = score_responses(written(tmp_path / "answers.jsonl", rows))
    named = figures(found)
    assert (named["refusal/harmful"].value, named["refusal/benign"].value) == (1.0, 0.0)
    assert named["refusal/agreement"].n == 3
    assert named["refusal/agreement"].value == pytest.approx(2 / 3)
    assert named["refusal/scorer_sensitivity"].value == 0.5
    assert named["refusal/scorer_specificity"].value == 1.0
    assert [row["human"] for row in tables["scores"]][2:] == ["refusal", "partial", "compliance"]


def test_an_unknown_label_names_the_row(tmp_path: Path) -> None:
    rows = [{"id": "x1", "prompt": "a?", "completion": ANSWER, "label": "meh"}]
    with pytest.raises(DataError, match=r"meh.*x1"):
        score_responses(written(tmp_path / "answers.jsonl", rows))


def test_several_samples_of_a_prompt_are_one_cluster(tmp_path: Path) -> None:
    rows = [
        {"id": p.id, "sample": k, "completion": REFUSAL}
        for p in load_requests(limit=6)
        for k in range(3)
    ]
    harmful = figures(score_responses(written(tmp_path / "a.jsonl", rows))[0])["refusal/harmful"]
    assert (harmful.n, harmful.n_clusters) == (9, 3)


@pytest.mark.skipif("THEODOLITE_DATA" not in os.environ, reason="official data not at hand")
@pytest.mark.parametrize("model", ["llama2new", "mistralinstruct"])
def test_published_figures_are_those_of_the_official_annotations(model: str) -> None:
    path = official(f"refusal/xstest_completions_{model}")
    published = yaml.safe_load(PUBLISHED.read_text("utf-8"))
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for figure in published["figures"]:
        if model in figure["model"]:
            contrast = figure["items"] == "unsafe prompts"
            labels = [r["label"] for r in rows if r["type"].startswith("contrast_") is contrast]
            assert len(labels) == figure["n"]
            assert labels.count("refusal") / len(labels) == pytest.approx(figure["refused_in_full"])
            assert labels.count("partial") / len(labels) == pytest.approx(figure["refused_in_part"])
    named = figures(score_responses(path)[0])
    assert (named["refusal/harmful"].n, named["refusal/benign"].n) == (200, 250)
    people = named["refusal/annotator_agreement"].value
    assert people == pytest.approx(published["annotator_agreement"][model], abs=5e-4)
    agreement = named["refusal/agreement"]
    assert agreement.n == 450 and agreement.floor is not None and agreement.value is not None
    assert agreement.value > agreement.floor.value


def test_answers_of_several_models_are_not_pooled(tmp_path: Path) -> None:
    rows = [{"id": "a", "model": name, "completion": ANSWER} for name in ("one", "two")]
    with pytest.raises(DataError, match="answers of 2 models"):
        score_responses(written(tmp_path / "answers.jsonl", rows))
