"""Perspectrum (arXiv:1906.03538): claims with clusters of perspectives, as debatable questions.

Traps this file exists for:
  - claims are statements, so each is put as a question; the claim itself stays in `meta`;
  - a cluster holds wordings of one perspective and no longer text: the other wordings stand in for
    an explanation, and two clusters in five have only one wording;
  - five claims occur twice, four of them in two splits: such rows share a goal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from theodolite.data.catalogue import official
from theodolite.data.debates import (
    AGAINST,
    DEBATABLE,
    FOR,
    PARTIAL_ANSWERS,
    Perspective,
    as_sentence,
    debate_set,
    split_named,
)
from theodolite.data.json_object import read_json_object
from theodolite.data.prompts import Prompt, PromptSet, shown
from theodolite.data.records import Place, Record, read_records

NAME: Final = "perspectrum"
QUESTION: Final = 'Is this claim right? "{claim}"'
STANCES: Final = {"SUPPORT": FOR, "UNDERMINE": AGAINST}
# Names of the three files: as the catalogue has them, and as their repository does.
CLAIMS: Final = ("perspectrum_with_answers_v1.0.json",)
POOL: Final = ("perspectrum_perspective_pool_v1.0.json", "perspective_pool_v1.0.json")
SPLITS: Final = ("perspectrum_split_v1.0.json", "dataset_split_v1.0.json")
_MOST_BYTES: Final = 16 << 20


def read_perspectrum(folder: Path | str) -> PromptSet:
    """Return the claims of Perspectrum as debatable questions, in file order.

    Each cluster is one perspective: its first wording is the point of view; the others make up the
    explanation (the point of view again where there is no other) and stay in `meta["paraphrases"]`
    of the perspective. The prompt's `meta` holds the claim and its topics; the first topic is the
    category.

    Args:
        folder: holds the claims, the pool of wordings and the splits, version 1.0.

    Raises:
        DataError: a file is missing, or a row does not fit the others; names file, row and field.
    """
    folder = Path(folder)
    claims, pool_path, split_path = (_present(folder, names) for names in (CLAIMS, POOL, SPLITS))
    pool = {str(r.values.get("pId")): r.values.get("text") for r in read_records(pool_path)}
    splits = read_json_object(
        split_path, most_bytes=_MOST_BYTES, fix="It must map each claim to train, dev or test."
    )
    rows = (
        (record.line, _claim(Place(claims, record.line), record, pool, splits))
        for record in read_records(claims)
    )
    return debate_set(NAME, claims, rows)


def official_perspectrum() -> PromptSet:
    """Return the claims of the data folder, each of its three files checked.

    Raises: DataError: a file is missing or changed; says how to get it.
    """
    paths = [official(f"debateqa/{names[0]}") for names in (CLAIMS, POOL, SPLITS)]
    return read_perspectrum(paths[0].parent)


def _claim(
    place: Place, record: Record, pool: Mapping[str, Any], splits: Mapping[str, Any]
) -> Prompt:
    values = record.values
    number, claim, clusters = (values.get(name) for name in ("cId", "text", "perspectives"))
    if not isinstance(claim, str) or not claim.strip():
        raise place._replace(field="text").error("the claim must be text.")
    if not isinstance(clusters, list):
        raise place._replace(field="perspectives").error("this must be a list of clusters.")
    listed = values.get("topics")
    topics = [t for t in listed if isinstance(t, str)] if isinstance(listed, list) else []
    read = [_cluster(place._replace(field="perspectives"), cluster, pool) for cluster in clusters]
    return Prompt(
        id=f"{NAME}-{number}",
        text=QUESTION.format(claim=claim.strip()),
        label=DEBATABLE,
        source=f"{NAME}-{values.get('source', 'unknown')}",
        category=topics[0] if topics else None,
        split=split_named(place._replace(field="cId"), splits.get(str(number))),
        language="en",
        meta={
            "claim": claim.strip(),
            "topics": topics,
            PARTIAL_ANSWERS: [perspective.to_json() for perspective in read],
        },
    )


def _cluster(place: Place, cluster: Any, pool: Mapping[str, Any]) -> Perspective:
    """Return a cluster of wordings as one perspective; a wording that is repeated counts once."""
    if not isinstance(cluster, Mapping) or not isinstance(cluster.get("pids"), list):
        raise place.error("a cluster must be an object with a list 'pids'.")
    stance = STANCES.get(str(cluster.get("stance_label_3")))
    if stance is None:
        raise place.error("the stance of a cluster is unknown.", f"Use {' or '.join(STANCES)}.")
    wordings: dict[str, None] = {}
    for number in cluster["pids"]:
        text = pool.get(str(number))
        if not isinstance(text, str) or not text.strip():
            raise place.error(f"the pool has no wording {shown(number)}.", "Are all files v1.0?")
        wordings[text.strip()] = None
    if not wordings:
        raise place.error("a cluster has no wording.")
    first, *others = wordings
    explanation = " ".join(map(as_sentence, others)) or first
    return Perspective(first, explanation, stance, {"paraphrases": others})


def _present(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the first of these files that is there; the first one where none is."""
    paths = [folder / name for name in names]
    return next((path for path in paths if path.is_file()), paths[0])
