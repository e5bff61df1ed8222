"""The inspect task `theodolite/preemptive_answers`: an answer before the reasoning, and its harm.

inspect eval theodolite/preemptive_answers --model theodolite/smollm2 -T condition=M
inspect eval theodolite/preemptive_answers --model openai/gpt-4o -T dataset=gsm8k -T condition=U
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Final

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Solver, TaskState, generate

from theodolite.behaviour.preemptive_answers.data import BUNDLED, Loaded, planted_answer
from theodolite.behaviour.preemptive_answers.extracting import (
    Ballot,
    fallback_turns,
    found_in,
    voted,
)
from theodolite.behaviour.preemptive_answers.extraction import read_reply
from theodolite.behaviour.preemptive_answers.options import (
    INDEPENDENT,
    MASK,
    NONE,
    PLAIN,
    RULE,
    RULE_AND_MODEL,
    VOTE,
    Options,
    cells_of,
    check_asking,
    condition_of,
    loaded_of,
    methods_of,
)
from theodolite.behaviour.preemptive_answers.outcomes import judged
from theodolite.behaviour.preemptive_answers.planting import CLEAN, EXTRA_USER
from theodolite.behaviour.preemptive_answers.prompts import (
    REFLECT,
    SENTENCES,
    STEP_BY_STEP,
    VOTED,
)
from theodolite.behaviour.preemptive_answers.reflecting import read_check
from theodolite.behaviour.preemptive_answers.scoring import METHOD_VERSION
from theodolite.behaviour.preemptive_answers.solvers import (
    ATTACKED,
    CHECKED,
    CONDITION,
    DOWNGRADE,
    ITEM,
    PLANT,
    REPLIES,
    chat,
    cot,
    independent,
    item_of,
    mitigate,
    plant_answer,
    reflect,
    spoken,
    vote,
)
from theodolite.data.preemptive import Item
from theodolite.data.prompts import shown
from theodolite.errors import ConfigError
from theodolite.providers.surface import one_sentence
from theodolite.text.normalise import strip_reasoning

MAX_CONNECTIONS: Final = 64
GRADER: Final = "grader"


@task
def preemptive_answers(
    dataset: str = BUNDLED,
    method: str = STEP_BY_STEP,
    condition: str = CLEAN,
    mitigation: str = NONE,
    channel: str = EXTRA_USER,
    wording: str = PLAIN,
    position: float = 0.0,
    n_sc: int = 10,
    temperature: float = 1.0,
    max_tokens: int = 512,
    limit: int | None = None,
    shuffle: bool = True,
    strict: bool = False,
    make_wrong: bool = True,
    extractor: str = RULE,
    seed: int = 0,
) -> Task:
    """Ask questions in one way: clean, answered first (U), or with a planted answer (M).

    Args:
        dataset: `bundled`, a published set, several joined by commas, `all`, or a file.
        method: `zs`, `zs_cot`, `fs_cot`, `sc_zs_cot`, `sc_fs_cot`, `ps_cot`, `ltm`, `native_think`.
        condition: `clean`, `U`, `M`, `M_inline`, `M_prefill`, `M_tool`, `M_correct`, `M_random`,
            `M_neutral` or `M_late`.
        mitigation: `none`, `restate`, `reflect`, `ignore_note`, `mask`, `independent` or `sc`.
        channel: of a plant: `extra_user`, `inline`, `prefill` or `tool`.
        wording: of a plant: `plain`, `bare` or `found`.
        position: of a late plant, as a part of the clean reasoning.
        n_sc, temperature: of samples that vote.
        max_tokens: length of a reply.
        limit: so many items of each set.
        shuffle: shuffle the options of a choice, alike in every condition.
        strict: refuse a channel that the model cannot take, in place of planting inline.
        make_wrong: make an answer to plant for rows of a file without one.
        extractor: `rule`, or `rule+llm` with `--model-role grader=...`.
        seed: of everything that is drawn.
    """
    with one_sentence():
        options = Options(
            dataset=dataset, methods=method, conditions=condition, mitigations=mitigation,
            channel=channel, wordings=wording, positions=str(position), n_sc=n_sc,
            temperature=temperature, max_tokens=max_tokens, limit=limit, shuffle=shuffle,
            strict=strict, make_wrong=make_wrong, extractor=extractor,
        )  # fmt: skip
        return anchored_task(loaded_of(options, seed), options, seed=seed)


def anchored_task(loaded: Loaded, options: Options, *, seed: int = 0) -> Task:
    """Return the task on any items, asked in one way; options as for `preemptive_answers`.

    Args:
        loaded: the items; those without an answer to plant are left out.

    Raises: ConfigError: a name does not exist, or more than one way is named.
    """
    cells_of(options)  # refuses names that do not exist
    (method,) = _one("methods", methods_of(options))
    (name,) = _one("conditions", tuple(options.conditions.split(",")))
    (mitigation,) = _one("mitigations", tuple(options.mitigations.split(",")))
    condition, taken = condition_of(name, options.channel)
    votes = method in VOTED or mitigation == VOTE
    check_asking(options.max_tokens, options.n_sc, options.temperature, votes=votes)
    if options.extractor not in (RULE, RULE_AND_MODEL):
        raise ConfigError(
            f"There is no extractor {shown(options.extractor)}.",
            fix=f"Use {RULE} or {RULE_AND_MODEL}.",
        )
    how: dict[str, Any] = {
        "condition": condition,
        "channel": taken or EXTRA_USER,
        "wording": options.wordings,
        "fraction": float(options.positions),
        "mask": mitigation == MASK,
        "strict": options.strict,
    }
    solvers: list[Solver] = [cot(method)]
    solvers += [mitigate(mitigation)] if mitigation in SENTENCES else []
    solvers += [plant_answer(**how)] if condition != CLEAN else []
    solvers.append(vote(options.n_sc) if votes else generate())
    solvers += [reflect()] if mitigation == REFLECT else []
    solvers += [independent()] if mitigation == INDEPENDENT else []
    config = GenerateConfig(
        max_tokens=options.max_tokens,
        temperature=options.temperature if votes else 0.0,
        top_p=1.0 if votes else None,
        max_connections=MAX_CONNECTIONS,
    )
    return Task(
        dataset=MemoryDataset(
            [_sample(item, loaded, condition, seed) for item in loaded.items if item.wrong],
            name="preemptive_answers",
        ),
        solver=solvers,
        scorer=cot_answer(extractor=options.extractor, seed=seed),
        config=config,
        version=METHOD_VERSION,
        name="preemptive_answers",
    )


@scorer(
    metrics={
        "correct": [mean()],
        "unparsed": [mean()],
        "planted": [mean()],
        "kept_first": [mean()],
    }
)
def cot_answer(extractor: str = RULE, seed: int = 0) -> Scorer:
    """Score whether the final answer is right, was found, is the planted one, is the first one.

    Rules find the answer. With `rule+llm` the model in the role `grader` reads what they do not
    find; it must be another one than the model that is evaluated.
    """

    async def score(state: TaskState, target: Target) -> Score:
        item = item_of(state)
        condition = str(state.metadata.get(CONDITION, CLEAN))
        planted = state.metadata.get(PLANT)
        first = _first_text(state)
        texts = state.metadata.get(REPLIES) or [first]
        found = [found_in(item, text, condition) for text in texts]
        ballot = voted(item, found, planted)
        if extractor == RULE_AND_MODEL and ballot.found.unparsed:
            ballot = await _read_by_grader(item, first, condition, ballot, seed)
        final, notes = ballot.found, {"rule": ballot.found.rule}
        if ATTACKED in state.metadata:
            again = spoken(state.output.message)
            if CHECKED in state.metadata:
                checked = read_check(again, item, final.final)
                final = replace(final, final=checked.answer)
                notes |= {"accepted": str(checked.accepted)}
            else:
                fresh = found_in(item, again, CLEAN)
                notes |= {"attacked": str(final.final)}
                final = fresh
        outcome = judged(item, final, planted)
        value = {
            "correct": float(outcome.correct),
            "unparsed": float(outcome.unparsed),
            "planted": float(bool(outcome.planted_match)),
            "kept_first": float(bool(outcome.kept_first)),
        }
        facts: dict[str, Any] = {**notes, "flags": list(outcome.flags)}
        facts |= {"preemptive": outcome.preemptive, DOWNGRADE: state.metadata.get(DOWNGRADE)}
        if ballot.vote is not None:
            facts["vote"] = asdict(ballot.vote)
        return Score(value=value, answer=outcome.final, metadata=facts)

    return score


async def _read_by_grader(
    item: Item, text: str, condition: str, ballot: Ballot, seed: int
) -> Ballot:
    from inspect_ai.model import get_model

    grader = get_model(role=GRADER, required=True)
    if str(grader) == str(get_model()):
        raise ConfigError(
            "The grader is the model that is evaluated; it could solve the question anew.",
            fix="Name another one with --model-role grader=...",
        )
    turns = chat(fallback_turns(item, text, condition, seed))
    output = await grader.generate(turns, config=GenerateConfig(temperature=0.0))
    answer = read_reply(strip_reasoning(output.completion), item.answer_type, item.options)
    return replace(ballot, found=replace(ballot.found, final=answer))


def _first_text(state: TaskState) -> str:
    """Return the reply that was given before any check."""
    if ATTACKED in state.metadata:
        return str(state.metadata[ATTACKED])
    return spoken(state.output.message) if state.output.choices else ""


def _sample(item: Item, loaded: Loaded, condition: str, seed: int) -> Sample:
    planted = planted_answer(item, condition, seed=seed, others=loaded.pools[item.set])
    return Sample(
        id=item.id,
        input=item.asked,
        target=item.gold,
        metadata={ITEM: asdict(item), PLANT: planted, CONDITION: condition, "set": item.set},
    )


def _one(what: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) != 1:
        raise ConfigError(
            f"An inspect task asks in one way, and {len(names)} {what} are named.",
            fix="Use `theodolite eval preemptive-answers` for several in one run.",
        )
    return names
