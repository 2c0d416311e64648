"""The units as systemd reads them: no fault, and little exposed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.tools.needs import require_package

SYSTEMD = Path(__file__).resolve().parents[3] / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
RESIDENT = [unit for unit in UNITS if "@" not in unit.name]
"""Those that run all the time; a template is started for one question and ends with its answer."""
MAX_EXPOSURE = 3.0


def _analyze(*words: str) -> subprocess.CompletedProcess[str]:
    require_package("systemd-analyze")
    return subprocess.run(
        ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda p: p.name)
def test_systemd_finds_no_fault_in_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    # The program is not installed where the tests run; everything else is verified as it ships.
    copy.write_text(re.sub(r"(?m)^ExecStart=-?\S+", "ExecStart=/bin/true", unit.read_text()))
    done = _analyze("verify", str(copy))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda p: p.name)
def test_a_unit_exposes_little(unit: Path) -> None:
    done = _analyze("security", "--offline=yes", "--no-pager", str(unit))
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found.group(1)) <= MAX_EXPOSURE


@pytest.mark.parametrize("unit", RESIDENT, ids=lambda p: p.name)
def test_a_frozen_program_is_restarted_and_wrong_settings_are_not_tried_again(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for needed in ("Type=notify", "NotifyAccess=main", "Restart=always", "RestartPreventExitStatus=78"):
        assert needed in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)


def test_both_accounts_are_made_by_sysusers() -> None:
    made = re.findall(r"(?m)^u (\S+)", (SYSTEMD / "vartovyi.sysusers.conf").read_text())
    used = [re.search(r"(?m)^User=(\S+)", unit.read_text()) for unit in UNITS]
    assert sorted(made) == sorted(found.group(1) for found in used if found)


def test_the_root_only_reader_is_for_the_agents_group_and_bounds_itself() -> None:
    socket = (SYSTEMD / "vartovyi-privileged.socket").read_text().splitlines()
    for needed in ("SocketUser=root", "SocketGroup=vartovyi-agent", "SocketMode=0660", "Accept=yes"):
        assert needed in socket
    service = (SYSTEMD / "vartovyi-privileged@.service").read_text()
    for needed in ("TimeoutStartSec=60", "IOSchedulingClass=idle", "Nice=19", "PrivateNetwork=yes"):
        assert needed in service.splitlines()
    assert "EnvironmentFile" not in service and "%i" not in service


def test_systemd_finds_no_fault_in_the_socket(tmp_path: Path) -> None:
    for unit in SYSTEMD.glob("vartovyi-privileged*"):
        text = re.sub(r"(?m)^ExecStart=-?\S+", "ExecStart=/bin/true", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    done = _analyze("verify", str(tmp_path / "vartovyi-privileged.socket"))
    assert (done.returncode, done.stderr.strip()) == (0, "")
