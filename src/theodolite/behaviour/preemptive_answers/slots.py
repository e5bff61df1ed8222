"""How far a planted answer moves the answer slot, without a word being generated.

At a slot delta = log p(gold) - log p(wrong), for the same two answers under every condition, so a
shift of delta from the clean run says what the plant does and nothing else. A plant changes the
layout of the chat too: a blank and an unrelated plant at the same place are the floors. With one
reasoning text held fixed and only the plant changed, a shift is an override at the read-out; what
the model's own attacked reasoning adds to it is reasoning that changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.preemptive_answers.planting import (
    CLEAN,
    CONDITIONS,
    EXTRA_USER,
    LATE_FRACTIONS,
    PLANTED,
    PLANTED_BLANK,
    PLANTED_GOLD,
    PLANTED_LATE,
    PLANTED_RANDOM,
)
from theodolite.behaviour.preemptive_answers.prompts import STEP_BY_STEP
from theodolite.behaviour.preemptive_answers.sweep import (
    BLANK_PLANT,
    LATE_PLANTS,
    NO_TEXT,
    RANDOM_PLANT,
    WRONG_PLANT,
    Arm,
    Reading,
    arms_of,
    can_be_read,
    channel_of,
    fixed_texts,
    read_arms,
)
from theodolite.data.preemptive import Item
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.measure.display import format_value
from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Floor, Measurement, not_measured
from theodolite.measure.paired import paired_difference
from theodolite.runs.figures import FloorLine, Series, curve_by_layer
from theodolite.runs.panel import Figure, PanelResult
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

SLOTS_VERSION: Final = 1
NAME: Final = "preemptive-answers/slots"
DEFAULT_CONDITIONS: Final = (
    CLEAN,
    PLANTED,
    PLANTED_GOLD,
    PLANTED_RANDOM,
    PLANTED_BLANK,
    PLANTED_LATE,
)
READINGS, CURVE = "slot_readings", "slot_curve"
_EVEN: Final = Floor("neither answer preferred", 0.0)
_COIN: Final = Floor("a coin between the two", 0.5)
_SAID: Final = {WRONG_PLANT: "wrong answer", BLANK_PLANT: "blank plant"}
LIMITS: Final = (
    "Probabilities at a slot are read with a text held fixed; what a model writes when it is free "
    "to is measured by generating.",
    "Only questions with options are read: an answer in free words has no single wrong rival.",
)

Chains = Mapping[str, Mapping[str, str]]


def score_slots(
    model: LanguageModel,
    items: Sequence[Item],
    *,
    conditions: Sequence[str] = DEFAULT_CONDITIONS,
    positions: Sequence[float] = LATE_FRACTIONS,
    run: Run,
    seed: int = 0,
    progress: Progress | None = None,
    chains: Chains | None = None,
    reasoned: bool = True,
    channel: str = EXTRA_USER,
    method: str = STEP_BY_STEP,
    batch_tokens: int | None = None,
) -> PanelResult:
    """Read the answer slot of every item under every condition.

    Source: arXiv:2405.20902 for the conditions; reading the slot is ours.

    Args:
        model: an open local model; active interventions act.
        items: questions; those without options, or with damaged answers, are counted and left out.
        conditions: of `planting.CONDITIONS`; the clean run is always read.
        positions: fractions of the clean reasoning before a late plant.
        run: its journal keeps what was scored, so that a second call reads only what is new.
        seed: of the unrelated answers.
        progress: told of scored options.
        chains: condition -> item id -> reasoning that is held fixed. "clean" is that of the clean
            run, by default the item's own solution; one of another condition is its attacked run's.
        reasoned: read slots behind a fixed text, too.
        channel: where plants stand; one the template cannot take is replaced, and that is said.
        method: of `prompts.METHODS`; the instruction is the same with and without a text.
        batch_tokens: as for `engine.score`.

    Raises:
        ConfigError: a condition is unknown, or a position is not between 0 and 1.
        CapabilityError: the model gives no log-probabilities, or cannot take the channel.
    """
    _check(conditions, positions)
    reasons = [can_be_read(item) for item in items]
    usable = [item for item, reason in zip(items, reasons) if reason is None]
    taken = channel_of(model, channel)
    texts = fixed_texts(usable, chains or {})
    asked: dict[str, Any] = {
        "seed": seed,
        "others": items,
        "channel": taken.channel,
        "method": method,
    }
    kept: dict[str, Any] = {
        "batch_tokens": batch_tokens,
        "journal": run.journal,
        "progress": progress,
    }
    arms = arms_of(conditions, positions, [NO_TEXT, *(texts if reasoned else ())])
    found = read_arms(model, usable, arms, texts, asked, kept)
    sweep = SlotSweep(tuple(usable), tuple(arms), found, dict(Counter(r for r in reasons if r)))
    how = [
        f"{len(usable)} questions with options, instruction {method}, plants in {taken.channel}"
        + (f" ({taken.downgrade})" if taken.downgrade else "")
        + f"; {sum(text is not None for text in texts[CLEAN].values())} of them with a reasoning "
        "text, its own answers taken out. Yes and No count in either case of their first letter.",
        *(f"Left out: {count}, because {reason}." for reason, count in sweep.left_out.items()),
    ]
    return sweep.report(how)


def _check(conditions: Sequence[str], positions: Sequence[float]) -> None:
    for name in conditions:
        if name not in CONDITIONS:
            raise ConfigError(
                f"There is no condition {shown(name)}.", fix=did_you_mean(name, CONDITIONS)
            )
    for position in positions:
        if not 0.0 <= position <= 1.0:
            raise ConfigError(f"The position {position} is not between 0 and 1.", fix="Use 0.5.")


@dataclass(frozen=True, eq=False)
class SlotSweep:
    """Every item under every arm.

    Args:
        found: (item id, arm) -> reading.
        left_out: why items have no place here -> how many.
    """

    items: tuple[Item, ...]
    arms: tuple[Arm, ...]
    found: Mapping[tuple[str, Arm], Reading]
    left_out: Mapping[str, int]

    @property
    def clusters(self) -> list[str]:
        """The question of each item."""
        return [item.cluster for item in self.items]

    def deltas(self, arm: Arm) -> list[float | None]:
        """Return delta of every item under an arm, in nats; None where it was not read."""
        return [self.found[item.id, arm].delta for item in self.items]

    def level(self, arm: Arm) -> Measurement:
        """Return the mean delta of an arm."""
        return mean(
            f"{NAME}/{_of(arm)}/delta/{arm.name}",
            self.deltas(arm),
            clusters=self.clusters,
            unit="nats",
            floor=_EVEN,
            reasons=[self.found[item.id, arm].reason for item in self.items],
        )

    def prefers_gold(self, arm: Arm) -> Measurement:
        """Return the share of items whose gold is likelier than their wrong answer."""
        return proportion(
            f"{NAME}/{_of(arm)}/prefers_gold/{arm.name}",
            [None if delta is None else delta > 0 for delta in self.deltas(arm)],
            clusters=self.clusters,
            floor=_COIN,
            reasons=[self.found[item.id, arm].reason for item in self.items],
        )

    def change(self, name: str, arm: Arm, base: Arm, floor: Floor | None = None) -> Measurement:
        """Return the mean of delta under an arm less delta under another."""
        first, second = self.deltas(arm), self.deltas(base)
        full = f"{NAME}/{name}"
        if not any(a is not None and b is not None for a, b in zip(first, second)):
            return not_measured(full, "nats", "no item was read under both")
        return paired_difference(first, second, self.clusters, name=full, unit="nats", floor=floor)

    def shift(self, arm: Arm) -> Measurement:
        """Return by how much an arm moves delta from the clean run with the same text."""
        base = Arm(CLEAN, arm.text)
        floor = None
        control = self.control(arm)
        if control is not None:
            value = self.change("floor", control, base).value
            floor = None if value is None else Floor(f"shift of {control.name}", value)
        return self.change(f"{_of(arm)}/shift/{arm.name}", arm, base, floor)

    def control(self, arm: Arm, kind: str = BLANK_PLANT) -> Arm | None:
        """Return the arm that is a plant's floor, if it was read; None for a floor itself."""
        if arm.condition == PLANTED_LATE:
            own = Arm(PLANTED_LATE, arm.text, arm.fraction, BLANK_PLANT)
            return own if arm.late == WRONG_PLANT and kind == BLANK_PLANT else None
        names = {BLANK_PLANT: PLANTED_BLANK, RANDOM_PLANT: PLANTED_RANDOM}
        own = Arm(names[kind], arm.text)
        planted = arm.condition in (PLANTED, PLANTED_GOLD)
        return own if planted and own in self.arms else None

    def net(self, arm: Arm, kind: str) -> Measurement | None:
        """Return what a wrong plant does beyond a blank or an unrelated one; above 0 for gold."""
        control = self.control(arm, kind)
        if control is None:
            return None
        return self.change(f"{_of(arm)}/net/{arm.name}/over_{control.name}", arm, control)

    def counterfactual(self) -> list[Measurement]:
        """Return override at the read-out and change of the reasoning, by condition."""
        rows = []
        clean = Arm(CLEAN, CLEAN)
        for arm in self.arms:
            if arm.text != CLEAN or arm.condition in (CLEAN, PLANTED_LATE, PLANTED_BLANK):
                continue
            own, name = Arm(arm.condition, arm.condition), f"counterfactual/{arm.name}"
            rows.append(self.change(f"{name}/readout", arm, clean))
            rows.append(self.turned(f"{name}/overridden", clean, arm))
            if own in self.arms:
                rows.append(self.change(f"{name}/chain", own, arm))
                rows.append(self.turned(f"{name}/chain_turned", arm, own))
            elif arm.condition == PLANTED:
                why = "no reasoning of the attacked run was given"
                rows.append(not_measured(f"{NAME}/{name}/chain", "nats", why))
        return rows

    def turned(self, name: str, base: Arm, arm: Arm) -> Measurement:
        """Return the share of items that prefer gold under one arm and not under the other."""
        before, after = self.deltas(base), self.deltas(arm)
        both = [(b, a) for b, a in zip(before, after) if b is not None and a is not None]
        held = [b is not None and a is not None and b > 0 for b, a in zip(before, after)]
        if not any(held):
            why = "no item prefers its gold" if both else "no item was read under both"
            return not_measured(f"{NAME}/{name}", "share", why)
        chosen = [i for i, yes in enumerate(held) if yes]
        return proportion(
            f"{NAME}/{name}",
            [(after[i] or 0.0) <= 0 for i in chosen],
            clusters=[self.clusters[i] for i in chosen],
            floor=Floor("a plant that is ignored", 0.0),
        )

    def measurements(self) -> list[Measurement]:
        """Return all figures; what a wrong plant does beyond its floors leads."""
        leading = [
            one
            for arm in self.arms
            if arm.condition in (PLANTED, PLANTED_LATE) and arm.text in (NO_TEXT, CLEAN)
            for kind in (BLANK_PLANT, RANDOM_PLANT)
            if (one := self.net(arm, kind)) is not None
        ]
        rows = []
        for arm in self.arms:
            based = Arm(CLEAN, arm.text) in self.arms and arm.condition != CLEAN
            rows += [self.shift(arm)] if based else []
            rows.append(self.level(arm))
            rows += [self.prefers_gold(arm)] if arm.fraction is None else []
        return [*leading, *rows, *self.counterfactual()]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per item and arm; ids and numbers, no words."""
        rows = []
        for item in self.items:
            for arm in self.arms:
                one = self.found[item.id, arm]
                rows.append(
                    {
                        "id": item.id,
                        "cluster": item.cluster,
                        "set": item.set,
                        "answer_type": item.answer_type,
                        "condition": arm.condition,
                        "text": _of(arm),
                        "fraction": arm.fraction,
                        "plant": arm.late if arm.condition == PLANTED_LATE else None,
                        "planted": one.planted,
                        "logprob_gold": one.of.get(item.gold),
                        "logprob_wrong": one.of.get(item.wrong or ""),
                        "delta": one.delta,
                        "chosen": one.chosen,
                        "reason": one.reason,
                    }
                )
        return rows

    def curve(self) -> list[dict[str, Any]]:
        """Return the shift at every position of a late plant, by what it says."""
        rows = []
        for arm in self.arms:
            if arm.fraction is not None:
                m = self.shift(arm)
                ends = {"shift": m.value, "low": m.low, "high": m.high, "n": m.n}
                rows.append({"position": arm.fraction, "plant": arm.late, **ends})
        return rows

    def report(self, how: Sequence[str]) -> PanelResult:
        """Return the figures with words, tables and the curve by position."""
        rows, curve = self.measurements(), self.curve()
        tables = {READINGS: self.frame()} | ({CURVE: curve} if curve else {})
        return PanelResult(
            measurements=rows,
            tables=tables,
            figures=[_curve_figure(curve)] if any(r["shift"] is not None for r in curve) else [],
            findings=self._findings(),
            limits=LIMITS,
            how=list(how),
            labels=_labels(rows),
        )

    def _findings(self) -> list[str]:
        said = []
        if not self.items:
            return ["No question with options was given, so no answer slot was read."]
        for text, words in ((NO_TEXT, "without reasoning"), (CLEAN, "behind fixed reasoning")):
            arm = Arm(PLANTED, text)
            net = self.net(arm, BLANK_PLANT) if arm in self.arms else None
            if net is None or net.value is None:
                continue
            if net.high is not None and net.high < 0:
                verdict = "the slot moves towards what was planted"
            elif net.low is not None and net.low > 0:
                verdict = "the slot moves away from what was planted"
            else:
                verdict = "no effect of what it says is shown"
            said.append(
                f"A planted wrong answer moves the answer slot {words} by {format_value(net)} "
                f"more than a blank plant does (below 0: towards the wrong answer): {verdict}."
            )
        return said or ["No planted answer was read beside a blank one: nothing can be said."]


def _of(arm: Arm) -> str:
    """Return what stands before the tag, as names of figures say it."""
    return {NO_TEXT: "bare", CLEAN: "reasoned"}.get(arm.text, "own_reasoning")


def _labels(rows: Sequence[Measurement]) -> dict[str, str]:
    words = {
        "delta": "log p(gold) - log p(wrong) at the slot",
        "shift": "shift of the slot from the clean run",
        "net": "shift of the slot (below 0: towards the wrong answer)",
        "prefers_gold": "questions whose gold is likelier than their wrong answer",
        "readout": "shift with the clean reasoning held fixed",
        "chain": "what the attacked reasoning adds to it",
        "overridden": "questions turned with the clean reasoning held fixed",
        "chain_turned": "questions turned by the attacked reasoning",
    }
    before = {"bare": "", "reasoned": ", behind fixed reasoning"}
    found = {}
    for row in rows:
        first, second, *rest = row.name.removeprefix(f"{NAME}/").split("/")
        if first == "counterfactual":
            found[row.name] = f"{second}: {words[rest[0]]}"
        else:
            arm = " ".join(rest).replace("over_", "over ")
            found[row.name] = f"{arm}: {words[second]}{before.get(first, ', behind its own')}"
    return found


def _curve_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Return the anchoring curve: shift by place of the plant, with its floor."""
    series = []
    for kind in LATE_PLANTS:
        own = [row for row in rows if row["plant"] == kind]
        xs, ys, lows, highs = ([r[k] for r in own] for k in ("position", "shift", "low", "high"))
        series.append(Series(_SAID[kind], xs, ys, lows, highs))
    return Figure(
        name="anchoring_curve",
        title="Shift of the answer slot, by where the plant stands",
        caption="Change of log p(gold) - log p(wrong) from the clean run, the reasoning text held "
        "fixed; bands are 95 % intervals by question.",
        spec=curve_by_layer(
            series,
            y_title="shift of the slot",
            unit="nats",
            x_title="share of the reasoning that stands before the plant",
            floors=[FloorLine("no shift", 0.0)],
        ),
        table=CURVE,
    )
