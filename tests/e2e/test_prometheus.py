"""/metrics of both programs, the shipped dashboards and alert rules, judged by Prometheus' own promtool.

The pages come from a real agent and a real collector; the alerts are tried with series by ``promtool test rules``.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.signals.catalogue import BY_NAME
from tests.bench.house import House
from tests.tools.needs import require_package
from tests.tools.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.collector]

ROOT = Path(__file__).parent.parent.parent
SHIPPED = ROOT / "config/shipped"
ALERTS = SHIPPED / "prometheus/vartovyi-alerts.yaml"
ALERT_TESTS = Path(__file__).parent / "prometheus/alerts_test.yaml"
DASHBOARDS = sorted((SHIPPED / "grafana").glob("*.json"))
UKRAINIAN = re.compile("[іїєґа-я]", re.IGNORECASE)
START_S = 60.0


def promtool(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    require_package("promtool")
    return subprocess.run(
        [shutil.which("promtool") or "promtool", *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


def fetch(url: str) -> bytes:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read()
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: Any) -> dict[str, bytes]:
    """One page of a real agent that has had a reply, and one of its collector."""
    with House(tmp_path_factory.mktemp("house"), 1) as house:
        house.enrol(round(time.time() * 1000))
        house.start()
        port = free_port()
        token = house.folder / "token"
        token.touch(mode=0o600)
        token.write_text(house.tokens.read_text().split()[0] + "\n")
        settings = house.folder / "agent.yaml"
        settings.write_text(
            f"state_dir: {house.folder / 'agent'}\nlog_level: WARNING\nmetrics: {{listen: '127.0.0.1:{port}'}}\n"
            f"collector: {{url: '{house.address}', token_file: {token}}}\ninterval: 1 s\nperiod: 1 s\n"
        )
        agent = subprocess.Popen([sys.executable, "-m", "agent.cli", "run", "--config", settings], cwd=ROOT)
        try:
            deadline = time.monotonic() + START_S
            while b"vartovyi_collector_reply_age_seconds " not in (
                page := fetch(f"http://127.0.0.1:{port}/metrics")
            ):
                assert time.monotonic() < deadline, page.decode()[-2000:]
                time.sleep(0.2)
            shown = {"agent": page, "collector": fetch(f"{house.address}/metrics")}
        finally:
            agent.terminate()
            agent.wait(timeout=30)
        house.stop()
    return shown


@pytest.fixture(scope="module")
def exported(pages: dict[str, bytes]) -> set[str]:
    """Every sample's name that the two programs can show: as seen, and the catalogue for what this machine lacks."""
    seen = {
        line.split("{")[0].split(" ")[0]
        for page in pages.values()
        for line in page.decode().splitlines()
        if not line.startswith("#")
    }
    # Families with labels and no sample yet have their type line only.
    typed = {
        name if kind != "counter" or name.endswith("_total") else f"{name}_total"
        for page in pages.values()
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page.decode(), re.MULTILINE)
    }
    return seen | typed | {row.prometheus.name for row in BY_NAME.values() if row.prometheus is not None}


def named(expression: str) -> set[str]:
    """The metrics that a PromQL expression names."""
    return set(re.findall(r"\b((?:vartovyi|process)_[a-z0-9_]+|up)\b(?!\s*\()", expression))


@pytest.mark.parametrize("program", ["agent", "collector"])
def test_promtool_finds_no_fault_with_the_page(pages: dict[str, bytes], program: str) -> None:
    done = promtool("check", "metrics", stdin=pages[program])
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_the_shipped_alert_rules_are_well_formed() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(ALERTS))
    assert done.returncode == 0, done.stderr.decode()


def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    tests = tmp_path / "alerts_test.yaml"
    tests.write_text(ALERT_TESTS.read_text(encoding="utf-8").replace("RULES", str(ALERTS)), encoding="utf-8")
    done = promtool("test", "rules", str(tests))
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_every_alert_is_tried_both_ways() -> None:
    alerts = {
        rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    }
    fires: set[str] = set()
    rests: set[str] = set()
    for case in yaml.safe_load(ALERT_TESTS.read_text())["tests"]:
        for trial in case["alert_rule_test"]:
            (fires if trial.get("exp_alerts") else rests).add(trial["alertname"])
    assert alerts - fires == set(), "never seen firing"
    assert alerts - rests == set(), "never seen at rest"


def test_alerts_are_told_in_both_languages_and_name_only_what_is_exported(exported: set[str]) -> None:
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            words = rule["annotations"]
            assert set(words) == {"summary", "description", "summary_uk", "description_uk"}, rule["alert"]
            assert UKRAINIAN.search(words["summary_uk"]) and UKRAINIAN.search(words["description_uk"])
            assert not UKRAINIAN.search(words["summary"] + words["description"]), rule["alert"]
            assert named(rule["expr"]), rule["alert"]
            assert named(rule["expr"]) - exported <= {"up"}, rule["alert"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole_and_names_only_what_is_exported(path: Path, exported: set[str]) -> None:
    board = json.loads(path.read_text(encoding="utf-8"))
    assert board["uid"] == path.stem and board["schemaVersion"] >= 36
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert named(variable["definition"]) and named(variable["definition"]) <= exported
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert UKRAINIAN.search(panel["description"]), panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert named(target["expr"]) and named(target["expr"]) <= exported, target["expr"]
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24 and not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_prometheus_can_read_every_expression_of_a_dashboard(path: Path, tmp_path: Path) -> None:
    """As recording rules: promtool parses them all."""
    rules = [
        {"record": f"panel:{panel['id']}:{n}", "expr": target["expr"]}
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for n, target in enumerate(panel.get("targets", []))
    ]
    assert len(rules) > 15
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stderr.decode()


def test_a_name_that_nobody_exports_would_be_seen(exported: set[str]) -> None:
    assert named("rate(vartovyi_no_such_thing_total[5m])") - exported == {"vartovyi_no_such_thing_total"}
