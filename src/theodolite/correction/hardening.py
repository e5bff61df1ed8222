"""Hardening data: rows that close a style which was found to weaken refusal.

Around train goals alone: harmful requests in the weak style are refused, and their benign twins in
the same style are answered as the model itself answers them, so that what is learnt is the harm and
not the style. Replay rows in other forms keep what was good. Refusals and openers are ours; no
answer to a harmful request is ever written, asked for, or read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from theodolite.correction.train_goals import refuse_measured_goals, train_goals
from theodolite.correction.trigger_rows import WordRequests, word_requests
from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, PromptSet, shown
from theodolite.data.styles import PLAIN, STYLES_VERSION, Style, benchmark_styles, style, styled
from theodolite.engine import generate
from theodolite.errors import ConfigError, DataError
from theodolite.judging.refusal import score_refusal
from theodolite.mechanism.graft.plan import cluster_of
from theodolite.runs.atomic import write_text
from theodolite.runs.config import config_toml
from theodolite.runs.strict_json import strict_dumps
from theodolite.text.hashing import item_seed
from theodolite.training.guard import refuse_unsafe_rows
from theodolite.training.openers import opener_for
from theodolite.training.recipe import Data, Recipe, check_recipe
from theodolite.training.refusals import TOPICS, general_refusal, refusal_for
from theodolite.training.rows import OPEN, TrainingRow, refuse_leaking_rows, write_rows

if TYPE_CHECKING:
    from theodolite.engine import Completion
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.journal import Journal
    from theodolite.runs.panel import Progress

VERSION: Final = 1
ROWS, CARD, RECIPE = "rows.jsonl", "card.json", "recipe.toml"
SOURCE: Final = "hardening"
CONTROL: Final = "hardening-control"
WORDS: Final = "hardening-words"
REPLAY: Final = "replay"
OWN, OF_BASE = "the model itself", "the model before its safety training"


@dataclass(frozen=True)
class HardeningOptions:
    """What hardening data is made of.

    Args:
        method: `ssft-chat`, or `dpo` (the refusal over an affirmative opener; the answer over a
            refusal).
        exposure: harmful goals put into each weak style, and as many benign twins.
        controls: further benign requests, without a twin, put into each weak style: a style in
            which most is harmful is soon taken for harm itself.
        replay: harmful goals in other forms, and as many benign twins.
        words: harmful goals told without trigger words, and as many benign requests with them;
            0 leaves both out.
        answer_tokens: longest answer to a benign request; one that is cut is left open.
        held_out: let a held-out style be trained on; it is no test of carrying over after that.
    """

    method: Literal["ssft-chat", "dpo"] = "ssft-chat"
    exposure: int = 48
    controls: int = 48
    replay: int = 48
    words: int = 24
    answer_tokens: int = 24
    held_out: bool = False


@dataclass(frozen=True)
class HardeningData:
    """Training rows against weak styles, and what is known of them in counts.

    Args:
        rows: all of split `train`.
        card: styles, counts by class, style and source, and what was left out.
    """

    rows: tuple[TrainingRow, ...]
    card: Mapping[str, Any]

    def write(self, folder: Path, recipe: Recipe) -> Path:
        """Write rows, data card and a recipe that `theodolite train` takes; return the recipe.

        Args:
            folder: made where it is missing.
            recipe: how to train; its rows become these.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / ROWS, self.rows)
        write_text(folder / CARD, strict_dumps(dict(self.card), indent=1) + "\n")
        ready = replace(recipe, data=replace(recipe.data, rows=(ROWS,)))
        check_recipe(ready)
        write_text(folder / RECIPE, config_toml(ready))
        return folder / RECIPE


def hardening_data(
    model: LanguageModel,
    styles: Sequence[Style | str],
    *,
    words: Sequence[str] = (),
    goals: PromptSet | None = None,
    base: LanguageModel | None = None,
    options: HardeningOptions | None = None,
    seed: int = 0,
    journal: Journal | None = None,
    progress: Progress | None = None,
) -> HardeningData:
    """Return rows that teach a model to see through styles, and to answer what is benign in them.

    Args:
        model: the model to be hardened; it writes the answers to benign requests.
        styles: the weak ones, as `Style`s or names.
        words: trigger words in lower case, most relevant first; they are put into other words in
            harmful train goals, and answered where they stand in benign ones.
        goals: bare requests of split `train`, harmful ones with benign twins (default:
            `train_goals`).
        base: the model before its safety training; asked where the model refuses a benign request,
            which is the very habit that the row is to undo. Without it such rows are left out.
        options: how many rows of which kind.
        seed: of every choice; a smaller exposure takes a part of a larger one.
        journal: answers to benign requests are kept there.

    Raises:
        ConfigError: no style, the bare form, or a count below one.
        DataError: a held-out style without `held_out`, a goal outside the train split or that the
            bundled test set measures, or too few goals.

    Note: one greedy answer per benign row.
    """
    options = options or HardeningOptions()
    weak, goals = _styles(styles, options), goals or train_goals()
    pairs = _pairs(goals, options, seed)
    around = word_requests(goals, words, options.words, seed=seed)
    asked = _asked(pairs, _controls(goals, pairs, options, seed), weak, options, seed)
    asked += [(_in_style(p, style(PLAIN)), WORDS) for p in (*around.harmful, *around.benign)]
    benign = [prompt for prompt, _ in asked if prompt.label == BENIGN]
    answers, by = _answers(model, base, benign, options, journal, progress)
    bare = {p.id: p.request for p in (*goals, *around.harmful, *around.benign)}
    rows = tuple(
        _row(prompt, source, answers.get(prompt.id), options, bare, seed)
        for prompt, source in asked
        if prompt.label == HARMFUL or prompt.id in answers
    )
    refuse_unsafe_rows(rows, options.method)
    refuse_leaking_rows(rows, "The hardening rows")
    told = _card(rows, weak, options, len(benign), by, model, seed)
    return HardeningData(rows, told | _words_told(words, around))


def _styles(styles: Sequence[Style | str], options: HardeningOptions) -> list[Style]:
    found = [style(each) if isinstance(each, str) else each for each in styles]
    found = list({each.name: each for each in found}.values())
    if not found or any(each.name == PLAIN for each in found):
        raise ConfigError(
            "Hardening needs styles, and the bare form is none.", fix="Name at least one style."
        )
    for each in found:
        if each.kind == "held_out" and not options.held_out:
            raise DataError(
                f"The style {shown(each.name)} is held out: nothing is trained on it, so that it "
                "shows whether an effect carries over.",
                fix="Name another style, or name it yourself to give that up.",
            )
    if (
        min(options.exposure, options.answer_tokens) < 1
        or min(options.replay, options.controls, options.words) < 0
    ):
        raise ConfigError(
            "exposure and answer_tokens must be at least 1, replay, controls and words at least 0.",
            fix="Change that option.",
        )
    return found


def _pairs(
    goals: PromptSet, options: HardeningOptions, seed: int
) -> list[tuple[Prompt, Prompt | None]]:
    """Return harmful requests with their benign twins, in an order that the seed decides."""
    refuse_measured_goals(goals)
    ordered = in_pairs(goals, seed)
    twins = {p.pair_id: p for p in ordered if p.label == BENIGN and p.pair_id is not None}
    pairs = [(p, twins.get(p.pair_id or "")) for p in ordered if p.label == HARMFUL]
    if len(pairs) < options.exposure:
        raise DataError(
            f"There are {len(pairs)} harmful train goals, and an exposure of {options.exposure} "
            "was asked.",
            fix="Lower the exposure, or bring more goals.",
        )
    if not any(twin for _, twin in pairs):
        raise DataError(
            "No harmful goal has a benign twin, and without them the style itself would be learnt "
            "as harm.",
            fix="Give benign requests with the `pair_id` of harmful ones.",
        )
    return pairs


def _controls(
    goals: PromptSet,
    pairs: Sequence[tuple[Prompt, Prompt | None]],
    options: HardeningOptions,
    seed: int,
) -> list[Prompt]:
    """Return benign requests that are nobody's twin, in an order that the seed decides."""
    twins = {twin.id for _, twin in pairs if twin is not None}
    others = [p for p in in_pairs(goals, seed) if p.label == BENIGN and p.id not in twins]
    return others[: options.controls]


def _asked(
    pairs: Sequence[tuple[Prompt, Prompt | None]],
    controls: Sequence[Prompt],
    weak: Sequence[Style],
    options: HardeningOptions,
    seed: int,
) -> list[tuple[Prompt, str]]:
    """Return every request as it will be trained, with the source of its row."""
    asked = []
    for each in weak:
        for pair in pairs[: options.exposure]:
            asked += [(_in_style(p, each), SOURCE) for p in pair if p is not None]
        asked += [(_in_style(p, each), CONTROL) for p in controls]
    # From the other end, so that small exposures are replayed with goals of their own.
    others = [s for s in benchmark_styles() if s.name not in {w.name for w in weak}]
    for pair in pairs[::-1][: options.replay]:
        dice = item_seed(seed, "replay", cluster_of(pair[0]))
        form = others[0] if dice % 2 else others[dice // 2 % len(others)]
        asked += [(_in_style(p, form), REPLAY) for p in pair if p is not None]
    return asked


def _in_style(prompt: Prompt, wrapper: Style) -> Prompt:
    return styled(PromptSet("goal", (prompt,)), [wrapper])[0]


def _answers(
    model: LanguageModel,
    base: LanguageModel | None,
    benign: Sequence[Prompt],
    options: HardeningOptions,
    journal: Journal | None,
    progress: Progress | None,
) -> tuple[dict[str, Completion], Counter[str]]:
    """Return a whole answer to each benign request that gets one, and who gave how many."""
    found: dict[str, Completion] = {}
    by: Counter[str] = Counter()
    for who, name in ((model, OWN), (base, OF_BASE)):
        left = [prompt for prompt in benign if prompt.id not in found]
        if who is None or not left:
            continue
        written = generate(
            who, left, max_new_tokens=options.answer_tokens, journal=journal, progress=progress
        )
        for prompt, answer in zip(left, written, strict=True):
            if score_refusal(answer.text, prompt.request).label == "compliance":
                found[prompt.id] = answer
                by[name] += 1
    return found, by


def _row(
    prompt: Prompt,
    source: str,
    answer: Completion | None,
    options: HardeningOptions,
    bare: Mapping[str, str],
    seed: int,
) -> TrainingRow:
    """Return a refusal where the request is harmful, else the answer it was given."""
    refusal = _refusal(prompt, seed)
    request = bare[prompt.id.removesuffix(f"/{prompt.style}")]
    dpo = options.method == "dpo"
    target, rejected, turn = refusal, opener_for(prompt.id, request, seed=seed), None
    if answer is not None:
        target, rejected = answer.text.strip(), refusal
        turn = None if answer.finish == "stop" else OPEN
    return TrainingRow(
        id=f"{source}/{prompt.id}",
        goal_id=cluster_of(prompt),
        split="train",
        label=HARMFUL if answer is None else BENIGN,
        style=str(prompt.style),
        source=source,
        text=prompt.request,
        target=target,
        rejected=rejected if dpo else None,
        turn=turn,
    )


def _refusal(prompt: Prompt, seed: int) -> str:
    """Return a refusal of ours; one without a topic where the request's is not known."""
    if prompt.label == HARMFUL and prompt.category in TOPICS:
        return refusal_for(prompt.id, str(prompt.category), seed=seed)
    return general_refusal(prompt.id, seed=seed)


def _card(
    rows: Sequence[TrainingRow],
    weak: Sequence[Style],
    options: HardeningOptions,
    benign: int,
    by: Counter[str],
    model: LanguageModel,
    seed: int,
) -> dict[str, Any]:
    """Return what is known of the rows, in counts: no text is in it."""
    counts = Counter((row.source, row.label, row.style) for row in rows)
    return {
        "version": VERSION,
        "styles_version": STYLES_VERSION,
        "hardened": [each.name for each in weak],
        "options": asdict(options),
        "seed": seed,
        "model": model.name,
        "rows": len(rows),
        "goals": len({row.goal_id for row in rows}),
        "refusals": len({row.target for row in rows if row.harmful}),
        "answers_by": dict(sorted(by.items())),
        "benign_left_out": benign - sum(by.values()),
        "open_turns": sum(row.turn == OPEN for row in rows),
        "table": [
            {"source": source, "label": label, "style": name, "rows": count}
            for (source, label, name), count in sorted(counts.items())
        ],
    }


def _words_told(words: Sequence[str], around: WordRequests) -> dict[str, int]:
    """Return what the card says of trigger words beside their rows."""
    return {"trigger_words": len(words), "words_left_out": around.left_out}


def hardening_recipe(model: str, **settings: Any) -> Recipe:
    """Return the recipe that hardening data is trained with, in minutes on two cores.

    Args:
        model: the reference of the model that is trained.
        settings: fields of the recipe that differ.
    """
    given: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 1e-4,
        "schedule": "linear",
        "data": Data(rows=(ROWS,)),
    }
    return Recipe(model=model, **(given | settings))
