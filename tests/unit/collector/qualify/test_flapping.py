"""The ring of flapping, against values counted by hand for both tables of constants."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.qualify.flapping import ICINGA, NAGIOS, Constants, Ring

T0 = 1_767_225_600_000

ICINGA_WEIGHTS = [
    0.80, 0.82, 0.84, 0.86, 0.88, 0.90, 0.92, 0.94, 0.96, 0.98,
    1.00, 1.02, 1.04, 1.06, 1.08, 1.10, 1.12, 1.14, 1.16, 1.18,
]  # fmt: skip
"""0.8 + 0.02 * i, the oldest first."""
NAGIOS_WEIGHTS = [
    0.7500, 0.7763, 0.8026, 0.8289, 0.8553, 0.8816, 0.9079, 0.9342, 0.9605, 0.9868,
    1.0132, 1.0395, 1.0658, 1.0921, 1.1184, 1.1447, 1.1711, 1.1974, 1.2237, 1.2500,
]  # fmt: skip
"""0.75 + 0.5 / 19 * i, rounded to four places."""


def pushed(changes: str, by: Constants = ICINGA) -> Ring:
    """A ring after results written as a row of 0 and 1, the oldest first."""
    ring = Ring()
    for letter in changes:
        ring = ring.pushed(letter == "1", by)
    return ring


@pytest.mark.parametrize(("by", "weights"), [(ICINGA, ICINGA_WEIGHTS), (NAGIOS, NAGIOS_WEIGHTS)])
def test_the_weights_are_those_of_the_table(by: Constants, weights: list[float]) -> None:
    assert [by.weight(i) for i in range(20)] == pytest.approx(weights, abs=5e-5)


@pytest.mark.parametrize(
    ("changes", "icinga", "nagios"),
    [
        ("0" * 20, 0.0, 0.0),
        ("1" * 20, 99.0, 100.0),  # 19.8 / 20; 20 / 20
        ("0" * 19 + "1", 5.9, 6.25),  # 1.18 / 20; 1.25 / 20
        ("1" + "0" * 19, 4.0, 3.75),  # 0.80 / 20; 0.75 / 20
        ("01" * 10, 50.0, 50.657895),  # 8.0 + 0.02 * 100 = 10.0; 7.5 + 0.5 / 19 * 100 = 10.1316
        ("0" * 15 + "1" * 5, 28.5, 29.934211),  # 1.10+1.12+1.14+1.16+1.18 = 5.70; 5.9868
        ("0" * 14 + "1" * 6, 33.9, 35.526316),  # and 1.08 = 6.78; and 1.1184 = 7.1053
    ],
)
def test_the_value_is_as_counted_by_hand(changes: str, icinga: float, nagios: float) -> None:
    assert pushed(changes, ICINGA).value(ICINGA) == pytest.approx(icinga)
    assert pushed(changes, NAGIOS).value(NAGIOS) == pytest.approx(nagios, abs=1e-6)


def test_icinga_s_flapping_begins_above_thirty_and_ends_at_twenty_five() -> None:
    assert not pushed("0" * 15 + "1" * 5).is_flapping, "28.5 is not above 30"
    ring = pushed("0" * 14 + "1" * 6)
    assert ring.is_flapping, "33.9 is"
    # As time passes the six changes lose 0.02 * 6 = 0.12 of weight, 0.6 of value, a step: 33.9 - 14 * 0.6 = 25.5, then
    # the oldest weighs least and falls out: five changes at the old end, 0.80 to 0.88 = 4.20 = 21.0.
    values = [ring.value()]
    while ring.is_flapping:
        ring = ring.pushed(False)
        values.append(ring.value())
    assert values[1] == pytest.approx(33.3)
    assert values[-2:] == pytest.approx([25.5, 21.0])
    assert len(values) == 16


def test_nagios_flapping_begins_at_thirty_and_ends_below_twenty() -> None:
    assert not pushed("0" * 15 + "1" * 5, NAGIOS).is_flapping, "29.93 is below 30"
    assert pushed("0" * 14 + "1" * 6, NAGIOS).is_flapping
    at = Constants(20, 0.75, 1.25, 30.0, 20.0, is_inclusive=True)
    assert at.is_flapping(30.0, was=False) and at.is_flapping(20.0, was=True)
    assert not ICINGA.is_flapping(30.0, was=False) and not ICINGA.is_flapping(25.0, was=True)


def test_time_without_a_change_is_a_result_as_before() -> None:
    ring = Ring(last_ms=T0)
    for n in range(6):
        ring = ring.changed(T0 + n * 30_000)
    assert ring.is_flapping
    calm = ring.calm_at_ms()
    assert calm == T0 + 150_000 + 15 * ICINGA.step_ms
    assert ring.at(calm - 1).is_flapping and not ring.at(calm).is_flapping


def test_a_step_of_other_length_changes_how_soon_it_is_calm_and_nothing_else() -> None:
    quick, ring = dataclasses.replace(ICINGA, step_ms=3_000), Ring(last_ms=T0)
    for n in range(6):
        ring = ring.changed(T0 + n * 500, quick)
    assert ring.is_flapping
    assert ring.calm_at_ms(quick) == T0 + 2_500 + 15 * 3_000


def test_a_change_now_and_then_is_no_flapping() -> None:
    ring = Ring(last_ms=T0)
    for n in range(100):
        ring = ring.changed(T0 + n * 15 * 60_000)
        assert not ring.is_flapping


@given(st.lists(st.integers(0, 10_000_000), max_size=40))
def test_whatever_the_instants_the_ring_is_bounded_and_comes_back_from_the_store(instants: list[int]) -> None:
    ring = Ring(last_ms=T0)
    for instant in instants:
        before = ring.last_ms
        ring = ring.changed(T0 + instant)
        assert 0 <= ring.bits < 1 << 20 and ring.last_ms >= before
    assert Ring.from_list(ring.to_list()) == ring
    assert (ring.calm_at_ms() is not None) == ring.is_flapping


@pytest.mark.parametrize("raw", [None, [], [1, 2], ["a", 1, 1], {"bits": 1}])
def test_a_misshapen_ring_is_a_quiet_one(raw: object) -> None:
    assert Ring.from_list(raw) == Ring()
