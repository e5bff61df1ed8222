"""Rankings from everything that holds heads; what does not is refused without showing a prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.errors import DataError
from theodolite.mechanism.heads.ranking import HeadRanking, prompt_key
from theodolite.runs.document import json_document
from theodolite.runs.run import Run
from theodolite.runs.tables import write_table


def rows(**more: Any) -> list[dict[str, Any]]:
    """Return a table of two harmful prompts and a benign one, 2 layers of 2 heads."""
    scores = {
        ("h0", "harmful"): [0.1, 0.5, 0.2, 0.2],
        ("h1", "harmful"): [0.3, 0.1, 0.2, 0.2],
        ("b0", "benign"): [9.0, 0.0, 0.0, 0.0],
    }
    return [
        {"prompt_id": prompt, "label": label, "layer": i // 2, "head": i % 2, "kl": kl, **more}
        for (prompt, label), values in scores.items()
        for i, kl in enumerate(values)
    ]


def reference(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines), "utf-8")
    return path


def test_rows_are_ranked_by_their_mean_over_harmful_prompts() -> None:
    found = HeadRanking.of_rows("m", rows())
    assert found.heads == ((0, 1), (0, 0), (1, 0), (1, 1))  # ties by layer, then head
    assert found.scores == pytest.approx((0.3, 0.2, 0.2, 0.2))
    assert (found.n_heads, found.n_prompts, found.partial) == (4, 2, False)
    assert HeadRanking.of_rows("m", rows(), label=None).heads[0] == (0, 0)
    assert HeadRanking.of_rows("m", rows(), label="benign").n_prompts == 1


def test_rows_of_several_operators_must_be_told_apart() -> None:
    both = rows(operator="zero", epsilon=0.0) + rows(operator="scale", epsilon=1e-5)
    with pytest.raises(DataError, match="several ways: scale 1e-05, zero"):
        HeadRanking.of_rows("m", both)
    assert HeadRanking.of_rows("m", both, operator="scale").n_prompts == 2


def test_heads_without_score_are_passed_over_and_counted() -> None:
    some = [
        row | ({"kl": None} if row["head"] == 0 and row["layer"] == 0 else {}) for row in rows()
    ]
    found = HeadRanking.of_rows("m", some)
    assert (0, 0) not in found.heads and found.n_heads == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "x"}, "row 1 of the heads: layer, head or kl is no number"),
        ({"kl": float("inf")}, "row 1 of the heads: layer, head or kl is out of range"),
        ({"layer": -1}, "out of range"),
        ({"kl": 10**400}, "no number"),
        ({"layer": 0, "head": 0}, "the head 0-0 occurs again"),
        ({"kl": None}, "head 0-1 has a score for 1 of 2 prompts"),
    ],
)
def test_rows_that_are_wrong_are_named(change: dict[str, Any], message: str) -> None:
    table = rows()
    table[1] |= change
    with pytest.raises(DataError, match=message):
        HeadRanking.of_rows("m", table)


def test_what_holds_no_heads_is_refused() -> None:
    with pytest.raises(DataError, match="No heads"):
        HeadRanking.of_rows("m", [])
    with pytest.raises(DataError, match="column kl is missing"):
        HeadRanking.of_rows("m", [{"prompt_id": "p", "layer": 0, "head": 0}])
    with pytest.raises(DataError, match="but there are 2"):
        HeadRanking.of_rows("m", rows(), n_heads=2)


def test_every_place_that_holds_the_table_gives_the_same_ranking(tmp_path: Path) -> None:
    wanted = HeadRanking.of_rows("m", rows()).key
    with Run.create("explain heads map", "tiny", out=tmp_path / "run") as run:
        run.save_table("heads/heads", rows())
        run.save_table("heads/head_scores", [{"layer": 0}])
        (tmp_path / "out.json").write_text(json_document(run), "utf-8")
        run.commit()
    write_table(tmp_path / "t.parquet", rows())
    reference(tmp_path / "t.jsonl", *rows())
    names = {}
    for name in ("run", "out.json", "t.parquet", "t.jsonl"):
        found = HeadRanking.load(tmp_path / name)
        assert found.key == wanted, name
        names[name] = found.name
    assert names == {"run": "tiny", "out.json": "tiny", "t.parquet": "t", "t.jsonl": "t"}


@pytest.mark.parametrize("document", [{}, {"tables": None}, {"tables": {"heads": 3}}])
def test_documents_without_heads_are_refused(tmp_path: Path, document: Any) -> None:
    with pytest.raises(DataError, match="of heads"):
        HeadRanking.load(reference(tmp_path / "a.json", document))


SECRET = "a prompt that must not be shown"


def test_reference_files_are_read_by_hash_alone(tmp_path: Path) -> None:
    path = reference(
        tmp_path / "ref.jsonl",
        {SECRET: {"2-26": 0.8, "0-1": 0.4}, "another": {"0-1": 0.6}},
        {SECRET: {"3-3": 9.0}},
    )
    found = HeadRanking.load(path, n_heads=1024)
    assert found.heads == ((0, 1), (2, 26)) and found.scores == pytest.approx((0.5, 0.4))
    assert (found.partial, found.duplicates, found.n_prompts) == (True, 1, 2)
    assert found.by_prompt[prompt_key(SECRET)] == {(2, 26): 0.8, (0, 1): 0.4}
    assert "prompt that" not in repr(found) + repr(found.by_prompt)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({SECRET: {"2.26": 0.8}}, "line 2: '2.26' is not a head"),
        ({SECRET: {"2-26": "high"}}, "line 2: the score of a head is no number"),
        ({SECRET: {"2-26": 10**400}}, "line 2: the score of a head is no number"),
        ({SECRET: {"2-26": True}}, "line 2: the score of a head is no number"),
    ],
)
def test_errors_name_the_line_and_no_prompt(tmp_path: Path, line: Any, message: str) -> None:
    path = reference(tmp_path / "ref.jsonl", {"fine": {"0-0": 1.0}}, line)
    with pytest.raises(DataError, match=message) as caught:
        HeadRanking.load(path)
    assert SECRET not in str(caught.value)
    path = reference(tmp_path / "list.jsonl", {"fine": {"0-0": 1.0}}, {SECRET: [1.0]})
    with pytest.raises(DataError, match="line 2: a prompt has no scores") as caught:
        HeadRanking.of_reference(path)
    assert SECRET not in str(caught.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["0-1", "tables", "heads", "layer", "kl", "x"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(values, st.sampled_from([".json", ".jsonl", ".csv"]))
def test_any_file_is_ranked_or_refused_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, value: Any, ending: str
) -> None:
    path = tmp_path_factory.mktemp("any") / f"file{ending}"
    path.write_text(json.dumps(value), "utf-8")
    try:
        found = HeadRanking.load(path)
    except DataError as error:
        assert str(error)
    else:
        assert found.heads and len(found.heads) == len(found.scores)
