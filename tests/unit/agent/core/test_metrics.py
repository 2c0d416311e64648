"""What /metrics shows: base units, parts instead of the worst of them, no lie about what is absent."""

from __future__ import annotations

import re
import shutil
import subprocess
import types

import pytest

from agent.findings import Now
from agent.metrics import render
from agent.signals.catalogue import BY_NAME
from tests.tools.needs import require_package


@pytest.fixture
def page(host):
    def make(*values):
        host.sweep(*values)
        sweeps = types.SimpleNamespace(
            ages_s=lambda now_ms: {"cpu": 2.0},
            took_s=lambda: {"cpu": 0.001},
            stuck=lambda: {"cpu": False},
            failures=lambda: {"cpu": 3},
        )
        daemon = types.SimpleNamespace(
            core=host.core, spool=host.spool, sweeps=sweeps, interval_s=10.0, last_reply_ms=host.clock.mono_ms() - 4000,
            cadence=types.SimpleNamespace(failures=1), given=types.SimpleNamespace(version=4, fault=""),
        )  # fmt: skip
        return render(daemon, Now(host.clock.now_ms(), host.clock.mono_ms(), 0)).decode()

    return make


def test_signals_are_shown_in_base_units(page):
    said = page(("cpu.user_pct", "", 12.0), ("mem.total_mb", "", 2.0), ("disk.await_ms", "vda", 5.0))
    assert "\nvartovyi_cpu_user_ratio 0.12\n" in said
    assert "\nvartovyi_memory_total_bytes 2.097152e+06\n" in said
    assert '\nvartovyi_disk_await_seconds{device="vda"} 0.005\n' in said


def test_the_worst_part_is_not_shown_beside_the_parts(page):
    said = page(("fs.used_pct", "", 97.0), ("fs.used_pct", "/", 50.0), ("fs.used_pct", "/var", 97.0))
    assert said.count("\nvartovyi_filesystem_used_ratio") == 2


def test_a_word_is_a_label_and_a_signal_without_a_sample_is_absent(page):
    said = page(("check.state", "shop", "refused"))
    assert '{check="shop",state="refused"} 1.0' in said
    assert "vartovyi_cpu_steal_ratio" not in said


def test_hostile_names_cannot_break_the_page(page):
    said = page(("fs.used_pct", '/a"b\\c\nd', 1.0), ("fs.used_pct", "/x", 1.0))
    # The core makes the newline readable before anybody shows it; the page escapes what is left.
    assert r'{mountpoint="/a\"b\\c\\nd"} 0.01' in said


def test_the_agent_shows_itself_and_its_findings(page):
    for _ in range(2):
        page(("fs.used_pct", "/var", 97.0))
    said = page(("fs.used_pct", "/var", 97.0))
    assert 'vartovyi_findings_open{rule="fs_full",severity="high",subject="/var"} 1.0' in said
    assert (
        "vartovyi_spool_findings 1.0" in said and 'vartovyi_sampler_failures_total{sampler="cpu"} 3.0' in said
    )
    assert "vartovyi_collector_reply_age_seconds 4.0" in said


def test_every_family_is_named_and_typed_by_the_conventions_and_stands_once(page):
    values = [
        (s.name, "" if i % 2 else "x", True if s.kind == "flag" else "ok" if s.kind == "word" else 1.0)
        for i, s in enumerate(BY_NAME.values())
    ]
    said = page(*values)
    names = re.findall(r"^# TYPE (\S+) (\S+)$", said, re.MULTILINE)
    assert len(names) == len(set(names)) > 60
    for name, kind in names:
        assert re.fullmatch(r"vartovyi_[a-z0-9_]+", name)
        assert (kind == "counter") == name.endswith("_total")
        assert not re.search(
            r"_(ms|kb|mb|gb|pct|percent|milliseconds|mbps|bits)(_|$)", name.replace("bits_set", "")
        ), name
    for name, _ in names:
        assert re.search(rf"^# HELP {name} \S.+$", said, re.MULTILINE)


def test_promtool_finds_no_fault_with_a_page_of_every_signal(page):
    require_package("promtool")
    values = [
        (s.name, "" if i % 2 else "x", True if s.kind == "flag" else "ok" if s.kind == "word" else 1.0)
        for i, s in enumerate(BY_NAME.values())
    ]
    command = [shutil.which("promtool") or "promtool", "check", "metrics"]
    text = page(*values).encode()
    done = subprocess.run(command, input=text, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_series_are_bounded_and_the_rest_is_counted(page):
    said = page(*[("disk.iops", f"d{i}", 1.0) for i in range(250)])
    assert "vartovyi_agent_hidden_series 50.0" in said
