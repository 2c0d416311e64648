"""Hardware's own counters, drives, the controller's log, guests and containers: what is told, once, and what is lacking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

import pytest

from agent.core import AgentCore, Identity
from agent.findings import Now
from agent.samplers import platform
from agent.samplers.controller import Controller
from agent.samplers.drives import Drives, own_drives
from agent.samplers.hardware import Hardware, throttles
from agent.samplers.memory import Memory
from agent.samplers.root_only import NoAnswer
from agent.samplers.virtual import Virtual
from agent.settings import SHIPPED
from agent.signals.parsers.virtual import parse_domstats
from agent.signals.rules import RuleFile, compile_rules
from agent.signals.sample import Sample
from agent.spool import Spool
from config import loader

METAL = platform.Platform("bare-metal", "", "5.14.0-427.el9.x86_64", "tsc")
KVM = platform.Platform("kvm", "", "5.14.0-427.el9.x86_64", "kvm-clock")
VMWARE = platform.Platform("vmware", "", "3.10.0-1160.el7.x86_64", "tsc")
OPENVZ = platform.Platform("bare-metal", "openvz", "3.10.0-1160.vz7", "tsc")
CPU = "sys/devices/system/cpu/cpu"
EDAC = "sys/devices/system/edac/mc/mc"
MINUTE, HOUR = 60_000, 3_600_000
Lay = Callable[[Dict[str, str]], Path]
Text = Callable[[str], str]


def values(samples: List[Sample], subject: str = "") -> Dict[str, Any]:
    return {sample.signal: sample.value for sample in samples if sample.subject == subject}


def settled(sampler: Any, mono_ms: int) -> List[Sample]:
    """A sweep and, where it began to ask somebody, what the answer brought at the next one."""
    found = sampler.sweep(mono_ms)
    errand = sampler._errand
    if errand is not None:
        assert errand.wait(30)
        found = found + sampler.sweep(mono_ms)
    return found


# --- counters of /sys --------------------------------------------------------------------------------------------


def test_corrected_errors_are_those_of_the_last_hour_and_uncorrected_ones_all_since_boot(lay: Lay) -> None:
    root = lay({f"{EDAC}0/ce_count": "7\n", f"{EDAC}0/ue_count": "0\n"})
    lay({f"{EDAC}1/ce_count": "0\n", f"{EDAC}1/ue_count": "5\n"})
    hardware = Hardware(root, METAL)
    assert values(hardware.sweep(0)) == {"hw.edac_ce_h": 0, "hw.edac_ue": 5}
    lay({f"{EDAC}0/ce_count": "10\n"})
    assert values(hardware.sweep(MINUTE))["hw.edac_ce_h"] == 3
    lay({f"{EDAC}1/ce_count": "9\n"})
    assert values(hardware.sweep(HOUR))["hw.edac_ce_h"] == 12
    assert values(hardware.sweep(HOUR + 2 * MINUTE))["hw.edac_ce_h"] == 9


def test_a_controller_whose_counters_were_reset_counts_anew(lay: Lay) -> None:
    root = lay({f"{EDAC}0/ce_count": "900\n", f"{EDAC}0/ue_count": "0\n"})
    hardware = Hardware(root, METAL)
    hardware.sweep(0)
    lay({f"{EDAC}0/ce_count": "0\n"})
    hardware.sweep(MINUTE)
    lay({f"{EDAC}0/ce_count": "2\n"})
    assert values(hardware.sweep(2 * MINUTE))["hw.edac_ce_h"] == 2


def test_throttling_counts_each_core_and_each_package_once(lay: Lay) -> None:
    files = {}
    for cpu, core in ((0, 0), (1, 1), (2, 0), (3, 1)):
        files[f"{CPU}{cpu}/topology/physical_package_id"] = "0\n"
        files[f"{CPU}{cpu}/topology/core_id"] = f"{core}\n"
        files[f"{CPU}{cpu}/thermal_throttle/core_throttle_count"] = f"{core}\n"
        files[f"{CPU}{cpu}/thermal_throttle/package_throttle_count"] = "30\n"
    root = lay(files)
    assert throttles(root) == {"package0": 30, "package0 core0": 0, "package0 core1": 1}
    hardware = Hardware(root, METAL)
    assert "hw.therm_ps" not in values(hardware.sweep(0))
    lay({f"{CPU}{cpu}/thermal_throttle/package_throttle_count": "90\n" for cpu in range(4)})
    assert values(hardware.sweep(MINUTE))["hw.therm_ps"] == 1.0


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({"base_frequency": "2400000"}, 50.0),
        ({"proc": "model name\t: Intel(R) Xeon(R) CPU E5-2630 v3 @ 2.40GHz\n"}, 50.0),
        ({"cpuinfo_max_freq": "3600000"}, 33.3333),
    ],
)
def test_the_frequency_is_a_share_of_what_the_cpu_is_sold_for(
    lay: Lay, files: Dict[str, str], share: float
) -> None:
    root = lay({f"{CPU}{cpu}/cpufreq/scaling_cur_freq": "1200000\n" for cpu in range(2)})
    for name, text in files.items():
        lay(
            {"proc/cpuinfo": text}
            if name == "proc"
            else {f"{CPU}{cpu}/cpufreq/{name}": text for cpu in range(2)}
        )
    assert values(Hardware(root, METAL).sweep(0))["cpu.mhz_pct"] == share


def test_a_machine_without_counters_lacks_them_each_with_its_reason(tmp_path: Path) -> None:
    hardware = Hardware(tmp_path, METAL)
    assert hardware.sweep(0) == []
    assert set(hardware.lacks()) == {"hw.edac_ce_h", "hw.edac_ue", "hw.therm_ps", "cpu.mhz_pct"}
    guest = Hardware(tmp_path, KVM)
    assert guest.sweep(0) == []
    assert guest.lacks()["hw.edac_ue"] == "virtual machine (kvm): the node's hardware is not shown"


# --- drives ------------------------------------------------------------------------------------------------------

SDA = {"sys/block/sda/device/vendor": "ATA     \n", "sys/block/sda/device/model": "ST4000NM0035\n"}


def document(passed: Optional[bool] = True, status: int = 0, **raw: int) -> str:
    flags = {"prefailure": True}
    table = [
        {"id": int(k[1:]), "raw": {"value": v}, "when_failed": "", "flags": flags} for k, v in raw.items()
    ]
    said: Dict[str, Any] = {
        "smartctl": {"exit_status": status},
        "device": {"name": "/dev/sda"},
        "ata_smart_attributes": {"table": table},
    }
    if passed is not None:
        said["smart_status"] = {"passed": passed}
    return json.dumps(said)


def test_a_drive_is_told_by_name_and_its_last_word_stands_until_the_next_hour(lay: Lay) -> None:
    asked: List[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return document(a5=0, a197=8, a9=900)

    sampler = Drives(lay(SDA), METAL, ask, is_installed=True)
    found = values(settled(sampler, 0), "sda")
    assert found == {"hw.smart_health": "PASSED", "hw.smart": {"sda:5": 0, "sda:197": 8}}
    assert values(sampler.sweep(30 * MINUTE), "sda") == found
    assert asked == ["smart sda"]
    settled(sampler, HOUR)
    assert asked == ["smart sda", "smart sda"]
    assert sampler.lacks() == {"hw.nvme_cw": "no NVMe drive here"}


def test_pictures_of_the_layer_below_are_no_drives(lay: Lay) -> None:
    root = lay(
        {
            "sys/block/vda/device/vendor": "0x1af4\n",
            "sys/block/sda/device/vendor": "QEMU    \n",
            "sys/block/sdb/device/vendor": "VMware  \n",
            "sys/block/dm-0/size": "1\n",
            "sys/block/sdc/device/vendor": "ATA     \n",
            "sys/block/nvme0n1/device/model": "SAMSUNG MZQL2960HCJR\n",
        }
    )
    assert own_drives(root) == ["nvme0n1", "sdc"]


@pytest.mark.parametrize(
    ("host", "files", "installed", "reason"),
    [
        (KVM, {}, True, "virtual machine (kvm): its disks are pictures of the layer below"),
        (OPENVZ, SDA, True, "container (openvz): drives are the node's"),
        (METAL, SDA, False, "smartctl is not installed (smartmontools)"),
        (METAL, SDA, True, "only root may read this, and vartovyi-privileged.socket is not installed"),
    ],
)
def test_drives_that_cannot_be_asked_are_lacking_with_the_reason(
    lay: Lay, host: platform.Platform, files: Dict[str, str], installed: bool, reason: str
) -> None:
    sampler = Drives(lay({"x": "", **files}), host, is_installed=installed)
    assert settled(sampler, 0) == []
    assert set(sampler.lacks().values()) == {reason}


def test_a_sleeping_drive_is_left_alone_and_what_it_said_before_stands(lay: Lay) -> None:
    asleep = json.dumps(
        {"smartctl": {"exit_status": 2, "messages": [{"string": "Device is in STANDBY mode, exit(2)"}]}}
    )
    answers = [document(a197=0), asleep]
    sampler = Drives(lay(SDA), METAL, lambda question: answers.pop(0), is_installed=True)
    before = values(settled(sampler, 0), "sda")
    assert values(settled(sampler, HOUR), "sda") == before
    alone = Drives(lay(SDA), METAL, lambda question: asleep, is_installed=True)
    assert settled(alone, 0)[-1] == Sample("agent.reader_hung", "smart sda", False, 0)
    assert alone.lacks()["hw.smart"] == "sleeping drives are not woken"


def judged(tmp_path: Path, sweeps: List[List[Sample]], step_ms: int = MINUTE) -> List[str]:
    """What the shipped rules make of sweeps a minute apart: ``opened rule subject``."""
    rules = compile_rules(loader.load(SHIPPED / "rules.yaml", RuleFile))
    (tmp_path / "spool").mkdir(parents=True)
    spool = Spool.open(tmp_path / "spool", new_id=lambda: "s", max_bytes=1024 * 1024)
    core = AgentCore(spool, rules, Identity("t", "b", "r"), Now(0, 0, 0))
    told = []
    for turn, samples in enumerate(sweeps):
        now = Now(10**12 + turn * step_ms, turn * step_ms, turn * step_ms)
        moved = [sample._replace(at_ms=now.mono_ms) for sample in samples]
        told += [f"{c.kind} {c.rule} {c.subject}" for c in core.take(moved, now, "drives")]
    spool.close()
    return told


def test_of_two_drives_the_one_whose_counter_grows_is_named(lay: Lay, tmp_path: Path) -> None:
    files = {**SDA, "sys/block/sdb/device/vendor": "ATA\n"}
    counts = {"sda": 0, "sdb": 3}
    sampler = Drives(lay(files), METAL, lambda q: document(a197=counts[q.split()[1]]), is_installed=True)
    first = settled(sampler, 0)
    counts["sda"] = 8
    second = settled(sampler, HOUR)
    assert judged(tmp_path, [first, second, second]) == ["opened smart_grows sda:197"]


def test_a_drive_whose_reader_hangs_is_a_finding_and_another_reader_is_ours(lay: Lay, tmp_path: Path) -> None:
    sampler = Drives(lay(SDA), METAL, lambda question: NoAnswer("late", is_hung=True), is_installed=True)
    hung = [*settled(sampler, 0), Sample("agent.reader_hung", "sel", True, 0)]
    assert judged(tmp_path, [hung]) == ["opened drive_mute smart sda", "opened reader_hung sel"]


# --- the controller's log ----------------------------------------------------------------------------------------


def controller(root: Path, state: Path, *answers: Union[str, NoAnswer]) -> Controller:
    left = list(answers)
    return Controller(root, state, METAL, lambda question: left.pop(0), is_installed=True)


def log(*numbers: int) -> str:
    return "\n".join(
        f"{n:4x} | 09/08/2021 | 06:34:16 | Fan #0x{n:x} | Lower Critical | Asserted" for n in numbers
    )


def test_an_entry_is_told_once_also_over_a_restart_and_what_lay_there_before_is_history(
    lay: Lay, tmp_path: Path
) -> None:
    root, state = lay({"dev/ipmi0": ""}), tmp_path / "sel"
    first = controller(root, state, log(1, 2), log(1, 2, 3))
    assert "hw.sel" not in values(settled(first, 0))
    assert [str(s.value)[:8] for s in settled(first, HOUR) if s.signal == "hw.sel"] == ["Fan #0x3"]
    first.sweep(HOUR + MINUTE)  # only now is it on disk that the entry was told
    again = controller(root, state, log(1, 2, 3), log(1, 2, 3, 16))
    assert [s for s in settled(again, 0) if s.signal == "hw.sel"] == []
    assert len([s for s in settled(again, HOUR) if s.signal == "hw.sel"]) == 1


def test_a_log_that_was_cleared_is_told_from_its_new_beginning(lay: Lay, tmp_path: Path) -> None:
    state = tmp_path / "sel"
    state.write_text("700\n")
    sampler = controller(lay({"dev/ipmi0": ""}), state, "SEL has no entries\n", log(1))
    settled(sampler, 0)
    assert len([s for s in settled(sampler, HOUR) if s.signal == "hw.sel"]) == 1


@pytest.mark.parametrize("content", ["", "x", "-5", "９", "9" * 50])
def test_a_damaged_state_file_is_a_first_look(lay: Lay, tmp_path: Path, content: str) -> None:
    state = tmp_path / "sel"
    state.write_text(content, encoding="utf-8")
    assert "hw.sel" not in values(settled(controller(lay({"dev/ipmi0": ""}), state, log(1, 2)), 0))


def test_an_absent_or_mute_controller_is_lacking(lay: Lay, tmp_path: Path) -> None:
    absent = controller(lay({"x": ""}), tmp_path / "sel")
    absent.sweep(0)
    assert absent.lacks()["hw.sel"].startswith("no management controller")
    mute = controller(lay({"dev/ipmi0": ""}), tmp_path / "sel", NoAnswer("late", is_hung=True))
    assert settled(mute, 0) == [Sample("agent.reader_hung", "sel", True, 0)]


def test_only_entries_that_are_faults_open_a_finding(text: Text, tmp_path: Path, lay: Lay) -> None:
    state = tmp_path / "sel"
    state.write_text("0\n")
    found = settled(controller(lay({"dev/ipmi0": ""}), state, text("hardware/sel_elist")), 0)
    entries = [s for s in found if s.signal == "hw.sel"]
    assert len(entries) == 11
    opening = [str(s.value) for i, s in enumerate(entries) if judged(tmp_path / f"{i}", [[s]])]
    assert [line.split(" | ")[1] for line in opening] == [
        "Failure detected", "Power Supply AC lost", "Redundancy Lost", "Uncorrectable ECC (UnCorrectable ECC",
    ]  # fmt: skip


# --- guests, containers, VMware ----------------------------------------------------------------------------------


def test_a_guest_that_stopped_for_an_error_below_is_found_by_name(text: Text, tmp_path: Path) -> None:
    domains = parse_domstats(text("hardware/domstats"))
    assert domains == {
        "web-1": "running/booted", "db": "paused/I/O error", "it's $(reboot); odd": "shut off/crashed",
        "panicked": "crashed/panicked",
    }  # fmt: skip
    sweep = [Sample("virt.dom", "", domains, 0)]
    assert sorted(judged(tmp_path, [sweep, sweep])) == [
        "opened guest_down db", "opened guest_down it's $(reboot); odd", "opened guest_down panicked",
    ]  # fmt: skip


def test_a_containers_limit_and_its_failures_of_the_last_minute(lay: Lay, text: Text) -> None:
    counters = text("hardware/user_beancounters")
    root = lay({"proc/user_beancounters": counters})
    sampler = Virtual(root, OPENVZ)
    assert values(settled(sampler, 0)) == {"ubc.held_mb": 1800.0, "ubc.limit_mb": 4096.0}
    lay(
        {
            "proc/user_beancounters": counters.replace(
                "9011200                    3", "9011200                   10"
            )
        }
    )
    assert values(settled(sampler, MINUTE))["ubc.failcnt"] == {"kmemsize": 7}
    assert "ubc.failcnt" not in values(settled(sampler, 2 * MINUTE))


def test_beancounters_that_only_root_reads_are_asked_for(lay: Lay, text: Text) -> None:
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return text("hardware/user_beancounters")

    assert values(settled(Virtual(lay({"x": ""}), OPENVZ, ask), 0))["ubc.limit_mb"] == 4096.0
    assert asked == ["beancounters"]


def test_vmware_tells_balloon_and_swap_and_the_memory_sampler_does_not(lay: Lay) -> None:
    told = {"balloon": "512 MB\n", "swap": "0 MB\n"}
    sampler = Virtual(lay({"x": ""}), VMWARE, toolbox=lambda question: told[question])
    assert values(settled(sampler, 0)) == {
        "mem.balloon_mb": 512,
        "mem.hypervisor_swap_mb": 0,
    }
    memory = Memory(
        lay(
            {
                "proc/meminfo": "MemTotal: 1000 kB\nMemAvailable: 500 kB\n",
                "proc/vmstat": "balloon_inflate 0\n",
            }
        ),
        VMWARE,
    )
    assert "mem.balloon_mb" not in values(memory.sweep(0))
    assert "mem.balloon_mb" not in memory.lacks()
    tools = Virtual(lay({"x": ""}), VMWARE, toolbox=lambda question: NoAnswer("no tools"))
    settled(tools, 0)
    assert tools.lacks()["mem.balloon_mb"] == "no tools"


def test_a_plain_guest_lacks_what_only_others_show(tmp_path: Path) -> None:
    sampler = Virtual(tmp_path, KVM)
    assert sampler.sweep(0) == []
    assert set(sampler.lacks()) == {
        "virt.dom", "ubc.failcnt", "ubc.limit_mb", "ubc.held_mb", "mem.hypervisor_swap_mb",
    }  # fmt: skip
