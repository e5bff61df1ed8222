"""What a sweep found: figures of a planted effect, and tables that are safe to show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from theodolite.mechanism.graft.result import CONTROLS
from theodolite.mechanism.graft.sweep import GraftResult
from theodolite.runs.run import Run


def planted(n: int = 24) -> GraftResult:
    """A result in which the donor does something from hidden_index 2 on, and controls nothing."""
    rng = np.random.default_rng(0)
    intact = rng.normal(-1.0, 0.3, n)
    change = 0.05 * rng.normal(size=(5, 4, n))
    change[2:, 0] += 2.0
    change[:, 2] -= 3.0  # the random vector wrecks the model, the other way
    top = np.full((5, 4, n), 30)
    top[3:, 0, : n // 2] = 20
    return GraftResult(
        log_odds=intact + change,
        refusing=np.full((5, 4, n), 0.4),
        kl=np.abs(change),
        top=top,
        intact_log_odds=intact,
        intact_refusing=np.full(n, 0.5),
        intact_top=np.full(n, 30),
        own_error=np.full(5, 1e-7),
        hidden_indices=(0, 1, 2, 3, 4),
        donors=("mean", *CONTROLS),
        sources=dict.fromkeys(("mean", *CONTROLS), ("x",) * n),
        prompt_ids=tuple(f"p{i}" for i in range(n)),
        clusters=tuple(f"g{i // 2}" for i in range(n)),
        words={20: " Sure", 30: "\x1b[2J"},
        refusing_tokens=(30,),
        classes="test",
        n_layers=4,
        mode="replace",
        alpha=1.0,
        window=1,
        seed=0,
    )


def test_figures_of_a_planted_effect() -> None:
    found = planted()
    assert (found.kinds, found.controls) == (("mean",), tuple(CONTROLS))
    assert found.decisive("mean") == (2, 3, 4)
    effect = found.effect("mean", 3)
    assert effect.value == pytest.approx(2.0, abs=0.05)
    assert effect.n_clusters == 12 and effect.low is not None and effect.low > 1.9
    over = found.over("mean", "random", 3)
    wide = found.over("mean", "random", 3, at_once=15)
    assert over.value == pytest.approx(5.0, abs=0.1)
    assert wide.level == pytest.approx(1 - 0.05 / 15)
    assert wide.low is not None and over.low is not None and wide.low < over.low
    assert found.flips("mean", 3).value == 0.5
    assert found.flips("mean", 1).value == 0.0
    by_name = {m.name: m for m in found.measurements()}
    assert found.middle == (2, 3)
    assert by_name["graft/mean/change"].value == pytest.approx(2.0, abs=0.05)
    assert "hidden_index 2 to 3" in str(by_name["graft/mean/change"].reason)
    assert by_name["graft/mean/over_same_class"].value == pytest.approx(2.0, abs=0.05)
    assert by_name["graft/mean/flips"].value == 0.25  # half of them, at one of two depths
    assert by_name["graft/mean/turned"].value > 0.9
    assert by_name["graft/random/turned"].value == 0.0
    outcomes = [row for row in found.outcomes() if row["measurement"] == "graft/mean/change"]
    mean = np.mean([row["outcome"] for row in outcomes])
    assert mean == pytest.approx(by_name["graft/mean/change"].value)


def test_depths_outside_the_middle_and_friendly_recipients_are_not_measured() -> None:
    whole = planted()
    cut = {name: getattr(whole, name)[:1] for name in ("log_odds", "refusing", "kl", "top")}
    shallow = replace(whole, hidden_indices=(0,), own_error=whole.own_error[:1], **cut)
    rows = shallow.measurements()
    assert {m.status for m in rows} == {"not_measured"} and shallow.outcomes() == []
    friendly = replace(whole, intact_top=np.full(24, 20))
    assert friendly.flips("mean", 3).status == "not_measured"
    assert friendly.rows()[0]["flipped"] is None


def test_tables_and_figure_are_safe_and_complete(tmp_path: Path) -> None:
    found = planted()
    table, rows = found.frame(), found.rows()
    assert len(table) == 5 * 4 and len(rows) == 5 * 4 * 24
    assert rows[0]["first_token"] == "\\u001b[2J" and rows[0]["flipped"] is False
    assert {"over_random_step_all_low", "kl", "own_error"} <= set(table[0])
    figure = found.figure()
    assert "24 recipients (12 goals)" in figure.caption
    assert len(figure.spec["data"]) >= 4
    run = Run.create("explain", "tiny", out=tmp_path / "run")
    found.save(run)
    run.save_table("graft", table)
    loaded = GraftResult.load(run)
    assert loaded.frame() == table and loaded.rows() == rows
    assert loaded.words == found.words and loaded.sources == found.sources
