"""Documents of a local folder, ranked by BM25 for a question.

Source: Robertson and Zaragoza, `The Probabilistic Relevance Framework: BM25 and Beyond` (2009).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from theodolite.data.debates import Document
from theodolite.data.prompts import shown
from theodolite.data.records import read_bytes
from theodolite.errors import DataError

K1: Final = 1.5
B: Final = 0.75
WORD: Final = r"(?u)\b\w+\b"
ENDINGS: Final = (".txt", ".md")
MOST_FILES: Final = 100_000


def read_folder(folder: Path | str) -> list[Document]:
    """Return the texts of a folder, `.txt` and `.md`, in order of their names.

    A file's first line is its title, what follows its text; a file of one line is both.

    Raises:
        DataError: there is no such folder, or it holds no text.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"There is no folder {shown(str(folder))}.", fix="Give one of texts.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    found = []
    for path in paths[:MOST_FILES]:
        text = read_bytes(path).decode("utf-8", errors="replace").strip()
        title, _, rest = text.partition("\n")
        if title.strip():
            name = str(path.relative_to(folder))
            title = title.lstrip("# ").strip() or name
            found.append(Document(title, rest.strip() or title, id=name))
    if not found:
        raise DataError(
            f"The folder {shown(str(folder))} holds no text.", fix="Put .txt or .md files there."
        )
    return found


class Index:
    """BM25 over the title and the words of documents.

    Args:
        documents: at least one.

    Raises:
        DataError: no document holds a word.
    """

    def __init__(self, documents: Sequence[Document]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self.documents = list(documents)
        self._words = CountVectorizer(token_pattern=WORD)
        texts = [f"{d.title} {d.text}" for d in self.documents]
        if not any(re.search(WORD, text) for text in texts):
            raise DataError("No document holds a word.", fix="Give documents of text.")
        counts: Any = self._words.fit_transform(texts)
        lengths = np.asarray(counts.sum(axis=1), np.float64)
        scale = K1 * (1 - B + B * lengths / lengths.mean())
        counts = counts.tocoo()
        holding = np.bincount(counts.col, minlength=counts.shape[1])
        rarity = np.log1p((len(self.documents) - holding + 0.5) / (holding + 0.5))
        value = counts.data * (K1 + 1) / (counts.data + scale[counts.row, 0])
        counts.data = value * rarity[counts.col]
        self._weights = counts.tocsr()

    def scores(self, question: str) -> np.ndarray:
        """Return how well each document fits a question; axis (document)."""
        asked: Any = self._words.transform([question])
        asked.data[:] = 1
        return np.asarray((self._weights @ asked.T).todense(), np.float64)[:, 0]

    def best(self, question: str, count: int) -> list[Document]:
        """Return the best documents, best first; those that share no word are left out."""
        scores = self.scores(question)
        order = np.argsort(-scores, kind="stable")[:count]
        return [self.documents[i] for i in order if scores[i] > 0]
