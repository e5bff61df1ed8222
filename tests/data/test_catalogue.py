"""The catalogue: every row is well formed, and what lies in the data folder is checked by hash."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

import pytest

from theodolite.data import catalogue
from theodolite.data.fetch import check_url
from theodolite.data.official_files import FILES, OfficialFile, Origin
from theodolite.data.readers import read_prompts
from theodolite.errors import DataError

OFFICIAL = os.environ.get("THEODOLITE_DATA")
CONTENT = b"goal\none\ntwo\n"


def row(name: str = "part/small.csv", **values: object) -> OfficialFile:
    digest = hashlib.sha256(CONTENT).hexdigest()
    return OfficialFile(name, len(CONTENT), 2, digest, Origin("a/b", "c0ffee", "MIT"), **values)


@pytest.fixture
def small_table(monkeypatch, tmp_path) -> Path:
    files = (
        row(path="small.csv", source="src", label="harmful"),
        row("part/made.csv", how="Join."),
    )
    monkeypatch.setattr(catalogue, "FILES", files)
    monkeypatch.setenv(catalogue.DATA_VARIABLE, str(tmp_path))
    (tmp_path / "part").mkdir()
    return tmp_path


def test_every_row_is_well_formed() -> None:
    assert len({file.name for file in FILES}) == len({file.sha256 for file in FILES}) == len(FILES)
    wanted = {
        "refusal",
        "safety-heads",
        "hidden-state-probes",
        "course-correction",
        "perspective-taking",
    }
    assert wanted <= set(catalogue.parts())
    for file in FILES:
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256), file.name
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", file.name) and ".." not in file.name
        assert file.size > 0 and file.origin.licence and bool(file.path) != bool(file.how)
        assert re.fullmatch(r"[0-9a-f]{7,40}", file.origin.commit)
        assert re.fullmatch(r"\d{4}\.\d{5}", file.origin.arxiv)
        for url in file.urls:
            check_url(url)
            assert url.startswith("https://raw.githubusercontent.com/")
            assert ".." not in PurePosixPath(url).parts
        ends = [(r.first, r.last) for r in file.ranges]
        if ends:
            covered = [i for first, last in ends for i in range(first, last + 1)]
            assert covered == list(range(file.rows or 0))


def test_sources_of_rows() -> None:
    file = catalogue.find("hidden-state-probes/malicious_prompt")
    names = [file.source_of(i) for i in (0, 519, 520, 865, 866, 965, 966)]
    assert names == [
        "advbench",
        "advbench",
        "strongreject-early",
        "strongreject-early",
        "jailbreakbench",
        "jailbreakbench",
        None,
    ]


def test_names() -> None:
    assert catalogue.find("refusal/xstest_prompts").name == "refusal/xstest_prompts.csv"
    assert len(catalogue.select("refusal")) == 3
    assert catalogue.select("all") == FILES
    assert catalogue.select("refusal/xstest_prompts.csv")[0].size == 38719
    with pytest.raises(DataError, match=r"Did you mean `refusal/xstest_prompts\.csv`"):
        catalogue.official("refusal/xstest_promts")
    with pytest.raises(DataError, match=r"no part 'refusals'.*Did you mean `refusal`"):
        catalogue.select("refusals")


def test_a_missing_file_says_how_to_get_it(small_table) -> None:
    with pytest.raises(DataError, match=r"is not there. Set THEODOLITE_DATA .* data fetch part`"):
        catalogue.official("part/small")
    with pytest.raises(DataError, match=r"Set THEODOLITE_DATA .* derived from a/b: Join."):
        catalogue.official("part/made")


def test_a_good_and_a_changed_file(small_table) -> None:
    path = small_table / "part/small.csv"
    path.write_bytes(CONTENT)
    assert catalogue.official("part/small") == path
    assert [s.status for s in catalogue.check()] == ["ok", "missing"]
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(DataError, match="not the official one: its size is 14 and not 13 bytes"):
        catalogue.official("part/small.csv")
    path.write_bytes(CONTENT.replace(b"one", b"eno"))
    (state, _) = catalogue.check("part")
    assert state.status == "changed" and "SHA-256 begins with" in state.detail


def test_an_official_file_is_known_by_its_content(small_table) -> None:
    elsewhere = small_table / "renamed.csv"
    elsewhere.write_bytes(CONTENT)
    assert read_prompts(elsewhere).values("source") == ("src",)
    assert read_prompts(elsewhere).values("label") == ("harmful",)
    assert read_prompts(elsewhere, source="given").values("source") == ("given",)
    elsewhere.write_bytes(CONTENT.replace(b"one", b"eno"))
    assert read_prompts(elsewhere).values("label") == ()


def test_the_data_folder(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv(catalogue.DATA_VARIABLE, str(tmp_path / "mine"))
    assert catalogue.data_dir() == tmp_path / "mine"
    monkeypatch.delenv(catalogue.DATA_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert catalogue.data_dir() == tmp_path / "theodolite" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert catalogue.data_dir() == Path.home() / ".cache" / "theodolite" / "data"


@pytest.mark.skipif(not OFFICIAL, reason="THEODOLITE_DATA is not set")
def test_the_delivered_files_are_the_official_ones() -> None:
    states = catalogue.check(root=Path(OFFICIAL or ""))
    assert [s.file.name for s in states if s.status != "ok"] == []
