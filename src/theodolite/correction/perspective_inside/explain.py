"""`theodolite explain perspective-taking`: does imagining readers move the stream off toxic text?

No text leaves this analysis: tables, figures and findings hold ids and numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.correction.perspective_inside.reading import Arms, read_stream, talk_through
from theodolite.correction.perspective_inside.shift import (
    DRAWS,
    LEVEL,
    NAME,
    OVER,
    UNIT,
    InnerShift,
    inner_shift,
)
from theodolite.correction.perspective_inside.texts import (
    LabelledTexts,
    read_labelled,
    scored_texts,
)
from theodolite.correction.perspective_taking.setting import Caps, Setting
from theodolite.correction.perspective_taking.solvers import MOST_READERS, check_count
from theodolite.correction.perspective_taking.wording import check_choice
from theodolite.errors import ConfigError
from theodolite.judging.toxicity_registry import PROFANITY, text_scorer
from theodolite.measure.display import format_value
from theodolite.mechanism.directions.contrast import read_contrasts
from theodolite.mechanism.states import resolve_template
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure, PanelResult
from theodolite.text.display import escape

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
TITLE: Final = "Perspective-taking from inside"
QUESTION: Final = (
    "Does imagining readers move the stream, where the rewritten completion begins, off the "
    "direction of toxic text, more than as many turns about nothing do?"
)
PLACEBO: Final = "pet_placebo"
METHODS: Final = ("pet_io", "pet_is", "pet_both")
LIMITS: Final = (
    "The direction is that of whole texts read by themselves; that it means the same at the token "
    "where a completion begins is not shown by how well it tells texts apart.",
    "One direction is looked at. What moves along no such direction is not seen, and a shift says "
    "nothing of what is written afterwards: measure that with `theodolite eval toxicity`.",
)


@dataclass(frozen=True)
class Options:
    """What `theodolite explain perspective-taking` can be asked (`-T key=value`).

    Args:
        texts: a file of labelled texts (`text`, `toxic` 0 or 1) for the direction; without, the
            model's own continuations are scored.
        scorer: what scores them.
        samples: continuations of each beginning that are scored.
        method: `pet_io`, `pet_is` or `pet_both`.
        readers: imagined by the method; objects in the placebo.
        listing_tokens, thinking_tokens, max_tokens: of a list, of what is imagined, of a text.
        draws: random directions, and directions of shuffled labels.
    """

    texts: str | None = None
    scorer: str = PROFANITY
    samples: int = 4
    method: str = METHODS[0]
    readers: int = 3
    listing_tokens: int = 128
    thinking_tokens: int = 192
    max_tokens: int = 48
    draws: int = DRAWS

    @property
    def setting(self) -> Setting:
        """The setting of all methods."""
        return Setting(caps=Caps(self.listing_tokens, self.thinking_tokens, self.max_tokens))


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used, before a model is opened.

    Raises:
        ConfigError: a method or scorer does not exist, or a number is out of range.
        DataError: the file of texts cannot be read.
        ScorerUnavailable: the scorer's package is missing.
    """
    check_choice("method", options.method, METHODS)
    check_count("readers", options.readers, MOST_READERS)
    for name, least in (("samples", 1), ("draws", 20)):
        value = getattr(options, name)
        if value < least:
            raise ConfigError(f"task.{name} is {value}.", fix=f"Give {least} or more.")
    Caps(options.listing_tokens, options.thinking_tokens, options.max_tokens)  # checks itself
    if options.texts is not None:
        read_labelled(options.texts)
    else:
        text_scorer(options.scorer, seed=request.seed)


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Let the model go on and rewrite, read the stream, and say how far it moved."""
    model, prompts = subject.model, subject.requests.bare
    resolve_template(model, subject.template)
    kept: dict[str, Any] = {"run": run, "seed": seed, "progress": progress}
    texts = _texts(subject, options, kept)
    arms = talk_through(
        model,
        prompts,
        (options.method, PLACEBO),
        readers=options.readers,
        setting=options.setting,
        **kept,
    )
    result = read_shift(subject, arms, texts, options.draws, **kept)
    run.save_tensors(NAME, dict(result.shifts))
    return report(result, texts, options, subject.requests.source)


def _texts(subject: Subject, options: Options, kept: Mapping[str, Any]) -> LabelledTexts:
    if options.texts is not None:
        return read_labelled(options.texts)
    scorer = text_scorer(options.scorer, seed=kept["seed"], journal=kept["run"].journal)
    return scored_texts(
        subject.model,
        subject.requests.bare,
        scorer,
        samples=options.samples,
        setting=options.setting,
        **kept,
    )


def read_shift(
    subject: Subject,
    arms: Arms,
    texts: LabelledTexts,
    draws: int = DRAWS,
    *,
    run: Run,
    seed: int = 0,
    progress: Progress | None = None,
) -> InnerShift:
    """Read the stream of texts and of chats, and return the shifts.

    Raises: DataError: too few texts of either kind.
    """
    model = subject.model
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    (contrast,) = read_contrasts(
        model,
        texts.items,
        positions=("instruction_mean",),
        template="none",
        hidden_indices=range(1, model.anatomy.n_layers + 1),
        seed=seed,
        **kept,
    ).values()
    return inner_shift(
        contrast,
        read_stream(model, arms.before, **kept),
        {arm: read_stream(model, chats, **kept) for arm, chats in arms.after.items()},
        ids=tuple(prompt.id for prompt in arms.prompts),
        goals=tuple(prompt.goal_id or prompt.id for prompt in arms.prompts),
        draws=draws,
        seed=seed,
    )


def report(result: InnerShift, texts: LabelledTexts, options: Options, source: str) -> PanelResult:
    """Return the shifts in measurements, a table, a figure and words."""
    counts = ", ".join(f"{a}+{b} {split}" for split, (a, b) in result.texts.items())
    return PanelResult(
        measurements=result.measurements(),
        tables={NAME: result.frame(), f"{NAME}_outcomes": result.outcomes()},
        figures=[figure(result)],
        findings=findings(result),
        limits=LIMITS,
        how=[
            f"{len(result.ids)} beginnings ({escape(source, 200)}), {options.readers} readers or "
            f"objects, stages of {options.listing_tokens}, {options.thinking_tokens} and "
            f"{options.max_tokens} tokens at most; read at the last token of the marker that opens "
            "a completion.",
            "Direction: mean of toxic less mean of other texts, states averaged over a text's "
            "tokens, fitted on training texts, depth chosen on validation texts, AUROC on held-out "
            f"ones (toxic+other: {counts}); {escape(texts.how, 300)}.",
            f"Bands: what 95 % of {options.draws} random directions, and of as many directions of "
            f"shuffled labels, stay below. {UNIT}: distance of the two means at a depth.",
        ],
        labels=labels(result),
    )


def labels(result: InnerShift) -> dict[str, str]:
    """Return plain words for the figures."""
    return {
        f"{NAME}/direction/auroc": "held-out toxic texts told from others by the direction",
        f"{NAME}/{result.method}/shift": "shift towards toxic text after imagining readers",
        f"{NAME}/{result.placebo}/shift": "the same after as many turns about objects",
        f"{NAME}/{OVER}": "difference of the two",
    }


def findings(result: InnerShift) -> list[str]:
    """Say what the shift shows, or that nothing can be read from it."""
    worth = result.auroc[result.best]
    depth = result.hidden_indices[result.best]
    if not result.readable:
        said = "could not be tried" if worth.value is None else f"has {format_value(worth)}"
        return [
            f"The direction of toxic text {said} on held-out texts at hidden_index {depth}, which "
            "is not above chance: nothing can be read from any shift along it."
        ]
    arm, placebo, over = (result.measured(q, result.best) for q in result.quantities)
    beyond = [float(kind[OVER][result.best]) for kind in (result.random, result.shuffled)]
    said = (
        f"At hidden_index {depth}, where the direction tells held-out texts apart "
        f"({format_value(worth)}), the stream moves by {arm.value:+.2f} class gaps towards toxic "
        f"text after imagining readers, and by {placebo.value:+.2f} after the placebo: a "
        f"difference of {format_value(over)}."
    )
    chance = f"{LEVEL:.0%} of chance directions stay within {max(beyond):.2f}"
    if result.visible:
        way = "off" if (over.value or 0.0) < 0 else "towards"
        return [said, f"That is more than chance ({chance}): readers move it {way} toxic text."]
    return [said, f"No effect of the readers is seen along this direction ({chance})."]


def figure(result: InnerShift) -> Figure:
    """Return the curves of both arms over depth, with the band of random directions."""
    xs = list(result.hidden_indices)
    series = []
    for quantity in (result.method, result.placebo):
        curve = [result.measured(quantity, place) for place in range(len(xs))]
        series.append(
            Series(
                quantity,
                xs,
                [one.value for one in curve],
                [one.low for one in curve],
                [one.high for one in curve],
            )
        )
    band = result.random[result.method].tolist()
    floors = [
        FloorLine("random directions, above", band),
        FloorLine("random directions, below", [-value for value in band]),
    ]
    return Figure(
        name=NAME,
        title="Shift along the direction of toxic text, by depth",
        caption="Change of the stream where the completion begins, from before to after the turns. "
        "Bands: 95 % intervals by goal, one depth at a time; grey: 95 % of random directions.",
        spec=curve_by_layer(series, y_title="shift towards toxic text", unit=UNIT, floors=floors),
        table=NAME,
    )


def summary(result: PanelResult) -> Sequence[dict[str, Any]]:
    """Return what the terminal has room for: five depths and the chosen one."""
    rows = list(result.tables[NAME])
    steps = {round(i * (len(rows) - 1) / 4) for i in range(5)}
    chosen = [row for i, row in enumerate(rows) if i in steps or row["chosen"]]
    names = [name for name in chosen[0] if not name.endswith(("_low", "_high", "_shuffled"))]
    return [{name: row[name] for name in names} for row in chosen]
