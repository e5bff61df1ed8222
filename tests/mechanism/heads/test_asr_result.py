"""The figures of attack success from planted verdicts, recomputed by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from theodolite.errors import ConfigError, DataError
from theodolite.measure.intervals import wilson
from theodolite.measure.paired import mcnemar
from theodolite.mechanism.heads.asr_conditions import Condition
from theodolite.mechanism.heads.asr_map import HeadAsrMap
from theodolite.mechanism.heads.asr_result import AsrResult, combined
from theodolite.report.samples import sample_record

OK, NO, LOOP = "complied", "refused", "repeats"


def planted(
    verdicts: dict[str, list[list[str]]], *, size: int = 1, scorer: Any = None, **more: Any
) -> AsrResult:
    """Return a result with these verdicts, {condition: [prompt][draw]}."""
    keyword = np.array(list(verdicts.values()))
    kinds = ["intact", *("random" if n.startswith("random") else "group" for n in verdicts)][1:]
    kinds = ["intact" if i == 0 else kinds[i] for i in range(len(verdicts))]
    heads = tuple((0, h) for h in range(size))
    count = keyword.shape[1]
    blank = np.full(keyword.shape, "", dtype="<U16")
    fields: dict[str, Any] = {
        "conditions": tuple(
            Condition(name, kind, ((),) if kind == "intact" else (heads,))
            for name, kind in zip(verdicts, kinds, strict=True)
        ),
        "keyword": keyword,
        "scorer": blank if scorer is None else np.array(scorer),
        "judged": blank,
        "whole": np.full(count, scorer is not None),
        "texts": tuple(
            tuple(tuple(f"text {p}{d}" for d in range(keyword.shape[2])) for p in range(count))
            for _ in verdicts
        ),
        "prompt_ids": tuple(f"p{i}" for i in range(count)),
        "clusters": tuple(f"p{i}" for i in range(count)),
        "requests": tuple(f"request {i}" for i in range(count)),
        "harmful": (True,) * count,
        "settings": {"seed": 0},
    }
    return AsrResult(**(fields | more))


def column(*verdicts: str) -> list[list[str]]:
    return [[verdict] for verdict in verdicts]


INTACT = column(OK, *[NO] * 9)
OUT = column(NO, *[OK] * 7, LOOP, NO)


def test_rates_have_wilson_intervals_and_the_intact_rate_as_floor() -> None:
    result = planted({"intact": INTACT, "out": OUT})
    rate = result.rate("out")
    expected = wilson(7, 10)
    assert expected is not None
    assert (rate.value, rate.n) == (0.7, 10)
    assert (rate.low, rate.high) == pytest.approx((expected.low, expected.high))
    assert rate.floor is not None and (rate.floor.name, rate.floor.value) == ("intact", 0.1)
    floor = result.rate("intact").floor
    assert floor is not None and floor.value == 0


def test_changes_are_paired_and_tested_by_mcnemar() -> None:
    result = planted({"intact": INTACT, "out": OUT})
    change = result.change("out")
    assert change.value == pytest.approx(0.6)
    assert change.low is not None and change.low > 0
    own, first = [v[0] == OK for v in OUT], [v[0] == OK for v in INTACT]
    assert result.test("out") == mcnemar(own, first)
    assert result.test("out").only_first == 7 and result.test("out").only_second == 1
    (intact, out) = result.frame()
    assert out["p"] == result.test("out").p_value == out["p_holm"]
    assert intact["p"] is None and intact["change"] is None
    assert out["repeats"] == 0.1 and out["refused"] == pytest.approx(0.2)


def test_p_values_are_adjusted_over_the_groups() -> None:
    rows = planted({"intact": INTACT, "a": OUT, "b": OUT, "c": INTACT}).frame()
    assert rows[1]["p_holm"] == pytest.approx(min(1, 3 * rows[1]["p"]))
    assert rows[3]["p"] == 1


def test_draws_of_a_prompt_are_one_cluster() -> None:
    two = [[v[0]] * 2 for v in OUT]
    once, twice = planted({"i": INTACT, "out": OUT}), planted({"i": two, "out": two})
    rate = twice.rate("out")
    assert (rate.n, rate.n_clusters) == (20, 10)
    one, same = once.rate("out"), rate
    assert one.low is not None and same.low is not None
    assert same.low <= one.low + 1e-3  # answers written twice prove no more
    assert twice.test("out").p_value == 1
    assert twice.frame()[1]["spread"] == 0


def test_random_groups_of_the_same_size_are_the_control() -> None:
    verdicts = {"intact": INTACT, "out": OUT, "random 1/1": INTACT, "random 1/2": OUT}
    result = planted(verdicts)
    assert result.random_rates(1) == [0.1, 0.7]
    assert result.rank_p("out") == pytest.approx(2 / 3)
    assert result.over_random("out").value == pytest.approx(0.7 - 0.4)
    assert result.groups == ("out",)
    row = result.frame()[1]
    assert row["random_mean"] == pytest.approx(0.4) and row["p_random"] == pytest.approx(2 / 3)
    assert "heads/asr/out/over_random" in [m.name for m in result.measurements()]
    alone = planted({"intact": INTACT, "out": OUT})
    assert alone.over_random("out").status == "not_measured"
    assert alone.rank_p("out") is None


def test_the_mean_over_sizes() -> None:
    result = planted({"intact": INTACT, "query/1": OUT, "query/2": INTACT, "other": OUT})
    assert result.families() == {"query": ["query/1", "query/2"]}
    (found,) = [m for m in result.measurements() if m.name.endswith("mean_change")]
    assert found.value == pytest.approx((0.6 + 0.0) / 2)
    assert found.n == 10


def test_agreement_of_keywords_and_scorer() -> None:
    labels = [column(*["compliance"] * 5, *["refusal"] * 5), column(*["compliance"] * 10)]
    result = planted({"intact": INTACT, "out": OUT}, scorer=labels)
    share, kappa = result.agreement("scorer")
    keyword = [v[0] == OK for v in (*INTACT, *OUT)]
    scorer = [v[0] == "compliance" for row in labels for v in row]
    assert share.value == pytest.approx(np.mean([a == b for a, b in zip(keyword, scorer)]))
    assert share.n_clusters == 10
    table = {(r["keyword"], r["scorer"]): r["count"] for r in result.cross_table("scorer")}
    assert sum(table.values()) == 20
    assert table["True", "True"] == sum(a and b for a, b in zip(keyword, scorer))
    assert kappa.value is not None and kappa.value < share.value
    assert result.second_rate("out", "scorer").value == 1.0
    assert result.frame()[1]["scorer_asr"] == 1.0


def test_two_verdicts_in_a_hundred_may_fail_and_three_may_not() -> None:
    count = 100
    base = planted({"intact": [[NO]] * count})
    for errors, status in ((2, "measured"), (3, "incomplete")):
        labels = np.array([column(*["judge_unparsable"] * errors, *["refusal"] * (count - errors))])
        result = replace(base, judged=labels)
        assert result.judge_errors() == (errors, count)
        rate = result.second_rate("intact", "judge")
        assert (rate.status, rate.n, rate.unscored.count) == (status, count - errors, errors)


def test_outcomes_have_the_mean_and_number_of_their_rate() -> None:
    result = planted({"intact": INTACT, "out": OUT, "random 1/1": OUT})
    rows = result.outcomes()
    for name in ("intact", "out"):
        rate = result.rate(name)
        own = [row["outcome"] for row in rows if row["measurement"] == rate.name]
        assert (np.mean(own), len(own)) == (rate.value, rate.n)
    assert len(rows) == 20


def test_texts_are_in_samples_alone_and_hidden_there() -> None:
    result = planted({"intact": INTACT, "out": OUT})
    assert "text 0" not in str(result.rows()) + str(result.frame()) + str(result.outcomes())
    assert "text 0" not in repr(result) and "request 0" not in repr(result)
    assert len(result.rows()) == 20
    sample = result.samples()[0]
    assert sample.completion == "text 00" and sample.harmful
    assert "text 00" not in str(sample_record(sample, show_text=False))


def test_results_of_other_models_or_frames_are_combined() -> None:
    parts = {"aligned": planted({"intact": INTACT}), "base": planted({"intact": OUT})}
    both = combined(parts)
    assert both.names == ("aligned", "base")
    assert both.change("base").value == pytest.approx(0.6)
    assert both.groups == ("base",)
    wide = combined({"plain": planted({"intact": INTACT, "out": OUT}), "opener": parts["base"]})
    assert wide.names == ("plain: intact", "plain: out", "opener")
    assert wide.keyword.shape == (3, 10, 1) and len(wide.frame()) == 3
    with pytest.raises(DataError, match="'base' is of other prompts"):
        combined({"a": parts["aligned"], "base": planted({"intact": INTACT[:5]})})


def test_an_unknown_condition_is_named() -> None:
    with pytest.raises(ConfigError, match="`out`"):
        planted({"intact": INTACT, "out": OUT}).rate("outt")


def test_the_map_of_single_heads_ranks_like_scipy() -> None:
    draw = np.random.default_rng(0)
    names = [f"0-{h}" for h in range(8)]
    rates = [draw.random(30) < share for share in np.linspace(0.1, 0.9, 8)]
    verdicts = {"intact": column(*[NO] * 30)}
    verdicts |= {n: column(*np.where(r, OK, NO)) for n, r in zip(names, rates)}
    heads = tuple((0, h) for h in range(8))
    scores = {head: float(s) for head, s in zip(heads, draw.permutation(8))}
    found = HeadAsrMap(planted(verdicts), heads, scores)
    expected = spearmanr([scores[h] for h in heads], [r.mean() for r in rates]).statistic
    assert found.correlation().value == pytest.approx(expected)
    rows = found.frame()
    assert [(row["layer"], row["head"]) for row in rows] == list(heads)
    assert rows[2]["asr"] == pytest.approx(rates[2].mean()) and rows[2]["score"] == scores[0, 2]
    shown = [h for h, row in zip(heads, rows) if row["p_holm"] <= 0.05]
    assert found.raising() == shown and 0 < len(shown) < 8
    assert HeadAsrMap(planted(verdicts), heads, {}).correlation().status == "not_measured"
