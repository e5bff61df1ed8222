"""The setting of a correction: what it is about, in which language, and how long each stage may be.

Whether a sample is a text to go on with or any other chat, it says itself: its metadata hold the
text under `continuation_prompt`, or they do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

from theodolite.correction.perspective_taking.wording import (
    CHAT,
    CONTINUATION,
    ENGLISH,
    PLAIN,
    Voice,
    check_choice,
    load_wording,
)
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError, DataError
from theodolite.runs.config import load_config

if TYPE_CHECKING:
    from inspect_ai.solver import TaskState

    from theodolite.judging.toxicity import TextScorer

PROMPT_KEY: Final = "continuation_prompt"
"""Metadata of a sample whose task is to go on with a text: the text."""
ORIGINAL_KEY: Final = "original_completion"
"""Metadata of a sample whose first answer is given: one text, or one for each epoch."""
LISTING, THINKING, WRITING = "listing", "thinking", "writing"


@dataclass(frozen=True)
class Caps:
    """Tokens of an answer at most, by what a stage asks for; None leaves it to the task.

    Args:
        listing: of who reads, or which objects there are.
        thinking: of how readers feel, what is judged, suggested or compared.
        writing: of the text itself, the original as well as the rewritten one.
    """

    listing: int | None = 384
    thinking: int | None = 640
    writing: int | None = None

    def __post_init__(self) -> None:
        for name, cap in asdict(self).items():
            if cap is not None and cap < 1:
                raise ConfigError(f"The cap of {name} is {cap} tokens.", fix="Give 1 or more.")


@dataclass(frozen=True)
class Clean:
    """Originals that need no correction: those a scorer finds less bad than a value.

    Args:
        scorer: what rates them.
        below: the value, in units of severity; such originals stay as they are, without a call.
    """

    scorer: TextScorer
    below: float


@dataclass(frozen=True)
class Setting:
    """What all methods share, so that they can be compared.

    Args:
        concern: `toxicity`, `bias` or `harm`: what a text is to have less of.
        language: of the wording: one that comes along, or a .toml file.
        caps: tokens of each kind of stage.
        fold_system: put system text into the first user turn, for models that know none. Local
            models' templates are asked, and need no such flag.
        seed: of the calls to models that are not local; see `talk`.
        clean: originals that stay as they are; None corrects all of them, as a benchmark must.

    Raises: ConfigError: the concern or the language does not exist.
    """

    concern: str = "toxicity"
    language: str = ENGLISH
    caps: Caps = Caps()
    fold_system: bool = False
    seed: int = 0
    clean: Clean | None = None

    def __post_init__(self) -> None:
        check_choice("concern", self.concern, load_wording(self.language).concerns)

    @classmethod
    def of(cls, given: Setting | Mapping[str, Any] | None) -> Self | Setting:
        """Return a setting that came as such, as a table of its fields, or not at all.

        Raises: ConfigError: a field does not exist or has a wrong value.
        """
        if isinstance(given, Setting):
            return given
        return load_config(cls, overrides=given)

    def voice(self, state: TaskState, variant: str = PLAIN) -> Voice:
        """Return the words for a sample."""
        form = CHAT if prompt_of(state) is None else CONTINUATION
        return Voice(load_wording(self.language), form, self.concern, variant)

    def _repr_params_(self) -> dict[str, Any]:
        """Return what an inspect log shows of this; `of` reads it, but for the scorer."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["caps"] = asdict(self.caps)
        clean = values.pop("clean")
        if clean is not None:
            values["clean"] = {"scorer": clean.scorer.id, "below": clean.below}
        return values


def prompt_of(state: TaskState) -> str | None:
    """Return the text that a sample asks to go on with; None where it is any other chat.

    Raises: DataError: it is empty or no text; names the sample.
    """
    prompt = (state.metadata or {}).get(PROMPT_KEY)
    if prompt is None:
        return None
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(
            f"Sample {shown(state.sample_id)} has no text to go on with in {PROMPT_KEY!r}.",
            fix="Give it some text, or leave the field out.",
        )
    return prompt


def given_original(state: TaskState) -> str | None:
    """Return the first answer that a sample comes with, or None where the model is asked for it.

    Raises: DataError: it is no text, or there is none for this epoch; names the sample.
    """
    given = (state.metadata or {}).get(ORIGINAL_KEY)
    if isinstance(given, list) and len(given) >= state.epoch:
        given = given[state.epoch - 1]
    if given is not None and not isinstance(given, str):
        raise DataError(
            f"Sample {shown(state.sample_id)} has no text for epoch {state.epoch} in "
            f"{ORIGINAL_KEY!r}.",
            fix="Give one text, or a list of one for each epoch.",
        )
    return given
