"""Too much work, too little memory, too slow a disk, a kill in a memory group: made with stress-ng, found by a real agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.faults.scene import Scene, kill_group, scene
from tests.tools.needs import require_kernel, require_package, require_root

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120, func_only=True)]

HOG_MB = (1536, 4096)
"""Least and most that is taken: well above what a machine's other work takes and gives back meanwhile."""
BEFORE_OTHERS = "echo -5 > /proc/self/autogroup; exec nice -n -5"
"""For a shell; some kernels weigh sessions first and processes within them second."""
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")


@pytest.fixture
def stage() -> Iterator[Scene]:
    require_root()
    require_kernel("mount_namespaces")
    require_package("stress-ng")
    with scene() as made:
        yield made


def _evidence(opening: dict[str, Any]) -> str:
    """Who is named in the facts and the top processes."""
    facts = [str(fact["now"]) for fact in opening["facts"].values()]
    return " ".join([*facts, *(str(row) for row in (opening["evidence"] or {}).get("top", []))])


def test_more_work_than_processors_is_found_with_who_does_it(stage: Scene) -> None:
    """The work is there before the agent, and goes before others': on a shared machine the finding might else be theirs."""
    workers = 4 * (os.cpu_count() or 1)
    stage.beside("sh", "-c", f"{BEFORE_OTHERS} stress-ng --cpu {workers} --timeout 50s")
    time.sleep(2)
    stage.start()
    busy = stage.opened("cpu_busy", seconds=45)
    facts = busy["facts"]
    assert facts["cpu.user_pct"]["now"] + facts["cpu.sys_pct"]["now"] + facts["cpu.softirq_pct"]["now"] >= 80
    assert "stress-ng" in _evidence(busy)
    queue = stage.opened("run_queue")
    assert queue["facts"]["sched.runq_per_cpu"]["now"] > 2
    assert len(stage.reports) >= 2, "the heartbeat goes on under the load"


def test_memory_that_one_process_takes_is_found_with_its_name_and_ends_with_it(stage: Scene) -> None:
    """The level lies midway between what was free before and what will be: no machine of tests is driven to its end."""
    before, total = _memory("MemAvailable"), _memory("MemTotal")
    least, most = HOG_MB
    if before < 3 * least:
        pytest.skip("needs root and more free memory than this machine has")
    hog_mb = round(min(most, before / 3))
    level = (before - hog_mb / 2) / total * 100
    stage.configure(
        f"rules: {{memory_low: {{raise: {{all: ['mem.avail_pct < {level:.3f}'], for: 1}},"
        f" clear: {{all: ['mem.avail_pct > {level:.3f}'], for: 1}}}}}}\n"
    )
    stage.start()
    stage.until(lambda: len(stage.reports) >= 3)
    assert stage.changes_of("memory_low", "") == []
    hog = stage.beside(
        "stress-ng", "--vm", "1", "--vm-bytes", f"{hog_mb}M", "--vm-keep", "--vm-populate", "--timeout", "50s"
    )
    low = stage.opened("memory_low")
    assert low["facts"]["mem.avail_pct"]["now"] < level
    assert low["facts"]["mem.avail_pct"]["before"] > level, "what was before the fault stands beside it"
    assert "stress-ng" in _evidence(low)
    kill_group(hog)
    stage.closed("memory_low")


def test_writers_that_keep_the_disk_busy_are_found_with_who_writes(stage: Scene) -> None:
    """How slow a disk gets is the machine's own, so the levels here are low; and where processors are busy with other
    work the kernel's "all tasks wait" stays 0, so the device's own use stands beside it, as in the shipped rule."""
    stage.configure(
        "rules: {disk_slow: {raise: {all: ['disk.iops > 50'], any: ['psi.io_full60 > 5', 'disk.util_pct > 10'],"
        " for: 8}, clear: {all: ['disk.iops < 1'], for: 60}}}\n"
    )
    words = "--hdd 8 --hdd-opts sync,wr-rnd --hdd-bytes 64M --timeout 50s"
    stage.beside("sh", "-c", f"{BEFORE_OTHERS} stress-ng {words} --temp-path {stage.folder}")
    stage.start()
    opening = stage.until(lambda: [c for c in stage.changes if c["rule"] == "disk_slow"], 45)[0]
    assert opening["subject"], "a device is named"
    assert opening["facts"]["disk.iops"]["now"] > 50
    assert "stress-ng" in _evidence(opening)


@pytest.mark.stains_kernel_log
def test_a_kill_for_want_of_memory_in_a_group_is_found_by_the_kernels_own_words(stage: Scene) -> None:
    require_kernel("memory_cgroup_v1")
    group = MEMORY_GROUPS / f"vartovyi-fault-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(24 << 20))
        stage.start()
        stage.until(lambda: len(stage.reports) >= 3)
        # What opened at the start (an earlier kill) has had its look at the log; later findings take their own.
        time.sleep(6)
        grow = f"open('{group}/cgroup.procs', 'w').write('0'); bytearray(200 << 20)"
        killed = subprocess.Popen([sys.executable, "-c", grow])
        assert killed.wait(30) == -signal.SIGKILL, "nothing was killed"
        kill = stage.opened("oom_kill")
        assert kill["facts"]["vm.oom_kills"]["now"] >= 1
        told = [line["text"] for line in kill["evidence"]["log"] if line["source"] == "kernel"]
        # By the group's name: in a container the kernel's process ids are not ours.
        assert any(group.name in line for line in told), told
        assert any("Killed process" in line for line in told), told
        # An earlier kill of this boot may have opened it already: it says how the machine has been lately.
        limit = stage.opened("oom_in_limit", "oom_cgroup")
        said = limit["facts"]["kmsg"]["now"]  # the kernel says it in several lines: the first that it wrote
        assert "CONSTRAINT_MEMCG" in said or "Memory cgroup out of memory" in said, said
    finally:
        _remove(group)


def _memory(name: str) -> float:
    """MiB of a line of /proc/meminfo."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name + ":")).split()[1]) / 1024


def _remove(group: Path) -> None:
    """A group can be removed once its last process has been reaped."""
    for _ in range(50):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.1)
    group.rmdir()
