"""Grafts: the cached sweep equals whole runs, own states change nothing, controls stand apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.tiny import TINY, handle, tiny_model
from tests.oracles import engine_forward
from tests.oracles import graft as oracle
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.engine import LastTokenSweep, next_token
from theodolite.engine.generate import end_tokens
from theodolite.errors import CapabilityError, ConfigError, DataError, NumericsError
from theodolite.mechanism.graft.result import CONTROLS
from theodolite.mechanism.graft.sweep import GraftResult, generate_grafted, graft_sweep, grafted
from theodolite.mechanism.lens.token_classes import TokenClasses, default_token_classes
from theodolite.mechanism.states import encode_for_states, read_states
from theodolite.models import open_model
from theodolite.models.handle import ApiModel
from theodolite.models.prove import prove
from theodolite.runs.journal import Journal

torch.set_num_threads(1)

FAMILIES = ("llama", "gpt2", "bloom", "gemma2", "falcon-parallel", "granite", "mixtral")
CLASSES = TokenClasses((20, 21, 22), (30, 31, 32, 33), (), "test", {})
opened = cache(tiny_model)


def requests(label: str, texts: Sequence[str]) -> list[Prompt]:
    return [
        Prompt(f"{label}-{i}", text, label=label, goal_id=f"{label}-goal-{i}")
        for i, text in enumerate(texts)
    ]


RECIPIENTS = requests(
    "harmful",
    ["Bake bread", "How do I bake bread at home?", "Is there a small boat on a lake in the city?"],
)
DONORS = requests("benign", ["The weather", "Write a short story about a city and a small boat."])


@pytest.fixture
def llama() -> Any:
    return opened("llama")


def encoded(model: Any, prompts: Sequence[Prompt]) -> list[Any]:
    return encode_for_states(model, prompts)


def donor_states(model: Any) -> torch.Tensor:
    return torch.stack([oracle.states(model, item.ids) for item in encoded(model, DONORS)])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_sweep_equals_whole_runs_at_every_depth(name: str) -> None:
    model = opened(name)
    kinds = ("mean", "fixed", "matched")
    found = graft_sweep(model, RECIPIENTS, DONORS, classes=CLASSES, kinds=kinds)
    assert found.donors == (*kinds, *CONTROLS)
    states = donor_states(model)
    recipients = encoded(model, RECIPIENTS)
    own = [oracle.states(model, item.ids) for item in recipients]
    lengths = [len(item.ids) for item in encoded(model, DONORS)]
    partner = [RECIPIENTS.index(p) for p in _by_id(found.sources["same_class"])]
    assert all(partner[i] != i for i in range(3))
    assert len(set(found.sources["matched"])) == 2
    for row, item in enumerate(recipients):
        intact = engine_forward.logits(model, item.ids)[-1, : model.anatomy.vocab_size]
        nearest = min((0, 1), key=lambda d: (abs(lengths[d] - len(item.ids)), d))
        assert found.sources["matched"][row] == DONORS[nearest].id
        for index in found.hidden_indices:
            vectors = {
                "mean": states[:, index].mean(0),
                "fixed": states[0, index],
                "matched": states[nearest, index],
                "same_class": own[partner[row]][index],
            }
            for place, vector in enumerate(vectors.values()):
                logits = oracle.naive_logits(model, item.ids, index, vector)
                expected = oracle.effect(
                    logits[: len(intact)], intact, CLASSES.positive, CLASSES.negative
                )
                assert _effect(found, index, place, row) == pytest.approx(expected, abs=5e-4)


def _by_id(ids: Sequence[str]) -> list[Prompt]:
    return [next(p for p in RECIPIENTS if p.id == i) for i in ids]


def _effect(found: GraftResult, index: int, place: int, row: int) -> tuple[float, ...]:
    at = (index, place, row)
    return found.log_odds[at], found.refusing[at], found.kl[at], found.top[at]


def test_the_oracle_knows_closed_forms() -> None:
    flat, peaked = torch.zeros(8), torch.tensor([0.0] * 7 + [float(np.log(9.0))])
    expected = (float(np.log(2.0)), 1 / 8, 0.0)
    assert oracle.effect(flat, flat, (0, 1), (2,))[:3] == pytest.approx(expected)
    odds, refusing, kl, top = oracle.effect(peaked, flat, (0,), (7,))
    assert (odds, refusing, top) == pytest.approx((-np.log(9.0), 9 / 16, 7))
    assert kl == pytest.approx(np.log(2.0) - np.log(9.0) / 8)


def test_an_own_state_changes_nothing() -> None:
    module = TINY["llama"]().double()
    exact = handle(module, prove(module), name="tiny-double")
    found = graft_sweep(exact, RECIPIENTS, DONORS, classes=CLASSES)
    assert found.own_error.max() < 1e-12
    intact = next_token(exact, RECIPIENTS)
    sweep = LastTokenSweep(exact, RECIPIENTS)
    for index in range(4):
        kept = sweep.run(index, sweep.states[None, :, index]).logits
        assert kept is not None
        assert float((kept[0] - sweep.logits).abs().max()) < 1e-6
        for row, recipient in enumerate(RECIPIENTS):
            with grafted(exact, index, sweep.states[row, index]):
                again = next_token(exact, [recipient])[0]
            assert torch.allclose(again, intact[row], atol=1e-6)


def test_a_graft_after_the_last_block_gives_the_donors_answer(llama: Any) -> None:
    states = read_states(llama, DONORS, positions=("prompt_last",))
    last = llama.anatomy.n_layers
    vector = torch.from_numpy(states.at(last, "prompt_last")[1])
    with grafted(llama, last, vector):
        found = next_token(llama, RECIPIENTS)
    expected = next_token(llama, DONORS[1:])
    assert torch.allclose(found, expected.expand_as(found), atol=1e-5)
    swept = graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, kinds=("fixed",))
    assert set(swept.top[-1, 0]) == {int(next_token(llama, DONORS[:1]).argmax())}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_paper_preset_skips_the_block(name: str) -> None:
    model = opened(name)
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0))
    for index in range(1, model.anatomy.n_layers + 1):
        with grafted(model, index, vector, preset="paper"):
            found = next_token(model, RECIPIENTS)
        for row, item in enumerate(encoded(model, RECIPIENTS)):
            expected = oracle.skipped_logits(model, item.ids, index, vector)[: found.shape[1]]
            assert torch.allclose(found[row], expected.log_softmax(-1), atol=1e-4)
    assert not model.interventions


def test_alpha_goes_from_identity_to_replacement(llama: Any) -> None:
    def sweep(**options: Any) -> GraftResult:
        return graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, **options)

    nothing, half, whole = (sweep(mode="interpolate", alpha=alpha) for alpha in (0.0, 0.5, 1.0))
    replaced = sweep()
    place = nothing.donors.index("mean")
    assert np.abs(nothing.change[:, place]).max() < 1e-5
    assert nothing.kl[:, place].max() < 1e-6
    assert np.allclose(whole.log_odds[:, place], replaced.log_odds[:, place], atol=1e-5)
    assert not np.allclose(half.log_odds[1:, place], replaced.log_odds[1:, place], atol=1e-3)


def test_a_projection_moves_one_component(llama: Any) -> None:
    direction = 7.0 * torch.randn(32, generator=torch.Generator().manual_seed(1))
    unit = direction / direction.norm()
    found = graft_sweep(
        llama, RECIPIENTS, DONORS, classes=CLASSES, mode="project", direction=direction
    )
    assert "random" not in found.donors and "random_step" in found.donors
    table = torch.stack([direction] * 4)
    same = graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, mode="project", direction=table)
    assert np.array_equal(found.log_odds, same.log_odds)
    mean = donor_states(llama).mean(0)
    for row, item in enumerate(encoded(llama, RECIPIENTS)):
        for index in range(4):
            edit = _projected(unit, mean[index])
            expected = oracle.windowed_logits(llama, item.ids, {index: edit}).double()
            odds = expected[list(CLASSES.positive)].logsumexp(-1)
            odds = odds - expected[list(CLASSES.negative)].logsumexp(-1)
            assert found.log_odds[index, 0, row] == pytest.approx(float(odds), abs=1e-4)
            context = grafted(llama, index, mean[index], mode="project", direction=direction)
            with context:
                logprobs = next_token(llama, [RECIPIENTS[row]])[0]
            assert torch.allclose(logprobs, expected.float().log_softmax(-1), atol=1e-4)


def _projected(unit: torch.Tensor, donor: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x + ((donor - x) @ unit) * unit


@pytest.mark.parametrize("window", [2, 4])
def test_a_window_grafts_consecutive_depths(llama: Any, window: int) -> None:
    half = {"mode": "interpolate", "alpha": 0.5}
    found = graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, window=window, **half)
    mean = donor_states(llama).mean(0)
    assert found.own_error.max() < 1e-4
    for index in range(4):
        reach = range(index, min(index + window, 4))
        edits = {h: lambda x, h=h: 0.5 * (x + mean[h]) for h in reach}
        for row, item in enumerate(encoded(llama, RECIPIENTS)):
            logits = oracle.windowed_logits(llama, item.ids, edits)
            intact = engine_forward.logits(llama, item.ids)[-1]
            expected = oracle.effect(logits, intact, CLASSES.positive, CLASSES.negative)
            assert _effect(found, index, 0, row) == pytest.approx(expected, abs=5e-4)


def test_random_controls_have_the_length_of_the_donor_and_of_its_step(llama: Any) -> None:
    seen: list[torch.Tensor] = []
    original = LastTokenSweep.run

    def spy(self: Any, index: Any, variants: torch.Tensor, **options: Any) -> Any:
        seen.append(variants)
        return original(self, index, variants, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastTokenSweep, "run", spy)
        found = graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, hidden_indices=[2])
    assert found.donors == ("mean", "same_class", "random", "random_step")
    mean, _, random, step, own = torch.cat(seen)
    assert torch.allclose(random.norm(dim=-1), mean.norm(dim=-1))
    assert torch.allclose((step - own).norm(dim=-1), (mean - own).norm(dim=-1))
    unit = torch.nn.functional.normalize(torch.stack([random[0], random[1], mean[0]]), dim=-1)
    assert float((unit @ unit.T).triu(1).abs().max()) < 0.7  # drawn anew for every recipient


def test_results_do_not_depend_on_order_or_company(llama: Any) -> None:
    def changes(prompts: list[Prompt]) -> dict[str, np.ndarray[Any, Any]]:
        found = graft_sweep(llama, prompts, DONORS, classes=CLASSES, kinds=("matched",))
        places = [found.donors.index(d) for d in ("matched", "random", "random_step")]
        return {p: found.change[:, places, i] for i, p in enumerate(found.prompt_ids)}

    whole, turned, alone = (changes(p) for p in (RECIPIENTS, RECIPIENTS[::-1], RECIPIENTS[1:2]))
    for prompt in RECIPIENTS:
        assert np.allclose(whole[prompt.id], turned[prompt.id], atol=1e-4)
    assert np.allclose(whole["harmful-1"], alone["harmful-1"], atol=1e-4)


def test_a_broken_sweep_is_noticed(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = LastTokenSweep.run

    def late(self: Any, index: Any, variants: torch.Tensor, **options: Any) -> Any:
        return original(self, [min(i + 1, 3) for i in index], variants, **options)

    monkeypatch.setattr(LastTokenSweep, "run", late)
    with pytest.raises(NumericsError, match="own state of prompt 'harmful-0' at hidden_index 0"):
        graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES)


def test_a_stopped_sweep_resumes(
    llama: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("theodolite.mechanism.graft.sweep.row_budget", lambda *_: 1)
    expected = graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES)
    original, calls = LastTokenSweep.run, []

    def stops(self: Any, index: Any, variants: torch.Tensor, **options: Any) -> Any:
        calls.append(index)
        if len(calls) == 3:
            raise RuntimeError("stopped")
        return original(self, index, variants, **options)

    monkeypatch.setattr(LastTokenSweep, "run", stops)
    with Journal(tmp_path / "journal.jsonl") as journal:
        with pytest.raises(RuntimeError, match="stopped"):
            graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, journal=journal)
        found = graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, journal=journal)
        assert len(calls) == 3 + 2  # depths 0 and 1 were kept
        other = replace(CLASSES, positive=(5,))
        graft_sweep(llama, RECIPIENTS, DONORS, classes=other, journal=journal)
        assert len(calls) == 5 + 4
    assert np.array_equal(found.log_odds, expected.log_odds)
    assert np.array_equal(found.top, expected.top)


@pytest.mark.parametrize("cache_kind", ["keep", "clean"])
@pytest.mark.parametrize("when", ["first_token", "all"])
def test_generation_equals_the_slow_loop(llama: Any, cache_kind: str, when: str) -> None:
    vector = 4.0 * torch.randn(32, generator=torch.Generator().manual_seed(4))
    options = {"when": when, "cache": cache_kind, "max_new_tokens": 6}
    if (cache_kind, when) == ("clean", "all"):
        with pytest.raises(ConfigError, match="clean cache"):
            generate_grafted(llama, RECIPIENTS, 2, vector, **options)
        return
    found = generate_grafted(llama, RECIPIENTS, 2, vector, **options)
    for answer, item in zip(found, encoded(llama, RECIPIENTS), strict=True):
        length = len(item.ids)
        written: list[int] = []
        while len(written) < 6 and not (written and written[-1] in end_tokens(llama)):
            ids = [*item.ids, *written]
            if written and cache_kind == "clean":
                logits = engine_forward.logits(llama, ids)[-1]
            else:
                places = _places(length, when)
                logits = oracle.windowed_logits(llama, ids, {2: lambda _: vector}, places)
            written.append(int(logits.argmax()))
        assert answer.token_ids == tuple(written)
        assert answer.prompt_id == item.prompt_id
        assert answer.finish == ("stop" if written[-1] in end_tokens(llama) else "length")
    assert not llama.interventions


def _places(length: int, when: str) -> Callable[[int], bool]:
    return lambda at: at == length - 1 if when == "first_token" else at >= length - 1


def test_a_clean_answer_of_one_token_is_the_first_of_a_kept_one(llama: Any) -> None:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(5))
    one, more = (
        generate_grafted(llama, RECIPIENTS, 3, vector, cache=kind, max_new_tokens=count)
        for kind, count in (("clean", 1), ("keep", 3))
    )
    assert [a.token_ids[0] for a in one] == [a.token_ids[0] for a in more]


@pytest.mark.parametrize("when", ["first_token", "all"])
def test_the_paper_preset_generates(llama: Any, when: str) -> None:
    vector = 3.0 * torch.randn(32, generator=torch.Generator().manual_seed(6))
    options = {"preset": "paper", "when": when, "max_new_tokens": 5}
    found = generate_grafted(llama, RECIPIENTS, 2, vector, **options)
    for answer, item in zip(found, encoded(llama, RECIPIENTS), strict=True):
        written: list[int] = []
        while len(written) < len(answer.token_ids):
            logits = oracle.skipped_logits(
                llama,
                [*item.ids, *written],
                2,
                vector,
                prompt=len(item.ids),
                after=when == "all",
            )
            written.append(int(logits.argmax()))
        assert answer.token_ids == tuple(written)


def test_what_does_not_fit_is_refused(llama: Any) -> None:
    vector = torch.ones(32)

    def sweep(recipients: Any = RECIPIENTS, donors: Any = DONORS, **options: Any) -> GraftResult:
        return graft_sweep(llama, recipients, donors, **{"classes": CLASSES, **options})

    wide = read_states(llama, DONORS, positions=("prompt_last",))
    narrow = replace(wide, values=wide.values[..., :16])
    shallow = read_states(llama, DONORS, positions=("prompt_last",), hidden_indices=[1])
    for call, error, words in [
        (lambda: sweep(donors=narrow), DataError, "16 wide.* 32 wide"),
        (lambda: sweep(donors=shallow), ConfigError, "hidden_index 0 .*not read"),
        (lambda: sweep(donors=wide, kinds=("matched",)), ConfigError, "no known length"),
        (lambda: sweep(hidden_indices=[4]), ConfigError, "no hidden_index 4"),
        (lambda: sweep(hidden_indices=[]), ConfigError, "hidden_indices is empty"),
        (lambda: sweep(recipients=[]), DataError, "no recipients"),
        (lambda: sweep(donors=[]), DataError, "no donors"),
        (lambda: sweep(kinds=("median",)), ConfigError, "no kind of donor 'median'"),
        (lambda: sweep(kinds=()), ConfigError, "kinds is empty"),
        (lambda: sweep(mode="swap"), ConfigError, "no mode 'swap'"),
        (lambda: sweep(alpha=0.5), ConfigError, "takes none"),
        (lambda: sweep(mode="project"), ConfigError, "has no direction"),
        (lambda: sweep(direction=vector), ConfigError, "takes no direction"),
        (lambda: sweep(mode="project", direction=vector[:9]), ConfigError, "32 wide"),
        (lambda: sweep(mode="project", direction=0 * vector), ConfigError, "zero vector"),
        (lambda: sweep(window=0), ConfigError, "window is 0"),
        (lambda: _enter(llama, 4, vector), ConfigError, "no hidden_index 4"),
        (lambda: _enter(llama, 1, vector[:9]), ConfigError, "vector has shape"),
        (lambda: _enter(llama, 0, vector, preset="paper"), ConfigError, "at least 1"),
        (lambda: _enter(llama, 1, vector, preset="papers"), ConfigError, "no preset"),
        (lambda: _enter(llama, 1, vector, when="later"), ConfigError, "no when 'later'"),
        (
            lambda: generate_grafted(llama, RECIPIENTS, 1, vector, cache="wash"),
            ConfigError,
            "no cache 'wash'",
        ),
    ]:
        with pytest.raises(error, match=words):
            call()
    api: Any = ApiModel("api:x/y", "x/y", "key")
    with pytest.raises(CapabilityError, match="hidden states"):
        graft_sweep(api, RECIPIENTS, DONORS, classes=CLASSES)
    with pytest.raises(CapabilityError, match="activations"):
        _enter(api, 1, vector)
    assert not llama.interventions


def _enter(model: Any, hidden_index: int, vector: torch.Tensor, **options: Any) -> None:
    with grafted(model, hidden_index, vector, **options):
        pass


def test_a_recipient_without_partner_has_no_such_control(llama: Any) -> None:
    mixed = [*RECIPIENTS[:2], replace(RECIPIENTS[2], label="jailbreak")]
    found = graft_sweep(llama, mixed, DONORS, classes=CLASSES)
    effect = found.effect("same_class", 2)
    assert (effect.n, effect.unscored.count) == (2, 1)
    assert found.rows()[-1]["recipient"] == "harmful-2"
    alone = graft_sweep(llama, RECIPIENTS[:1], DONORS, classes=CLASSES, hidden_indices=[3])
    assert "same_class" not in alone.donors
    assert alone.effect("mean", 3).low is None
    bare = graft_sweep(llama, RECIPIENTS, DONORS, classes=CLASSES, controls=False)
    assert bare.donors == ("mean",)
    assert bare.decisive("mean") == ()


@pytest.fixture(scope="module")
def smollm2() -> Any:
    return open_model("smollm2")


def test_smollm2_sweep_equals_whole_runs_and_moves_the_opening(smollm2: Any) -> None:
    prompts = [p for p in bundled("refusal") if p.split == "test"]
    harmful = [p for p in prompts if p.label == "harmful"][:3]
    benign = [p for p in prompts if p.label == "benign"][:3]
    classes = default_token_classes(smollm2)
    depths = [0, 1, 12, 22, 30]
    found = graft_sweep(smollm2, harmful, benign, classes=classes, hidden_indices=depths)
    assert found.own_error.max() < 1e-5
    assert np.abs(found.change[0, 0]).max() < 1e-4  # one template token: nothing to graft yet
    states = read_states(smollm2, benign, positions=("prompt_last",), hidden_indices=depths)
    item = encode_for_states(smollm2, harmful[1:2])[0]
    intact = engine_forward.logits(smollm2, item.ids)[-1]
    for depth, index in enumerate(depths[1:], start=1):
        vector = torch.from_numpy(states.at(index, "prompt_last").mean(0)).float()
        logits = oracle.naive_logits(smollm2, item.ids, index, vector)
        expected = oracle.effect(logits, intact, classes.positive, classes.negative)
        assert _effect(found, depth, 0, 1) == pytest.approx(expected, abs=2e-3)
