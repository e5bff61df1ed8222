"""What can be asked of a hardening: the schema of its options, its TOML file and its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from theodolite.data.styles import style_names
from theodolite.data.wrappers import read_wrappers
from theodolite.errors import ConfigError
from theodolite.mechanism.lens.explain import check_tokens
from theodolite.providers.opening import ModelRequest
from theodolite.text.display import escape

COMMAND: Final = "correct harden"
PANEL: Final = "harden"


@dataclass(frozen=True)
class HardenRequest(ModelRequest):
    """Everything that decides a hardening's numbers; stored as the run's configuration.

    Args:
        model, adapter: what is hardened. The new adapter comes on top of a bundled aligned model's
            own; with `adapter` it goes on from that one and takes its place on `model`.
        styles: the styles to harden, named by the user, held-out ones too; () finds the weakest.
        weakness: the run folder of `theodolite explain triggers` that found it.
        wrappers: a file of wrappers of the user's own (`data.wrappers`), tried and asked beside
            the listed styles; those of a `weakness` run come with it.
        tried: styles among which the weakest is looked for.
        asked: styles in which test goals are asked before and after.
        loop: retrain and measure again; else data and recipe are written and nothing is trained.
        method: ssft-chat or dpo.
        exposure: harmful goals put into each weak style; several give a curve of resilience.
        controls: benign requests without a twin put into each weak style.
        replay: harmful goals in other forms, so that what was good stays.
        words: harmful train goals told without the words that carry refusals, and as many benign
            requests with them; 0 leaves both out, and looks for no words.
        answer_tokens: longest answer to a benign training request.
        base: the model before its safety training, for benign requests that `model` refuses;
            known of bundled models, and of a model with an adapter.
        prompts: a file of bare requests with label, split and pair_id; the bundled sets where None.
        limit: so many test pairs, and so many val pairs; all where None.
        max_tokens: length of measured replies.
        clamp: also measure the clamp of the style's direction, which trains nothing.
        tokens: as for `explain lens`.
        epochs, learning_rate, max_steps: of the training.
    """

    model: str = "smollm2-aligned"
    styles: tuple[str, ...] = ()
    weakness: str | None = None
    wrappers: str | None = None
    tried: str = "jailbreak"
    asked: str = "all"
    loop: bool = False
    method: Literal["ssft-chat", "dpo"] = "ssft-chat"
    exposure: tuple[int, ...] = (48,)
    controls: int = 48
    replay: int = 48
    words: int = 24
    answer_tokens: int = 24
    base: str | None = None
    prompts: str | None = None
    limit: int | None = None
    max_tokens: int = 16
    clamp: bool = True
    tokens: str = "en"
    epochs: int = 3
    learning_rate: float = 1e-4
    max_steps: int | None = None


def check_request(request: HardenRequest) -> None:
    """Refuse what cannot be asked, before a model is opened or a run folder made.

    Raises: ConfigError or DataError: names the option.
    """
    own = read_wrappers(request.wrappers)
    for styles in (request.styles, request.tried, request.asked):
        style_names(styles, own)
    check_tokens(request.tokens)
    if request.weakness is not None and request.styles:
        raise ConfigError(
            "--styles names the styles, and --weakness finds them.", fix="Leave one of them out."
        )
    if request.interventions is not None:
        raise ConfigError("Interventions cannot be trained on.", fix="Leave out `interventions`.")
    for folder in filter(None, (request.weakness, request.adapter)):
        if not Path(folder).is_dir():
            raise ConfigError(f"There is no folder {escape(folder, 160)}.", fix="Check the path.")
    counts = {
        "exposure": min(request.exposure, default=0),
        "answer_tokens": request.answer_tokens,
        "max_tokens": request.max_tokens,
        "epochs": request.epochs,
        "words": request.words,
        "limit": 2 if request.limit is None else request.limit,
    }
    for name, count in counts.items():
        least = {"limit": 2, "words": 0}.get(name, 1)
        if count < least:
            raise ConfigError(f"`{name}` is too small.", fix=f"Give at least {least}.")
    if len(set(request.exposure)) < len(request.exposure):
        raise ConfigError("An exposure is named twice.", fix="Name each once.")
