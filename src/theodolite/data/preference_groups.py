"""Preference groups: the replies to one request, best to worst, and the pairs they give.

A harmful group holds a safe reply (SR), replies that begin to comply and turn round, the earlier
the better (SYN 1 .. n), and the whole harmful reply (FHR): correcting beats not correcting, and
earlier beats later. A benign group keeps a model from learning to break off everything: the good
reply (GOOD) beats the same reply broken off (BREAK).

One JSON object per line:
{"id", "goal_id", "split", "label", "request", "opener_id", "source", "responses": [{"kind", "text",
"i", "cut", "trigger_id"}, ...]}; `cut` counts the characters a reply has in common with the last
(FHR) or first (GOOD) one, up to where it turns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal

from theodolite.data.goal_splits import Placed, refuse_goals_in_two_splits
from theodolite.data.prompts import BENIGN, HARMFUL, SPLITS, check_text, shown
from theodolite.data.records import Place, Record, read_records
from theodolite.errors import DataError

Kind = Literal["SR", "SYN", "FHR", "GOOD", "BREAK"]
SIZE: Final = 6  # SR, four corrections, FHR


@dataclass(frozen=True)
class Reply:
    """One reply of a group.

    Args:
        kind: SR, SYN or FHR; in a benign group GOOD or BREAK.
        text: the whole reply, from the assistant's first word.
        i: which correction, from 1, earliest first; None for other kinds.
        cut: characters shared with the whole reply, up to the turn; None for other kinds.
        trigger_id: of the words with which it turns; None where it turned by itself.
    """

    kind: Kind
    text: str
    i: int | None = None
    cut: int | None = None
    trigger_id: str | None = None


@dataclass(frozen=True)
class Group:
    """The replies to one request, best to worst.

    Args:
        id, goal_id, split, source: as of a prompt.
        label: `harmful` or `benign`.
        request: the user's turn.
        opener_id: of the opener that the harmful replies of this group begin with, or None.
        replies: SR, SYN 1 .. n, FHR; or GOOD, BREAK.

    Raises:
        DataError: replies are missing, out of order, or do not share what `cut` says.
    """

    id: str
    goal_id: str
    split: str
    label: str
    request: str
    replies: tuple[Reply, ...]
    opener_id: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "goal_id", "request"):
            check_text(name, getattr(self, name))
            if not getattr(self, name).strip():
                raise DataError(f"The field {name!r} is empty.")
        if self.split not in SPLITS:
            raise DataError(f"The split {shown(self.split)} is unknown.", fix="Use train or test.")
        problem = _problem(self)
        if problem:
            raise DataError(f"Group {shown(self.id)}: {problem}.")

    @property
    def whole(self) -> Reply:
        """The reply that the others begin with: FHR, or GOOD."""
        return self.replies[-1] if self.label == HARMFUL else self.replies[0]

    @property
    def cuts(self) -> tuple[Reply, ...]:
        """The replies that turn round on the way: the SYN of a harmful group, or BREAK."""
        return tuple(reply for reply in self.replies if reply.cut is not None)

    def pairs(self) -> Iterator[tuple[Reply, Reply]]:
        """Yield every (better, worse) pair."""
        yield from combinations(self.replies, 2)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON record; `read_groups` reads it back."""
        record = {
            name: getattr(self, name)
            for name in ("id", "goal_id", "split", "label", "request", "opener_id", "source")
        }
        replies = [
            {key: value for key, value in asdict(reply).items() if value is not None}
            for reply in self.replies
        ]
        return {key: v for key, v in record.items() if v is not None} | {"responses": replies}


def _problem(group: Group) -> str | None:
    kinds = [reply.kind for reply in group.replies]
    if any(not reply.text.strip() for reply in group.replies):
        return "a reply is empty"
    if group.label == HARMFUL:
        if len(kinds) < 3 or kinds != ["SR", *["SYN"] * (len(kinds) - 2), "FHR"]:
            return f"its replies are {', '.join(kinds) or 'none'} and not SR, SYN ..., FHR"
        if [reply.i for reply in group.cuts] != list(range(1, len(kinds) - 1)):
            return "its corrections are not numbered from 1 in order"
    elif group.label == BENIGN:
        if kinds != ["GOOD", "BREAK"]:
            return f"its replies are {', '.join(kinds) or 'none'} and not GOOD, BREAK"
        if group.cuts != group.replies[1:]:
            return "its second reply does not say where it breaks off"
    else:
        return f"the label {shown(group.label)} is neither harmful nor benign"
    # A benign request may be refused at once; a correction has something to correct.
    whole, last = group.whole.text, 0 if group.label == HARMFUL else -1
    for reply in group.cuts:
        cut = reply.cut or 0
        if not last < cut < min(len(reply.text), len(whole)):
            return f"the cut of reply {reply.i or 1} is {cut}, not between the others"
        if reply.text[:cut] != whole[:cut]:
            return f"reply {reply.i or 1} does not begin as the whole reply does"
        last = cut
    return None


def read_groups(path: Path | str, *, size: int | None = SIZE) -> list[Group]:
    """Return the groups of a file, in order.

    Args:
        path: JSON lines as the module says.
        size: replies of every harmful group; None takes any number from three up.

    Raises:
        DataError: a group is wrong or not of the size, an id occurs twice, or a goal stands in two
            splits; names file and line.
    """
    path = Path(path)
    groups = [_group(Place(path, record.line), record, size) for record in read_records(path)]
    seen: set[str] = set()
    for group in groups:
        if group.id in seen:
            raise Place(path).error(f"the id {shown(group.id)} occurs twice.")
        seen.add(group.id)
    refuse_goals_in_two_splits((Placed(g.id, g.goal_id, g.split) for g in groups), shown(path))
    return groups


def write_groups(path: Path | str, groups: Iterable[Group]) -> Path:
    """Write one group per line (UTF-8)."""
    target = Path(path)
    lines = (json.dumps(group.to_json(), ensure_ascii=False) + "\n" for group in groups)
    target.write_text("".join(lines), encoding="utf-8", newline="\n")
    return target


_TEXTS: Final = ("id", "goal_id", "split", "label", "request")
_REPLY: Final[Mapping[str, type]] = {
    "kind": str, "text": str, "i": int, "cut": int, "trigger_id": str
}  # fmt: skip


def _group(place: Place, record: Record, size: int | None) -> Group:
    values = record.values
    for name in _TEXTS:
        if not isinstance(values.get(name), str):
            raise place._replace(field=name).error("this must be text.")
    replies = values.get("responses")
    if not isinstance(replies, list):
        raise place._replace(field="responses").error("this must be a list of replies.")
    if values["label"] == HARMFUL and size is not None and len(replies) != size:
        raise place._replace(field="responses").error(
            f"there are {len(replies)} replies, and every group has {size}."
        )
    try:
        return Group(
            **{name: values[name] for name in _TEXTS},
            replies=tuple(_reply(place, reply) for reply in replies),
            opener_id=values.get("opener_id"),
            source=str(values.get("source", "")),
        )
    except DataError as error:
        if error.message.startswith(str(place.path)):
            raise
        raise place.error(error.message[:1].lower() + error.message[1:], error.fix) from None


def _reply(place: Place, values: Any) -> Reply:
    at = place._replace(field="responses")
    if not isinstance(values, dict) or not {"kind", "text"} <= values.keys():
        raise at.error("a reply must be an object with kind and text.")
    for key, value in values.items():
        if key not in _REPLY:
            raise at.error(f"a reply has no field {shown(key)}.", f"Use {', '.join(_REPLY)}.")
        if not isinstance(value, _REPLY[key]) or isinstance(value, bool):
            raise at.error(f"the field {shown(key)} of a reply is of the wrong type.")
    return Reply(**values)


def count_pairs(groups: Sequence[Group]) -> int:
    """Return how many pairs all groups give: 15 of a group of six."""
    return sum(len(group.replies) * (len(group.replies) - 1) // 2 for group in groups)
