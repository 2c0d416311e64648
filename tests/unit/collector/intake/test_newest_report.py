"""Which report of a host is the newest, which is late, and when two servers share one token. Pure."""

from __future__ import annotations

from collector.fleet_cache import BOOTS_KEPT, LATE_MAX_MS, HostEntry, Sight

QUIET_MS = 600_000
T0 = 1_767_225_600_000


class Heard:
    """A host entry that is told reports."""

    def __init__(self) -> None:
        self.entry = HostEntry("a1", "acme", "hash")

    def says(self, boot: str, mono: int, received: int, run: str = "r1") -> Sight:
        return self.entry.sight(boot, run, mono, received, QUIET_MS)


def test_within_a_run_the_greater_monotonic_clock_is_newer() -> None:
    host = Heard()
    assert host.says("b1", 1000, T0) is Sight.NEWEST
    assert host.says("b1", 3000, T0 + 2000) is Sight.NEWEST
    assert host.says("b1", 2000, T0 + 2100) is Sight.OLDER
    assert host.says("b1", 3000, T0 + 2200) is Sight.OLDER, "a repeat is not newer"


def test_a_restarted_agent_is_newer_and_a_late_word_of_the_run_before_is_not() -> None:
    host = Heard()
    host.says("b1", 1000, T0, run="r1")
    assert host.says("b1", 5000, T0 + 4000, run="r2") is Sight.NEWEST
    assert host.says("b1", 4000, T0 + 4100, run="r1") is Sight.OLDER
    assert host.says("b1", 6000, T0 + 5000, run="r1") is Sight.OLDER, "seen before the current run"
    assert host.says("b1", 7000, T0 + 6000, run="r2") is Sight.NEWEST


def test_a_reboot_is_newer_though_its_clock_starts_again() -> None:
    host = Heard()
    host.says("b1", 900_000, T0)
    assert host.says("b2", 5000, T0 + 60_000) is Sight.NEWEST
    assert host.entry.boot_id == "b2"


def test_a_late_report_from_before_the_reboot_is_older_and_no_clone() -> None:
    """It was sent before the new boot was heard: its own offset says so, however late it came."""
    host = Heard()
    host.says("b1", 900_000, T0)
    host.says("b2", 5000, T0 + 60_000)
    assert host.says("b1", 901_000, T0 + 61_000) is Sight.OLDER
    assert host.says("b2", 15_000, T0 + 70_000) is Sight.NEWEST
    assert host.entry.clone_seen_at_ms is None


def test_two_servers_that_both_go_on_speaking_are_a_clone_and_neither_is_believed() -> None:
    host = Heard()
    sights = []
    for step in range(4):
        sights.append(host.says("b1", 100_000 + step * 10_000, T0 + step * 10_000))
        sights.append(host.says("b2", 5000 + step * 10_000, T0 + 5000 + step * 10_000))
    assert sights[:3] == [Sight.NEWEST] * 3, "a reboot, and one half that was heard again, prove nothing yet"
    assert sights[3:] == [Sight.CLONE] * 5


def test_a_clone_is_over_when_one_half_was_silent_long_enough() -> None:
    host = Heard()
    for step in range(3):
        host.says("b1", 100_000 + step * 10_000, T0 + step * 10_000)
        host.says("b2", 5000 + step * 10_000, T0 + 5000 + step * 10_000)
    last = T0 + 25_000
    assert host.says("b2", 30_000, last + QUIET_MS - 2000) is Sight.CLONE
    assert host.says("b2", 40_000 + QUIET_MS, last + QUIET_MS + 1000) is Sight.NEWEST


def test_a_late_word_after_the_collectors_restart_makes_no_clone() -> None:
    """The cache remembers the newest boot only; the other half must be heard twice before anything is concluded."""
    host = Heard()
    host.entry.restored("b2", "r1", 5000, T0, T0 - 5000)
    assert host.says("b1", 901_000, T0 + 1000) is Sight.NEWEST
    assert host.says("b2", 15_000, T0 + 10_000) is Sight.NEWEST
    assert host.says("b2", 25_000, T0 + 20_000) is Sight.NEWEST
    assert host.entry.clone_seen_at_ms is None
    assert host.entry.boot_id == "b2"


def test_a_guest_set_back_to_a_snapshot_of_its_memory_is_believed_again() -> None:
    """Same boot, clock far behind: no message is that late, so it is the server that went back."""
    host = Heard()
    host.says("b1", 10_000_000, T0)
    back = T0 + 60_000
    assert host.says("b1", 10_000_000 - LATE_MAX_MS, back) is Sight.NEWEST
    assert host.says("b1", 10_010_000 - LATE_MAX_MS, back + 10_000) is Sight.NEWEST


def test_a_paused_guest_goes_on_where_it_stood() -> None:
    host = Heard()
    host.says("b1", 10_000, T0)
    assert host.says("b1", 11_000, T0 + 3_600_000) is Sight.NEWEST


def test_what_is_remembered_of_boots_is_bounded() -> None:
    host = Heard()
    for n in range(50):
        assert host.says(f"b{n}", 1000, T0 + n * 60_000) is Sight.NEWEST
    assert len(host.entry.boots) == BOOTS_KEPT
    assert host.entry.boot_id == "b49"
