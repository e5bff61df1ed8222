"""The Panel: what a capability hands to the audit, and what the audit hands to the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from theodolite.measure.measurement import Measurement

if TYPE_CHECKING:
    from theodolite.runs.run import Run

PROFILES = ("quick", "standard", "full")


class ModelHandle(Protocol):
    """The part of a model handle that runs and panels need to know about."""

    ref: str
    name: str
    fingerprint: str
    capabilities: frozenset[str]


class Progress(Protocol):
    """Where long work reports its steps; the terminal shows rate and time left."""

    def start(self, label: str, total: int) -> None:
        """Begin a stage of `total` steps."""

    def advance(self, steps: int = 1) -> None:
        """Report finished steps of the current stage."""

    def message(self, text: str) -> None:
        """Show one line above the progress bar."""


@dataclass(frozen=True)
class Cost:
    """What a panel is expected to take on the default model and 2 cores."""

    seconds: float
    tokens: int


@dataclass(frozen=True)
class Figure:
    """A Plotly figure (plain JSON), the words around it and the table that holds its numbers.

    Args:
        show_table: whether the report shows the table unasked.
    """

    name: str
    title: str
    caption: str
    spec: Mapping[str, Any]
    table: str | None = None
    show_table: bool = False


@dataclass(frozen=True)
class Sample:
    """One item a reader may open: what went in, what came out, how it was scored."""

    id: str
    label: str
    harmful: bool
    prompt: str
    completion: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenMap:
    """A prompt cut into tokens with a number each, drawn as text with coloured ground.

    Args:
        id, label, harmful, meta: as of a `Sample`; a reader may choose by label.
        about: what the numbers are, in words.
        tokens: the text of each token.
        values: one per token; above 0 speaks for, below 0 against.
        template: whether a token belongs to the chat template, not to the request.
    """

    id: str
    label: str
    harmful: bool
    about: str
    tokens: Sequence[str]
    values: Sequence[float]
    template: Sequence[bool]
    meta: Mapping[str, Any] = field(default_factory=dict)


# What a panel needs, beside what a model's handle can do: the model it was trained from.
PAIR = "pair"


def step_key(panel: str, role: str) -> str:
    """Return the name a panel's result is stored under: `refusal`, or `refusal.base`."""
    return panel if role == "model" else f"{panel}.{role}"


@dataclass(frozen=True)
class PanelContext:
    """Everything a panel may use; panels keep no state of their own.

    Args:
        role: `model`, or `base` where the panel looks at the model to compare with.
        pair: the model beside the one it was trained from, for panels that need a `PAIR`.
    """

    model: Any
    run: Run
    profile: str
    seed: int
    progress: Progress
    judge: str | None = None
    show_text: bool = False
    role: str = "model"
    pair: Any = None


@dataclass(frozen=True)
class PanelResult:
    """What a panel found, ready for tables, JSON, terminal and report.

    Args:
        findings: one to three plain sentences, each true of the figures below.
        limits: sentences on what this panel does not show.
        how: sentences on how it was made (sets, sizes, decoding, seeds).
        labels: plain words for figures by name; a reader sees them beside the name.
        token_maps: prompts with a number per token.
    """

    measurements: Sequence[Measurement]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    figures: Sequence[Figure] = ()
    samples: Sequence[Sample] = ()
    findings: Sequence[str] = ()
    limits: Sequence[str] = ()
    how: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    token_maps: Sequence[TokenMap] = ()


def extended(result: PanelResult, **more: Any) -> PanelResult:
    """Return a result with more entries in some of its fields, e.g. `tables` or `findings`."""
    merged: dict[str, Any] = {}
    for name, extra in more.items():
        own = getattr(result, name)
        merged[name] = {**own, **extra} if isinstance(extra, Mapping) else [*own, *extra]
    return replace(result, **merged)


class Panel(Protocol):
    """One capability's part of the audit; `version` rises when a panel's numbers change.

    `needs` holds capabilities of the model's handle, and `PAIR` where the panel looks at the model
    beside the one it was trained from; such a panel runs once, not on the base model too.
    """

    name: str
    version: int
    title: str
    question: str
    needs: frozenset[str]

    def cost(self, profile: str) -> Cost:
        """Estimate what `run` takes under a profile."""

    def run(self, context: PanelContext) -> PanelResult:
        """Measure, and return the result; long work goes through the run's journal."""
