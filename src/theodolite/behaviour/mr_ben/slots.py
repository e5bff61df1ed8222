"""Prompts that end inside the answer, at the slot whose continuation is read; nothing is written.

A prompt that is too long for the model loses worked examples, the last one first. One that is too
long without any is marked and left unread: neither a question nor a solution is ever cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.mr_ben.prefix_cost import Prefilled, planned_tokens, trie_floor
from theodolite.behaviour.mr_ben.prompts import demos_for, task_prompt
from theodolite.data.mr_ben import Demo
from theodolite.data.step_critique import CritiqueSample
from theodolite.errors import DataError

if TYPE_CHECKING:
    from theodolite.engine.score import Scored
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

TOO_LONG: Final = "too_long"
Turns = list[dict[str, str]]
Pair = tuple["Encoded", tuple[int, ...]]


@dataclass(frozen=True)
class Slot:
    """A solution and the prompt that asks about it.

    Args:
        sample: the solution.
        encoded: the prompt up to where the slot's content begins; None where it does not fit.
        shots: worked examples that it shows.
    """

    sample: CritiqueSample
    encoded: Encoded | None
    shots: int

    @property
    def root(self) -> tuple[str, int]:
        """What decides how its prompt begins, up to the question."""
        return self.sample.sub_subject or self.sample.subject, self.shots


def slots_of(
    model: LanguageModel,
    rows: Sequence[CritiqueSample],
    demos: Mapping[str, Sequence[Demo]],
    *,
    k_shot: int,
    steps_format: str,
    opening: str,
    room: int,
) -> list[Slot]:
    """Return the prompts of solutions, each with as many worked examples as fit.

    Args:
        model: an open local model.
        demos: worked examples by sub-subject; not asked for without `k_shot`.
        k_shot: most of them.
        steps_format: see `task_prompt`.
        opening: the words of the answer before the slot.
        room: tokens that have to fit behind it.

    Raises:
        ConfigError: the format or the number of examples does not exist.
        DataError: there are not so many examples.
    """

    def turns(sample: CritiqueSample, shots: int) -> Turns:
        shown = demos_for(sample, demos, shots)
        # Without its analysis the answer begins with its verdict, as the slots have it.
        asked = task_prompt(sample, shown, steps_format=steps_format, analysis=False)
        return [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": opening},
        ]

    found = [Slot(sample, None, k_shot) for sample in rows]
    for shots in range(k_shot, -1, -1):
        left = [place for place, slot in enumerate(found) if slot.encoded is None]
        fitting = fitted(model, [turns(rows[place], shots) for place in left], room)
        for place, encoded in zip(left, fitting, strict=True):
            found[place] = Slot(rows[place], encoded, shots)
    return found


def fitted(
    model: LanguageModel, chats: Sequence[Turns], room: int, *, continued: bool = True
) -> list[Encoded | None]:
    """Return chats as tokens, None for one that leaves no room in the model's context.

    Args:
        room: tokens that have to fit behind it.
        continued: the last turn is an answer that goes on.
    """
    from theodolite.models.chat import encode_all

    # The length is looked at here: one long chat is no reason to refuse the others.
    boundless = replace(model, max_context=None)
    found = encode_all(
        boundless, chats, add_generation_prompt=not continued, continue_final=continued
    )
    limit = model.max_context
    return [one if limit is None or len(one) + room <= limit else None for one in found]


def ids_of(model: LanguageModel, text: str) -> tuple[int, ...]:
    """Return the tokens of a text that goes on from a prompt."""
    ids = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return tuple(int(token) for token in ids)


def require_some(model: LanguageModel, slots: Sequence[Slot]) -> None:
    """Refuse solutions of which none fits into the model's context; raises DataError."""
    if all(slot.encoded is None for slot in slots):
        raise DataError(
            f"None of the {len(slots)} solutions fits into the {model.max_context} tokens that "
            f"{model.name} reads.",
            fix="Use a model with a longer context.",
        )


@dataclass
class OneStage:
    """Progress over several lists of work, shown as one stage."""

    progress: Progress

    def start(self, label: str, total: int) -> None:
        """Leave the stage as it is."""

    def advance(self, steps: int = 1) -> None:
        """Report finished steps."""
        self.progress.advance(steps)

    def message(self, text: str) -> None:
        """Show one line."""
        self.progress.message(text)


def score_slots(
    model: LanguageModel,
    slots: Sequence[Slot],
    completions: Callable[[CritiqueSample], Sequence[tuple[int, ...]]],
    *,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> tuple[list[list[Scored]], Prefilled]:
    """Score completions of every slot; prompts that begin alike are read together.

    Args:
        slots: those without a prompt get no scores.
        completions: of a solution, as tokens.
        journal: finished passes are kept there.
        progress: told of finished completions.

    Returns: scores by slot, in the order of its completions; and the tokens it takes.
    """
    from theodolite.engine.score import Scored, score

    roots: dict[tuple[str, int], list[int]] = {}
    for place, slot in enumerate(slots):
        if slot.encoded is not None:
            roots.setdefault(slot.root, []).append(place)
    asked = {p: completions(slots[p].sample) for places in roots.values() for p in places}
    if progress is not None:
        progress.start("score", sum(map(len, asked.values())))
    stage = None if progress is None else OneStage(progress)
    found: list[list[Scored]] = [[] for _ in slots]
    cost = Prefilled()
    # One call per beginning: the engine keeps the keys and values of one at a time.
    for places in roots.values():
        owners = [(p, ids) for p in places for ids in asked[p]]
        pairs = _evened([slots[p] for p, _ in owners], [ids for _, ids in owners])
        budget = whole_questions(model, pairs, [slots[p].sample.key for p, _ in owners])
        scored = score(model, pairs, batch_tokens=budget, journal=journal, progress=stage)
        for (owner, ids), one in zip(owners, scored, strict=True):
            found[owner].append(Scored(ids, one.logprobs[: len(ids)]))
        wanted = [(*even[0].ids, *ids[:-1]) for even, (_, ids) in zip(pairs, owners, strict=True)]
        cost += prefilled(model, pairs, wanted, budget)
    return found, cost


def _evened(slots: Sequence[Slot], completions: Sequence[tuple[int, ...]]) -> list[Pair]:
    """Return prompts with completions of one length per question.

    The planner sorts what hangs below a question by its length. Uneven completions of one solution
    would end up in different passes, and each of them would read the solution. The last token is
    repeated, and what it scores there is thrown away.
    """
    longest: dict[str, int] = {}
    for slot, ids in zip(slots, completions, strict=True):
        key = slot.sample.key
        longest[key] = max(longest.get(key, 0), len(ids))
    pairs: list[Pair] = []
    for slot, ids in zip(slots, completions, strict=True):
        assert slot.encoded is not None  # noqa: S101 - others are not asked about
        pairs.append((slot.encoded, ids + ids[-1:] * (longest[slot.sample.key] - len(ids))))
    return pairs


def sequences_of(pairs: Sequence[Pair]) -> list[tuple[int, ...]]:
    """Return what is read of pairs: all tokens but the last, which is only foretold."""
    return [(*encoded.ids, *ids[:-1]) for encoded, ids in pairs]


def whole_questions(model: LanguageModel, pairs: Sequence[Pair], questions: Sequence[str]) -> int:
    """Return the most tokens of one pass with which no question is read twice.

    Args:
        pairs: prompts that begin alike, with their completions.
        questions: of each pair.

    Returns: the engine's own budget where that is enough, or where more does not fit into memory.
    """
    from theodolite.engine.budget import SHARE, bytes_per_token, memory_left, token_budget

    sequences = sequences_of(pairs)
    budget = token_budget(model, max(map(len, sequences), default=1))
    groups: dict[str, list[tuple[int, ...]]] = {}
    for question, sequence in zip(questions, sequences, strict=True):
        groups.setdefault(question, []).append(sequence)
    common = _common(sequences)
    need = max((trie_floor([s[common:] for s in own]) for own in groups.values()), default=0)
    need += need // 2  # rows of one pass are padded to the longest
    fits = need * bytes_per_token(model) <= memory_left(model) * SHARE
    return max(budget, need) if fits else budget


def prefilled(
    model: LanguageModel, pairs: Sequence[Pair], wanted: Sequence[tuple[int, ...]], budget: int
) -> Prefilled:
    """Return what scoring pairs reads, by the plan that the engine makes of them.

    Args:
        pairs: prompts and completions, as given to `engine.score`.
        wanted: what has to be read, as tokens; the floor is theirs.
        budget: most tokens of one pass.
    """
    from theodolite.engine import plan_batches
    from theodolite.engine.interventions import shareable

    sequences = sequences_of(pairs)
    limits = [shareable(model, len(encoded)) for encoded, _ in pairs]
    kinds = [len(encoded) for encoded, _ in pairs] if model.interventions else None
    batches = plan_batches(sequences, budget, limits=limits, kinds=kinds)
    return Prefilled(
        prompts=len(pairs),
        naive=sum(map(len, wanted)),
        floor=trie_floor(wanted),
        planned=planned_tokens(sequences, batches),
    )


def _common(sequences: Sequence[tuple[int, ...]]) -> int:
    from theodolite.engine.trie import common_prefix

    return min((common_prefix(sequences[0], other) for other in sequences), default=0)
