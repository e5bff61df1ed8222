"""What a weakness brings to its repair: styles that can be put around other goals, and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.data.styles import STYLES, Style, style
from theodolite.data.wrappers import wrappers_of
from theodolite.errors import CapabilityError, DataError
from theodolite.mechanism.triggers.explain import WRAPPERS
from theodolite.mechanism.triggers.refused import refused_relevance
from theodolite.mechanism.triggers.shared_words import SharedWords, shared_words
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.audit.loops.goals import Goals
    from theodolite.mechanism.triggers.weakness import StyleWeakness
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.run import Run

READ_FROM: Final = 48
"""Train goals of each class that the refusal direction is read from."""


def wrappers_with(own: Sequence[Style], run: Run) -> tuple[Style, ...]:
    """Return the user's own wrappers, with those that a run was made with.

    Raises: DataError: one name stands for two wrappers.
    """
    if WRAPPERS not in run.table_names():
        return tuple(own)
    found = {each.name: each for each in own}
    for kept in wrappers_of(run.load_table(WRAPPERS), run.path):
        if found.setdefault(kept.name, kept).template != kept.template:
            raise DataError(
                f"The wrapper '{kept.name}' has other words than in {escape(str(run.path), 160)}.",
                fix="Name it differently, or leave `wrappers` out: the run holds its own.",
            )
    return tuple(found.values())


def hardenable(name: str, own: Sequence[Style], where: str) -> Style:
    """Return a weak style that other goals can be put into.

    Args:
        where: the run that found it.

    Raises: DataError: it is known by its rows alone.
    """
    if name in {each.name for each in (*own, *STYLES)}:
        return style(name, own)
    raise DataError(
        f"The weakest style '{escape(name, 80)}' of {escape(where, 160)} is known by its own rows "
        "alone (--jailbreak), and no other goal can be put into it.",
        fix="Write its wrapper under that name into a file and give `wrappers = FILE` in --config, "
        "or name other styles with --styles.",
    )


def words_of_run(run: Run) -> SharedWords | str:
    """Return the words that a run of `explain triggers` found, or why there are none."""
    if "triggers_shared_words" not in run.table_names():
        return "the run of --weakness has looked at no words"
    return SharedWords.load(run)


def words_of_model(
    model: LanguageModel, found: StyleWeakness, goals: Goals, seed: int, kept: dict[str, Any]
) -> SharedWords | str:
    """Return the words of the refused goals that were asked, or why there are none.

    Args:
        found: what became of the goals that weaknesses are looked for on.
        kept: journal and progress.
    """
    harmful, benign = (
        [p for p in goals.train if p.label == label][:READ_FROM] for label in (HARMFUL, BENIGN)
    )
    try:
        read = refused_relevance(model, found, (harmful, benign), goals.find[0], seed=seed, **kept)
    except (CapabilityError, DataError) as error:  # no rules for the family, or too few goals
        return error.message.rstrip(".")
    return read if isinstance(read, str) else shared_words(*read)
