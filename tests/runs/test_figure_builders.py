"""Figure builders: strict JSON, floors always drawn, gaps stay gaps, colours tell apart."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest

from theodolite.measure.measurement import Floor, Measurement, Unscored, not_measured
from theodolite.runs.figure_parts import DASHES, MARKERS, plain
from theodolite.runs.figures import (
    PALETTE,
    FloorLine,
    IntervalRow,
    Series,
    curve_by_layer,
    grouped_rates,
    heatmap,
    interval_bars,
)

HOSTILE = "<img src=x onerror=y>\u202e&\x00"
RATE = Measurement("a/b", 0.5, "share", 40, low=0.4, high=0.7, floor=Floor("majority", 0.3))


def named(spec: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [trace for trace in spec["data"] if trace.get("name") == name]


def every_spec() -> dict[str, dict[str, Any]]:
    return {
        "interval": interval_bars([RATE, not_measured("c", "share", "no judge")]),
        "empty interval": interval_bars([]),
        "groups": grouped_rates(["g", "h"], {"s": [RATE, None], "t": [RATE, RATE]}),
        "empty groups": grouped_rates([], {}),
        "curve": curve_by_layer(
            [Series("s", [0, 1, 2], [0.1, float("nan"), 0.3], [0.0, None, 0.2], [0.2, None, 0.4])],
            y_title="accuracy",
            floors=[FloorLine("majority", 0.5), FloorLine("words", [0.1, None, 0.2])],
        ),
        "empty curve": curve_by_layer([], y_title="accuracy"),
        "heat": heatmap(
            [[0.1, None], [float("inf"), 0.9]],
            x=[0, 1],
            y=[HOSTILE, "b"],
            x_title="layer",
            y_title="position",
            value_title="accuracy",
            floor=FloorLine("chance", 0.5),
        ),
        "powers": heatmap(
            [[1e-9, None, 0.0], [0.02, float("nan"), 3.0]],
            x=[0, 1, 2],
            y=[0, 1],
            x_title="layer",
            y_title=HOSTILE,
            value_title="change",
            unit="nats",
            decades=3,
            details={
                "change": [[[1e-9, None, 0.0], [0.02, float("nan"), 3.0]]],
                HOSTILE: [[[1.23456, None, 2.0], [3.0, 4.0, float("inf")]]] * 3,
            },
        ),
    }


@pytest.mark.parametrize("name", every_spec())
def test_every_spec_is_strict_json_with_titled_axes(name: str) -> None:
    spec = every_spec()[name]
    json.dumps(spec, allow_nan=False)
    assert all(spec["layout"][axis] for axis in ("xaxis", "yaxis"))
    assert spec["layout"]["height"] >= 96


def test_numbers_of_numpy_become_plain() -> None:
    xs = list(np.arange(3))
    spec = curve_by_layer([Series("s", xs, list(np.float32([0.1, 0.2, 0.3])))], y_title="a")
    assert json.loads(json.dumps(spec))["data"][0]["x"] == [0, 1, 2]


def test_plotly_itself_accepts_the_specs() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for spec in every_spec().values():
        graph_objects.Figure(spec)


def test_an_interval_figure_draws_value_interval_floor_and_bounds() -> None:
    measured = Measurement(
        "x", 0.5, "share", 40, low=0.4, high=0.7, unscored=Unscored(5, {"cut": 5}, 0.45, 0.6)
    )
    spec = interval_bars([RATE, measured])
    dots = named(spec, "value")[0]
    assert dots["x"] == [0.5, 0.5]
    assert dots["error_x"]["array"] == pytest.approx([0.2, 0.2])
    assert dots["error_x"]["arrayminus"] == pytest.approx([0.1, 0.1])
    assert named(spec, "floor")[0]["x"] == [0.3]
    assert named(spec, "bounds by unscored items")[0]["x"] == [0.45, 0.6, None]


def test_a_missing_value_is_words_not_zero() -> None:
    spec = interval_bars([not_measured("c", "share", "no judge")])
    assert named(spec, "value")[0]["x"] == [None]
    assert [note["text"] for note in spec["layout"]["annotations"]] == ["not measured"]


def test_groups_keep_their_rows_apart_and_their_floors() -> None:
    spec = grouped_rates(["g", "h"], {"s": [RATE, None], "t": [RATE, RATE]})
    places = [at for name in ("s", "t") for at in named(spec, name)[0]["y"]]
    assert len(set(places)) == 3
    assert all(abs(at - round(at)) < 0.32 for at in places)
    assert sorted(named(spec, "floor")[0]["y"]) == sorted(places)


def test_a_band_breaks_where_the_interval_does() -> None:
    xs = [0, 1, 2, 3, 4]
    lows = [0.1, 0.1, None, 0.3, 0.3]
    spec = curve_by_layer([Series("s", xs, [0.2] * 5, lows, [0.4] * 5)], y_title="a")
    bands = [trace for trace in spec["data"] if trace.get("fill") == "toself"]
    assert [band["x"] for band in bands] == [[0, 1, 1, 0], [3, 4, 4, 3]]
    assert bands[0]["y"] == [0.1, 0.1, 0.4, 0.4]


def test_floors_of_a_curve_are_lines_over_its_whole_length() -> None:
    spec = every_spec()["curve"]
    assert named(spec, "floor: majority")[0]["y"] == [0.5, 0.5, 0.5]
    assert named(spec, "floor: words")[0]["y"] == [0.1, None, 0.2]


def test_cells_at_or_below_the_floor_are_crossed_and_the_floor_named() -> None:
    spec = every_spec()["heat"]
    cells, crosses = spec["data"]
    assert list(zip(crosses["x"], crosses["y"], strict=True)) == [(0, plain(HOSTILE))]
    assert "chance, 50.0%" in cells["colorbar"]["title"]["text"]
    assert cells["z"] == [[0.1, None], [None, 0.9]]


def test_around_a_neutral_value_a_floor_counts_on_either_side_and_by_column() -> None:
    spec = heatmap(
        [[0.4, -3.0], [-0.4, 0.4], [2.0, None]],
        x=["a", "b"],
        y=[0, 1, 2],
        x_title="direction",
        y_title="earlier",
        value_title="relevance",
        floor=FloorLine("random", [0.5, 0.1]),
        centre=0.0,
    )
    cells, crosses = spec["data"]
    assert list(zip(crosses["x"], crosses["y"], strict=True)) == [("a", 0), ("a", 1)]
    assert cells["colorbar"]["title"]["text"].endswith("floor: random")


def test_number_labels_stay_on_a_line_and_words_become_categories() -> None:
    spec = every_spec()["heat"]
    assert "type" not in spec["layout"]["xaxis"]
    assert spec["layout"]["yaxis"]["type"] == "category"


def test_text_of_others_is_drawn_letter_by_letter() -> None:
    row = IntervalRow(HOSTILE, 0.5, floor=0.1, floor_name=HOSTILE)
    spec = interval_bars([row], axis_title=HOSTILE)
    text = json.dumps(spec, ensure_ascii=False)
    assert "<img" not in text and "\u202e" not in text


def test_long_labels_fit_beside_a_phone_plot() -> None:
    label = "a very long label/with several parts that nobody could ever read on one line " * 3
    lines = interval_bars([IntervalRow(label, 0.5)])["layout"]["yaxis"]["ticktext"][0].split("<br>")
    assert len(lines) == 3
    assert max(map(len, lines)) <= 21


# ---- colours --------------------------------------------------------------------------------
# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "usual": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def closest(colours: tuple[str, ...], vision: str) -> float:
    seen = [lab(np.array(VISIONS[vision]) @ linear(c)) for c in colours]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))


def contrast(colour: str, paper: str) -> float:
    dark, light = sorted(float(TO_XYZ[1] @ linear(c)) for c in (colour, paper))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_differ_for_every_eye(vision: str) -> None:
    assert closest(PALETTE, vision) > 10


def test_the_colour_check_can_fail() -> None:
    assert closest(("#d2691e", "#8c7a1f"), "protan") < 10


def test_colours_hold_on_white_and_on_dark_paper() -> None:
    assert all(contrast(c, paper) > 3 for c in PALETTE for paper in ("#ffffff", "#171c21"))


def test_no_series_relies_on_colour_alone() -> None:
    assert len(set(zip(MARKERS, DASHES, strict=True))) == len(PALETTE)


def test_colours_by_powers_of_ten_span_what_was_asked_and_cells_tell_their_numbers() -> None:
    trace = every_spec()["powers"]["data"][0]
    top = np.log10(3.0)
    assert (trace["zmin"], trace["zmax"]) == pytest.approx((top - 3, top))
    assert trace["z"][1][0] == pytest.approx(np.log10(0.02))
    assert trace["z"][0][2] < trace["zmin"] and trace["z"][0][0] < trace["zmin"]
    assert trace["z"][0][1] is None
    assert trace["customdata"][1][2] == [3.0, None, None, None]
    assert trace["customdata"][0][0] == [1e-9, 1.23, 1.23, 1.23]
    assert "%{customdata[1]:.3~g} [%{customdata[2]:.3~g}, " in trace["hovertemplate"]
    assert "<img" not in trace["hovertemplate"]
    ticks = dict(zip(trace["colorbar"]["tickvals"], trace["colorbar"]["ticktext"], strict=True))
    assert ticks == {-2: "0.01", -1: "0.1", 0: "1"}


def test_a_map_without_any_number_is_drawn_empty() -> None:
    for decades in (None, 2):
        spec = heatmap(
            [[None]], x=[0], y=[0], x_title="x", y_title="y", value_title="v", decades=decades
        )
        assert spec["data"][0]["z"] == [[None]]
        json.dumps(spec, allow_nan=False)
