"""Preference data that teach a model to turn round: groups made by a stated aligned model.

For every harmful request: a safe reply (SR), replies that begin as the harmful one does and turn
away after ever more of it (SYN), and the harmful reply itself (FHR). For every such group one
benign request whose good reply is preferred to the same reply broken off, so that what is learnt is
the harm and not the breaking off. What the model writes passes gates, is written again where it
does not; a correction that never turns is made of a trigger and the safe reply, or the group is
dropped. Every graft and every drop is counted.

Benign rows are taken from all categories in turn. A model that sees only what looks like the harm
learns to tell the two apart, and to break off everything else.

Source: arXiv:2407.16637 (C2-Syn), with other cuts, gates and the benign half.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.correction import preference_gates as gates
from theodolite.correction.cut_points import DEPTHS, JITTER, check_depths, cut_points
from theodolite.data.correction_lists import OPENERS, TRIGGERS
from theodolite.data.correction_lists import VERSION as LISTS
from theodolite.data.forced_replies import reply_of
from theodolite.data.preference_groups import Group, Reply, count_pairs, write_groups
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet
from theodolite.engine import generate
from theodolite.errors import ConfigError, DataError, RunError
from theodolite.mechanism.near_duplicates import near_pairs
from theodolite.models.chat import Encoded, encode
from theodolite.runs.atomic import write_text
from theodolite.runs.strict_json import strict_dumps
from theodolite.text.hashing import content_key, item_seed
from theodolite.training.refusals import general_refusal

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION: Final = 1
GROUPS, CARD = "groups.jsonl", "data_card.json"
TEMPERATURE: Final = 0.8
TOP_P: Final = 0.9
LEAST_REFUSED: Final = 0.5
# Triggers after which a new sentence may begin.
WHOLE: Final = tuple(name for name, words in TRIGGERS.items() if words[-1] in gates.ENDS)


@dataclass(frozen=True)
class SynthesisOptions:
    """What groups are made of.

    Args:
        depths: shares of the harmful reply after which a correction turns; one reply for each.
        jitter: most a depth is moved.
        opener: share of groups whose begun replies open with a phrase of agreement, the same in
            all replies of a group, so that no pair teaches a taste for openers.
        own_turn: share of corrections that get no trigger: the model must turn by itself.
        new_tokens: longest safe reply, and longest correction.
        tries: how often what fails a gate is written again; 0 takes the greedy text alone.
        graft: where no try turns away, let the row's own safe reply follow a trigger.
        benign: add one benign row for every harmful group, as far as there are any.
        breaks: groups of a benign row, each broken off at a depth of its own, beside one in which
            the bare request is refused: harmful groups give about as many pairs, and without a
            balance a model learns to break off everything.
    """

    depths: tuple[float, ...] = DEPTHS
    jitter: float = JITTER
    opener: float = 0.5
    own_turn: float = 0.2
    new_tokens: int = 96
    tries: int = 3
    graft: bool = True
    benign: bool = True
    breaks: int = 3


@dataclass(frozen=True)
class Synthesis:
    """Groups and how they came about.

    Args:
        groups: harmful ones in the order of their rows, then benign ones.
        card: counts, reasons of drops, and what decided the result.
    """

    groups: tuple[Group, ...]
    card: Mapping[str, Any]

    def write(self, folder: Path) -> Path:
        """Write groups and card into a folder; return the file of groups."""
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CARD, strict_dumps(dict(self.card), indent=1) + "\n")
        return write_groups(folder / GROUPS, self.groups)


@dataclass
class _Draft:
    """A harmful row on its way to a group."""

    prompt: Prompt
    opener_id: str | None
    whole: str
    cuts: list[int]
    triggers: list[str | None]
    safe: str | None = None
    turned: list[str | None] = field(default_factory=list)
    grafts: int = 0
    reason: str | None = None

    def begun(self, place: int) -> str:
        """Return what a correction is written after: the prefix, and its trigger."""
        trigger = self.triggers[place]
        return self.whole[: self.cuts[place]] + (f" {TRIGGERS[trigger]}" if trigger else "")


def synthesise(
    model: LanguageModel,
    rows: PromptSet,
    *,
    options: SynthesisOptions | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> Synthesis:
    """Make preference groups from requests with harmful replies.

    Args:
        model: the aligned model that writes safe replies and corrections; named in the card.
        rows: harmful rows, and benign ones with good replies (`meta["reply"]`).
        journal: what is written is kept there, so that a stopped synthesis goes on.

    Raises:
        ConfigError: an option is out of range.
        DataError: no row can be used.
        RunError: the model refuses fewer than half of the bare requests, so it is not aligned
            enough to teach.
    """
    options = options or SynthesisOptions()
    check_options(options)
    dropped: Counter[str] = Counter()
    drafts = _drafts(model, rows, options, seed, dropped)
    if not drafts:
        raise DataError(
            "No harmful row is left to make a group of.",
            fix="Give rows with replies of at least 60 tokens that do what was asked.",
        )
    writer = _Writer(model, options, seed, journal, progress)
    refused = _write_safe(drafts, writer)
    if refused < LEAST_REFUSED:
        raise RunError(
            f"{model.name} refuses {refused:.0%} of the bare requests, and a model that teaches "
            f"must refuse at least {LEAST_REFUSED:.0%}: it is not aligned enough.",
            fix="Use a model that refuses these requests, or train one on refusals first.",
        )
    _write_turns([d for d in drafts if d.reason is None], writer)
    kept = [draft for draft in drafts if draft.reason is None]
    dropped.update(draft.reason for draft in drafts if draft.reason is not None)
    groups = [_group(draft) for draft in kept]
    good = _in_turn([row for row in rows if row.label == BENIGN]) if options.benign else []
    groups += _benign_groups(model, good, len(kept), options, seed, dropped)
    if not kept:
        raise DataError(
            "No group passed the gates "
            f"({', '.join(f'{n} x {reason}' for reason, n in dropped.most_common(3))}).",
            fix="Use a better aligned model, or more tries.",
        )
    counts = {
        "grafted": sum(draft.grafts for draft in kept),
        "dropped": dict(sorted(dropped.items())),
    }
    return Synthesis(tuple(groups), _card(model, rows, groups, options, counts, refused, seed))


def check_options(options: SynthesisOptions) -> None:
    """Refuse options out of range; raises ConfigError."""
    check_depths(options.depths, options.jitter)
    for name in ("opener", "own_turn"):
        if not 0 <= getattr(options, name) <= 1:
            raise ConfigError(f"`{name}` is {getattr(options, name)}.", fix="Give a share.")
    for name, least in (("new_tokens", 1), ("tries", 0), ("breaks", 1)):
        value = getattr(options, name)
        if value < least:
            raise ConfigError(f"`{name}` is {value}.", fix=f"Give {least} or more.")


def _drafts(
    model: LanguageModel,
    rows: PromptSet,
    options: SynthesisOptions,
    seed: int,
    dropped: Counter[str],
) -> list[_Draft]:
    """Return the rows that can be cut; what cannot be used is counted."""
    harmful = [row for row in rows if row.label == HARMFUL]
    repeats = {second for _, second in near_pairs([row.request for row in harmful]).tolist()}
    drafts = []
    for place, row in enumerate(harmful):
        dice = random.Random(item_seed(seed, "group", row.id))
        opener = dice.choice(list(OPENERS)) if dice.random() < options.opener else None
        whole = (f"{OPENERS[opener]} " if opener else "") + reply_of(row)
        reason = gates.REPEATED if place in repeats else gates.harmful_reply(reply_of(row))
        how: dict[str, Any] = {"depths": options.depths, "jitter": options.jitter}
        cuts = cut_points(reply_of(row), model.tokenizer, key=row.id, seed=seed, **how)
        if reason is None and cuts is None:
            reason = gates.TOO_SHORT
        if reason is not None or cuts is None:
            dropped[reason or gates.TOO_SHORT] += 1
            continue
        begin = len(whole) - len(reply_of(row))
        names = list(TRIGGERS)
        triggers = [None if dice.random() < options.own_turn else dice.choice(names) for _ in cuts]
        drafts.append(_Draft(row, opener, whole, [begin + cut for cut in cuts], triggers))
    return drafts


@dataclass
class _Writer:
    """Lets the aligned model write, greedily first, then by chance."""

    model: LanguageModel
    options: SynthesisOptions
    seed: int
    journal: Journal | None
    progress: Progress | None

    def write(self, prompts: Sequence[Encoded], attempt: int) -> list[str]:
        """Return one answer to each prompt."""
        chance: dict[str, Any] = {"temperature": TEMPERATURE, "top_p": TOP_P} if attempt else {}
        found = generate(
            self.model,
            list(prompts),
            max_new_tokens=self.options.new_tokens,
            seed=item_seed(self.seed, "synthesis", attempt),
            journal=self.journal,
            progress=self.progress,
            **chance,
        )
        return [completion.text for completion in found]


def _write_safe(drafts: Sequence[_Draft], writer: _Writer) -> float:
    """Write the safe replies; return the share of requests that the first, greedy try refused."""
    refused = 0.0
    todo = list(drafts)
    for attempt in range(writer.options.tries + 1):
        prompts = [encode(writer.model, draft.prompt) for draft in todo]
        texts = writer.write(prompts, attempt)
        for draft, text in zip(todo, texts, strict=True):
            draft.reason = gates.safe_reply(text, draft.whole)
            draft.safe = text.strip()
        todo = [draft for draft in todo if draft.reason is not None]
        if attempt == 0:  # noise is no refusal, so the gate's reasons do not tell
            refused = sum(map(gates.refuses, texts)) / len(drafts)
            if refused < LEAST_REFUSED:
                return refused
        if not todo:
            break
    return refused


def _write_turns(drafts: Sequence[_Draft], writer: _Writer) -> None:
    """Write every correction; a row whose last try fails carries the reason."""
    for draft in drafts:
        draft.turned = [None] * len(draft.cuts)
    todo = [(draft, place) for draft in drafts for place in range(len(draft.cuts))]
    failed: dict[tuple[int, int], str] = {}
    for attempt in range(writer.options.tries + 1):
        prompts = [_open(writer.model, draft, place) for draft, place in todo]
        failed = {}
        for (draft, place), text in zip(todo, writer.write(prompts, attempt), strict=True):
            trigger = draft.triggers[place]
            reason = gates.correction(TRIGGERS[trigger] if trigger else None, text, draft.whole)
            if reason is None:
                draft.turned[place] = text.rstrip()
            else:
                failed[id(draft), place] = reason
        todo = [(draft, place) for draft, place in todo if (id(draft), place) in failed]
        if not todo:
            return
    for draft, place in todo:
        if not (writer.options.graft and _grafted(draft, place, writer.seed)):
            draft.reason = failed[id(draft), place]


def _grafted(draft: _Draft, place: int, seed: int) -> bool:
    """Let the safe reply to the bare request follow a trigger; whether that passes the gate.

    A small model that refuses a bare request may still be unable to turn round inside a reply.
    """
    safe = draft.safe or ""
    trigger = draft.triggers[place]
    if trigger not in WHOLE:
        trigger = random.Random(item_seed(seed, "graft", draft.prompt.id, place)).choice(WHOLE)
    if gates.correction(TRIGGERS[trigger], safe, draft.whole) is not None:
        return False
    draft.triggers[place], draft.turned[place] = trigger, f" {safe}"
    draft.grafts += 1
    return True


def _open(model: LanguageModel, draft: _Draft, place: int) -> Encoded:
    """Return the chat whose assistant's turn is open after a begun reply and its trigger."""
    turns = [*draft.prompt.as_messages(), {"role": "assistant", "content": draft.begun(place)}]
    encoded = encode(model, turns, continue_final=True)
    return Encoded(**{**vars(encoded), "prompt_id": f"{draft.prompt.id}/turn/{place + 1}"})


def _group(draft: _Draft) -> Group:
    turned = [
        Reply("SYN", _joined(draft.begun(place), text or ""), place + 1, cut, trigger)
        for place, (cut, trigger, text) in enumerate(
            zip(draft.cuts, draft.triggers, draft.turned, strict=True)
        )
    ]
    return Group(
        id=draft.prompt.id,
        goal_id=draft.prompt.goal_id or draft.prompt.id,
        split=draft.prompt.split or "train",
        label=HARMFUL,
        request=draft.prompt.request,
        replies=(Reply("SR", draft.safe or ""), *turned, Reply("FHR", draft.whole)),
        opener_id=draft.opener_id,
        source=draft.prompt.source or "",
    )


def _joined(begun: str, text: str) -> str:
    """Return a begun reply with what was written after it, one space between them at least."""
    return begun + (text if text[:1].isspace() or not text else f" {text}")


def _in_turn(rows: Sequence[Prompt]) -> list[Prompt]:
    """Return one row of each category after the other, in their order, until none is left."""
    categories: dict[str | None, list[Prompt]] = {}
    for row in rows:
        categories.setdefault(row.category, []).append(row)
    return [row for turn in zip_longest(*categories.values()) for row in turn if row is not None]


def _benign_groups(
    model: LanguageModel,
    rows: Sequence[Prompt],
    wanted: int,
    options: SynthesisOptions,
    seed: int,
    dropped: Counter[str],
) -> list[Group]:
    """Return the groups of so many benign rows: the good reply before one that refuses or breaks.

    A row whose reply cannot be cut is counted, and the next one takes its place.
    """
    how: dict[str, Any] = {"depths": options.depths, "jitter": options.jitter, "seed": seed}
    groups: list[Group] = []
    taken = 0
    for row in rows:
        if taken == wanted:
            break
        dice = random.Random(item_seed(seed, "benign", row.id))
        cuts = cut_points(reply_of(row), model.tokenizer, key=row.id, **how)
        if cuts is None:
            dropped[gates.GOOD_TOO_SHORT] += 1
            continue
        taken += 1
        opener = dice.choice(list(OPENERS)) if dice.random() < options.opener else None
        groups.append(_broken(row, 0, None, None, seed))
        for cut in sorted(dice.sample(cuts, min(options.breaks, len(cuts)))):
            trigger = None if dice.random() < options.own_turn else dice.choice(list(TRIGGERS))
            groups.append(_broken(row, cut, opener, trigger, seed))
    return groups


def _broken(row: Prompt, cut: int, opener: str | None, trigger: str | None, seed: int) -> Group:
    """Return a benign row's good reply, and the same broken off after so many characters.

    After none, the request is refused at once.
    """
    begin = f"{OPENERS[opener]} " if opener else ""
    whole, cut = begin + reply_of(row), len(begin) + cut
    name = f"{row.id}/{cut}"
    turn = f"{TRIGGERS[trigger]} " if trigger else ""
    broken = f"{whole[:cut]} {turn}{general_refusal(name, seed=seed)}".lstrip()
    return Group(
        id=name,
        goal_id=row.goal_id or row.id,
        split=row.split or "train",
        label=BENIGN,
        request=row.request,
        replies=(Reply("GOOD", whole), Reply("BREAK", broken, None, cut, trigger)),
        opener_id=opener,
        source=row.source or "",
    )


def _card(
    model: LanguageModel,
    rows: PromptSet,
    groups: Sequence[Group],
    options: SynthesisOptions,
    counts: Mapping[str, Any],
    refused: float,
    seed: int,
) -> dict[str, Any]:
    harmful = [group for group in groups if group.label == HARMFUL]
    turned = [reply for group in harmful for reply in group.cuts]
    return {
        "version": VERSION,
        "lists": LISTS,
        "written_by": {"model": model.ref, "fingerprint": model.fingerprint},
        "rows": {"source": rows.source, "fingerprint": rows.fingerprint, "n": len(rows)},
        "options": asdict(options),
        "seed": seed,
        "bare_requests_refused": round(refused, 4),
        "groups": {
            "harmful": len(harmful),
            "benign": len(groups) - len(harmful),
            "by_split": dict(sorted(Counter(group.split for group in groups).items())),
        },
        "pairs": count_pairs(groups),
        "corrections": len(turned),
        "turned_without_a_trigger": sum(reply.trigger_id is None for reply in turned),
        **counts,
        "key": content_key([group.to_json() for group in groups]),
    }
