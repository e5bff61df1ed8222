"""Listwise preferences are DPO's pairs, all at once: same loss, same gradient, fewer runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.tiny import tiny_model
from tests.oracles.preference import (
    all_pairs_loss,
    count_orders,
    logprob,
    margins_by_gap,
    order_loss,
    pair_loss,
    plackett_luce,
)
from tests.oracles.training import row_logprobs
from tests.training.conftest import Training
from tests.training.made_groups import made_groups
from theodolite.data.preference_groups import write_groups
from theodolite.errors import Interrupted
from theodolite.models import open_model
from theodolite.models.handle import LanguageModel
from theodolite.runs.journal import Journal
from theodolite.runs.progress import SilentProgress
from theodolite.runs.run import Run
from theodolite.training import session
from theodolite.training.examples import Example, encode_rows
from theodolite.training.listwise import ListwiseTrainer, ranking_loss
from theodolite.training.preference_rows import as_order, preference_rows
from theodolite.training.recipe import Data, Lora, Recipe
from theodolite.training.reference import reference_logprobs
from theodolite.training.schedule import plan_steps

BETA = 0.1
WEIGHTS = "adapter/adapter_model.safetensors"
Recipes = Callable[..., Recipe]
scores_of = st.lists(st.floats(-8, 8), min_size=2, max_size=7)


@given(scores=scores_of)
@settings(max_examples=100, deadline=None)
def test_losses_are_those_of_their_formulas(scores: list[float]) -> None:
    tensor = torch.tensor(scores, dtype=torch.float64)
    assert float(ranking_loss(tensor)) == pytest.approx(order_loss(scores), abs=1e-10)
    found = float(ranking_loss(tensor, "plackett-luce"))
    assert found == pytest.approx(plackett_luce(scores), abs=1e-9)
    for ranking in ("pairs", "plackett-luce"):  # only differences of scores count
        moved = float(ranking_loss(tensor + 3.0, ranking))
        assert moved == pytest.approx(float(ranking_loss(tensor, ranking)), abs=1e-9)


@given(first=st.floats(-8, 8), second=st.floats(-8, 8))
@settings(max_examples=50, deadline=None)
def test_an_order_of_two_is_dpo(first: float, second: float) -> None:
    scores = torch.tensor([first, second], dtype=torch.float64)
    dpo = math.log1p(math.exp(second - first))
    for ranking in ("pairs", "plackett-luce"):
        assert float(ranking_loss(scores, ranking)) == pytest.approx(dpo, abs=1e-10)


def test_swapping_two_answers_against_their_scores_costs_more() -> None:
    scores = torch.tensor([2.0, 1.0, -1.0], dtype=torch.float64)
    wrong = scores[[1, 0, 2]]
    for ranking in ("pairs", "plackett-luce"):
        assert ranking_loss(wrong, ranking) > ranking_loss(scores, ranking)


def examples_of(model: LanguageModel, form: str = "listwise", count: int = 2) -> list[Example]:
    rows = preference_rows(made_groups(count, held_out=0), form, fresh=0.5)  # type: ignore[arg-type]
    return encode_rows(model, rows, "listwise" if form == "listwise" else "dpo")


def trainer_of(
    model: LanguageModel, examples: list[Example], folder: Path, **more: Any
) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return a trainer of all weights as a session makes it, and its first pass."""
    values = {"method": "listwise", "full": True, "batch_size": len(examples), "beta": BETA}
    recipe = Recipe(**{**values, **more})
    plan = plan_steps(examples, recipe)
    collate = session._collator(model, examples, session._layout(model, examples, plan))
    trainer = session._trainer(model, plan, 0, collate, folder, None)
    batch = collate([trainer.train_dataset[0]])
    if recipe.method == "listwise":
        trainer.reference = reference_logprobs(
            trainer,
            examples,
            [range(len(examples))],
            collate=collate,
            journal=Journal(folder / "journal.jsonl"),
            progress=SilentProgress(),
        )
    trainer.model.eval()  # without dropout
    return trainer, batch


def moved(module: Any) -> None:
    """Change the policy a little, so that it is no longer its reference."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.02 * noise)


@contextmanager
def counted(module: Any) -> Iterator[list[int]]:
    """Count the sequences a model reads to their end; an opening run for its cache is none."""
    found: list[int] = []

    def hook(_: Any, args: Any, kwargs: Any, output: Any) -> None:
        if kwargs.get("use_cache") is not True or kwargs.get("past_key_values") is not None:
            found.append(output.last_hidden_state.shape[0])

    handle = module.base_model.register_forward_hook(hook, with_kwargs=True)
    yield found
    handle.remove()


@pytest.fixture
def double() -> LanguageModel:
    """Return a model in double precision; of a family whose norms do not fall back to single."""
    model = tiny_model("gpt2")
    model.module.double()
    return model


@pytest.mark.parametrize(
    ("layout", "shares"), [("ranked", False), ("ranked", True), ("tree", None)]
)
def test_loss_and_gradient_are_the_sum_of_fifteen_pairs_in_six_runs_or_one(
    layout: str,
    shares: bool | None,
    double: LanguageModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if layout == "ranked":
        monkeypatch.setattr(session, "grows_exactly", lambda module, examples: False)
    group = examples_of(double)[:1]
    assert len(group[0].ranked) == 6
    # Copied before TRL changes how this very module is run.
    reference, slow = copy.deepcopy(double.module), copy.deepcopy(double.module)
    trainer, batch = trainer_of(double, group, tmp_path)
    trainer.shares = shares
    policy = trainer.model
    for module in (policy, slow.requires_grad_(True)):
        moved(module)
    with counted(policy) as ours:
        loss = trainer.compute_loss(policy, batch)
        loss.backward()
    with counted(slow) as pairwise:
        wanted = all_pairs_loss(slow, reference, group[0].prompt, group[0].ranked, BETA)
        wanted.backward()
    assert (sum(ours), sum(pairwise)) == (1 if layout == "tree" else 6, 30)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-10)
    assert abs(loss.item() - 15 * math.log(2)) > 1e-2
    for mine, theirs in zip(policy.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-10)


def test_rows_of_a_step_weigh_alike_however_they_are_passed(
    double: LanguageModel, tmp_path: Path
) -> None:
    groups = examples_of(double)
    reference = copy.deepcopy(double.module)
    trainer, batch = trainer_of(double, groups, tmp_path)
    moved(trainer.model)
    wanted = [all_pairs_loss(trainer.model, reference, e.prompt, e.ranked, BETA) for e in groups]
    assert sorted(len(e.ranked) for e in groups) == [2, 2, 6, 6]
    together = trainer.compute_loss(trainer.model, batch).item()
    assert together == pytest.approx(torch.stack(wanted).mean().item(), abs=1e-10)
    singly = 0.0
    for place in range(len(groups)):
        one = trainer.data_collator([{"rows": [place], "of": len(groups)}])
        singly += trainer.compute_loss(trainer.model, one).item()
    assert singly == pytest.approx(together, abs=1e-10)


def test_further_terms_are_those_of_their_formulas(double: LanguageModel, tmp_path: Path) -> None:
    (example, *_), reference = examples_of(double), copy.deepcopy(double.module)
    values: dict[str, Any] = {"ranking": "plackett-luce", "length_normalised": True}
    trainer, batch = trainer_of(double, [example], tmp_path, sft_weight=0.3, **values)
    moved(trainer.model)
    found = trainer.compute_loss(trainer.model, batch).item()
    now, start = (
        [float(logprob(m, example.prompt, ids).detach()) for ids in example.ranked]
        for m in (trainer.model, reference)
    )
    lengths = [len(ids) for ids in example.ranked]
    scores = [BETA * (a - b) / n for a, b, n in zip(now, start, lengths, strict=True)]
    assert found == pytest.approx(plackett_luce(scores) - 0.3 * now[0] / lengths[0], abs=1e-9)


@pytest.mark.parametrize("ranking", ["pairs", "plackett-luce"])
def test_where_policy_is_reference_margins_are_nothing(
    ranking: str, double: LanguageModel, tmp_path: Path
) -> None:
    group = examples_of(double)[:1]
    trainer, batch = trainer_of(double, group, tmp_path, ranking=ranking)
    found, _ = trainer.answer_logprobs(trainer.model, batch)
    assert torch.equal(found.detach(), trainer.reference[0])
    start = 15 * math.log(2) if ranking == "pairs" else math.log(math.factorial(6))
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(start, abs=1e-12)


def test_dpo_of_the_pairs_starts_at_log_two_and_adds_the_loss_of_the_chosen(
    tmp_path: Path,
) -> None:
    model = tiny_model()
    pairs = examples_of(model, "pairs")[:15]
    trainer, batch = trainer_of(model, pairs, tmp_path, method="dpo")
    loss = trainer.compute_loss(trainer.model, batch).item()
    assert loss == pytest.approx(math.log(2), abs=1e-6)
    other, batch = trainer_of(model, pairs, tmp_path, method="dpo", sft_weight=0.5)
    found = other.compute_loss(other.model, batch).item()
    tokens = torch.cat([_answer(model, e) for e in pairs])
    assert found == pytest.approx(math.log(2) - 0.5 * float(tokens.mean()), rel=1e-5)


def _answer(model: LanguageModel, example: Example) -> torch.Tensor:
    with torch.no_grad():
        return row_logprobs(model.module, example.prompt, example.completion)


def test_trl_has_the_losses_of_the_oracle(tmp_path: Path) -> None:
    """The oracle is TRL's loss: its mean over pairs, with a reference of its own."""
    model = tiny_model()
    reference = copy.deepcopy(model.module)
    pairs = examples_of(model, "pairs")[:15]
    trainer, batch = trainer_of(model, pairs, tmp_path, method="dpo")
    moved(trainer.model)
    found = trainer.compute_loss(trainer.model, batch).item()
    losses = [
        pair_loss(trainer.model, reference, e.prompt, e.completion, e.rejected, BETA) for e in pairs
    ]
    assert found == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)


@pytest.mark.parametrize("method", ["dpo", "listwise"])
def test_nothing_is_learnt_at_the_begun_words(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model()
    rows = preference_rows(made_groups(2, held_out=0), "conditional", fresh=0.0)
    if method == "listwise":
        monkeypatch.setattr(session, "grows_exactly", lambda module, examples: False)
        rows = [as_order(row) for row in rows]
    examples = encode_rows(model, rows, method)
    trainer, batch = trainer_of(model, examples, tmp_path, method=method)
    trainer.shares = False
    kept: list[torch.Tensor] = []

    def keep(_: Any, args: Any, output: Any) -> None:
        if output.last_hidden_state.requires_grad:
            output.last_hidden_state.retain_grad()
            kept.append(output.last_hidden_state)

    trainer.model.base_model.register_forward_hook(keep)
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    (states,) = kept
    # The layer after these states is the output layer: no gradient here is none on the logits.
    head = trainer.model.get_output_embeddings().weight
    assert torch.linalg.matrix_rank(head.double()) == head.shape[1]
    prompts = [examples[place].prompt for place in trainer.train_dataset[0]["rows"]]
    order = prompts * 2 if method == "dpo" else [each for each in prompts for _ in range(2)]
    for gradient, prompt in zip(states.grad, order, strict=True):
        begins = len(prompt) - 1
        assert gradient[:begins].count_nonzero() == 0
        assert gradient[begins].abs().max() > 0


def test_a_tree_learns_nothing_at_the_begun_words(tmp_path: Path) -> None:
    model = tiny_model()
    rows = preference_rows(made_groups(2, held_out=0), "conditional", fresh=0.0)
    examples = encode_rows(model, [as_order(rows[0])], "listwise")
    trainer, batch = trainer_of(model, examples, tmp_path)
    kept: list[torch.Tensor] = []

    def keep(_: Any, args: Any, output: Any) -> None:
        if output.last_hidden_state.requires_grad:
            output.last_hidden_state.retain_grad()
            kept.append(output.last_hidden_state)

    trainer.model.base_model.register_forward_hook(keep)
    trainer.compute_loss(trainer.model, dict(batch)).backward()
    gradient = kept[0].grad[0]
    begins = len(examples[0].prompt) - 1
    assert gradient[:begins].count_nonzero() == 0 and gradient[begins:].abs().max() > 0


@pytest.fixture
def orders(recipe: Recipes, tmp_path: Path) -> Recipes:
    """Return a function that makes a listwise recipe on made groups."""
    path = write_groups(tmp_path / "groups.jsonl", made_groups())

    def make(**more: Any) -> Recipe:
        values = {"data": Data(rows=(str(path),)), "batch_size": 2, "epochs": 2, **more}
        return recipe("listwise", **values)

    return make


def test_a_training_puts_held_out_answers_in_order(orders: Recipes, training: Training) -> None:
    asked = orders(lora=Lora(r=4), epochs=6, learning_rate=2e-2, beta=0.5)
    run = training(asked)
    log = run.load_table("training/training_log")
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    figures = {m.name: m for m in run.load_measurements()}
    answers = run.load_table("training/held_out_answers")
    gained: dict[str, list[float]] = {}
    for row in answers:
        gained.setdefault(row["id"], []).append(row["logprob_after"] - row["logprob_before"])
    right, pairs, whole = count_orders(list(gained.values()))
    assert pairs == 2 * 15 + 2 and len(answers) == 2 * 6 + 2 * 2
    assert figures["order/val"].value == right / pairs and figures["order/val"].n == pairs
    assert figures["order/val"].n_clusters == 4 and figures["order/val"].floor.value == 0.5
    assert figures["ordered/val"].value == whole / 4
    assert figures["ordered/val"].floor.value == pytest.approx((1 / 720 + 1 / 2) / 2)
    margins = margins_by_gap(list(gained.values()))
    for gap, values in margins.items():
        found = figures[f"margin/val/gap/{gap}"]
        assert found.value == pytest.approx(sum(values) / len(values)) and found.unit == "nats"
    assert figures["order/val"].value > 0.8 and figures["margin/val/gap/5"].value > 0
    assert "text" not in answers[0]


def test_stopped_and_resumed_ends_with_the_bytes_of_one_go(
    orders: Recipes, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = orders()
    whole = training(asked, "whole")
    original = session._Watch.on_log

    def stop(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        original(self, args, state, control, **more)
        if self.done + state.global_step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session._Watch, "on_log", stop)
        with pytest.raises(Interrupted, match=r"checkpoint of step 4 is kept.*--resume"):
            training(asked, "stopped")
    folder = whole.path.parent / "stopped"
    asked_again: list[int] = []
    computed = ListwiseTrainer.answer_logprobs

    def watch(self: Any, model: Any, inputs: Any) -> Any:
        asked_again.append(int(not torch.is_grad_enabled()))
        return computed(self, model, inputs)

    monkeypatch.setattr(ListwiseTrainer, "answer_logprobs", watch)
    resumed = training(asked, resume=folder)
    assert asked_again and not any(asked_again)  # the reference was read, not computed again
    assert (resumed.path / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    losses = [
        [row["loss"] for row in run.load_table("training/training_log")] for run in (whole, resumed)
    ]
    assert losses[0] == losses[1]


def test_a_changed_reference_changes_the_result(
    orders: Recipes, training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative of the test above: what is kept in the journal is what the loss is made of."""
    asked = orders(max_steps=2, lora=Lora(r=2))
    whole = training(asked, "whole")
    read = Journal.get

    def shifted(self: Journal, key: str) -> Any:
        value = read(self, key)
        if key.startswith("reference/") and value is not None:
            return {"logprobs": [v + 5.0 * i for i, v in enumerate(value["logprobs"])]}
        return value

    first = session._Watch.on_log

    def stop(self: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session._Watch, "on_log", stop)
        with pytest.raises(Interrupted):
            training(asked, "stopped")
    assert session._Watch.on_log is first
    monkeypatch.setattr(Journal, "get", shifted)
    resumed: Run = training(asked, resume=whole.path.parent / "stopped")
    losses = [
        [row["loss"] for row in run.load_table("training/training_log")] for run in (whole, resumed)
    ]
    assert losses[0] != losses[1]


def test_the_first_loss_is_that_of_a_policy_that_is_its_reference(
    orders: Recipes, training: Training
) -> None:
    values: dict[str, Any] = {"lora": Lora(r=2), "batch_size": 8, "max_steps": 1}
    for name, full in (("adapter", False), ("model", True)):
        run = training(orders(**values, full=full), name)
        (step,) = run.load_table("training/training_log")
        mean = (15 + 1) / 2 * math.log(2)  # as many harmful groups as benign ones
        assert step["loss"] == pytest.approx(mean, rel=1e-5)


def test_passes_and_layout_change_the_result_by_rounding_only(
    orders: Recipes, training: Training
) -> None:
    same = {"lora": Lora(r=2), "learning_rate": 1e-3, "store_dtype": "float32"}
    runs = [
        training(orders(**same, batch_size=b, gradient_accumulation=a), f"{b}-{a}")
        for b, a in ((4, 1), (1, 4), (2, 2))
    ]
    runs.append(training(orders(**same, batch_size=4, gradient_checkpointing=True), "checked"))
    losses = [[r["loss"] for r in run.load_table("training/training_log")] for run in runs]
    for other in losses[1:]:
        assert other == pytest.approx(losses[0], rel=1e-4)


def test_tokens_of_all_answers_are_counted(orders: Recipes, training: Training) -> None:
    run = training(orders(max_steps=1, batch_size=8))
    (step,) = run.load_table("training/training_log")
    model = open_model(run.manifest["config"]["model"])
    groups = [g for g in made_groups() if g.split == "train"]
    found = encode_rows(model, preference_rows(groups, "listwise"), "listwise")
    assert step["tokens"] == sum(len(e.prompt) + len(a) for e in found for a in e.ranked)
