"""The page around the report: templates, inlined assets, data islands and the content policy.

- Scripts run by hash alone: the two of ours, and plotly.js as shipped in the plotly package.
- plotly.js travels gzipped in base64 and is unpacked by the browser when a figure comes in sight.
- The policy allows no fetch, no frame, no form, no eval; text of others is never markup.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theodolite.errors import TheodoliteError
from theodolite.report.budget import TEXT_CHARACTERS
from theodolite.report.island import json_island
from theodolite.text.display import escape

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def asset(name: str) -> str:
    """Return a source file of report/assets/."""
    return (files("theodolite.report") / "assets" / name).read_text("utf-8")


@cache
def plotly_source() -> bytes:
    """Return plotly.js of the installed plotly package, read without importing plotly."""
    spec = find_spec("plotly")
    origin = None if spec is None else spec.origin
    path = Path(origin or "").parent / "package_data" / "plotly.min.js"
    if not path.is_file():
        raise TheodoliteError(
            "The plotly package is not installed or lacks plotly.min.js, which draws the figures.",
            fix="Run: pip install --force-reinstall plotly.",
        )
    return path.read_bytes()


@cache
def plotly_payload() -> str:
    """Return plotly.js gzipped and in base64, equal for equal sources."""
    return base64.b64encode(gzip.compress(plotly_source(), 9, mtime=0)).decode("ascii")


def script_hash(source: bytes) -> str:
    """Return the expression by which a content policy admits exactly this script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source).digest()).decode('ascii')}'"


def content_policy(scripts: list[bytes]) -> str:
    """Return the content policy of the page: nothing from outside, scripts by hash."""
    hashes = " ".join(script_hash(script) for script in scripts)
    # Plotly writes its own style elements, so styles cannot go by hash.
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def render_page(values: Mapping[str, Any]) -> str:
    """Return the whole page; the island holds `values["island"]`."""
    theme, page = asset("theme.js"), asset("report.js")
    has_figures = bool(values["island"]["figures"])
    scripts = [theme.encode(), page.encode()] + ([plotly_source()] if has_figures else [])
    template = _environment().get_template("report.html.j2")
    return template.render(
        **{key: value for key, value in values.items() if key != "island"},
        policy=content_policy(scripts),
        css=_trusted(asset("report.css")),
        theme_js=_trusted(theme),
        page_js=_trusted(page),
        island=_trusted(json_island(values["island"])),
        plotly=_trusted(plotly_payload()) if has_figures else "",
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("theodolite.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clip"] = escape
    return environment


def _shown(value: Any) -> Any:
    """Show control and bidi characters of every printed string as escapes; markup stays."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return escape(value, TEXT_CHARACTERS)
    return value


def _trusted(text: str) -> Any:
    """Mark our own sources, and data already escaped, as not to be escaped again."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - only files of this package and escaped JSON come here
