"""How numbers are written in the report and in the terminal: no false precision, no exponents."""

from __future__ import annotations

import math

from theodolite.measure.display import POINTS

# Units that add nothing to a number whose name is printed beside it.
DIMENSIONLESS = frozenset(
    {
        "",
        "accuracy",
        "auroc",
        "correlation",
        "cosine",
        "f1",
        "kappa",
        "probability",
        "ratio",
        "score",
    }
)
_LARGEST = 1e300
# Below this many items a tenth of a percent is noise.
_TENTHS_FROM = 100


def format_value(value: float | None, unit: str, n: int | None = None) -> str:
    """Return a value with its unit; shares are written in percent.

    Args:
        value: the number; None gives a dash.
        unit: the unit of a Measurement, as `shown_unit` names it.
        n: items behind the value; few items give whole percents.
    """
    text = format_number(value, unit, n)
    if value is None:
        return text
    if unit in ("share", "percent"):
        return f"{text} %"
    return text if unit in DIMENSIONLESS else f"{text} {unit}"


def format_number(value: float | None, unit: str, n: int | None = None) -> str:
    """Return a value without its unit; shares are written in percent."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit in ("share", "percent", POINTS):
        percent = value if unit == "percent" else value * 100
        tenths = n is None or n >= _TENTHS_FROM
        return _minus(f"{percent:.1f}" if tenths else f"{percent:.0f}")
    return format_plain(value)


def format_plain(value: float) -> str:
    """Return a number with three significant digits, thousands apart, exponents only far out."""
    size = abs(value)
    if _LARGEST < size < math.inf:
        # Integers have no end and floats have, so the order of magnitude must do.
        return f"{'−' if value < 0 else ''}10^{math.floor(math.log10(size))}"
    if not math.isfinite(value):
        return "–"
    if value == int(value) and size < 1e15:
        return _minus(f"{int(value):,}".replace(",", "\u202f"))
    if size >= 1000:
        return _minus(f"{value:,.0f}".replace(",", "\u202f"))
    if size < 1e-4:
        return _minus(f"{value:.2e}")
    digits = max(0, 2 - math.floor(math.log10(size)))
    text = f"{value:.{digits}f}"
    return _minus(text.rstrip("0").rstrip(".") if "." in text else text)


def format_interval(low: float | None, high: float | None, unit: str, n: int | None = None) -> str:
    """Return `low to high` without unit, or an empty string where no interval is given."""
    if low is None or high is None:
        return ""
    return f"{format_number(low, unit, n)} to {format_number(high, unit, n)}"


def format_seconds(seconds: float | None) -> str:
    """Return a duration a person can read: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds is None or not abs(seconds) < _LARGEST:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _minus(text: str) -> str:
    return text.replace("-", "−", 1) if text.startswith("-") else text
