"""Conversations that are rewritten: later turns read only what is new, against reading them whole.

python -m bench.perspective_taking [prompts] [runs] [method ...]      (16, 3, see METHODS)

SmolLM2 in float32 on our own harmless sentence beginnings, greedy, 16 at once, one process, same
threads. The rival asks one chain after another, and Hugging Face's `generate` reads each turn from
its first token. It asks the very turns that ours asked, is timed on a few of the prompts, and
scaled. The last row is ours without the memory of earlier turns.

Before anything is timed, the answers of those few are compared token by token: equal, or apart
first where the two likeliest tokens lie within 1e-3 of each other. `read_ours` counts the tokens of
prompts that went through the model, `read_least` those that anybody has to read who never reads or
writes one twice.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig

from bench.harness import publish, side_by_side, summarise
from theodolite.correction.perspective_taking.registry import make_solver
from theodolite.correction.perspective_taking.setting import PROMPT_KEY, Caps, Setting
from theodolite.data.toxicity_prompts import bundled_beginnings
from theodolite.engine.session import Session
from theodolite.judging.toxicity_registry import text_scorer
from theodolite.models import open_model
from theodolite.providers import evaluate as evaluating
from theodolite.runs.run import Run

METHODS = ("pet_io", "pet_both", "pet_placebo", "self_correct", "rewrite_only", "roles", "contrast")
SETTING = Setting(caps=Caps(listing=64, thinking=96, writing=32))
READERS = 3
TIMED_PROMPTS = 2
NEAR_TIE = 1e-3

Turn = tuple[tuple[int, ...], tuple[int, ...], int]
"""Tokens of a prompt and of its answer, and the most an answer may have."""


def ask(model: Any, method: str, prompts: Sequence[str], most_bytes: float | None = None) -> Any:
    """Evaluate a method in step; returns its turns, in the order asked, and the tokens read."""
    samples = [Sample(input=p, id=str(i), metadata={PROMPT_KEY: p}) for i, p in enumerate(prompts)]
    options = {"k": READERS} if method.startswith("pet") else {}
    tool = text_scorer("vader") if method in ("critic", "shap_words") else None
    task = Task(
        dataset=MemoryDataset(samples),
        solver=make_solver(method, setting=SETTING, tool=tool, **options),
        config=GenerateConfig(max_tokens=SETTING.caps.writing),
        name="bench",
    )
    turns: list[Turn] = []
    answer = evaluating.answer_requests

    def note(asked: Any, requests: Any, **how: Any) -> Any:
        found = answer(asked, requests, **how)
        for request, (one, *_) in zip(requests, found, strict=True):
            turns.append((request.encoded.ids, one.token_ids, request.settings.max_new_tokens))
        return found

    session = Session(model, most_bytes=most_bytes)
    with (
        patch.object(evaluating, "answer_requests", note),
        TemporaryDirectory() as folder,
        Run.create("bench", "smollm2", out=Path(folder) / "run") as run,
    ):
        evaluating.evaluate(task, model, run=run, in_step=True, session=session)
    return turns, session.tokens_read


@torch.inference_mode()
def whole(model: Any, turn: Turn) -> tuple[int, ...]:
    """Return Hugging Face's greedy answer to one turn, read from its first token."""
    ids = torch.tensor([turn[0]])
    pad = model.tokenizer.pad_token_id
    found = model.module.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=turn[2],
        do_sample=False,
        pad_token_id=pad,
    )
    return tuple(found[0, ids.shape[1] :].tolist())


@torch.inference_mode()
def compare_answers(model: Any, turns: Sequence[Turn]) -> tuple[int, int]:
    """Return how many answers are equal, and how many part at a near tie.

    Raises: AssertionError: two part where the likeliest token is clear.
    """
    equal = tied = 0
    for turn in turns:
        other = whole(model, turn)
        if turn[1] == other:
            equal += 1
            continue
        place = next(i for i, (a, b) in enumerate(zip(turn[1], other)) if a != b)
        ids = torch.tensor([[*turn[0], *other[:place]]])
        top = model.module(ids, logits_to_keep=1).logits[0, -1].topk(2).values
        assert float(top[0] - top[1]) < NEAR_TIE, place
        tied += 1
    return equal, tied


def least_read(turns: Sequence[Turn]) -> int:
    """Return how many tokens nobody can spare; turns in the order in which they were asked."""
    places: dict[tuple[int, int], int] = {}

    def add(ids: Sequence[int]) -> int:
        before, place = len(places), 0
        for token in ids:
            place = places.setdefault((place, token), len(places) + 1)
        return len(places) - before

    count = 0
    for ids, written, _ in turns:
        count += add(ids)
        add((*ids, *written[:-1]))
    return count


def compare(model: Any, method: str, prompts: Sequence[str], runs: int) -> list[dict[str, Any]]:
    """Compare the answers, then time everything in turn; returns table rows."""
    turns, read = ask(model, method, prompts)
    few, _ = ask(model, method, prompts[:TIMED_PROMPTS])
    equal, tied = compare_answers(model, few)
    seconds = side_by_side(
        {
            "theodolite": lambda: ask(model, method, prompts),
            "one chain at a time": lambda: [whole(model, turn) for turn in few],
            "without memory": lambda: ask(model, method, prompts, most_bytes=0),
        },
        runs=runs,
        warmup=0,
    )
    scale = len(prompts) / TIMED_PROMPTS
    seconds["one chain at a time"] = [time * scale for time in seconds["one chain at a time"]]
    naive, least = sum(len(ids) for ids, _, _ in turns), least_read(turns)
    facts = {
        "read_naive": naive,
        "read_ours": read,
        "read_least": least,
        "of_least": round(read / least, 3),
        "fewer": round(naive / read, 2),
        "written": sum(len(written) for _, written, _ in turns),
        "equal": equal,
        "near_ties": tied,
    }
    return [{"method": method, **row, **facts} for row in summarise(seconds, "theodolite")]


def main() -> None:
    """Time every method and print one table."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    prompts, runs = (*numbers, *(16, 3)[len(numbers) :])
    methods = [word for word in sys.argv[1:] if not word.isdigit()] or list(METHODS)
    model = open_model("smollm2", dtype="float32")
    texts = [prompt.request for prompt in bundled_beginnings("toxicity")][:prompts]
    rows = [row for method in methods for row in compare(model, method, texts, runs)]
    publish(
        "perspective_taking",
        rows,
        prompts=prompts,
        readers=READERS,
        timed_prompts=TIMED_PROMPTS,
        threads=torch.get_num_threads(),
    )


if __name__ == "__main__":
    main()
