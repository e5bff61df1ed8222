"""`explain relevance` on tiny models: words, token maps, leaks, and where directions come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.models.tiny_files import save_adapter, save_folder
from theodolite.audit.explained import write_report
from theodolite.errors import ConfigError
from theodolite.mechanism.explain import request_schema, run_analysis
from theodolite.mechanism.relevance.explain import Options, summary
from theodolite.mechanism.relevance.query import GROUPS
from theodolite.mechanism.relevance.report import leading_words, token_maps
from theodolite.mechanism.relevance.result import PromptTokens, Relevance
from theodolite.runs.panel import PanelResult
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def prompts(base: Path) -> Path:
    path = base.parent / "prompts.jsonl"
    rows = [
        {"id": str(i), "text": f"How do I open the {what} <script>? \u202ePlease."}
        for i, what in enumerate(("door", "lock", "lake", "box"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(
    model: Path, out: Path, prompts: Path, task: Options, **more: str
) -> tuple[Run, PanelResult]:
    request = request_schema("relevance")(model=str(model), harmful=str(prompts), task=task, **more)
    return run_analysis("relevance", request, progress=SilentProgress(), out=out)


def test_the_refusal_direction_is_traced_to_words(
    base: Path, prompts: Path, tmp_path: Path
) -> None:
    run, result = ask(base, tmp_path / "run", prompts, Options(min_count=2))
    rows = result.tables["relevance_words"]
    assert {"how", "open"} <= {row["word"] for row in rows}
    assert all(row["count"] >= 2 for row in rows)
    assert result.tables["relevance_conservation"][0]["leak"] is not None
    assert len(result.token_maps) == 4 and all(one.harmful for one in result.token_maps)
    (target,) = {one.label for one in result.token_maps}
    assert target.startswith("difference_in_means@L")
    assert all(m.floor is not None or m.reason for m in result.measurements)
    assert summary(result)[0]["word"] == rows[0]["word"]
    page = write_report(run, tmp_path / "report.html").read_text("utf-8")
    assert "open the" not in page and "<script>?" not in page and "\u202e" not in page
    shown = write_report(run, tmp_path / "shown.html", show_text=True).read_text("utf-8")
    assert "\\\\u202e" in shown and "<script>?" not in shown


def test_tokens_of_a_map_spell_the_prompt_and_sum_to_the_component(
    base: Path, prompts: Path, tmp_path: Path
) -> None:
    task = Options(rules="cplrp", min_count=1, faithfulness=0)
    _, result = ask(base, tmp_path / "run", prompts, task)
    assert not any("faithfulness" in m.name for m in result.measurements)
    one = result.token_maps[0]
    text = "".join(one.tokens)
    assert "How do I open the door <script>? \u202ePlease." in text
    assert any(one.template) and not all(one.template)
    request = "".join(t for t, outside in zip(one.tokens, one.template) if not outside)
    assert request.strip().startswith("How do I")
    assert sum(one.values) == pytest.approx(one.meta["component"], rel=1e-3)


def test_components_come_from_a_pair_or_from_a_run(
    base: Path, prompts: Path, tmp_path: Path
) -> None:
    adapter = str(save_adapter(tmp_path / "lora", base))
    task = Options(target="L2-C1,L2-C2", min_count=1, faithfulness=0)
    _, result = ask(base, tmp_path / "run", prompts, task, adapter=adapter)
    assert {one.label for one in result.token_maps} == {"L2-C1", "L2-C2"}
    with pytest.raises(ConfigError, match="is a component of a residual space"):
        ask(base, tmp_path / "other", prompts, task)
    assert not (tmp_path / "other" / "complete").exists()


def test_a_later_direction_is_traced_to_earlier_ones(
    base: Path, prompts: Path, tmp_path: Path
) -> None:
    adapter = str(save_adapter(tmp_path / "lora", base))
    task = Options(target="L3-C1,L3-C2", to="L1", faithfulness=4)  # a jump over two blocks
    run, result = ask(base, tmp_path / "run", prompts, task, adapter=adapter)
    rows = result.tables["relevance_earlier"]
    assert {row["target"] for row in rows} == {"L3-C1", "L3-C2"}
    assert {row["source"] for row in rows} >= {"L1-C1", "rest"}
    named = [row for row in rows if row["source"] != "rest"]
    for row in named:
        assert row["promotes"] + row["suppresses"] == pytest.approx(row["relevance"])
        assert row["low"] <= row["relevance"] <= row["high"] and row["random"] > 0
        assert (row["source_hidden_index"], row["hidden_index"]) == (1, 3)
    for target in ("L3-C1", "L3-C2"):
        sizes = [abs(row["signed_share"]) for row in named if row["target"] == target]
        assert sum(sizes) == pytest.approx(1.0)
    assert [figure.name for figure in result.figures] == ["relevance_earlier"]
    assert all(m.floor is not None or m.reason for m in result.measurements)
    assert summary(result)[0]["from"] == "L1-C1"
    assert not result.token_maps and "relevance_faithfulness" not in result.tables
    assert Relevance.load(run).sources[0] == "L1-C1"
    page = write_report(run, tmp_path / "report.html").read_text("utf-8")
    assert "Which earlier directions it comes from" in page


def test_maps_are_tested_on_some_prompts_and_may_be_shares(
    base: Path, prompts: Path, tmp_path: Path
) -> None:
    adapter = str(save_adapter(tmp_path / "lora", base))
    task = Options(
        target="L3-C1,L3-C2", span=True, boundaries="1", normalize="prompt", faithfulness=3,
        removal="mask",
    )  # fmt: skip
    _, result = ask(base, tmp_path / "run", prompts, task, adapter=adapter)
    tried = [m for m in result.measurements if m.name.startswith("relevance/faithfulness/")]
    assert [m.name for m in tried] == ["relevance/faithfulness/lrp/attnlrp/span/mask"]
    assert tried[0].n == 3 and tried[0].floor is not None and tried[0].low is not None
    assert tried[0].name in result.labels
    assert any("correlation" in m.name for m in result.measurements)
    assert result.tables["relevance_faithfulness"][0]["removal"] == "mask"
    assert "relevance_faithfulness" in {figure.name for figure in result.figures}
    assert any("Taken away by relevance" in said for said in result.findings)
    assert {one.meta["component"] for one in result.token_maps} == {1.0}
    depths = [row["hidden_index"] for row in result.tables["relevance_conservation"]]
    assert depths == [0, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "L2-C0"}, "names no component"),
        ({"target": "L1-C1,L2-C1"}, "not components of one depth"),
        ({"backend": "lpr"}, "no back end"),
        ({"rules": "none"}, "rules"),
        ({"min_count": 0}, "min_count"),
        ({"target": "L1-C1", "space": "nowhere"}, "no run folder"),
        ({"target": "L2-C1", "to": "L2-C2"}, "earlier directions lie at hidden_index 2"),
        ({"to": "L1-C1,L2-C1"}, "earlier directions are not components of one depth"),
        ({"to": "words"}, "names no component"),
        ({"normalize": "layer"}, "no normalisation 'layer'"),
        ({"removal": "delete"}, "no removal 'delete'"),
        ({"faithfulness": -1}, "task.faithfulness is -1"),
        ({"boundaries": "1,two"}, "boundary 'two' is no hidden index"),
        ({"boundaries": "1", "backend": "decomposition"}, "no sums on the way"),
    ],
)
def test_what_cannot_be_asked_is_refused_early(
    options: dict[str, object], said: str, prompts: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        ask(Path("nothing"), tmp_path / "run", prompts, Options(**options))  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_tokens_that_share_a_character_show_it_once() -> None:
    import numpy as np

    user = GROUPS.index("user")
    tokens = PromptTokens(
        text="aé b",
        ids=np.arange(4),
        spans=np.array([[0, 1], [1, 2], [1, 2], [2, 4]]),
        words=np.array([0, 0, 0, 1]),
        groups=np.full(4, user, np.int8),
    )
    found = Relevance(
        targets=("x",), hidden_index=1, sources=(), boundaries=(0,), backend="lrp", rules="cplrp",
        position="prompt_last", normalize=None, prompt_ids=("p",), goals=("p",), prompts=(tokens,),
        scores=np.ones((1, 1)), totals=np.ones((1, 1, 1)), tokens=np.full((4, 1), 0.25),
        parts=None, rest=None, model="m", fingerprint="f", template="none", seed=0,
    )  # fmt: skip
    from theodolite.data.prompts import Prompt

    (one,) = token_maps(found, [Prompt("p", text="aé b")])
    assert one.tokens == ["a", "é", "", " b"] and not one.harmful


def test_leading_words_are_those_above_the_usual_one() -> None:
    rows = [
        {"target": "x", "word": "a", "mean": 3.0, "everyday": 1.0},
        {"target": "x", "word": "b", "mean": 0.5, "everyday": 1.0},
        {"target": "y", "word": "c", "mean": -1.0, "everyday": -2.0},
    ]
    assert leading_words(rows) == {"x": ("a",), "y": ()}
