"""Watch a model while it runs: a detector's probability for every prompt the engine computes.

A monitor is an intervention that changes nothing. So the engine knows that someone looks at every
position and computes them all, its hooks go exactly when the context ends, and results computed
under it have keys of their own: an answer from a journal, which no monitor would see, is not taken
for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from theodolite.engine.interventions import Change, Intervention, apply, touched
from theodolite.engine.passes import current_pass
from theodolite.errors import CapabilityError
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    import torch

    from theodolite.mechanism.detector.detector import Detector
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel

WATCHED = "prompt_last"


@contextmanager
def monitor(
    model: LanguageModel,
    detector: Detector,
    *,
    report: Callable[[float], None] | None = None,
    force: bool = False,
) -> Iterator[list[float]]:
    """Collect the detector's probability of every prompt whose end the engine computes.

    Args:
        model: an open local model; whatever the engine does with it inside the context is seen.
        detector: trained at `prompt_last`: a pass knows where a prompt ends and nothing else of it.
        report: called with each probability when it is known, in the middle of the pass.
        force: also watch another model of the same width.

    Yields: the probabilities, in the order of computing; the list grows while the model runs.

    Raises:
        CapabilityError: the detector reads another position; or, inside the context, a forward was
            not started by the engine.
        DataError: it is another model than the detector was trained on.

    Note: equal prompts of one batch are computed, and seen, once. A re-entry sweep shows its
        variants, not the prompts: keep it outside. Interventions applied before act first.
    """
    if detector.position != WATCHED:
        raise CapabilityError(
            f"Watching the position {detector.position} while the engine runs",
            "a pass knows where a prompt ends, and not where its instruction does",
            f"Use Detector.score, or train the detector at {WATCHED}",
        )
    model.require("hidden_states")
    detector.check(model, force=force)
    seen: list[float] = []
    layer = max(detector.hidden_index - 1, 0)
    with apply(
        model, _Watch(layer=layer, operator="read", detector=detector, seen=seen, report=report)
    ):
        yield seen


@dataclass(frozen=True, eq=False, kw_only=True)
class _Watch(Intervention):
    """Reads the stream at the end of each prompt and leaves it as it is."""

    KIND = "monitor"
    OPERATORS = ("read",)
    SITES = ("resid_pre", "resid_post")

    detector: Detector
    seen: list[float]
    report: Callable[[float], None] | None

    @property
    def at(self) -> str:
        """The embeddings for hidden index 0, else the stream after the block."""
        return "resid_pre" if self.detector.hidden_index == 0 else "resid_post"

    @property
    def key(self) -> str:
        """Content key of what is watched for."""
        return content_key("monitor", self.detector.key)

    def change(self, anatomy: Anatomy) -> Change:
        """Return the function that notes the probabilities and returns its argument."""

        def read(value: torch.Tensor) -> torch.Tensor:
            context = current_pass.get()
            if context is None:
                raise CapabilityError(
                    "Watching this forward",
                    "the engine did not start it, so it has no prompt",
                    "Use capture, next_token, score or generate",
                )
            ends = touched(WATCHED, context).to(value.device)
            for p in self.detector.probabilities_of(value[ends].double().cpu().numpy()).tolist():
                self.seen.append(p)
                if self.report is not None:
                    self.report(p)
            return value

        return read
