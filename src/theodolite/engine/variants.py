"""Rows of one pass under different interventions: each row has a variant, which acts on it alone.

A generation hooks every variant once and runs rows of all of them together. A pass tells which
variant each row belongs to; what multiplies heads becomes one factor per row and head, and what
moves a stream along few directions becomes one line per row, so that hundreds of variants cost one
multiplication per block; everything else changes the rows that hold it and copies the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from theodolite.engine.intervention_lines import (
    DirectionIntervention,
    Lines,
    SubspaceIntervention,
)
from theodolite.engine.intervention_oblique import ObliqueIntervention
from theodolite.engine.interventions import (
    KINDS,
    Change,
    HeadIntervention,
    Intervention,
    Positions,
    touched,
)
from theodolite.engine.passes import PassContext, current_pass
from theodolite.engine.placing import hooked
from theodolite.errors import CapabilityError, ConfigError
from theodolite.text.hashing import content_key

if TYPE_CHECKING:
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel

Variant = tuple[Intervention, ...]
Made = TypeVar("Made")

# Lines of a row are held for every row of a pass: a wider subspace is changed variant by variant.
_MOST_LINES = 4


@dataclass(frozen=True, eq=False)
class Variants:
    """The different variants of one generation.

    Args:
        anatomy: of the model.
        different: each as the interventions that act, in order; their places are their ids.
        keys: a content key of each, "" where nothing acts.
    """

    anatomy: Anatomy
    different: tuple[Variant, ...]
    keys: tuple[str, ...]

    @cached_property
    def interventions(self) -> Variant:
        """All that may act in a pass of these variants."""
        return tuple(item for variant in self.different for item in variant)

    @cached_property
    def _made(self) -> list[_Factors | _Straight | _Changes]:
        return _hooks(self)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let each variant act on its rows, in passes that name these variants; on no other pass.

        Note: entered once around many passes; without any intervention there is not one hook.
        """
        with ExitStack() as stack:
            for hook in self._made:
                stack.enter_context(hook.entered())
            yield


@dataclass(frozen=True, eq=False)
class RowVariants:
    """Which variant each row of a pass (or each item of a list of work) belongs to.

    Args:
        of: the variants.
        ids: for each row the place of its own among `of.different`.
        known: what hooks worked out for these rows; it serves every pass of the same rows.
    """

    of: Variants
    ids: tuple[int, ...]
    known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def in_turn(cls, of: Variants, variants: Sequence[int], rows: int) -> RowVariants:
        """Return those of rows that stand variant by variant.

        Args:
            of: the variants of the rows.
            variants: places in `of.different`.
            rows: of each variant.
        """
        return cls(of, tuple(variant for variant in variants for _ in range(rows)))

    @property
    def each(self) -> list[Variant]:
        """The interventions of each row."""
        return [self.of.different[i] for i in self.ids]

    def key(self, row: int) -> str:
        """Return the content key of a row's variant, "" where nothing acts."""
        return self.of.keys[self.ids[row]]

    def select(self, rows: Sequence[int]) -> RowVariants:
        """Return those of some rows, in this order."""
        return RowVariants(self.of, tuple(self.ids[row] for row in rows))

    def once(self, hook: object, make: Callable[[], Made]) -> Made:
        """Return what a hook makes of these rows, made the first time it asks."""
        if hook not in self.known:
            self.known[hook] = make()
        found: Made = self.known[hook]
        return found


def row_variants(
    model: LanguageModel, asked: Sequence[Sequence[Intervention]] | None, count: int
) -> RowVariants:
    """Return the variants of some prompts; None asked for gives all of them the empty one.

    Args:
        model: an open local model.
        asked: interventions of each prompt; equal ones make one variant.
        count: of prompts.

    Raises:
        ConfigError: they are of another number of prompts, or do not fit the model.
        CapabilityError: the model cannot be changed, or an intervention only under `apply`.
    """
    if asked is not None and len(asked) != count:
        raise ConfigError(
            f"variants holds {len(asked)} lists of interventions, and there are {count} prompts.",
            fix="Give one list for each prompt; an empty one changes nothing.",
        )
    variants = [tuple(variant) for variant in asked] if asked is not None else [()] * count
    names: dict[int, str] = {}  # key by identity: prompts often hold the same objects
    found: dict[tuple[str, ...], Variant] = {}
    ids = []
    for variant in variants:
        for item in variant:
            if id(item) not in names:
                _check(model, item)
                names[id(item)] = item.key
        key = tuple(names[id(item)] for item in variant)
        found.setdefault(key, variant)
        ids.append(key)
    place = {key: i for i, key in enumerate(found)}
    keys = tuple(content_key("variant", list(key)) if key else "" for key in found)
    return RowVariants(
        Variants(model.anatomy, tuple(found.values()), keys), tuple(place[key] for key in ids)
    )


def _check(model: LanguageModel, item: Intervention) -> None:
    model.require("interventions")
    item.check(model.anatomy)
    if type(item) not in (*KINDS.values(), ObliqueIntervention):
        raise CapabilityError(
            f"A variant with a {type(item).__name__}",
            "it reads whole passes, and a variant acts on some rows of them",
            "Use `apply`",
        )


def _hooks(variants: Variants) -> list[_Factors | _Straight | _Changes]:
    """Return the hooks that make the variants act, in the order in which they are registered."""
    factors: dict[tuple[int, str, Positions], _Factors] = {}
    # Each variant keeps its order: first things first, second things second.
    straight: dict[tuple[int, int, str, Positions], _Straight] = {}
    changes: dict[tuple[int, int, str], _Changes] = {}
    for place, variant in enumerate(variants.different):
        # Other operators do not commute with factors: one of them at a site, and all go its way.
        plain = {
            (item.layer, item.at)
            for item in variant
            if not isinstance(item, HeadIntervention) or item.factor is None
        }
        for step, item in enumerate(variant):
            site = (item.layer, item.at)
            where = item.positions if isinstance(item.positions, str) else tuple(item.positions)
            factor = item.factor if isinstance(item, HeadIntervention) else None
            lines = _lines(item)
            if isinstance(item, HeadIntervention) and factor is not None and site not in plain:
                key = (*site, where)
                factors.setdefault(key, _Factors(variants, *key)).multiply(
                    place, item.heads, factor
                )
            elif lines is not None:
                way = straight.setdefault((step, *site, where), _Straight(variants, *site, where))
                way.of[place] = lines
            else:
                changes.setdefault((step, *site), _Changes(variants, *site)).add(place, item)
    later: list[tuple[tuple[Any, ...], _Straight | _Changes]]
    later = [*straight.items(), *changes.items()]
    return [*factors.values(), *(hook for _, hook in sorted(later, key=lambda pair: pair[0][0]))]


def _lines(item: Intervention) -> Lines | None:
    """Return what an intervention does along few directions, None where it does anything else."""
    if not isinstance(item, DirectionIntervention | SubspaceIntervention):
        return None
    if isinstance(item, SubspaceIntervention) and len(item.basis) > _MOST_LINES:
        return None
    return item.lines


def _running(variants: Variants) -> tuple[PassContext, RowVariants] | None:
    """Return the running pass and its rows if they are of these variants, else None."""
    context = current_pass.get()
    if context is None or context.variants is None or context.variants.of is not variants:
        return None
    return context, context.variants


@dataclass(eq=False)
class _Factors:
    """Multiplies head values of one site, by one factor per row and head.

    Args:
        variants: of the generation.
        layer, site, positions: as in `Intervention`.
        of: for each variant that changes something here the factors, float64, axes (head).
    """

    variants: Variants
    layer: int
    site: str
    positions: Positions
    of: dict[int, torch.Tensor] = field(default_factory=dict)

    def multiply(self, variant: int, heads: Sequence[int], factor: float) -> None:
        """Let a variant multiply heads by a factor too."""
        self.of.setdefault(variant, self._ones())[list(heads)] *= factor

    def entered(self) -> AbstractContextManager[None]:
        """Return the context in which it acts."""
        where = None if self.positions == "all" else self._where
        return hooked(self.variants.anatomy, self.layer, self.site, self._change, where)

    def _change(self, value: torch.Tensor) -> torch.Tensor:
        running = _running(self.variants)
        if running is None:
            return value
        _, rows = running
        factors = rows.once(self, lambda: self._rows(rows, value))
        if factors is None:
            return value
        heads = value.reshape(*value.shape[:-1], self.variants.anatomy.n_heads, -1)
        return (heads * factors).flatten(-2).to(value.dtype)

    def _rows(self, rows: RowVariants, value: torch.Tensor) -> torch.Tensor | None:
        """Return factors, axes (row, 1, head, 1), or None where no row has any."""
        if self.of.keys().isdisjoint(rows.ids):
            return None
        table = torch.stack([self.of.get(i, self._ones()) for i in rows.ids])
        # bfloat16 values times a float32 factor round once, as they do with a plain number.
        exact = torch.promote_types(value.dtype, torch.float32)
        return table.to(value.device, exact)[:, None, :, None]

    def _ones(self) -> torch.Tensor:
        return torch.ones(self.variants.anatomy.n_heads, dtype=torch.float64)

    def _where(self) -> torch.Tensor | None:
        running = _running(self.variants)
        return None if running is None else touched(self.positions, running[0])


@dataclass(eq=False)
class _Straight:
    """Moves the values of one site along the lines of each row's variant.

    Args:
        variants: of the generation.
        layer, site, positions: as in `Intervention`.
        of: for each variant that changes something here, what it does.
    """

    variants: Variants
    layer: int
    site: str
    positions: Positions
    of: dict[int, Lines] = field(default_factory=dict)
    _stacked: Lines | None = None

    def entered(self) -> AbstractContextManager[None]:
        """Return the context in which it acts."""
        where = None if self.positions == "all" else self._where
        return hooked(self.variants.anatomy, self.layer, self.site, self._change, where)

    def _change(self, value: torch.Tensor) -> torch.Tensor:
        running = _running(self.variants)
        if running is None or self.of.keys().isdisjoint(running[1].ids):
            return value
        rows = running[1]
        lines = rows.once(
            self, lambda: self._table(value).rows([self._places[i] for i in rows.ids])
        )
        return lines(value)

    @cached_property
    def _places(self) -> dict[int, int]:
        """The place of every variant in the table; those that change nothing here come first."""
        own = {variant: place for place, variant in enumerate(self.of, start=1)}
        return {variant: own.get(variant, 0) for variant in range(len(self.variants.different))}

    def _table(self, value: torch.Tensor) -> Lines:
        """Return the lines of nothing and of every variant, for values like these."""
        if self._stacked is None:
            self._stacked = Lines.stacked([None, *self.of.values()], like=value)
        return self._stacked

    def _where(self) -> torch.Tensor | None:
        running = _running(self.variants)
        return None if running is None else touched(self.positions, running[0])


@dataclass(eq=False)
class _Changes:
    """Changes the rows of one site by whatever each row's variant does there.

    Args:
        variants: of the generation.
        layer, site: as in `Intervention`.
        items: intervention key -> the intervention, its change, and the variants that hold it.
    """

    variants: Variants
    layer: int
    site: str
    items: dict[str, tuple[Intervention, Change, set[int]]] = field(default_factory=dict)

    def add(self, variant: int, item: Intervention) -> None:
        """Add an intervention of a variant."""
        key = item.key
        if key not in self.items:
            self.items[key] = (item, item.change(self.variants.anatomy), set())
        self.items[key][2].add(variant)

    def entered(self) -> AbstractContextManager[None]:
        """Return the context in which it acts."""
        always = all(item.positions == "all" for item, _, _ in self.items.values())
        where = None if always else self._where
        return hooked(self.variants.anatomy, self.layer, self.site, self._change, where)

    def _change(self, value: torch.Tensor) -> torch.Tensor:
        parts = self._parts()
        if not parts:
            return value
        new = value.clone()
        for _, change, rows in parts:
            rows = rows.to(value.device)
            new[rows] = change(value[rows])
        return new

    def _parts(self) -> list[tuple[Intervention, Change, torch.Tensor]]:
        """Return what changes rows of the running pass, with the rows; rows of parts differ."""
        running = _running(self.variants)
        if running is None:
            return []
        context, rows = running
        device = context.positions.device

        def find() -> list[tuple[Intervention, Change, torch.Tensor]]:
            held = [
                (item, change, [row for row, i in enumerate(rows.ids) if i in owners])
                for item, change, owners in self.items.values()
            ]
            return [(i, c, torch.tensor(own, device=device)) for i, c, own in held if own]

        return rows.once(self, find)

    def _where(self) -> torch.Tensor | None:
        """Return the tokens that the changes are for; rows that nothing changes count as all."""
        parts, context = self._parts(), current_pass.get()
        if context is None or not parts:
            return None
        mask = torch.ones_like(context.positions, dtype=torch.bool)
        for item, _, rows in parts:
            mask[rows] = touched(item.positions, context)[rows]
        return mask
