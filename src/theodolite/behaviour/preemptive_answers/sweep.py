"""Every place a plant may stand, and how likely each answer is behind it; nothing is written.

A slot is where the answer would come: a chat whose open assistant turn ends with the answer tag.
Before the tag stands nothing, or a fixed text of reasoning with its own answers taken out. All
options of a slot are continuations of one prompt, and all slots of an item share its question, so
`engine.score` reads every prompt once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.preemptive_answers.data import planted_answer
from theodolite.behaviour.preemptive_answers.extraction import extract
from theodolite.behaviour.preemptive_answers.planting import (
    ANSWERED_FIRST,
    CLEAN,
    EXTRA_USER,
    PLANTED,
    PLANTED_BLANK,
    PLANTED_LATE,
    PREFILL,
    Route,
    ask,
    plant,
    route,
)
from theodolite.behaviour.preemptive_answers.prompts import STEP_BY_STEP, TAG
from theodolite.data.preemptive import CHOICE, YES_NO, Item
from theodolite.data.prompts import Message
from theodolite.engine import score
from theodolite.errors import DataError
from theodolite.mechanism.anchors.slot_tokens import continuations
from theodolite.models.chat import encode_all
from theodolite.text.normalise import strip_reasoning

if TYPE_CHECKING:
    from theodolite.models.chat import Encoded
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

SCORED_TYPES: Final = (CHOICE, YES_NO)
SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {"yes": (" Yes", " yes"), "no": (" No", " no")}
"""How an answer may be written behind the tag; the probabilities of its spellings add up."""

NO_TEXT: Final = "bare"
WRONG_PLANT: Final = "wrong"
BLANK_PLANT: Final = "blank"
RANDOM_PLANT: Final = "random"
LATE_PLANTS: Final = (WRONG_PLANT, BLANK_PLANT)
"""What a late plant says: the wrong answer, or as its floor nothing."""

_PIECE: Final = re.compile(r"(\n+|(?<=[.!?])[ \t]+)")
TOO_LONG: Final = "the chat is too long for the model, or its template refuses it"
NO_REASONING: Final = "there is no reasoning to hold fixed"


@dataclass(frozen=True)
class Arm:
    """What sets slots apart but for the item.

    Args:
        condition: of `planting.CONDITIONS`.
        text: `NO_TEXT`, or the condition whose reasoning stands before the tag.
        fraction: of the reasoning that stands before a late plant; None for all others.
        late: what a late plant says, of `LATE_PLANTS`.
    """

    condition: str
    text: str = NO_TEXT
    fraction: float | None = None
    late: str = WRONG_PLANT

    @property
    def name(self) -> str:
        """Its name in figures and tables."""
        if self.fraction is None:
            return self.condition
        return f"{self.condition}@{self.fraction:g}" + (
            "" if self.late == WRONG_PLANT else f"-{self.late}"
        )


@dataclass(frozen=True)
class Slot:
    """One item under one arm.

    Args:
        planted: what the plant says; None where nothing is planted, or nothing of the kind.
        messages: turns; the last one is the assistant's and ends with the tag.
    """

    item: Item
    arm: Arm
    planted: str | None
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Reading:
    """How likely each answer is at a slot.

    Args:
        logprobs: of every option, in nats; () where the slot could not be read.
        reason: why it could not.
    """

    item: Item
    arm: Arm
    planted: str | None
    logprobs: tuple[tuple[str, float], ...]
    reason: str | None = None

    @property
    def of(self) -> dict[str, float]:
        """Log-probability by option."""
        return dict(self.logprobs)

    @property
    def delta(self) -> float | None:
        """log p(gold) - log p(wrong answer of the item), whatever was planted; in nats."""
        found = self.of
        if not found or self.item.wrong is None:
            return None
        return found[self.item.gold] - found[self.item.wrong]

    @property
    def chosen(self) -> str | None:
        """The likeliest option, the first of equal ones."""
        return max(self.of, key=self.of.__getitem__) if self.logprobs else None


def answers_of(item: Item) -> tuple[str, ...]:
    """Return the answers a slot of the item may take."""
    return item.letters if item.answer_type == CHOICE else ("yes", "no")


def can_be_read(item: Item) -> str | None:
    """Return why an item has no place here, or None where it has."""
    if item.answer_type not in SCORED_TYPES:
        return "its answer is no option"
    if item.suspect:
        return "its gold or its planted answer is known to be damaged"
    if item.wrong is None or item.wrong == item.gold:
        return "there is no wrong answer to plant"
    return None


def without_answers(text: str, item: Item) -> str:
    """Return reasoning without the sentences and lines that state an answer by the rules.

    Args:
        text: what a model wrote, its own trace of thinking left out.
    """
    kept: list[str] = []
    for piece in _PIECE.split(strip_reasoning(text)):
        tells = TAG.lower() in piece.lower() or (
            piece.strip()
            and extract(piece, item.answer_type, options=item.options).final is not None
        )
        if not tells:
            kept.append(piece)
    return "".join(kept).strip()


def slot_of(
    item: Item,
    arm: Arm,
    *,
    reasoning: str | None,
    seed: int,
    others: Sequence[Item] = (),
    channel: str = EXTRA_USER,
    method: str = STEP_BY_STEP,
    first: str | None = None,
) -> Slot:
    """Return the chat of an item under an arm, up to the tag.

    Args:
        reasoning: the fixed text, its answers taken out; None for `NO_TEXT`.
        seed, others: of the unrelated answer; see `planted_answer`.
        channel: where a plant stands; a late one always stands in the reply.
        first: with reasoning under U, what the model answered at the first tag.

    Raises: DataError: the arm needs reasoning or an answer that is not there.
    """
    turns = ask(item, method)
    if arm.condition == PLANTED_LATE:
        return _late_slot(item, arm, turns, reasoning, seed, others)
    planted = planted_answer(item, arm.condition, seed=seed, others=others)
    turns = plant(turns, arm.condition, _spelled(planted), channel)
    begun = ""
    if turns[-1].role == "assistant":
        turns, begun = turns[:-1], turns[-1].content
    if arm.condition == ANSWERED_FIRST and reasoning is not None:
        if first is None:
            raise DataError("There is no first answer.", fix="Read the slot without text first.")
        planted, begun = first, f"{TAG} {_spelled(first)}\n"
    return Slot(item, arm, planted, _opened(turns, begun + _paragraph(reasoning)))


def _late_slot(
    item: Item,
    arm: Arm,
    turns: tuple[Message, ...],
    reasoning: str | None,
    seed: int,
    others: Sequence[Item],
) -> Slot:
    """Return a slot whose plant stands within the reasoning, the rest of which follows it."""
    if reasoning is None or arm.fraction is None:
        raise DataError("A late plant needs a reasoning text and a place in it.")
    kind = PLANTED_BLANK if arm.late == BLANK_PLANT else PLANTED
    planted = planted_answer(item, kind, seed=seed, others=others)
    said = plant((), kind, _spelled(planted), PREFILL)[-1].content
    # Where the text is cut is the rule of `plant`, whatever is planted there.
    cut = plant((), PLANTED_LATE, "x", reasoning=reasoning, fraction=arm.fraction)[-1].content
    begun = cut.removesuffix(plant((), PLANTED, "x", PREFILL)[-1].content)
    rest = reasoning[len(begun.rstrip("\n")) :].strip()
    return Slot(item, arm, planted, _opened(turns, begun + said + _paragraph(rest)))


def _spelled(answer: str | None) -> str | None:
    """Return an answer as a chat spells it."""
    if answer is None or answer not in SPELLINGS:
        return answer
    return SPELLINGS[answer][0].strip()


def _paragraph(text: str | None) -> str:
    return f"{text}\n" if text else ""


def _opened(turns: tuple[Message, ...], begun: str) -> tuple[Message, ...]:
    return (*turns, Message("assistant", begun + TAG))


def channel_of(model: LanguageModel, channel: str) -> Route:
    """Return the channel a model's chat template can take."""
    return route(channel, two_user_turns=not model.chat.alternates)


def read_slots(
    model: LanguageModel,
    slots: Sequence[Slot],
    *,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> list[Reading]:
    """Return the log-probability of every answer at every slot.

    Args:
        model: an open local model; active interventions act.
        batch_tokens, journal, progress: as for `engine.score`.

    Returns: one reading per slot, in order; a slot the model cannot take says why.

    Raises: CapabilityError: the model gives no log-probabilities.

    Note: equal to scoring whole sequences one by one, up to rounding.
    """
    model.require("logprobs")
    spelled = {a: SPELLINGS.get(a, (f" {a}",)) for slot in slots for a in answers_of(slot.item)}
    tokens = continuations(model, TAG, [text for texts in spelled.values() for text in texts])
    encoded = _encoded(model, slots, max(map(len, tokens.values()), default=0))
    pairs: list[tuple[Any, Sequence[int]]] = []
    owners: list[tuple[int, str]] = []
    for place, (slot, prompt) in enumerate(zip(slots, encoded)):
        if prompt is None:
            continue
        for answer in answers_of(slot.item):
            for text in spelled[answer]:
                pairs.append((prompt, tokens[text]))
                owners.append((place, answer))
    scored = score(model, pairs, batch_tokens=batch_tokens, journal=journal, progress=progress)
    found: list[dict[str, float]] = [{} for _ in slots]
    for (place, answer), one in zip(owners, scored):
        found[place][answer] = _added(found[place].get(answer), one.sum)
    return [
        Reading(slot.item, slot.arm, slot.planted, tuple(found[i].items()))
        if encoded[i] is not None
        else Reading(slot.item, slot.arm, slot.planted, (), TOO_LONG)
        for i, slot in enumerate(slots)
    ]


def _added(first: float | None, second: float) -> float:
    """Return log(exp(first) + exp(second)); None is a probability of 0."""
    if first is None:
        return second
    top = max(first, second)
    return top + math.log(math.exp(first - top) + math.exp(second - top))


def turns_of(slot: Slot) -> list[dict[str, str]]:
    """Return the turns of a slot as a chat template takes them."""
    return [{"role": turn.role, "content": turn.content} for turn in slot.messages]


def _encoded(model: LanguageModel, slots: Sequence[Slot], room: int) -> list[Encoded | None]:
    """Return the prompts; None for a chat that is too long or refused."""
    chats = [turns_of(slot) for slot in slots]
    try:
        whole: list[Encoded | None] = list(encode_all(model, chats, continue_final=True))
    except DataError:  # one of them: find out which
        whole = [_alone(model, chat) for chat in chats]
    most = model.max_context
    named = []
    for slot, one in zip(slots, whole):
        fits = one is not None and (most is None or len(one.ids) + room <= most)
        name = f"{slot.item.id}/{slot.arm.name}/{slot.arm.text}"
        named.append(replace(one, prompt_id=name) if one is not None and fits else None)
    return named


def _alone(model: LanguageModel, chat: list[dict[str, str]]) -> Encoded | None:
    try:
        return encode_all(model, [chat], continue_final=True)[0]
    except DataError:
        return None


def arms_of(
    conditions: Sequence[str], positions: Sequence[float], texts: Sequence[str]
) -> list[Arm]:
    """Return the arms of a sweep, the clean run first.

    Args:
        conditions: of `planting.CONDITIONS`; M_late stands for all positions, with its controls.
        positions: fractions of the clean reasoning before a late plant.
        texts: `NO_TEXT`, clean, and conditions whose own reasoning is held fixed.
    """
    plain = [CLEAN, *(c for c in dict.fromkeys(conditions) if c not in (CLEAN, PLANTED_LATE))]
    arms = [Arm(c, text) for text in (NO_TEXT, CLEAN) if text in texts for c in plain]
    arms += [Arm(c, c) for c in texts if c not in (NO_TEXT, CLEAN) and c in plain]
    if PLANTED_LATE in conditions and CLEAN in texts:
        arms += [
            Arm(PLANTED_LATE, CLEAN, float(p), late)
            for p in dict.fromkeys(positions)
            for late in LATE_PLANTS
        ]
    return arms


def fixed_texts(
    items: Sequence[Item], chains: Mapping[str, Mapping[str, str]]
) -> dict[str, dict[str, str | None]]:
    """Return condition -> item -> text to hold fixed, or None where there is none."""
    found: dict[str, dict[str, str | None]] = {}
    for condition in dict.fromkeys((CLEAN, *chains)):
        own = chains.get(condition, {})
        found[condition] = {}
        for item in items:
            raw = own.get(item.id) or (item.solution if condition == CLEAN else None)
            found[condition][item.id] = (without_answers(raw, item) or None) if raw else None
    return found


def read_arms(
    model: LanguageModel,
    items: Sequence[Item],
    arms: Sequence[Arm],
    texts: Mapping[str, Mapping[str, str | None]],
    asked: Mapping[str, Any],
    kept: Mapping[str, Any],
) -> dict[tuple[str, Arm], Reading]:
    """Return the reading of every item under every arm."""
    found: dict[tuple[str, Arm], Reading] = {}

    def read(some: Sequence[tuple[Item, Arm]]) -> None:
        slots: list[Slot] = []
        for item, arm in some:
            text = None if arm.text == NO_TEXT else texts[arm.text][item.id]
            first = found.get((item.id, Arm(ANSWERED_FIRST)))
            if arm.text != NO_TEXT and text is None:
                found[item.id, arm] = Reading(item, arm, None, (), NO_REASONING)
            elif _after_first(arm) and (first is None or first.chosen is None):
                why = "there is no first answer" if first is None else first.reason
                found[item.id, arm] = Reading(item, arm, None, (), why)
            else:
                said = first.chosen if first is not None and _after_first(arm) else None
                slots.append(slot_of(item, arm, reasoning=text, first=said, **asked))
        for one in read_slots(model, slots, **kept):
            found[one.item.id, one.arm] = one

    read([(item, arm) for item in items for arm in arms if not _after_first(arm)])
    later = [(item, arm) for item in items for arm in arms if _after_first(arm)]
    if later:  # what was answered first is known now
        read(later)
    return found


def _after_first(arm: Arm) -> bool:
    return arm.condition == ANSWERED_FIRST and arm.text != NO_TEXT
