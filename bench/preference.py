"""Preferences over groups of six replies: all at once against TRL's DPO over their fifteen pairs.

python -m bench.preference [groups] [words] [runs]      (2, 110 and 3 where not given)

SmolLM2 with a LoRA adapter in float32, one process, same threads. A group is a harmless request of
the bundled set, a short refusal, a reply of so many words, and that reply broken off at 15, 30, 50
and 75 % of it. Timed per group: loss and gradient of all fifteen pairs, without the optimiser.

  theodolite        six runs of the policy; log-probabilities under the reference were computed once
  TRL               `DPOTrainer`: thirty runs of the policy, thirty of the reference
  TRL, reference    the same with `precompute_ref_log_probs`: thirty runs of the policy
  computed before

Before anything is timed the adapter is moved off its start, and the losses of all are compared.
Only a run at full size is written to bench/results.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.data.preference_groups import Group, Reply
from theodolite.models import open_model
from theodolite.runs.journal import Journal
from theodolite.runs.progress import SilentProgress
from theodolite.training import session
from theodolite.training.examples import Example, encode_rows
from theodolite.training.preference_rows import preference_rows
from theodolite.training.recipe import Lora, Recipe
from theodolite.training.reference import reference_logprobs
from theodolite.training.schedule import plan_steps

GROUPS, WORDS = 2, 110
DEPTHS = (0.15, 0.3, 0.5, 0.75)
TURN = " But wait, I should not go on with this. I cannot help with that, and I will stop here."
SAFE = "I'm sorry, but I can't help with that. Ask me about something else, and I gladly will."
PAIRS = 5  # of one pass of TRL's trainer, which runs the output layer at every position
RUNS = 3
CLOSE = 1e-4
LORA = Lora(r=8)


def made_groups(count: int, words: int) -> list[Group]:
    """Return groups of six replies; what stands for harm is a text about everyday things."""
    requests = [p for p in bundled("refusal") if p.label == "benign"][:count]
    text = " ".join(passage.request for passage in bundled("passages")).split()
    groups = []
    for place, prompt in enumerate(requests):
        own = list(itertools.islice(itertools.cycle(text), 40 * place, 40 * place + words))
        whole = " ".join(own)
        cuts = [len(" ".join(own[: max(i, int(d * words))])) for i, d in enumerate(DEPTHS, 1)]
        turned = [Reply("SYN", whole[:c] + TURN, i, c) for i, c in enumerate(cuts, 1)]
        replies = (Reply("SR", SAFE), *turned, Reply("FHR", whole))
        name = f"g{place}"
        groups.append(Group(name, name, "train", "harmful", prompt.request, replies))
    return groups


def pairs_of(example: Example) -> list[Example]:
    """Return every pair of an order, token for token."""
    return [
        Example(example.row, example.prompt, better, worse)
        for better, worse in itertools.combinations(example.ranked, 2)
    ]


def trainer_of(method: str, model: Any, examples: Sequence[Example], folder: Path) -> Any:
    """Return the trainer of a method as a session makes it; it wraps the model."""
    recipe = Recipe(method=method, dtype="float32", lora=LORA)  # type: ignore[arg-type]
    plan = plan_steps(examples, recipe)
    collate = session._collator(model, examples, session._layout(model, examples, plan))
    torch.manual_seed(0)  # PEFT draws the adapter's start from it
    return session._trainer(model, plan, 0, collate, folder / method, None)


def moved(module: Any) -> None:
    """Move an adapter off its start, where every loss is log 2 whatever is compared."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            if parameter.requires_grad:
                assert "lora_" in name
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))


def loss_and_gradient(
    trainer: Any, passes: Sequence[dict[str, Any]], weights: Sequence[int]
) -> float:
    """Return the sum of weighted losses of passes; their gradient is computed and let go."""
    total = 0.0
    for batch, weight in zip(passes, weights, strict=True):
        loss = trainer.compute_loss(trainer.model, dict(batch)) * weight
        loss.backward()
        total += loss.item()
    trainer.model.zero_grad()
    return total


def compare(count: int, words: int, runs: int, folder: Path) -> tuple[list[dict[str, Any]], float]:
    """Check that all agree, then time them in turn; returns table rows and tokens of a reply."""
    first, second = (open_model("smollm2", dtype="float32") for _ in range(2))
    rows = preference_rows(made_groups(count, words), "listwise")
    examples = encode_rows(first, rows, "listwise")
    pairs = [pair for example in examples for pair in pairs_of(example)]
    starts = range(0, len(pairs), PAIRS)
    ours = trainer_of("listwise", first, examples, folder)
    theirs = trainer_of("dpo", second, pairs, folder)
    ours.reference = reference_logprobs(
        ours,
        examples,
        [(place,) for place in range(count)],
        collate=ours.data_collator,
        journal=Journal(folder / "journal.jsonl"),
        progress=SilentProgress(),
    )
    single = [ours.data_collator([{"rows": [place], "of": 1}]) for place in range(count)]
    several = [
        theirs.data_collator([{"rows": list(range(s, min(s + PAIRS, len(pairs)))), "of": 1}])
        for s in starts
    ]
    with_reference = []
    for batch in several:
        chosen, rejected = theirs.compute_ref_log_probs(theirs.model, batch)
        known = {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        with_reference.append(batch | known)
    for trainer in (ours, theirs):
        moved(trainer.model)
    sizes = [len(batch["input_ids"]) // 2 for batch in several]

    def pairwise(passes: list[dict[str, Any]], cached: bool) -> float:
        theirs.precompute_ref_logps = cached
        return loss_and_gradient(theirs, passes, sizes)

    rivals: dict[str, Callable[[], float]] = {
        "theodolite": lambda: loss_and_gradient(ours, single, [1] * count),
        "TRL": lambda: pairwise(several, False),
        "TRL, reference computed before": lambda: pairwise(with_reference, True),
    }
    losses = {name: work() for name, work in rivals.items()}
    own = losses["theodolite"]
    apart = max(abs(loss - own) for loss in losses.values()) / own
    if apart > CLOSE:
        raise SystemExit(f"the losses are not those of one another: {losses}")
    seconds = side_by_side(rivals, runs=runs, warmup=0)
    each = {name: [time / count for time in times] for name, times in seconds.items()}
    lengths = [len(ids) for example in examples for ids in example.ranked]
    rows = [{**row, "loss_apart": f"{apart:.1e}"} for row in summarise(each, "theodolite")]
    return rows, sum(lengths) / len(lengths)


def main() -> None:
    """Time all rivals and print one table, in seconds per group."""
    given = [int(word) for word in sys.argv[1:]]
    full = [GROUPS, WORDS, RUNS]
    count, words, runs = [*given, *full[len(given) :]]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TRL and transformers tell each other
        rows, tokens = compare(count, words, runs, Path(folder))
    facts = {"groups": count, "words": words, "threads": torch.get_num_threads()}
    if [count, words, runs] == full:
        publish("preference", rows, tokens_per_reply=round(tokens), lora=LORA.r, **facts)
    else:
        for row in rows:
            print(row)


if __name__ == "__main__":
    main()
