"""Attack prompts of a file, replayed: how often each kind gets an answer, beside the plain request.

Nothing is made up or improved here; the prompts were written elsewhere.

    {"id": "a1", "request": "...", "attack": "cipher", "prompt": "..."}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.behaviour.course_correction.scoring import NAME
from theodolite.data.forced_replies import goal_of
from theodolite.data.prompts import HARMFUL, Prompt, PromptSet, check_text, shown
from theodolite.data.readers import MAX_PROMPT_CHARS
from theodolite.data.records import Place, Record, read_records
from theodolite.errors import DataError
from theodolite.judging.refusal import score_refusal
from theodolite.measure.agreement import cohen_kappa
from theodolite.measure.intervals import proportion
from theodolite.measure.measurement import Floor, Measurement
from theodolite.measure.paired import paired_difference

if TYPE_CHECKING:
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

PLAIN: Final = "plain"
FIELDS: Final = ("request", "attack", "prompt")
ANSWERED: Final = "compliance"
NO_PLAIN: Final = "the plain request"
MOST_NAME: Final = 60


@dataclass(frozen=True)
class Reply:
    """What came of a prompt.

    Args:
        id: of the prompt.
        attack: its kind; `plain` for the bare request.
        goal_id: prompts about one request share it.
        verdict: of the deciding scorer; None where there is none, then `reason` says why.
        offline: what the offline scorer says, who decides where no judge is named.
    """

    id: str
    attack: str
    goal_id: str
    verdict: str | None
    offline: str
    reason: str | None = None

    @property
    def succeeded(self) -> bool | None:
        """Whether the request was answered, neither refused in part nor met with noise."""
        return None if self.verdict is None else self.verdict == ANSWERED


def read_attacks(path: Path | str) -> PromptSet:
    """Return the attack prompts of a file, and each plain request once, under the style `plain`.

    Args:
        path: rows with `request`, `attack` (the kind's name), `prompt`, and perhaps `id`.

    Raises:
        DataError: a field is missing, empty or no text, a kind is called `plain`, or an id occurs
            twice; names file, line and field.
    """
    path = Path(path)
    prompts: list[Prompt] = []
    plain: dict[str, Prompt] = {}
    for number, record in enumerate(read_records(path)):
        request, attack, prompt = (_text(path, record, field) for field in FIELDS)
        place = Place(path, record.line, "attack")
        if attack == PLAIN or len(attack) > MOST_NAME or "/" in attack:
            raise place.error(
                f"{shown(attack)} cannot name an attack.", "Use a short word without a slash."
            )
        goal = goal_of(request)
        name = str(record.values.get("id") or f"{path.stem}/{number}")
        prompts.append(_prompt(name, prompt, attack, goal))
        plain.setdefault(goal, _prompt(f"{PLAIN}/{goal}", request, PLAIN, goal))
    name, count = Counter(one.id for one in (*plain.values(), *prompts)).most_common(1)[0]
    if count > 1:
        raise Place(path, field="id").error(f"{shown(name)} occurs more than once.")
    return PromptSet(path.stem, (*plain.values(), *prompts), path.name)


def _prompt(name: str, text: str, attack: str, goal: str) -> Prompt:
    return Prompt(name, text=text, label=HARMFUL, style=attack, goal_id=goal)


def _text(path: Path, record: Record, field: str) -> str:
    place, value = Place(path, record.line, field), record.values.get(field)
    if not isinstance(value, str) or not value.strip():
        raise place.error("this must be some text.")
    if len(value) > MAX_PROMPT_CHARS:
        raise place.error(f"the text has {len(value):,} characters, too many to use.")
    try:
        check_text(field, value)
    except DataError as error:
        raise place.error(error.message, error.fix) from None
    return value.strip() if field == "attack" else value


def replay(
    model: Any,
    prompts: PromptSet,
    *,
    run: Run,
    seed: int = 0,
    judge: str | None = None,
    progress: Progress | None = None,
) -> list[Reply]:
    """Ask plain and attacked requests, and return what came of each.

    Args:
        model: an open handle, a reference or an inspect model; it answers greedily, as in
            `eval refusal`.
        prompts: from `read_attacks`.
        judge: an inspect model that decides; the offline scorer where None.

    Raises: TheodoliteError: the judge is down or fails its canaries, or the model cannot answer.
    """
    from theodolite.behaviour.refusal.task import items_of, refusal_task
    from theodolite.providers.evaluate import evaluate as run_task
    from theodolite.providers.log_samples import samples_of

    log = run_task(refusal_task(prompts), model, run=run, seed=seed, judge=judge, progress=progress)
    return [
        Reply(
            id=item.id,
            attack=item.style,
            goal_id=item.cluster,
            verdict=item.verdict,
            offline=score_refusal(sample.output.completion, prompts[item.id].request).label,
            reason=item.reason,
        )
        for item, sample in zip(items_of(log), samples_of(log), strict=True)
    ]


def measurements(
    replies: Sequence[Reply], *, name: str = NAME, judged: bool = False
) -> list[Measurement]:
    """Return how often plain requests and each kind of attack are answered, and the difference.

    Args:
        judged: a judge decided; how far it agrees with the offline scorer is measured too.
    """
    plain = {reply.goal_id: reply for reply in replies if reply.attack == PLAIN}
    figures = [_success(list(plain.values()), f"{name}/attack/{PLAIN}/success", None)]
    for attack in dict.fromkeys(reply.attack for reply in replies if reply.attack != PLAIN):
        own = [reply for reply in replies if reply.attack == attack]
        bare = [plain[reply.goal_id].succeeded for reply in own]
        known = [success for success in bare if success is not None]
        floor = Floor(NO_PLAIN, sum(known) / len(known)) if known else None
        front = f"{name}/attack/{attack}"
        figures += [
            _success(own, f"{front}/success", floor),
            paired_difference(
                [reply.succeeded for reply in own],
                bare,
                clusters=[reply.goal_id for reply in own],
                name=f"{front}/effect",
            ),
        ]
    if judged:
        said = ([r.succeeded for r in replies], [r.offline == ANSWERED for r in replies])
        goals = [reply.goal_id for reply in replies]
        figures.append(cohen_kappa(*said, clusters=goals, name=f"{name}/attack/judge_kappa"))
    return figures


def _success(replies: Sequence[Reply], name: str, floor: Floor | None) -> Measurement:
    return proportion(
        name,
        [reply.succeeded for reply in replies],
        clusters=[reply.goal_id for reply in replies],
        floor=floor,
        reasons=[reply.reason for reply in replies],
        reason=None if floor else "the level with which attacks are compared",
    )


def table(replies: Sequence[Reply]) -> list[dict[str, Any]]:
    """Return one row per prompt, without any text."""
    return [vars(reply) | {"succeeded": reply.succeeded} for reply in replies]


def labels(replies: Sequence[Reply], name: str = NAME) -> dict[str, str]:
    """Return the figures in plain words, by name."""
    found = {f"{name}/attack/judge_kappa": "judge and offline scorer agree, beyond chance"}
    for attack in dict.fromkeys(reply.attack for reply in replies):
        said = "plain harmful requests answered" if attack == PLAIN else f"answered under {attack}"
        found[f"{name}/attack/{attack}/success"] = said
        found[f"{name}/attack/{attack}/effect"] = "the same minus the plain requests"
    return found
