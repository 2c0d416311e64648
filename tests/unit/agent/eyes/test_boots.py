"""How a boot ended: wtmp, the black box, last words, and the account that is made of them, once for each boot."""

from __future__ import annotations

import datetime as dt
import json
import os
import struct
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.blackbox import FILE_BYTES, RECORD_BYTES, RECORDS, BlackBox, Record
from agent.checks.systemctl import Unavailable
from agent.forensics import KINDS, RUNGS, Accounts, BootSigns, dead_rung, of_boot, of_hole, of_start
from agent.samplers import platform
from agent.samplers.base import LoopNotes
from agent.samplers.root_only import NoAnswer
from agent.samplers.witness import Witness
from agent.signals.parsers.boots import ending_of, is_replayed, panic_in, syslog_before
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.wtmp import RECORD_BYTES as WTMP_BYTES
from agent.signals.parsers.wtmp import Mark, last_boot, parse_wtmp
from agent.signals.sample import Sample
from agent.wire import GOODBYES
from config.clock import FixedClock
from tests.tools.examples import examples

Lay = Callable[[Dict[str, str]], Path]
METAL = platform.Platform("bare-metal", "", "5.14.0-427.el9.x86_64", "tsc")
OLD, NEW = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


# --- wtmp --------------------------------------------------------------------------------------------------------


def utmp(kind: int, user: str, line: str, at_s: int, host: str = "5.14.0-427.el9.x86_64") -> bytes:
    """One record as glibc's struct utmp lies in the file on x86-64."""
    return struct.pack(
        "<hxxi32s4s32s256shhiii16s20x",
        kind, 0, line.encode(), b"~~", user.encode(), host.encode(), 0, 0, 0, at_s, 0, b"",
    )  # fmt: skip


def boot(at_s: int) -> bytes:
    return utmp(2, "reboot", "~", at_s)


def shutdown(at_s: int) -> bytes:
    return utmp(1, "shutdown", "~", at_s)


def login(at_s: int) -> bytes:
    return utmp(7, "ivan", "pts/0", at_s, "203.0.113.9")


def runlevel(at_s: int) -> bytes:
    return utmp(1, "runlevel", "~", at_s)


def test_a_boot_behind_a_shutdown_is_orderly_and_one_behind_a_boot_is_not() -> None:
    octets = boot(100) + runlevel(110) + login(120) + shutdown(200) + boot(210) + login(220)
    assert last_boot(parse_wtmp(octets)) == (Mark("boot", 210, "5.14.0-427.el9.x86_64"), True)
    assert last_boot(parse_wtmp(octets + boot(300)))[1] is False
    assert (
        last_boot(parse_wtmp(octets + shutdown(300)))[1] is True
    )  # going down now: the last boot was orderly


def test_a_file_that_does_not_reach_back_says_nothing() -> None:
    assert last_boot([]) == (None, None)
    assert last_boot(parse_wtmp(login(5) + boot(10))) == (Mark("boot", 10, "5.14.0-427.el9.x86_64"), None)
    assert last_boot(parse_wtmp(shutdown(5) + boot(10)))[1] is True


@settings(max_examples=examples(80), deadline=None, database=None)
@given(
    st.lists(st.tuples(st.sampled_from("bsrl"), st.integers(1, 2**31 - 1)), max_size=30),
    st.integers(0, WTMP_BYTES - 1),
)
def test_every_boot_and_shutdown_is_read_back_whatever_stands_between_and_however_the_end_is_torn(
    entries: List[Tuple[str, int]], torn: int
) -> None:
    write = {"b": boot, "s": shutdown, "r": runlevel, "l": login}
    octets = b"".join(write[kind](at_s) for kind, at_s in entries)
    wanted = [("boot" if kind == "b" else "shutdown", at_s) for kind, at_s in entries if kind in "bs"]
    assert [(m.kind, m.at_s) for m in parse_wtmp(octets)] == wanted
    assert [(m.kind, m.at_s) for m in parse_wtmp(octets + boot(7)[:torn])] == wanted


@settings(max_examples=examples(200), deadline=None, database=None)
@given(st.binary(max_size=3 * WTMP_BYTES))
def test_any_octets_are_parsed_or_refused_in_one_way(octets: bytes) -> None:
    try:
        last_boot(parse_wtmp(octets))
    except ParseError as error:
        assert str(error)


# --- the black box -----------------------------------------------------------------------------------------------


def record(number: int, boot_id: str = OLD, kind: str = "beat") -> Record:
    return Record(
        1_000_000 + number * 60_000,
        number * 60_000,
        number * 60_000,
        boot_id,
        kind,
        0.5,
        40.0,
        1.5,
        0.0,
        3,
        127,
    )


def test_what_was_written_is_read_back_in_order_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "box"
    first = BlackBox(path)
    for number in range(3):
        first.write(record(number))
    first.close()
    second = BlackBox(path)
    second.write(record(3, NEW, "accounted"))
    assert second.read() == [record(0), record(1), record(2), record(3, NEW, "accounted")]
    assert path.stat().st_size == FILE_BYTES == 1024 * 1024
    second.close()


def test_the_ring_keeps_the_newest(tmp_path: Path) -> None:
    box = BlackBox(tmp_path / "box")
    box.write(record(0))
    box._number = RECORDS * 5 - 2  # pretend that days have passed
    for number in range(1, 6):
        box.write(record(number))
    assert [r.mono_ms // 60_000 for r in box.read()][-5:] == [1, 2, 3, 4, 5]
    box.close()


@settings(max_examples=examples(60), deadline=None, database=None)
@given(st.integers(0, 12 * RECORD_BYTES), st.binary(min_size=1, max_size=300), st.booleans())
def test_torn_and_damaged_records_are_passed_over_and_the_others_stand(
    at: int, damage: bytes, is_cut: bool
) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = Path(folder) / "box"
        box = BlackBox(path)
        wanted = [record(number) for number in range(10)]
        for one in wanted:
            box.write(one)
        box.close()
        octets = bytearray(path.read_bytes())
        octets[at : at + len(damage)] = damage
        path.write_bytes(bytes(octets[: at + 1] if is_cut else octets[:FILE_BYTES]))
        again = BlackBox(path)
        left = again.read()
        assert [one for one in wanted if one in left] == left
        touched = set(range(at // RECORD_BYTES, (at + len(damage)) // RECORD_BYTES + 1))
        if not is_cut:
            # Records lie from place 1 on: number n in place n.
            assert set(wanted) - set(left) <= {wanted[place - 1] for place in touched if 1 <= place <= 10}
        again.write(record(99))
        assert record(99) in again.read()
        again.close()


def test_a_file_of_something_else_is_no_reason_not_to_write(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_text("not a black box\n" * 10)
    box = BlackBox(path)
    assert box.read() == []
    box.write(record(1))
    assert box.read() == [record(1)]
    box.close()


# --- words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "EXT4-fs (vda1): recovery complete",
        "XFS (dm-0): Starting recovery (logdev: internal)",
        "XFS (dm-0): Ending recovery (logdev: internal)",
        "systemd-fsck[412]: /dev/sda1: recovering journal",
    ],
)
def test_a_replayed_journal_is_known_by_its_line(line: str) -> None:
    assert is_replayed(["x", line])


def test_an_orderly_mount_is_no_replay() -> None:
    assert not is_replayed(
        [
            "EXT4-fs (vda1): mounted filesystem with ordered data mode. Opts: (null)",
            "XFS (dm-0): Ending clean mount",
        ]
    )


def test_a_panic_is_told_with_its_place_and_a_hardware_error_beside_it() -> None:
    text = (
        "mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 4: b200000000070f0f\n"
        "Kernel panic - not syncing: Fatal machine check\n"
        "RIP: 0010:[<ffffffff8100b3a0>] vendor_fw+0x1c/0x90 [vendor_fw]\n"
    )
    said = panic_in(text)
    assert said.startswith("Kernel panic - not syncing: Fatal machine check; RIP: vendor_fw+0x1c")
    assert "[Hardware Error]" in said
    assert panic_in("all is well\n") == ""


def test_who_asked_for_the_end_is_told() -> None:
    ending = ending_of(
        [
            "sudo[881]: ivan : TTY=pts/0 ; PWD=/root ; USER=root ; COMMAND=/usr/sbin/reboot",
            "systemd-logind[712]: The system will reboot now!",
            "systemd[1]: Reached target Reboot.",
        ]
    )
    assert ending.is_orderly
    assert ending.orders == ["/usr/sbin/reboot", "The system will reboot now!"]
    assert ending_of(["sshd[9]: Accepted publickey for ivan"]) == (False, [])
    assert ending_of(["systemd-logind[712]: Power key pressed."]).orders == ["Power key pressed."]


def test_of_syslog_only_lines_before_the_boot_are_the_last_words() -> None:
    now_s = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.timezone.utc).timestamp()
    text = (
        "Mar  1 11:57:00 web-1 httpd: serving\nMar  1 11:58:00 web-1 kernel: sd 0:0:0:0: rejecting I/O\n"
        "Mar  1 11:59:30 web-1 kernel: Linux version 3.10\nno line at all\n"
    )
    lines = syslog_before(text, now_s - 60, now_s, dt.timezone.utc, 5)
    assert [line.text for line in lines] == ["httpd: serving", "kernel: sd 0:0:0:0: rejecting I/O"]


# --- accounts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signs", "kind"),
    [
        ({"wtmp_shutdown": True}, "reboot_planned"),
        ({"wtmp_shutdown": False}, "reboot_unclean"),
        ({"wtmp_shutdown": False, "panic": "vmcore: Kernel panic - not syncing: x"}, "panic"),
        (
            {"wtmp_shutdown": False, "restart_cause": "power-up due to always-restore power policy"},
            "power_lost",
        ),
        (
            {"wtmp_shutdown": True, "restart_cause": "power-up due to always-restore power policy"},
            "reboot_planned",
        ),
        ({"ended_in_order": True}, "reboot_planned"),
        ({"last": record(9, kind="host_shutdown")}, "reboot_planned"),
        ({"last": record(9)}, "reboot_unclean"),
        ({"fs_recovery": True}, "reboot_unclean"),
        # Told to go down, and hung on the way: wtmp has no word, the journal was not closed.
        ({"last": record(9, kind="host_shutdown"), "wtmp_shutdown": False}, "reboot_unclean"),
    ],
)
def test_the_kind_of_a_reboot_follows_from_what_was_left(signs: Dict[str, Any], kind: str) -> None:
    account = of_boot(BootSigns(10**12, "k", **{"last": None, **signs}))
    assert account.kind == kind
    assert account.why
    json.dumps(account.value())


def test_nothing_known_is_not_called_unclean_by_the_signal() -> None:
    assert BootSigns(10**12, "k", None).was_shut_down() is None


def test_an_account_names_the_last_sign_of_life_and_what_it_was_like() -> None:
    value = of_boot(BootSigns(10**12, "k", record(9), wtmp_shutdown=False)).value()
    assert (value["from_ms"], value["to_ms"]) == (record(9).wall_ms, 10**12)
    assert value["before"]["load.per_cpu"] == 0.5 and value["before"]["net.ladder"] == 127


@pytest.mark.parametrize(
    ("gap_s", "progress", "kind"),
    [
        (2.0, 0.0, None),
        (8.0, 0.1, "guest_paused"),
        (8.0, 0.9, "agent_starved"),
        (8.0, 0.5, "slowed"),
        (8.0, None, "slowed"),
    ],
)
def test_a_hole_is_a_pause_or_a_starved_agent(
    gap_s: float, progress: Optional[float], kind: Optional[str]
) -> None:
    account = of_hole(gap_s, progress, 1.0, 10**12)
    assert (account.kind if account else None) == kind


def test_an_agent_that_ends_right_after_its_account_was_still_alive() -> None:
    """The account's own record is a sign of life like a beat: what comes next within the minute is told all the same."""
    last = record(9, kind="accounted")
    ended = of_start(last, last.wall_ms + 3_000)
    assert ended is not None and ended.kind == "agent_ended"
    signs = BootSigns(last.wall_ms + 60_000, "5.14", last, None, None, [], "", None, "")
    assert signs.was_shut_down() is False
    assert "nobody told the agent to stop" in of_boot(signs).why


def test_every_goodbye_of_the_wire_can_be_written_and_is_no_crash(tmp_path: Path) -> None:
    for goodbye in GOODBYES:
        box = BlackBox(tmp_path / goodbye)
        box.read()
        box.write(record(9, kind=goodbye))
        (found,) = BlackBox(tmp_path / goodbye).read()
        account = of_start(found, found.wall_ms + 40_000)
        assert account is not None and account.kind == "agent_stopped"


def test_an_agent_that_starts_again_says_whether_it_was_stopped() -> None:
    stopped, ended = (
        of_start(record(9, kind="service_stop"), record(9).wall_ms + 40_000),
        of_start(record(9), record(9).wall_ms),
    )
    assert stopped is not None and stopped.kind == "agent_stopped"
    assert ended is not None and ended.kind == "agent_ended"
    assert of_start(record(9, kind="service_stop"), record(9).wall_ms + 2_000) is None  # an upgrade


@pytest.mark.parametrize(
    ("values", "rung"),
    [
        ({"net.link": "down", "net.gw": "dead", "net.anchors": 0}, "link"),
        ({"net.link": "up", "net.gw": "dead"}, "gateway"),
        ({"net.link": "up", "net.gw": "ok", "net.hop2": "dead", "net.anchors": 0}, "hop 2"),
        ({"net.link": "up", "net.gw": "ok", "net.hop2": "ok", "net.anchors": 0}, "anchors"),
        ({"net.hop2": "dead", "net.anchors": 3}, "collector"),
        ({"net.anchors": 2, "net.dns_sys": "fail"}, "resolver"),
        ({}, "collector"),
    ],
)
def test_the_nearest_dead_rung_is_named_and_a_silent_hop_before_living_anchors_is_none(
    values: Dict[str, Any], rung: str
) -> None:
    assert dead_rung(values.get) == rung
    assert rung in RUNGS


def test_a_cut_is_told_when_the_collector_answers_again_with_its_beginning() -> None:
    accounts = Accounts()
    assert accounts.heard(False, {"net.anchors": 3}.get, 1_000_000, 0) == []
    assert accounts.heard(False, {"net.gw": "dead"}.get, 1_040_000, 40_000) == []
    assert accounts.heard(False, {"net.anchors": 3}.get, 1_080_000, 80_000) == []
    (sample,) = accounts.heard(True, {}.get, 1_100_000, 100_000)
    assert sample.value == {
        "kind": "network_cut", "from_ms": 1_000_000, "to_ms": 1_100_000, "rung": "gateway",
        "why": ["the nearest rung that did not answer: gateway"],
    }  # fmt: skip
    assert accounts.heard(True, {}.get, 1_200_000, 200_000) == []


def test_a_short_failure_is_no_cut() -> None:
    accounts = Accounts()
    accounts.heard(False, {}.get, 0, 0)
    assert accounts.heard(True, {}.get, 12_000, 12_000) == []


# --- the witness -------------------------------------------------------------------------------------------------


class Machine:
    """A tree, a clock, a black box from before, and what root and the journal would say."""

    def __init__(self, lay: Lay, tmp_path: Path) -> None:
        self.clock = FixedClock(wall_ms=1_800_000_000_000, mono_ms=30_000)
        self.box = tmp_path / "black_box"
        self.booted_s = (self.clock.wall_ms - 30_000) // 1000
        self.root = lay({"proc/sys/kernel/random/boot_id": NEW + "\n", "dev/ipmi0": ""})
        self.answers: Dict[str, Union[str, NoAnswer]] = {
            "crashes": "[]",
            "restart_cause": NoAnswer("late", True),
        }
        self.journal: Dict[str, Union[str, Unavailable]] = {}
        self.notes = LoopNotes()

    def lived(self, *kinds: str) -> None:
        """The last records of the boot before."""
        box = BlackBox(self.box)
        for kind in kinds:
            box.write(record(1, OLD, kind)._replace(wall_ms=self.clock.wall_ms - 120_000))
        box.close()

    def wtmp(self, *records: bytes) -> None:
        path = self.root / "var/log/wtmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(records))

    def witness(self, notes: Optional[LoopNotes] = None) -> Witness:
        return Witness(
            self.root, self.box, notes or self.notes, METAL, clock=self.clock,
            ask=lambda question: self.answers.get(question, NoAnswer("no")),
            journal=lambda options: self.journal.get(options[0], Unavailable("no journal")),
        )  # fmt: skip

    def told(self, witness: Witness) -> List[Sample]:
        """What it told until it had told all, and its beats written."""
        found: List[Sample] = []
        for _ in range(50):
            found += witness.sweep(self.clock.mono)
            for errand in (witness._look, witness._writing):
                if errand is not None:
                    errand.wait(5)
            if witness._is_told:
                break
        witness.sweep(self.clock.mono)
        if witness._writing is not None:
            witness._writing.wait(5)
        return found


@pytest.fixture
def machine(lay: Lay, tmp_path: Path) -> Machine:
    return Machine(lay, tmp_path)


def values(samples: List[Sample]) -> Dict[str, Any]:
    return {sample.signal: sample.value for sample in samples}


def test_a_loss_of_power_is_told_with_all_that_was_found_and_dated_by_the_boot(machine: Machine) -> None:
    machine.lived("beat", "beat")
    machine.wtmp(boot(machine.booted_s - 90_000), boot(machine.booted_s))
    machine.answers["restart_cause"] = "System restart cause: power-up due to always-restore power policy\n"
    machine.journal["--dmesg"] = "2027-01-15T08:00:01+0000 web-1 kernel: EXT4-fs (sda1): recovery complete\n"
    machine.journal["--boot=-1"] = "2027-01-15T07:58:00+0000 web-1 app[3]: login password=hunter2 ok\n"
    samples = machine.told(machine.witness())
    found = values(samples)
    assert found["boot.wtmp_shutdown"] is False
    assert found["boot.fs_recovery"] is True
    assert found["boot.pstore"] == "none"
    assert found["boot.restart_cause"] == "power-up due to always-restore power policy"
    assert found["host.gap"]["kind"] == "power_lost"
    assert found["host.gap"]["from_ms"] == machine.clock.wall_ms - 120_000
    assert {sample.at_ms for sample in samples} == {0}
    assert machine.notes.last_words[-1]["source"] == "last boot"
    assert "hunter2" not in json.dumps(machine.notes.last_words)


def test_an_orderly_reboot_is_told_as_planned_with_who_asked(machine: Machine) -> None:
    machine.lived("beat", "host_shutdown")
    machine.wtmp(boot(machine.booted_s - 90_000), shutdown(machine.booted_s - 60), boot(machine.booted_s))
    machine.journal["--boot=-1"] = (
        "2027-01-15T07:58:00+0000 web-1 systemd-logind[7]: The system will reboot now!\n"
    )
    found = values(machine.told(machine.witness()))
    assert found["boot.wtmp_shutdown"] is True
    assert found["host.gap"]["kind"] == "reboot_planned"
    assert "asked for by: The system will reboot now!" in found["host.gap"]["why"]


def test_on_a_machine_without_a_lasting_journal_syslogs_files_say_who_asked(machine: Machine) -> None:
    machine.lived("beat", "host_shutdown")
    machine.wtmp(boot(machine.booted_s - 90_000), shutdown(machine.booted_s - 60), boot(machine.booted_s))

    def stamp(before_s: int) -> str:
        return dt.datetime.fromtimestamp(machine.booted_s - before_s).strftime("%b %e %H:%M:%S")

    asked = "web-1 sudo: ivan : TTY=pts/0 ; PWD=/root ; USER=root ; COMMAND=/usr/sbin/"
    machine.answers["secure"] = (
        f"{stamp(7200)} {asked}poweroff\n{stamp(70)} {asked}reboot\n{stamp(-5)} {asked}halt\n"
    )
    machine.answers["messages"] = f"{stamp(62)} web-1 systemd: Stopping sshd.\n"
    account = values(machine.told(machine.witness()))["host.gap"]
    assert [reason for reason in account["why"] if "asked for" in reason] == [
        "asked for by: /usr/sbin/reboot"
    ]
    assert machine.notes.last_words[-1]["text"] == "systemd: Stopping sshd."


def test_a_panic_that_pstore_kept_is_told_and_one_of_last_year_is_not(machine: Machine) -> None:
    machine.lived("beat")
    crash = {"path": "/var/lib/systemd/pstore/9/dmesg.txt", "text": "Kernel panic - not syncing: VFS\n"}
    machine.answers["crashes"] = json.dumps([{**crash, "at_s": machine.booted_s - 100}])
    assert values(machine.told(machine.witness()))["boot.pstore"] == "pstore: Kernel panic - not syncing: VFS"
    machine.box.unlink()
    machine.lived("beat")
    machine.answers["crashes"] = json.dumps([{**crash, "at_s": machine.booted_s - 30_000_000}])
    assert values(machine.told(machine.witness(LoopNotes())))["boot.pstore"] == "none"


def test_an_account_is_told_once_for_each_boot(machine: Machine) -> None:
    machine.lived("beat")
    machine.wtmp(boot(machine.booted_s - 90_000), boot(machine.booted_s))
    assert "boot.wtmp_shutdown" in values(machine.told(machine.witness()))
    machine.clock.advance(90_000)
    again = values(machine.told(machine.witness(LoopNotes())))
    assert set(again) == {"boot.kernel", "host.gap"}
    assert again["host.gap"]["kind"] == "agent_ended"


def test_new_settings_tell_nothing_again(machine: Machine) -> None:
    machine.lived("beat")
    machine.told(machine.witness())
    assert machine.told(machine.witness()) == []


def test_who_never_saw_an_earlier_boot_does_not_judge_it(machine: Machine) -> None:
    machine.wtmp(boot(machine.booted_s - 90_000), boot(machine.booted_s))
    assert set(values(machine.told(machine.witness()))) == {"boot.kernel"}


def test_what_cannot_be_read_is_lacking_and_never_health(machine: Machine) -> None:
    machine.lived("beat")
    machine.answers["crashes"] = NoAnswer("only root may read this")
    witness = machine.witness()
    found = values(machine.told(witness))
    assert (
        "boot.pstore" not in found and "boot.fs_recovery" not in found and "boot.restart_cause" not in found
    )
    assert {"boot.pstore", "boot.fs_recovery", "boot.restart_cause"} <= set(witness.lacks())
    # Nobody told us to stop and we were there: that much we know ourselves.
    assert found["boot.wtmp_shutdown"] is False


BLOCKS_A_BEAT_KIB = 8
"""Measured by /proc/PID/io on ext4: the record's block, and the inode's where it was committed since the last beat."""


def test_the_black_box_beats_once_a_minute_and_twice_on_fresh_suspicion_within_the_budget_of_writes(
    machine: Machine,
) -> None:
    witness = machine.witness()
    machine.told(witness)

    def beats(minutes: int) -> int:
        before = len(BlackBox(machine.box).read())
        for _ in range(minutes * 12):
            machine.clock.advance(5_000)
            witness.sweep(machine.clock.mono)
            if witness._writing is not None:
                witness._writing.wait(5)
        return len(BlackBox(machine.box).read()) - before

    assert beats(10) == 10
    machine.notes.is_suspicious = True
    suspicious = beats(15)
    assert 28 <= suspicious <= 31
    assert suspicious / 15 * BLOCKS_A_BEAT_KIB <= 20, "KiB a minute, the design's budget"
    assert beats(10) <= 11


def test_the_goodbye_is_in_the_box(machine: Machine) -> None:
    witness = machine.witness()
    machine.told(witness)
    machine.notes.goodbye("host_shutdown")
    assert BlackBox(machine.box).read()[-1].kind == "host_shutdown"


def test_a_box_that_cannot_be_written_is_said_and_stops_nothing(machine: Machine) -> None:
    machine.box.mkdir()
    witness = machine.witness()
    machine.told(witness)
    machine.clock.advance(61_000)
    witness.sweep(machine.clock.mono)
    assert "black box cannot be written" in witness.lacks()["host.gap"]


def test_every_kind_of_account_is_one_of_the_list() -> None:
    assert len(KINDS) == len(set(KINDS))
