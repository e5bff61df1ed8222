"""The whole file: self-contained, small, hostile text inert, written whole or not at all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report import hostile
from tests.report.demo import demo_report
from theodolite.errors import RunError
from theodolite.measure.measurement import Measurement
from theodolite.report import Report, ReportPanel, render_report
from theodolite.report import page as page_module
from theodolite.report.budget import LARGEST_REPORT
from theodolite.report.figures import interval_bars
from theodolite.report.island import json_island
from theodolite.report.page import plotly_source, script_hash
from theodolite.runs.panel import Figure, PanelResult, Sample


class Markup(HTMLParser):
    """The elements of a page: tags, attributes, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[tuple[str, str]] = []
        self.text = ""
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "script":
            self._script = dict(attrs).get("type") or "text/javascript"
            self.scripts.append((self._script, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is None:
            self.text += data
        else:
            kind, text = self.scripts[-1]
            self.scripts[-1] = (kind, text + data)


def render(report: Report, folder: Path, **options: bool) -> str:
    path = render_report(report, folder / "report.html", **options)
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(demo_report(), tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(hostile.hostile_report(), tmp_path_factory.mktemp("hostile"))


def policy_of(page: str) -> str:
    markup = Markup(page)
    return next(v for t, n, v in markup.attributes if t == "meta" and n == "content" and "src" in v)


def test_the_demo_has_every_part(demo: str) -> None:
    text = Markup(demo).text
    for part in (
        "What was asked",
        "What was found",
        "How sure it is",
        "Key figures",
        "Not done",
        "How this report was made",
        "theodolite compare 20260314-104210-audit-smollm2 OTHER_RUN",
        "theodolite audit smollm2 --profile quick --seed 0",
        "What it does not show",
        "not measured",
        "The forward pass of layer 12 gave NaN",
        "sensitivity 0.94, specificity 0.97",
        "4 unscored (3 cut at the token limit, 1 empty): bounds 75.8 to 79.0",
    ):
        assert part in text
    assert "None" not in text


def test_it_is_small_and_equal_each_time(demo: str, tmp_path: Path) -> None:
    assert len(demo.encode()) < 2_200_000
    assert demo == render(demo_report(), tmp_path)


def test_it_needs_nothing_from_outside(demo: str) -> None:
    markup = Markup(demo)
    assert not {"link", "iframe", "object", "embed", "img", "base", "form"} & set(markup.tags)
    for _, name, value in markup.attributes:
        assert name != "src"
        assert name != "href" or value.startswith("#")
    assert "@import" not in demo.split("</style>")[0]
    assert "url(" not in demo.split("</style>")[0]


def test_only_three_scripts_run_and_the_policy_names_each_by_hash(demo: str) -> None:
    scripts = Markup(demo).scripts
    kinds = [kind for kind, _ in scripts]
    assert sorted(kinds) == [
        "application/gzip+base64",
        "application/json",
        "text/javascript",
        "text/javascript",
    ]
    allowed = re.search(r"script-src ([^;]+);", policy_of(demo))
    assert allowed is not None
    packed = next(text for kind, text in scripts if kind == "application/gzip+base64")
    plotly = gzip.decompress(base64.b64decode(packed))
    assert plotly == plotly_source()
    run = [text.encode() for kind, text in scripts if kind == "text/javascript"] + [plotly]
    assert allowed.group(1).split() == [script_hash(source) for source in run]
    assert "unsafe-eval" not in policy_of(demo)
    assert policy_of(demo).startswith("default-src 'none'")


def test_a_script_hash_is_what_browsers_compute() -> None:
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    assert script_hash(b"x") == f"'sha256-{digest}'"


def test_hostile_text_adds_no_element_attribute_or_script(demo: str, attacked: str) -> None:
    ours, theirs = Markup(demo), Markup(attacked)
    assert set(theirs.tags) <= set(ours.tags) | {"p", "span"}
    assert not [name for _, name, _ in theirs.attributes if name.startswith("on")]
    assert {n for _, n, _ in theirs.attributes} <= {n for _, n, _ in ours.attributes}
    assert len(theirs.scripts) == len(ours.scripts)
    assert "49" not in re.findall(r"\b49\b", theirs.text)
    hidden = ("\u202e", "\u2066", "\x00", "\x07", "\x1b", "\u2028", "\u2029", "\u200b", "\ufeff")
    assert not [c for c in hidden if c in attacked]


def test_the_scan_for_injected_markup_can_fail() -> None:
    bad = Markup("<p onclick='x()'>a</p><script>1</script>")
    assert ("p", "onclick", "x()") in bad.attributes
    assert bad.scripts == [("text/javascript", "1")]


def test_without_figures_no_drawing_library_is_sent(tmp_path: Path) -> None:
    report = Report("t", "m", None, "quick", 0, "now", "run", ["Nothing."], [])
    page = render(report, tmp_path)
    assert len(page) < 60_000
    assert "gzip" not in policy_of(page)


def test_harmful_text_is_in_the_file_only_when_asked_for(tmp_path: Path) -> None:
    secret = "unspeakable sentence"
    sample = Sample("s1", "compliance", True, secret, secret, {"quote": secret})
    tables = {"answers": [{"id": 1, "completion": secret}]}
    figure = Figure("f", "f", "f", interval_bars([]), "answers")
    result = PanelResult([], tables, [figure], [sample])
    report = Report(
        "t", "m", None, "quick", 0, "now", "run", [], [ReportPanel("p", "P", "?", result)]
    )
    closed = render(report, tmp_path)
    assert secret not in closed
    assert "is not in this file" in closed
    opened = render(report, tmp_path, show_text=True)
    assert secret in opened
    assert "--show-text" in opened


def test_an_enormous_run_still_gives_a_small_report(tmp_path: Path) -> None:
    text = hostile.ALL * 12
    rows = [{f"c{j}": text for j in range(40)} for _ in range(500)]
    panels = []
    for i in range(8):
        spec = interval_bars([Measurement(text, 0.5, "share", 9)] * 300)
        many = [Measurement(f"{k} {text}", 0.5, "share", 9, reason=text) for k in range(400)]
        result = PanelResult(
            measurements=many,
            tables={f"t{k}": rows for k in range(5)},
            figures=[Figure(f"f{k}", text, text, spec, "t0") for k in range(10)],
            samples=[Sample(str(k), "l", False, text, text, {}) for k in range(300)],
            findings=[text] * 200,
            how=[text] * 200,
        )
        panels.append(ReportPanel(f"p{i}", text, text, result))
    report = Report(text, text, text, text, 0, text, text, [text] * 500, panels, {"k": rows[:300]})
    page = render(report, tmp_path)
    assert len(page.encode()) <= LARGEST_REPORT
    assert "more samples are in the run folder" in page
    assert "The run folder holds the whole table." in page
    assert "more measurements are in the run folder" in page


def test_the_old_report_survives_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_: object) -> str:
        raise RuntimeError("boom")

    monkeypatch.setattr(page_module, "json_island", fail)
    with pytest.raises(RuntimeError):
        render_report(demo_report(), path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="could not be written"):
        render_report(demo_report(), tmp_path / "file" / "report.html")


def test_the_command_is_what_one_would_type() -> None:
    report = hostile.hostile_report()
    assert report.command().startswith("theodolite audit '")
    bare = Report("t", "my model", "b", "full", 0, "", "r", [], [])
    assert bare.command() == "theodolite audit 'my model' --profile full --base b"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(values)
def test_an_island_keeps_its_data_and_cannot_be_left(value: object) -> None:
    island = json_island(value)
    assert json.loads(island) == value
    assert island.isascii()
    assert not set("<>&") & set(island)


def test_a_long_command_is_not_cut(tmp_path: Path) -> None:
    words = [f"--skip=panel{i}" for i in range(300)]
    manifest = {"argv": ["theodolite", "audit", "smollm2", *words]}
    report = Report("t", "m", None, "quick", 0, "", "r", [], [], manifest)
    assert report.command() in Markup(render(report, tmp_path)).text
