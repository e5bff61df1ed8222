"""Downloads, against a server on this machine: whole and verified, or nothing and one sentence."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from theodolite.data.fetch import check_url, fetch
from theodolite.data.official_files import OfficialFile, Origin
from theodolite.errors import DataError

CONTENT = bytes(range(256)) * 600


class Handler(BaseHTTPRequestHandler):
    hits: list[str]

    def do_GET(self) -> None:
        type(self).hits.append(self.path)
        if self.path == "/moved":
            return self.answer(302, b"", Location="/good")
        if self.path == "/unsafe":
            return self.answer(302, b"", Location="http://example.invalid/good")
        if self.path == "/local":
            return self.answer(302, b"", Location="file:///etc/hostname")
        bodies = {
            "/good": CONTENT,
            "/long": CONTENT * 40,
            "/short": CONTENT[:-1],
            "/other": CONTENT[::-1],
        }
        body = bodies.get(self.path)
        return self.answer(404, b"") if body is None else self.answer(200, body)

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        length = len(body) + (100 if self.path == "/short" else 0)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture
def server(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    Handler.hits = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def row(*urls: str) -> OfficialFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    origin = Origin("a/b", "c0ffee", "MIT")
    return OfficialFile("part/f.bin", len(CONTENT), None, digest, origin, how="x", mirrors=urls)


def left_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_good_download(server, tmp_path) -> None:
    pieces: list[int] = []
    path = fetch(row(f"{server}/good"), tmp_path, on_bytes=pieces.append)
    assert path == tmp_path / "part/f.bin" and path.read_bytes() == CONTENT
    assert sum(pieces) == len(CONTENT) and left_in(tmp_path) == ["part/f.bin"]
    assert fetch(row(f"{server}/good"), tmp_path) == path
    assert Handler.hits == ["/good"]


def test_a_changed_file_is_replaced_and_a_mirror_stands_in(server, tmp_path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part/f.bin").write_bytes(b"old")
    path = fetch(row(f"{server}/gone", f"{server}/moved"), tmp_path)
    assert path.read_bytes() == CONTENT
    assert Handler.hits == ["/gone", "/moved", "/good"]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("gone", "cannot be downloaded (Not Found)"),
        ("long", "is not the official part/f.bin"),
        ("short", "is not the official part/f.bin"),
        ("other", "is not the official part/f.bin"),
        ("unsafe", "The address http://example.invalid/good is not https."),
        ("local", "is not allowed"),
    ],
)
def test_a_bad_download_leaves_nothing(page, expected, server, tmp_path) -> None:
    with pytest.raises(DataError) as caught:
        fetch(row(f"{server}/{page}"), tmp_path)
    assert expected in str(caught.value)
    assert left_in(tmp_path) == []


def test_a_bad_download_leaves_the_old_file(server, tmp_path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part/f.bin").write_bytes(b"old")
    with pytest.raises(DataError):
        fetch(row(f"{server}/other"), tmp_path)
    assert (tmp_path / "part/f.bin").read_bytes() == b"old"
    assert left_in(tmp_path) == ["part/f.bin"]


def test_more_than_the_known_size_is_not_even_read(server, tmp_path) -> None:
    pieces: list[int] = []
    with pytest.raises(DataError):
        fetch(row(f"{server}/long"), tmp_path, on_bytes=pieces.append)
    assert sum(pieces) <= len(CONTENT)


def test_nobody_answers(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=r"Connection refused.*by hand"):
        fetch(row("http://127.0.0.1:9/x"), tmp_path)
    assert left_in(tmp_path) == []


def test_what_cannot_be_downloaded(tmp_path) -> None:
    with pytest.raises(DataError, match=r"cannot be downloaded\. Set THEODOLITE_DATA"):
        fetch("refusal/xstest_completions_llama2new", tmp_path)
    with pytest.raises(DataError, match="no official file"):
        fetch("refusal/nothing", tmp_path)


@pytest.mark.parametrize("url", ["http://example.org/x", "file:///etc/passwd", "ftp://x/y", "x"])
def test_only_https(url) -> None:
    with pytest.raises(DataError, match="is not https"):
        check_url(url)
