"""Refusal by style: which wrapper around a harmful request weakens its refusal most.

Each goal is asked bare and in every style, so a style is compared with the bare form on the very
same goals. Two readings stand side by side: whether the reply refuses (offline scorer), and the
log-odds of refusing against friendly tokens at its first place, which moves before replies do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet, shown
from theodolite.data.styles import PLAIN, Style, jailbreak_styles, style, styled
from theodolite.errors import DataError
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.mechanism.triggers.outcomes import SHOWN, StyleOutcomes
from theodolite.mechanism.triggers.replies import MAX_NEW_TOKENS, first_token_odds, verdicts
from theodolite.runs.figures import grouped_rates
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.mechanism.lens.vocabulary import TokenClasses
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

METHOD_VERSION: Final = 1


@dataclass(frozen=True)
class Weakest:
    """The style that weakens refusal most, and on what evidence.

    Args:
        style: its name.
        shown: whether a fall against the bare form is shown, adjusted over all styles.
        by: `replies` or `log_odds`: which reading shows it; `replies` where neither does.
        change: the rate (or log-odds) in the style minus that of the bare form.
        p_value: adjusted (Holm).
        tried: styles that were compared.
    """

    style: str
    shown: bool
    by: str
    change: float
    p_value: float
    tried: int

    @property
    def words(self) -> str:
        """The finding in one sentence."""
        if self.by == "replies":
            moved = f"refused {self.change * 100:+.0f} points against the bare form"
        else:
            moved = f"first-token log-odds {self.change:+.2f} nats against the bare form"
        p = f"p = {self.p_value:.2g}, adjusted over {self.tried} styles"
        if self.shown:
            return f"Of the styles tried, '{self.style}' weakens refusal most: {moved} ({p})."
        return (
            f"No style is shown to weaken refusal; '{self.style}' has the lowest rate: {moved} "
            f"({p}), which noise may explain."
        )


@dataclass(frozen=True, eq=False)
class StyleWeakness:
    """Refusal of harmful requests, and false refusal of benign ones, by style.

    Args:
        harmful: outcomes of the harmful requests.
        benign: outcomes of their benign twins in the same styles; None where not asked.
        settings: model, template, length of replies, token classes.
    """

    harmful: StyleOutcomes
    benign: StyleOutcomes | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def weakest(self, *, seed: int = 0) -> Weakest:
        """Return the style with the largest shown fall; where none is shown, the lowest rate.

        Replies go before log-odds: a wrapper may change how a reply opens and not what it gives.

        Raises: DataError: no style but the bare form was asked.
        """
        if not self.harmful.wrapped:
            raise DataError("Only the bare form was asked.", fix="Ask at least one style.")
        for by in ("replies", "log_odds") if self.harmful.log_odds is not None else ("replies",):
            found = self._shown(by, seed)
            if found is not None:
                return found
        rates = {s: self.harmful.rate(s).value for s in self.harmful.wrapped}
        lowest = min(rates, key=lambda s: (1.0 if rates[s] is None else rates[s], s))
        p_value = self.harmful.tests(seed=seed)[lowest][1]
        change = self.harmful.change(lowest).value or 0.0
        return Weakest(lowest, False, "replies", change, p_value, len(rates))

    def _shown(self, by: str, seed: int) -> Weakest | None:
        change = self.harmful.change if by == "replies" else self.harmful.odds_change
        tests = self.harmful.tests(by=by, seed=seed)
        falls = {
            s: value
            for s, (_, p) in tests.items()
            if p < SHOWN and (value := change(s).value) is not None and value < 0
        }
        if not falls:
            return None
        worst = min(falls, key=lambda s: (falls[s], s))
        return Weakest(worst, True, by, falls[worst], tests[worst][1], len(tests))

    @property
    def sides(self) -> tuple[StyleOutcomes, ...]:
        """The harmful requests, then the benign ones where asked."""
        return (self.harmful,) if self.benign is None else (self.harmful, self.benign)

    def measurements(self) -> list[Measurement]:
        """Return rates and changes of both classes."""
        return [m for side in self.sides for m in side.measurements()]

    def frame(self, *, seed: int = 0) -> list[dict[str, Any]]:
        """Return one row per class and style."""
        return [row for side in self.sides for row in side.frame(seed=seed)]

    def outcomes(self) -> list[dict[str, Any]]:
        """Return the outcomes behind every rate."""
        return [row for side in self.sides for row in side.outcomes()]

    def figure(self) -> Figure:
        """Return the share refused by style, harmful requests beside benign ones."""
        series = {side.label: [side.rate(s) for s in side.styles] for side in self.sides}
        spec = grouped_rates(self.harmful.styles, series, axis_title="refused")
        caption = (
            f"{len(self.harmful.prompt_ids)} harmful goals, each bare and in every style, beside "
            "their benign twins; 95 % intervals by goal. A style that lowers the harmful rate is a "
            "way around the refusal; one that raises the benign rate alarms by its form alone."
        )
        return Figure("triggers_by_style", "Refusal by style", caption, spec, "triggers_by_style")

    def save(self, run: Run, name: str = "triggers") -> None:
        """Write the outcomes into the run folder."""
        rows = [
            {
                "label": side.label,
                "style": style_name,
                "prompt_id": prompt,
                "cluster": cluster,
                "pair": side.pairs[column] if side.pairs else "",
                "verdict": str(side.verdicts[place, column]),
                "log_odds": None if side.log_odds is None else float(side.log_odds[place, column]),
            }
            for side in self.sides
            for place, style_name in enumerate(side.styles)
            for column, (prompt, cluster) in enumerate(zip(side.prompt_ids, side.clusters))
        ]
        run.save_table(f"{name}_verdicts", rows)
        run.save_table(f"{name}_settings", [self.settings])

    @classmethod
    def load(cls, run: Run, name: str = "triggers") -> Self:
        """Read what `save` wrote."""
        rows = run.load_table(f"{name}_verdicts")
        sides = {
            label: _loaded([row for row in rows if row["label"] == label])
            for label in dict.fromkeys(row["label"] for row in rows)
        }
        settings = next(iter(run.load_table(f"{name}_settings")), {})
        return cls(sides[HARMFUL], sides.get(BENIGN), settings)


def style_weakness(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt] = (),
    *,
    styles: Sequence[Style | str] | None = None,
    wrapped: Sequence[Prompt] = (),
    classes: TokenClasses | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    template: str = "auto",
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> StyleWeakness:
    """Ask every request bare and in every style, and say what becomes of it.

    Args:
        model: an open local model; active interventions act.
        harmful, benign: bare requests; benign twins are the control of each style.
        styles: wrappers, as `Style`s or names (default: `jailbreak_styles`); the bare form is
            always asked.
        wrapped: requests already in styles of the user's own, with `style` and `goal_id`.
        classes: tokens that open a refusal or a friendly reply; None leaves the log-odds out.
        max_new_tokens, template, journal, progress: as for `verdicts`.

    Returns: outcomes by style and request; no reply is in it or in the journal.

    Raises:
        DataError: there are no harmful requests, one is not bare, or a wrapped one names no goal
            or style.

    Note: one greedy reply per request and style, and one more forward pass each with `classes`.
    """
    if not harmful:
        raise DataError("There are no harmful requests.", fix="Give at least one.")
    chosen = [style(s) if isinstance(s, str) else s for s in styles or jailbreak_styles()]
    named = [style(PLAIN), *(s for s in chosen if s.name != PLAIN)]
    asked = {
        label: _grid(label, bare, named, wrapped)
        for label, bare in ((HARMFUL, harmful), (BENIGN, benign))
        if bare
    }
    kept: dict[str, Any] = {"template": template, "journal": journal, "progress": progress}
    prompts = [prompt for grid in asked.values() for prompt in grid.prompts]
    said = verdicts(model, prompts, max_new_tokens=max_new_tokens, **kept)
    odds = None if classes is None else first_token_odds(model, prompts, classes, **kept)
    sides, start = {}, 0
    for label, grid in asked.items():
        part = slice(start, start + len(grid.prompts))
        sides[label] = grid.outcomes(said[part], None if odds is None else odds[part])
        start = part.stop
    settings = {
        "model": model.name,
        "template": template,
        "max_new_tokens": max_new_tokens,
        "classes": None if classes is None else classes.name,
    }
    return StyleWeakness(sides[HARMFUL], sides.get(BENIGN), settings)


@dataclass(frozen=True)
class _Grid:
    """The prompts of one class by style, and the place of each in the table (style, request)."""

    label: str
    styles: tuple[str, ...]
    bare: tuple[Prompt, ...]
    prompts: tuple[Prompt, ...]
    places: tuple[tuple[int, int], ...]

    def outcomes(self, said: Sequence[str], odds: Any) -> StyleOutcomes:
        """Return what became of the prompts."""
        shape = (len(self.styles), len(self.bare))
        table = np.full(shape, "", dtype="<U12")
        nats = None if odds is None else np.full(shape, np.nan)
        for i, place in enumerate(self.places):
            table[place] = said[i]
            if nats is not None:
                nats[place] = odds[i]
        return StyleOutcomes(
            label=self.label,
            styles=self.styles,
            prompt_ids=tuple(prompt.id for prompt in self.bare),
            clusters=tuple(cluster_of(prompt) for prompt in self.bare),
            verdicts=table,
            log_odds=nats,
            pairs=tuple(prompt.pair_id or "" for prompt in self.bare),
        )


def _grid(
    label: str, bare: Sequence[Prompt], styles: Sequence[Style], wrapped: Sequence[Prompt]
) -> _Grid:
    """Return every request in every style, style by style; then the user's own wrapped ones."""
    requests = PromptSet(label, tuple(bare))
    goals = {cluster_of(prompt): column for column, prompt in enumerate(bare)}
    own = [p for p in wrapped if (p.label or HARMFUL) == label]
    names = [s.name for s in styles]
    names += [n for n in dict.fromkeys(str(p.style) for p in own) if n not in names]
    prompts: list[Prompt] = []
    places: list[tuple[int, int]] = []
    for row, one in enumerate(styles):
        prompts += styled(requests, [one])
        places += [(row, column) for column in range(len(bare))]
    for prompt in own:
        if prompt.style is None or cluster_of(prompt) not in goals:
            raise DataError(
                f"The wrapped request {shown(prompt.id)} names no style, or a goal that no bare "
                "request has.",
                fix="Give it `style`, and the `goal_id` of a bare request.",
            )
        prompts.append(prompt)
        places.append((names.index(prompt.style), goals[cluster_of(prompt)]))
    if len(set(places)) < len(places):
        raise DataError(
            f"A {label} request stands in one style twice.", fix="Wrap each goal once per style."
        )
    return _Grid(label, tuple(names), tuple(bare), tuple(prompts), tuple(places))


def _loaded(rows: Sequence[dict[str, Any]]) -> StyleOutcomes:
    """Return the outcomes of one class from the rows that `save` wrote."""
    styles = tuple(dict.fromkeys(row["style"] for row in rows))
    first = [row for row in rows if row["style"] == styles[0]]
    shape = (len(styles), len(first))
    odds = [row["log_odds"] for row in rows]
    nats = np.array([np.nan if o is None else o for o in odds], np.float64).reshape(shape)
    return StyleOutcomes(
        label=rows[0]["label"],
        styles=styles,
        prompt_ids=tuple(row["prompt_id"] for row in first),
        clusters=tuple(row["cluster"] for row in first),
        verdicts=np.array([row["verdict"] for row in rows], dtype="<U12").reshape(shape),
        log_odds=None if all(o is None for o in odds) else nats,
        pairs=tuple(row["pair"] for row in first),
    )
