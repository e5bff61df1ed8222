"""`explain residual-space` on a tiny pair: everything is measured, said and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny_files import save_adapter, save_folder
from theodolite.audit.explained import write_report
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.explain import request_schema, run_analysis
from theodolite.mechanism.requests import read_requests
from theodolite.mechanism.residual_space.explain import Options, first_pairs
from theodolite.mechanism.residual_space.prompts import study_prompts
from theodolite.mechanism.residual_space.space import ResidualSpace
from theodolite.runs.panel import PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run

NAME = "residual-space"
SMALL = {
    "pairs": 5,
    "styles": "role_play",
    "held_out": "quiz",
    "components": 2,
    "followed": 2,
    "answers": 5,
    "relevance": 1,
    "interventions": 3,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    return save_adapter(base.parent / "lora", base)


@pytest.fixture(scope="module")
def words(base: Path) -> str:
    path = base.parent / "words.json"
    path.write_text(json.dumps({"positive": ["a", "e"], "negative": ["o"]}))
    return str(path)


def ask(model: Path, out: Path, words: str, **fields: object) -> tuple[Run, PanelResult]:
    task = Options(**{**SMALL, "tokens": words, **fields.pop("task", {})})  # type: ignore[arg-type]
    request = request_schema(NAME)(model=str(model), task=task, **fields)
    return run_analysis(NAME, request, progress=SilentProgress(), out=out)


@pytest.fixture(scope="module")
def found(base: Path, adapter: Path, words: str, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    out = tmp_path_factory.mktemp("runs") / "run"
    return ask(base, out, words, adapter=str(adapter))


def test_every_part_is_there_and_every_figure_has_its_floor(found: tuple[Run, PanelResult]) -> None:
    run, result = found
    assert result.measurements[0].name == "residual_space/dominant/harmful_auroc"
    floor = result.measurements[0].floor
    assert floor is not None and "random directions" in floor.name
    assert all(m.floor is not None or m.reason for m in result.measurements)
    names = [m.name for m in result.measurements]
    assert len(names) == len(set(names))
    for table in ("layers", "components", "carried", "names", "shares", "contrasts", "dynamics",
                  "words", "conservation", "flow", "interventions", "estimators"):  # fmt: skip
        assert result.tables[f"residual_{table}"], table
    drawn = {figure.name for figure in result.figures}
    for name in ("rank", "spectrum", "harmful", "styles", "shares", "writers", "interventions",
                 "estimators", "flow", "flow_signed"):  # fmt: skip
        assert f"residual_{name}" in drawn, name
    assert result.token_maps and {one.label for one in result.token_maps} <= {
        row["direction"] for row in result.tables["residual_names"]
    }
    assert len(result.findings) <= 4 and all(said.endswith(".") for said in result.findings)
    held = run.path / "tensors" / "styles.safetensors"
    assert any(("styles.safetensors holds" in said) == held.exists() for said in result.how)
    notes = {row["name"]: row["note"] for row in result.tables["residual_components"]}
    for table in ("names", "shares"):
        rows = result.tables[f"residual_{table}"]
        assert all(row["note"] == notes[row["direction"]] for row in rows)
    space = ResidualSpace.load(run)
    assert space.n == 20 and space["L2-C1"].hidden_index == 2


def test_held_out_styles_are_those_of_test_goals_alone(found: tuple[Run, PanelResult]) -> None:
    _, result = found
    rows = result.tables["residual_contrasts"]
    assert {row["style"] for row in rows if row["held_out"]} == {"quiz"}
    assert {row["style"] for row in rows} == {"plain", "role_play", "quiz"}
    named = result.tables["residual_names"]
    assert all("quiz" not in row["label"] for row in named)


def test_the_report_hides_harmful_words_and_the_terminal_has_a_row_per_depth(
    found: tuple[Run, PanelResult], tmp_path: Path
) -> None:
    from theodolite.mechanism.residual_space.explain import summary

    run, result = found
    page = write_report(run, tmp_path / "report.html").read_text("utf-8")
    harmful = [p.request for p in read_requests(None, None).harmful]
    assert not [text for text in harmful if text in page]
    assert "Token by token" in page
    rows = summary(result)
    assert [row["hidden index"] for row in rows] == [0, 1, 2, 3]
    assert "[" in rows[1]["C1 AUROC (random)"] and "(" in rows[1]["within a style"]


def test_the_same_seed_gives_the_same_document(
    found: tuple[Run, PanelResult], base: Path, adapter: Path, words: str, tmp_path: Path
) -> None:
    _, again = ask(base, tmp_path / "run", words, adapter=str(adapter))
    assert again.measurements == found[1].measurements
    assert again.tables == found[1].tables and again.findings == found[1].findings


def test_equal_models_give_an_empty_space_with_words(
    base: Path, words: str, tmp_path: Path
) -> None:
    _, result = ask(base, tmp_path / "run", words, base=str(base), task={"answers": 0})
    assert result.findings == [
        "The two models have the same states: training changed nothing that is read here."
    ]
    assert result.measurements[0].status == "not_measured"
    assert {row["rank_0.9"] for row in result.tables["residual_layers"]} == {0}
    assert [figure.name for figure in result.figures] == ["residual_rank"]


def test_what_cannot_be_asked_is_refused_before_a_model_is_opened(
    base: Path, words: str, tmp_path: Path
) -> None:
    for task, said in (
        ({"preset": "defualt"}, "no preset"),
        ({"pairs": 2}, r"task\.pairs is 2"),
        ({"position": "nowhere"}, "nowhere"),
        ({"contrast": "harmful"}, "no contrast 'harmful'"),
        ({"held_out": "role_play"}, "fitted on and held out"),
    ):
        with pytest.raises((ConfigError, DataError), match=said):
            ask(base, tmp_path / "run", words, base="nothing", task=task)
    with pytest.raises(ConfigError, match="--jailbreak"):
        ask(base, tmp_path / "run", words, base="nothing", jailbreak="x.jsonl")
    assert not (tmp_path / "run").exists()


def test_prompts_are_pairs_in_styles_and_answers_those_of_the_first() -> None:
    prompts = study_prompts(read_requests(None, None), 6, styles=["code"], held_out=["quiz"])
    count = {part: sum(p.split == part for p in prompts) for part in ("train", "test")}
    assert count == {"train": 6 * 2 * 2, "test": 6 * 2 * 3}
    goals = {part: {p.pair_id for p in prompts if p.split == part} for part in ("train", "test")}
    assert not goals["train"] & goals["test"] and len(goals["train"]) == 6
    asked = first_pairs(prompts, 2)
    assert len({p.pair_id for p in asked if p.split == "test"}) == 2
    assert len(asked) == 2 * 2 * 2 + 2 * 2 * 3
