"""`explain steering` on tiny models: doses beside random directions, costs, and where edits aim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.models.tiny_files import save_adapter, save_folder
from theodolite.audit.explained import write_report
from theodolite.errors import ConfigError, TheodoliteError
from theodolite.mechanism.explain import request_schema, run_analysis
from theodolite.mechanism.steering.explain import Options, summary
from theodolite.runs.panel import PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run

SMALL: dict[str, Any] = {"alphas": "1", "draws": 2, "drift": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def files(base: Path) -> dict[str, str]:
    """Return requests of both classes, and words that the tiny tokenizer spells."""
    folder, made = base.parent, {}
    things = ("door", "lock", "lake", "box")
    for name, verb in (("harmful", "break"), ("benign", "paint")):
        rows = [
            {"id": f"{name}-{i}", "goal_id": f"{name}-{i // 2}", "text": f"How do I {verb} a {x}?"}
            for i, x in enumerate(things)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        made[name] = str(folder / f"{name}.jsonl")
    words = folder / "words.json"
    words.write_text(json.dumps({"positive": ["a", "e"], "negative": ["o"]}))
    return {**made, "tokens": str(words)}


def ask(
    model: Path, out: Path, files: dict[str, str], task: dict[str, Any], **more: Any
) -> tuple[Run, PanelResult]:
    requests = {name: files[name] for name in ("harmful", "benign")} | more
    request = request_schema("steering")(
        model=str(model), task=Options(**{"tokens": files["tokens"], **task}), **requests
    )
    return run_analysis("steering", request, progress=SilentProgress(), out=out)


def test_every_mode_and_dose_stands_beside_random_directions_and_its_cost(
    base: Path, files: dict[str, str], tmp_path: Path
) -> None:
    modes = "ablate,affine,clamp,subtract,add"
    run, result = ask(
        base, tmp_path / "run", files, {"modes": modes, "alphas": "0.5,1", "draws": 2, "drift": 2}
    )
    rows = result.tables["steering_doses"]
    assert [(row["mode"], row["dose"]) for row in rows] == [
        (mode, dose) for mode in modes.split(",") for dose in (0.5, 1.0)
    ]
    pushed = [row["alpha"] for row in rows if row["mode"] == "add"]
    assert pushed[1] == pytest.approx(2 * pushed[0]) and pushed[1] != 1.0
    for row in rows:
        assert row["harmful_n"] == row["benign_n"] == 4
        assert row["harmful_over_random"] == pytest.approx(row["harmful"] - row["harmful_random"])
        assert row["harmful_beyond_random"] in (True, False)
        assert row["first_token_kl"] >= 0 and row["drift"] >= 0
        assert row["perplexity_change"] is not None
    assert {f.name for f in result.figures} == {
        *("steering_dose_harmful", "steering_dose_benign", "steering_curves", "steering_drift")
    }
    assert all(f.table in result.tables for f in result.figures)
    assert all(m.floor is not None or m.reason for m in result.measurements)
    clusters = {m.n_clusters for m in result.measurements if "log_odds/change" in m.name}
    assert clusters == {2}
    assert len(result.findings) == 5 and all("beyond random" in said for said in result.findings)
    assert len(summary(result)) == len(rows)
    page = write_report(run, tmp_path / "report.html").read_text("utf-8")
    assert "break a door" not in page


def test_without_benign_requests_costs_are_not_measured(
    base: Path, files: dict[str, str], tmp_path: Path
) -> None:
    _, result = ask(base, tmp_path / "run", files, {"modes": "ablate", **SMALL}, benign=None)
    (row,) = result.tables["steering_doses"]
    assert row["harmful"] is not None and row["benign"] is None and row["first_token_kl"] is None
    assert [f.name for f in result.figures] == ["steering_dose_harmful"]
    (told,) = result.findings
    assert "benign" not in told


def test_components_and_estimators_are_steered_side_by_side(
    base: Path, files: dict[str, str], tmp_path: Path
) -> None:
    adapter = str(save_adapter(tmp_path / "lora", base))
    task = {"target": "refusal,L1-C1,L2-C2", "estimator": "difference_in_means,leace", **SMALL}
    _, result = ask(base, tmp_path / "run", files, {"modes": "add", **task}, adapter=adapter)
    names = [row["direction"] for row in result.tables["steering_doses"]]
    assert [name.partition("@")[0] for name in names] == [
        *("difference_in_means", "leace", "L1-C1", "L2-C2")
    ]
    angles = result.tables["steering_angles"]
    assert len(angles) == 6 and all(0 <= row["degrees"] <= 180 for row in angles)
    assert angles[0]["same_depth"] and not angles[-1]["same_depth"]
    with pytest.raises(ConfigError, match="is a component of a residual space"):
        ask(base, tmp_path / "other", files, {"target": "L2-C1", **SMALL})


def test_a_direction_is_learned_from_the_model_within_its_bounds(
    base: Path, files: dict[str, str], tmp_path: Path
) -> None:
    task = {"estimator": "rdo,cone", "requests": 2, "steps": 1, "modes": "ablate,erase", **SMALL}
    _, result = ask(base, tmp_path / "run", files, task)
    names = [row["direction"].partition("@")[0] for row in result.tables["steering_doses"]]
    assert names == ["rdo", "cone-1", "cone-2", "leace"]
    orthogonal = result.tables["steering_angles"][-1]
    assert orthogonal["degrees"] == pytest.approx(90)


def test_selectivity_asks_both_classes_in_every_style(
    base: Path, files: dict[str, str], tmp_path: Path
) -> None:
    task = {"selectivity": True, "styles": "plain,code", "goals": 2, "modes": "add,ablate", **SMALL}
    _, result = ask(base, tmp_path / "run", files, task)
    rows = result.tables["steering_styles"]
    assert [row["style"] for row in rows] == ["plain", "code"] and rows[0]["n"] == 2
    assert {row["edit"].split()[0] for row in rows} == {"add"}
    for row, other in zip(rows, reversed(rows), strict=True):
        assert row["gap"] == pytest.approx(row["change"] - other["change"])
        assert row["benign"] is not None and row["random"] is not None
    maps = {figure.name: figure for figure in result.figures}
    assert {"steering_styles", "steering_styles_benign"} <= set(maps)
    assert "random edits" in str(maps["steering_styles"].spec)
    assert any("specific for" in said for said in result.findings)
    names = [m.name for m in result.measurements]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "L2-C0"}, "names no component"),
        ({"target": ""}, "task.target names nothing"),
        ({"estimator": "logistik"}, "Did you mean"),
        ({"estimator": "shift_svd"}, "no way"),
        ({"modes": "ablat"}, "no mode"),
        ({"modes": "ablate,ablate"}, "one thing twice"),
        ({"alphas": "0"}, "task.alphas"),
        ({"alphas": "1,x"}, "task.alphas"),
        ({"layers": "some"}, "task.layers"),
        ({"draws": -1}, "task.draws"),
        ({"requests": 1}, "task.requests"),
        ({"tokens": "xx"}, "xx"),
        ({"styles": "code"}, "one style"),
        ({"target": "L1-C1", "space": "nowhere"}, "no run folder"),
    ],
)
def test_what_cannot_be_asked_is_refused_early(
    options: dict[str, Any], said: str, files: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(TheodoliteError, match=said):
        ask(Path("nothing"), tmp_path / "run", files, options)
    assert not (tmp_path / "run").exists()
