"""The quarter of an hour in memory: bounded, ordered, forgetful."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.history import MAX_POINTS, SPACING_MS, WINDOW_MS, History
from agent.signals.sample import Sample
from tests.tools.examples import examples


def history(points, signal="s", subject=""):
    made = History()
    for at_ms, value in points:
        made.record([Sample(signal, subject, value, at_ms)])
    return made


def test_series_and_median_are_of_the_asked_window():
    made = history([(t * 10_000, float(t)) for t in range(20)])
    assert made.series("s", since_ms=170_000) == [(170_000, 17.0), (180_000, 18.0), (190_000, 19.0)]
    assert made.median("s", "", 0, 50_000) == 2.0
    assert made.median("s", "", 900_000, 990_000) is None and made.median("x", "", 0, 9) is None


def test_the_newest_value_of_any_kind_is_kept_and_none_leaves_it_standing():
    made = history([(1, "ok"), (2, None)])
    assert made.newest("s") == Sample("s", "", "ok", 1) and made.value("s") == "ok"
    assert made.value("never") is None and made.series("s") == []


def test_parts_are_told_apart():
    made = history([(1, 5.0)], subject="/var")
    assert made.subjects("s") == ["/var"] and made.value("s") is None


def test_what_went_away_is_forgotten():
    made = history([(0, 1.0)])
    made.prune(WINDOW_MS)
    assert made.value("s") == 1.0
    made.prune(5 * WINDOW_MS)
    assert made.all_newest() == []


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.integers(0, 30_000), max_size=400))
def test_for_any_spacing_points_stay_ordered_bounded_and_end_with_the_newest(spacings):
    made, at_ms = History(), 0
    for spacing in spacings:
        at_ms += spacing
        made.record([Sample("s", "", float(at_ms), at_ms)])
    times = [t for t, _ in made.series("s")]
    assert times == sorted(set(times)) and len(times) <= MAX_POINTS
    assert all(v == t for t, v in made.series("s"))
    if spacings:
        assert times[-1] == at_ms
    assert all(c - a >= SPACING_MS for a, c in zip(times, times[2:]))
