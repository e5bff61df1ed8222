"""The inspect task `theodolite/mr_ben`: check worked solutions, find the first wrong step, say why.

inspect eval theodolite/mr_ben --model theodolite/smollm2 --limit 8
inspect eval theodolite/mr_ben --model openai/gpt-4o-mini --model-role judge=openai/gpt-4o
inspect eval theodolite/mr_ben --model openai/gpt-4o-mini -T source=official -T k_shot=1
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageUser, GenerateConfig
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from theodolite.behaviour.mr_ben.answers import parse_critique
from theodolite.behaviour.mr_ben.counts import bounds, figures, matrix
from theodolite.behaviour.mr_ben.data import AUTO, BUNDLED
from theodolite.behaviour.mr_ben.judging import Claim, Judged, ReasonJudge, ballot, majority
from theodolite.behaviour.mr_ben.options import (
    FULL,
    LLM,
    MAX_TOKENS,
    NONE,
    VOTES,
    Asked,
    Options,
    asked_of,
    check,
    demos_of,
    rows_of,
)
from theodolite.behaviour.mr_ben.prompts import PLAIN, refine_turns
from theodolite.behaviour.mr_ben.rows import Graded, by_subject, grade
from theodolite.behaviour.mr_ben.scoring import METHOD_VERSION
from theodolite.data.step_critique import CritiqueSample, Step
from theodolite.errors import ConfigError
from theodolite.models.handle import LanguageModel
from theodolite.providers.evaluate import evaluate as run_task
from theodolite.providers.kept import Keep, finish_samples
from theodolite.providers.log_samples import samples_of
from theodolite.providers.surface import RequestError, one_sentence
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

MAX_CONNECTIONS: Final = 64
AT_ONCE: Final = 256
TRIES: Final = 2
"""How often an API is asked where it gives nothing back."""

SHORT: Final = frozenset({"max_tokens", "model_length"})
FIRST: Final = "first_turn"
_SHOWN: Final = ("mcc", "acc_step", "acc_reason", "balanced_accuracy", "unparsed")


@task
def mr_ben(
    source: str = BUNDLED,
    file_format: str = AUTO,
    subjects: str | list[str] | None = None,
    mode: str = FULL,
    k_shot: int = 0,
    demos: str | None = None,
    steps_format: str = PLAIN,
    analysis: bool = True,
    self_refine: bool = False,
    prior: str | None = None,
    judge: str = AUTO,
    limit: int | None = None,
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
) -> Task:
    """Let a model check solutions: right or wrong, the first wrong step, and the reason.

    Args:
        source: `bundled`, `official` (MR-Ben's own files), a folder of such files, or a file.
        file_format: of a file: `mr-ben`, `mr-gsm8k`, `processbench`, or `auto`.
        subjects: those that are checked, joined by commas; None takes all there are.
        mode: `full`; the modes that read log-probabilities are for `theodolite eval mr-ben`.
        k_shot: worked examples before each question, 0 to 3.
        demos: a file of them.
        steps_format: `plain`, or `pylist` (lines as a printed Python list, like the released code).
        analysis: ask for an analysis before the verdict.
        self_refine: let the model doubt its grading and write it again; the last turn counts.
        prior: `incorrect` tells that the solution is wrong, `placebo` that an expert looked at it;
            incorrect solutions alone are asked about.
        judge: `llm` or `llm_vote3` (the model in the role `judge`), `none` (the reason gives no
            credit, and an upper bound stands beside), or `auto`.
        limit: so many questions of each subject.
        max_tokens: length of an answer.
        seed: of the judge's fences.
    """
    with one_sentence():
        named = ",".join(subjects) if isinstance(subjects, list) else subjects
        options = Options(
            source=source, file_format=file_format, subjects=named, k_shot=k_shot, demos=demos,
            mode=mode, steps_format=steps_format, analysis=analysis, self_refine=self_refine,
            prior=prior, judge=judge, limit=limit, max_tokens=max_tokens,
        )  # fmt: skip
        check(options, seed=seed)
        if mode != FULL or judge not in (AUTO, LLM, VOTES, NONE):
            raise ConfigError(
                f"The task itself has no mode {mode} with the judge {judge}.",
                fix=f"Use `theodolite eval mr-ben -T mode={mode} -T judge={judge}`.",
            )
        shown = demos_of(options)
        asked = asked_of(
            rows_of(options, shown), shown, options, model=_active_local(), prior=prior
        )
        return critique_task(
            {one.sample.id: [ChatMessageUser(content=one.prompt)] for one in asked},
            {one.sample.id: one.sample for one in asked},
            max_tokens=max_tokens,
            solver=answering(refine=self_refine),
            scorer=critique_scorer(judge=judge, seed=seed),
        )


def critique_task(
    chats: Mapping[str, Sequence[ChatMessage]],
    samples: Mapping[str, CritiqueSample],
    *,
    max_tokens: int = MAX_TOKENS,
    solver: Solver | list[Solver] | None = None,
    scorer: Scorer | None = None,
) -> Task:
    """Return the task of some chats about solutions, greedy.

    Args:
        chats: id of the solution -> the turns so far; the model writes the next one.
        samples: the solutions by id.
        solver: answers in place of one plain generation.
        scorer: None only reads the answers, without a judge.
    """
    dataset = [
        Sample(
            id=name,
            input=list(turns),
            target="correct" if samples[name].gold_correct else "incorrect",
            metadata={"subject": samples[name].subject, "row": asdict(samples[name])},
        )
        for name, turns in chats.items()
    ]
    return Task(
        dataset=MemoryDataset(dataset, name="mr_ben"),
        solver=solver or generate(),
        scorer=scorer or critique_scorer(judge=NONE),
        config=GenerateConfig(
            max_tokens=max_tokens, temperature=0.0, max_connections=MAX_CONNECTIONS
        ),
        version=METHOD_VERSION,
        name="mr_ben",
    )


def _active_local() -> LanguageModel | None:
    """Return the local model that inspect is about to evaluate; None where it is not one."""
    from inspect_ai.model import get_model

    from theodolite.providers.theodolite import TheodoliteAPI

    try:
        api = get_model().api
    except Exception:  # no model is active, or its provider is not installed
        return None
    return api.model if isinstance(api, TheodoliteAPI) else None


@solver
def answering(refine: bool = False) -> Solver:
    """Answer, asking again where nothing comes back; with two more turns, write it again."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state = await _asked_again(state, generate)
        if refine:
            state.metadata[FIRST] = state.output.completion
            for turn in refine_turns():
                state.messages.append(ChatMessageUser(content=turn))
                state = await _asked_again(state, generate)
        return state

    return solve


async def _asked_again(state: TaskState, generate: Generate) -> TaskState:
    before = list(state.messages)
    for _ in range(TRIES):
        state.messages = list(before)
        state = await generate(state)
        if state.output.completion.strip():
            break
    return state


@metric
def mr_ben_figures() -> Metric:
    """Return the figures, means over subjects, and MR-Score of each subject.

    `mr_score` gives no credit for reasons that nobody judged; `mr_score_upper` gives all of it.
    """

    def compute(scores: list[SampleScore]) -> Value:
        rows = [Graded(**(one.score.metadata or {})["graded"]) for one in scores]
        each: dict[str, dict[str, float]] = {}
        for subject, own in by_subject(rows).items():
            counts = matrix(own).sum(0)
            low, high = bounds(counts)["mr_score"]
            values = {name: float(v[0]) for name, v in figures(counts[None, :]).items()}
            each[subject] = {name: values[name] for name in _SHOWN}
            each[subject] |= {"mr_score": low, "mr_score_upper": high}
        found: dict[str, Any] = {}
        for name in ("mr_score", "mr_score_upper", *_SHOWN):
            found[name] = sum(v[name] for v in each.values()) / len(each) if each else math.nan
        return found | {f"mr_score/{subject}": v["mr_score"] for subject, v in each.items()}

    return compute


@scorer(metrics=[mr_ben_figures()])
def critique_scorer(judge: str = AUTO, seed: int = 0) -> Scorer:
    """Score verdict, step and reason of an answer, 1 or 0 each.

    Args:
        judge: `llm` and `llm_vote3` ask the model in the role `judge`, once or three times; `auto`
            asks it where there is one; `none` leaves reasons unjudged.
        seed: of the judge's fences.
    """
    judges: dict[int, ReasonJudge] = {}
    known: dict[tuple[str, ...], Judged] = {}

    async def decide(claim: Claim) -> Judged | None:
        from inspect_ai.model import get_model, model_roles

        if judge == NONE or (judge == AUTO and "judge" not in model_roles()):
            return None
        if "judge" not in model_roles():
            raise RequestError(
                ConfigError(
                    f"No judge is configured, and the reasons are to be judged by {judge}.",
                    fix="Use --model-role judge=MODEL, or -T judge=none for bounds.",
                )
            )
        model = get_model(role="judge", required=True)
        held = judges.setdefault(id(model.api), ReasonJudge(model, seed=seed))
        await held.check()
        votes = []
        for vote in range(3 if judge == VOTES else 1):
            prompt = ballot(claim, vote, seed)["prompt"]
            if (held.name, prompt) not in known:
                known[held.name, prompt] = await held.decide(prompt)
            votes.append(known[held.name, prompt])
        return majority(votes)

    async def score(state: TaskState, target: Target) -> Score:
        sample = sample_of(state.metadata["row"])
        said = parse_critique(state.output.completion, coding=sample.coding)
        usage = state.output.usage
        row = grade(sample, said, tokens=usage.output_tokens if usage else None)
        verdict = None
        if row.reviewed:
            verdict = await decide(Claim(sample, said.reason, said.step_text))
            if verdict is not None:
                row = grade(
                    sample, said, accepted=verdict.accepted, unjudged=verdict.why, tokens=row.tokens
                )
        right = row.correct is row.gold_correct
        return Score(
            value={
                "correct": float(right),
                "step": float(row.step_credit),
                "reason": float(row.reason_credit),
            },
            answer=f"{row.correct}, step {row.step}",
            explanation=verdict.raw if verdict else None,
            metadata={"graded": asdict(row)},
        )

    return score


def sample_of(row: Mapping[str, Any]) -> CritiqueSample:
    """Return a solution from what a sample's metadata holds of it."""
    values = dict(row)
    values["steps"] = tuple(Step(**step) for step in values["steps"])
    for name in ("reasons", "fixes"):
        values[name] = tuple(values[name])
    return CritiqueSample(**values)


@dataclass(frozen=True)
class Reply:
    """What a model wrote at one turn.

    Args:
        text: its words.
        finish: why it ended, in inspect's words; "" where nobody knows.
        tokens: that it wrote; None where nobody counted.
    """

    text: str
    finish: str = ""
    tokens: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing came back."""
        return not self.text.strip()

    @property
    def truncated(self) -> bool:
        """Whether it was cut by its length."""
        return self.finish in SHORT


@dataclass(frozen=True)
class Asking:
    """A model and how it is asked.

    Args:
        handle: an open local model, one behind an API, or an inspect model.
        max_tokens: length of an answer.
        run: where answers are kept, so that a stopped run asks for the others only.
    """

    handle: Any
    max_tokens: int
    run: Run
    seed: int = 0
    progress: Progress | None = None

    @property
    def local(self) -> LanguageModel | None:
        """The model where its tokens are at hand."""
        return self.handle if isinstance(self.handle, LanguageModel) else None

    def replies(
        self, chats: Mapping[str, Sequence[ChatMessage]], asked: Sequence[Asked], label: str
    ) -> dict[str, Reply]:
        """Return the next turn of each chat, by id; an empty reply where nothing came back.

        A local model's turns are planned as a whole and kept unit by unit; of another model every
        answer is kept as it comes, an empty one is asked for twice and not kept.

        Args:
            label: of the progress.

        Raises: TheodoliteError: the model cannot be asked. Interrupted: the user stopped.
        """
        samples = {one.sample.id: one.sample for one in asked}
        if self.local is not None:
            task = critique_task(chats, samples, max_tokens=self.max_tokens)
            log = run_task(task, self.local, run=self.run, seed=self.seed, progress=self.progress)
            return {
                str(s.id): Reply(s.output.completion, _finish(s.output), _written(s.output))
                for s in samples_of(log)
            }
        keys = {name: self._key(turns) for name, turns in chats.items()}

        def task_of(ids: Sequence[str], keep: Keep) -> Task:
            return critique_task(
                {name: chats[name] for name in ids},
                samples,
                max_tokens=self.max_tokens,
                solver=[answering(), kept_answer(keep)],
            )

        finish_samples(
            self.handle, keys, task_of, run=self.run, at_once=AT_ONCE, label=label,
            seed=self.seed, progress=self.progress,
        )  # fmt: skip
        found = {name: self.run.journal.get(key) for name, key in keys.items()}
        return {name: Reply("") if row is None else Reply(**row) for name, row in found.items()}

    def _key(self, turns: Sequence[ChatMessage]) -> str:
        name = getattr(self.handle, "fingerprint", str(self.handle))
        said = [[turn.role, turn.text] for turn in turns]
        return content_key("mr-ben answer", METHOD_VERSION, name, self.max_tokens, self.seed, said)


@solver(name="keep_critique")
def kept_answer(keep: Keep) -> Solver:
    """Hand over what was written, unless nothing came back."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        reply = Reply(state.output.completion, _finish(state.output), _written(state.output))
        if not reply.empty:
            keep(str(state.sample_id), asdict(reply))
        return state

    return solve


def _finish(output: Any) -> str:
    return str(output.choices[0].stop_reason) if output.choices else ""


def _written(output: Any) -> int | None:
    return None if output.usage is None else int(output.usage.output_tokens)
