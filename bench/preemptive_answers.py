"""Preemptive answers from inside: the grid of slots, and all heads cut, against plain loops.

python -m bench.preemptive_answers [questions] [runs]      (6 and 3 where not given)

SmolLM2 in float32, one process, same threads, inference mode. Values are compared before anything
is timed; a difference above CLOSE ends the run.

  slots      every answer of every item under every condition and position (`read_slots`);
             the plain way is one whole forward per answer and spelling, in turn
  knock-out  all heads, one at a time, of one chat, cut from the planted value (`EdgeKnockout`);
             the plain way is one whole forward per head with -inf in that layer's mask; it is timed
             on every ninth head and scaled to all

`least` counts tokens: what the plain way reads by what is left when every different prompt is read
once, without shared beginnings; a higher ratio is what shared beginnings and batches add.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from bench.harness import publish, side_by_side
from theodolite.behaviour.preemptive_answers.planting import (
    CLEAN,
    LATE_FRACTIONS,
    PLANTED,
    PLANTED_BLANK,
    PLANTED_GOLD,
    PLANTED_LATE,
    PLANTED_RANDOM,
)
from theodolite.behaviour.preemptive_answers.prompts import TAG
from theodolite.behaviour.preemptive_answers.sweep import (
    NO_TEXT,
    SPELLINGS,
    Slot,
    answers_of,
    arms_of,
    read_slots,
    slot_of,
    turns_of,
)
from theodolite.mechanism.anchors.knockout import Cut, EdgeKnockout
from theodolite.mechanism.anchors.pairs import Pair, make_pairs
from theodolite.mechanism.anchors.questions import everyday
from theodolite.mechanism.anchors.slot_tokens import continuations
from theodolite.models import open_model
from theodolite.models.chat import encode

CLOSE = 1e-4
EVERY = 9
CONDITIONS = (PLANTED, PLANTED_GOLD, PLANTED_RANDOM, PLANTED_BLANK, PLANTED_LATE)


def grid(questions: int) -> list[Slot]:
    """Return the slots of some questions of ours, half of either type."""
    items = everyday()
    chosen = [*items[: questions // 2], *items[12 : 12 + questions - questions // 2]]
    arms = arms_of(CONDITIONS, LATE_FRACTIONS, [NO_TEXT, CLEAN])
    return [
        slot_of(
            item,
            arm,
            reasoning=None if arm.text == NO_TEXT else item.solution,
            seed=0,
            others=items,
        )
        for item in chosen
        for arm in arms
    ]


def plain_jobs(model: Any, slots: Sequence[Slot]) -> list[tuple[int, str, tuple[int, ...], int]]:
    """Return (slot, answer, whole sequence, tokens of the prompt) of every spelling."""
    jobs = []
    for place, slot in enumerate(slots):
        prompt = encode(model, turns_of(slot), continue_final=True).ids
        for answer in answers_of(slot.item):
            texts = SPELLINGS.get(answer, (f" {answer}",))
            for tokens in continuations(model, TAG, texts).values():
                jobs.append((place, answer, (*prompt, *tokens), len(prompt)))
    return jobs


@torch.inference_mode()
def one_by_one(
    model: Any, jobs: Sequence[tuple[int, str, tuple[int, ...], int]]
) -> list[dict[str, float]]:
    """Score every answer by one whole forward per spelling."""
    found: list[dict[str, float]] = [{} for _ in range(jobs[-1][0] + 1)]
    for place, answer, ids, prompt in jobs:
        logits = model.module(input_ids=torch.tensor([ids[:-1]]), use_cache=False).logits[0]
        logprobs = logits[prompt - 1 :].log_softmax(-1)
        nats = sum(float(row[token]) for row, token in zip(logprobs, ids[prompt:], strict=True))
        before = found[place].get(answer)
        found[place][answer] = (
            nats if before is None else math.log(math.exp(before) + math.exp(nats))
        )
    return found


@contextmanager
def masked(model: Any, head: tuple[int, int], pair: Pair) -> Iterator[None]:
    """Let one head of the slot not see the planted value, by the module's own mask."""
    length, lowest = pair.slot + 1, torch.finfo(torch.float32).min
    mask = torch.full((length, length), lowest).triu(1).repeat(1, model.anatomy.n_heads, 1, 1)
    mask[0, head[1], pair.slot, slice(*pair.span)] = lowest

    def hook(_module: Any, args: Any, kwargs: Any) -> Any:
        return args, {**kwargs, "attention_mask": mask}

    module = model.anatomy.attention(head[0])
    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def one_per_head(model: Any, pair: Pair, heads: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Return the last logits without each head's edges, axes (head, vocab), one forward each."""
    tokens, found = torch.tensor([pair.attacked.ids]), []
    for head in heads:
        with masked(model, head, pair):
            out = model.module(input_ids=tokens, use_cache=False, logits_to_keep=1)
        found.append(out.logits[0, -1])
    return torch.stack(found)


@torch.inference_mode()
def all_at_once(model: Any, pair: Pair, heads: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Return the same by cuts in batches, the prompt's own run included."""
    keys = tuple(range(*pair.span))
    cuts = [Cut(frozenset([head]), keys) for head in heads]
    final = EdgeKnockout(model, pair.attacked, pair.slot).run(cuts)
    return model.anatomy.logits_from_final(final)  # type: ignore[no-any-return]


def refuse_unequal(difference: float, what: str) -> str:
    """Return a difference as text; raises where values differ."""
    if not difference < CLOSE:
        raise SystemExit(f"{what} differ by {difference:.1e}")
    return f"{difference:.1e}"


def compare_slots(model: Any, questions: int, runs: int) -> dict[str, Any]:
    """Compare and time the grid of slots."""
    slots = grid(questions)
    jobs = plain_jobs(model, slots)
    ours, plain = read_slots(model, slots), one_by_one(model, jobs)
    worst = max(abs(one.of[a] - nats[a]) for one, nats in zip(ours, plain) for a in nats)
    seconds = side_by_side(
        {"ours": lambda: read_slots(model, slots), "plain": lambda: one_by_one(model, jobs)},
        runs=runs,
        warmup=0,
    )
    tokens = sum(len(ids) - 1 for _, _, ids, _ in jobs)
    different = sum(map(len, {ids[:-1] for _, _, ids, _ in jobs}))
    return row(
        "slots",
        f"{len(slots)} slots, {len(jobs)} answers",
        seconds,
        1.0,
        tokens / different,
        refuse_unequal(worst, "log-probabilities"),
    )


def compare_heads(model: Any, runs: int) -> dict[str, Any]:
    """Compare and time the knock-out of all heads of one chat."""
    (pair,) = make_pairs(model, everyday()[12:13]).pairs
    anatomy = model.anatomy
    every = [(n, h) for n in range(anatomy.n_layers) for h in range(anatomy.n_heads)]
    some = every[::EVERY]
    own = all_at_once(model, pair, every)[::EVERY]
    worst = float((own - one_per_head(model, pair, some)).abs().max())
    seconds = side_by_side(
        {
            "ours": lambda: all_at_once(model, pair, every),
            "plain": lambda: one_per_head(model, pair, some),
        },
        runs=runs,
        warmup=0,
    )
    read = pair.slot + 1
    least = len(every) * read / (read + len(every))
    return row(
        "knock-out",
        f"{len(every)} heads, {read} tokens",
        seconds,
        len(every) / len(some),
        least,
        refuse_unequal(worst, "logits"),
    )


def row(
    case: str, size: str, seconds: dict[str, list[float]], scale: float, least: float, worst: str
) -> dict[str, Any]:
    """Return one line of the table."""
    ours = statistics.median(seconds["ours"])
    plain = statistics.median(seconds["plain"]) * scale
    return {
        "case": case,
        "size": size,
        "plain_s": round(plain, 2),
        "ours_s": round(ours, 2),
        "ratio": round(plain / ours, 1),
        "least": round(least, 1),
        "largest_difference": worst,
    }


def main() -> None:
    """Compare, time, and print one table."""
    questions = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    model = open_model("smollm2", dtype="float32")
    rows = [compare_slots(model, questions, runs), compare_heads(model, runs)]
    publish("preemptive_answers", rows, threads=torch.get_num_threads(), runs=runs)


if __name__ == "__main__":
    main()
