"""Samples as data for the page: escaped text, or for harmful ones only what identifies them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from theodolite.report.budget import SAMPLES_PER_PANEL, TEXT_CHARACTERS, Budget
from theodolite.report.island import json_island
from theodolite.report.numbers import format_plain
from theodolite.runs.panel import Sample
from theodolite.text.display import escape
from theodolite.text.hashing import content_key

_HASH_CHARACTERS = 10
_PLAIN_WORD = re.compile(r"[\w.:/+%-]{1,40}", re.ASCII)


def sample_records(
    samples: Sequence[Sample], *, show_text: bool, budget: Budget
) -> tuple[list[dict[str, Any]], int]:
    """Return the samples that fit as plain dicts, and how many were left out."""
    records = []
    for sample in samples[:SAMPLES_PER_PANEL]:
        record = sample_record(sample, show_text=show_text)
        if not budget.take(len(json_island(record))):
            break
        records.append(record)
    return records, len(samples) - len(records)


def sample_record(sample: Sample, *, show_text: bool) -> dict[str, Any]:
    """Return one sample; a harmful one without `show_text` has lengths and a hash, no text."""
    hidden = sample.harmful and not show_text
    record: dict[str, Any] = {
        "id": escape(sample.id, 120),
        "label": escape(sample.label, 60),
        "harmful": sample.harmful,
        "facts": facts_of(sample.meta, hidden),
    }
    if hidden:
        return record | {
            "hidden": {
                "prompt": len(sample.prompt),
                "completion": len(sample.completion),
                "hash": content_key(sample.prompt, sample.completion)[:_HASH_CHARACTERS],
            }
        }
    return record | {"prompt": _text(sample.prompt), "completion": _text(sample.completion)}


def _text(text: str) -> str:
    shown = escape(text, TEXT_CHARACTERS, keep_newlines=True)
    if len(text) > TEXT_CHARACTERS:
        shown += f"\n[{len(text)} characters in all]"
    return shown


def facts_of(meta: Mapping[str, Any], hidden: bool) -> list[list[str]]:
    """Return the facts beside a sample as pairs of words; a hidden one's hold no free text."""
    facts = []
    for key, value in list(meta.items())[:20]:
        if isinstance(value, bool):
            shown = "yes" if value else "no"
        elif isinstance(value, int | float):
            shown = format_plain(value)
        elif hidden and not _PLAIN_WORD.fullmatch(str(value)):
            # Free text beside a harmful sample may quote it.
            continue
        else:
            shown = escape(str(value), 200)
        facts.append([escape(str(key), 60), shown])
    return facts
