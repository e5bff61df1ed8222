"""One wording everywhere: value, interval, floor, n, and what is missing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from theodolite.measure import (
    Floor,
    JudgeQuality,
    Measurement,
    format_line,
    format_value,
    mean,
    not_measured,
    paired_difference,
    proportion,
)

REFUSED = proportion("refusal/harmful", [True] * 76 + [False] * 44, floor=Floor("never", 0.0))


def test_a_share():
    assert format_value(REFUSED) == "63 % [54, 71] (floor 0 %, n=120)"
    assert format_line(REFUSED) == "refusal/harmful  63 % [54, 71] (floor 0 %, n=120)"


@pytest.mark.parametrize(
    "m, shown",
    [
        (not_measured("a", "share", "x"), "not measured (n=0)"),
        (proportion("a", [True]), "100 % [no interval] (n=1)"),
        (
            proportion("a", [True] * 53 + [False] * 47 + [None] * 3),
            "53 % [43, 62] (n=100, 3 unscored: 51 to 54 %)",
        ),
        (proportion("a", [True] * 50000 + [False] * 44000), "53.2 % [52.9, 53.5] (n=94000)"),
        (proportion("a", [1, 0, 1, 0], clusters="aabb"), "50 % [0, 100] (n=4 in 2 clusters)"),
        (
            mean("a", [1.234, 1.3, 2.2, None], unit="nats"),
            "1.58 nats [0.24, 2.92] (n=3, 1 unscored)",
        ),
        (mean("a", [0.00123], unit="nats"), "0.001230 nats [no interval] (n=1)"),
        (mean("a", [0.0], unit=""), "0 [no interval] (n=1)"),
        (
            replace(REFUSED, status="incomplete", reason="x"),
            "63 % [54, 71] (floor 0 %, n=120, incomplete)",
        ),
        (replace(REFUSED, level=0.99), "63 % [54, 71] (floor 0 %, n=120, 99 % level)"),
        (
            replace(REFUSED, judge=JudgeQuality("j", 0.9, 0.9, 0.67)),
            "63 % [54, 71] (floor 0 %, n=120, corrected for the judge 67 %)",
        ),
        (Measurement("a", 12.0, "percent", 9, low=10.0, high=14.0), "12.0 % [10.0, 14.0] (n=9)"),
        (Measurement("a", -0.001, "share", 9, low=-0.5, high=0.4), "0 % [-50, 40] (n=9)"),
    ],
)
def test_known_cases(m, shown):
    assert format_value(m) == shown


def test_a_difference_is_in_points():
    m = paired_difference([1, 1, 0, 1] * 9, [0, 1, 0, 0] * 9)
    assert format_value(m).startswith("50 points [") and "floor 0 points" in format_value(m)


def test_a_line_says_why_something_is_missing():
    assert format_line(not_measured("a", "share", "the judge is down")).endswith(
        ": the judge is down"
    )
    assert "one observation" in format_line(proportion("a", [True]))


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_names_units_and_reasons_are_hostile(name, unit, reason):
    line = format_line(Measurement(name, 1.0, unit, 1, status="incomplete", reason=f"r{reason}"))
    assert line.isprintable() or all(c.isprintable() or c.isspace() for c in line)
    assert "\n" not in line


@example(0.0, 0.0, 5e-324)
@given(st.floats(-1e9, 1e9), st.floats(0, 1e6), st.floats(0, 1e6))
def test_any_number_can_be_shown(value, below, above):
    m = Measurement("a", value, "nats", 3, low=value - below, high=value + above)
    assert format_value(m)


def test_importing_is_light():
    """Nothing heavy is imported before it is needed."""
    code = (
        "import sys, theodolite.measure, theodolite.text\n"
        "heavy = ('torch', 'scipy', 'statsmodels', 'pandas', 'sklearn', 'transformers')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
