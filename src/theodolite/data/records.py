"""Files to records: jsonl, json, csv, tsv, parquet and txt, with the line of every record."""

from __future__ import annotations

import csv
import io
import json
import math
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from theodolite.data.prompts import shown
from theodolite.errors import DataError
from theodolite.text.display import escape
from theodolite.text.suggest import nearest

MAX_FILE_BYTES: Final = 512 << 20
MAX_LINE_CHARS: Final = 8 << 20
MAX_ROWS: Final = 2_000_000
MAX_DEPTH: Final = 50
BOMS: Final = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class Record(NamedTuple):
    """One record of a file.

    Args:
        line: where it begins, counted from 1; the row number in formats without lines.
        values: column -> value.
    """

    line: int
    values: dict[str, Any]


class Place(NamedTuple):
    """Where in a file something is wrong; builds the one-sentence error that says so."""

    path: Path
    line: int | None = None
    field: str | None = None

    @property
    def unit(self) -> str:
        """What `line` counts in this format."""
        return "row" if self.path.suffix.lower() in ROW_FORMATS else "line"

    def error(self, problem: str, fix: str = "") -> DataError:
        """Return a DataError naming file, line and field."""
        where = escape(str(self.path), 300)
        if self.line is not None:
            where += f", {self.unit} {self.line}"
        if self.field is not None:
            where += f", field {shown(self.field)}"
        return DataError(f"{where}: {problem}", fix=fix)


def read_records(path: Path) -> list[Record]:
    """Return the records of a data file in order; its ending names the format.

    Args:
        path: a .jsonl, .json (one array), .csv, .tsv, .parquet or .txt file; text is UTF-8, with or
            without a byte order mark, and lines end in LF or CRLF.

    Raises:
        DataError: the file is missing, empty, too large, of another format or encoding, or broken;
            the message names file and line.
    """
    return parse_records(path, read_bytes(path))


def parse_records(path: Path, data: bytes) -> list[Record]:
    """Return the records of a file whose bytes are already read; see `read_records`."""
    parse = FORMATS.get(path.suffix.lower())
    if parse is None:
        raise Place(path).error(
            f"the ending {shown(path.suffix)} is not one that can be read.",
            fix=f"Use {', '.join(FORMATS)}.",
        )
    if not data.strip():
        raise Place(path).error("the file is empty.")
    records = []
    for record in parse(path, data):
        records.append(record)
        if len(records) > MAX_ROWS:
            raise Place(path).error(f"the file has more than {MAX_ROWS:,} rows.", "Split the file.")
    if not records:
        raise Place(path).error("the file has no rows.")
    return records


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file of bounded size."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Place(path).error("this is not a file.")
        if status.st_size > MAX_FILE_BYTES:
            raise Place(path).error(
                f"the file has {status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}.",
                "Split the file.",
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        near = _neighbour(path)
        raise Place(path).error(
            "there is no such file.", f"Did you mean {shown(near)}?" if near else ""
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Place(path).error(f"the file cannot be read ({escape(str(reason), 120)}).") from None


def _neighbour(path: Path) -> str | None:
    if not path.parent.is_dir():
        return None
    return nearest(path.name, sorted(p.name for p in path.parent.iterdir()))


def decode(path: Path, data: bytes) -> str:
    """Return UTF-8 bytes as text without the byte order mark; names the first bad byte."""
    if data[:2] in BOMS:
        raise Place(path, 1).error(f"the file is {BOMS[data[:2]]}, not UTF-8.", "Save it as UTF-8.")
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Place(path, line).error(
            f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8.", "Save it as UTF-8."
        ) from None


def _lines(path: Path, data: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank with their numbers; only LF and CRLF end a line."""
    for number, raw in enumerate(decode(path, data).split("\n"), 1):
        line = raw.removesuffix("\r")
        if len(line) > MAX_LINE_CHARS:
            raise Place(path, number).error(
                f"the line has {len(line):,} characters, more than {MAX_LINE_CHARS:,}."
            )
        if line.strip():
            yield number, line


def _txt(path: Path, data: bytes) -> Iterator[Record]:
    for number, line in _lines(path, data):
        yield Record(number, {"text": line})


def _jsonl(path: Path, data: bytes) -> Iterator[Record]:
    for number, line in _lines(path, data):
        yield Record(number, _object(Place(path, number), load_json(Place(path, number), line)))


def _json(path: Path, data: bytes) -> Iterator[Record]:
    values = load_json(Place(path), decode(path, data))
    if not isinstance(values, list):
        raise Place(path).error(
            f"the file holds one {_kind(values)} where a list of objects is needed.",
            "Use .jsonl for one object per line.",
        )
    for row, value in enumerate(values):
        yield Record(row, _object(Place(path, row), value))


def _object(place: Place, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"this is a {_kind(value)} where an object is needed.")
    return value


def load_json(place: Place, text: str) -> Any:
    """Return the value of a JSON text; refuses what cannot be written back as UTF-8 JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        # Only an escape can smuggle half a surrogate pair into text that was valid UTF-8.
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        column = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else ""
        raise place.error(
            f"broken JSON at {column or f'column {error.colno}'} ({escape(error.msg, 80)})."
        ) from None
    except UnicodeEncodeError:
        raise place.error("a \\u escape is half of a surrogate pair.") from None
    except (ValueError, RecursionError) as error:
        raise place.error(f"broken JSON ({escape(str(error), 80)}).") from None
    if _deeper_than(value, MAX_DEPTH):
        raise place.error(f"the JSON is nested more than {MAX_DEPTH} levels deep.")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _deeper_than(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(
        _deeper_than(item, depth - 1) for item in inner if isinstance(item, dict | list)
    )


def _csv(path: Path, data: bytes) -> Iterator[Record]:
    """Yield the rows below the header; a quoted cell may hold line ends.

    Rows may be shorter than the header (public files leave out empty cells at the end), not longer.
    """
    reader = csv.reader(io.StringIO(decode(path, data), newline=""), strict=True)
    header: list[str] = []
    begin = 1
    try:
        for cells in reader:
            place, begin = Place(path, begin), reader.line_num + 1
            if not header:
                header = _checked_header(place, cells)
            elif cells:
                yield Record(place.line or 0, _cells(place, header, cells))
    except csv.Error as error:
        raise Place(path, begin).error(f"broken CSV ({escape(str(error), 120)}).") from None


def _tsv(path: Path, data: bytes) -> Iterator[Record]:
    """Yield the rows below the header; cells are never quoted, as corpora write them."""
    header: list[str] = []
    for number, line in _lines(path, data):
        place, cells = Place(path, number), line.split("\t")
        if not header:
            header = _checked_header(place, cells)
        else:
            yield Record(number, _cells(place, header, cells))


def _cells(place: Place, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) > len(header):
        raise place.error(
            f"the row has {len(cells)} cells but the header has {len(header)}.",
            "Quote cells that hold the separator.",
        )
    return dict(zip(header, cells))


def _checked_header(place: Place, cells: list[str]) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice:
        raise place.error(f"the header names {shown(twice[0])} twice.", "Rename one column.")
    return cells


def _parquet(path: Path, data: bytes) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
        shape = file.metadata
        size = sum(shape.row_group(i).total_byte_size for i in range(shape.num_row_groups))
        if shape.num_rows > MAX_ROWS or size > MAX_FILE_BYTES:
            raise Place(path).error(
                f"the file has {shape.num_rows:,} rows, {size:,} bytes unpacked."
            )
        rows = file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Place(path).error(f"broken parquet ({escape(reason, 120)}).") from None
    for number, row in enumerate(rows):
        try:
            yield Record(number, {key: _plain(value) for key, value in row.items()})
        except UnicodeDecodeError:
            raise Place(path, number).error(
                "a cell holds binary data.", "Leave that column out of the file."
            ) from None


def _plain(value: Any) -> Any:
    """Return a parquet cell as a JSON value; NaN is how data frames write a missing cell."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, str | int) else str(value)


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


FORMATS: Final[dict[str, Callable[[Path, bytes], Iterator[Record]]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".txt": _txt,
}
ROW_FORMATS: Final = frozenset({".json", ".parquet"})
