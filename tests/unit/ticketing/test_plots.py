"""Plots: valid SVG, readable by ear, honest about gaps and scale, bounded in size."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from ticketing import plots, texts

NOW_MS = 1_767_600_000_000


@pytest.fixture(autouse=True)
def _strict():
    texts.set_strict(True)
    yield
    texts.set_strict(False)


def _draw(series, **changes):
    given = {
        "mark_ms": None,
        "unit": "%",
        "title": "Steal <b>",
        "language": "uk",
        "zone": "Europe/Kyiv",
    } | changes
    return plots.svg(series, **given)


def _parts(svg, name):
    return ET.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{name}")


def test_a_plot_is_valid_svg_with_title_and_description():
    svg = _draw([[NOW_MS + i * 1000, float(i)] for i in range(30)], mark_ms=NOW_MS + 15_000)
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert _parts(svg, "title")[0].text == "Steal <b>"
    assert (
        "від 0 до 29 %" in _parts(svg, "desc")[0].text
        and "05.01.2026 10:00:00" in _parts(svg, "desc")[0].text
    )
    assert "<script" not in svg and "style=" not in svg


def test_a_gap_breaks_the_line_and_a_lonely_point_is_a_dot():
    svg = _draw([[NOW_MS, 1.0], [NOW_MS + 1, 2.0], [NOW_MS + 2, None], [NOW_MS + 3, 4.0]])
    assert (len(_parts(svg, "polyline")), len(_parts(svg, "circle"))) == (1, 1)


def test_nothing_to_draw_is_nothing():
    assert _draw([]) == "" and _draw([[NOW_MS, None]]) == "" and _draw([[NOW_MS, math.nan]]) == ""


def test_a_long_series_is_folded_and_keeps_its_spike():
    series = [[NOW_MS + i * 1000, 500.0 if i == 4321 else 1.0] for i in range(10_000)]
    svg = _draw(series, language="en")
    assert len(svg) < 12_000
    assert "from 1 to 500 %" in _parts(svg, "desc")[0].text


@pytest.mark.parametrize("value", [0.0, -5.0, 1e12, 0.0004])
def test_any_level_line_can_be_drawn(value):
    svg = _draw([[NOW_MS, value], [NOW_MS + 1, value]])
    assert ET.fromstring(svg).tag.endswith("svg")
    assert "nan" not in svg.lower() and "inf" not in svg.lower()


def test_a_unit_that_would_not_fit_beside_the_levels_is_said_once_above_them():
    long, short = (
        plots.svg([[0, 0.001], [1000, 0.5]], mark_ms=None, unit=unit, title="x", language="uk")
        for unit in ("тис. пакетів/с", "%")
    )
    texts_of = lambda drawing: re.findall(r"<text[^>]*>([^<]*)</text>", drawing)  # noqa: E731
    assert texts_of(long).count("тис. пакетів/с") == 1
    assert not [text for text in texts_of(long) if text != "тис. пакетів/с" and "пакетів" in text]
    assert len([text for text in texts_of(short) if text.endswith(" %")]) == 3
