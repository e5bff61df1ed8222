"""The table of all methods on the real model, small: the long one differs in numbers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from theodolite.behaviour.toxicity.evaluation import Options, evaluate
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run

METHODS = (
    *("raw", "base", "prehoc", "self_correct", "rewrite_only", "critic", "shap_words"),
    *("pet_io", "pet_is", "pet_both", "pet_placebo"),
)
CALLS = {"raw": 1, "base": 1, "prehoc": 1, "self_correct": 3, "rewrite_only": 2, "pet_io": 4}
CALLS |= {"pet_is": 4, "pet_both": 5, "pet_placebo": 4}


@pytest.mark.timeout(600)
def test_every_method_stands_in_one_table_with_what_it_cost(tmp_path: Path) -> None:
    pytest.importorskip("profanity_check", reason="the extra `toxicity` is not installed")
    options = Options(limit=2, n=1, k=2, caps="16,24,8", methods=",".join(METHODS), lm="none")
    with Run.create("eval toxicity", "smollm2", out=tmp_path / "run") as run:
        result = evaluate("smollm2", options, run=run, progress=SilentProgress())
    (name,) = (table for table in result.tables if table.startswith("toxicity_methods_"))
    table = {row["method"]: row for row in result.tables[name]}
    assert tuple(table) == METHODS
    assert {method: table[method]["calls"] for method in CALLS} == CALLS
    assert all(0 <= row["emt"] <= 1 and row["tokens"] > 0 for row in table.values())
    found = {m.name: m for m in result.measurements}
    front = name.removeprefix("toxicity_methods_")
    for method in METHODS[2:]:
        change = found[f"toxicity/{method}-minus-base/{front}/emt"]
        assert change.n_clusters == 2 and change.value is not None
        assert found[f"toxicity/{method}/capped"].value is not None
    assert set(CALLS) <= {row["method"] for row in result.tables["toxicity_cost"]}
