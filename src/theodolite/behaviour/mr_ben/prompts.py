"""The prompts, rendered from `wording.toml` by pure functions.

Solutions of one question share everything up to the solution, and questions of one sub-subject
share everything up to the question, so that the engine reads both only once.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final

from theodolite.behaviour.mr_ben.headers import ANALYSIS, BLOCK, STEP, TITLES, parts_of
from theodolite.data.mr_ben import Demo
from theodolite.data.prompts import shown
from theodolite.data.step_critique import CritiqueSample
from theodolite.errors import ConfigError, DataError
from theodolite.text.suggest import did_you_mean

PLAIN: Final = "plain"
PYLIST: Final = "pylist"
FORMATS: Final = (PLAIN, PYLIST)
MOST_SHOTS: Final = 3
_SLOT: Final = re.compile(r"\{(\w+)\}")


@cache
def wording() -> Mapping[str, Any]:
    """Return the wording of the task, sections by name."""
    file = resources.files("theodolite.behaviour.mr_ben") / "wording.toml"
    return tomllib.loads(file.read_text("utf-8"))


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with its slots filled; text that looks like a slot stays as it is."""
    return _SLOT.sub(lambda slot: values[slot[1]], template)


def task_prompt(
    sample: CritiqueSample,
    demos: Sequence[Demo] = (),
    *,
    steps_format: str = PLAIN,
    prior: str | None = None,
    analysis: bool = True,
) -> str:
    """Return the user's turn that asks for a critique of a solution.

    Args:
        demos: worked examples, in order (`demos_for`).
        steps_format: `plain`, or `pylist`: the lines as a printed Python list, as the released
            scripts put them. Programs are always plain.
        prior: `incorrect` tells that the solution has an error, `placebo` that an expert read it.
        analysis: ask for the analysis; without it the answer begins with its verdict.

    Raises: ConfigError: there is no such format or prior.
    """
    if steps_format not in FORMATS:
        raise ConfigError(
            f"There is no steps_format {shown(steps_format)}.",
            fix=did_you_mean(steps_format, FORMATS),
        )
    priors = wording()["prior"]
    if prior is not None and prior not in priors:
        raise ConfigError(f"There is no prior {shown(prior)}.", fix=did_you_mean(prior, priors))
    told = "" if prior is None else priors[prior]
    parts = wording()["parts"]["four" if analysis else "three"]
    values = _shown(sample, steps_format) | {
        "prior": told,
        "demos": _block(demos, steps_format, analysis),
        "parts": parts[_kind(sample)].strip("\n"),
    }
    return filled(wording()["task"][_kind(sample)].strip("\n"), values)


def refine_turns() -> tuple[str, str]:
    """Return the two later turns of self-refinement: name doubts, then write the parts again."""
    refine = wording()["refine"]
    return refine["doubts"], refine["again"]


def demos_for(
    sample: CritiqueSample, demos: Mapping[str, Sequence[Demo]], shots: int
) -> tuple[Demo, ...]:
    """Return the first examples of a sample's sub-subject, else of its subject, in file order.

    Raises:
        ConfigError: the number of examples is not 0 to 3.
        DataError: there are not so many.
    """
    if not 0 <= shots <= MOST_SHOTS:
        raise ConfigError(f"{shots} worked examples cannot be shown.", fix="Give k_shot 0 to 3.")
    if shots == 0:
        return ()
    listed = demos.get(sample.sub_subject) or demos.get(sample.subject) or ()
    if len(listed) < shots:
        raise DataError(
            f"{shown(sample.sub_subject)} has {len(listed)} worked examples, and {shots} are asked "
            "for.",
            fix="Use fewer, or give a file that has them.",
        )
    return tuple(listed[:shots])


def demo_answer(demo: Demo, *, analysis: bool = True) -> str:
    """Return the answer of an example in the four parts, headings and verdicts spelled our way.

    Args:
        analysis: with its analysis; else the three other parts.

    Raises: DataError: a part is missing.
    """
    parts = parts_of(demo.answer)
    missing = [TITLES[name] for name in BLOCK if name not in parts]
    if missing:
        raise DataError(
            f"The example {shown(demo.sample.id)} has no part {shown(missing[0])}.",
            fix="Write all four parts.",
        )
    names = [name for name in TITLES if analysis or name != ANALYSIS]
    return "\n".join(f"{TITLES[name]}: {_tidy(name, parts.get(name, ''))}" for name in names)


def incorrect_share(demos: Sequence[Demo]) -> float | None:
    """Return which share of the examples is incorrect, a prior they teach; None without any."""
    return sum(not d.sample.gold_correct for d in demos) / len(demos) if demos else None


def _tidy(name: str, text: str) -> str:
    """Return a part without the full stop behind a bare N/A, and code out of its fence."""
    if name == STEP and text.startswith("```"):
        return "\n".join(x for x in text.split("\n") if not x.lstrip().startswith("```")).strip()
    return text.strip().removesuffix(".") if len(text.strip()) <= 4 else text.strip()


def _block(demos: Sequence[Demo], steps_format: str, analysis: bool) -> str:
    if not demos:
        return ""
    texts = wording()["demo"]
    parts = [
        filled(
            texts[_kind(demo.sample)],
            _shown(demo.sample, steps_format) | {"answer": demo_answer(demo, analysis=analysis)},
        )
        for demo in demos
    ]
    return "\n" + "\n".join([texts["head"], *parts, texts["end"]])


def _shown(sample: CritiqueSample, steps_format: str) -> dict[str, str]:
    as_list = steps_format == PYLIST and not sample.coding
    return {
        "subject": sample.sub_subject.replace("_", " ") or sample.subject,
        "question": sample.question,
        "options": f"Options: {sample.options}\n" if sample.options else "",
        "steps": repr(sample.lines) if as_list else "\n".join(sample.lines),
    }


def _kind(sample: CritiqueSample) -> str:
    return "code" if sample.coding else "steps"
