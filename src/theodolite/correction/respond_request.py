"""What `theodolite correct respond` is asked, checked before a model is opened."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.correction.perspective_taking.registry import (
    ALIASES,
    METHODS,
    Entry,
    make_solver,
    method_named,
)
from theodolite.correction.perspective_taking.setting import Caps, Clean, Setting
from theodolite.correction.perspective_taking.wording import ENGLISH, check_choice
from theodolite.correction.respond_any_depth import ANY_DEPTH, ENTRY, check_any_depth
from theodolite.data.catalogue import identify
from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.data.readers import read_prompts
from theodolite.data.records import read_bytes
from theodolite.errors import ConfigError, DataError
from theodolite.judging.toxicity_registry import PROFANITY, text_scorer
from theodolite.providers.opening import ModelRequest
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from inspect_ai.solver import Solver

    from theodolite.judging.toxicity import TextScorer

TYPED: Final = "prompt"
"""Id of a prompt that was typed."""
# Settings that are options of a method: setting -> option.
_SETTINGS: Final = {"readers": "k", "rounds": "rounds", "wording": "wording"}
_RANGES: Final[Sequence[tuple[tuple[str, ...], Callable[[float], bool], str]]] = (
    (("limit", "connections"), lambda number: number >= 1, "1 or more"),
    (("leave_below", "top_p"), lambda number: 0 < number <= 1, "a number above 0, at most 1"),
    (("temperature",), lambda number: 0 <= number < math.inf, "0 or more"),
)


@dataclass(frozen=True)
class RespondRequest(ModelRequest):
    """What is answered, by which model, and how the answers are rewritten.

    Args:
        method: how answers are rewritten, by name; `pet` and `shap` are short for two of them.
            `any_depth` replaces those that a fresh turn refuses, on local models.
        prompt: one prompt.
        prompts: a file of prompts instead: .jsonl, .json, .csv, .tsv, .parquet or .txt.
        limit: the first so many of the file.
        continuation: a prompt is the beginning of a text that is to go on; else it is a user's
            message, and what is rewritten is the answer to it.
        readers, rounds, wording: of methods that have them; None takes the method's own.
        options: further options of the method by name, e.g. `protocol`, `threshold`, `make_roles`.
        language: of what the model is told: one that comes along, or a .toml file.
        concern: what a text is to have less of: toxicity, bias or harm.
        tool: the scorer that takes part in `critic` and `shap_words`, and that `leave_below` asks.
        leave_below: originals that the tool rates below this stay as they are, without a call.
        scorers: what rates the texts before and after.
        pairs: write a pair for preference training wherever the first scorer finds the rewritten
            text better.
        max_tokens: of a text at most, the original and the rewritten one.
        listing_tokens, thinking_tokens: of the stages between; see `Caps`.
        temperature, top_p: None is greedy on local models, and the provider's default on others.
        fold_system: put system text into the user's turn, for APIs that know no system turn.
        connections: prompts that a model behind an API is asked about at once.
    """

    method: str = "pet_io"
    prompt: str | None = None
    prompts: str | None = None
    limit: int | None = None
    continuation: bool = False
    readers: int | None = None
    rounds: int | None = None
    wording: str | None = None
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    language: str = ENGLISH
    concern: str = "toxicity"
    tool: str | None = None
    leave_below: float | None = None
    scorers: tuple[str, ...] = ()
    pairs: bool = False
    max_tokens: int = 512
    listing_tokens: int = 384
    thinking_tokens: int = 640
    temperature: float | None = None
    top_p: float | None = None
    fold_system: bool = False
    connections: int = 32

    @property
    def name(self) -> str:
        """The method's name, never a short one."""
        return ALIASES.get(self.method, self.method)

    @property
    def entry(self) -> Entry:
        """What is known of the method; raises ConfigError where there is no such one."""
        check_choice("method", self.name, (*METHODS, ANY_DEPTH))
        return ENTRY if self.method == ANY_DEPTH else method_named(self.method)

    @property
    def rewrites(self) -> bool:
        """Whether the method rewrites; the others answer once."""
        return self.entry.extra_calls > 0

    def setting(self, tool: TextScorer | None) -> Setting:
        """Return what all methods share; raises ConfigError where a value is out of range."""
        clean = None
        if self.leave_below is not None and tool is not None:
            clean = Clean(tool, self.leave_below)
        return Setting(
            concern=self.concern,
            language=self.language,
            caps=Caps(self.listing_tokens, self.thinking_tokens, self.max_tokens),
            fold_system=self.fold_system,
            seed=self.seed,
            clean=clean,
        )


@dataclass(frozen=True)
class Work:
    """What a request comes to, before a model is opened.

    Args:
        request: as it was asked.
        prompts: what is answered.
        solver: answers and rewrites.
        tool: the scorer that takes part, if one does.
        inputs: of the run's manifest.
    """

    request: RespondRequest
    prompts: PromptSet
    solver: Solver
    tool: TextScorer | None
    inputs: Mapping[str, Any]


def work_of(request: RespondRequest) -> Work:
    """Return what a request comes to.

    Raises:
        ConfigError: there is no such method, option, language, concern or tool, a value is out of
            range, or an option has no effect.
        DataError: the prompts cannot be read or used; names file, line and field.
        ScorerUnavailable: the tool's package, weights or key are missing.
        CapabilityError: the method needs a local model.
    """
    _check_numbers(request)
    options = _options(request)
    prompts = prompts_of(request)
    _check_pairs(request)
    tool = _tool(request)
    setting = request.setting(tool)
    if request.method == ANY_DEPTH:
        check_any_depth(request)
        solver = request.entry.factory()(setting=setting, **options)
    else:
        solver = make_solver(request.name, setting=setting, tool=tool, **options)
    return Work(request, prompts, solver, tool, _inputs(request))


def prompts_of(request: RespondRequest) -> PromptSet:
    """Return the prompts of a request.

    Raises:
        ConfigError: there is no prompt, or both one and a file.
        DataError: the file cannot be read, or a prompt cannot be answered; names the row.
    """
    if (request.prompt is None) == (request.prompts is None):
        raise ConfigError(
            "There must be either one prompt or a file of prompts.",
            fix="Give --prompt TEXT or --prompts FILE.",
        )
    if request.prompts is not None:
        found = read_prompts(request.prompts)
        found = found.derive(list(found)[: request.limit])
    elif str(request.prompt).strip():
        found = PromptSet(TYPED, (Prompt(TYPED, text=request.prompt),), "the command line")
    else:
        raise ConfigError("The prompt is empty.", fix="Give --prompt some text.")
    for one in found:
        _check_prompt(one, request.continuation)
    return found


def _check_prompt(prompt: Prompt, continuation: bool) -> None:
    """Refuse a prompt that cannot be answered; raises DataError."""
    wrong = None
    if not prompt.request.strip():
        wrong = "ends with an empty message"
    elif continuation and prompt.messages is not None:
        wrong = "is a chat, and only a text can be gone on with"
    elif any(turn.role == "tool" for turn in prompt.messages or ()):
        wrong = "holds what a tool said"
    if wrong is not None:
        raise DataError(f"Prompt {shown(prompt.id)} {wrong}.", fix="Leave it out of the file.")


def _check_numbers(request: RespondRequest) -> None:
    """Refuse numbers that are out of range; raises ConfigError."""
    for names, fits, words in _RANGES:
        for name in names:
            number = getattr(request, name)
            if number is not None and not fits(number):
                raise ConfigError(f"{name} is {number}.", fix=f"Give {words}.")


def _options(request: RespondRequest) -> dict[str, Any]:
    """Return the method's options; raises ConfigError for those that it does not have."""
    known = request.entry.options()
    given = {name: getattr(request, name) for name in _SETTINGS}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if _SETTINGS[name] not in known:
            raise ConfigError(
                f"The method {request.name} has no {name}.", fix=f"Leave --{name} out."
            )
    for option, value in request.options.items():
        check_choice(f"option of {request.name}", option, known)
        if not isinstance(value, str | int | float):
            raise ConfigError(
                f"The option {shown(option)} is {shown(value)}.", fix="Give a text or a number."
            )
    return {**request.options, **{_SETTINGS[name]: value for name, value in given.items()}}


def _tool(request: RespondRequest) -> TextScorer | None:
    """Return the scorer that takes part, or None where none does."""
    if request.leave_below is not None and not request.rewrites:
        raise ConfigError(
            f"The method {request.name} rewrites nothing.", fix="Leave leave_below out."
        )
    if not request.entry.tool and request.leave_below is None:
        if request.tool is None:
            return None
        raise ConfigError(
            f"The method {request.name} asks no tool.",
            fix="Leave --tool out; --scorers rate what comes of it.",
        )
    return text_scorer(request.tool or PROFANITY, seed=request.seed)


def _check_pairs(request: RespondRequest) -> None:
    """Refuse pairs that could not be made, or of prompts that are measured on."""
    if not request.pairs:
        return
    if not request.scorers or not request.rewrites:
        lacking = "a scorer" if request.rewrites else "a method that rewrites"
        raise ConfigError(f"Pairs need {lacking}.", fix="Name one, or leave `pairs` out.")
    official = identify(read_bytes(Path(request.prompts))) if request.prompts else None
    if official is not None:
        raise DataError(
            f"{shown(request.prompts)} is the official file {official.name}, and what is measured "
            "on is not trained on.",
            fix="Give other prompts, or leave `pairs` out.",
        )


def _inputs(request: RespondRequest) -> dict[str, Any]:
    """Return the prompts for the manifest: a file, or what was typed, by its hash.

    A manifest hides what looks like a key; the hash tells whether the prompt is still the same.
    """
    if request.prompts is not None:
        return {"prompts": Path(request.prompts)}
    return {"prompt": content_key(request.prompt)}
