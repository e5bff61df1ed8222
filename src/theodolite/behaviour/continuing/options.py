"""What can be asked of a benchmark of continuations, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.continuations import BASE
from theodolite.correction.perspective_taking.method import PAPER, PROTOCOLS
from theodolite.correction.perspective_taking.registry import (
    ALIASES,
    METHODS,
    make_solver,
    method_named,
)
from theodolite.correction.perspective_taking.setting import Caps, Clean, Setting
from theodolite.correction.perspective_taking.solvers import MOST_READERS, READERS, check_count
from theodolite.correction.perspective_taking.wording import (
    ENGLISH,
    PLAIN,
    check_choice,
    load_wording,
)
from theodolite.errors import ConfigError
from theodolite.judging.toxicity_registry import PROFANITY
from theodolite.text.display import escape
from theodolite.text.lists import names_in, numbers_in

if TYPE_CHECKING:
    from inspect_ai.solver import Solver

    from theodolite.judging.toxicity import TextScorer

BUNDLED: Final = "bundled"
TEST, TRAIN, ALL = "test", "train", "all"
NONE: Final = "none"
DEFAULT_METHODS: Final = "raw,base,pet_io,pet_is,pet_placebo"
CAPS: Final = "256,384,64"
TEMPERATURE: Final = 0.7
TOP_P: Final = 0.9
SAMPLES: Final = 2
LM: Final = "smollm2"


@dataclass(frozen=True)
class Asking:
    """What every benchmark of continuations can be asked.

    Args:
        source: `bundled`, an official set by name, or a file of prompts.
        split: of the bundled set, and of a file whose rows state theirs: train, val, test or all.
        limit: so many prompts, of each group where there are groups; None takes all.
        n: continuations of each prompt by each method.
        methods: of `correction.perspective_taking`, joined by commas.
        k: readers, or objects of the placebo.
        wording, protocol: of perspective-taking, see its solvers.
        caps: tokens at most of a list, a thought and a text, e.g. 64,96,32.
        temperature, top_p: of sampling.
        scorers: see `judging.toxicity_registry`, joined by commas.
        tool: the scorer that `critic` and `shap_words` ask; None takes the first of `scorers`.
        skip_clean: originals that the first scorer finds less bad stay as they are; None corrects
            all of them, as a comparison of methods must.
        language: of what the model is told.
        lm: the local model under which continuations have a perplexity; `none` leaves it out.
        pairs: a file for preference pairs, original against rewritten; train prompts only.
    """

    source: str = BUNDLED
    split: str = TEST
    limit: int | None = None
    n: int = SAMPLES
    methods: str = DEFAULT_METHODS
    k: int = READERS
    wording: str = PLAIN
    protocol: str = PAPER
    caps: str = CAPS
    temperature: float = TEMPERATURE
    top_p: float = TOP_P
    scorers: str = PROFANITY
    tool: str | None = None
    skip_clean: float | None = None
    language: str = ENGLISH
    lm: str = LM
    pairs: str | None = None

    @property
    def method_names(self) -> tuple[str, ...]:
        """The methods by their own names, in order."""
        return tuple(ALIASES.get(name, name) for name in names_in(self.methods))

    @property
    def scorer_names(self) -> tuple[str, ...]:
        """The scorers as they were named, in order."""
        return names_in(self.scorers)

    @property
    def stage_caps(self) -> Caps:
        """Tokens of each kind of stage; raises ConfigError where they are not three numbers."""
        numbers = numbers_in(self.caps, "task.caps")
        if len(numbers) != 3:
            raise ConfigError(
                f"task.caps has {len(numbers)} numbers.",
                fix=f"Give three, as in {CAPS}: of a list, a thought and a text.",
            )
        return Caps(*numbers)

    @property
    def needs_tool(self) -> bool:
        """Whether a method asks a tool."""
        return any(method_named(name).tool for name in self.method_names)

    def setting(self, concern: str, *, seed: int = 0, clean: TextScorer | None = None) -> Setting:
        """Return what all methods share; raises ConfigError for an unknown language."""
        return Setting(
            concern=concern,
            language=self.language,
            caps=self.stage_caps,
            seed=seed,
            clean=None
            if clean is None or self.skip_clean is None
            else Clean(clean, self.skip_clean),
        )

    def solver(self, name: str, setting: Setting, tool: TextScorer | None = None) -> Solver:
        """Return the solver of a method with those of these options that it has."""
        known = method_named(name).options()
        given = {key: getattr(self, key) for key in ("k", "wording", "protocol") if key in known}
        return make_solver(name, setting=setting, tool=tool, **given)


OF_ASKING: Final = (
    "n", "methods", "k", "wording", "protocol", "caps", "temperature", "top_p", "tool",
    "skip_clean", "language", "pairs",
)  # fmt: skip
"""Options that say how to ask, which answers made elsewhere cannot follow."""


def check_asking(options: Asking, concern: str, *, alone: bool = False) -> None:
    """Refuse options that do not exist, are out of range, or do not go together.

    Args:
        concern: what a rewritten text is to have less of.
        alone: there is one method, which asks for its own original.

    Raises: ConfigError: says which; lists the names there are.
    """
    check_methods(options.method_names, alone=alone)
    options.setting(concern)
    check_count("readers", options.k, MOST_READERS)
    check_choice("wording", options.wording, load_wording(options.language).variants)
    check_choice("protocol", options.protocol, PROTOCOLS)
    for name, value in (("n", options.n), ("limit", options.limit)):
        if value is not None and value < 1:
            raise ConfigError(f"task.{name} is {value}.", fix="Give 1 or more.")
    if not 0 <= options.temperature <= 10 or not 0 < options.top_p <= 1:
        raise ConfigError(
            f"temperature {options.temperature:g} or top_p {options.top_p:g} is out of range.",
            fix="Give a temperature from 0 up, and a top_p above 0 and up to 1.",
        )
    if options.temperature == 0 and options.n > 1:
        raise ConfigError(
            "At temperature 0 all continuations of a prompt are the same.",
            fix="Use -T n=1, or a temperature above 0.",
        )
    if options.skip_clean is not None and not 0 <= options.skip_clean <= 1:
        raise ConfigError(
            f"task.skip_clean is {options.skip_clean:g}.", fix="Give a number from 0 to 1."
        )
    if not options.scorer_names:
        raise ConfigError("No scorer is named.", fix=f"Use e.g. -T scorers={PROFANITY}.")
    if options.lm.startswith("api:"):
        raise ConfigError(
            "Perplexity needs log-probabilities of given text, which a model behind an API does "
            "not tell.",
            fix=f"Use a local model, e.g. -T lm={LM}, or -T lm={NONE}.",
        )


def check_methods(names: Sequence[str], *, alone: bool = False) -> None:
    """Refuse unknown methods, one named twice, and rewriting without the base it starts from."""
    if alone and len(names) > 1:
        raise ConfigError("Only one method can be asked for here.", fix="Name one.")
    if not names:
        raise ConfigError("No method is named.", fix=f"Use e.g. -T methods={DEFAULT_METHODS}.")
    for name in names:
        check_choice("method", name, METHODS)
        if names.count(name) > 1:
            raise ConfigError(f"The method {name} is named twice.", fix="Name it once.")
    rewriting = [name for name in names if not METHODS[name].own_original and name != BASE]
    if rewriting and BASE not in names and not alone:
        raise ConfigError(
            f"{', '.join(rewriting)} start from what {BASE} wrote, which is not asked for.",
            fix=f"Add it, as in -T methods={BASE},{','.join(rewriting)}.",
        )


def check_only_scoring(options: Asking) -> None:
    """Refuse options that say how to ask where the answers were made elsewhere."""
    plain = asdict(type(options)())
    given: list[Any] = [name for name in OF_ASKING if getattr(options, name) != plain[name]]
    if given:
        raise ConfigError(
            f"{', '.join(map(escape, given))} say how to ask, and these answers were made "
            "elsewhere.",
            fix="Leave them out, or leave --responses out.",
        )
