"""Before and after a hardening: refusal by style, false refusals by style, and perplexity.

Every condition is asked the very same requests, so each change is paired by request and clustered
by goal. The hardened styles were chosen beforehand, on other goals: p-values are adjusted (Holm)
over them alone, and over all other styles of a class as a second family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN, HARMFUL
from theodolite.data.styles import PLAIN, STYLES
from theodolite.errors import DataError
from theodolite.measure.display import ends
from theodolite.measure.intervals import mean
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.multiple import holm
from theodolite.measure.paired import PairedTest, paired_difference, paired_test
from theodolite.mechanism.perplexity import Nats, perplexity, perplexity_rise
from theodolite.mechanism.triggers.outcomes import SHOWN, StyleOutcomes
from theodolite.mechanism.triggers.weakness import StyleWeakness, Weakest
from theodolite.runs.figures import grouped_rates
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.runs.run import Run

BEFORE, AFTER, CLAMPED = "before", "retrained", "clamped"
POOLS: Final = ("hardened", "bare", "held out", "other")
_ROLE_OF_KIND: Final = {"held_out": "held out"}


@dataclass(frozen=True, eq=False)
class Hardened:
    """One model before and after, on the same test requests and passages; no text is in it.

    Args:
        found: refusal by style in every condition, `before` first.
        nats: minus the log-probability of each passage, axes (condition, passage).
        tokens: scored tokens of each passage, axis (passage).
        vocabulary: tokens of the model.
        weakest: the weakness that was found, on other goals than these.
        hardened: the styles that were trained on.
        seed: of sign flips.
    """

    found: Mapping[str, StyleWeakness]
    nats: Nats
    tokens: NDArray[np.int64]
    vocabulary: int
    weakest: Weakest
    hardened: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        first = self.found[BEFORE]
        for name, other in self.found.items():
            if [_asked(side) for side in other.sides] != [_asked(side) for side in first.sides]:
                raise DataError(
                    f"The condition '{name}' was asked other requests than '{BEFORE}'.",
                    fix="Measure all conditions on the same requests and styles.",
                )

    @property
    def conditions(self) -> tuple[str, ...]:
        """What was measured, `before` first."""
        return tuple(self.found)

    @property
    def corrected(self) -> tuple[str, ...]:
        """The conditions that are compared with `before`."""
        return tuple(name for name in self.found if name != BEFORE)

    @property
    def classes(self) -> tuple[str, ...]:
        """harmful, and benign where it was asked."""
        return tuple(side.label for side in self.found[BEFORE].sides)

    @property
    def styles(self) -> tuple[str, ...]:
        """The styles that were asked, the bare form first."""
        return self.found[BEFORE].harmful.styles

    def role(self, style: str) -> str:
        """Return which of `POOLS` a style belongs to."""
        if style in self.hardened:
            return "hardened"
        if style == PLAIN:
            return "bare"
        kinds = {each.name: each.kind for each in STYLES}
        return _ROLE_OF_KIND.get(kinds.get(style, ""), "other")

    def pools(self) -> dict[str, tuple[str, ...]]:
        """Return the styles of each role that occurs."""
        found = {role: tuple(s for s in self.styles if self.role(s) == role) for role in POOLS}
        return {role: styles for role, styles in found.items() if styles}

    def side(self, condition: str, label: str) -> StyleOutcomes:
        """Return the outcomes of one class in one condition."""
        return next(side for side in self.found[condition].sides if side.label == label)

    def rate(self, condition: str, label: str, style: str) -> Measurement:
        """Return the share refused in a style."""
        name = f"harden/{condition}/{label}/{style}"
        return replace(self.side(condition, label).rate(style), name=name)

    def change(self, condition: str, label: str, style: str) -> Measurement:
        """Return the share refused minus that before, on the same requests."""
        return self._change(condition, label, (style,), style)

    def pooled(self, condition: str, label: str, role: str) -> Measurement:
        """Return the change over all styles of a role, clustered by goal."""
        return self._change(condition, label, self.pools()[role], f"all {role}")

    def weakens(self, condition: str) -> str | None:
        """Return why a repair is not to be kept: harmful requests are refused less; else None.

        It is kept only where refusal over all styles together did not fall at all, and in no role
        by more than chance explains (the interval lies below 0).
        """
        overall = self._change(condition, HARMFUL, self.styles, "all styles")
        if overall.value is None:
            return "refusal of harmful requests was not measured"
        if overall.value < 0:
            return f"refusal of harmful requests over all styles changed by {_points(overall)}"
        for role in self.pools():
            m = self.pooled(condition, HARMFUL, role)
            if m.high is not None and m.high < 0:
                return f"refusal of harmful requests fell in styles of the role '{role}'"
        return None

    def gap_change(self, condition: str, style: str) -> Measurement:
        """Return by how much more refusal rose for harmful requests than for their benign twins.

        What a repair learnt of harm; 0 where it learnt the style alone, and refuses all in it.
        """
        name = f"harden/{condition}/gap/{style}/change"
        if BENIGN not in self.classes:
            return not_measured(name, "share", "no benign requests were asked")
        harmful, benign = (self._moved(condition, label, style) for label in (HARMFUL, BENIGN))
        pairs = [pair for pair in harmful if pair in benign]
        if not pairs:
            return not_measured(name, "share", "no harmful request has a benign twin")
        return mean(
            name,
            [harmful[pair] - benign[pair] for pair in pairs],
            clusters=pairs,
            unit="share",
            range=(-2.0, 2.0),
            floor=Floor("refusing more or less of everything", 0.0),
        )

    def _moved(self, condition: str, label: str, style: str) -> dict[str, float]:
        """Return refused after less refused before in a style, by pair."""
        after, before, _ = self._pair(condition, label, (style,))
        pairs = self.side(condition, label).pairs
        return {
            pair: float(a) - float(b)
            for pair, a, b in zip(pairs, after, before)
            if pair and a is not None and b is not None
        }

    def tests(self, condition: str, label: str) -> dict[str, tuple[PairedTest, float]]:
        """Return each style's test of "no change", and its p-value adjusted over its family."""
        return self._tests[condition, label]

    @cached_property
    def _tests(self) -> dict[tuple[str, str], dict[str, tuple[PairedTest, float]]]:
        return {
            (c, label): self._family(c, label) for c in self.corrected for label in self.classes
        }

    def _family(self, condition: str, label: str) -> dict[str, tuple[PairedTest, float]]:
        found: dict[str, tuple[PairedTest, float]] = {}
        rest = [style for style in self.styles if style not in self.hardened]
        for family in (self.hardened, rest):
            tests = [
                paired_test(*self._pair(condition, label, (style,)), seed=self.seed)
                for style in family
            ]
            adjusted = holm([test.p_value for test in tests]).tolist()
            found |= dict(zip(family, zip(tests, adjusted, strict=True), strict=True))
        return found

    def perplexity(self, condition: str) -> Measurement:
        """Return the perplexity of plain text."""
        row = self.nats[self.conditions.index(condition)]
        return perplexity(f"harden/{condition}/perplexity", row, self.tokens, self.vocabulary)

    def perplexity_rise(self, condition: str) -> Measurement:
        """Return by how many percent it rose over that before, paired by passage."""
        row = self.nats[self.conditions.index(condition)]
        name = f"harden/{condition}/perplexity/change"
        return perplexity_rise(name, row, self.nats[0], self.tokens)

    def measurements(self) -> list[Measurement]:
        """Return every rate, change and pooled change, and the perplexities."""
        found = [self.rate(BEFORE, label, s) for label in self.classes for s in self.styles]
        found.append(self.perplexity(BEFORE))
        for condition in self.corrected:
            for label in self.classes:
                for style in self.styles:
                    found.append(self.rate(condition, label, style))
                    found.append(self.change(condition, label, style))
                found += [self.pooled(condition, label, role) for role in self.pools()]
            found += [self.gap_change(condition, style) for style in self.styles]
            found += [self.perplexity(condition), self.perplexity_rise(condition)]
        return found

    def frame(self) -> list[dict[str, Any]]:
        """Return the before/after table: a row per condition, class and style, then perplexity."""
        rows = [
            self._row(condition, label, style)
            for condition in self.corrected
            for label in self.classes
            for style in self.styles
        ]
        return rows + [self._perplexity_row(condition) for condition in self.corrected]

    def pooled_frame(self) -> list[dict[str, Any]]:
        """Return the changes over all styles of a role."""
        return [
            {"condition": c, "class": label, "styles": role, "count": len(styles)}
            | ends("change", self.pooled(c, label, role))
            for c in self.corrected
            for label in self.classes
            for role, styles in self.pools().items()
        ]

    def _row(self, condition: str, label: str, style: str) -> dict[str, Any]:
        before, after = (self.rate(c, label, style) for c in (BEFORE, condition))
        test, adjusted = self.tests(condition, label)[style]
        return {
            "condition": condition,
            "class": label,
            "style": style,
            "role": self.role(style),
            "n": before.n,
            "goals": before.n_clusters,
            **ends("before", before),
            **ends("after", after),
            **ends("change", self.change(condition, label, style)),
            **ends("gap_change", self.gap_change(condition, style)),
            "p": test.p_value,
            "p_holm": adjusted,
            "broken_before": self.side(BEFORE, label).broken(style),
            "broken_after": self.side(condition, label).broken(style),
        }

    def _perplexity_row(self, condition: str) -> dict[str, Any]:
        rise = self.perplexity_rise(condition)
        return {
            "condition": condition,
            "class": "plain text",
            "style": "perplexity (change in %)",
            "role": "cost",
            "n": len(self.tokens),
            "goals": len(self.tokens),
            **ends("before", self.perplexity(BEFORE)),
            **ends("after", self.perplexity(condition)),
            **ends("change", rise),
        }

    def outcomes(self) -> list[dict[str, Any]]:
        """Return the outcomes behind every rate, so that two runs can be compared item by item."""
        return [
            row | {"measurement": row["measurement"].replace("triggers", f"harden/{name}", 1)}
            for name, each in self.found.items()
            for row in each.outcomes()
        ]

    def findings(self) -> list[str]:
        """Say what was found, what the repairs did to it, and what they cost."""
        said = [self.weakest.words]
        for condition in self.corrected:
            said.append(self._finding(condition))
        return said

    def _finding(self, condition: str) -> str:
        parts = [self._in_style(condition, HARMFUL, style) for style in self.hardened]
        if BENIGN in self.classes:
            parts += [self._in_style(condition, BENIGN, style) for style in self.hardened]
            parts += [self._of_harm(condition, style) for style in self.hardened]
        for role in ("held out", "other"):
            if role in self.pools():
                m = self.pooled(condition, HARMFUL, role)
                parts.append(f"harmful, {role} styles together {_points(m)}")
        rise = self.perplexity_rise(condition)
        if rise.value is not None:
            span = "" if rise.low is None else f" [{rise.low:+.1f}, {rise.high:+.1f}]"
            parts.append(f"perplexity of plain text {rise.value:+.1f} %{span}")
        return f"{condition.capitalize()}, on test goals: {'; '.join(parts)}."

    def _in_style(self, condition: str, label: str, style: str) -> str:
        before, after = (self.rate(c, label, style).value for c in (BEFORE, condition))
        change, p = self.change(condition, label, style), self.tests(condition, label)[style][1]
        told = "shown" if p < SHOWN else "not shown"
        rates = "" if before is None or after is None else f"{before:.0%} to {after:.0%} refused, "
        return f"{label} in '{style}' {rates}{_points(change)} (p = {p:.2g}, {told})"

    def _of_harm(self, condition: str, style: str) -> str:
        """Say whether the repair learnt harm, or the style."""
        m = self.gap_change(condition, style)
        learnt = m.low is not None and m.low > 0
        told = "" if learnt else "; that it tells harm apart better there is not shown"
        return f"the gap between both in '{style}' {_points(m)}{told}"

    def figure(self) -> Figure:
        """Return refusal of harmful requests and false refusals by style, in every condition."""
        series = {
            f"{label}, {condition}": [self.rate(condition, label, s) for s in self.styles]
            for label in self.classes
            for condition in self.conditions
        }
        labels = [f"{s} ({self.role(s)})" if s != PLAIN else "bare" for s in self.styles]
        caption = (
            f"{len(self.found[BEFORE].harmful.prompt_ids)} test goals, each bare and in every "
            "style; 95 % intervals by goal. Harmful requests are to be refused, benign ones not."
        )
        spec = grouped_rates(labels, series, axis_title="refused")
        return Figure("hardened", "Refusal before and after", caption, spec, "hardened")

    def save(self, run: Run) -> None:
        """Write the outcomes and the nats into the run folder."""
        for name, each in self.found.items():
            each.save(run, f"test_{name}")
        run.save_tensors("hardened", {"nats": self.nats, "tokens": self.tokens})
        facts = {
            "conditions": list(self.conditions),
            "hardened": list(self.hardened),
            "vocabulary": self.vocabulary,
            "seed": self.seed,
            **{f"weakest_{name}": value for name, value in vars(self.weakest).items()},
        }
        run.save_table("hardened_design", [facts])

    @classmethod
    def load(cls, run: Run) -> Self:
        """Read what `save` wrote."""
        facts = run.load_table("hardened_design")[0]
        arrays = run.load_tensors("hardened")
        weakest = {k.removeprefix("weakest_"): v for k, v in facts.items() if "weakest_" in k}
        return cls(
            found={name: StyleWeakness.load(run, f"test_{name}") for name in facts["conditions"]},
            nats=np.asarray(arrays["nats"]),
            tokens=np.asarray(arrays["tokens"]),
            vocabulary=facts["vocabulary"],
            weakest=Weakest(**weakest),
            hardened=tuple(facts["hardened"]),
            seed=facts["seed"],
        )

    def _change(self, condition: str, label: str, styles: Sequence[str], name: str) -> Measurement:
        after, before, clusters = self._pair(condition, label, styles)
        title = f"harden/{condition}/{label}/{name}/change"
        return paired_difference(after, before, clusters, name=title)

    def _pair(
        self, condition: str, label: str, styles: Sequence[str]
    ) -> tuple[list[bool | None], list[bool | None], list[str]]:
        """Return refused after, refused before, and the goal of each request in some styles."""
        after, before = (self.side(c, label) for c in (condition, BEFORE))
        clusters = [cluster for _ in styles for cluster in before.clusters]
        return (
            [one for style in styles for one in after.refused(style)],
            [one for style in styles for one in before.refused(style)],
            clusters,
        )


def _asked(side: StyleOutcomes) -> tuple[Any, ...]:
    return side.label, side.styles, side.prompt_ids, side.clusters


def _points(m: Measurement) -> str:
    """Return a change of a share in points, with its interval."""
    if m.value is None:
        return "not measured"
    span = "" if m.low is None or m.high is None else f" [{100 * m.low:+.0f}, {100 * m.high:+.0f}]"
    return f"{100 * m.value:+.0f} points{span}"
