"""What is known of one official file: where it comes from and how it is recognised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where the files of a part come from.

    Args:
        project: owner/name of the public GitHub repository.
        commit: the commit at which its files have the hashes of the table.
        licence: what the repository or the data's authors state.
        arxiv: the paper's arXiv id, or "".
    """

    project: str
    commit: str
    licence: str
    arxiv: str = ""

    def url(self, path: str) -> str:
        """Return the address of one file at the pinned commit."""
        return f"https://raw.githubusercontent.com/{self.project}/{self.commit}/{path}"


@dataclass(frozen=True)
class Rows:
    """A run of rows that came from one collection.

    Args:
        first: the first row, counted from 0.
        last: the last row, included.
        source: a short name of the collection.
    """

    first: int
    last: int
    source: str


@dataclass(frozen=True)
class OfficialFile:
    """One official file.

    Args:
        name: `<part>/<file>`, its place under the data folder.
        size: bytes.
        rows: records, or None where the file is not a table.
        sha256: of the whole file.
        origin: the repository it comes from.
        path: its path there; "" for a file derived from it, which `how` describes.
        how: how a derived file is made.
        source: the collection of all its prompts, where there is one.
        ranges: the collections of its rows, where there are several.
        label: the label of all its prompts, where the file itself does not say.
        mirrors: further addresses of the same bytes.
    """

    name: str
    size: int
    rows: int | None
    sha256: str
    origin: Origin
    path: str = ""
    how: str = ""
    source: str = ""
    ranges: tuple[Rows, ...] = ()
    label: str | None = None
    mirrors: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """The folder it lies in."""
        return self.name.split("/")[0]

    @property
    def urls(self) -> tuple[str, ...]:
        """Every address it can be downloaded from; none for a derived file."""
        return ((self.origin.url(self.path),) if self.path else ()) + self.mirrors

    def source_of(self, row: int) -> str | None:
        """Return the collection that a row (counted from 0) came from."""
        for rows in self.ranges:
            if rows.first <= row <= rows.last:
                return rows.source
        return self.source or None
