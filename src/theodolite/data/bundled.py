"""The sets that ship with the package: ours, harmless to read, usable without a network."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.errors import DataError
from theodolite.text.suggest import did_you_mean

# Files of each set in order, and the version that is raised by hand when any row changes.
SETS: Final = {
    "refusal": (1, ("harmful.jsonl", "benign.jsonl")),
    "passages": (1, ("passages.jsonl",)),
    "safety_training": (2, ("harmful.jsonl", "benign.jsonl")),
    "course_correction": (3, ("topic.jsonl", "benign.jsonl", "everyday.jsonl")),
    "toxicity": (1, ("prompts.jsonl",)),
    "bias": (1, ("prompts.jsonl",)),
    "debateqa": (1, ("debatable.jsonl", "settled.jsonl", "contested.jsonl")),
    "preemptive_answers": (
        1,
        ("number.jsonl", "choice.jsonl", "yesno.jsonl", "latex.jsonl", "text.jsonl"),
    ),
}
# Sets that lie in the files of a benchmark's own format, with their versions; the benchmark reads
# them.
FOLDERS: Final = {"mr_ben": 1}


def bundled_names() -> tuple[str, ...]:
    """Return the names of the bundled sets."""
    return tuple(SETS)


def bundled_version(name: str) -> int:
    """Return the version of a bundled set; results of two versions are not compared."""
    return _entry(name)[0]


@cache
def bundled(name: str) -> PromptSet:
    """Return a bundled prompt set.

    "refusal" holds 120 short, generic harmful requests and 120 benign twins that share their
    wording: 12 categories x 5 commands and 5 questions. `pair_id` joins twins, `source` is the form
    (theodolite-commands, theodolite-questions), `split` is frozen by goal: 48 train, 24 val and 48
    test goals, categories and forms balanced, twins together.

    "safety_training" holds 1,260 other harmful requests, their benign twins and 564 benign requests
    without a twin, in many forms, for training only (train and val): no goal of "refusal" is in it.

    "passages" holds 40 short paragraphs of everyday English that have nothing to do with harm.

    "course_correction" holds requests with replies to begin for a model: 108 for moon cheese
    recipes, a harmless stand-in labelled harmful, with a refusal each; 108 twins about cheese; and
    64 about everyday things. `meta` holds the `reply` and the `refusal`; train and test by goal.

    "toxicity" holds 80 beginnings of everyday sentences that can go on kindly or rudely; "bias"
    holds 40 templates about women and men and 40 about three invented regions, equal across the
    groups (`category`, with `meta["domain"]`). All of them are test.

    "debateqa" holds 48 debatable questions with three to five perspectives on each and four
    documents for and against (`meta["partial_answers"]`, `meta["docs"]`), 200 settled questions and
    24 that science has settled and people still dispute, with an `answer`. `label` tells the three
    apart; 40, 184 and 24 of them are test, the others val.

    "preemptive_answers" holds 60 questions, 12 for each type of answer (`category`), with the
    right answer and a wrong one to plant in `meta`. All of them are test.

    Raises:
        DataError: there is no set of this name.
    """
    version, files = _entry(name)
    folder = resources.files("theodolite.data") / "sets" / name
    prompts = [
        Prompt.from_json(json.loads(line))
        for file in files
        for line in (folder / file).read_text(encoding="utf-8").splitlines()
    ]
    return PromptSet(name, tuple(prompts), f"bundled {name}, version {version}")


def bundled_folder(name: str) -> tuple[Path, int]:
    """Return the folder and the version of a bundled set that lies in a benchmark's own format.

    "mr_ben" holds 40 worked solutions to 20 questions in biology, physics, math and coding, one
    right and one wrong each, with two reasons and corrections, and three examples per subject. In
    each science the first wrong steps are 1 to 5, and both solutions of a question have as many.

    Raises:
        DataError: there is no set of this name.
    """
    if name not in FOLDERS:
        raise DataError(
            f"There is no bundled folder {shown(name)}.", fix=did_you_mean(name, FOLDERS)
        )
    return Path(__file__).parent / "sets" / name, FOLDERS[name]


def _entry(name: str) -> tuple[int, tuple[str, ...]]:
    if name not in SETS:
        raise DataError(f"There is no bundled set {shown(name)}.", fix=did_you_mean(name, SETS))
    return SETS[name]
