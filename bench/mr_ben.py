"""Reading off log-probabilities: shared prefixes against every prompt read whole, and writing.

python -m bench.mr_ben [questions] [runs] [tokens]      (6, 1 and 2048 where not given)

SmolLM2 in float32, one process, same threads, on all solutions of some questions of one
sub-subject: the official files where THEODOLITE_DATA is set, else those of the package. Work:
  verdict    "correct" against "incorrect" behind each solution, no analysis
  steps      every label and N/A behind each solution (of a third of them)
  paper      the prompts of the full benchmark, examples with their analysis; read up to the answer
  stepwise   yes or no behind every step

Rivals, all inference mode and float32, logits only from where a completion begins:
  one by one     one forward per prompt; `steps` one per prompt and label, `stepwise` one per step
  padded batch   the same prompts of one question in one padded batch
  writing        the full benchmark: the same solutions, greedy, at most so many tokens (k = 0)

The values of all rivals are compared, and a difference stops the benchmark. `naive`, `read` and
`floor` are tokens: what one by one reads, what went through the model (counted there, padding left
out), and the least there is. `fewer` is naive by read.
Demanded: one by one at least 2.2 times slower at k = 1 and 3 times at k = 3 (steps and paper; the
tests check the tokens on official data), writing 20 times slower than verdict and 10 times than
stepwise, read at most 1.15 of the floor.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.harness import publish, side_by_side, summarise
from theodolite.behaviour.mr_ben.data import BUNDLED, OFFICIAL, limited, load_demos, load_rows
from theodolite.behaviour.mr_ben.forks import fork_logits
from theodolite.behaviour.mr_ben.logprob import OPENINGS, STEPS, VERDICT
from theodolite.behaviour.mr_ben.prefix_cost import Prefilled, counted
from theodolite.behaviour.mr_ben.prompts import demos_for, task_prompt
from theodolite.behaviour.mr_ben.slots import Slot, fitted, ids_of, score_slots, slots_of
from theodolite.behaviour.mr_ben.stepwise import prompts_of
from theodolite.behaviour.mr_ben.walks import walk_of
from theodolite.data.catalogue import data_dir
from theodolite.data.step_critique import CritiqueSample
from theodolite.engine import generate
from theodolite.errors import DataError
from theodolite.models import open_model

CLOSE = 2e-3
PAPER = "paper"
STEPWISE = "stepwise"
DEMANDED = {(STEPS, 1): 2.2, (STEPS, 3): 3.0, (PAPER, 1): 2.2, (PAPER, 3): 3.0}
WRITTEN = {VERDICT: 20.0, STEPWISE: 10.0}
OVER_FLOOR = 1.15

Asked = list[tuple[str, tuple[int, ...], tuple[int, ...]]]
"""Question, prompt and what follows it, as tokens."""


@dataclass
class Work:
    """One shape of work: how we do it, and what rivals are asked."""

    name: str
    ours: Callable[[], tuple[list[float], Prefilled]]
    asked: Asked


def chosen(questions: int) -> tuple[str, list[CritiqueSample], Mapping[str, Any]]:
    """Return the source, all solutions of so many questions of one sub-subject, and examples."""
    try:
        source = OFFICIAL if (data_dir() / "mr-ben").is_dir() else BUNDLED
    except DataError:
        source = BUNDLED
    rows = load_rows(source, subjects=["math"])
    most = Counter(row.sub_subject for row in rows).most_common(1)[0][0]
    own = replace(rows, samples=tuple(row for row in rows if row.sub_subject == most))
    return source, list(limited(own, questions)), load_demos(source)


def scored(model: Any, name: str, slots: Sequence[Slot]) -> Work:
    """Return work on completions behind slots."""

    def completions(sample: CritiqueSample) -> list[tuple[int, ...]]:
        if name == STEPS:
            texts = [*(f" Step {label}" for label in sample.labels), " N/A"]
        else:
            texts = [" correct", " incorrect"] if name == VERDICT else ["Solution"]
        return [ids_of(model, text) for text in texts]

    def ours() -> tuple[list[float], Prefilled]:
        found, cost = score_slots(model, slots, completions)
        return [one.sum for own in found for one in own], cost

    asked = [
        (slot.sample.key, slot.encoded.ids, ids)
        for slot in slots
        if slot.encoded is not None
        for ids in completions(slot.sample)
    ]
    return Work(name, ours, asked)


def walked(model: Any, samples: Sequence[CritiqueSample]) -> Work:
    """Return work on the answers behind every step."""
    texts = [own for own in prompts_of(model, [walk_of(s) for s in samples]) if own is not None]
    word = ids_of(model, "Yes")[:1]

    def ours() -> tuple[list[float], Prefilled]:
        found, cost = fork_logits(model, texts, word)
        return [logits[0] for own in found for logits in own], cost

    asked = [(str(place), one.ids, word) for place, own in enumerate(texts) for one in own]
    return Work(STEPWISE, ours, asked)


def full_slots(
    model: Any, samples: Sequence[CritiqueSample], demos: Mapping[str, Any], k: int
) -> list[Slot]:
    """Return the prompts of the full benchmark, as far as the answer."""
    turns = [
        [{"role": "user", "content": task_prompt(row, demos_for(row, demos, k))}] for row in samples
    ]
    encoded = fitted(model, turns, 1, continued=False)
    return [Slot(row, one, k) for row, one in zip(samples, encoded, strict=True)]


@torch.inference_mode()
def forwards(model: Any, work: Work, *, together: bool) -> list[float]:
    """Return the value of every completion by plain forwards, padded per question or one by one."""
    asked, name = work.asked, work.name
    groups: dict[Any, Asked] = {}
    merged = merged_verdicts(asked) if name == VERDICT else [[one] for one in asked]
    for place, own in enumerate(merged):
        groups.setdefault(own[0][0] if together else place, []).extend(own[:1])
    others = {own[0][1]: [ids for _, _, ids in own] for own in merged}
    values: list[float] = []
    for rows in groups.values():
        longest = max(len(ids) + len(more) for _, ids, more in rows)
        padded = [[*ids, *more] + [0] * (longest - len(ids) - len(more)) for _, ids, more in rows]
        first = min(len(ids) for _, ids, _ in rows) - 1
        logits = model.module(
            input_ids=torch.tensor(padded), use_cache=False, logits_to_keep=longest - first
        ).logits
        for row, (_, ids, more) in enumerate(rows):
            wanted = others[ids] if name == VERDICT else [more]
            values += [value_of(logits[row], len(ids) - first, one, name) for one in wanted]
    return values


def merged_verdicts(asked: Asked) -> list[Asked]:
    """Return the two words of each solution together: one forward gives both of them."""
    return [list(pair) for pair in zip(asked[::2], asked[1::2], strict=True)]


def value_of(logits: torch.Tensor, begin: int, ids: Sequence[int], name: str) -> float:
    """Return the log-probability of a completion, or the logit of its token for `stepwise`."""
    own = logits[begin - 1 : begin - 1 + len(ids)].float()
    if name == STEPWISE:
        return float(own[0, ids[0]])
    return float(own.log_softmax(-1)[range(len(ids)), list(ids)].sum())


def compare(model: Any, work: Work, k: int, runs: int) -> list[dict[str, Any]]:
    """Time all in turn, check that their values agree, count what is read; returns table rows."""
    values: dict[str, list[float]] = {}

    def kept(rival: str, work: Callable[[], list[float]]) -> Callable[[], None]:
        return lambda: values.update({rival: work()})

    with counted(model) as passes:
        _, cost = work.ours()
    read = sum(passes)
    assert read <= OVER_FLOOR * cost.floor, f"{work.name}: read {read}, floor {cost.floor}"
    rivals = {
        "theodolite": kept("theodolite", lambda: work.ours()[0]),
        "one by one": kept("one by one", lambda: forwards(model, work, together=False)),
        "padded batch": kept("padded batch", lambda: forwards(model, work, together=True)),
    }
    seconds = side_by_side(rivals, runs=runs, warmup=0)
    own = values["theodolite"]
    worst = max(abs(a - b) for v in values.values() for a, b in zip(own, v, strict=True))
    assert worst < CLOSE, f"{work.name}, k={k}: {worst}"
    naive = sum(len(ids) + len(more) - 1 for _, ids, more in work.asked)
    naive = naive // 2 if work.name == VERDICT else naive
    demanded = DEMANDED.get((work.name, k), "")
    facts = {"work": work.name, "k": k, "prompts": len(work.asked)}
    tokens = {"naive": naive, "read": read, "floor": cost.floor}
    rows = [
        {
            **facts,
            **row,
            "demanded": demanded if row["rival"] == "one by one" else "",
            **tokens,
            "fewer": round(naive / read, 2),
            "read_of_floor": round(read / cost.floor, 3),
            "largest_difference": f"{worst:.0e}",
        }
        for row in summarise(seconds, "theodolite")
    ]
    print(*rows, sep="\n", flush=True)
    return rows


def against_writing(
    model: Any, works: Sequence[Work], slots: Sequence[Slot], tokens: int
) -> list[dict[str, Any]]:
    """Return how long writing the answers takes beside reading them off."""
    prompts = [slot.encoded for slot in slots if slot.encoded is not None]
    rows = []
    for work in works:
        rivals: dict[str, Callable[[], Any]] = {
            "theodolite": work.ours,
            "writing": lambda: generate(model, prompts, max_new_tokens=tokens),
        }
        for row in summarise(side_by_side(rivals, runs=1, warmup=0), "theodolite"):
            demanded = WRITTEN[work.name] if row["rival"] == "writing" else ""
            rows.append(
                {"work": work.name, "k": 0, "prompts": len(prompts), **row} | {"demanded": demanded}
            )
    return rows


def main() -> None:
    """Time every shape and print one table."""
    numbers = [int(word) for word in sys.argv[1:]]
    questions, runs, tokens = (*numbers, *(6, 1, 2048)[len(numbers) :])
    model = open_model("smollm2", dtype="float32")
    source, samples, demos = chosen(questions)
    rows = []
    for k in (1, 3):
        for mode in (VERDICT, STEPS):
            how: dict[str, Any] = {"steps_format": "plain", "opening": OPENINGS[mode], "room": 8}
            few = samples if mode == VERDICT else samples[: max(1, len(samples) // 3)]
            slots = slots_of(model, few, demos, k_shot=k, **how)
            rows += compare(model, scored(model, mode, slots), k, runs)
        rows += compare(model, scored(model, PAPER, full_slots(model, samples, demos, k)), k, runs)
    stepwise = walked(model, samples)
    rows += compare(model, stepwise, 0, runs)
    how = {"steps_format": "plain", "opening": OPENINGS[VERDICT], "room": 8}
    verdict = scored(model, VERDICT, slots_of(model, samples, demos, k_shot=0, **how))
    written = full_slots(model, samples, demos, 0)
    rows += against_writing(model, [verdict, stepwise], written, tokens)
    facts = {"source": source, "questions": questions, "new_tokens": tokens}
    publish("mr_ben", rows, **facts, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
