"""The requests an analysis looks at: harmful, benign and wrapped ones, from files or bundled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from theodolite.data.bundled import bundled
from theodolite.data.goal_splits import refuse_leaking_prompts
from theodolite.data.pairs import in_pairs
from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, shown
from theodolite.data.readers import read_prompts
from theodolite.data.styles import PLAIN
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.items import make_items
from theodolite.text.hashing import item_seed
from theodolite.text.normalise import normalise

TRAIN, TEST = "train", "test"
# Heads are ablated one by one under every prompt: so many bundled pairs unless more are asked for.
PAIRS = 16


@dataclass(frozen=True)
class Requests:
    """Labelled requests, each class in file order.

    Args:
        harmful, benign: bare requests.
        wrapped: requests in a style, harmful and benign, where the user brought them.
        source: what they are, in words.
        files: the files they came from, for the run's manifest.
    """

    harmful: tuple[Prompt, ...]
    benign: tuple[Prompt, ...]
    wrapped: tuple[Prompt, ...] = ()
    source: str = ""
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def bare(self) -> tuple[Prompt, ...]:
        """All bare requests."""
        return (*self.harmful, *self.benign)

    def part(self, name: str) -> tuple[list[Prompt], list[Prompt]]:
        """Return the harmful and benign requests to fit on (`train`) or to look at (`test`).

        Requests that name a split keep it (`val` counts as train), and what shares their goal,
        pair or nearly their wording follows them; the others are parted by such groups, half and
        half, whatever their order. Duplicates are left out, and so is a train request whose group
        holds a test request.
        """
        return (
            [p for p in self.harmful if self._parts.get(p.id) == name],
            [p for p in self.benign if self._parts.get(p.id) == name],
        )

    @cached_property
    def _parts(self) -> dict[str, str]:
        """The part of each request that has one, by id."""
        items = make_items({HARMFUL: self.harmful, BENIGN: self.benign})
        named: dict[str, set[str]] = {group: set() for group in items.groups}
        for prompt, group in zip(items.prompts, items.groups, strict=True):
            if prompt.split is not None:
                named[group].add(TEST if prompt.split == "test" else TRAIN)
        part = {
            group: max(found, key=(TRAIN, TEST).index) if found else _drawn(group)
            for group, found in named.items()
        }
        return {
            prompt.id: part[group]
            for prompt, group in zip(items.prompts, items.groups, strict=True)
            if part[group] == TRAIN or prompt.split in (None, "test")
        }


def read_requests(
    harmful: str | None,
    benign: str | None,
    jailbreak: str | None = None,
    *,
    limit: int | None = None,
) -> Requests:
    """Return the requests of an analysis.

    Args:
        harmful, benign: files; the bundled set where neither is given.
        jailbreak: a file of wrapped requests; its rows name their style, and are harmful unless
            labelled benign.
        limit: the first so many distinct requests of each class.

    Raises:
        ConfigError: one of the two classes is missing, or the limit leaves nothing.
        DataError: a file cannot be read.
    """
    _check_limit(limit)
    if (harmful is None) != (benign is None):
        missing = "--benign" if benign is None else "--harmful"
        raise ConfigError(
            f"{missing} is missing: two classes are told apart.",
            fix="Give both files, or neither for the bundled set.",
        )
    files = _files(harmful=harmful, benign=benign, jailbreak=jailbreak)
    if harmful is None or benign is None:
        own = bundled("refusal")
        first = tuple(p for p in own if p.label == HARMFUL)
        second = tuple(p for p in own if p.label == BENIGN)
        source = own.source
    else:
        first = tuple(read_prompts(Path(harmful), label=HARMFUL))
        second = tuple(read_prompts(Path(benign), label=BENIGN))
        source = f"{files['harmful'].name} and {files['benign'].name}"
        first, second = _unique_ids(first, second)
    wrapped = () if jailbreak is None else _read_wrapped(Path(jailbreak))
    return Requests(_first(first, limit), _first(second, limit), wrapped, source, files)


def read_table(path: str, *, limit: int | None = None) -> Requests:
    """Return the requests of one file that holds both classes, bare or in styles of its own.

    Args:
        path: a file whose rows say whether they are harmful, by `label` or `harmful`; also read are
            `style`, `goal_id`, `pair_id` and `split`, where they are there.
        limit: the first so many goals of each class, with all their forms.

    Raises:
        ConfigError: the limit leaves nothing.
        DataError: the file cannot be read, a row is of neither class, a class is missing, or a goal
            stands in two splits.
    """
    _check_limit(limit)
    file = Path(path)
    rows = read_prompts(file)
    refuse_leaking_prompts(rows)
    sides: dict[str, list[Prompt]] = {HARMFUL: [], BENIGN: []}
    for prompt in rows:
        if prompt.label not in sides:
            raise DataError(
                f"The prompt {shown(prompt.id)} of {shown(file.name)} is labelled neither harmful "
                "nor benign.",
                fix="Give every row a label, or a column 'harmful' of true and false.",
            )
        sides[prompt.label].append(prompt)
    for label, side in sides.items():
        if not side:
            raise DataError(
                f"No row of {shown(file.name)} is {label}, and two classes are told apart.",
                fix="Put harmful requests and benign ones into every style.",
            )
    first, second = (_first_goals(side, limit) for side in sides.values())
    return Requests(first, second, source=file.name, files={"prompts": file})


def read_harmful(harmful: str | None, benign: str | None, *, limit: int | None = None) -> Requests:
    """Return harmful requests, and benign ones where there are some to set beside them.

    Args:
        harmful: a file; the bundled test requests and their benign twins where None.
        benign: a file; None leaves the control out.
        limit: the first so many distinct requests of each class; of the bundled set, which stands
            in no order, so many pairs drawn by a fixed seed, and None draws `PAIRS`.

    Raises:
        ConfigError: benign requests alone, or a limit that leaves nothing.
        DataError: a file cannot be read, or holds no request.
    """
    _check_limit(limit, least=1)
    if harmful is None and benign is not None:
        raise ConfigError(
            "--prompts is missing: benign requests are a control.",
            fix="Give both files, or neither for the bundled set.",
        )
    files = _files(harmful=harmful, benign=benign)
    if harmful is None:
        own = bundled("refusal")
        drawn = in_pairs(p for p in own if p.split == TEST)
        sides = [[p for p in drawn if p.label == label] for label in (HARMFUL, BENIGN)]
        first, second = (_first(side, PAIRS if limit is None else limit) for side in sides)
        return Requests(first, second, source=f"{own.source}, test part")
    first = tuple(read_prompts(Path(harmful), label=HARMFUL))
    second = () if benign is None else tuple(read_prompts(Path(benign), label=BENIGN))
    first, second = _unique_ids(first, second)
    source = " and ".join(path.name for path in files.values())
    return Requests(_first(first, limit), _first(second, limit), source=source, files=files)


def _check_limit(limit: int | None, *, least: int = 2) -> None:
    if limit is not None and limit < least:
        raise ConfigError(f"A limit of {limit} leaves too little.", fix=f"Give {least} or more.")


def _files(**paths: str | None) -> dict[str, Path]:
    return {name: Path(path) for name, path in paths.items() if path is not None}


def _read_wrapped(path: Path) -> tuple[Prompt, ...]:
    rows = []
    for prompt in read_prompts(path):
        style = prompt.style or "jailbreak"
        if style == PLAIN:
            raise DataError(
                f"The prompt {shown(prompt.id)} of {shown(path.name)} is a bare request.",
                fix="Put bare requests into the --harmful and --benign files.",
            )
        rows.append(replace(prompt, style=style, label=prompt.label or HARMFUL))
    return tuple(rows)


def _unique_ids(
    first: tuple[Prompt, ...], second: tuple[Prompt, ...]
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Give ids that both files use the class as a prefix."""
    both = {p.id for p in first} & {p.id for p in second}
    if not both:
        return first, second
    return (
        tuple(replace(p, id=f"{HARMFUL}/{p.id}") for p in first),
        tuple(replace(p, id=f"{BENIGN}/{p.id}") for p in second),
    )


def _first(prompts: Iterable[Prompt], limit: int | None) -> tuple[Prompt, ...]:
    """Return the first prompts with different words."""
    if limit is None:
        return tuple(prompts)
    distinct: dict[str, Prompt] = {}
    for prompt in prompts:
        distinct.setdefault(normalise(prompt.request), prompt)
    return tuple(distinct.values())[:limit]


def _first_goals(prompts: Iterable[Prompt], limit: int | None) -> tuple[Prompt, ...]:
    """Return all forms of the first goals."""
    goals: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        goals.setdefault(prompt.goal_id or prompt.id, []).append(prompt)
    return tuple(prompt for forms in list(goals.values())[:limit] for prompt in forms)


def _drawn(group: str) -> str:
    return TEST if item_seed(0, "part", group) % 2 else TRAIN
