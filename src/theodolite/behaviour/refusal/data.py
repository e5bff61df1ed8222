"""Which requests are asked, in which styles and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from theodolite.data.bundled import bundled
from theodolite.data.catalogue import official
from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.data.readers import read_prompts
from theodolite.data.styles import PLAIN, style_names, styled
from theodolite.errors import DataError

BUNDLED: Final = "bundled"
XSTEST: Final = "xstest"


def load_requests(
    source: str | Path = BUNDLED,
    *,
    split: str = "test",
    styles: str | Sequence[str] = PLAIN,
    limit: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """Return the requests of an evaluation, twins side by side.

    Args:
        source: `bundled`, `xstest` (the official file), or a file of one's own with labels.
        split: train, val, test or `all`; sets without splits are taken whole.
        styles: `plain`, `benchmark`, `held_out`, `pressure`, `all`, or names (a list, or joined
            by commas).
        limit: the first so many requests, before styles.
        seed: of the order, which is by goal; a smaller limit takes a part of a larger one.

    Returns: bare requests first, then each further style.

    Raises:
        DataError: the source, the limit, a style or a label cannot be used.
    """
    prompts = _read(source)
    if split != "all" and prompts.values("split"):
        prompts = prompts.split(split)
    _check_labels(prompts)
    if limit is not None and limit < 1:
        raise DataError(f"A limit of {limit} leaves no request.", fix="Give 1 or more.")
    prompts = prompts.derive(in_pairs(prompts, seed)[:limit])
    names = style_names(styles)
    asked: list[Prompt] = list(prompts) if PLAIN in names else []
    for name in names:
        if name != PLAIN:
            asked += styled(prompts, [name])
    return prompts.derive(asked)


def form_of(prompt: Prompt) -> str:
    """Return `command` or `question`: as the set says, else by the closing mark."""
    stated = prompt.meta.get("form")
    if isinstance(stated, str):
        return stated
    return "question" if prompt.request.rstrip().endswith("?") else "command"


def _read(source: str | Path) -> PromptSet:
    if source == BUNDLED:
        return bundled("refusal")
    if source == XSTEST:
        return read_prompts(official("refusal/xstest_prompts"))
    return read_prompts(Path(source))


def _check_labels(prompts: PromptSet) -> None:
    for prompt in prompts:
        if prompt.label not in ("harmful", "benign"):
            raise DataError(
                f"The prompt {shown(prompt.id)} of {shown(prompts.name)} is not labelled harmful "
                "or benign.",
                fix="Add a column 'label' with one of the two for every row.",
            )
