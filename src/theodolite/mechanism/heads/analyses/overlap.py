"""`theodolite explain heads overlap`: do other ablations, models or runs name the same heads?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theodolite.errors import ConfigError
from theodolite.measure.measurement import Measurement
from theodolite.mechanism.heads.ablation import (
    ALIASES,
    OF_PROMPTS,
    OPERATORS,
    HeadAblation,
    check_head,
    head_name,
)
from theodolite.mechanism.heads.analyses.direction import (
    DIRECTION,
    along_direction,
    ranking_by_direction,
    with_direction,
)
from theodolite.mechanism.heads.analyses.options import (
    AblationOptions,
    ablation_of,
    at_least,
    check_common,
    made_with,
)
from theodolite.mechanism.heads.frames import encode_framed, resolve_frame
from theodolite.mechanism.heads.overlap import Overlap, overlap
from theodolite.mechanism.heads.ranking import HeadRanking
from theodolite.mechanism.heads.result import TOP, HeadScores
from theodolite.mechanism.heads.second_model import check_same_heads, reading_as
from theodolite.mechanism.heads.ships import head_ships
from theodolite.runs.figures import heatmap
from theodolite.runs.panel import Figure, PanelResult
from theodolite.text.display import escape
from theodolite.text.lists import names_in

if TYPE_CHECKING:
    from theodolite.mechanism.explain import ExplainRequest, Subject
    from theodolite.models.anatomy import Anatomy
    from theodolite.models.handle import LanguageModel
    from theodolite.runs.panel import Progress
    from theodolite.runs.run import Run

VERSION: Final = 1
TITLE: Final = "The same heads elsewhere?"
QUESTION: Final = "Do another ablation, another model or another run put the same heads in front?"
BASE: Final = "base"


@dataclass(frozen=True)
class Options(AblationOptions):
    """What `theodolite explain heads overlap` can be asked (`-T key=value`).

    Args:
        against: operators (ua, sc, ...), direction (what each head writes along the direction that
            parts harmful from benign states), run folders, `--json` documents, or files of the
            published code, comma-separated. Empty takes the base model where one is given, and
            otherwise sc (ua where the operator is sc).
        group_size: heads at the top that are compared.
    """

    against: str = ""
    group_size: int = TOP


def check(options: Options, request: ExplainRequest) -> None:
    """Refuse options that cannot be used.

    Raises: ConfigError: an operator, a word that is neither an operator nor a file, or only one
        ranking.
    """
    check_common(options, request, base="may")
    at_least(1, group_size=options.group_size)
    words = _words(options, request.base is not None)
    for word in words:
        if not _is_operator(word) and word != DIRECTION and not Path(word).exists():
            raise ConfigError(
                f"task.against names {escape(word, 80)}, which is no operator and no file.",
                fix=f"Operators are {', '.join((*ALIASES, *OPERATORS))}; or write {DIRECTION}.",
            )
    own = ablation_of(options)
    others = [w for w in words if not _is_operator(w) or _same_way(own, w).key != own.key]
    if not others and request.base is None:
        raise ConfigError(
            "There is one ranking, and nothing to hold it against.",
            fix="Name another operator, a run or a file with -T against=, or a --base model.",
        )


def _words(options: Options, base: bool) -> tuple[str, ...]:
    """Return what the first ranking is held against, beside the base model."""
    words = names_in(options.against)
    if words or base:
        return tuple(words)
    return ("sc" if ablation_of(options).name != "scale" else "ua",)


def _same_way(ablation: HeadAblation, operator: str) -> HeadAblation:
    """Return another operator on the same units."""
    return HeadAblation(operator, unit=ablation.unit)


def _is_operator(word: str) -> bool:
    return word in OPERATORS or word in ALIASES


def explain(
    subject: Subject, options: Options, *, run: Run, seed: int, progress: Progress
) -> PanelResult:
    """Rank the heads in several ways on the same requests, and hold the rankings together."""
    model, ablation = subject.model, ablation_of(options)
    kept: dict[str, Any] = {"journal": run.journal, "progress": progress, "seed": seed}
    words = _words(options, subject.base is not None)
    frame = resolve_frame(model, subject.template)
    files = [Path(word) for word in words if not _is_operator(word) and word != DIRECTION]
    imported = [_imported(path, model.anatomy, ablation) for path in files]
    run.describe(inputs={f"against {f.name}": f for f in files if f.is_file()})
    if subject.base is not None:
        asked = encode_framed(model, subject.requests.harmful, frame)
        check_same_heads(model, subject.base, asked)
    written = along_direction(subject, ablation, kept) if DIRECTION in words else None
    ways = {ablation.key: ablation}
    for word in filter(_is_operator, words):
        ways.setdefault(_same_way(ablation, word).key, _same_way(ablation, word))
    scores = _all_scores(subject, list(ways.values()), frame, kept)
    for name, found in scores.items():
        found.save(run, f"{name}_arrays")
    rankings = [ranking_of(name, found) for name, found in scores.items()]
    if written is not None:
        rankings.append(ranking_by_direction(written, model.anatomy))
    rankings += imported
    reads_benign = written is not None or any(way.name in OF_PROMPTS for way in ways.values())
    benign = len(subject.requests.benign) if reads_benign else None
    how = [
        made_with(subject, frame, len(subject.requests.harmful), benign),
        f"Rankings by the mean change of the next token (nats); {ablation.name} is the first.",
        *map(_source, rankings),
    ]
    if subject.base is not None:
        how.append(f"{BASE}: {subject.base.name}, which reads the very same tokens.")
    result = report(rankings, options.group_size, how, scores[ablation.name])
    return result if written is None else with_direction(result, written)


def _imported(path: Path, anatomy: Anatomy, ablation: HeadAblation) -> HeadRanking:
    """Return the ranking of a file or a saved run, all of it heads that the model has.

    Raises:
        ConfigError: a head the model does not have, or a run of a model with fewer heads.
        DataError, RunError: see `HeadRanking.load`.
    """
    found = HeadRanking.load(path, name=path.name)
    units = ablation.units(anatomy)
    grid = anatomy.n_layers * units
    for head in found.heads:
        try:
            check_head(anatomy, head, units)
        except ConfigError as error:
            raise ConfigError(
                f"{escape(path.name, 80)} ranks the head {head_name(head)}, which this model does "
                "not have.",
                fix=error.fix,
            ) from None
    is_run = path.is_dir() or path.suffix.lower() == ".json"
    if is_run and not found.partial and found.n_heads != grid:
        raise ConfigError(
            f"{escape(path.name, 80)} ranks {found.n_heads} heads, and this model has {grid}.",
            fix="Give a run of a model of the same size, with the same task.unit.",
        )
    return replace(found, n_heads=grid)


def _source(ranking: HeadRanking) -> str:
    twice = f", {ranking.duplicates} repeated ones left out" if ranking.duplicates else ""
    few = ", only the highest heads of each" if ranking.partial else ""
    return f"{ranking.name}: {ranking.n_prompts} requests{twice}{few}."


def _all_scores(
    subject: Subject, ways: Sequence[HeadAblation], frame: str, kept: dict[str, Any]
) -> dict[str, HeadScores]:
    """Return the scores under every ablation, and of the base model under the first."""
    scores: dict[str, HeadScores] = {}
    for way in ways:
        # The same operator in another dose needs a name of its own.
        name = way.name if way.name not in scores else f"{way.name}-{way.factor:g}"
        scores[name] = _scores(subject, subject.model, way, frame, kept)
    if subject.base is not None:
        base = reading_as(subject.base, subject.model)
        scores[BASE] = _scores(subject, base, ways[0], frame, kept)
    return scores


def _scores(
    subject: Subject,
    model: LanguageModel,
    ablation: HeadAblation,
    frame: str,
    kept: dict[str, Any],
) -> HeadScores:
    """Return the scores over harmful requests; benign ones are references, and not scored."""
    requests = subject.requests
    lent = requests.benign
    if ablation.name == "resample":  # takes one for each
        lent = lent[: len(requests.harmful)]
    return head_ships(
        model,
        requests.harmful,
        ablation=ablation,
        template=frame,
        references=lent if ablation.name in OF_PROMPTS else (),
        **kept,
    )


def ranking_of(name: str, scores: HeadScores) -> HeadRanking:
    """Return the heads in the order of their mean divergence over harmful requests."""
    order = scores.ranking()
    means = scores.over_harmful.mean
    return HeadRanking(
        name=name,
        heads=tuple(order),
        scores=tuple(float(means[head]) for head in order),
        n_heads=scores.n_layers * scores.n_units,
        n_prompts=len(scores.harmful),
    )


def report(
    rankings: Sequence[HeadRanking], k: int, how: Sequence[str], own: HeadScores | None = None
) -> PanelResult:
    """Return every pair of rankings as measurements, a table and a map."""
    pairs = {
        (i, j): overlap(rankings[i], rankings[j], k)
        for i in range(len(rankings))
        for j in range(i + 1, len(rankings))
    }
    measurements = [m for found in pairs.values() for m in found.measurements()]
    tables: dict[str, Any] = {
        "overlap": [found.row() for found in pairs.values()],
        "rankings": [
            {"ranking": each.name, "rank": rank + 1, "layer": head[0], "head": head[1], "score": at}
            for each in rankings
            for rank, (head, at) in enumerate(zip(each.heads, each.scores, strict=True))
        ],
    }
    if own is not None:
        tables["heads"] = own.frame()
    return PanelResult(
        measurements=measurements,
        tables=tables,
        figures=[figure(rankings, pairs, k)],
        findings=[_sentence(found) for (first, _), found in pairs.items() if first == 0],
        limits=LIMITS,
        how=how,
        labels=labels(measurements),
    )


LIMITS: Final = (
    "Heads of one number in two models are the same head only where both come from one base.",
    "Two ablations can name the same heads because these matter for everything: see the benign "
    "control of `explain heads map`.",
)


def figure(
    rankings: Sequence[HeadRanking], pairs: dict[tuple[int, int], Overlap], k: int
) -> Figure:
    """Return how many top heads each pair of rankings shares."""
    names = [each.name for each in rankings]
    spec = heatmap(
        [
            [1.0 if i == j else _shared(pairs[min(i, j), max(i, j)]) for j in range(len(names))]
            for i in range(len(names))
        ],
        x=names,
        y=names,
        x_title="",
        y_title="",
        value_title=f"shared of the top {k}",
    )
    spec["data"][0] |= {"zmin": 0.0, "zmax": 1.0}
    caption = f"Share of the top {k} heads that two rankings have in common"
    if any(min(found.sizes) < k for found in pairs.values()):
        caption += ", of all where a ranking has fewer"
    return Figure(
        "heads_overlap", "Top heads in common", f"{caption}.{_by_chance(pairs)}", spec, "overlap"
    )


def _by_chance(pairs: Mapping[tuple[int, int], Overlap]) -> str:
    """Return what random choices would share, of the smaller of two."""
    shares = [
        found.expected / min(found.sizes) for found in pairs.values() if found.expected is not None
    ]
    if not shares:
        return ""
    ends = list(dict.fromkeys(f"{share:.1%}" for share in (min(shares), max(shares))))
    return f" Two random choices would share {' to '.join(ends)}."


def _shared(found: Overlap) -> float:
    return len(found.shared) / min(found.sizes)


def _sentence(found: Overlap) -> str:
    first, second = found.names
    said = f"{first} and {second} share {len(found.shared)} of their top {min(found.sizes)} heads"
    if found.expected is None or found.p_value is None:
        return f"{said}."
    return f"{said}; chance would share {found.expected:.2g} (p = {found.p_value:.2g})."


def labels(found: Sequence[Measurement]) -> dict[str, str]:
    """Return plain words for what the first ranking shares with each other one."""
    named = {}
    for one in found:
        _, first, second, what = one.name.split("/", 3)
        if first == found[0].name.split("/")[1] and what.endswith((" shared", "spearman")):
            words = "order of all heads" if what == "spearman" else what
            named[one.name] = f"{first} and {second}: {words}"
    return named


def summary(result: PanelResult) -> list[dict[str, Any]]:
    """Return the pairs, for the terminal."""
    return [
        {
            "rankings": f"{row['first']}, {row['second']}",
            f"shared of {row['k']}": row["shared"],
            "by chance": "n/a" if row["expected"] is None else f"{row['expected']:.2g}",
            "p": "n/a" if row["p_value"] is None else f"{row['p_value']:.2g}",
            "rank-biased": f"{row['rbo']:.2f}",
            "Spearman": "n/a" if row["spearman"] is None else f"{row['spearman']:.2f}",
        }
        for row in result.tables["overlap"]
    ]
