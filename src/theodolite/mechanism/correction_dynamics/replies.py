"""Requests with the replies along which a model is followed: read from files, cut into tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from theodolite.data.bundled import bundled
from theodolite.data.forced_replies import (
    SET,
    control_replies,
    drawn,
    goal_of,
    read_replies,
    reply_of,
)
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet, shown
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.correction_dynamics.openings import answered
from theodolite.mechanism.requests import TEST, Requests
from theodolite.models.chat import Encoded, encode_all

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest
    from theodolite.models.handle import LanguageModel


def requested_replies(request: ExplainRequest) -> Requests:
    """Return the requests of an analysis that follows replies, each with `meta["reply"]`.

    The bundled test rows where no file is named. Benign rows are those of the file, else those of
    `--benign`, else the bundled ones: a mass of refusal says nothing without a control.

    Raises:
        ConfigError: an option that has no part in this, or a limit that leaves nothing.
        DataError: a file cannot be read, or a row has no reply.
    """
    for option in ("harmful", "jailbreak"):
        if getattr(request, option) is not None:
            raise ConfigError(
                f"--{option} has no part in this analysis: every request needs a reply.",
                fix="Give a file of requests and replies with --prompts.",
            )
    if request.limit is not None and request.limit < 1:
        raise ConfigError(f"A limit of {request.limit} leaves nothing.", fix="Give 1 or more.")
    files = {
        name: Path(path)
        for name, path in (("prompts", request.prompts), ("benign", request.benign))
        if path is not None
    }
    own = read_replies(files["prompts"]) if "prompts" in files else bundled(SET).split(TEST)
    harmful = [row for row in own if row.label == HARMFUL]
    if not harmful:
        raise DataError(
            f"No row of {shown(own.source)} is harmful.", fix="Give harmful requests, with replies."
        )
    benign, control = _control(own, files.get("benign"))
    rows = drawn(PromptSet("replies", (*harmful, *benign)), request.limit, seed=0)
    for row in rows:
        reply_of(row)
    first, second = (
        tuple(row for row in rows if row.label == label) for label in (HARMFUL, BENIGN)
    )
    sources = dict.fromkeys((own.source, control))
    return Requests(first, second, source=" and ".join(sources), files=files)


def _control(own: PromptSet, file: Path | None) -> tuple[list[Prompt], str]:
    """Return the benign rows and what they are."""
    if file is not None:
        given = read_replies(file)  # rows without a label would pass for harmful ones
        return [_relabelled(row) for row in given], given.source
    benign = [row for row in own if row.label == BENIGN]
    if benign:
        return benign, own.source
    other = control_replies(TEST)
    return list(other), other.source


def _relabelled(row: Prompt) -> Prompt:
    return Prompt.from_json({**row.to_json(), "label": BENIGN})


@dataclass(frozen=True, eq=False)
class Followed:
    """One request and reply as tokens.

    Args:
        id, label, goal: of the request; rows of one request share a goal.
        encoded: the request, the opened turn and the whole reply.
        start: the reply's first token.
    """

    id: str
    label: str
    goal: str
    encoded: Encoded
    start: int

    @property
    def head(self) -> tuple[int, ...]:
        """Token ids before the reply."""
        return self.encoded.ids[: self.start]

    @property
    def reply(self) -> tuple[int, ...]:
        """Token ids of the reply."""
        return self.encoded.ids[self.start :]


def encode_replies(model: LanguageModel, prompts: Sequence[Prompt]) -> list[Followed]:
    """Encode requests with their replies as the open assistant turn.

    Raises:
        DataError: there are none, a prompt has no reply, is neither harmful nor benign, or is too
            long for the model.
    """
    if not prompts:
        raise DataError("There is no reply to follow.", fix="Give at least one row.")
    for prompt in prompts:
        if prompt.label not in (HARMFUL, BENIGN):
            raise DataError(
                f"The prompt {shown(prompt.id)} is labelled neither harmful nor benign.",
                fix="Label it: benign replies are the control of harmful ones.",
            )
    chats = [Prompt(id=p.id, messages=answered(p, reply_of(p))) for p in prompts]
    return [
        Followed(
            id=prompt.id,
            label=str(prompt.label),
            goal=prompt.goal_id or goal_of(prompt.request),
            encoded=encoded,
            start=encoded.template[1],
        )
        for prompt, encoded in zip(
            prompts, encode_all(model, chats, continue_final=True), strict=True
        )
    ]
