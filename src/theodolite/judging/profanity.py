"""The scorer `alt_profanity`: a linear word model that comes in the wheel alt-profanity-check.

TF-IDF of single words, a linear SVM in five folds, each fold's margin turned into a probability by
its own logistic curve, and the mean of the five. The wheel is a container only: it is found but
never imported, its two files must have the hashes written here, and what they hold is read without
running anything in them (`inert_pickle`) and kept in the cache as safetensors. So the package's own
pins (of scikit-learn and joblib) bind nobody, and scoring needs numpy alone.

The weights are not part of this project: they were trained partly on comments from Wikipedia, whose
text is copyleft.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from theodolite.errors import DataError, ScorerUnavailable
from theodolite.judging.inert_pickle import read_inert
from theodolite.judging.toxicity import Kind
from theodolite.models.cache import build_once, cache_root
from theodolite.text.display import escape

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

NAME: Final = "alt_profanity"
VERSION: Final = "1.9.1"
REQUIREMENT: Final = f"alt-profanity-check=={VERSION}"
INSTALL: Final = f"pip install --no-deps {REQUIREMENT}"
_PACKAGE: Final = "profanity_check"
# The files inside the package, with their SHA-256.
VECTORISER: Final = (
    "data/vectorizer.joblib",
    "19c5200dc6a41f026e0558e2f164f5fe8d8f58e502b46b37e4385037fcfa4831",
)
MODEL: Final = (
    "data/model.joblib",
    "aeafc04849d4d93db4721cf30a86ebf22085595294b8a07d51918e7fa98f538b",
)
# Of the numbers and words after reading; raised by hand with the version.
CONTENT: Final = "4fc2f9e45a556c0ee9e39c82146f0b2b4f9567bc033b5e8138edcdeaa9699435"
_FILE: Final = "model.safetensors"
_AT_ONCE: Final = 4096  # texts
_WORD: Final = re.compile(r"\b\w\w+\b")
_EXPECTED: Final[Mapping[str, Any]] = {
    "lowercase": True,
    "strip_accents": None,
    "analyzer": "word",
    "token_pattern": r"(?u)\b\w\w+\b",
    "ngram_range": (1, 1),
    "binary": False,
}


@dataclass(frozen=True)
class ProfanityWeights:
    """The word model.

    Args:
        terms: the words it knows, lower case; stop words are not among them.
        idf: weight of each word's count, axis (term).
        coefficients: of the margin, axes (fold, term).
        intercepts: of the margin, axis (fold).
        slopes, offsets: a fold's probability is 1 / (1 + exp(slope margin + offset)); axis (fold).
    """

    terms: tuple[str, ...]
    idf: Floats
    coefficients: Floats
    intercepts: Floats
    slopes: Floats
    offsets: Floats

    @cached_property
    def place(self) -> dict[str, int]:
        """Return term -> its place."""
        return {term: i for i, term in enumerate(self.terms)}

    @cached_property
    def content(self) -> str:
        """The SHA-256 of all numbers and words."""
        digest = hashlib.sha256("\n".join(self.terms).encode())
        for name in _ARRAYS:
            digest.update(np.ascontiguousarray(getattr(self, name), "<f8").tobytes())
        return digest.hexdigest()


_ARRAYS: Final = ("idf", "coefficients", "intercepts", "slopes", "offsets")


class ProfanityScorer:
    """Scores texts by the words they hold.

    Args:
        weights: the model; `load_weights` gives the package's.
        name, version: what the scorer is called in its id.
    """

    kind: Kind = "lexical"
    blind_spots = (
        "Knows single English words alone: blind to polite hate, threats in plain words, spelling "
        "tricks and other languages, and it calls any use of a swear word toxic."
    )

    def __init__(
        self, weights: ProfanityWeights, *, name: str = NAME, version: str = VERSION
    ) -> None:
        self.weights = weights
        self.id = f"{name}@{version}-{weights.content[:8]}"

    def score(self, texts: Sequence[str]) -> list[float]:
        """Return the probability that each text is offensive, axis (text), in [0, 1]."""
        found: list[float] = (1 / (1 + np.exp(-self._log_odds(texts)))).mean(axis=1).tolist()
        return found

    def linear_score(self, texts: Sequence[str]) -> list[float]:
        """Return the log-odds of each text, mean over the folds: what `linear_terms` explains."""
        found: list[float] = self._log_odds(texts).mean(axis=1).tolist()
        return found

    def linear_terms(self, text: str) -> dict[str, tuple[float, float]]:
        """Return word -> (coefficient, value) of the words of a text that the model knows.

        The sum of coefficient times value, plus a constant, is `linear_score`.
        """
        _, places, values = self._features([text])
        terms = [self.weights.terms[place] for place in places]
        coefficients = self._by_term[places].mean(axis=1)
        return dict(zip(terms, zip(coefficients.tolist(), values.tolist())))

    @cached_property
    def _by_term(self) -> Floats:
        """Coefficients of the log-odds, axes (term, fold); rows lie together in memory."""
        weights = self.weights
        return np.ascontiguousarray(-(weights.slopes[:, None] * weights.coefficients).T)

    def _log_odds(self, texts: Sequence[str]) -> Floats:
        """Return the log-odds of each text under each fold, axes (text, fold)."""
        weights = self.weights
        found = np.tile(-(weights.slopes * weights.intercepts + weights.offsets), (len(texts), 1))
        for start in range(0, len(texts), _AT_ONCE):
            rows, places, values = self._features(texts[start : start + _AT_ONCE])
            np.add.at(
                found[start : start + _AT_ONCE], rows, self._by_term[places] * values[:, None]
            )
        return found

    def _features(self, texts: Sequence[str]) -> tuple[Places, Places, Floats]:
        """Return the text, the place and the TF-IDF value of every known word, texts of length one.

        Axis (word of a text), each word once per text.
        """
        place, size = self.weights.place, len(self.weights.terms)
        keys: list[int] = []
        for row, text in enumerate(texts):
            words = _WORD.findall(text.lower())
            keys += [row * size + place[word] for word in words if word in place]
        once, counts = np.unique(np.array(keys, np.int64), return_counts=True)
        rows, places = np.divmod(once, size)
        values = counts * self.weights.idf[places]
        lengths = np.sqrt(np.bincount(rows, values**2, minlength=len(texts)))
        return rows, places, values / lengths[rows]


def load_weights() -> ProfanityWeights:
    """Return the weights of the installed package, read once and then kept in the cache.

    Raises:
        ScorerUnavailable: the package is not installed, is another version, or was changed.
        DataError: the cached weights were changed.
    """
    folder = build_once(cache_root() / "scorers" / f"{NAME}-{VERSION}-{CONTENT[:16]}", _convert)
    weights = _read(folder / _FILE)
    if weights.content != CONTENT:
        raise DataError(
            f"The cached weights in {escape(str(folder), 200)} are not those they should be.",
            fix="Delete that folder; it is made again.",
        )
    return weights


def _convert(folder: Path) -> None:
    """Write the package's weights as safetensors into a folder."""
    from safetensors.numpy import save_file

    weights = weights_of(_checked(*VECTORISER), _checked(*MODEL))
    terms = np.frombuffer("\n".join(weights.terms).encode(), np.uint8)
    arrays = {name: getattr(weights, name) for name in _ARRAYS}
    save_file({"terms": terms, **arrays}, folder / _FILE)


def _read(path: Path) -> ProfanityWeights:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        stored = load_file(path)
        terms = tuple(stored.pop("terms").tobytes().decode().split("\n"))
        return ProfanityWeights(terms, **stored)
    except (OSError, SafetensorError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(
            f"The cached weights {escape(str(path), 200)} cannot be read.",
            fix="Delete their folder; it is made again.",
        ) from error


def _checked(file: str, sha256: str) -> bytes:
    """Return the bytes of a file of the installed package if they have the hash written here."""
    spec = find_spec(_PACKAGE)
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    path = next((place / file for place in places if (place / file).is_file()), None)
    if path is None:
        raise ScorerUnavailable(
            f"The scorer {NAME} is not available: the package {REQUIREMENT} is not installed.",
            fix=f"Run: {INSTALL}",
        )
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ScorerUnavailable(
            f"The scorer {NAME} is not available: {escape(str(path), 200)} is not that of "
            f"{REQUIREMENT}.",
            fix=f"Run: {INSTALL} --force-reinstall",
        )
    return data


def weights_of(vectoriser: bytes, model: bytes) -> ProfanityWeights:
    """Return the weights that the two files of the package hold.

    Args:
        vectoriser, model: their bytes.

    Raises: DataError: they hold no model of the form described above.
    """
    words, machine = read_inert(vectoriser), read_inert(model)
    try:
        _refuse_other_settings(words.state, machine.state)
        places: dict[str, int] = words.state["vocabulary_"]
        folds = [fold.state for fold in machine.state["calibrated_classifiers_"]]
        curves = [fold["calibrators"][0].state for fold in folds]
        terms = sorted(places, key=lambda term: places[term])
        if [places[term] for term in terms] != list(range(len(terms))):
            raise ValueError("the words are not numbered in a row")
        return ProfanityWeights(
            terms=tuple(terms),
            idf=words.state["_tfidf"].state["idf_"],
            coefficients=np.stack([f["estimator"].state["coef_"][0] for f in folds]),
            intercepts=np.array([f["estimator"].state["intercept_"][0] for f in folds]),
            slopes=np.array([curve["a_"] for curve in curves]),
            offsets=np.array([curve["b_"] for curve in curves]),
        )
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"The files of {REQUIREMENT} hold another model than expected "
            f"({escape(str(error), 120)}).",
            fix=f"Run: {INSTALL} --force-reinstall",
        ) from error


def _refuse_other_settings(words: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
    """Refuse a model whose settings are not those that are computed here."""
    found = {name: words[name] for name in _EXPECTED}
    tfidf = words["_tfidf"].state
    how = (tfidf["norm"], tfidf["use_idf"], tfidf["sublinear_tf"], machine["method"])
    if found != dict(_EXPECTED) or how != ("l2", True, False, "sigmoid"):
        raise ValueError("its settings differ")
    if list(machine["classes_"]) != [0, 1]:
        raise ValueError("its classes are not 0 and 1")
