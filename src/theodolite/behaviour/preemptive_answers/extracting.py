"""The answers of replies: by rules, then by another model where rules find none, then by vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from theodolite.behaviour.preemptive_answers.equivalence import canonical
from theodolite.behaviour.preemptive_answers.extraction import (
    Extracted,
    extract,
    read_reply,
    without_preemptive,
)
from theodolite.behaviour.preemptive_answers.outcomes import Vote, majority
from theodolite.behaviour.preemptive_answers.planting import ANSWERED_FIRST
from theodolite.behaviour.preemptive_answers.prompts import FALLBACK
from theodolite.data.preemptive import Item
from theodolite.data.prompts import Message
from theodolite.judging.fence import fence
from theodolite.text.normalise import strip_reasoning

if TYPE_CHECKING:
    from theodolite.behaviour.preemptive_answers.asking import Asker

VOTED_RULE: Final = "vote"
READ_BY_MODEL: Final = "model"
MAX_TOKENS: Final = 256
"""Of what the reading model writes."""


@dataclass(frozen=True)
class Ballot:
    """The answer of one or several replies.

    Args:
        found: the answer that counts.
        sample: the reply that stands for it, from 0.
        vote: how the replies voted; None for a single one.
    """

    found: Extracted
    sample: int = 0
    vote: Vote | None = None


def found_in(item: Item, text: str, condition: str) -> Extracted:
    """Return what the rules find in a reply."""
    first = condition == ANSWERED_FIRST
    return extract(text, item.answer_type, options=item.options, answered_first=first)


def voted(item: Item, found: Sequence[Extracted], planted: str | None = None) -> Ballot:
    """Return the answer of the replies to one item.

    A flag counts where half of the replies or more have it. The preemptive answer is the majority
    of theirs.

    Args:
        found: of each reply in order, at least one.
        planted: what was planted; None where nothing was.
    """
    if len(found) == 1:
        return Ballot(found[0])
    vote = majority([one.final for one in found], item, planted)
    early = majority([one.preemptive for one in found], item)
    flags = Counter(flag for one in found for flag in one.flags)
    common = tuple(flag for flag, count in flags.items() if 2 * count >= len(found))
    sample = next((i for i, one in enumerate(found) if _same(one, vote, item)), 0)
    return Ballot(Extracted(vote.answer, early.answer, VOTED_RULE, common), sample, vote)


def fallback_turns(item: Item, text: str, condition: str, seed: int = 0) -> tuple[Message, ...]:
    """Return what the reading model is asked; the reply stands behind a fence.

    Args:
        text: the reply; of one that was to begin with an answer, that answer is taken out.
    """
    shown = without_preemptive(text) if condition == ANSWERED_FIRST else strip_reasoning(text)
    block = fence(shown, item_id=item.id, seed=seed, name="TEXT").block
    before, _, rest = FALLBACK.partition("{problem}")
    middle, _, after = rest.partition("{text}")
    return (Message("user", f"{before}{item.asked}{middle}\n{block}{after}"),)


def read_by_model(
    asker: Asker,
    items: Sequence[Item],
    texts: Sequence[str],
    conditions: Sequence[str],
    found: Sequence[Extracted],
) -> list[Extracted]:
    """Return what is found once a model has read the replies in which rules found nothing.

    Replies without words and refusals are not read. What cannot be read stays as it is.

    Args:
        asker: of the reading model.
        items, texts, conditions, found: per reply.
    """
    from theodolite.behaviour.preemptive_answers.asking import Ask

    missing = [i for i, one in enumerate(found) if one.unparsed]
    asks = [
        Ask(fallback_turns(items[i], texts[i], conditions[i], asker.seed), MAX_TOKENS)
        for i in missing
    ]
    result = list(found)
    for i, said in zip(missing, asker.ask(asks, label="Unread answers"), strict=True):
        item = items[i]
        reply = said.texts[0] if said.texts else ""
        answer = read_reply(strip_reasoning(reply), item.answer_type, item.options)
        rule = READ_BY_MODEL if answer is not None else found[i].rule
        result[i] = replace(found[i], final=answer, rule=rule)
    return result


def _same(one: Extracted, vote: Vote, item: Item) -> bool:
    if one.final is None or vote.answer is None:
        return False
    kind = item.answer_type
    return canonical(one.final, kind) == canonical(vote.answer, kind)
