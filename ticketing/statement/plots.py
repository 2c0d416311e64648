"""The statement's drawings as inline SVG: down time by day, and whose minutes. Readable in print and by ear. Pure.

Colours come from CSS classes with fallbacks that print apart in grey; a hatch marks what was planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ticketing.statement.model import Minutes
from ticketing.texts import Texts

WIDTH, HEIGHT = 720, 170
LEFT, RIGHT, TOP, BOTTOM = 58, 8, 12, 24
BAR_HEIGHT = 34
OWNERS = ("ours_ms", "client_ms", "provider_ms", "other_ms")
FILLS = {"ours_ms": "#1f5fa8", "client_ms": "#e0a100", "provider_ms": "#8a3ffc", "other_ms": "#7a8794"}


def down_by_day(words: Texts, days: Sequence[tuple[int, int, int]]) -> str:
    """Minutes down on each day, planned ones above the others; "" where nothing was down."""
    most_ms = max((unplanned + planned for _, unplanned, planned in days), default=0)
    if most_ms <= 0:
        return ""
    title = words.get("statement.plot.days")
    inner = HEIGHT - TOP - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / max(1, len(days))
    out = [
        f'<svg class="plot bars" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-size="11"><title>{escape(title)}</title>',
        '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line x1="0" y1="0" x2="0" y2="5" stroke="#7a8794" stroke-width="2"/></pattern></defs>',
    ]
    for share in (1.0, 0.5, 0.0):
        y = TOP + inner * (1 - share)
        label = words.get("statement.minutes", n=round(most_ms * share / 60_000))
        out.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="currentColor" '
            f'stroke-opacity="0.18"/><text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end" fill="currentColor">'
            f"{escape(label)}</text>"
        )
    for at, (day, unplanned, planned) in enumerate(days):
        x = LEFT + at * step
        low, high = inner * unplanned / most_ms, inner * planned / most_ms
        base = TOP + inner
        if unplanned:
            out.append(_rect("down", x + 1, base - low, step - 2, low, "#a51d1d"))
        if planned:
            out.append(_rect("planned", x + 1, base - low - high, step - 2, high, "url(#hatch)"))
        if day == 1 or day % 5 == 0:
            out.append(
                f'<text x="{x + step / 2:.1f}" y="{HEIGHT - 7}" text-anchor="middle" fill="currentColor">{day}</text>'
            )
    out.append("</svg>")
    return "".join(out)


def owners(words: Texts, minutes: Minutes) -> str:
    """One bar of working time, divided among us, the client, the provider and other agreed reasons; "" for none."""
    whole = sum(getattr(minutes, name) for name in OWNERS)
    if whole <= 0:
        return ""
    told = "; ".join(
        f"{words.get(f'statement.owner.{name}')} {100 * getattr(minutes, name) / whole:.0f} %"
        for name in OWNERS
    )
    out = [
        f'<svg class="plot owners" viewBox="0 0 {WIDTH} {BAR_HEIGHT}" width="{WIDTH}" height="{BAR_HEIGHT}" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-size="12"><title>{escape(told)}</title>'
    ]
    x = 0.0
    for name in OWNERS:
        width = WIDTH * getattr(minutes, name) / whole
        if width <= 0:
            continue
        out.append(_rect(f"owner-{name.removesuffix('_ms')}", x, 4, width, BAR_HEIGHT - 8, FILLS[name]))
        if width > 46:
            share = f"{100 * getattr(minutes, name) / whole:.0f} %"
            ink = "#16191d" if name == "client_ms" else "#ffffff"
            out.append(f'<text x="{x + 8:.1f}" y="{BAR_HEIGHT / 2 + 4:.1f}" fill="{ink}">{share}</text>')
        x += width
    out.append("</svg>")
    return "".join(out)


def _rect(name: str, x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{max(0.5, width):.1f}" height="{max(0.5, height):.1f}" '
        f'fill="{fill}"/>'
    )
