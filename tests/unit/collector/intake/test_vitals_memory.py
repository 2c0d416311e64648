"""The intake's side of the short memory of vitals: what is packed is what comes out, and it has bounds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire import VITALS
from collector.fleet_cache import HostEntry
from collector.vitals import BLOCKS_A_FLUSH, EVERY_MS, WAITING_MAX, WRITE_EVERY_MS, Keeping, packed, unpacked

pytestmark = pytest.mark.collector

T0 = 1_767_225_600_000
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, width=32), st.floats(allow_nan=False))


@given(st.dictionaries(st.sampled_from([*VITALS, "newer.vital"]), NUMBERS), st.integers(0, 2**62))
def test_what_is_packed_comes_out_again(numbers: dict[str, float | None], at_ms: int) -> None:
    """As well as a float32 can say it; what it cannot hold is unknown, and nothing breaks."""
    found_at_ms, found = unpacked(packed(at_ms, numbers))
    assert found_at_ms == at_ms
    assert found.keys() == set(VITALS)
    for name in VITALS:
        value, back = numbers.get(name), found[name]
        if value is None or abs(value) > 3.0e38:
            assert back is None
        else:
            assert back is not None and math.isclose(back, value, rel_tol=1e-6, abs_tol=1e-37)


def test_one_point_is_kept_a_half_minute_however_often_the_host_beats() -> None:
    keeping, entry = Keeping(), HostEntry("a1", "acme", "")
    for second in range(91):
        keeping.take(entry, {"load.per_cpu": float(second)}, T0 + second * 1000)
    ((_, block),) = keeping.due(T0 + 91_000)
    assert [unpacked(point)[1]["load.per_cpu"] for point in block["a1"]] == [0.0, 30.0, 60.0, 90.0]


def test_a_heartbeat_without_vitals_keeps_nothing() -> None:
    keeping, entry = Keeping(), HostEntry("a1", "acme", "")
    keeping.take(entry, {}, T0)
    assert keeping.due(T0) == []


def test_while_the_store_cannot_be_written_only_the_newest_points_wait() -> None:
    keeping, entry = Keeping(), HostEntry("a1", "acme", "")
    for n in range(WAITING_MAX + 40):
        keeping.take(entry, {"load.per_cpu": float(n)}, T0 + n * EVERY_MS)
        keeping.again(keeping.due(T0 + n * EVERY_MS))
    ((_, block),) = keeping.due(T0 + 10_000_000)
    assert len(block["a1"]) == WAITING_MAX
    assert unpacked(block["a1"][-1])[1]["load.per_cpu"] == WAITING_MAX + 39


def test_blocks_are_written_in_turn_so_that_none_waits_for_ever() -> None:
    keeping = Keeping()
    entries = [HostEntry(f"h{n}", "acme", "") for n in range(1000)]
    written: dict[str, int] = {}
    for second in range(60):
        now_ms = T0 + second * 1000
        for entry in entries:
            keeping.take(entry, {"load.per_cpu": 1.0}, now_ms)
        blocks = keeping.due(now_ms)
        assert len(blocks) <= BLOCKS_A_FLUSH
        for _, block in blocks:
            for host_id, points in block.items():
                written[host_id] = written.get(host_id, 0) + len(points)
    assert len(written) == len(entries)
    assert min(written.values()) >= 2, "a point a half minute, none of them kept back"
    assert WRITE_EVERY_MS >= 1000
