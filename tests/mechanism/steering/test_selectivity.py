"""Selectivity finds a planted style direction, and calls nothing else specific.

The traps: a change that is the same in all styles, an edit that breaks answers instead of opening
them, styles and goals exchanged in a reshape.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engine.conftest import opened
from tests.mechanism.planted import items_of, states_of
from tests.mechanism.steering.made_edits import direction, requests
from theodolite.data.prompts import PromptSet
from theodolite.data.styles import Style, styled
from theodolite.engine import apply, generate, next_token
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.directions.direction import Direction
from theodolite.mechanism.distributions import set_log_odds
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering import selectivity
from theodolite.mechanism.steering.edits import Edit
from theodolite.mechanism.steering.selectivity import style_selectivity
from theodolite.mechanism.steering.selectivity_result import SelectivityResult
from theodolite.mechanism.steering.settings import Setting, Settings
from theodolite.mechanism.steering.suppression import harm_correlation, non_dominant
from theodolite.mechanism.verdict.outcomes import OUTCOMES, judged
from theodolite.runs.run import Run

TOKENS = [7, 3, 11]
STYLES = [
    Style("plain", "{request}"),
    Style("letter", "a letter: {request} end"),
    Style("x", "{request} x"),
]
REFUSED, PASSED, BROKEN = (OUTCOMES.index(o) for o in ("refused", "complied", "degenerate"))


def made(
    opened_share: dict[str, tuple[float, float, float]],
    *,
    goals: int = 40,
    random: int = 0,
    broken: bool = False,
) -> SelectivityResult:
    """Return a result in which every edit opens so much of each of three styles."""
    names = [*opened_share, *(f"random {i + 1}, pool 1" for i in range(random))]
    each = tuple(
        Setting(n, "edit" if n in opened_share else "random", "p", n, n, "ablate", "all", 1.0)
        for n in names
    )
    shares = [*opened_share.values(), *[(0.0, 0.05, 0.0)] * random]
    order = (np.arange(goals) * 7 % goals) / goals
    hit = np.stack([[order < share for share in row] for row in shares]).transpose(0, 2, 1)
    outcomes = np.where(hit, BROKEN if broken else PASSED, REFUSED).astype(np.int8)
    return SelectivityResult(
        settings=Settings(each),
        answered=tuple(range(len(each))),
        outcomes=outcomes,
        intact_outcomes=np.full((goals, 3), REFUSED, np.int8),
        log_odds=2.0 - hit.astype(float),
        intact_log_odds=np.full((goals, 3), 2.0),
        styles=("plain", "letter", "x"),
        prompt_ids=tuple(f"p{i}" for i in range(goals)),
        clusters=tuple(f"g{i}" for i in range(goals)),
        max_new_tokens=8,
        model="tiny",
        seed=0,
    )


def test_a_direction_that_opens_one_style_is_specific_for_it() -> None:
    found = made(
        {"one": (0.1, 0.7, 0.0), "all": (0.8, 0.9, 0.8), "none": (0.0, 0.0, 0.0)}, random=20
    )
    assert [found.specific(edit) for edit in ("one", "all", "none")] == ["letter", None, None]
    gap = found.gap("one", "letter")
    assert gap.value == pytest.approx(0.6)
    assert gap.low is not None and gap.high is not None and 0.3 < gap.low < 0.6 < gap.high < 0.9
    assert gap.floor is not None and gap.floor.value == pytest.approx(0.05)
    assert found.change("one", "letter").value == pytest.approx(0.7)
    assert found.gap("one", "letter", "first_token").value == pytest.approx(0.6)
    assert found.pass_rate("one", "letter").value == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("shares", "goals", "random"),
    [
        ((0.0, 0.2, 0.0), 40, 0),  # 20 points are not more than 20 points
        ((0.0, 0.5, 0.0), 4, 0),  # four goals say too little
        ((0.35, 0.5, 0.0), 40, 0),  # another style opens nearly as far
    ],
)
def test_what_is_not_clear_is_not_called_specific(
    shares: tuple[float, float, float], goals: int, random: int
) -> None:
    assert made({"one": shares}, goals=goals, random=random).specific("one") is None


def test_random_directions_that_reach_as_much_forbid_the_word() -> None:
    found = made({"one": (0.0, 0.5, 0.0)}, random=20)
    assert found.specific("one") == "letter"
    outcomes = found.outcomes.copy()
    outcomes[1:4] = outcomes[0]
    assert replace(found, outcomes=outcomes).specific("one") is None


def test_broken_answers_do_not_pass() -> None:
    found = made({"one": (0.1, 0.7, 0.0)}, broken=True)
    assert found.specific("one") is None
    assert found.pass_rate("one", "letter").value == 0.0
    assert found.broken("one", "letter").value == pytest.approx(0.7)


def test_figures_and_tables_hold_every_style_and_survive_a_run_folder(tmp_path: Path) -> None:
    found = made({"one": (0.1, 0.7, 0.0), "two": (0.2, 0.2, 0.1)}, random=3)
    names = [m.name for m in found.measurements()]
    assert len(names) == len(set(names)) == 3 + 2 * (3 * 4 + 2)
    assert all(m.floor is not None for m in found.measurements())
    rows = found.frame()
    assert [(r["edit"], r["style"]) for r in rows if r["specific"]] == [("one", "letter")]
    assert "one for letter" in found.figure().caption
    assert [t["name"] for t in found.figure().spec["data"]][:2] == ["one", "two"]
    with Run.create("explain", "tiny", out=tmp_path / "run") as run:
        found.save(run)
        read = SelectivityResult.load(run)
    assert read.measurements() == found.measurements() and read.frame() == rows


def test_the_matrix_equals_every_cell_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened("llama")
    prompts = requests(3, 0)
    edits = [Edit([direction()], "subtract", alpha=5.0), Edit([direction(1)], sites="all")]
    # A tiny model neither refuses nor answers: two kinds of text stand in for it.
    monkeypatch.setattr(
        selectivity,
        "judged",
        lambda prompt, text: replace(
            judged(prompt, text), label="refused" if len(text) % 2 else "complied"
        ),
    )
    found = style_selectivity(
        model,
        prompts,
        edits,
        tokens=TOKENS,
        styles=STYLES,
        random_draws=2,
        random_answers=1,
        max_new_tokens=6,
    )
    assert found.outcomes.shape == (4, 3, 3) and found.log_odds.shape == (6, 3, 3)
    rows = list(styled(PromptSet("made", tuple(prompts)), STYLES))
    encoded = encode_for_states(model, rows)
    for number, edit in enumerate([None, *edits]):
        variant = [] if edit is None else edit.interventions(model.anatomy)
        with apply(model, *variant):
            texts = [a.text for a in generate(model, encoded, max_new_tokens=6)]
            odds = set_log_odds(next_token(model, encoded), TOKENS).numpy().reshape(3, 3)
        label = np.array([REFUSED if len(text) % 2 else PASSED for text in texts]).reshape(3, 3)
        own = found.intact_outcomes if edit is None else found.outcomes[number - 1]
        read = found.intact_log_odds if edit is None else found.log_odds[number - 1]
        assert np.array_equal(own, label)
        assert np.allclose(read, odds, atol=1e-4)
    assert not np.array_equal(found.outcomes[0], found.intact_outcomes)
    change = found.change(edits[0].name, "letter", "first_token")
    assert change.floor is not None and change.floor.name == "2 random edits"
    answers = found.change(edits[0].name, "letter")
    assert answers.floor is not None and answers.floor.name == "1 random edits"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompts": []}, DataError, "no prompts"),
        ({"prompts": requests(1, 1)}, DataError, "'b1' is benign"),
        ({"styles": STYLES[:1]}, DataError, "two styles"),
        ({"random_answers": 3, "random_draws": 2}, ConfigError, "random_answers is 3"),
        ({"edits": []}, DataError, "no edits"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    asked = {"prompts": requests(2, 0), "edits": [Edit([direction()])], "styles": STYLES} | options
    prompts, edits = asked.pop("prompts"), asked.pop("edits")
    with pytest.raises(error, match=message):
        style_selectivity(opened("llama"), prompts, edits, tokens=TOKENS, **asked)


def components(depth: int = 1) -> list[Direction]:
    return [
        Direction(f"L{h}-C{k + 1}", h, np.eye(8)[k]) for h in range(1, depth + 1) for k in range(5)
    ]


def test_non_dominant_suppression_spares_the_first_and_what_follows_harm() -> None:
    labels = [0, 1] * 10
    items = items_of(labels)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 3, 8))
    x[:, 1, 0] += 9.0 * np.array(labels)  # the dominant one
    x[:, 1, 2] += 9.0 * np.array(labels)  # follows harm
    x[:, 1, 3] = 1.0  # follows nothing
    states = states_of(items, x, positions=["prompt_last"])
    edit = non_dominant(components(), states, [bool(label) for label in labels])
    assert [d.name for d in edit.directions] == ["L1-C2", "L1-C4", "L1-C5"]
    assert (edit.name, edit.mode, edit.layers) == ("non-dominant", "rank_k", "own")
    weak = non_dominant(components(2), states, [bool(v) for v in labels], most=1.0, alpha=0.5)
    assert len(weak.directions) == 8 and weak.alpha == 0.5
    with pytest.raises(ConfigError, match="Every component"):
        non_dominant(components()[:1], states, [bool(label) for label in labels])
    with pytest.raises(DataError, match="both classes"):
        non_dominant(components(), states, [True] * 20)
    with pytest.raises(ConfigError, match="names no component"):
        non_dominant([Direction("mean@L1", 1, np.ones(8))], states, [True, False] * 10)


def test_correlation_with_harm_is_pearsons() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal(50), rng.random(50) > 0.4
    assert harm_correlation(x, y) == pytest.approx(np.corrcoef(x, y.astype(float))[0, 1])
    assert harm_correlation(np.ones(50), y) is None
    assert harm_correlation(x, [True] * 50) is None
