"""Rows under different interventions, written together, equal each variant alone under `apply`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.conftest import opened
from tests.engine.test_interventions import hooks, vector
from tests.models.tiny import tiny_model
from theodolite.engine.generate import Completion, generate
from theodolite.engine.interventions import (
    DirectionIntervention,
    HeadIntervention,
    Intervention,
    MlpIntervention,
    ResidualIntervention,
    SubspaceIntervention,
    apply,
)
from theodolite.engine.next_token import next_token
from theodolite.engine.passes import Rows, run_pass
from theodolite.engine.variants import row_variants
from theodolite.engine.writing import Writer
from theodolite.errors import CapabilityError, ConfigError, NumericsError
from theodolite.models.chat import Encoded
from theodolite.runs.journal import Journal

Variants = list[list[Intervention]]
Logits = dict[tuple[int, int], torch.Tensor]
TIE = 1e-3
CLOSE = 2e-5


def head(layer: int, *heads: int, operator: str = "zero", **more: Any) -> HeadIntervention:
    return HeadIntervention(layer=layer, heads=heads, operator=operator, **more)


def spread(prompts: Sequence[Encoded], kinds: Variants) -> Variants:
    """Give the prompts the variants in turn."""
    return [kinds[i % len(kinds)] for i in range(len(prompts))]


class Trace:
    """The logits of every step of a generation, by prompt and step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[tuple[int, int], torch.Tensor] = {}
        module = import_module("theodolite.engine.writing")
        check = module.require_finite_logits

        def note(runner: Any, logits: torch.Tensor, items: Any, written: Any) -> None:
            check(runner, logits, items, written)
            for row, item in enumerate(items):
                # A row that is done goes on for a while: only its first logits of a length count.
                self.seen.setdefault((item, len(written[row])), logits[row].clone())

        monkeypatch.setattr(module, "require_finite_logits", note)

    def __call__(self, model: Any, prompts: Any, **options: Any) -> tuple[list[Completion], Logits]:
        self.seen = {}
        return generate(model, prompts, **options), self.seen


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Trace:
    return Trace(monkeypatch)


def equal_to_alone(
    traced: Trace,
    model: Any,
    prompts: Sequence[Encoded],
    variants: Variants,
    **options: Any,
) -> list[Completion]:
    """Check that logits and tokens are those of each variant alone, and that variants do act."""
    found, together = traced(model, prompts, variants=variants, **options)
    moved, asked = 0, 0
    for i, (answer, prompt, variant) in enumerate(zip(found, prompts, variants, strict=True)):
        with apply(model, *variant):
            (other,), alone = traced(model, [prompt], **options)
        _, intact = traced(model, [prompt], **options)
        tokens = list(zip(answer.token_ids, other.token_ids, strict=False))
        same = next((k for k, (a, b) in enumerate(tokens) if a != b), None)
        for step in range(len(tokens) if same is None else same + 1):
            if (i, step) in together:  # not where another row wrote for this one
                gap = (together[i, step] - alone[0, step]).abs().max()
                assert gap < CLOSE * alone[0, step].abs().max()
        if same is None:
            assert answer == other
        else:
            best = alone[0, same].log_softmax(-1).topk(2).values
            assert best[0] - best[1] < TIE
        asked += bool(variant)
        moved += bool(variant) and any(
            bool((alone[key] - intact[key]).abs().max() > 10 * CLOSE * alone[key].abs().max())
            for key in alone.keys() & intact.keys()
        )
    assert moved >= 0.7 * asked
    return found


def families_kinds(model: Any) -> Variants:
    width, last = model.anatomy.d_model, model.anatomy.n_layers - 1
    kinds: Variants = [
        [head(0, 1)],
        [head(1, 0, 2), head(2, 3, operator="scale", epsilon=-2.0)],
        [],
        [MlpIntervention(layer=last, operator="scale", epsilon=-1.0)],
        [ResidualIntervention(layer=last, operator="add", vector=3.0 * vector(width))],
        [head(1, 1, operator="head_mean"), head(0, 2)],
    ]
    if model.anatomy.row.interface:
        even = {"operator": "undifferentiated"}
        kinds += [[head(0, 0, 3, **even)], [head(1, 2, **even), head(1, 2)]]
        kinds += [[head(1, 1, 2, operator="head_mean", target="q")]]
    return kinds


def test_every_family_writes_what_each_variant_writes_alone(
    family: Any, prompts: list[Encoded], traced: Trace
) -> None:
    kinds = families_kinds(family)
    variants = spread(prompts, kinds)
    # The same prompt under all variants: equal tokens, and nothing may be shared.
    prompts, variants = [*prompts, *[prompts[3]] * len(kinds)], [*variants, *kinds]
    equal_to_alone(traced, family, prompts, variants, max_new_tokens=5)


def placed_kinds(model: Any, positions: Any) -> Variants:
    width = model.anatomy.d_model
    strong = {"vector": 3.0 * vector(width), "positions": positions}
    z = vector(2 * model.anatomy.head_dim, 2).view(2, -1)
    mean = {"operator": "head_mean", "positions": positions}
    along = {"layer": 1, "direction": vector(width, 3), "positions": positions}
    steps = (("ablate", 0.0), ("add", 8.0), ("subtract", 8.0), ("affine", 9.0))
    return [
        [head(1, 0, 2, operator="scale", epsilon=-3.0, positions=positions)],
        [head(1, 0, 2, operator="scale", epsilon=-3.0)],
        [head(1, 1, 3, operator="replace", vector=9.0 * z, positions=positions)],
        [head(0, 0, 1, operator="undifferentiated", epsilon=-2.0, positions=positions)],
        [head(1, 0, 1, 2, target="q", **mean)],
        [head(1, 1, 2, target="k", **mean)],
        [head(1, 3, operator="head_mean", target="k")],
        [head(0, 3, **mean), head(1, 3, **mean)],
        [ResidualIntervention(layer=1, operator="add", **strong)],
        [DirectionIntervention(layer=0, direction=vector(width), operator="clamp", alpha=5.0)],
        *[[DirectionIntervention(operator=o, alpha=a, **along)] for o, a in steps],
        [
            DirectionIntervention(operator="bound", low=2.0, high=4.0, **along),
            DirectionIntervention(operator="subtract", alpha=9.0, **along),
            SubspaceIntervention(layer=1, basis=vector(width, 4)[None], operator="ablate"),
        ],
        [
            SubspaceIntervention(
                layer=1,
                basis=torch.stack([vector(width, seed) for seed in range(9)]),
                operator="affine",
                mean=9.0 * vector(width, 5),
                positions=positions,
            ),
            DirectionIntervention(operator="add", alpha=5.0, **along),
        ],
        [MlpIntervention(layer=2, operator="zero", positions=positions)],
        [],
    ]


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", "prompt_last", (3, -2)])
@pytest.mark.parametrize("rows", [3, 64])
def test_positions_are_kept(
    prompts: list[Encoded], traced: Trace, positions: Any, rows: int
) -> None:
    model = opened("gpt2")
    kinds = placed_kinds(model, positions)
    asked = [prompt for prompt in prompts[:6] for _ in kinds]
    equal_to_alone(traced, model, asked, kinds * 6, max_new_tokens=5, batch_rows=rows)


def test_samples_are_those_of_each_variant_alone(
    llama: Any, prompts: list[Encoded], traced: Trace
) -> None:
    kinds: Variants = [[head(0, 1)], [], [head(1, 0, operator="undifferentiated")]]
    asked = [prompt for prompt in prompts[:5] for _ in kinds]
    free = generate(llama, asked, max_new_tokens=20, variants=kinds * 5)
    stop = next(c.text[4:6] for c in free if len(c.text) > 8)
    options: dict[str, Any] = {"max_new_tokens": 20, "temperature": 0.9, "top_k": 40}
    options |= {"stop": [stop], "seed": 3, "batch_rows": 7}
    found = equal_to_alone(traced, llama, asked, kinds * 5, **options)
    assert len({len(answer.token_ids) for answer in found}) > 3  # rows left at different times


def test_a_variant_that_does_nothing_draws_what_the_intact_model_draws(
    llama: Any, prompts: list[Encoded]
) -> None:
    same = head(1, 0, operator="scale", epsilon=1.0)
    options: dict[str, Any] = {"max_new_tokens": 9, "temperature": 1.0, "n": 3}
    found = generate(llama, prompts[:1] * 2, variants=[[], [same]], **options)
    assert [c.token_ids for c in found[:3]] == [c.token_ids for c in found[3:]]


def test_greedy_rows_leave_at_stop_strings(
    llama: Any, prompts: list[Encoded], traced: Trace
) -> None:
    kinds: Variants = [[head(0, layer % 4), head(layer % 3, 2)] for layer in range(6)]
    variants = spread(prompts, kinds)
    free = generate(llama, prompts, max_new_tokens=30, variants=variants)
    stops = sorted({c.text[3:5] for c in free if len(c.text) > 12})[:3]
    found = equal_to_alone(traced, llama, prompts, variants, max_new_tokens=30, stop=stops)
    assert {"stop", "length"} <= {answer.finish for answer in found}


def test_the_order_inside_a_variant_counts(prompts: list[Encoded], traced: Trace) -> None:
    model = opened("gpt2")
    new = head(1, 1, operator="replace", vector=5.0 * vector(model.anatomy.head_dim)[None])
    flip, mean = head(1, 1, operator="scale", epsilon=-4.0), head(1, 1, operator="head_mean")
    variants: Variants = [[new, flip], [flip, new], [mean, new, flip], [flip, mean], [new, mean]]
    asked = [prompts[0]] * len(variants)
    equal_to_alone(traced, model, asked, variants, max_new_tokens=4)
    _, logits = traced(model, asked, max_new_tokens=1, variants=variants)
    assert (logits[0, 0] - logits[1, 0]).abs().max() > 1e-2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operator", ["zero", "scale", "undifferentiated"])
def test_a_row_has_the_very_bits_it_has_when_all_rows_are_changed(
    dtype: torch.dtype, operator: str
) -> None:
    model = tiny_model("qwen3")
    model.module.to(dtype)
    heads = [
        head(1, i, operator=operator, epsilon=0.0 if operator == "zero" else 1e-5 + i / 3)
        for i in range(4)
    ]
    ids = [torch.randint(2, 300, (19,), generator=torch.Generator().manual_seed(1)).tolist()] * 4
    rows = row_variants(model, [[item] for item in heads], 4)
    with torch.inference_mode(), rows.of.acting():
        together = run_pass(model, Rows(ids, [None] * 4, [19] * 4, rows)).hidden
    assert together is not None
    for row, item in enumerate(heads):
        with torch.inference_mode(), apply(model, item):
            whole = run_pass(model, Rows(ids, [None] * 4, [19] * 4)).hidden
        assert whole is not None and torch.equal(together[row], whole[row])
    assert not torch.equal(together[0], together[1])


def test_active_interventions_act_first(llama: Any, prompts: list[Encoded], traced: Trace) -> None:
    push = ResidualIntervention(layer=1, operator="add", vector=2.0 * vector(32))
    kinds: Variants = [
        [],
        [DirectionIntervention(layer=1, direction=vector(32), operator="ablate")],
        [head(1, 1)],
    ]
    variants = spread(prompts, kinds)
    with apply(llama, push):
        equal_to_alone(traced, llama, prompts, variants, max_new_tokens=6)
        _, inside = traced(llama, prompts[:3], max_new_tokens=1, variants=variants[:3])
        assert llama.interventions == (push,)
    for i in range(3):
        with apply(llama, push, *variants[i]):
            _, expected = traced(llama, prompts[i : i + 1], max_new_tokens=1)
        assert torch.allclose(inside[i, 0], expected[0, 0], atol=1e-4)


def test_many_heads_cost_one_hook_per_block_and_none_where_nothing_is_asked(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    write = Writer.__call__

    def counted(self: Writer, unit: Any) -> dict[str, Any]:
        counts.append(hooks(llama))
        return write(self, unit)

    monkeypatch.setattr(Writer, "__call__", counted)
    before = hooks(llama)
    single: Variants = [[head(layer, h)] for layer in range(3) for h in range(4)]
    generate(llama, prompts[:1] * 12, max_new_tokens=2, variants=single)
    generate(llama, prompts[:2], max_new_tokens=2, variants=[[], []])
    generate(llama, prompts[:2], max_new_tokens=2)
    assert counts == [before + 3, before, before]
    assert hooks(llama) == before


def test_other_passes_are_left_alone(llama: Any, prompts: list[Encoded]) -> None:
    intact = next_token(llama, prompts)
    mine = row_variants(llama, [[head(0, 1)], [head(1, 0, operator="head_mean")]], 2)
    others = row_variants(llama, [[], []], 2)
    ids = [prompts[0].ids] * 2
    with torch.inference_mode(), mine.of.acting():
        assert torch.equal(next_token(llama, prompts), intact)
        changed = run_pass(llama, Rows(ids, [None] * 2, [len(ids[0])] * 2, mine)).hidden
        same = run_pass(llama, Rows(ids, [None] * 2, [len(ids[0])] * 2, others)).hidden
        plain = run_pass(llama, Rows(ids, [None] * 2, [len(ids[0])] * 2)).hidden
    assert same is not None and plain is not None and changed is not None
    assert torch.equal(same, plain)
    assert (changed - plain).abs().amax((1, 2)).min() > 1e-3


def test_hooks_leave_with_an_exception(
    llama: Any, prompts: list[Encoded], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hooks(llama)
    broken = head(1, 2, operator="scale", epsilon=float("inf"))
    with pytest.raises(NumericsError, match=r"layer 1.*prompt 'p1'"):
        generate(llama, prompts[:3], max_new_tokens=2, variants=[[], [broken], [head(0, 1)]])
    assert hooks(llama) == before
    monkeypatch.setattr(Writer, "__call__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        generate(llama, prompts[:1], max_new_tokens=2, variants=[[head(0, 1)]])
    assert hooks(llama) == before


def test_units_are_kept_by_what_acts_on_each_row(
    llama: Any, prompts: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = prompts[:4]
    one: Variants = [[head(0, 1)], [head(0, 1)], [], [head(1, 1)]]
    with Journal(tmp_path / "journal.jsonl") as journal:

        def write(variants: Variants | None) -> list[Completion]:
            return generate(llama, asked, max_new_tokens=5, variants=variants, journal=journal)

        first, plain = write(one), write(None)
        monkeypatch.setattr(Writer, "__call__", lambda *_: 1 / 0)
        assert write(one) == first
        assert write([[head(0, 1)], [head(0, 1)], [], [head(1, 1)]]) == first
        assert write([[]] * 4) == plain
        for other in (one[::-1], [*one[:3], [head(1, 2)]], [[head(0, 1)]] * 4):
            with pytest.raises(ZeroDivisionError):
                write(other)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Own(Intervention):
    KIND = "own"
    OPERATORS = ("own",)
    SITES = ("resid_post",)


def test_what_does_not_fit_is_refused(llama: Any, prompts: list[Encoded]) -> None:
    def write(model: Any, *variants: list[Intervention]) -> None:
        generate(model, prompts[:2], max_new_tokens=2, variants=variants)

    with pytest.raises(ConfigError, match="1 lists of interventions, and there are 2 prompts"):
        write(llama, [])
    with pytest.raises(ConfigError, match="layer is 99"):
        write(llama, [], [head(99, 0)])
    with pytest.raises(CapabilityError, match="_Own"):
        write(llama, [], [_Own(layer=0, operator="own")])
    with pytest.raises(CapabilityError, match="by itself"):
        write(opened("bloom"), [], [head(0, 0, operator="undifferentiated")])
