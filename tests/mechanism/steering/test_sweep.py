"""The sweep equals one hooked forward for each edit and prompt, and its figures have their floors.

The traps: a shared prefix that an edit changes, rows read under another edit's name, a drift that
is read on the prompts the effect is read on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.engine.conftest import opened
from tests.mechanism.steering.made_edits import direction, edit_of, every_mode, requests
from tests.oracles import steering as oracle
from theodolite.engine.edited_sweep import EditedSweep
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.distributions import divergence, set_log_odds
from theodolite.mechanism.states import encode_for_states
from theodolite.mechanism.steering.benign import BenignStates
from theodolite.mechanism.steering.curves import Curve, curve_gap
from theodolite.mechanism.steering.edits import MODES, Edit, along
from theodolite.mechanism.steering.settings import settings_of
from theodolite.mechanism.steering.sweep import steer_sweep
from theodolite.mechanism.steering.sweep_result import SweepResult
from theodolite.runs.journal import Journal
from theodolite.runs.run import Run

TOKENS = [7, 3, 11, 250]


@pytest.fixture
def model() -> Any:
    return opened("llama")


def every_edit() -> list[Edit]:
    return [
        one if positions == "all" else Edit(**{**vars(one), "label": f"last {i}"})
        for positions in ("all", "prompt_last")
        for i, one in enumerate(every_mode(positions=positions))
    ]


def test_values_equal_one_hooked_forward_for_each_edit_and_prompt(model: Any) -> None:
    prompts, edits = requests(2, 2), every_edit()
    benign = BenignStates.read(model, requests(0, 6), edits)
    found = steer_sweep(model, prompts, edits, tokens=TOKENS, benign=benign, batch_tokens=150)
    ids = [list(item.ids) for item in encode_for_states(model, prompts)]
    for column, prompt in enumerate(ids):
        intact = oracle.next_logprobs(model, prompt)
        assert np.allclose(found.intact_logprobs[column], intact[TOKENS], atol=1e-4)
        assert found.intact_log_odds[column] == pytest.approx(
            oracle.log_odds(intact, TOKENS), abs=1e-4
        )
        for row, edit in enumerate(edits):
            expected = oracle.next_logprobs(model, prompt, edit, benign)
            assert np.allclose(found.logprobs[row, column], expected[TOKENS], atol=1e-4)
            assert found.log_odds[row, column] == pytest.approx(
                oracle.log_odds(expected, TOKENS), abs=1e-4
            )
            assert found.kl[row, column] == pytest.approx(oracle.kl(intact, expected), abs=1e-5)
            assert found.top[row, column] == expected.argmax()
    assert found.kl.min() > 1e-6


def test_no_strength_is_no_effect_and_no_drift(model: Any) -> None:
    full = [edit_of(mode) for mode in MODES]
    edits = [*(edit.at(0.0) for edit in full), *full]
    benign = BenignStates.read(model, requests(0, 6), edits)
    found = steer_sweep(model, requests(), edits, tokens=TOKENS, benign=benign)
    none, some = slice(0, len(MODES)), slice(len(MODES), None)
    assert np.abs(found.changes[none]).max() < 1e-6 and found.kl[none].max() < 1e-9
    assert found.kl[some].max(1).min() > 1e-6


def test_effect_is_read_on_harmful_prompts_and_drift_on_benign_ones(model: Any) -> None:
    edit = Edit([direction()], "subtract", alpha=4.0)
    found = steer_sweep(model, requests(), [edit], tokens=TOKENS)
    effect, drift = found.measurements()
    assert effect.value == pytest.approx(found.changes[0, :4].mean())
    assert drift.value == pytest.approx(found.kl[0, 4:].mean())
    assert (effect.n, effect.n_clusters, drift.n) == (4, 2, 4)
    assert effect.low is not None and effect.low < effect.value < (effect.high or 0)
    assert drift.floor is not None and drift.floor.value == 0.0
    calm = steer_sweep(model, requests(0, 4), [edit], tokens=TOKENS)
    assert calm.effect(edit.name).status == "not_measured"
    harm = steer_sweep(model, requests(4, 0), [edit], tokens=TOKENS)
    assert harm.drift(edit.name).status == "not_measured"
    assert harm.over_random(edit.name).status == "not_measured"


def test_random_directions_are_the_floor(model: Any) -> None:
    edits = [Edit([direction(seed)], "subtract", alpha=4.0) for seed in range(2)]
    found = steer_sweep(model, requests(), edits, tokens=TOKENS, random_draws=3, seed=5)
    again = steer_sweep(model, requests(), edits, tokens=TOKENS, random_draws=3, seed=5)
    assert len(found.settings.each) == 5 and np.array_equal(found.log_odds, again.log_odds)
    for edit in edits:
        rows = found.settings.random(edit.name)
        effect, over = found.effect(edit.name), found.over_random(edit.name)
        assert effect.floor is not None
        assert effect.floor.value == pytest.approx(found.changes[rows, :4].mean())
        assert over.value == pytest.approx((effect.value or 0) - effect.floor.value)
        assert "of 3 random directions" in (over.reason or "")
    assert [m.name.rsplit("/", 1)[1] for m in found.measurements()][:3] == [
        *("change", "over_random", "first_token_kl"),
    ]


def test_edits_that_do_the_same_share_their_random_directions() -> None:
    model = opened("llama")
    one, other = Edit([direction(0)], "subtract"), Edit([direction(1, 1)], "subtract")
    wide, own = Edit([direction(0), direction(1)]), Edit([direction(0)], layers="own")
    edits = [one, one.at(3.0), other, wide, own]
    settings, variants = settings_of(model.anatomy, edits, None, 2, 0)
    assert len(settings.each) == len(variants) == 5 + 2 * 4
    assert settings.random(one.name) == settings.random(other.name)
    weak, strong = settings.random(one.name), settings.random(one.at(3.0).name)
    assert not set(weak) & set(strong)
    for first, second in zip(weak, strong, strict=True):
        assert torch.equal(variants[first][0].direction, variants[second][0].direction)  # type: ignore[attr-defined]
        assert settings.each[first].family == settings.each[second].family
    with pytest.raises(ConfigError, match="no edit of this name"):
        settings.row("other")


def test_finished_units_are_not_run_again(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("theodolite.mechanism.steering.sweep.SETTINGS", 2)
    edits = [Edit([direction()], "subtract", alpha=a) for a in (1.0, 2.0, 3.0)]
    with Journal(tmp_path / "journal.jsonl") as journal:
        first = steer_sweep(model, requests(), edits, tokens=TOKENS, journal=journal)
        monkeypatch.setattr(EditedSweep, "run", lambda *_: 1 / 0)
        second = steer_sweep(model, requests(), edits, tokens=TOKENS, journal=journal)
        for name in ("log_odds", "kl", "logprobs", "top", "intact_log_odds"):
            assert np.array_equal(getattr(first, name), getattr(second, name))
        with pytest.raises(ZeroDivisionError):
            steer_sweep(model, requests(), edits, tokens=TOKENS[:2], journal=journal)
        with pytest.raises(ZeroDivisionError):
            steer_sweep(model, requests(), edits[:1], tokens=TOKENS, journal=journal)


def test_a_result_survives_a_run_folder(model: Any, tmp_path: Path) -> None:
    edits = [Edit([direction()], "subtract", alpha=a) for a in (1.0, 2.0)]
    found = steer_sweep(model, requests(), edits, tokens=TOKENS, random_draws=1)
    with Run.create("explain", "tiny", out=tmp_path / "run") as run:
        found.save(run)
        read = SweepResult.load(run)
    assert read.measurements() == found.measurements()
    assert read.frame() == found.frame() and len(found.frame()) == 2
    assert read.figure() == found.figure()
    assert "egg" not in str(found.frame()) + str(found.figure())


def made_curve(name: str, slope: float, cost: float) -> Curve:
    rng = np.random.default_rng(0)
    benign = np.arange(40) >= 20
    alphas = (1.0, 2.0, 3.0)
    noise = rng.normal(1, 0.1, 40)
    return Curve(
        name,
        alphas,
        effects=np.stack([-slope * a * noise for a in alphas]),
        drifts=np.stack([cost * a * noise for a in alphas]),
        benign=benign,
        clusters=tuple(f"g{i}" for i in range(40)),
    )


def test_curves_are_compared_at_equal_drift_not_at_equal_strength() -> None:
    strong, cheap = made_curve("strong", 2.0, 0.2), made_curve("cheap", 1.0, 0.1)
    same = curve_gap(strong, cheap)
    assert same.value == pytest.approx(0.0, abs=1e-9)  # one line, walked at two speeds
    dear = curve_gap(strong, made_curve("dear", 1.0, 0.4))
    assert dear.value is not None and dear.high is not None and dear.high < 0
    # Effects -10 x and -2.5 x, shared up to x = 0.6 (of noise 1): a mean gap of -2.25.
    assert dear.value == pytest.approx(-2.25, rel=0.1)
    still = Curve(**{**vars(strong), "drifts": strong.drifts * 0})
    assert curve_gap(still, cheap).status == "not_measured"


def test_strengths_of_an_edit_make_one_curve(model: Any) -> None:
    edits = [Edit([direction(s)], "subtract", alpha=a) for a in (4.0, 1.0, 2.0) for s in (0, 1)]
    found = steer_sweep(model, requests(10, 10), edits, tokens=TOKENS)
    curves = found.curves()
    assert [curve.alphas for curve in curves] == [(1.0, 2.0, 4.0)] * 2
    drifts, effects = curves[0].points()
    assert drifts[0] == effects[0] == 0.0 and (np.diff(drifts) > 0).all()
    assert found.compare(curves[0].name, curves[1].name).low is not None
    assert [trace["name"] for trace in found.figure().spec["data"]] == [c.name for c in curves]


def test_divergence_is_that_of_the_definition_and_passes_on_what_is_no_number() -> None:
    p, q = torch.tensor([0.5, 0.25, 0.25, 0.0]), torch.tensor([0.25, 0.5, 0.125, 0.125])
    expected = 0.5 * np.log(2) - 0.25 * np.log(2) + 0.25 * np.log(2)
    assert divergence(p.log(), q.log()).item() == pytest.approx(expected)
    assert divergence(p.log(), p.log()).item() == 0.0
    assert divergence(p.log(), q.log() * float("nan")).isnan()


@pytest.mark.parametrize("share", [1e-9, 0.3, 0.9995, 1 - 1e-12])
def test_log_odds_keep_their_digits_near_certainty(share: float) -> None:
    p = torch.tensor([share * 0.25, share * 0.75, *[(1 - share) / 4] * 4], dtype=torch.float64)
    found = set_log_odds(p.log().repeat(2, 1), [0, 1])
    expected = np.log(share) - np.log(4 * p[2].item())
    assert found.tolist() == pytest.approx([expected] * 2, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tokens": []}, ConfigError, "there are no tokens"),
        ({"tokens": [1 << 20]}, ConfigError, "token 1048576 does not exist"),
        ({"edits": []}, DataError, "no edits"),
        ({"prompts": []}, DataError, "no prompts"),
        ({"edits": [Edit([direction()])] * 2}, ConfigError, "Two edits share a name"),
        ({"prompts": requests(1, 0) * 2}, DataError, "Two prompts share an id"),
        ({"random_draws": -1}, ConfigError, "random_draws is -1"),
        ({"edits": [Edit(along(np.eye(5)[0]))]}, ConfigError, "direction has shape"),
    ],
)
def test_what_cannot_be_swept_is_refused(
    model: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    asked = {"prompts": requests(1, 1), "edits": [Edit([direction()])], "tokens": TOKENS} | options
    prompts, edits = asked.pop("prompts"), asked.pop("edits")
    with pytest.raises(error, match=message):
        steer_sweep(model, prompts, edits, **asked)
