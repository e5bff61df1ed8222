"""`explain residual-space` on one model: a contrast, said to be one, and never called residual."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from tests.mechanism.residual_space.test_explain import adapter, ask, base, words
from tests.models.tiny_files import save_folder
from theodolite.audit.explained import write_report
from theodolite.mechanism.residual_space.contrast import ContrastSpace
from theodolite.mechanism.residual_space.explain import summary
from theodolite.runs.panel import PanelResult
from theodolite.runs.run import Run

__all__ = ["adapter", "base", "words"]


@pytest.fixture(scope="module")
def found(base: Path, words: str, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return ask(base, tmp_path_factory.mktemp("runs") / "run", words)


def test_the_first_line_says_what_it_is(found: tuple[Run, PanelResult]) -> None:
    _, result = found
    assert result.findings[0] == (
        "This is a contrast within one model, what sets harmful requests apart from their benign "
        "twins, and not what training wrote: no model before training stands beside it."
    )
    assert any("alone, harm contrast" in said for said in result.how)
    said = [*result.findings, *result.how, *result.limits, *result.labels.values()]
    assert not [one for one in said if "after training" in one or "training changed" in one]


def test_nothing_is_called_residual_and_every_table_is_there(
    found: tuple[Run, PanelResult], tmp_path: Path
) -> None:
    run, result = found
    for table in ("layers", "components", "names", "shares", "contrasts", "dynamics", "words",
                  "flow", "interventions", "estimators"):  # fmt: skip
        assert result.tables[f"contrast_{table}"], table
    names = [*result.tables, *result.labels, *(m.name for m in result.measurements)]
    names += [figure.name for figure in result.figures] + [str(f.table) for f in result.figures]
    assert not [name for name in names if name.startswith("residual")]
    assert not [f.caption for f in result.figures if "training changed" in f.caption]
    assert {row["baseline"] for row in result.tables["contrast_baselines_harmful"]}
    assert "shift_svd" not in {row["estimator"] for row in result.tables["contrast_estimators"]}
    assert len(summary(result)) == 4
    page = write_report(run, tmp_path / "report.html").read_text("utf-8")
    assert "What one model does differently" in page and "safety training wrote" not in page


def test_the_space_is_a_contrast_with_its_mean(found: tuple[Run, PanelResult]) -> None:
    space = ContrastSpace.load(found[0])
    assert space.kind == "harm contrast" and not space.center
    assert space.n == 5 * 2  # harmful requests of the training part, in two styles
    assert space.layer(2).quality is None and asdict(space)["base"] == asdict(space)["aligned"]


def test_styles_can_be_set_against_bare_requests(base: Path, words: str, tmp_path: Path) -> None:
    little = {"contrast": "style", "answers": 0, "relevance": 0, "interventions": 0,
              "estimators": False}  # fmt: skip
    run, result = ask(base, tmp_path / "run", words, task=little)
    assert "what sets wrapped requests apart from the bare ones" in result.findings[0]
    assert ContrastSpace.load(run).n == 5 * 2  # both classes, in the one style beside the bare form


def test_a_family_without_rules_has_a_substitute_and_says_what_is_left_out(
    words: str, tmp_path: Path
) -> None:
    path = save_folder(tmp_path / "bloom", "bloom")
    little = {"answers": 0, "interventions": 0, "estimators": False, "followed": 1}
    _, result = ask(path, tmp_path / "run", words, task=little)
    assert result.tables["contrast_words"] and result.token_maps
    assert "contrast_flow" not in result.tables
    (note,) = (said for said in result.how if said.startswith("Relevance is by integrated grad"))
    assert "instead of by rules" in note and "computes attention by itself" in note
    assert any(figure.caption.endswith(note) for figure in result.figures)
    (left,) = (said for said in result.limits if "Where a direction comes from" in said)
    assert "is left out" in left
