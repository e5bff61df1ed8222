"""Training rows from preference groups: whole replies in pairs or in order, or how to go on.

`pairs`        every better reply over every worse one, whole (it also makes the harmful opening of
               a reply that turns round likelier than it was)
`conditional`  the begun reply is read as part of the prompt: turn round rather than go on
`listwise`     all replies to a request, in their order
`recovery`     supervised: what to say after a begun reply, and without one

Which depths a group gives is chosen by its id. A beginning never ends in white space: that belongs
to what follows, as a tokenizer has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from theodolite.data.preference_groups import Group, Reply
from theodolite.data.prompts import HARMFUL, shown
from theodolite.data.records import read_records
from theodolite.data.styles import PLAIN
from theodolite.errors import ConfigError, DataError
from theodolite.text.hashing import item_seed
from theodolite.text.suggest import did_you_mean
from theodolite.training.recipe import Recipe
from theodolite.training.rows import TrainingRow

GroupForm = Literal["pairs", "conditional", "listwise", "recovery"]
FORMS: Final = get_args(GroupForm)
# Share of harmful `conditional` rows in which nothing is begun: SR over FHR.
FRESH: Final = 0.25
_UNIT: Final = float(1 << 63)


def preference_rows(
    groups: Sequence[Group],
    form: GroupForm,
    *,
    seed: int = 0,
    fresh: float = FRESH,
    source: str = "groups",
) -> list[TrainingRow]:
    """Return the training rows of preference groups, group by group.

    Args:
        form: `pairs` and `conditional` serve `dpo`, `listwise` its own method, `recovery`
            `ssft-chat`.
        seed: of the depths that `conditional` and `recovery` take.
        fresh: share of harmful `conditional` rows that prefer SR to FHR with nothing begun; the
            other rows of a group begin at as many depths as that leaves.
        source: of groups that do not name their own.

    Returns: rows whose ids begin with those of their groups.

    Raises:
        ConfigError: the form is unknown, or `fresh` is no share.
        DataError: a group has equal replies, or one with nothing after its cut.
    """
    if form not in FORMS:
        raise ConfigError(
            f"There is no form {form!r} of preference groups.", fix=did_you_mean(form, FORMS)
        )
    if not 0 <= fresh <= 1:
        raise ConfigError(f"`fresh` is {fresh}.", fix="Give a share from 0 to 1.")
    make = _MAKERS[form]
    return [row for group in groups for row in make(_Maker(group, source, seed, fresh))]


def form_of(recipe: Recipe) -> GroupForm:
    """Return the form in which a recipe's method reads preference groups.

    Raises: ConfigError: the method has no use for them.
    """
    if recipe.method == "ssft-label":
        raise ConfigError(
            "Preference groups hold answers of a chat, and ssft-label learns a moderator's word.",
            fix='Use method = "listwise", "dpo" or "ssft-chat".',
        )
    form = recipe.data.form
    if recipe.method == "dpo":
        return "pairs" if form == "pairs" else "conditional"
    if recipe.method == "listwise":
        return "conditional" if form == "conditional" else "listwise"
    return "recovery"


def as_order(row: TrainingRow) -> TrainingRow:
    """Return a row of a chosen and a rejected answer as an order of two, which is the same loss."""
    if row.ranked is not None or row.rejected is None:
        return row
    return replace(row, target=None, rejected=None, ranked=(str(row.target), row.rejected))


def holds_groups(path: Path) -> bool:
    """Return whether a row file holds preference groups: .jsonl whose records have `responses`.

    Raises: DataError: the file cannot be read.
    """
    if path.suffix.lower() != ".jsonl":
        return False
    return any("responses" in record.values for record in read_records(path))


class _Maker:
    """The rows of one group."""

    def __init__(self, group: Group, source: str, seed: int, fresh: float) -> None:
        self.group, self.source = group, group.source or source
        self.seed, self.fresh = seed, fresh

    def pairs(self) -> Iterator[TrainingRow]:
        """Yield every reply over every worse one."""
        for better, worse in self.group.pairs():
            name = f"{_name(better)}>{_name(worse)}"
            yield self._row(name, target=better.text, rejected=worse.text)

    def conditional(self) -> Iterator[TrainingRow]:
        """Yield turning round over going on, in a benign group the reverse; and SR over FHR."""
        best, worst = self.group.replies[0], self.group.replies[-1]
        if self.group.label != HARMFUL:
            begun, broken, good = self._begun(worst)
            yield self._row("go-on", begun=begun or None, target=good, rejected=broken)
            return
        depths, bare = _mix(self.fresh, len(self.group.cuts))
        if self._luck("fresh") < bare:
            yield self._row("at-0", target=best.text, rejected=worst.text)
        whole = math.floor(depths) + (self._luck("depths") < depths % 1)
        for reply in self._some(whole):
            begun, turned, rest = self._begun(reply)
            yield self._row(f"at-{reply.i}", begun=begun, target=turned, rejected=rest)

    def listwise(self) -> Iterator[TrainingRow]:
        """Yield the replies in their order."""
        yield self._row("order", ranked=tuple(reply.text for reply in self.group.replies))

    def recovery(self) -> Iterator[TrainingRow]:
        """Yield one row with nothing begun and one that is begun, where the group has both."""
        yield self._row("at-0", target=self.group.replies[0].text)
        (reply,) = self._some(1)
        if not reply.cut:
            return
        begun, own, rest = self._begun(reply)
        harmful = self.group.label == HARMFUL
        name = f"at-{reply.i}" if harmful else "go-on"
        yield self._row(name, begun=begun, target=own if harmful else rest)

    def _begun(self, reply: Reply) -> tuple[str, str, str]:
        """Return what a reply shares with the whole one, and how each of the two goes on."""
        begun = reply.text[: reply.cut or 0].rstrip()
        return begun, reply.text[len(begun) :], self.group.whole.text[len(begun) :]

    def _some(self, count: int) -> list[Reply]:
        """Return so many of the replies that turn round, chosen by the group's id, in order."""
        cuts = self.group.cuts
        drawn = sorted(cuts, key=lambda r: item_seed(self.seed, "depth", self.group.id, r.i))
        return [reply for reply in cuts if reply in drawn[:count]]

    def _luck(self, what: str) -> float:
        return item_seed(self.seed, what, self.group.id) / _UNIT

    def _row(self, name: str, **answers: Any) -> TrainingRow:
        group = self.group
        try:
            return TrainingRow(
                id=f"{group.id}/{name}",
                goal_id=group.goal_id,
                split=group.split,
                label=group.label,  # type: ignore[arg-type]
                style=PLAIN,
                source=self.source,
                text=group.request,
                **answers,
            )
        except DataError as error:
            raise DataError(f"Group {shown(group.id)}: {error.message}", fix=error.fix) from None


_MAKERS: Final[Mapping[str, Callable[[_Maker], Iterator[TrainingRow]]]] = {
    "pairs": _Maker.pairs,
    "conditional": _Maker.conditional,
    "listwise": _Maker.listwise,
    "recovery": _Maker.recovery,
}


def _name(reply: Reply) -> str:
    return f"{reply.kind}{reply.i or ''}"


def _mix(fresh: float, cuts: int) -> tuple[float, float]:
    """Return how many depths a group gives, and how likely its bare pair is, for a share of these.

    A group never gives more than one bare pair, nor a depth twice.
    """
    depths = (1 - fresh) / fresh if fresh else math.inf
    return (depths, 1.0) if depths <= cuts else (float(cuts), cuts * fresh / (1 - fresh))
