"""The methods by name: what a command line or a config file asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

from theodolite.correction.perspective_taking.setting import Setting
from theodolite.correction.perspective_taking.wording import check_choice
from theodolite.errors import ConfigError

if TYPE_CHECKING:
    from inspect_ai.solver import Solver

    from theodolite.judging.toxicity import TextScorer

_FOLDER: Final = "theodolite.correction.perspective_taking"


@dataclass(frozen=True)
class Entry:
    """One method.

    Args:
        module: where its solver is, below this folder.
        solver: its name there.
        about: what it does, in a few words.
        fixed: options that the name decides.
        extra_calls: calls after the original, with its own defaults; at most.
        tool: it needs a tool that scores texts.
        own_original: it does not start from the original of `base`.
    """

    module: str
    solver: str
    about: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    extra_calls: int = 0
    tool: bool = False
    own_original: bool = False

    def factory(self) -> Callable[..., Solver]:
        """Import the solver."""
        from importlib import import_module

        found: Callable[..., Solver] = getattr(
            import_module(f"{_FOLDER}.{self.module}"), self.solver
        )
        return found

    def options(self) -> tuple[str, ...]:
        """Return the options that may be given."""
        names = signature(self.factory()).parameters
        return tuple(n for n in names if n not in (*self.fixed, "setting", "tool"))


METHODS: Final[Mapping[str, Entry]] = {
    "raw": Entry("solvers", "raw", "no word of safety", own_original=True),
    "base": Entry("solvers", "base", "asked for a harmless text"),
    "prehoc": Entry("solvers", "prehoc", "after a statement on respect", own_original=True),
    "self_correct": Entry("solvers", "self_correct", "judges itself, rewrites", extra_calls=2),
    "rewrite_only": Entry("solvers", "rewrite_only", "rewrites at once", extra_calls=1),
    "critic": Entry("tool_solvers", "critic", "told a tool's score", extra_calls=4, tool=True),
    "shap_words": Entry("tool_solvers", "shap_words", "told the words", extra_calls=2, tool=True),
    "pet_io": Entry("solvers", "pet", "imagines readers", {"kind": "io"}, 3),
    "pet_is": Entry("solvers", "pet", "is each reader", {"kind": "is"}, 3),
    "pet_both": Entry("solvers", "pet", "both views", {"kind": "both"}, 4),
    "pet_iter": Entry("solvers", "pet", "imagines readers, twice or more often", {}, 6),
    "pet_placebo": Entry("solvers", "pet_placebo", "imagines coloured objects", extra_calls=3),
    "roles": Entry("professions", "roles", "three professions advise", extra_calls=5),
    "contrast": Entry("professions", "contrast", "compares with another text", extra_calls=3),
}
ALIASES: Final = {"pet": "pet_io", "shap": "shap_words"}
# What a name changes of the solver's own defaults, and may still be given.
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {"pet_iter": {"rounds": 2}}


def method_named(name: str) -> Entry:
    """Return a method; raises ConfigError with the nearest name and all others."""
    name = ALIASES.get(name, name)
    check_choice("method", name, METHODS)
    return METHODS[name]


def make_solver(
    name: str,
    *,
    setting: Setting | Mapping[str, Any] | None = None,
    tool: TextScorer | None = None,
    **options: Any,
) -> Solver:
    """Return the solver of a method.

    Args:
        name: of `METHODS`, or `pet` (pet_io) and `shap` (shap_words).
        setting: what all methods share.
        tool: of the methods that need one; others leave it alone.
        options: of the method, e.g. `k` or `protocol`; see its solver.

    Raises: ConfigError: there is no such method or option, an option is out of range, or a method
        lacks its tool.
    """
    name = ALIASES.get(name, name)
    entry = method_named(name)
    for option in options:
        check_choice(f"option of {name}", option, entry.options())
    given: dict[str, Any] = {**_DEFAULTS.get(name, {}), **options, **entry.fixed}
    if entry.tool:
        if tool is None:
            raise ConfigError(
                f"The method {name} needs a tool that scores texts.", fix="Name a scorer."
            )
        given["tool"] = tool
    return entry.factory()(setting=Setting.of(setting), **given)
