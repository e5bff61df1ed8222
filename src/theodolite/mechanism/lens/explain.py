"""`theodolite explain lens`: the tokens that each layer already points to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, shown
from theodolite.errors import ConfigError
from theodolite.mechanism.items import JAILBREAK, Items, make_items
from theodolite.mechanism.lens.emotion_curve import EmotionCurve, emotion_curve
from theodolite.mechanism.lens.logit_lens import METHOD_VERSION, LensResult, logit_lens
from theodolite.mechanism.lens.token_classes import (
    TokenClasses,
    auto_token_classes,
    default_token_classes,
    read_token_classes,
    token_list_languages,
)
from theodolite.mechanism.reader import Reader
from theodolite.mechanism.requests import TEST, TRAIN, Requests
from theodolite.models.positions import check_position
from theodolite.runs.panel import PanelResult
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = METHOD_VERSION
TITLE: Final = "What each layer points to"
QUESTION: Final = (
    "Which tokens does each layer already lean to, and from where on do harmful and benign part?"
)
AUTO: Final = "auto"


@dataclass(frozen=True)
class Options:
    """What `theodolite explain lens` can be asked (`-T key=value`).

    Args:
        position: whose state is read.
        k: tokens kept per state.
        tokens: friendly and refusing tokens: a language with bundled lists (`en`, ...), `auto`
            (learnt from the train requests' replies), or a JSON file of word lists.
        translator: a tuned lens (safetensors); None is the plain logit lens.
    """

    position: str = "prompt_last"
    k: int = 5
    tokens: str = "en"
    translator: str | None = None


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an unknown position, no tokens to keep, a file that is not there, or a base
        model, which nothing would be compared with.
    """
    check_position(options.position)
    check_tokens(options.tokens)
    check_alone(request)
    if options.k < 1:
        raise ConfigError(f"task.k is {options.k}.", fix="Keep 1 token or more.")
    if options.translator is not None and not Path(options.translator).is_file():
        raise ConfigError(f"There is no file {options.translator}.", fix="Check -T translator=.")


def check_tokens(name: str) -> None:
    """Refuse a name of token lists that stands for nothing, whatever the model.

    Raises: ConfigError: no file, or a language without bundled lists.
    """
    if Path(name).suffix == ".json":
        if not Path(name).is_file():
            raise ConfigError(f"There is no file {shown(name)}.", fix="Check -T tokens=.")
    elif name != AUTO and name.casefold().split("-")[0] not in token_list_languages():
        raise ConfigError(
            f"There are no token lists for the language {shown(name)}.",
            fix=f"{did_you_mean(name, token_list_languages())} Or name a .json file, or use auto.",
        )


def check_alone(request: ExplainRequest) -> None:
    """Refuse a second model in an analysis that looks at one.

    Raises: ConfigError: a base model was named.
    """
    if request.base is not None:
        raise ConfigError(
            "--base has no part in this analysis.",
            fix="Use it with `theodolite explain probes`, or run both models and "
            "`theodolite compare` the runs.",
        )


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Read states and put every one of them through the final norm and the output layer."""
    requests = subject.requests
    # Where the token lists are learnt, they are learnt on other requests than those shown.
    shown = requests.part(TEST) if options.tokens == AUTO else (requests.harmful, requests.benign)
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress}
    read = Reader(subject.model, (options.position,), subject.template, **kept)
    return look(read, shown, options, requests, seed=seed)


def look(
    read: Reader,
    shown: tuple[Sequence[Prompt], Sequence[Prompt]],
    options: Options,
    requests: Requests,
    *,
    seed: int,
) -> PanelResult:
    """Put the lens on every layer of harmful and benign requests.

    Args:
        shown: harmful and benign requests; wrapped ones of the user join them.
    """
    harmful, benign = shown
    classes = {BENIGN: list(benign), HARMFUL: list(harmful)}
    wrapped = [p for p in requests.wrapped if p.label == HARMFUL]
    items = make_items({**classes, JAILBREAK: wrapped} if wrapped else classes)
    lens = logit_lens(
        read.model,
        read(items.prompts),
        position=options.position,
        k=options.k,
        classes=token_classes(read.model, options.tokens, *requests.part(TRAIN)),
        translator=options.translator,
        progress=read.progress,
    )
    curve = emotion_curve(lens, items, seed=seed)
    return PanelResult(
        measurements=lens.measurements(items, seed=seed),
        tables={"lens": lens.frame(), "lens_emotion": curve.frame()},
        figures=lens.figures(items, seed=seed),
        findings=findings(curve),
        limits=LIMITS,
        how=how(lens, items, requests.source),
        labels=labels(items),
    )


LIMITS: Final = (
    "The lens reads what the output layer would say if the network ended there; early layers need "
    "not speak its language.",
    "The word lists decide what counts as friendly or refusing; other openings are not seen.",
)


def token_classes(
    model: LanguageModel, name: str, harmful: Sequence[Prompt], benign: Sequence[Prompt]
) -> TokenClasses:
    """Return the token classes of a name: a language, `auto`, or a file.

    Args:
        harmful, benign: requests that `auto` learns from, used for nothing else.
    """
    if name == AUTO:
        return auto_token_classes(model, harmful, benign)
    if Path(name).suffix == ".json":
        return read_token_classes(Path(name), model)
    return default_token_classes(model, name)


def how(lens: LensResult, items: Items, source: str) -> list[str]:
    """Say what was read and by which lists."""
    kind = "tuned lens" if lens.translated else "logit lens"
    return [
        f"A {kind} at {lens.position} of {items.counts} requests ({source}); template "
        f"{lens.template}.",
        f"Token lists: {lens.classes.name}, {len(lens.classes.positive)} friendly and "
        f"{len(lens.classes.negative)} refusing tokens. The log-odds compare all of their "
        "probability, not only the top tokens.",
    ]


def labels(items: Items) -> dict[str, str]:
    """Return plain words for the measurements."""
    return {
        "lens/conversion": "layer from which harmful requests lean to refusing words",
        "lens/gap": "friendly over refusing words, benign minus harmful",
        **{f"lens/emotion/{name}": f"friendly over refusing, {name}" for name in items.classes},
        **{
            f"lens/consistency/{name}": f"top tokens shared among {name} requests, middle layers"
            for name in items.classes
        },
    }


def findings(curve: EmotionCurve) -> list[str]:
    """Say from where on the classes part, or that they do not."""
    if curve.sides is None or curve.gap is None:
        return []
    last = curve.hidden_indices[-1]
    means = {name: curve.means[i, -1] for i, name in enumerate(curve.classes)}
    leaning = ", ".join(f"{name} {value:+.1f}" for name, value in means.items())
    said = f"At the output, friendly over refusing words in nats: {leaning}."
    if curve.conversion_index is None:
        return [
            f"No layer turns the difference into refusing words for good: {curve.reason}.",
            said,
        ]
    return [
        f"From hidden_index {curve.conversion_index} of {last} on, harmful requests lean more to "
        "refusing words than benign ones.",
        said,
    ]


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return e by class and layer, for the terminal."""
    rows: dict[int, dict[str, Any]] = {}
    for row in result.tables["lens_emotion"]:
        line = rows.setdefault(row["hidden_index"], {"hidden index": row["hidden_index"]})
        ends = "" if row["low"] is None else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
        line[f"{row['class']} (nats)"] = f"{row['emotion']:+.2f}{ends}"
    return list(rows.values())
