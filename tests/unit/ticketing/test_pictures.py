"""Plots as pictures: what the page draws, mail paints; and a mail that holds them as its parts."""

from __future__ import annotations

import email
import email.policy
import io

import pytest
from PIL import Image

from ticketing import figures, pictures, plots
from ticketing.channels import mail
from ticketing.texts import texts

NOW_MS = 1_767_600_000_000
BLUE, RED = (47, 126, 216), (217, 72, 15)


def near(image, colour, tolerance=60):
    """How many pixels are of about this colour."""
    counted = image.convert("RGB").getcolors(1_000_000)
    return sum(
        count
        for count, pixel in counted
        if sum(abs(a - b) for a, b in zip(pixel, colour, strict=True)) < tolerance
    )


def drawn(series, **more):
    values = {"mark_ms": NOW_MS + 300_000, "unit": "%", "title": "steal", "language": "en"} | more
    return plots.svg(series, **values)


LINE = [[NOW_MS + n * 60_000, float(n % 7)] for n in range(11)]
SHAPES = {
    "a line": LINE,
    "gaps and lone points": [
        [NOW_MS, 1.0],
        [NOW_MS + 60_000, None],
        [NOW_MS + 120_000, 5.0],
        [NOW_MS + 180_000, None],
        *LINE[5:],
    ],
    "one point": [[NOW_MS, 3.0]],
    "nothing but zero": [[NOW_MS, 0.0], [NOW_MS + 60_000, 0.0]],
    "large and negative": [[NOW_MS, -1e12], [NOW_MS + 60_000, 1e12]],
    "thousands of points": [[NOW_MS + n * 1000, float(n % 97)] for n in range(5000)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_plot_that_the_page_draws_is_painted(name):
    # The moment stands beside the line: where points are dense the line covers it, on the page as well.
    image = Image.open(io.BytesIO(pictures.png(drawn(SHAPES[name], mark_ms=NOW_MS - 400_000))))
    assert image.size == (plots.WIDTH * pictures.SCALE, plots.HEIGHT * pictures.SCALE)
    assert near(image, BLUE) > 10, "the line is there"
    assert near(image, RED) > 50, "so is the moment"


def test_an_element_that_nobody_taught_the_painter_is_a_fault_and_no_hole():
    with pytest.raises(pictures.Unknown):
        pictures.png(drawn(LINE).replace("<line ", "<ellipse ", 1))


def test_what_cannot_be_seen_is_told():
    assert pictures.told(drawn(LINE)).startswith("steal: from 0 to 6 %")
    assert " ," not in pictures.told(drawn(LINE, unit=""))


def evidence(**more):
    return {
        "host": "a1",
        "subject": "",
        "facts": {"cpu.steal_pct": {"unit": "%"}},
        "series": {"cpu.steal_pct": LINE},
    } | more


def test_a_letter_that_the_font_lacks_stands_in_the_caption():
    words = texts("uk").at("Europe/Kyiv")
    body = evidence(facts={"cpu.steal_pct": {"unit": "мс"}})
    (figure,) = figures.figures([body], words, NOW_MS)
    assert (
        ", мс" in figure.caption and "мс" not in figure.svg.partition("</desc>")[2] and " мс" in figure.told
    )


def test_the_newest_evidence_with_series_is_shown_and_no_more_than_some():
    words = texts("en").at("UTC")
    many = evidence(series={f"s{n}": LINE for n in range(9)})
    assert len(figures.figures([{"facts": {}}, many, evidence()], words, NOW_MS)) == figures.MAX_FIGURES
    assert figures.figures([{"series": {"x": []}}, {}], words, NOW_MS) == []


def test_a_mail_holds_its_plots_as_pictures_that_its_html_names():
    ticket = {
        "id": 7, "class": 2, "root_cause": "os.disk_full", "confidence": "high", "severity": "high", "state": "new",
        "line": 2, "assignee": None, "scope": "host:a1", "affected": ["a1"], "affected_count": 1, "title": "",
        "began_at_ms": NOW_MS, "created_at_ms": NOW_MS, "resolved_at_ms": None, "summary": None, "reasons": [],
    }  # fmt: skip
    payload = {
        "contract": {"id": "acme", "title": "Acme", "zone": "UTC"}, "ticket": ticket, "clocks": {}, "event": "opened",
        "event_id": 1, "at_ms": NOW_MS, "reasons": [], "text": "", "language": "en",
    }  # fmt: skip
    row = {
        "payload": payload,
        "destination": "a@b.example",
        "message_id": "vt-7-1-x",
        "created_at_ms": NOW_MS,
    }
    built = mail.compose_letter(row, "desk@desk.example", mail.Extras(evidence=[evidence()]))
    read = email.message_from_bytes(built.as_bytes(), policy=email.policy.default)
    html, text = read.get_body(("html",)).get_content(), read.get_body(("plain",)).get_content()
    parts = {
        part["Content-ID"]: part.get_content()
        for part in read.walk()
        if part.get_content_type() == "image/png"
    }
    assert (
        list(parts) == ["<plot-0@vartovyi>"] and 'src="cid:plot-0@vartovyi"' in html and "from 0 to 6" in text
    )
    assert Image.open(io.BytesIO(parts["<plot-0@vartovyi>"])).format == "PNG"
    assert read.get_content_type() == "multipart/alternative" and "svg" not in html
    again = mail.compose_letter(row, "desk@desk.example", mail.Extras(evidence=[evidence()]))
    assert (
        again["Message-ID"] == built["Message-ID"]
        and again.get_body(("html",)).get_content().split() == html.split()
    )
