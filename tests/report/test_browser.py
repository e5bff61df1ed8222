"""The page in a real browser: figures drawn, nothing executed, fetched or logged, phones included.

Skipped with a reason where no Chromium is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.browser import Browser, find_browser
from tests.report.demo import demo_report
from tests.report.hostile import hostile_report
from theodolite.report import render_report

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    demo = render_report(demo_report(), folder / "demo.html")
    hostile = render_report(hostile_report(), folder / "hostile.html")
    injected = folder / "injected.html"
    injected.write_text(
        demo.read_text("utf-8").replace(
            "<main>",
            "<main><script>window.pwned = 1</script><img src='https://example.invalid/a.png'>",
            1,
        )
    )
    return {"demo": demo, "hostile": hostile, "injected": injected}


@pytest.fixture(scope="module")
def shared() -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM) as browser:
        yield browser


@pytest.fixture
def browser(shared: Browser) -> Browser:
    shared.messages.clear()
    shared.exceptions.clear()
    shared.requests.clear()
    return shared


def assert_quiet(browser: Browser) -> None:
    assert browser.messages == []
    assert browser.exceptions == []
    outside = [r for r in browser.requests if not r.startswith(("file://", "data:image/png"))]
    assert outside == []


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("name", ["demo", "hostile"])
def test_a_page_draws_and_stays_quiet(
    browser: Browser, pages: dict[str, Path], name: str, phone: bool
) -> None:
    browser.open(pages[name], width=360 if phone else 1280, dark=phone, phone=phone)
    browser.draw_all()
    states = browser.evaluate("[...document.querySelectorAll('.plot')].map(p => p.dataset.state)")
    assert states and set(states) == {"drawn"}
    browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    browser.wait_for("document.querySelector('.sample') !== null")
    assert browser.evaluate("window.pwned") is None
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert_quiet(browser)


def test_the_policy_blocks_an_injected_script_and_the_watch_sees_it(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["injected"])
    assert browser.evaluate("window.pwned") is None
    assert sum("Content Security Policy" in message for message in browser.messages) == 2


def test_samples_are_listed_filtered_and_harmful_ones_have_no_text(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["demo"])
    browser.evaluate("document.querySelector('details.samples').open = true")
    browser.wait_for("document.querySelectorAll('.sample').length === 20")
    browser.evaluate("[...document.querySelectorAll('.sample-list > button')].at(-1).click()")
    assert browser.evaluate("document.querySelectorAll('.sample').length") == 32
    harmful = "[...document.querySelectorAll('.sample')].filter(s => s.querySelector('.harmful'))"
    assert browser.evaluate(f"{harmful}.length") == 16
    assert browser.evaluate(f"{harmful}.filter(s => s.querySelector('pre')).length") == 0
    browser.evaluate("document.querySelectorAll('.chooser button')[3].click()")
    labels = browser.evaluate(
        "[...new Set([...document.querySelectorAll('.sample .badge:nth-child(2)')]"
        ".map(b => b.textContent))]"
    )
    assert labels == ["refusal"]


def test_tokens_are_coloured_words_and_harmful_ones_have_no_text(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["demo"])
    cards = "[...document.querySelectorAll('.token-card')]"
    assert browser.evaluate(f"{cards}.length") == 4
    browser.evaluate("[...document.querySelectorAll('.token-list > button')].at(-1).click()")
    assert browser.evaluate(f"{cards}.length") == 6
    shown = browser.evaluate(f"{cards}[0].querySelector('.tokens').textContent")
    assert "How do I kill a Python process?" in shown and "\\n" in shown
    hidden = browser.evaluate(f"{cards}[1].querySelector('.tokens').textContent")
    assert "kill" not in hidden and "<|im_start|>" in hidden and "7" in hidden
    weights = browser.evaluate(
        f"{cards}[0].querySelectorAll('.token.up').length + ' ' + "
        f"{cards}[0].querySelectorAll('.token.down').length"
    )
    assert weights == "6 2"
    browser.evaluate(f"{cards}[0].querySelector('.token.up').click()")
    note = browser.evaluate(f"{cards}[0].querySelector('.token-note').textContent")
    assert note == "“do” (token 5): +0.05"
    ground = f"getComputedStyle({cards}[0].querySelector('.token.up')).backgroundColor"
    light = browser.evaluate(ground)
    assert light.startswith("rgba(222, 128, 52")
    browser.evaluate("document.querySelectorAll('.token-list .chooser button')[1].click()")
    assert (
        browser.evaluate(f"{cards}.map(c => c.querySelector('.badge').textContent)")
        == ["L14-C1"] * 3
    )
    assert_quiet(browser)


def test_the_theme_follows_the_system_and_the_button(
    browser: Browser, pages: dict[str, Path]
) -> None:
    paper = "getComputedStyle(document.querySelector('main > section')).backgroundColor"
    axis = "document.querySelector('.plot .xtick text').style.fill"
    browser.open(pages["demo"], dark=False)
    browser.draw_all()
    light = browser.evaluate(f"[{paper}, {axis}]")
    browser.evaluate("document.getElementById('theme').click()")
    dark = browser.evaluate(f"[{paper}, {axis}]")
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] != light[0] and dark[1] != light[1]
    browser.evaluate("localStorage.clear()")
    browser.open(pages["demo"], dark=True)
    browser.draw_all()
    assert browser.evaluate(f"[{paper}, {axis}]") == dark


def test_print_draws_every_figure_on_white(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["demo"], dark=True)
    browser.wait_for("window.Plotly !== undefined")
    browser.media(dark=True, kind="print")
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    browser.wait_for(
        "[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg') !== null)"
    )
    assert (
        browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    )
    assert browser.evaluate("getComputedStyle(document.querySelector('#theme')).display") == "none"
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    assert_quiet(browser)


def test_without_scripts_the_page_reads_and_points_to_the_tables(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["demo"], scripts=False)
    text = browser.evaluate("document.body.innerText")
    assert "The data table below holds its numbers." in text
    assert "78.3 %" in text
    browser.open(pages["demo"], scripts=True)


def test_without_decompression_a_notice_takes_the_place_of_the_figure(
    browser: Browser, pages: dict[str, Path]
) -> None:
    script = browser.call(
        "Page.addScriptToEvaluateOnNewDocument", source="delete window.DecompressionStream"
    )
    browser.open(pages["demo"])
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])
    browser.draw_all()
    assert browser.evaluate("document.querySelector('.plot').dataset.state") == "failed"
    assert "cannot draw the figure" in browser.evaluate("document.body.innerText")
