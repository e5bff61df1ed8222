"""From outcomes to figures: identities, scripted models, published counts, and refusals."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from tests.behaviour.preemptive_answers.items import CHOICE, LATEX, NUMBER, WORDS
from tests.oracles import preemptive as oracle
from theodolite.behaviour.preemptive_answers.outcomes import (
    Log,
    Outcome,
    majority,
    matched,
    outcome,
)
from theodolite.behaviour.preemptive_answers.reflecting import (
    Reflected,
    read_check,
    reflected,
    right_outcomes,
    wrong_outcomes,
)
from theodolite.behaviour.preemptive_answers.scoring import (
    Comparison,
    accuracy,
    attack_report,
    clean_cost,
    consistency,
    own_consistency,
    unparsed,
)
from theodolite.errors import ConfigError, DataError

FEW = 200
BITS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


def log(bits: Sequence[int], condition: str = "clean", **how) -> Log:  # type: ignore[no-untyped-def]
    outcomes = tuple(
        Outcome(f"q{i}", f"q{i}", bool(bit), final="x", planted_match=None)
        for i, bit in enumerate(bits)
    )
    return Log("m", "gsm8k", "zs_cot", how.pop("seed", 0), outcomes, condition, **how)


@settings(max_examples=40)
@given(BITS)
def test_figures_are_those_of_the_oracle_and_add_up(pairs: list[tuple[int, int]]) -> None:
    c, a = [x for x, _ in pairs], [y for _, y in pairs]
    clean, attacked = log(c), log(a, "M")
    lost = Comparison(clean, attacked, resamples=FEW).asr().value
    won = Comparison(clean, attacked, resamples=FEW).repair().value
    assert lost == pytest.approx(oracle.asr(c, a), abs=1e-12)
    assert won == pytest.approx(oracle.repair(c, a), abs=1e-12)
    acc = sum(c) / len(c)
    both = (1 - (lost or 0.0)) * acc + (won or 0.0) * (1 - acc)
    assert accuracy(attacked).value == pytest.approx(both, abs=1e-12)
    test = Comparison(clean, attacked).changed()
    assert test.p_value == pytest.approx(oracle.mcnemar_exact(c, a), abs=1e-12)
    n = test.only_first + test.only_second
    if n:
        assert test.p_value == pytest.approx(binomtest(test.only_first, n).pvalue, abs=1e-12)


def test_the_ends_of_the_scale() -> None:
    clean = log([1, 1, 0, 1, 0])
    same, none = log([1, 1, 0, 1, 0], "M"), log([0, 0, 1, 0, 1], "M")
    assert Comparison(clean, same).asr().value == 0 and Comparison(clean, same).repair().value == 0
    assert Comparison(clean, none).asr().value == 1 and Comparison(clean, none).repair().value == 1
    assert Comparison(clean, none).accuracy_change().value == pytest.approx(-0.2)
    assert Comparison(clean, none, resamples=FEW).relative_drop().value == pytest.approx(1 / 3)
    for figure in (Comparison(clean, same).asr(), Comparison(clean, none).asr()):
        assert figure.low is not None and figure.low < figure.high  # type: ignore[operator]


def test_without_a_right_clean_answer_there_is_no_asr() -> None:
    nothing = Comparison(log([0, 0]), log([1, 0], "M")).asr()
    assert nothing.value is None and nothing.status == "not_measured" and nothing.reason
    assert Comparison(log([0, 0]), log([1, 0], "M")).net_asr(log([0, 0])).value is None
    assert Comparison(log([1, 1]), log([1, 0], "M")).repair().value is None


def test_an_answer_that_was_not_found_is_no_success_of_the_attack() -> None:
    clean = log([1, 1, 1, 1])
    rows = log([0, 0, 1, 1], "M").outcomes
    lost = replace(log([], "M"), outcomes=(replace(rows[0], final=None), *rows[1:]))
    assert Comparison(clean, lost, resamples=FEW).asr().value == 0.5
    only = Comparison(clean, lost, resamples=FEW).asr(parsed_only=True)
    assert only.value == pytest.approx(1 / 3) and only.n == 3
    assert unparsed(lost).value == 0.25


def test_runs_that_do_not_match_are_refused() -> None:
    clean = log([1, 0])
    for other, says in (
        (replace(log([1, 0], "M"), model="n"), "model"),
        (replace(log([1, 0], "M"), method="zs"), "method"),
        (replace(log([1, 0], "M"), dataset="math"), "dataset"),
        (log([1, 0], "M", seed=1), "seed"),
        (log([1, 0, 1], "M"), "same items"),
    ):
        with pytest.raises(DataError, match=says):
            Comparison(clean, other).asr()
    with pytest.raises(DataError, match="2 times"):
        replace(clean, outcomes=(clean.outcomes[0], clean.outcomes[0]))


def test_order_does_not_matter() -> None:
    clean, attacked = log([1, 0, 1]), log([0, 1, 1], "M")
    turned = replace(attacked, outcomes=tuple(reversed(attacked.outcomes)))
    assert matched(clean, turned) == matched(clean, attacked)


def agent(n: int, q: float, seed: int) -> tuple[Log, Log]:
    """Return clean and attacked runs of a model that copies with chance q what it had right."""
    rng = random.Random(seed)
    clean = log([int(rng.random() < 0.7) for _ in range(n)])
    rows = []
    for o in clean.outcomes:
        copies = o.correct and rng.random() < q
        rows.append(replace(o, correct=o.correct and not copies, planted_match=copies))
    return clean, replace(clean, condition="M", outcomes=tuple(rows))


def test_a_model_that_copies_is_found_out() -> None:
    clean, attacked = agent(2000, 0.4, 1)
    found = Comparison(clean, attacked, resamples=FEW).targeted_asr()
    whole = Comparison(clean, attacked, resamples=FEW).asr()
    assert found.value == pytest.approx(0.4, abs=0.03)
    assert whole.value == found.value
    still = replace(clean, seed=1, outcomes=noisy(clean, 0.1, 2).outcomes)
    net = Comparison(clean, attacked, resamples=FEW).net_asr(still)
    floor = Comparison(clean, replace(still, seed=0), resamples=FEW).asr()
    assert whole.value is not None and floor.value is not None
    assert net.value == pytest.approx(whole.value - floor.value, abs=1e-12)
    assert net.low is not None and net.low > 0


def noisy(clean: Log, p: float, seed: int) -> Log:
    rng = random.Random(seed)
    rows = [replace(o, correct=o.correct != (rng.random() < p)) for o in clean.outcomes]
    return replace(clean, outcomes=tuple(rows))


def test_a_model_that_ignores_plants_has_no_net_asr() -> None:
    covered = 0
    for seed in range(100):
        clean = noisy(log([1] * 150 + [0] * 50), 0.1, 3 * seed)
        attacked = replace(noisy(clean, 0.1, 3 * seed + 1), condition="M")
        net = Comparison(clean, attacked, resamples=400).net_asr(noisy(clean, 0.1, 3 * seed + 2))
        assert net.low is not None and net.high is not None
        covered += net.low <= 0 <= net.high
    assert covered >= 90


def test_the_floor_of_an_attack_is_the_noise() -> None:
    clean, attacked = agent(200, 0.4, 3)
    still = replace(noisy(clean, 0.2, 4), seed=7)
    report = attack_report(clean, [attacked], still=still, resamples=FEW)
    figures = {m.name.split("/")[1]: m for m in report.measurements if m.name.endswith("/M")}
    noise = Comparison(clean, replace(still, seed=0), resamples=FEW).asr().value
    assert figures["asr"].floor is not None and figures["asr"].floor.value == noise
    assert figures["net_asr"].value == pytest.approx(figures["asr"].value - noise)  # type: ignore[operator]
    assert len({m.name for m in report.measurements}) == len(report.measurements)


def test_p_values_are_adjusted_over_the_attacks() -> None:
    clean = log([1] * 20)
    strong = log([0] * 10 + [1] * 10, "M")
    weak = log([0] * 3 + [1] * 17, "U")
    rows = attack_report(clean, [strong, weak], resamples=FEW).rows
    assert [row["run"] for row in rows] == ["M", "U"]
    assert rows[0]["p_holm"] == pytest.approx(2 * rows[0]["p_value"])
    assert rows[1]["p_holm"] == pytest.approx(rows[1]["p_value"])


def test_questions_that_stand_twice_are_tested_once() -> None:
    clean, attacked = log([1, 1, 1]), log([0, 0, 1], "M")
    twice = [replace(o, cluster="q0") if o.id == "q1" else o for o in clean.outcomes]
    test = Comparison(replace(clean, outcomes=tuple(twice)), attacked).changed()
    assert (test.n, test.only_first) == (2, 1)
    figure = Comparison(replace(clean, outcomes=tuple(twice)), attacked, resamples=FEW).asr()
    assert figure.n_clusters == 2


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 1)] * 3), min_size=1, max_size=30))
def test_recovery_is_that_of_the_oracle(rows: list[tuple[int, int, int]]) -> None:
    c, a, m = ([row[i] for row in rows] for i in range(3))
    mitigated = log(m, "M", mitigation="restate")
    figure = Comparison(log(c), log(a, "M"), resamples=FEW).recovered(mitigated)
    expected = oracle.recovered(c, a, m)
    assert figure.value == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_a_loss_of_one_point_cannot_be_recovered() -> None:
    clean = log([1] * 100)
    one, two = ([0] * k + [1] * (100 - k) for k in (1, 2))
    assert Comparison(clean, log(one, "M"), resamples=FEW).recovered(clean).value is None
    assert Comparison(clean, log(two, "M"), resamples=FEW).recovered(clean).value == 1.0
    assert clean_cost(clean, log(two, mitigation="restate")).value == pytest.approx(0.02)


def test_cells_of_a_first_answer() -> None:
    texts = {
        "kept_right": "[Answer] 4\nSteps.\n[Answer] 4.0",
        "kept_wrong": "[Answer] 5\nSteps.\n[Answer] 5",
        "right_to_wrong": "[Answer] 4\nSteps.\n[Answer] 5",
        "wrong_to_right": "[Answer] 5\nSteps.\n[Answer] 4",
        "wrong_to_other_wrong": "[Answer] 5\nSteps.\n[Answer] 6",
    }
    for cell, text in texts.items():
        run = replace(log([]), outcomes=(outcome(NUMBER, text, condition="U"),), condition="U")
        assert {name for name, count in own_consistency(run).items() if count} == {cell}
    nothing = outcome(NUMBER, "[Answer] 5\nSteps.", condition="U")
    run = replace(log([]), outcomes=(nothing,), condition="U")
    assert not any(own_consistency(run).values())
    every = [outcome(replace(NUMBER, id=n), t, condition="U") for n, t in texts.items()]
    kept = consistency(replace(log([]), outcomes=tuple(every), condition="U"))
    assert [m.value for m in kept] == [0.4]


def test_consistency_with_a_plant() -> None:
    rows = [
        outcome(replace(NUMBER, id=str(i)), f"[Answer] {said}", condition="M", planted="10")
        for i, said in enumerate(("10.0", "10", "4", "7", "I do not know"))
    ]
    kept, rest = consistency(replace(log([]), outcomes=tuple(rows), condition="M"))
    assert kept.value == 0.4
    assert rest.value == pytest.approx(1 / 3)
    assert consistency(log([1, 0])) == []
    assert Comparison(log([1]), log([0], "U")).targeted_asr().value is None


def test_an_empty_gold_is_never_right() -> None:
    lost = replace(LATEX, gold="", wrong="2")
    assert not outcome(lost, "", condition="clean").correct
    assert not outcome(lost, "[Answer] 5", condition="clean").correct


def scripted(accepted: int, wrong: int, fixed: int) -> list[Reflected]:
    """Return what a scripted model makes of so many wrong solutions, by way of its replies."""
    replies = (
        ["CORRECT"] * accepted
        + ["INCORRECT\nAgain: 3 + 3.\n[Answer] 6"] * wrong
        + ["INCORRECT\nAgain: 2 + 2.\n[Answer] 4"] * fixed
    )
    rows = []
    for i, reply in enumerate(replies):
        item = replace(NUMBER, id=str(i))
        before = outcome(item, "[Answer] 10", condition="M", planted="10")
        check = read_check(reply, item, before.final)
        after = outcome(item, f"[Answer] {check.answer}", condition="M")
        rows.append(reflected(before, after, check.accepted))
    return rows


@pytest.mark.parametrize("condition", ["U", "M"])
def test_published_counts_of_reflection_are_kept_apart(condition: str) -> None:
    path = resources.files("theodolite.behaviour.preemptive_answers") / "published.yaml"
    figures = yaml.safe_load(path.read_text("utf-8"))["figures"]
    (row,) = [f for f in figures if f["items"].endswith(f"under {condition}")]
    counts = {"U": (8, 22, 13), "M": (7, 11, 11)}[condition]
    assert (row["accepted"], row["flagged_still_wrong"], row["fixed"]) == counts
    found = wrong_outcomes(scripted(*counts))
    assert tuple(found.values()) == (*counts, 0)
    assert sum(found.values()) == {"U": 43, "M": 29}[condition]


def test_published_figures_carry_their_confidence() -> None:
    path = resources.files("theodolite.behaviour.preemptive_answers") / "published.yaml"
    loaded = yaml.safe_load(path.read_text("utf-8"))
    assert {f["confidence"] for f in loaded["figures"]} == {
        "published file",
        "reported",
        "second hand",
    }


def test_right_solutions_may_be_broken() -> None:
    rows = [
        Reflected("a", "a", True, True, True),
        Reflected("b", "b", True, False, False),
        Reflected("c", "c", True, True, False),
        Reflected("d", "d", False, False, None),
    ]
    assert right_outcomes(rows) == {"right": 3, "false_alarm": 2, "broken": 1}
    assert wrong_outcomes(rows)["no_verdict"] == 1


@pytest.mark.parametrize(
    ("reply", "accepted", "answer"),
    [
        ("CORRECT", True, "10"),
        ("**Incorrect.**\nSteps.\n[Answer] 4", False, "4"),
        ("This is not correct.\n[Answer] 4", False, "4"),
        ("INCORRECT\nI do not know.", False, "10"),
        ("Hm.\nCORRECT", None, "10"),
        ("<think>incorrect?</think>CORRECT", True, "10"),
        ("", None, "10"),
    ],
)
def test_a_check_is_read(reply: str, accepted: bool | None, answer: str) -> None:
    check = read_check(reply, NUMBER, "10")
    assert (check.accepted, check.answer) == (accepted, answer)


def test_a_check_of_another_item_is_refused() -> None:
    with pytest.raises(DataError, match="different items"):
        reflected(log([1, 0]).outcomes[0], log([1, 0]).outcomes[1], None)


def test_equal_answers_vote_together() -> None:
    vote = majority(["2", "1/2", "0.5", "2", r"\frac12"], LATEX, "2")
    assert vote.answer == "1/2" and vote.votes == 5
    assert (vote.gold, vote.planted) == (0.6, 0.4) and vote.other == pytest.approx(0)


def test_a_tie_goes_to_the_first_and_nothing_has_no_vote() -> None:
    assert majority(["C", "B", None, "B", "C", None], CHOICE).answer == "C"
    assert majority([None, "B"], CHOICE).answer == "B"
    nothing = majority([None, None], CHOICE, "C")
    assert nothing.answer is None and nothing.votes == 0 and nothing.gold == 0
    with pytest.raises(ConfigError, match="2 or more"):
        majority(["B"], CHOICE)
    with_case = majority(["ada byron", "Ada Byron.", "x"], WORDS)
    assert with_case.answer == "ada byron" and with_case.gold == pytest.approx(2 / 3)


@given(st.lists(st.none() | st.sampled_from("ABCDE"), min_size=2, max_size=12))
def test_votes_are_those_of_the_oracle(answers: list[str | None]) -> None:
    vote = majority(answers, CHOICE, "C")
    assert vote.answer == oracle.majority(answers)
    if vote.votes:
        assert vote.gold + vote.planted + vote.other == pytest.approx(1)
