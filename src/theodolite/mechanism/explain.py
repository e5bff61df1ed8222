"""`theodolite explain`: one white-box analysis of one model, kept in a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from theodolite.errors import ConfigError
from theodolite.mechanism.beginnings import requested_beginnings
from theodolite.mechanism.correction_dynamics.replies import requested_replies
from theodolite.mechanism.heads.frames import TEMPLATES as FRAMES
from theodolite.mechanism.requests import Requests, read_harmful, read_requests, read_table
from theodolite.mechanism.states import TEMPLATES, check_template
from theodolite.providers.opening import ModelRequest, identity_of, open_requested
from theodolite.runs.config import with_task
from theodolite.runs.panel import PanelResult, Progress
from theodolite.runs.run import Run
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from theodolite.models.handle import LanguageModel
    from theodolite.models.pair import ModelPair


@dataclass(frozen=True)
class Entry:
    """Where an analysis is found, and what it takes.

    Args:
        module: its file.
        templates: the ways it may frame a prompt.
        one_class: harmful requests alone will do; benign ones are a control.
        paired: it looks at a model beside the one it was trained from, where that is known; else
            a second model is opened only where one is named.
        replies: every request comes with a reply that is forced on the model.
        beginnings: it takes texts to go on with, not requests.
        questions: it has questions of its own, and takes no requests.
    """

    module: str
    templates: tuple[str, ...] = TEMPLATES
    one_class: bool = False
    paired: bool = False
    replies: bool = False
    beginnings: bool = False
    questions: bool = False


HEADS: Final = ("map", "group", "asr", "overlap", "transplant")
ANALYSES: Final[Mapping[str, Entry]] = {
    **{
        name: Entry(f"theodolite.mechanism.{name}.explain")
        for name in ("probes", "lens", "graft", "verdict")
    },
    **{
        f"heads {part}": Entry(
            f"theodolite.mechanism.heads.analyses.{part}", FRAMES, one_class=True
        )
        for part in HEADS
    },
    "residual-space": Entry("theodolite.mechanism.residual_space.explain", paired=True),
    "relevance": Entry("theodolite.mechanism.relevance.explain", one_class=True, paired=True),
    "steering": Entry("theodolite.mechanism.steering.explain", one_class=True, paired=True),
    "triggers": Entry("theodolite.mechanism.triggers.explain"),
    "correction-dynamics": Entry(
        "theodolite.mechanism.correction_dynamics.explain", ("auto", "chat"), replies=True
    ),
    # Named here and imported only when asked for: it lets methods of a higher floor run.
    "perspective-taking": Entry(
        "theodolite.correction.perspective_inside.explain", ("auto", "chat"), beginnings=True
    ),
    "anchors": Entry("theodolite.mechanism.anchors.explain", ("auto", "chat"), questions=True),
}


@dataclass(frozen=True)
class ExplainRequest(ModelRequest):
    """What decides an analysis's numbers, beside its own options.

    Args:
        harmful, benign: files of requests; the bundled set where neither is given. Analyses of
            heads take harmful ones alone, too.
        prompts: one file of both classes instead, each row with its label.
        jailbreak: a file of wrapped requests; the listed styles where None.
        base: a second model to compare with.
        template: `chat`, `none`, `moderation` (the frame a moderator was trained on), or `auto`
            (chat where the model has a template); analyses of
            heads know more (`heads.frames.TEMPLATES`).
        limit: the first so many distinct requests of each class.
    """

    harmful: str | None = None
    benign: str | None = None
    prompts: str | None = None
    jailbreak: str | None = None
    base: str | None = None
    template: str = "auto"
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """What an analysis looks at: an open model, the requests, and the model beside it.

    Args:
        base: the model to compare with, where one is named.
        pair: the model beside the one it was trained from, where the analysis asks for it.
    """

    model: LanguageModel
    requests: Requests
    template: str
    base: LanguageModel | None = None
    pair: ModelPair | None = None


class Analysis(Protocol):
    """What the file of every analysis holds.

    One whose question depends on what it was given has `headings(result)` too: title and question.
    """

    VERSION: int
    TITLE: str
    QUESTION: str
    Options: type[Any]

    def check(self, options: Any, request: ExplainRequest) -> None:
        """Refuse options that cannot be used, before a model is opened or a run folder made."""

    def explain(
        self, subject: Subject, options: Any, *, run: Run, seed: int, progress: Progress
    ) -> PanelResult:
        """Analyse the model and say what was found."""

    def summary(self, result: PanelResult) -> Sequence[Mapping[str, Any]]:
        """Return the one table that the terminal shows."""


def load_analysis(name: str) -> Analysis:
    """Import an analysis.

    Raises: ConfigError: an unknown name (the nearest is suggested).
    """
    if name not in ANALYSES:
        kind, _, part = name.partition(" ")
        if kind == "heads":
            raise ConfigError(
                f"`explain heads` has no part '{escape(part, 60)}'.",
                fix=f"Its parts are {', '.join(HEADS)}.",
            )
        raise ConfigError(f"There is no analysis {name!r}.", fix=did_you_mean(name, ANALYSES))
    return cast(Analysis, import_module(ANALYSES[name].module))


def request_schema(name: str) -> type[Any]:
    """Return the dataclass of `explain NAME`: the request, and the analysis's options as `task`."""
    return with_task(ExplainRequest, load_analysis(name).Options)


def command_of(name: str) -> str:
    """Return the command of an analysis as its runs' manifests state it."""
    return f"explain {name}"


def panel_of(name: str) -> str:
    """Return the name under which a run folder holds the result of an analysis."""
    return name.replace(" ", "-")


def run_analysis(
    name: str,
    request: Any,
    *,
    progress: Progress,
    out: Path | None = None,
    resume: Path | None = None,
) -> tuple[Run, PanelResult]:
    """Analyse a model and keep the result in a run folder.

    Args:
        request: an instance of `request_schema(name)`.
        out, resume: as for an audit.
    Raises: TheodoliteError: bad input. Interrupted: Ctrl-C; finished units are kept.
    """
    analysis = load_analysis(name)
    analysis.check(request.task, request)
    check_template(request.template, ANALYSES[name].templates)
    export = getattr(request.task, "export", None)
    if export is not None and resume is None and Path(export).exists():
        raise ConfigError(
            f"{escape(export, 200)} exists already.",
            fix="Name a new folder with -T export=FOLDER.",
        )
    requests = _requests(name, request)
    with ExitStack() as active:
        subject, inputs = _subject(name, request, requests, active)
        model = subject.model
        with Run.begin(
            command_of(name),
            model.name,
            out=out,
            resume=resume,
            config=asdict(request),
            inputs={**inputs, **requests.files, **_weights(subject)},
            seed=request.seed,
            model=identity_of(model),
        ) as run:
            progress.message(f"Run folder: {run.path}")
            result = analysis.explain(
                subject, request.task, run=run, seed=request.seed, progress=progress
            )
            run.save_panel(panel_of(name), result, key=str(analysis.VERSION))
            run.commit()
            return run, result


def _requests(name: str, request: Any) -> Requests:
    if ANALYSES[name].questions:
        return _none(name, request)
    if ANALYSES[name].replies:
        return requested_replies(request)
    if ANALYSES[name].beginnings:
        return requested_beginnings(request)
    if request.prompts is not None:
        return _table(name, request)
    if not ANALYSES[name].one_class:
        return read_requests(
            request.harmful, request.benign, request.jailbreak, limit=request.limit
        )
    if request.jailbreak is not None:
        raise ConfigError(
            f"--jailbreak has no part in `explain {name}`.", fix="Give wrapped requests as prompts."
        )
    return read_harmful(request.harmful, request.benign, limit=request.limit)


def _none(name: str, request: Any) -> Requests:
    """Refuse requests where an analysis has questions of its own."""
    for one in ("harmful", "benign", "prompts", "jailbreak", "base", "limit"):
        if getattr(request, one) is not None:
            raise ConfigError(
                f"{one} has no part in `explain {name}`, which has questions of its own.",
                fix=f"`theodolite config explain {name}` lists what can be asked.",
            )
    return Requests((), ())


def _table(name: str, request: Any) -> Requests:
    if ANALYSES[name].one_class:
        raise ConfigError(
            f"`explain {name}` takes no one file of both classes.", fix="Give them one by one."
        )
    others = [one for one in ("harmful", "benign", "jailbreak") if getattr(request, one)]
    if others:
        raise ConfigError(
            f"--prompts holds both classes, and --{others[0]} was given too.",
            fix="Give one or the other.",
        )
    return read_table(request.prompts, limit=request.limit)


def _subject(
    name: str, request: Any, requests: Requests, active: ExitStack
) -> tuple[Subject, dict[str, Path]]:
    """Open what is looked at; its interventions are in place until `active` ends."""
    from theodolite.models.known_pair import known_base, open_known_pair

    known = known_base(request.model, base=request.base, adapter=request.adapter)
    if ANALYSES[name].paired and known is not None:
        if request.interventions is not None:
            raise ConfigError(
                f"Interventions have no part in `explain {name}`: two models are compared.",
                fix="Leave them out.",
            )
        pair = open_known_pair(
            request.model,
            base=request.base,
            adapter=request.adapter,
            dtype=request.dtype,
            device=request.device,
            revision=request.revision,
        )
        return Subject(pair.aligned, requests, request.template, pair.base, pair), {}
    model, inputs = open_requested(request, active)
    model.require("hidden_states")
    opened = cast("LanguageModel", model)
    return Subject(opened, requests, request.template, _base(request)), inputs


def _base(request: ExplainRequest) -> LanguageModel | None:
    if request.base is None:
        return None
    from theodolite.models import open_model

    base = open_model(request.base, dtype=request.dtype, device=request.device)
    base.require("hidden_states")
    return cast("LanguageModel", base)


def _weights(subject: Subject) -> dict[str, str]:
    return {} if subject.base is None else {"base": subject.base.fingerprint}
