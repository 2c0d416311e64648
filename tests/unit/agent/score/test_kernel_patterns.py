"""Kernel lines by cause: every sample of the table, the wording of three generations, and what must stay quiet."""

from __future__ import annotations

import re
from typing import List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.kernel_lines import DETAIL, FAULT, NOTE, ROWS
from agent.signals.patterns import (
    EPISODE_MS,
    REPEAT_MS,
    STORM_MS,
    KernelWatch,
    Told,
    classify,
    without_stamp,
)
from agent.signals.rules import FAMILIES
from tests.tools.examples import examples

STAMPS = (
    "",
    "[12345.678901] ",
    "[    0.000000][    T1] ",
    "<3>[ 4965.415911] ",
    "Feb 11 19:23:37 web1 kernel: [ 1530.811848] ",
    "2026-11-22T10:00:00.123456+02:00 web1 kernel: ",
    "** 4491 printk messages dropped ** [   50.750742] ",
)


def cause(line: str) -> Optional[str]:
    match = classify(line)
    return None if match is None else match.id


@pytest.mark.parametrize("row", ROWS, ids=[f"{n}-{row.id}" for n, row in enumerate(ROWS)])
def test_every_row_names_its_own_sample(row) -> None:  # type: ignore[no-untyped-def]
    assert re.search(row.expression, row.sample)
    match = classify(row.sample)
    assert match is not None and match.id == row.id
    assert match.family in FAMILIES and match.weight in (DETAIL, FAULT, NOTE)


@pytest.mark.parametrize("stamp", STAMPS)
def test_a_line_means_the_same_with_and_without_its_stamp(stamp: str) -> None:
    line = "INFO: task kworker/u8:1:77 blocked for more than 120 seconds."
    assert without_stamp(stamp + line) == line
    match = classify(stamp + line)
    assert match is not None and match.fields == {"comm": "kworker/u8:1", "pid": "77", "s": "120"}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        # 3.10
        ("end_request: I/O error, dev sda, sector 1234", "blk_io"),
        ("Buffer I/O error on device sdb1, logical block 7", "buf_io"),
        ("BUG: soft lockup - CPU#1 stuck for 22s! [foo:123]", "soft_lockup"),
        ("INFO: rcu_sched self-detected stall on CPU { 1}  (t=60000 jiffies g=1 c=2 q=3)", "rcu_stall"),
        ("BUG: unable to handle kernel NULL pointer dereference at 0000000000000078", "oops"),
        ("Out of memory: Kill process 4242 (perl) score 803 or sacrifice child", "oom_global"),
        ("Watchdog detected hard LOCKUP on cpu 3", "hard_lockup"),
        # 4.18
        ("print_req_error: I/O error, dev vda, sector 99", "blk_io"),
        ("watchdog: BUG: soft lockup - CPU#3 stuck for 23s! [java:991]", "soft_lockup"),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "rcu_stall"),
        ("BUG: unable to handle kernel paging request at ffffffffc0a1b2c3", "oops"),
        ("Memory cgroup out of memory: Kill process 1012 (heapster) score 1035 or sacrifice child", "oom_cgroup"),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,oom_memcg=/a,task=java,pid=4,uid=9", "oom_cgroup"),
        ("Task in /docker/6f1c killed as a result of limit of /docker/6f1c", "oom_cgroup"),
        # 5.x
        ("I/O error, dev nvme0n1, sector 2048 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2", "blk_io"),
        ("BUG: unable to handle page fault for address: ffffebde00002008", "oops"),
        ("general protection fault, probably for non-canonical address 0xdffffc0000000002: 0000 [#1] SMP", "oops"),
        ("INFO: task udevd:5612 blocked in I/O wait for more than 143 seconds.", "hung_task"),
        ("Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", "oops"),
        ("rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies", "rcu_stall"),
        ("nvme nvme0: I/O tag 5 (1005) QID 4 timeout, aborting req_op:READ(0) size:4096", "nvme"),
        ("XFS (dm-2): log I/O error -5", "xfs_io"),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", "conntrack"),
    ],
)  # fmt: skip
def test_the_wording_of_three_generations_of_kernels(line: str, wanted: str) -> None:
    match = classify(line)
    assert match is not None and match.id == wanted and match.is_fault


@pytest.mark.parametrize(
    "line",
    [
        "RAS: Correctable Errors collector initialized.",
        "bcache: register_bcache() error : device already registered (emitting change event)",
        'audit: type=1400 audit(1644446011.443:225): apparmor="DENIED" operation="open" error=-17',
        "systemd[1]: Mounting Kernel Debug File System...",
        "Command line: BOOT_IMAGE=/vmlinuz oops=panic panic_on_warn=1 panic=86400",
        "ALSA: seq fatal error: cannot create timer (-22)",
        "EXT4-fs (vda1): mounted filesystem with ordered data mode. Opts: errors=remount-ro",
        "EXT4-fs warning (device vda1): ext4_multi_mount_protect:325: MMP interval 42 higher than expected",
        "ata1: SATA link up 6.0 Gbps (SStatus 133 SControl 300)",
        "sd 0:0:0:0: [sda] Attached SCSI disk",
        'httpd[1]: client said "Kernel panic - not syncing"',
        "BTRFS info (device sda1): bdev /dev/sda1 errs: wr 0, rd 0, flush 0, corrupt 0, gen 0",
    ],
)
def test_a_healthy_line_is_no_fault(line: str) -> None:
    match = classify(line)
    assert match is None or not match.is_fault, match


def test_an_old_clocksource_complaint_is_a_note_that_names_it() -> None:
    match = classify("Clocksource tsc unstable (delta = 1000 ns)")
    assert match is not None and match.id == "clocksource_bad" and match.fields == {"cs": "tsc"}
    assert not match.is_fault


def test_a_loop_device_that_fails_is_no_disk() -> None:
    assert cause("blk_update_request: I/O error, dev loop11, sector 0 op 0x1:(WRITE)") == "blk_io_removable"
    assert cause("Buffer I/O error on dev sr0, logical block 0, async page read") == "buf_io_removable"


@settings(max_examples=examples(200), deadline=None, database=None)
@given(st.text(max_size=300))
def test_any_text_is_a_line(text: str) -> None:
    for said in KernelWatch().take(text, 0):
        assert said.match.id


@settings(max_examples=examples(100), deadline=None, database=None)
@given(st.sampled_from(ROWS), st.integers(0, 120), st.text(max_size=20))
def test_a_damaged_line_is_a_line(row, at: int, piece: str) -> None:  # type: ignore[no-untyped-def]
    found = classify(row.sample[:at] + piece + row.sample[at:])
    assert found is None or found.id


def test_a_hostile_line_costs_no_time() -> None:
    assert classify("XFS (a): " + "shut down " * 50_000) is None
    assert classify("a" * 200_000 + ": 0000 [#1]") is None


# --- the watch -----------------------------------------------------------------------------------------------------


def ids(told: List[Told]) -> List[str]:
    return [said.match.id for said in told]


def run(lines: List[str], step_ms: int = 10) -> List[Told]:
    watch = KernelWatch()
    return [said for n, line in enumerate(lines) for said in watch.take(line, n * step_ms)]


OOPS = [
    "BUG: unable to handle kernel NULL pointer dereference at 0000000000000078",
    "IP: [<ffffffff810a2c38>] pick_next_task_fair+0x6b8/0x820",
    "Oops: 0000 [#1] SMP",
    "Call Trace:",
    "INFO: rcu_sched self-detected stall on CPU { 1}",
]


def test_one_oops_in_many_lines_is_told_once() -> None:
    assert ids(run(OOPS)) == ["oops"]


def test_a_panic_is_always_told_and_says_what_was_before() -> None:
    told = run([*OOPS, "Kernel panic - not syncing: Fatal exception", "Kernel panic - not syncing: again"])
    assert ids(told) == ["oops", "panic"]
    assert told[1].after == "oops"


def test_two_oopses_far_apart_are_two() -> None:
    assert ids(run([OOPS[0], "kernel BUG at mm/page_alloc.c:3112!"], step_ms=EPISODE_MS + 1)) == [
        "oops",
        "oops",
    ]


def test_the_same_oops_again_is_counted_until_the_repeat() -> None:
    assert ids(run([OOPS[0], OOPS[0]], step_ms=EPISODE_MS + 1)) == ["oops"]
    assert ids(run([OOPS[0], OOPS[0]], step_ms=REPEAT_MS)) == ["oops", "oops"]


def test_a_warning_does_not_hide_the_fault_behind_it() -> None:
    told = run(["WARNING: CPU: 1 PID: 7 at kernel/sched/core.c:2698 f+0x1/0x2", *OOPS])
    assert "oops" in ids(told)


def test_a_repeated_cause_is_told_once_by_device_with_its_count() -> None:
    line = "blk_update_request: I/O error, dev {}, sector {}"
    watch = KernelWatch()
    told = [s for n in range(50) for s in watch.take(line.format("sda", n), n)]
    assert ids(told) == ["blk_io"]
    assert ids(watch.take(line.format("sdb", 1), 60)) == ["blk_io"]
    assert watch.take(line.format("sda", 99), REPEAT_MS)[0].lines == 50
    assert watch.unsaid == 49


def test_a_flood_is_bounded_by_the_minute() -> None:
    watch = KernelWatch(max_per_minute=5)
    told = [s for n in range(100) for s in watch.take(f"end_request: I/O error, dev sd{n}, sector 1", n)]
    assert len(told) == 5
    assert watch.unsaid == 95
    assert watch.take("end_request: I/O error, dev sdx, sector 1", 70_000)


CRASH = "{}[{}]: segfault at 0 ip 00007f3a1c2b4f10 sp 00007ffc9a1b2e58 error 4 in libc.so"


def test_three_programs_that_crash_are_a_storm_one_program_is_not() -> None:
    assert ids(run([CRASH.format("httpd", n) for n in range(9)])) == ["segv"]
    told = run([CRASH.format(name, 1) for name in ("httpd", "cron", "sshd")])
    assert ids(told) == ["segv", "segv", "segv_storm"]
    assert told[-1].match.is_fault and told[-1].match.family == "hardware"


def test_crashes_far_apart_or_beside_an_oom_are_no_storm() -> None:
    lines = [CRASH.format(name, 1) for name in ("httpd", "cron", "sshd")]
    assert "segv_storm" not in ids(run(lines, step_ms=STORM_MS))
    assert "segv_storm" not in ids(run(["Out of memory: Killed process 1 (java) total-vm:1kB", *lines]))


WORDINGS = (
    # the event log of a RAID controller
    ("raid_event", "megaraid_sas 0000:02:00.0: 1508 (595830949s/0x0001/FATAL) - VD 07/7 is now OFFLINE"),
    (
        "raid_event",
        "megaraid_sas 0000:02:00.0: 1507 (595830949s/0x0001/CRIT) - VD 07/7 is now PARTIALLY DEGRADED",
    ),
    (
        "raid_event",
        "megaraid_sas 0000:18:00.0: 8812 (812345678s/0x0008/CRIT) - Battery has failed and cannot support data retention",
    ),
    (
        "raid_event",
        "megaraid_sas 0000:18:00.0: 8813 (8123s/0x0002/CRIT) - State change on PD 05(e0x20/s5) from ONLINE(18) to FAILED(11)",
    ),
    (
        "raid_event",
        "megaraid_sas 0000:18:00.0: 8814 (812345678s/0x0002/CRIT) - Predictive failure: PD 04(e0x20/s4)",
    ),
    # hung tasks, 3.10 to 6.x
    ("hung_task", "INFO: task foo:123 blocked for more than 120 seconds."),
    ("hung_task", "INFO: task kworker/0:1H:77 blocked in I/O wait for more than 245 seconds."),
    # RCU stalls
    ("rcu_stall", "INFO: rcu_sched self-detected stall on CPU { 3}  (t=60000 jiffies g=1 c=0 q=9)"),
    (
        "rcu_stall",
        "INFO: rcu_sched detected stalls on CPUs/tasks: { 1} (detected by 0, t=60002 jiffies, g=3, c=2)",
    ),
    ("rcu_stall", "INFO: rcu_bh detected stalls on CPUs/tasks:"),
    ("rcu_stall", "rcu: INFO: rcu_preempt self-detected stall on CPU"),
    (
        "rcu_stall",
        "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 21010 jiffies s: 105",
    ),
    ("rcu_stall", "rcu: INFO: rcu_tasks_trace detected stalls on tasks:"),
    (
        "rcu_stall",
        "rcu_sched kthread starved for 6000 jiffies! g500 c499 f0x0 RCU_GP_WAIT_FQS(3) ->state=0x1",
    ),
    ("rcu_stall", "rcu: rcu_preempt kthread timer wakeup didn't happen for 3999 jiffies! g2685 f0x0"),
    # lockups
    ("soft_lockup", "BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:0]"),
    ("soft_lockup", "NMI watchdog: BUG: soft lockup - CPU#3 stuck for 23s! [java:2345]"),
    ("soft_lockup", "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [kworker/u8:1:12]"),
    ("hard_lockup", "Watchdog detected hard LOCKUP on cpu 1"),
    ("hard_lockup", "NMI watchdog: Watchdog detected hard LOCKUP on cpu 5dModules linked in: xfs"),
    ("hard_lockup", "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 0"),
    ("workqueue_lockup", "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 52s!"),
    ("spinlock_lockup", "BUG: spinlock lockup on CPU#0, httpd/1, ffff880"),
    # oopses: 3.10, 4.18, 5.x, 6.x, and other processors
    ("oops", "BUG: unable to handle kernel NULL pointer dereference at           (null)"),
    ("oops", "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
    ("oops", "BUG: Kernel NULL pointer dereference on read at 0x00000008"),
    ("oops", "BUG: unable to handle page fault for address: ffffa0b3c0d20000"),
    ("oops", "Oops: 0000 [#1] SMP"),
    (
        "oops",
        "Oops: general protection fault, probably for non-canonical address 0xdffffc0000000003: 0000 [#1] SMP",
    ),
    ("oops", "general protection fault, maybe for address 0xffff: 0000 [#1] SMP"),
    ("oops", "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI"),
    ("oops", "kernel BUG at drivers/x.c:12 [verbose debug info unavailable]"),
    ("oops", "divide error: 0000 [#1] SMP"),
    ("oops", "BUG: TASK stack guard page was hit at ffffc90000 (stack is ffffc..ffffd)"),
    ("oops", "BUG: IRQ stack guard page was hit at ffffc90000 (stack is ffffc..ffffd)"),
    ("oops", "Unable to handle kernel paging request at virtual address ffff000012345678"),
    ("oops", "Internal error: Oops: 0000000096000004 [#1] PREEMPT SMP"),
    ("oops", "Internal error: synchronous external abort: 96000210 [#1] SMP"),
    ("oops", "Oops: Kernel access of bad area, sig: 11 [#1]"),
    ("oops", "Unable to handle kernel pointer dereference in virtual kernel address space"),
    ("oops", "Oops [#1]"),
    ("oops", "Oops - illegal instruction [#1]"),
    ("oops", "Kernel BUG [#1]"),
    # panics
    ("panic", "traps: PANIC: double fault, error_code: 0x0"),
    ("panic", "Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b"),
    ("panic", "Kernel panic - not syncing: softlockup: hung tasks"),
    ("panic", "Kernel panic - not syncing: hung_task: blocked tasks"),
    ("panic", "Kernel panic - not syncing: Timeout: Not all CPUs entered broadcast exception handler"),
    ("panic", "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled"),
)
"""What kernels from 3.10 to 6.x print, as remembered (not looked up); not one line of it is from the data folder."""

NO_FAULTS = (
    "megaraid_sas 0000:03:00.0: 11843 (754012811s/0x0008/CRIT) - BBU disabled; changing WB virtual disks to WT",
    "megaraid_sas 0000:03:00.0: 11850 (754016811s/0x0008/info) - Battery started charging",
    "megaraid_sas 0000:02:00.0: scanning for scsi0...",
    "rcu: Hierarchical RCU implementation.",
    "watchdog: Delayed init of the lockup detector failed: -22",
    "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
    "NMI watchdog: Perf NMI watchdog permanently disabled",
    "myapp[123]: BUG: soft lockup - CPU#0 stuck for 22s! quoted",
    "EXT4-fs (sda1): re-mounted. Opts: errors=remount-ro",
    "INFO: lockdep is turned off.",
    "kthreadd: started",
)


@pytest.mark.parametrize(("cause", "line"), WORDINGS)
@pytest.mark.parametrize("stamp", ["", "[12345.678901] ", "[12345.678901][ T1234] ", "<4>[    1.000000] "])
def test_the_wording_of_every_kernel_names_its_cause(cause: str, line: str, stamp: str) -> None:
    found = classify(stamp + line)
    assert found is not None and found.is_fault
    assert found.id == cause


@pytest.mark.parametrize("line", NO_FAULTS)
def test_what_only_reads_like_a_fault_is_none(line: str) -> None:
    found = classify(line)
    assert found is None or not found.is_fault


def test_a_kill_for_want_of_the_whole_machine_s_memory_is_nobody_s_own_limit() -> None:
    line = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,global_oom,task=java,pid=4,uid=9"
    match = classify(line)
    assert match is not None
    assert (match.id, match.is_fault) == ("oom_constraint", False)
