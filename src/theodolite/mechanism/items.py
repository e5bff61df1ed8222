"""Labelled items for probes: classes of prompts without duplicates, and what must stay together.

Traps this file exists for:
  - files hold the same request twice, and a probe that has seen it in training looks right on it;
  - a harmful request and its benign twin share nearly all words: they are the point of the
    exercise, so they are tied into one group and never dropped;
  - requests in one wrapper look alike because of the wrapper, so likeness is that of what differs;
    one request in several wrappers is several items of one group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theodolite.data.prompts import BENIGN, HARMFUL, Prompt, shown
from theodolite.data.styles import PLAIN, STYLES
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.near_duplicates import (
    Pairs,
    alike,
    near_pairs,
    near_repeats,
    style_of,
    without_wrappers,
)
from theodolite.text.hashing import content_key
from theodolite.text.normalise import normalise

JAILBREAK = "jailbreak"
UNNAMED = "unnamed"  # the source of prompts that name none
_ORDER = {BENIGN: 0, HARMFUL: 2, JAILBREAK: 3}  # any other class stands at 1
_FAMILIES = {style.name: style.family for style in STYLES}


@dataclass(frozen=True, eq=False)
class Items:
    """Labelled prompts, and what a split must keep together or hold out.

    Args:
        prompts: in the order of the classes, file order within.
        classes: names; benign first, then others by name, harmful, jailbreak.
        labels: int (item): index into `classes`.
        groups: one name per item; items of one goal, pair or near-identical wording share it. It is
            the smallest id among them.
        sources: the collection of each item; for the class "jailbreak" the family of
            its wrapper.
        categories, languages: as the prompts say, or None.
        exact_duplicates, near_duplicates: class -> prompts dropped.
        tied: pairs of near-duplicates across classes that were tied into one group.
        warnings: one sentence each.
        key: content key of the prompts, their classes and their groups.
    """

    prompts: tuple[Prompt, ...]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    sources: tuple[str, ...]
    categories: tuple[str | None, ...]
    languages: tuple[str | None, ...]
    exact_duplicates: Mapping[str, int]
    near_duplicates: Mapping[str, int]
    tied: int
    warnings: tuple[str, ...]
    key: str

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Of two classes, which items are harmful (without that class: of the second one).

        Raises: DataError: there are not two classes.
        """
        if self.n_classes != 2:
            raise DataError(
                f"There are {self.n_classes} classes, so none of them is the positive one.",
                fix="Select the items of two classes.",
            )
        wanted = self.classes.index(HARMFUL) if HARMFUL in self.classes else 1
        return np.asarray(self.labels == wanted)

    @property
    def counts(self) -> str:
        """How many items each class has, in words."""
        sizes = np.bincount(self.labels, minlength=self.n_classes)
        return ", ".join(f"{n} {name}" for n, name in zip(sizes, self.classes, strict=True))

    @property
    def texts(self) -> tuple[str, ...]:
        """The request of each item."""
        return tuple(prompt.request for prompt in self.prompts)

    @property
    def ids(self) -> tuple[str, ...]:
        """The id of each item."""
        return tuple(prompt.id for prompt in self.prompts)

    def select(self, chosen: Any) -> Items:
        """Return some of the items, in the order given; classes that are gone are left out.

        Args:
            chosen: a truth value per item, or indices.

        Note: groups stay as they were found among all items.
        """
        places = np.asarray(chosen)
        places = np.flatnonzero(places) if places.dtype == bool else places.astype(np.int64)
        names = [self.classes[label] for label in self.labels[places]]
        classes = tuple(name for name in self.classes if name in set(names))
        groups = tuple(self.groups[i] for i in places)
        prompts = tuple(self.prompts[i] for i in places)
        return replace(
            self,
            prompts=prompts,
            classes=classes,
            labels=np.array([classes.index(name) for name in names], np.int64),
            groups=groups,
            sources=tuple(self.sources[i] for i in places),
            categories=tuple(self.categories[i] for i in places),
            languages=tuple(self.languages[i] for i in places),
            exact_duplicates={name: self.exact_duplicates[name] for name in classes},
            near_duplicates={name: self.near_duplicates[name] for name in classes},
            key=_key(prompts, names, groups),
        )


def make_items(
    classes: Mapping[str, Iterable[Prompt]], *, dedupe: bool = True, limit: int | None = None
) -> Items:
    """Gather classes of prompts: duplicates dropped, near-duplicates across classes tied.

    Args:
        classes: class -> prompts; the class of a prompt is the key it stands under.
        dedupe: drop what repeats an earlier prompt of its class (equal normalised wording, or in
            one style a 5-gram Jaccard similarity above 0.8), and wording that stands in two
            classes. Off: nothing is dropped, and what is alike is tied into one group.
        limit: keep the first so many of each class, counted after duplicates are gone.

    Raises:
        ConfigError: the limit is below one.
        DataError: fewer than two classes, an empty one, a prompt without words, an id that occurs
            twice, or a prompt labelled harmful or benign under the opposite class.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"The limit is {limit} prompts per class.", fix="Use 1 or more.")
    drafts = {name: tuple(classes[name]) for name in sorted(classes, key=_class_order)}
    _check(drafts)
    prompts = [prompt for members in drafts.values() for prompt in members]
    names = [name for name, members in drafts.items() for _ in members]
    wording = [_wording(prompt) for prompt in prompts]
    exact, contradicted = _repeats(wording, names)
    pairs = alike(prompts, names, near_pairs(without_wrappers(prompts, wording)))
    dropped = exact | contradicted if dedupe else set()
    kinds = [(name, style_of(prompt)) for name, prompt in zip(names, prompts, strict=True)]
    near = near_repeats(pairs, kinds, dropped) if dedupe else set()
    kept = _first([i for i in range(len(prompts)) if i not in dropped | near], names, limit)
    stay = set(kept)
    across = [(i, j) for i, j in pairs.tolist() if {i, j} <= stay and names[i] != names[j]]
    gathered = _gather(prompts, names, kept, _groups(prompts, pairs))
    return replace(
        gathered,
        exact_duplicates=_count(exact if dedupe else (), names, drafts),
        near_duplicates=_count(near, names, drafts),
        tied=len(across),
        warnings=tuple(_warnings(drafts, names, contradicted, near, dedupe)),
    )


def _gather(
    prompts: Sequence[Prompt], names: Sequence[str], kept: Sequence[int], joined: Sequence[int]
) -> Items:
    """Return the kept prompts as items, each group named after its smallest id."""
    chosen = tuple(prompts[i] for i in kept)
    named = [names[i] for i in kept]
    classes = tuple(dict.fromkeys(named))
    smallest: dict[int, str] = {}
    for i in kept:
        smallest[joined[i]] = min(prompts[i].id, smallest.get(joined[i], prompts[i].id))
    groups = tuple(smallest[joined[i]] for i in kept)
    return Items(
        prompts=chosen,
        classes=classes,
        labels=np.array([classes.index(name) for name in named], np.int64),
        groups=groups,
        sources=tuple(_source(p, name) for p, name in zip(chosen, named, strict=True)),
        categories=tuple(p.category for p in chosen),
        languages=tuple(p.language for p in chosen),
        exact_duplicates={},
        near_duplicates={},
        tied=0,
        warnings=(),
        key=_key(chosen, named, groups),
    )


def _class_order(name: str) -> tuple[int, str]:
    return (_ORDER.get(name, 1), name)


def _source(prompt: Prompt, name: str) -> str:
    if name == JAILBREAK and style_of(prompt) != PLAIN:
        return _FAMILIES.get(style_of(prompt), style_of(prompt))
    return prompt.source or UNNAMED


def _wording(prompt: Prompt) -> str:
    """Return all that is said: two chats that end in the same turn are not the same request."""
    return normalise("\n".join(message["content"] for message in prompt.as_messages()))


def _key(prompts: Sequence[Prompt], names: Sequence[str], groups: Sequence[str]) -> str:
    rows = [(n, p.to_json(), g) for n, p, g in zip(names, prompts, groups, strict=True)]
    return content_key("items", rows)


def _check(drafts: Mapping[str, Sequence[Prompt]]) -> None:
    if len(drafts) < 2:
        had = f"only {shown(next(iter(drafts)))}" if drafts else "none"
        raise DataError(f"Two classes are needed, and there is {had}.", fix="Give another one.")
    owners: dict[str, str] = {}
    for name, prompts in drafts.items():
        if not name.strip():
            raise DataError("A class has no name.", fix="Call it harmful or benign.")
        if not prompts:
            raise DataError(f"The class {shown(name)} is empty.", fix="Give it some prompts.")
        opposite = {HARMFUL: BENIGN, BENIGN: HARMFUL}.get(name)
        for prompt in prompts:
            where = f"Prompt {shown(prompt.id)} of the class {shown(name)}"
            if prompt.id in owners:
                raise DataError(
                    f"{where} has the id of another one in {shown(owners[prompt.id])}.",
                    fix="Give every prompt its own id.",
                )
            owners[prompt.id] = name
            if opposite is not None and prompt.label == opposite:
                raise DataError(
                    f"{where} is labelled {opposite}.", fix="Move it to the other class."
                )
            if not prompt.request.strip():
                raise DataError(f"{where} is empty.", fix="Give it some text or leave it out.")


def _repeats(wording: Sequence[str], names: Sequence[str]) -> tuple[set[int], set[int]]:
    """Return the items that repeat an earlier one of their class, and those in two classes."""
    first: dict[tuple[str, str], int] = {}
    where: dict[str, set[str]] = {}
    repeated: set[int] = set()
    for i, (text, name) in enumerate(zip(wording, names, strict=True)):
        if first.setdefault((name, text), i) != i:
            repeated.add(i)
        where.setdefault(text, set()).add(name)
    twice = {i for i, text in enumerate(wording) if len(where[text]) > 1}
    return repeated - twice, twice


def _groups(prompts: Sequence[Prompt], pairs: Pairs) -> list[int]:
    """Return a number per prompt: one goal, one pair or near-identical wording share it."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    seen: dict[tuple[str, str | None], int] = {}
    links = [tuple(pair) for pair in pairs.tolist()]
    for i, prompt in enumerate(prompts):
        # A bare request that names no goal is the goal of its own wrapped forms.
        for known in (("goal", prompt.goal_id or prompt.id), ("pair", prompt.pair_id)):
            if known[1] is not None:
                links.append((seen.setdefault(known, i), i))
    first, second = np.array(links, np.int64).reshape(-1, 2).T
    size = len(prompts)
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(size, size))
    return [int(g) for g in connected_components(graph, directed=False)[1]]


def _first(kept: Sequence[int], names: Sequence[str], limit: int | None) -> list[int]:
    """Return the first so many of each class."""
    taken: Counter[str] = Counter()
    chosen = []
    for i in kept:
        taken[names[i]] += 1
        if limit is None or taken[names[i]] <= limit:
            chosen.append(i)
    for name in dict.fromkeys(names):
        if not taken[name]:
            raise DataError(
                f"Nothing is left of the class {shown(name)}: all its requests stand in another "
                "class too.",
                fix="Give each request to one class.",
            )
    return chosen


def _count(
    dropped: Iterable[int], names: Sequence[str], classes: Iterable[str]
) -> Mapping[str, int]:
    found = Counter(names[i] for i in dropped)
    return {name: found[name] for name in classes}


def _warnings(
    drafts: Mapping[str, Sequence[Prompt]],
    names: Sequence[str],
    contradicted: set[int],
    near: set[int],
    dedupe: bool,
) -> Iterable[str]:
    if contradicted:
        done = "were dropped" if dedupe else "are kept"
        yield f"{len(contradicted)} prompts stand in two classes with the same words and {done}."
    for name, members in drafts.items():
        alike = sum(names[i] == name for i in near)
        if alike > len(members) / 2:
            yield (
                f"{alike} of {len(members)} prompts of the class {shown(name)} were dropped as "
                "near-duplicates; if they share a wrapper, name it in their field 'style'."
            )
