"""Download official files: https only, bounded, hash-checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from theodolite.data.catalogue import OK, data_dir, find, how_to_get, inspect
from theodolite.data.official_files import OfficialFile
from theodolite.errors import DataError
from theodolite.text.display import escape

CHUNK: Final = 1 << 16
TIMEOUT_SECONDS: Final = 30.0
# Plain http is allowed to this machine only: mirrors and tests.
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class _RefuseUnsafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only where a first request would have been allowed."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(
    name: str | OfficialFile,
    dest: Path | None = None,
    *,
    on_bytes: Callable[[int], None] | None = None,
) -> Path:
    """Return the path of an official file, downloaded if it is not there yet.

    Args:
        name: `<part>/<file>` or a row of the table.
        dest: the data folder; default `data_dir()`. The file lands in `<dest>/<part>/<file>`.
        on_bytes: called with the number of bytes after every piece, for a progress bar.

    Raises:
        DataError: the name is unknown, the file cannot be downloaded, or what came is not the
            official file; nothing is left behind then.
    """
    file = find(name) if isinstance(name, str) else name
    root = dest or data_dir()
    state = inspect(file, root=root)
    if state.status == OK:
        return state.path
    if not file.urls:
        raise DataError(f"{file.name} cannot be downloaded.", fix=how_to_get(file))
    problems = []
    for url in file.urls:
        try:
            _download(url, file, state.path, on_bytes)
        except DataError as error:
            problems.append(error.message)
        else:
            return state.path
    raise DataError(
        " ".join(problems),
        fix=f"Check the connection, or put the file at {escape(str(state.path), 300)} by hand.",
    )


def check_url(url: str) -> None:
    """Refuse an address that is not https (or http on this machine)."""
    parsed = urllib.parse.urlsplit(url)
    local = parsed.scheme == "http" and parsed.hostname in LOOPBACK
    if parsed.scheme != "https" and not local:
        raise DataError(f"The address {escape(url, 200)} is not https.")


def _download(
    url: str, file: OfficialFile, path: Path, on_bytes: Callable[[int], None] | None
) -> None:
    """Write the file through a temporary neighbour, so that a broken download leaves no trace."""
    check_url(url)
    opener = urllib.request.build_opener(_RefuseUnsafeRedirects)
    request = urllib.request.Request(url, headers={"User-Agent": "theodolite"})  # noqa: S310
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            opener.open(request, timeout=TIMEOUT_SECONDS) as response,
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=".fetch-", delete=False) as out,
        ):
            temporary = Path(out.name)
            digest, size = hashlib.sha256(), 0
            while chunk := response.read(CHUNK):
                size += len(chunk)
                if size > file.size:
                    break
                digest.update(chunk)
                out.write(chunk)
                if on_bytes is not None:
                    on_bytes(len(chunk))
            out.flush()
            os.fsync(out.fileno())
        if size != file.size or digest.hexdigest() != file.sha256:
            raise DataError(f"What {escape(url, 200)} sent is not the official {file.name}.")
        temporary.replace(path)
    except (OSError, HTTPException, ValueError) as error:
        reason = escape(str(getattr(error, "reason", None) or error), 120)
        raise DataError(f"{escape(url, 200)} cannot be downloaded ({reason}).") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
