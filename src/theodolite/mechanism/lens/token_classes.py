"""Token classes: which tokens of a vocabulary open a friendly answer, which a refusal.

Three lists of words (positive, negative, neutral) become sets of token ids of one tokenizer. Lists
are ours (per language), the user's own (JSON), or learnt from how a model begins its answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from theodolite.data.json_object import read_json_object
from theodolite.errors import ConfigError, DataError
from theodolite.mechanism.lens.vocabulary import (
    CLASSES,
    TokenClasses,
    refusal_log_odds,
    token_words,
)
from theodolite.text.display import escape
from theodolite.text.suggest import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from theodolite.data.prompts import Prompt
    from theodolite.models.handle import LanguageModel

__all__ = [
    "CLASSES",
    "TokenClasses",
    "auto_token_classes",
    "default_token_classes",
    "dirichlet_log_odds",
    "read_token_classes",
    "refusal_log_odds",
    "token_list_languages",
    "token_words",
]

_KEYS = (*CLASSES, "name", "source")
_MAX_BYTES = 2**20
_FORM = 'Give {"positive": [...], "negative": [...], "neutral": [...]}.'

# The published list holds beginnings of words without marking them. Two are long enough to stand
# for their words; the others begin hundreds of unrelated words and match only as tokens.
_PUBLISHED = "hidden-state-emotion-tokens"
_PUBLISHED_FRAGMENTS = {
    "prohib": "prohib*",
    "apolog": "apolog*",
    "ap": "ap",
    "sor": "sor",
    "Gre": "Gre",
}


def read_token_classes(
    source: Path | str | Mapping[str, Any], model: LanguageModel
) -> TokenClasses:
    """Read word lists and find their tokens in a model's vocabulary.

    Source: lists of this form go with arXiv:2406.05644; the matching is ours (the published code
    lower-cases tokens but not its lists, so that its capitalised entries never match).

    Args:
        source: a JSON file, or its content: lists of words under `positive`, `negative` and
            (optional) `neutral`; an entry ending in `*` matches every token that begins so.
        model: whose tokenizer is searched.

    Returns: the classes; a token matched by a whole word does not follow another class's prefix.

    Raises:
        DataError: the file or a field cannot be used, an entry stands in two classes, or no token
            matches any entry of `positive` or `negative`.
    """
    if isinstance(source, Mapping):
        record, where = dict(source), "The token lists"
    else:
        record, where = (
            read_json_object(Path(source), most_bytes=_MAX_BYTES, fix=_FORM),
            escape(str(source), 200),
        )
    name = str(record.get("name") or ("token lists" if isinstance(source, Mapping) else source))
    lists = _lists(record, where)
    return _match(lists, model, name, where, published=name == _PUBLISHED)


def default_token_classes(model: LanguageModel, language: str = "en") -> TokenClasses:
    """Return our own short lists for a language, matched to a model's vocabulary.

    Args:
        model: whose tokenizer is searched.
        language: an IETF tag; only its first part counts ("en-GB" is "en").

    Raises:
        ConfigError: there are no lists for this language.
        DataError: the vocabulary spells none of the language's words as single tokens.
    """
    known = _bundled()
    base = language.casefold().split("-")[0]
    if base not in known:
        raise ConfigError(
            f"There are no token lists for the language '{escape(language, 40)}'.",
            fix=f"{did_you_mean(base, known)} Or give a file of your own, or use auto.",
        )
    return _match(known[base], model, f"bundled {base}", f"The bundled lists '{base}'")


def token_list_languages() -> tuple[str, ...]:
    """Return the languages that have bundled lists."""
    return tuple(_bundled())


def _bundled() -> dict[str, dict[str, list[str]]]:
    file = resources.files("theodolite.mechanism.lens") / "token_lists.json"
    lists: dict[str, dict[str, list[str]]] = json.loads(file.read_text(encoding="utf-8"))
    return lists


def _lists(record: Mapping[str, Any], where: str) -> dict[str, list[str]]:
    """Return the distinct entries per class, in order, or name the field that is wrong."""
    for key in record:
        if key not in _KEYS:
            raise DataError(
                f"{where}: the field '{escape(str(key), 40)}' is unknown.",
                fix=did_you_mean(str(key), _KEYS),
            )
    lists: dict[str, list[str]] = {}
    for name in CLASSES:
        entries = record.get(name, [] if name == "neutral" else None)
        usable = isinstance(entries, list | tuple) and all(
            isinstance(entry, str) and entry.strip().rstrip("*") for entry in entries
        )
        if not usable or (not entries and name != "neutral"):
            raise DataError(
                f"{where}: '{name}' is not a list of words.",
                fix=f'Give at least one word: {{"{name}": ["word", "begin*"]}}.',
            )
        lists[name] = list(dict.fromkeys(entries))
    return lists


def _match(
    lists: Mapping[str, Sequence[str]],
    model: LanguageModel,
    name: str,
    where: str,
    *,
    published: bool = False,
) -> TokenClasses:
    """Find the tokens of each class: whole words first, then prefixes among what is left."""
    marks = _PUBLISHED_FRAGMENTS if published else {}
    patterns = {
        entry: marks.get(entry, entry).strip().casefold()
        for entries in lists.values()
        for entry in entries
    }
    owner = _owners(lists, patterns, where)
    starts = {p[:-1]: cls for p, cls in owner.items() if p.endswith("*")}
    ids: dict[str, list[int]] = {cls: [] for cls in CLASSES}
    met: set[str] = set()
    for token_id, word in enumerate(token_words(model)):
        if word is None:
            continue
        # The longest beginning decides, so that "unhappy*" may stand beside "un*".
        begun = max((s for s in starts if word.startswith(s)), key=len, default=None)
        found = word if word in owner else None if begun is None else f"{begun}*"
        if found is not None:
            met.add(found)
            ids[owner[found]].append(token_id)
    for cls in ("positive", "negative"):
        if not ids[cls]:
            raise DataError(
                f"{where}: no token of {escape(model.ref, 80)} spells a {cls} entry.",
                fix="List words that its tokenizer keeps whole, or learn the classes from replies.",
            )
    return _classes(
        ids,
        lists,
        name,
        unmatched=tuple(entry for entry, pattern in patterns.items() if pattern not in met),
        fragments=tuple(e for e, pattern in patterns.items() if pattern[-1] == "*" or e in marks),
    )


def _classes(
    ids: Mapping[str, Sequence[int]],
    entries: Mapping[str, Sequence[str]],
    name: str,
    *,
    unmatched: tuple[str, ...] = (),
    fragments: tuple[str, ...] = (),
) -> TokenClasses:
    return TokenClasses(
        positive=tuple(ids["positive"]),
        negative=tuple(ids["negative"]),
        neutral=tuple(ids["neutral"]),
        name=name,
        entries={cls: tuple(entries[cls]) for cls in CLASSES},
        unmatched=unmatched,
        fragments=fragments,
    )


def _owners(
    lists: Mapping[str, Sequence[str]], patterns: Mapping[str, str], where: str
) -> dict[str, str]:
    """Return the class of each pattern, or name the entry that stands in two."""
    owner: dict[str, str] = {}
    for cls, entries in lists.items():
        for entry in entries:
            first = owner.setdefault(patterns[entry], cls)
            if first != cls:
                raise DataError(
                    f"{where}: '{escape(entry, 40)}' stands in {first} and in {cls}.",
                    fix="Keep it in one list.",
                )
    return owner


def auto_token_classes(
    model: LanguageModel,
    harmful: Sequence[Prompt],
    benign: Sequence[Prompt],
    replies: Mapping[str, str] | None = None,
    *,
    top: int = 30,
    least: float = 1.0,
    prior: float = 10.0,
) -> TokenClasses:
    """Learn the classes from how a model begins its answers to harmful and benign requests.

    Source: log-odds with an informative Dirichlet prior, Monroe et al. 2008.

    Args:
        harmful, benign: requests used for nothing else (train prompts); what is then measured on
            the same prompts is circular.
        replies: completions by prompt id where they are at hand; else the greedy first token is
            read in one forward pass per prompt.
        top: most words per class.
        least: smallest |z| of the log-odds for a word to count.
        prior: imagined first words in all, spread as in both classes together.

    Returns: words that open answers to benign requests (positive) or to harmful ones (negative)
        more than to the others, best first in `entries`; undecided words are neutral. A first
        token that spells no word is kept by its id.

    Raises:
        DataError: a list of prompts is empty, a reply is missing, or the first words of both
            kinds of answers do not differ.
    """
    sides = {"benign": benign, "harmful": harmful}
    for label, prompts in sides.items():
        if not prompts:
            raise DataError(
                f"There are no {label} prompts to learn the token classes from.",
                fix="Give at least one prompt of each kind.",
            )
    words = token_words(model)
    first = {
        label: [_named(i, words) for i in _first_tokens(model, prompts, replies)]
        for label, prompts in sides.items()
    }
    chosen = _telling_words(first, top, least, prior)
    for cls in ("positive", "negative"):
        if not chosen[cls]:
            raise DataError(
                f"No first word marks a {cls} answer: answers of {escape(model.ref, 80)} to both "
                "kinds of requests begin alike.",
                fix="Give more prompts, or use a word list.",
            )
    ids: dict[str, list[int]] = {cls: [] for cls in CLASSES}
    owner = {word: cls for cls, found in chosen.items() for word in found}
    for token_id in range(len(words)):
        if (word := _named(token_id, words)) in owner:
            ids[owner[word]].append(token_id)
    name = f"learnt from {len(benign)} benign and {len(harmful)} harmful requests"
    return _classes(ids, chosen, name)


def _telling_words(
    first: Mapping[str, Sequence[str]], top: int, least: float, prior: float
) -> dict[str, list[str]]:
    """Return the words per class by their log-odds, the most telling first."""
    known = list(dict.fromkeys([*first["benign"], *first["harmful"]]))
    counts = np.array([[first[side].count(w) for w in known] for side in ("benign", "harmful")])
    z = dict(zip(known, dirichlet_log_odds(counts.astype(float), prior).tolist()))
    order = sorted(known, key=lambda word: (-abs(z[word]), word))
    chosen = {
        "positive": [word for word in order if z[word] >= least][:top],
        "negative": [word for word in order if z[word] <= -least][:top],
    }
    decided = {*chosen["positive"], *chosen["negative"]}
    return {**chosen, "neutral": [word for word in order if word not in decided]}


def dirichlet_log_odds(counts: NDArray[np.float64], prior: float) -> NDArray[np.float64]:
    """Return the z-score of each word's log-odds in the first class against the second.

    Source: Monroe et al. 2008, equations 16 to 22, with the pooled shares as prior.

    Args:
        counts: how often each word occurs, axes (class, word); two classes, each word in one.
        prior: pseudo-counts in all.
    """
    if counts.shape[1] == 1:  # a word that is all there is has no odds
        return np.zeros(1)
    with_prior = counts + prior * counts.sum(0) / counts.sum()
    odds = with_prior / (with_prior.sum(1, keepdims=True) - with_prior)
    spread = np.sqrt((1 / with_prior).sum(0))
    return np.asarray((np.log(odds[0]) - np.log(odds[1])) / spread)


def _named(token_id: int, words: Sequence[str | None]) -> str:
    """Return the word of a token, or its id where it spells none."""
    word = words[token_id] if token_id < len(words) else None
    return f"#{token_id}" if word is None else word


def _first_tokens(
    model: LanguageModel, prompts: Sequence[Prompt], replies: Mapping[str, str] | None
) -> list[int]:
    """Return the first token of each prompt's answer, as given or as greedily begun."""
    from theodolite.engine import next_token

    if replies is None:
        return [int(i) for i in next_token(model, prompts).argmax(1)]
    found = []
    for prompt in prompts:
        ids = model.tokenizer.encode(replies.get(prompt.id, ""), add_special_tokens=False)
        if not ids:
            raise DataError(
                f"Prompt '{escape(prompt.id, 80)}' has no reply.",
                fix="Give a reply for every prompt, or none at all.",
            )
        found.append(int(ids[0]))
    return found
