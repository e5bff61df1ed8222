"""What `theodolite explain relevance` can be asked, and what it refuses early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from theodolite.errors import ConfigError
from theodolite.mechanism.relevance.backward import check_rules
from theodolite.mechanism.relevance.relevance import BACKENDS
from theodolite.mechanism.relevance.removal import REMOVALS
from theodolite.mechanism.residual_space.components import check_space, depth_of
from theodolite.models.positions import check_position
from theodolite.text.display import escape
from theodolite.text.lists import names_in
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest

REFUSAL: Final = "refusal"
_WORDS: Final = {"backend": "back end", "removal": "removal", "normalize": "normalisation"}


@dataclass(frozen=True)
class Options:
    """What `theodolite explain relevance` can be asked (`-T key=value`).

    Args:
        target: `refusal` (difference in means of the bundled train part, at its best depth), or
            components of one depth, like L14-C1 or L14-C1,L14-C2; L14 is its leading components.
        to: None traces to words; components of one earlier depth, written like targets, trace to
            these.
        space: a run folder of `explain residual-space` whose components these are; None fits the
            space where the model before training is known.
        backend: lrp, decomposition, integrated_gradients or leave_one_out.
        rules: of lrp: attnlrp, or cplrp, which keeps the sum.
        position: where the direction is read.
        span: explain the length of the projection on the span of all targets, as one number.
        normalize: `prompt` gives shares of each prompt's component; None leaves them as they are.
        boundaries: depths on the way at which the sum is noted, too, like 4,8; back end lrp.
        min_count: words that occur less often are left out of the table.
        faithfulness: the map is tested on so many of the prompts; 0 leaves it out.
        removal: how the test takes tokens away: neutral (another stands in) or mask (hidden).
        force: also trace components of a space of another model of the same width.
    """

    target: str = REFUSAL
    to: str | None = None
    space: str | None = None
    backend: str = "lrp"
    rules: str = "attnlrp"
    position: str = "prompt_last"
    span: bool = False
    normalize: str | None = None
    boundaries: str | None = None
    min_count: int = 3
    faithfulness: int = 8
    removal: str = "neutral"
    force: bool = False

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths at which the sum is noted, beside the source.

        Raises: ConfigError: a boundary is no hidden index.
        """
        found = names_in(self.boundaries)
        wrong = next((name for name in found if not name.isdecimal()), None)
        if wrong is not None:
            raise ConfigError(
                f"The boundary {escape(wrong, 60)!r} is no hidden index.",
                fix="Write them like -T boundaries=4,8.",
            )
        return tuple(int(name) for name in found)


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an unknown target, back end, rule, position or removal, depths that do not
        fit, a count that is too small, or a space that is missing.
    """
    check_rules(options.rules)
    check_position(options.position)
    for name, known in (("backend", BACKENDS), ("removal", REMOVALS), ("normalize", ("prompt",))):
        value = getattr(options, name)
        if value is not None and value not in known:
            raise ConfigError(
                f"There is no {_WORDS[name]} {escape(value, 60)!r}.", fix=did_you_mean(value, known)
            )
    for name, least in (("min_count", 1), ("faithfulness", 0)):
        if getattr(options, name) < least:
            raise ConfigError(
                f"task.{name} is {getattr(options, name)}.", fix=f"Give {least} or more."
            )
    if options.depths and options.backend != "lrp":
        raise ConfigError(
            f"The back end {options.backend} has no sums on the way.",
            fix="Leave boundaries out, or use the back end lrp.",
        )
    top = None if options.target == REFUSAL else _one_depth(options.target, "targets")
    source = None if options.to is None else _one_depth(options.to, "earlier directions")
    if top is not None and source is not None and source >= top:
        raise ConfigError(
            f"The earlier directions lie at hidden_index {source}, the targets at {top}.",
            fix="Give -T to= components of a smaller hidden_index.",
        )
    check_space(options.space)


def _one_depth(text: str, what: str) -> int:
    depths = {depth_of(name) for name in names_in(text)}
    if len(depths) != 1:
        raise ConfigError(
            f"The {what} are not components of one depth.",
            fix="Write them like L14-C1,L14-C2, or L14 for the leading ones.",
        )
    return depths.pop()
