"""Perspectives after one answer: the context read once against once per perspective. And a judge.

python -m bench.debateqa [questions] [runs]      (3 and 3 where not given)

SmolLM2 in float32 on made-up words, one process, same threads. Shapes (perspectives, tokens of the
context, tokens of a perspective):
  short      5 x (470, 50)     many short perspectives after a long answer
  many       8 x (600, 40)
  full       5 x (470, 110)    what the official claims look like
  dispute    8 answers a question to be judged: points of view, after the judge's instructions

Rivals, all inference mode and float32:
  one by one     one forward per perspective, logits of every token (what a plain script does)
  padded batch   the perspectives of a question in one padded batch, logits of every token
  written        of a judge: four tokens written greedily, one answer after the other

The bound counts tokens that pass through the network: n (X + Y) against X + n Y; for the judge X is
what all questions begin with, and a written token counts as one that is read, which it is dearer
than. Log-likelihoods are compared before anything is timed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from bench.harness import publish, side_by_side, summarise
from theodolite.data.bundled import bundled
from theodolite.data.debates import perspectives_of
from theodolite.data.prompts import Prompt
from theodolite.engine import score
from theodolite.engine.trie import common_prefix
from theodolite.judging.dispute import DIGITS, WRITTEN, dispute_question
from theodolite.judging.first_words import word_masses, word_tokens
from theodolite.models import open_model
from theodolite.models.chat import Encoded, encode_all
from theodolite.text.hashing import content_key

SHAPES = {"short": (5, 470, 50), "many": (8, 600, 40), "full": (5, 470, 110)}
CLOSE = 1e-4

Pair = tuple[list[int], list[int]]


def made(questions: int, shape: tuple[int, int, int], vocabulary: int) -> list[list[Pair]]:
    """Return contexts and perspectives of ordinary token ids, question by question."""
    count, context, target = shape
    dice = random.Random(0)

    def words(n: int) -> list[int]:
        return [dice.randrange(1000, vocabulary) for _ in range(n)]

    found = []
    for _ in range(questions):
        own = words(context)
        found.append([(own, words(target)) for _ in range(count)])
    return found


@torch.inference_mode()
def one_by_one(model: Any, questions: Sequence[Sequence[Pair]]) -> list[float]:
    """Return the nats of every perspective by one plain forward each."""
    return [nats(model, [pair])[0] for pairs in questions for pair in pairs]


@torch.inference_mode()
def padded(model: Any, questions: Sequence[Sequence[Pair]]) -> list[float]:
    """Return the same by one padded batch per question."""
    return [value for pairs in questions for value in nats(model, pairs)]


def nats(model: Any, pairs: Sequence[Pair]) -> list[float]:
    """Return the nats of perspectives of one length, from logits of all their tokens."""
    ids = torch.tensor([[*context, *target] for context, target in pairs])
    logits = model.module(input_ids=ids, use_cache=False).logits.float()
    begin = len(pairs[0][0])
    chosen = logits[:, begin - 1 : -1].log_softmax(-1).gather(-1, ids[:, begin:, None])
    return [-float(value) for value in chosen.sum((1, 2))]


def compare(model: Any, name: str, questions: int, runs: int) -> list[dict[str, Any]]:
    """Check that all agree, then time them in turn; returns table rows."""
    shape = SHAPES[name]
    made_up = made(questions, shape, model.anatomy.vocab_size)
    pairs = [
        (Encoded(tuple(context), "", None, (0, len(context)), content_key(context)), target)
        for own in made_up
        for context, target in own
    ]
    rivals: dict[str, Callable[[], list[float]]] = {
        "theodolite": lambda: [-found.sum for found in score(model, pairs)],
        "one by one": lambda: one_by_one(model, made_up),
        "padded batch": lambda: padded(model, made_up),
    }
    values = {rival: work() for rival, work in rivals.items()}
    own = values["theodolite"]
    worst = max(abs(a - b) / b for v in values.values() for a, b in zip(own, v, strict=True))
    assert worst < CLOSE, f"{name}: {worst}"
    seconds = side_by_side(rivals, runs=runs, warmup=0)
    count, context, target = shape
    bound = count * (context + target) / (context + count * target)
    facts = {"shape": name, "perspectives": count, "context": context, "target": target}
    return finished(facts, summarise(seconds, "theodolite"), bound, worst)


def judged(model: Any, answers: int, runs: int) -> list[dict[str, Any]]:
    """Check the digits' masses of a judge, then time them against written replies; table rows."""
    rows = bundled("debateqa").filter(label="debatable").prompts
    asked = [
        Prompt(f"judge {i}", text=dispute_question(row.request, view.point_of_view, item_id=row.id))
        for i, (row, view) in enumerate((row, v) for row in rows for v in perspectives_of(row))
    ][:answers]
    tokens = word_tokens(model, DIGITS)
    ids = [list(one.ids) for one in encode_all(model, asked)]
    masses = word_masses(model, asked, tokens)
    worst = 0.0
    for own, found in zip(ids, masses, strict=True):
        logs = plain_next(model, own)
        plain = [float(logs[list(word)].logsumexp(0)) for word in tokens]
        worst = max(worst, *(abs(a / b - 1) for a, b in zip(found, plain, strict=True)))
    assert worst < CLOSE, f"dispute: {worst}"
    rivals: dict[str, Callable[[], Any]] = {
        "theodolite": lambda: word_masses(model, asked, tokens),
        "written": lambda: [written(model, own) for own in ids],
    }
    seconds = side_by_side(rivals, runs=runs, warmup=0)
    shared, total = min(common_prefix(ids[0], own) for own in ids[1:]), sum(map(len, ids))
    bound = (total + WRITTEN * len(ids)) / (total - shared * (len(ids) - 1))
    facts = {"shape": "dispute", "perspectives": len(ids), "context": shared}
    facts["target"] = total // len(ids) - shared
    return finished(facts, summarise(seconds, "theodolite"), bound, worst)


@torch.inference_mode()
def plain_next(model: Any, ids: list[int]) -> torch.Tensor:
    """Return the log-probabilities of what follows, axis (vocabulary), by one plain forward."""
    logits = model.module(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    found: torch.Tensor = logits.double().log_softmax(-1)
    return found


@torch.inference_mode()
def written(model: Any, ids: list[int]) -> Any:
    """Return what a judge writes."""
    given = torch.tensor([ids])
    how = {"max_new_tokens": WRITTEN, "do_sample": False, "pad_token_id": 0}
    return model.module.generate(given, attention_mask=torch.ones_like(given), **how)


def finished(
    facts: dict[str, Any], rows: Sequence[dict[str, Any]], bound: float, worst: float
) -> list[dict[str, Any]]:
    """Return table rows with the bound of a shape, and how much of it was reached."""
    return [
        {
            **facts,
            **row,
            "bound": round(bound, 2),
            "of_bound": round(row["times_ours"] / bound, 2),
            "largest_difference": f"{worst:.0e}",
        }
        for row in rows
    ]


def main() -> None:
    """Time every shape and print one table."""
    numbers = [int(word) for word in sys.argv[1:]]
    questions, runs = (*numbers, *(3, 3)[len(numbers) :])
    model = open_model("smollm2", dtype="float32")
    rows = [row for name in SHAPES for row in compare(model, name, questions, runs)]
    rows += judged(model, 8 * questions, runs)
    publish("debateqa", rows, questions=questions, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
