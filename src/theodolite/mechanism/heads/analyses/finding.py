"""On which requests heads are looked for, when others are to be asked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from theodolite.data.bundled import bundled
from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import HARMFUL, Prompt
from theodolite.data.readers import read_prompts
from theodolite.errors import ConfigError
from theodolite.mechanism.requests import PAIRS, TRAIN
from theodolite.text.display import escape
from theodolite.text.normalise import normalise

if TYPE_CHECKING:
    from theodolite.mechanism.explain import Subject
    from theodolite.runs.run import Run

SAME: Final = "the very requests that are asked, which flatters the heads"


def finding_prompts(subject: Subject, file: str | None, run: Run) -> tuple[list[Prompt], str]:
    """Return harmful requests to find heads on, and what they are in words.

    Args:
        file: a file of harmful requests; None takes the bundled set's train part beside its test
            part, and otherwise the very requests that are asked.
        run: told of the file.

    Raises: DataError: the file cannot be read.
    """
    if file is not None:
        run.describe(inputs={"find": Path(file)})
        found = list(read_prompts(Path(file), label=HARMFUL))
        return found, f"{escape(Path(file).name, 80)}{_shared(found, subject.requests.harmful)}"
    if subject.requests.files:
        return list(subject.requests.harmful), SAME
    train = [p for p in in_pairs(bundled("refusal").split(TRAIN)) if p.label == HARMFUL]
    return train[:PAIRS], "the bundled set's train part"


def _shared(found: Iterable[Prompt], asked: Iterable[Prompt]) -> str:
    """Return how many of the requests that are asked are among those heads are found on."""
    known = {normalise(prompt.request) for prompt in found}
    wanted = {normalise(prompt.request) for prompt in asked}
    both = len(known & wanted)
    if not both:
        return ""
    if both == len(wanted):
        return f", which holds {SAME}"
    return f", which holds {both} of the {len(wanted)} requests asked, which flatters the heads"


def check_file(name: str, path: str | None) -> None:
    """Refuse a file that is not there.

    Raises: ConfigError: naming the option.
    """
    if path is not None and not Path(path).exists():
        raise ConfigError(f"There is no file {escape(path, 200)}.", fix=f"Check -T {name}=.")
