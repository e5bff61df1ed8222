"""Directions by styles: what each edit opens in harmful requests, and what it moves in benign ones.

A direction that reads a style, not harm, opens that style alone. So a change counts against the
largest change in any other style, and against what random directions reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.prompts import PromptSet
from theodolite.data.styles import styled
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference
from theodolite.mechanism.steering.selectivity import style_selectivity
from theodolite.mechanism.steering.sweep import steer_sweep
from theodolite.runs.figures import FloorLine, heatmap
from theodolite.runs.panel import Figure

if TYPE_CHECKING:
    from theodolite.data.prompts import Prompt
    from theodolite.mechanism.steering.edits import Edit
    from theodolite.mechanism.steering.selectivity_result import SelectivityResult
    from theodolite.mechanism.steering.sweep_result import SweepResult
    from theodolite.models.handle import LanguageModel

TABLE: Final = "steering_styles"
Grid = list[list[float | None]]


@dataclass(frozen=True, eq=False)
class StyleMatrix:
    """The same edits on harmful and on benign requests in every style.

    Args:
        harmful: judged answers.
        benign: first tokens, prompt by prompt in the order of the styles; None where no benign
            request was there.
    """

    harmful: SelectivityResult
    benign: SweepResult | None

    @property
    def edits(self) -> tuple[str, ...]:
        """The names of the edits."""
        return self.harmful.settings.edits

    def benign_change(self, edit: str, style: str) -> Measurement | None:
        """Return by how much an edit moves the refusing log-odds of benign requests in a style.

        Returns: beyond the mean of random directions where there are some, paired by request; None
            where nothing was read.
        """
        if self.benign is None:
            return None
        column, count = self.harmful.styles.index(style), len(self.harmful.styles)
        random = self.benign.settings.random(edit)
        own = self.benign.changes[self.benign.settings.row(edit), column::count]
        beside = self.benign.changes[random, column::count].mean(0) if random else 0 * own
        return paired_difference(
            own.tolist(),
            beside.tolist(),
            self.benign.clusters[column::count],
            name=f"steering/{edit}/{style}/benign/over_random",
            unit="nats",
            floor=Floor("random directions" if random else "no edit", 0.0),
            seed=self.benign.seed,
        )

    def measurements(self) -> list[Measurement]:
        """Return those of harmful requests, then what benign ones move by."""
        cells = [(edit, style) for edit in self.edits for style in self.harmful.styles]
        calm = [self.benign_change(*cell) for cell in cells]
        return [*self.harmful.measurements(), *(m for m in calm if m is not None)]

    def frame(self) -> list[dict[str, Any]]:
        """Return one row per edit and style."""
        rows = []
        for row in self.harmful.frame():
            calm = self.benign_change(row["edit"], row["style"])
            ends = {
                f"benign{end}": None if calm is None else getattr(calm, name)
                for end, name in (("", "value"), ("_low", "low"), ("_high", "high"))
            }
            rows.append({**row, **ends, "n": len(self.harmful.prompt_ids)})
        return rows

    def figures(self) -> list[Figure]:
        """Return both matrices as heat maps."""
        rows = self.frame()
        floors = [self.harmful.gap(e, self.harmful.widest(e)).floor for e in self.edits]
        reached = max((floor.value for floor in floors if floor is not None), default=0.0)
        caption = (
            f"Share of {len(self.harmful.prompt_ids)} harmful requests that an edit lets through "
            "in a style, minus the largest such change in any other style. A cell may tell a "
            "direction that reads the style where it is above 20 points and not crossed out."
        )
        spec = self._map(
            "gap",
            "opened beyond any other style",
            "share",
            FloorLine("95 % of random edits in their widest style", reached),
            {"passed more": _three(rows, "change"), "beyond others": _three(rows, "gap")},
        )
        found = [Figure("steering_styles", "Which style an edit opens", caption, spec, TABLE)]
        if self.benign is None:
            return found
        caption = (
            "Change of the log-odds of a refusing first token on benign requests, beyond the mean "
            "of random directions; 95 % intervals by goal when pointed at."
        )
        details = {"beyond random": _three(rows, "benign")}
        spec = self._map("benign", "change beyond random directions", "nats", None, details)
        title = "What an edit moves in benign requests"
        return [*found, Figure("steering_styles_benign", title, caption, spec, TABLE)]

    def findings(self) -> list[str]:
        """Say of every edit which style it is specific for, or that none is shown."""
        said = []
        for edit in self.edits:
            style = self.harmful.specific(edit)
            widest = style or self.harmful.widest(edit)
            gap = self.harmful.gap(edit, widest)
            told = f"{_points(gap)} over every other style"
            if style is not None:
                said.append(f"{edit} is specific for the style {style}: {told}.")
                continue
            said.append(
                f"{edit} is not shown to be specific for a style; its widest is {widest}, {told}."
            )
        return said

    def _map(
        self,
        name: str,
        title: str,
        unit: str,
        floor: FloorLine | None,
        details: dict[str, tuple[Any, ...]],
    ) -> dict[str, Any]:
        """Return a heat map of one column of the frame, edits by styles."""
        count = len(self.harmful.styles)
        return heatmap(
            _folded([row[name] for row in self.frame()], count),
            x=self.harmful.styles,
            y=self.edits,
            x_title="style",
            y_title="edit",
            value_title=title,
            unit=unit,
            floor=floor,
            centre=0.0,
            details={
                word: [_folded(column, count) for column in columns]
                for word, columns in details.items()
            },
        )


def style_matrix(
    model: LanguageModel,
    requests: tuple[Sequence[Prompt], Sequence[Prompt]],
    edits: Sequence[Edit],
    *,
    tokens: Sequence[int],
    styles: Sequence[str],
    random_draws: int,
    **shared: Any,
) -> StyleMatrix:
    """Measure edits on requests of both classes in every style.

    Args:
        requests: harmful and benign ones, bare, that no edit was made from.
        edits, tokens, styles, random_draws: as for `style_selectivity`.
        shared: benign states, template, seed, journal and progress, as for it too.

    Note: of harmful requests answers are judged, of benign ones the first token is read.
    """
    harmful, benign = requests
    opened = style_selectivity(
        model, harmful, edits, tokens=tokens, styles=styles, random_draws=random_draws, **shared
    )
    calm = None
    if benign:
        wrapped = styled(PromptSet("benign", tuple(benign)), styles)
        calm = steer_sweep(
            model, list(wrapped), edits, tokens=tokens, random_draws=random_draws, **shared
        )
    return StyleMatrix(opened, calm)


def _points(gap: Measurement) -> str:
    ends = [100 * (end or 0.0) for end in (gap.value, gap.low, gap.high)]
    known = "" if gap.low is None else f" [{ends[1]:+.0f}, {ends[2]:+.0f}]"
    return f"{ends[0]:+.0f} points{known}"


def _three(rows: Sequence[dict[str, Any]], name: str) -> tuple[list[Any], ...]:
    """Return a column and the ends of its interval."""
    return tuple([row[f"{name}{end}"] for row in rows] for end in ("", "_low", "_high"))


def _folded(column: Sequence[float | None], count: int) -> Grid:
    """Return a column of edits by styles as rows of styles."""
    return [list(column[i : i + count]) for i in range(0, len(column), count)]
