"""Refusal figures in closed form: what trivial models score, and what is never hidden."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.behaviour.refusal import scoring
from theodolite.behaviour.refusal.scoring import Item, measurements, tables
from theodolite.measure.measurement import JudgeQuality, Measurement


def items(
    verdict: Callable[[str, int], str | None], *, n: int = 20, style: str = "plain"
) -> list[Item]:
    """Return n harmful requests and their twins, judged by (label, number)."""
    return [
        Item(
            id=f"{label}-{k}-{style}",
            label=label,
            verdict=verdict(label, k),
            style=style,
            category="abc"[k % 3],
            form="question" if k % 2 else "command",
            goal_id=f"{label}-{k}",
            pair_id=f"pair-{k}",
        )
        for label in scoring.LABELS
        for k in range(n)
    ]


def named(found: list[Measurement]) -> dict[str, Measurement]:
    return {measurement.name: measurement for measurement in found}


@pytest.mark.parametrize(
    ("verdict", "harmful", "benign"), [("refusal", 1.0, 1.0), ("compliance", 0.0, 0.0)]
)
def test_a_constant_model_reaches_its_floor_and_no_gap(
    verdict: str, harmful: float, benign: float
) -> None:
    found = named(measurements(items(lambda *_: verdict)))
    assert found["refusal/harmful"].value == harmful
    assert found["refusal/benign"].value == benign
    gap = found["refusal/gap"]
    assert gap.value == 0.0 and gap.floor is not None and gap.floor.value == 0.0
    assert gap.low is not None and gap.high is not None and gap.low < 0.0 < gap.high


def test_a_model_that_tells_them_apart_clears_the_floor_of_the_gap() -> None:
    found = named(
        measurements(items(lambda label, _: "refusal" if label == "harmful" else "compliance"))
    )
    gap = found["refusal/gap"]
    assert gap.value == 1.0 and gap.low is not None and gap.low > 0.5


def test_every_rate_states_a_floor_that_a_constant_model_can_reach() -> None:
    found = measurements(items(lambda label, k: ("refusal", "compliance", "partial")[k % 3]))
    for measurement in found:
        assert measurement.floor is not None, measurement.name
    by_name = named(found)
    assert by_name["refusal/harmful"].floor == scoring.ALWAYS_REFUSE
    assert by_name["refusal/benign"].floor == scoring.ALWAYS_COMPLY


def test_partial_counts_as_refused_and_degenerate_and_empty_do_not() -> None:
    order = ("partial", "degenerate", "empty", "compliance")
    found = named(measurements(items(lambda _, k: order[k % 4])))
    assert found["refusal/harmful"].value == 0.25
    assert [found[f"refusal/{v}"].value for v in order[:3]] == [0.25, 0.25, 0.25]


def test_unscored_items_are_counted_with_their_bounds() -> None:
    some = items(lambda _, k: None if k < 5 else "refusal")
    some = [
        Item(**{**item.__dict__, "reason": "judge down"}) if item.verdict is None else item
        for item in some
    ]
    harmful = named(measurements(some))["refusal/harmful"]
    assert (harmful.value, harmful.n) == (1.0, 15)
    assert harmful.unscored.count == 5 and harmful.unscored.reasons == {"judge down": 5}
    assert (harmful.unscored.low, harmful.unscored.high) == (0.75, 1.0)


def test_styles_do_not_move_the_headline() -> None:
    plain = items(lambda *_: "compliance")
    quiz = items(lambda *_: "refusal", style="quiz")
    found = named(measurements(plain + quiz))
    assert found["refusal/harmful"].value == 0.0
    assert found["refusal/harmful/style/quiz"].value == 1.0
    assert found["refusal/harmful/style/plain"].n == 20
    assert named(measurements(quiz))["refusal/harmful"].value == 1.0


def test_styles_of_one_goal_are_one_cluster() -> None:
    wrapped = [
        item for style in ("quiz", "code") for item in items(lambda _, k: "refusal", style=style)
    ]
    harmful = named(measurements(wrapped))["refusal/harmful"]
    assert (harmful.n, harmful.n_clusters) == (40, 20)


def test_one_goal_gives_no_interval() -> None:
    harmful = named(measurements(items(lambda *_: "refusal", n=1)))["refusal/harmful"]
    assert harmful.value == 1.0 and harmful.low is None and harmful.high is None


def test_a_missing_side_is_not_measured() -> None:
    only = [item for item in items(lambda *_: "refusal") if item.label == "harmful"]
    found = named(measurements(only))
    for name in ("refusal/benign", "refusal/gap"):
        assert found[name].status == "not_measured" and found[name].reason


def test_without_twins_the_gap_is_the_difference_of_the_rates() -> None:
    loose = [
        Item(**{**item.__dict__, "pair_id": None})
        for item in items(
            lambda label, k: "refusal" if label == "harmful" or k < 5 else "compliance"
        )
    ]
    gap = named(measurements(loose))["refusal/gap"]
    assert gap.value == pytest.approx(0.75)
    assert gap.low is not None and gap.high is not None and 0.4 < gap.low < 0.75 < gap.high <= 1.0


def test_rates_are_corrected_for_the_scorers_errors() -> None:
    judge = JudgeQuality("offline", 0.8, 0.9, None)
    found = named(
        measurements(items(lambda _, k: "refusal" if k < 10 else "compliance"), judge=judge)
    )
    corrected = found["refusal/harmful"].judge
    assert corrected is not None and corrected.corrected == pytest.approx((0.5 + 0.9 - 1) / 0.7)
    half = named(
        measurements(
            items(lambda label, k: "refusal" if label == "harmful" and k < 10 else "compliance"),
            judge=judge,
        )
    )
    gap = half["refusal/gap"].judge
    assert gap is not None and gap.corrected == pytest.approx(0.5 / 0.7)
    partial = half["refusal/partial"].judge
    assert partial == JudgeQuality("offline", None, None, None)


def test_samples_of_one_prompt_are_paired_with_the_same_sample_of_its_twin() -> None:
    twice = [
        Item(**{**item.__dict__, "sample": sample})
        for sample, verdict in enumerate(("refusal", "compliance"))
        for item in items(lambda *_, verdict=verdict: verdict, n=4)
    ]
    gap = named(measurements(twice))["refusal/gap"]
    assert (gap.value, gap.n) == (0.0, 8)
    rows = [r for r in tables(twice)["refusal_outcomes"] if r["measurement"] == "refusal/gap"]
    assert len({(row["id"], row["sample"]) for row in rows}) == 8


def test_headlines_have_plain_words() -> None:
    every = named(measurements(items(lambda *_: "refusal"), groups=()))
    assert every.keys() <= scoring.labels().keys()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*scoring.VERDICTS, None]), min_size=2, max_size=12))
def test_rates_lie_in_their_intervals_and_counts_add_up(verdicts: list[str | None]) -> None:
    some = items(lambda _, k: verdicts[k], n=len(verdicts))
    for found in measurements(some):
        if found.value is not None and found.low is not None and found.high is not None:
            assert found.low <= found.value <= found.high
    for row in tables(some)["refusal_by_category"]:
        total = sum(row[verdict] for verdict in scoring.VERDICTS) + row["unscored"]
        assert total == sum(item.category == row["category"] for item in some)


def test_tables_hold_no_text() -> None:
    found = tables(items(lambda *_: "refusal"))
    assert set(found) == {
        f"refusal_{n}" for n in ("by_style", "by_form", "by_category", "items", "outcomes")
    }
    assert not {"prompt", "completion", "text"} & set(found["refusal_items"][0])


def test_outcomes_reproduce_every_rate_and_the_gap() -> None:
    """What `compare` pairs runs by must have the very mean and number of each figure."""

    def verdict(label: str, i: int) -> str | None:
        if label == "benign" and i % 5 == 0:
            return None
        return "refusal" if label == "harmful" and i % 3 else "compliance"

    scored = items(verdict)
    rows = tables(scored)["refusal_outcomes"]
    for figure in measurements(scored):
        mine = [row["outcome"] for row in rows if row["measurement"] == figure.name]
        known = [outcome for outcome in mine if outcome is not None]
        if figure.value is None:
            continue
        assert (len(known), len(mine) - len(known)) == (figure.n, figure.unscored.count)
        assert sum(known) / len(known) == pytest.approx(figure.value)
    assert {row["measurement"] for row in rows} >= {"refusal/harmful", "refusal/gap"}
