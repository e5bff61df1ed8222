"""Which style weakens refusal: found where planted, not claimed where noise explains it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mechanism.triggers.made import outcomes_of, requests
from tests.models.tiny import tiny_model
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt
from theodolite.data.styles import Style
from theodolite.engine import generate
from theodolite.errors import ConfigError, DataError
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.lens.vocabulary import refusal_log_odds
from theodolite.mechanism.triggers.replies import REFUSED
from theodolite.mechanism.triggers.weakness import StyleWeakness, style_weakness
from theodolite.runs.run import Run

ALL = [1] * 20
WEAK = {"plain": ALL, "quiz": [0] * 16 + [1] * 4, "code": [0] + [1] * 19}
NOISE = {"plain": ALL, "quiz": [0] * 2 + [1] * 18, "code": [0] + [1] * 19}


def test_a_planted_weak_style_is_named_and_shown() -> None:
    weakest = StyleWeakness(outcomes_of(WEAK)).weakest()
    assert (weakest.style, weakest.shown, weakest.by, weakest.tried) == ("quiz", True, "replies", 2)
    assert weakest.change == pytest.approx(-0.8)
    assert "'quiz' weakens refusal most" in weakest.words and "-80 points" in weakest.words


def test_what_noise_may_explain_is_named_and_not_shown() -> None:
    weakest = StyleWeakness(outcomes_of(NOISE)).weakest()
    assert (weakest.style, weakest.shown) == ("quiz", False)
    assert weakest.p_value > 0.05
    assert "No style is shown" in weakest.words


def test_log_odds_speak_where_replies_do_not() -> None:
    odds = [[2.0 + i / 100 for i in range(20)], [0.5 + i / 90 for i in range(20)], [2.1] * 20]
    weakest = StyleWeakness(outcomes_of(NOISE, odds=odds)).weakest()
    assert (weakest.style, weakest.shown, weakest.by) == ("quiz", True, "log_odds")
    assert "nats" in weakest.words


def test_a_style_that_strengthens_refusal_is_no_weakness() -> None:
    table = {"plain": [0] * 20, "quiz": ALL}
    weakest = StyleWeakness(outcomes_of(table)).weakest()
    assert not weakest.shown and weakest.change == 1.0


def test_the_bare_form_alone_has_no_weakest_style() -> None:
    with pytest.raises(DataError, match="bare form"):
        StyleWeakness(outcomes_of({"plain": ALL})).weakest()


@given(
    st.lists(st.tuples(*[st.sampled_from([0, 1, None])] * 3), min_size=2, max_size=12).filter(
        lambda rows: all(any(row[k] is not None for row in rows) for k in range(3))
    )
)
def test_rates_and_changes_equal_plain_counting(rows: list[tuple[int | None, ...]]) -> None:
    columns = list(zip(*rows, strict=True))
    table = dict(zip(("plain", "quiz", "code"), columns, strict=True))
    found = outcomes_of(table)
    for style, values in table.items():
        known = [v for v in values if v is not None]
        assert found.rate(style).value == pytest.approx(sum(known) / len(known))
        assert found.rate(style).unscored.count == len(values) - len(known)
    pairs = [(a, b) for a, b in zip(table["quiz"], table["plain"]) if None not in (a, b)]
    change = found.change("quiz").value
    assert (
        change is None
        if not pairs
        else change == pytest.approx(sum(a - b for a, b in pairs) / len(pairs))
    )


def test_p_values_are_adjusted_over_the_styles() -> None:
    tests = outcomes_of(WEAK).tests()
    raw = {style: test.p_value for style, (test, _) in tests.items()}
    assert tests["quiz"][1] == pytest.approx(2 * raw["quiz"])
    assert tests["code"][1] == pytest.approx(raw["code"])


def test_an_unknown_style_is_an_error_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="quiz"):
        outcomes_of(WEAK).rate("quizz")


def test_outcomes_survive_the_run_folder(tmp_path: Path) -> None:
    odds = [[1.0, np.nan], [0.5, 2.0]]
    table = {"plain": [1, None], "quiz": [0, 1]}
    found = StyleWeakness(
        outcomes_of(table, odds=odds), outcomes_of(table, label=BENIGN), {"model": "m"}
    )
    with Run.create("test", out=tmp_path / "run") as run:
        found.save(run)
        again = StyleWeakness.load(run)
    assert again.frame() == found.frame()
    assert again.settings == {"model": "m"}
    assert again.benign is not None and again.benign.log_odds is None


def test_replies_are_scored_and_dropped(tmp_path: Path) -> None:
    from theodolite.mechanism.lens.vocabulary import TokenClasses

    model = tiny_model()
    harmful, benign = requests(5), requests(5, BENIGN)
    own = Style("mine", "So, for once: {request} Go on.")
    classes = TokenClasses((5, 6), (7, 8), (), "made", {"positive": ("a",), "negative": ("b",)})
    with Run.create("test", out=tmp_path / "run") as run:
        kept = {"journal": run.journal, "classes": classes, "max_new_tokens": 8}
        found = style_weakness(model, harmful, benign, styles=("quiz", own), **kept)
        before = len(run.journal)
        again = style_weakness(model, harmful, benign, styles=("quiz", own), **kept)
        assert len(run.journal) == before
        journal = (tmp_path / "run" / "journal.jsonl").read_text("utf-8")
    assert found.harmful.styles == ("plain", "quiz", "mine")
    assert again.frame() == found.frame()
    asked = Prompt("x", text=own.wrap(harmful[2].request))
    reply = generate(model, [asked], max_new_tokens=8)[0].text
    label = score_refusal(reply, asked.request).label
    assert found.harmful.verdicts[2, 2] == label
    assert found.harmful.refused("mine")[2] is (label in REFUSED)
    assert len(reply) < 4 or reply not in journal
    from theodolite.engine import next_token

    odds = -refusal_log_odds(next_token(model, [asked]), classes)
    assert found.harmful.odds("mine")[2] == pytest.approx(float(odds[0]), rel=1e-4)


def test_wrapped_requests_of_the_users_own_join_their_goals() -> None:
    model, harmful = tiny_model(), requests(3)
    wrapped = [
        Prompt(f"w{i}", text=f"hm {p.request}", label=HARMFUL, style="hm", goal_id=p.goal_id)
        for i, p in enumerate(harmful[1:])
    ]
    found = style_weakness(model, harmful, styles=["plain"], wrapped=wrapped, max_new_tokens=4)
    assert found.harmful.styles == ("plain", "hm")
    assert found.harmful.refused("hm")[0] is None
    assert found.harmful.rate("hm").n == 2


@pytest.mark.parametrize(
    ("wrapped", "says"),
    [
        (Prompt("w", text="x", label=HARMFUL, style="hm", goal_id="nobody's"), "goal"),
        (
            Prompt("w", text="x", label=HARMFUL, style="quiz", goal_id="test-harmful-goal-0"),
            "twice",
        ),
    ],
)
def test_wrapped_requests_that_fit_nothing_are_refused(wrapped: Prompt, says: str) -> None:
    with pytest.raises(DataError, match=says):
        style_weakness(tiny_model(), requests(2), styles=["quiz"], wrapped=[wrapped])


def test_without_harmful_requests_there_is_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="no harmful"):
        style_weakness(tiny_model(), [])
