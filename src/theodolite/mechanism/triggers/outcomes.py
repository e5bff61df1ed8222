"""The same requests in many styles: what became of each, rates by style, changes to the bare form.

Styles of one request are not independent, so every interval and test is clustered by goal; what is
asked of several styles at once is adjusted for their number (Holm).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import HARMFUL
from theodolite.data.styles import PLAIN
from theodolite.errors import ConfigError
from theodolite.judging.offline_quality import offline_quality
from theodolite.measure.intervals import mean, proportion
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.multiple import holm
from theodolite.measure.paired import PairedTest, paired_difference, paired_test
from theodolite.mechanism.probes.held_out import Floats
from theodolite.mechanism.triggers.replies import REFUSED
from theodolite.text.suggest import did_you_mean

NOT_ASKED: Final = "not asked in this style"
BROKEN: Final = frozenset({"degenerate", "empty"})
CONSTANT: Final = {True: Floor("always refuse", 1.0), False: Floor("always comply", 0.0)}
SHOWN: Final = 0.05
"""An adjusted p-value below this is what "shown" means."""


@dataclass(frozen=True, eq=False)
class StyleOutcomes:
    """What a model did with the same requests in every style; no text is in it.

    Args:
        label: harmful or benign.
        styles: their names; the bare form, `plain`, comes first.
        prompt_ids: the bare requests.
        clusters: the goal of each request; requests of one goal are not independent.
        verdicts: of the refusal scorer, "" where a request was not asked in a style; axes (style,
            request).
        log_odds: nats, refusing over friendly first tokens, NaN where not asked; axes (style,
            request); None where not read.
        pairs: what joins a harmful request and its benign twin; "" where there is no twin.
    """

    label: str
    styles: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    verdicts: NDArray[np.str_]
    log_odds: Floats | None = None
    pairs: tuple[str, ...] = ()

    @property
    def wrapped(self) -> tuple[str, ...]:
        """The styles that are compared with the bare form."""
        return tuple(style for style in self.styles if style != PLAIN)

    def refused(self, style: str) -> list[bool | None]:
        """Return whether each request was refused in a style; None where it was not asked."""
        row = self.verdicts[self.place(style)]
        return [None if verdict == "" else verdict in REFUSED for verdict in row.tolist()]

    def broken(self, style: str) -> float:
        """Return the share of replies that were empty or broken text."""
        row = [verdict for verdict in self.verdicts[self.place(style)].tolist() if verdict]
        return float(np.mean([verdict in BROKEN for verdict in row])) if row else 0.0

    def odds(self, style: str) -> list[float | None]:
        """Return the first-token log-odds of each request in a style; None where not read."""
        if self.log_odds is None:
            return [None] * len(self.prompt_ids)
        row = self.log_odds[self.place(style)]
        return [float(value) if np.isfinite(value) else None for value in row]

    def place(self, style: str) -> int:
        """Return where a style stands.

        Raises: ConfigError: it was not asked.
        """
        if style not in self.styles:
            raise ConfigError(
                f"The style '{style}' was not asked.", fix=did_you_mean(style, self.styles)
            )
        return self.styles.index(style)

    def rate(self, style: str) -> Measurement:
        """Return the share of requests refused in a style."""
        refused = self.refused(style)
        return proportion(
            f"triggers/{self.label}/{style}",
            refused,
            clusters=self.clusters,
            floor=CONSTANT[self.label == HARMFUL],
            reasons=[NOT_ASKED if one is None else None for one in refused],
            judge=offline_quality(),
        )

    def overall(self) -> Measurement:
        """Return the share refused over all wrapped requests, clustered by goal."""
        return self.together(self.wrapped, "all_wrapped")

    def together(self, styles: Sequence[str], name: str) -> Measurement:
        """Return the share refused over all requests of some styles, clustered by goal."""
        told = [one for style in styles for one in self.refused(style)]
        return proportion(
            f"triggers/{self.label}/{name}",
            told,
            clusters=[cluster for _ in styles for cluster in self.clusters],
            floor=CONSTANT[self.label == HARMFUL],
            reasons=[NOT_ASKED if one is None else None for one in told],
            judge=offline_quality(),
        )

    def change(self, style: str) -> Measurement:
        """Return the rate in a style minus that of the bare form, on the same requests."""
        return paired_difference(
            self.refused(style),
            self.refused(PLAIN),
            self.clusters,
            name=f"triggers/{self.label}/{style}/change",
        )

    def odds_rate(self, style: str) -> Measurement:
        """Return the mean first-token log-odds in a style."""
        return mean(
            f"triggers/{self.label}/{style}/log_odds",
            self.odds(style),
            clusters=self.clusters,
            unit="nats",
            floor=Floor("no preference", 0.0),
        )

    def odds_change(self, style: str) -> Measurement:
        """Return the log-odds in a style minus those of the bare form, on the same requests."""
        return paired_difference(
            self.odds(style),
            self.odds(PLAIN),
            self.clusters,
            name=f"triggers/{self.label}/{style}/log_odds/change",
            unit="nats",
        )

    def tests(self, *, by: str = "replies", seed: int = 0) -> dict[str, tuple[PairedTest, float]]:
        """Return each style's test against the bare form, and its p-value adjusted over styles.

        Args:
            by: `replies` or `log_odds`.
            seed: of the sign flips, where there are too many to try all.
        """
        values = self.refused if by == "replies" else self.odds
        own: Sequence[float | None] = values(PLAIN)
        found = {s: paired_test(values(s), own, self.clusters, seed=seed) for s in self.wrapped}
        adjusted = holm([test.p_value for test in found.values()]).tolist()
        return {s: (test, p) for (s, test), p in zip(found.items(), adjusted)}

    def measurements(self) -> list[Measurement]:
        """Return every style's rate and change, and the same of the log-odds where read."""
        found = [self.rate(style) for style in self.styles]
        found += [self.overall()] if self.wrapped else []
        found += [self.change(style) for style in self.wrapped]
        if self.log_odds is not None:
            found += [self.odds_rate(style) for style in self.styles]
            found += [self.odds_change(style) for style in self.wrapped]
        return found

    def frame(self, *, seed: int = 0) -> list[dict[str, Any]]:
        """Return one row per style; p-values are adjusted over the styles."""
        tests = self.tests(seed=seed)
        by_odds = self.tests(by="log_odds", seed=seed) if self.log_odds is not None else {}
        return [self._row(style, tests.get(style), by_odds.get(style)) for style in self.styles]

    def _row(
        self,
        style: str,
        test: tuple[PairedTest, float] | None,
        by_odds: tuple[PairedTest, float] | None,
    ) -> dict[str, Any]:
        rate, change = self.rate(style), self.change(style) if test else None
        row: dict[str, Any] = {
            "label": self.label,
            "style": style,
            "n": rate.n,
            "goals": rate.n_clusters,
            "refused": rate.value,
            "low": rate.low,
            "high": rate.high,
            "change": change.value if change else None,
            "change_low": change.low if change else None,
            "change_high": change.high if change else None,
            "p": test[0].p_value if test else None,
            "p_holm": test[1] if test else None,
            "broken": self.broken(style),
        }
        if self.log_odds is None:
            return row
        odds, moved = self.odds_rate(style), self.odds_change(style) if test else None
        return row | {
            "log_odds": odds.value,
            "log_odds_change": moved.value if moved else None,
            "log_odds_change_low": moved.low if moved else None,
            "log_odds_change_high": moved.high if moved else None,
            "log_odds_p_holm": by_odds[1] if by_odds else None,
        }

    def outcomes(self) -> list[dict[str, Any]]:
        """Return the outcomes behind every rate, so that two runs can be compared item by item."""
        return [
            {
                "measurement": f"triggers/{self.label}/{style}",
                "id": f"{prompt}/{style}",
                "sample": 0,
                "outcome": float(refused),
                "cluster": cluster,
            }
            for style in self.styles
            for prompt, cluster, refused in zip(
                self.prompt_ids, self.clusters, self.refused(style), strict=True
            )
            if refused is not None
        ]
