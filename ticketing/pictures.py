"""A plot as a PNG, since mail programs show no SVG: the page's own drawing, drawn again with Pillow.

It reads only what ``ticketing.plots`` writes: lines, polylines, circles and texts with plain attributes. One drawing
therefore serves page, mail and dossier, and a new kind of element there fails a test here. Pillow is imported when the
first picture is drawn: a collector that sends none does not pay for it.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from typing import Any

SCALE = 2
"""Pixels a unit: mail is read on screens that have two for one."""

_SMOOTH = 2
"""Drawn so much larger and shrunk, since Pillow's lines have hard edges."""

_INK = (31, 41, 55)
_PAPER = (255, 255, 255)
_SVG = "{http://www.w3.org/2000/svg}"

Colour = tuple[int, int, int]


class Unknown(ValueError):
    """The drawing holds something that this painter does not know."""


def told(svg: str) -> str:
    """The drawing in one sentence, for who cannot see it."""
    found = ElementTree.fromstring(svg).find(f"{_SVG}desc")
    text = (found.text or "") if found is not None else ""
    return text.replace(" ,", ",").replace(" ;", ";")  # of a number without a unit


def png(svg: str) -> bytes:
    """The drawing as a PNG of twice its size; raises Unknown for what ``plots`` does not draw."""
    from PIL import Image, ImageDraw  # a large library that most processes never need

    root = ElementTree.fromstring(svg)
    width, height = (round(float(root.get(side, "0"))) for side in ("width", "height"))
    zoom = SCALE * _SMOOTH
    image = Image.new("RGB", (width * zoom, height * zoom), _PAPER)
    draw = ImageDraw.Draw(image)
    size = float(root.get("font-size", "11"))
    for element in root:
        _paint(draw, element, zoom, size)
    small = image.resize((width * SCALE, height * SCALE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "PNG")  # a palette would be smaller, and loses or tints what is rare
    return out.getvalue()


def _paint(draw: Any, element: ElementTree.Element, zoom: int, size: float) -> None:
    kind = element.tag.removeprefix(_SVG)
    if kind in ("title", "desc"):
        return
    if kind == "line":
        _line(draw, element, zoom)
    elif kind == "polyline":
        points = [
            (float(x) * zoom, float(y) * zoom)
            for x, _, y in (pair.partition(",") for pair in element.get("points", "").split())
        ]
        draw.line(points, fill=_stroke(element), width=_width(element, zoom), joint="curve")
    elif kind == "circle":
        x, y, r = (float(element.get(name, "0")) * zoom for name in ("cx", "cy", "r"))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(element.get("fill", ""), 1.0))
    elif kind == "text":
        _text(draw, element, zoom, size)
    else:
        raise Unknown(f"a plot holds <{kind}>, which no picture has")


def _line(draw: Any, element: ElementTree.Element, zoom: int) -> None:
    x1, y1, x2, y2 = (float(element.get(name, "0")) * zoom for name in ("x1", "y1", "x2", "y2"))
    colour, width = _stroke(element), _width(element, zoom)
    dashes = [float(part) * zoom for part in element.get("stroke-dasharray", "").split()]
    if len(dashes) != 2:
        draw.line((x1, y1, x2, y2), fill=colour, width=width)
        return
    length = max(1.0, ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5)
    at = 0.0
    while at < length:
        end = min(at + dashes[0], length)
        a, b = at / length, end / length
        draw.line(
            (x1 + (x2 - x1) * a, y1 + (y2 - y1) * a, x1 + (x2 - x1) * b, y1 + (y2 - y1) * b),
            fill=colour,
            width=width,
        )
        at = end + dashes[1]


def _text(draw: Any, element: ElementTree.Element, zoom: int, size: float) -> None:
    from PIL import ImageFont

    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[element.get("text-anchor", "start")]
    at = (float(element.get("x", "0")) * zoom, float(element.get("y", "0")) * zoom)
    # The font that comes with the library has no thin or hard spaces, which numbers are grouped with.
    words = (element.text or "").replace("\u00a0", " ").replace("\u202f", " ")
    font = ImageFont.load_default(size * zoom)
    draw.text(at, words, fill=_colour(element.get("fill", ""), 1.0), font=font, anchor=anchor)


def _stroke(element: ElementTree.Element) -> Colour:
    return _colour(element.get("stroke", ""), float(element.get("stroke-opacity", "1")))


def _width(element: ElementTree.Element, zoom: int) -> int:
    return max(1, round(float(element.get("stroke-width", "1")) * zoom))


def _colour(text: str, opacity: float) -> Colour:
    ink = (
        tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))
        if text.startswith("#") and len(text) == 7
        else _INK
    )
    mixed = [round(paper + (own - paper) * opacity) for own, paper in zip(ink, _PAPER, strict=True)]
    return (mixed[0], mixed[1], mixed[2])
