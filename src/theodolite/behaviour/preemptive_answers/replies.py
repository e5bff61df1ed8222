"""Ask every item in every way under one method, and say what became of it.

Three rounds: what needs no earlier reply; late plants, which stand in the clean reasoning; and the
check of a reply by the model itself, which reads the reply that is there. The clean run is made
once and serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.preemptive_answers.asking import Ask, Said
from theodolite.behaviour.preemptive_answers.data import planted_answer
from theodolite.behaviour.preemptive_answers.extracting import (
    Ballot,
    found_in,
    read_by_model,
    voted,
)
from theodolite.behaviour.preemptive_answers.extraction import Extracted, reasoning_of
from theodolite.behaviour.preemptive_answers.options import (
    CLEAN_CELL,
    INDEPENDENT,
    MASK,
    VOTE,
    Cell,
    Options,
)
from theodolite.behaviour.preemptive_answers.outcomes import Outcome, judged
from theodolite.behaviour.preemptive_answers.planting import (
    EXTRA_USER,
    PLANTED_LATE,
    Route,
    ask,
    masked,
    plant,
    reflection,
)
from theodolite.behaviour.preemptive_answers.prompts import REFLECT, SENTENCES, VOTED
from theodolite.behaviour.preemptive_answers.reflecting import Check, read_check

if TYPE_CHECKING:
    from theodolite.behaviour.preemptive_answers.asking import Asker
    from theodolite.data.preemptive import Item
    from theodolite.data.prompts import Message

OVERFLOW: Final = "context_overflow"
NO_REASONING: Final = "no_reasoning"


@dataclass(frozen=True)
class Reply:
    """What was said of one item in one way of asking.

    Args:
        item: the question.
        said: the texts and their tokens; of a check, the check's.
        planted: what was planted; None where nothing was.
        begun: the begun reply that the model went on with.
        asked: the last turn that it read.
        notes: what was odd about the asking.
    """

    item: Item
    said: Said
    planted: str | None = None
    begun: str = ""
    asked: str = ""
    notes: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """One text at least; an empty one where nothing was said."""
        return self.said.texts or ("",)


@dataclass(frozen=True)
class Answered:
    """A reply and what became of its item.

    Args:
        reply, outcome: of the item.
        ballot: the answers of its texts.
        check: what a model made of its own reply; None where it was not asked.
        disagrees: whether a second, undisturbed answer is another one; None where there is none.
    """

    reply: Reply
    outcome: Outcome
    ballot: Ballot
    check: Check | None = None
    disagrees: bool | None = None

    @property
    def text(self) -> str:
        """The text that stands for its answer."""
        texts = self.reply.texts
        return texts[min(self.ballot.sample, len(texts) - 1)]


Table = dict[Cell, list[Answered]]
"""What became of the items, in order, per way of asking."""


@dataclass(frozen=True)
class Method:
    """All ways of asking under one method.

    Args:
        name: of the method.
        asker: of the model.
        items: in order.
        pools: set -> the items from which unrelated plants are taken.
        cells: ways of asking, the clean run first.
        options: max_tokens, n_sc and temperature.
        routes: channel asked for -> channel taken.
        grader: the asker of the model that reads what the rules do not find.
        seed: of unrelated plants.
    """

    name: str
    asker: Asker
    items: Sequence[Item]
    pools: Mapping[str, Sequence[Item]]
    cells: Sequence[Cell]
    options: Options
    routes: Mapping[str, Route]
    grader: Asker | None = None
    seed: int = 0

    def answer(self) -> Table:
        """Ask, and return what became of every item; raises as `Asker.ask`."""
        late = [c for c in self.cells if c.condition == PLANTED_LATE and not _second(c)]
        direct = [c for c in self.cells if c.condition != PLANTED_LATE and not _second(c)]
        table = self._asked(direct, {})
        if late:
            clean = table[CLEAN_CELL]
            table |= self._asked(late, {one.reply.item.id: one for one in clean})
        self._check([c for c in self.cells if c.mitigation == REFLECT], table)
        for cell in self.cells:
            if cell.mitigation == INDEPENDENT:
                table[cell] = fresh(table[replace(cell, mitigation=None)], table[CLEAN_CELL])
        return {cell: table[cell] for cell in self.cells}

    def _asked(self, cells: Sequence[Cell], clean: Mapping[str, Answered]) -> Table:
        """Ask all items in several ways, item by item."""
        where = [(cell, item) for item in self.items for cell in cells]
        made = [self._turns(cell, item, clean.get(item.id)) for cell, item in where]
        asks = [self._ask(cell, item, turns) for (cell, item), (turns, _, _) in zip(where, made)]
        said = self.asker.ask(asks, label=f"Replies, {self.name}")
        replies: dict[Cell, list[Reply]] = {cell: [] for cell in cells}
        for (cell, item), (turns, planted, notes), one in zip(where, made, said, strict=True):
            begun = turns[-1].content if turns[-1].role == "assistant" else ""
            replies[cell].append(Reply(item, one, planted, begun, turns[-1].content, notes))
        return answered(replies, self.grader)

    def _turns(
        self, cell: Cell, item: Item, clean: Answered | None
    ) -> tuple[tuple[Message, ...], str | None, tuple[str, ...]]:
        """Return what is read, what is planted into it, and what is odd about it."""
        sentence = cell.mitigation if cell.mitigation in SENTENCES else None
        base = ask(item, self.name, sentence)
        planted = planted_answer(item, cell.condition, seed=self.seed, others=self.pools[item.set])
        how: dict[str, Any] = {"wording": cell.wording}
        notes: tuple[str, ...] = ()
        if cell.condition == PLANTED_LATE and cell.fraction and clean is not None:
            reasoning = reasoning_of(clean.text)
            how |= {"reasoning": reasoning, "fraction": cell.fraction}
            if not reasoning.strip():
                how, notes = {"wording": cell.wording}, (NO_REASONING,)
        channel = self.routes[cell.channel].channel if cell.channel else EXTRA_USER
        turns = plant(base, cell.condition, planted, channel, **how)
        if cell.mitigation == MASK:
            turns = masked(base, turns)
        return turns, planted if cell.plants else None, notes

    def _ask(self, cell: Cell, item: Item, turns: tuple[Message, ...]) -> Ask:
        votes = self.name in VOTED or cell.mitigation == VOTE
        n, temperature = (self.options.n_sc, self.options.temperature) if votes else (1, 0.0)
        return Ask(turns, self.options.max_tokens, n, temperature, cell.again, item.id)

    def _check(self, cells: Sequence[Cell], table: Table) -> None:
        """Let the model check the replies that are there."""
        where = [(c, one) for c in cells for one in table[replace(c, mitigation=None)]]
        asks = [
            Ask(
                reflection(one.reply.item.asked, one.reply.begun + one.text),
                self.options.max_tokens,
                group=one.reply.item.id,
            )
            for _, one in where
        ]
        said = self.asker.ask(asks, label=f"Checks, {self.name}")
        for cell in cells:
            table[cell] = []
        for (cell, before), one in zip(where, said, strict=True):
            table[cell].append(checked(before, one))


def answered(replies: Mapping[Cell, Sequence[Reply]], grader: Asker | None = None) -> Table:
    """Return what became of replies.

    Args:
        replies: per way of asking.
        grader: reads what the rules do not find; None leaves it at that.
    """
    flat = [
        (cell, place, reply.item, text)
        for cell, rows in replies.items()
        for place, reply in enumerate(rows)
        for text in reply.texts
    ]
    found = [found_in(item, text, cell.condition) for cell, _, item, text in flat]
    if grader is not None:
        found = read_by_model(
            grader,
            [item for _, _, item, _ in flat],
            [text for _, _, _, text in flat],
            [cell.condition for cell, _, _, _ in flat],
            found,
        )
    grouped: dict[tuple[Cell, int], list[Extracted]] = {}
    for (cell, place, _, _), one in zip(flat, found, strict=True):
        grouped.setdefault((cell, place), []).append(one)
    return {
        cell: [_answered(reply, grouped[cell, i]) for i, reply in enumerate(rows)]
        for cell, rows in replies.items()
    }


def checked(before: Answered, said: Said) -> Answered:
    """Return an item after the model has checked its own reply; an old answer may stand."""
    item = before.reply.item
    reply = replace(before.reply, said=said)
    check = read_check(reply.texts[0], item, before.ballot.found.final)
    found = replace(before.ballot.found, final=check.answer)
    return _marked(Answered(reply, judged(item, found, reply.planted), Ballot(found), check))


def fresh(attacked: Iterable[Answered], clean: Iterable[Answered]) -> list[Answered]:
    """Return attacked items that are answered by their clean run, and whether the two differ."""
    rows = []
    for one, other in zip(attacked, clean, strict=True):
        item, planted = one.reply.item, one.reply.planted
        outcome = judged(item, other.ballot.found, planted)
        both = _sum(other.reply.said, one.reply.said)
        differs = one.outcome.correct != outcome.correct
        if one.outcome.final is None or outcome.final is None:
            differs = one.outcome.final is not outcome.final
        elif not differs and not outcome.correct:
            differs = not judged(item, one.ballot.found, outcome.final).planted_match
        reply = replace(one.reply, said=both)
        rows.append(_marked(Answered(reply, outcome, other.ballot, disagrees=differs)))
    return rows


def _second(cell: Cell) -> bool:
    return cell.mitigation in (REFLECT, INDEPENDENT)


def _answered(reply: Reply, found: Sequence[Extracted]) -> Answered:
    ballot = voted(reply.item, found, reply.planted)
    return _marked(Answered(reply, judged(reply.item, ballot.found, reply.planted), ballot))


def _marked(one: Answered) -> Answered:
    """Return it with what was odd among the flags of its outcome."""
    notes = (*one.reply.notes, *([OVERFLOW] if one.reply.said.overflow else []))
    more = tuple(note for note in notes if note not in one.outcome.flags)
    return replace(one, outcome=replace(one.outcome, flags=(*one.outcome.flags, *more)))


def _sum(first: Said, second: Said) -> Said:
    """Return the first texts with the tokens of both."""
    both = (first.read, second.read), (first.written, second.written)
    read, written = (None if None in pair else sum(n or 0 for n in pair) for pair in both)
    return Said(first.texts, read, written, first.overflow or second.overflow)
