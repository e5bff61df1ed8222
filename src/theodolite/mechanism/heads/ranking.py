"""Heads in order of their scores, from rows, runs, documents, or files of the published code."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from theodolite.data.json_object import read_json_object
from theodolite.data.records import MAX_FILE_BYTES, Place, Record, read_records
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.heads.ablation import Head, parse_heads
from theodolite.runs.run import Run
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

TABLE: Final = "heads"
_HARMFUL: Final = "harmful"
_EXPECTED = "Give a run with a table of heads, its --json document, or a file of the reference."


@dataclass(frozen=True, eq=False)
class HeadRanking:
    """Heads with their scores, the highest first; ties go to the lower layer, then head.

    Args:
        name: what was ranked, e.g. the model.
        heads: (layer, head), best first.
        scores: mean over prompts; axis as `heads`.
        n_heads: heads there are to choose from; None where unknown.
        n_prompts: prompts behind the means.
        by_prompt: prompt id, or key of its text, -> scores of its heads.
        partial: whether only the top heads of each prompt are known: the others count as 0.
        duplicates: prompts that occurred again and were left out.
    """

    name: str
    heads: tuple[Head, ...]
    scores: tuple[float, ...]
    n_heads: int | None
    n_prompts: int
    by_prompt: Mapping[str, Mapping[Head, float]] = field(default_factory=dict, repr=False)
    partial: bool = False
    duplicates: int = 0

    def by_head(self) -> dict[Head, float]:
        """Return the score of each head."""
        return dict(zip(self.heads, self.scores, strict=True))

    @cached_property
    def key(self) -> str:
        """Content key of heads and scores."""
        return content_key("head ranking", self.heads, self.scores)

    @classmethod
    def of_prompts(
        cls,
        name: str,
        by_prompt: Mapping[str, Mapping[Head, float]],
        *,
        n_heads: int | None = None,
        partial: bool = False,
        duplicates: int = 0,
    ) -> Self:
        """Rank heads by their mean over prompts.

        Args:
            by_prompt: prompt -> head -> score.
            name, n_heads, partial, duplicates: as in the class.

        Raises:
            DataError: nothing was scored, more heads than there are, or, unless partial, a head
                that was scored for some prompts only.
        """
        heads = sorted({head for scores in by_prompt.values() for head in scores})
        if not heads:
            raise DataError(f"No heads are scored in {escape(name, 80)}.", fix=_EXPECTED)
        if n_heads is not None and len(heads) > n_heads:
            raise DataError(
                f"{len(heads)} heads are scored in {escape(name, 80)}, but there are {n_heads}.",
                fix="Correct the number of heads.",
            )
        means = {}
        for head in heads:
            scores = [own[head] for own in by_prompt.values() if head in own]
            if len(scores) < len(by_prompt) and not partial:
                raise DataError(
                    f"The head {head[0]}-{head[1]} has a score for {len(scores)} of "
                    f"{len(by_prompt)} prompts in {escape(name, 80)}.",
                    fix="Score a head on all prompts, or on none.",
                )
            means[head] = math.fsum(scores) / len(by_prompt)
        order = sorted(heads, key=lambda head: -means[head])  # stable, so ties keep their order
        return cls(
            name=name,
            heads=tuple(order),
            scores=tuple(means[head] for head in order),
            n_heads=n_heads,
            n_prompts=len(by_prompt),
            by_prompt=by_prompt,
            partial=partial,
            duplicates=duplicates,
        )

    @classmethod
    def of_rows(
        cls,
        name: str,
        rows: Iterable[Mapping[str, Any]],
        *,
        label: str | None = _HARMFUL,
        operator: str | None = None,
        n_heads: int | None = None,
    ) -> Self:
        """Rank the heads of a `heads` table: rows of prompt_id, layer, head and kl (nats).

        Args:
            name, n_heads: as in the class. None takes the grid up to the last layer and head seen,
                which is right for a map and for a screened one.
            rows: those without a kl are passed over.
            label: rows with another label are passed over, those without one are not; None takes
                all.
            operator: rows of another operator are passed over.

        Raises:
            DataError: a column is missing or wrong, rows of several operators or epsilons, a head
                twice for one prompt, or as for `of_prompts`.
        """
        chosen = [
            (number, row)
            for number, row in enumerate(rows)
            if (label is None or row.get("label") in (None, label))
            and (operator is None or row.get("operator") == operator)
        ]
        kinds = ("operator", "target", "unit", "epsilon")
        ways = {
            " ".join(str(row[kind]) for kind in kinds if row.get(kind) is not None)
            for _, row in chosen
        }
        if len(ways) > 1:
            raise DataError(
                f"{escape(name, 80)} holds heads ablated in several ways: "
                f"{escape(', '.join(sorted(ways)), 200)}.",
                fix="Name the operator, or keep one epsilon.",
            )
        found: dict[str, dict[Head, float]] = {}
        for number, row in chosen:
            head, score = _cell(name, number, row)
            if score is None:
                continue
            own = found.setdefault(str(row["prompt_id"]), {})
            if head in own:
                raise _wrong(name, number, f"the head {head[0]}-{head[1]} occurs again")
            own[head] = score
        if n_heads is None and found:
            seen = [head for own in found.values() for head in own]
            n_heads = (1 + max(layer for layer, _ in seen)) * (1 + max(head for _, head in seen))
        return cls.of_prompts(name, found, n_heads=n_heads)

    @classmethod
    def of_reference(cls, path: Path, *, name: str = "", n_heads: int | None = None) -> Self:
        """Rank the heads of a file that the published code writes, for comparison.

        Source: the format of ydyjya/SafetyHeadAttribution: lines of
        `{"<prompt>": {"2-26": 0.83, ...}}`, the ten highest heads of each prompt.

        Args:
            path: a .jsonl file.
            name: default: the file's stem.
            n_heads: of the model, which the file does not say.

        Returns: a partial ranking by `prompt_key`; of a prompt's text nothing is kept. A prompt
            that occurs again counts once, as it stands first.

        Raises:
            DataError: the file cannot be read or is no such file; names the line.
        """
        found: dict[str, dict[Head, float]] = {}
        again = 0
        for record in read_records(path):
            for text, scores in record.values.items():
                key = prompt_key(text)
                again += key in found
                found.setdefault(key, _reference_scores(Place(path, record.line), scores))
        return cls.of_prompts(
            name or path.stem, found, n_heads=n_heads, partial=True, duplicates=again
        )

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        name: str = "",
        label: str | None = _HARMFUL,
        operator: str | None = None,
        n_heads: int | None = None,
    ) -> Self:
        """Rank the heads of a run folder, a document or a table.

        Args:
            path: a run folder, what `--json` printed (.json), rows of a `heads` table (.parquet,
                .jsonl, .csv), or a file of the published code (.jsonl).
            name: default: the run's model, or the file's stem.
            label, operator, n_heads: as for `of_rows`.

        Raises:
            DataError: the file holds no heads, or as for `of_rows`.
            RunError: the folder is no run.
        """
        if path.is_dir():
            run = Run.open(path)
            rows = _table({table: run.load_table(table) for table in _named(run.table_names())})
            name = name or str(run.manifest["model"]["name"])
        elif path.suffix.lower() == ".json":
            document = read_json_object(path, most_bytes=MAX_FILE_BYTES, fix=_EXPECTED)
            rows, name = _document(document), name or _model(document) or path.stem
        else:
            records = read_records(path)
            if _is_reference(records):
                return cls.of_reference(path, name=name, n_heads=n_heads)
            rows, name = [record.values for record in records], name or path.stem
        return cls.of_rows(name, rows, label=label, operator=operator, n_heads=n_heads)


def prompt_key(text: str) -> str:
    """Return the key under which a prompt of a reference file is kept."""
    return content_key("prompt", text.strip())


def _cell(name: str, number: int, row: Mapping[str, Any]) -> tuple[Head, float | None]:
    """Return head and score of one row; the score is None where there is none."""
    missing = [column for column in ("prompt_id", "layer", "head", "kl") if column not in row]
    if missing:
        raise _wrong(name, number, f"the column {missing[0]} is missing")
    try:
        layer, head = (int(row[column]) for column in ("layer", "head"))
        score = math.nan if row["kl"] in (None, "") else float(row["kl"])
    except (TypeError, ValueError, OverflowError):
        raise _wrong(name, number, "layer, head or kl is no number") from None
    if layer < 0 or head < 0 or math.isinf(score):
        raise _wrong(name, number, "layer, head or kl is out of range")
    return (layer, head), None if math.isnan(score) else score


def _wrong(name: str, number: int, problem: str) -> DataError:
    return DataError(f"{escape(name, 80)}, row {number} of the heads: {problem}.", fix=_EXPECTED)


def _reference_scores(place: Place, scores: Any) -> dict[Head, float]:
    """Return the heads of one prompt of a reference file; errors never show the prompt."""
    if not isinstance(scores, Mapping):
        raise place.error("a prompt has no scores by head.", _EXPECTED)
    try:
        heads = parse_heads([str(key) for key in scores])
    except ConfigError as error:
        raise place.error(error.message, error.fix) from None
    values = list(scores.values())
    if not all(type(value) in (int, float) and abs(value) < 1e300 for value in values):
        raise place.error("the score of a head is no number.", _EXPECTED)
    return {head: float(value) for head, value in zip(heads, values, strict=True)}


def _is_reference(records: Iterable[Record]) -> bool:
    """Return whether records map prompts to scores, in place of being rows."""
    return all(
        record.values and all(isinstance(value, Mapping) for value in record.values.values())
        for record in records
    )


def _named(tables: Iterable[str]) -> list[str]:
    """Return the tables of heads, whichever panel they are of."""
    return [table for table in tables if table.rsplit("/", 1)[-1] == TABLE]


def _table(tables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the one table of heads."""
    if len(tables) != 1:
        found = f"{len(tables)} tables" if tables else "no table"
        raise DataError(f"There is {found} of heads.", fix=_EXPECTED)
    (rows,) = tables.values()
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError("The table of heads has no rows.", fix=_EXPECTED)
    return rows


def _document(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = document.get("tables")
    tables = tables if isinstance(tables, dict) else {}
    return _table({name: tables[name] for name in _named(tables)})


def _model(document: Mapping[str, Any]) -> str:
    """Return the model a document is of, or nothing."""
    run = document.get("run")
    model = run.get("model") if isinstance(run, dict) else None
    return str(model.get("name") or "") if isinstance(model, dict) else ""
