"""The texts that an analysis lets a model go on with: bundled beginnings, or a file of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from theodolite.data.bundled import bundled
from theodolite.data.forced_replies import goal_of
from theodolite.data.prompts import shown
from theodolite.data.readers import read_prompts
from theodolite.data.toxicity_prompts import TOXICITY
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.requests import Requests
from theodolite.text.hashing import item_seed

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest


def requested_beginnings(request: ExplainRequest) -> Requests:
    """Return the beginnings of an analysis, unlabelled, each with a goal that equal texts share.

    A limit draws so many by a fixed seed: a smaller one takes a part of a larger one.

    Raises:
        ConfigError: an option that has no part in this, or a limit that leaves too few.
        DataError: the file cannot be read, or holds a chat.
    """
    for option in ("harmful", "benign", "jailbreak", "base"):
        if getattr(request, option) is not None:
            raise ConfigError(
                f"--{option} has no part in this analysis: a model goes on with texts.",
                fix="Give a file of beginnings with --prompts.",
            )
    if request.limit is not None and request.limit < 2:
        raise ConfigError(f"A limit of {request.limit} leaves too few.", fix="Give 2 or more.")
    path = None if request.prompts is None else Path(request.prompts)
    rows = bundled(TOXICITY) if path is None else read_prompts(path)
    chat = next((row for row in rows if row.text is None), None)
    if chat is not None:
        raise DataError(
            f"The prompt {shown(chat.id)} of {shown(rows.source)} is a chat and no text to go on "
            "with.",
            fix="Give every row one text.",
        )
    kept = sorted(rows, key=lambda row: (item_seed(0, "drawn", row.id), row.id))[: request.limit]
    names = {row.id for row in kept}
    found = tuple(
        replace(row, goal_id=row.goal_id or goal_of(row.request), label=None)
        for row in rows
        if row.id in names
    )
    # Texts that an analysis takes beside them are an input of its run, too.
    texts = getattr(getattr(request, "task", None), "texts", None)
    given = {"prompts": path, "texts": None if texts is None else Path(texts)}
    files = {name: file for name, file in given.items() if file is not None}
    return Requests((), found, source=rows.source, files=files)
