"""The usual services are found by unit files, links and listening sockets; a hung listener is seen without a visit."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest

from agent.checks import listening, units
from agent.checks.sock_diag import Listener, listeners
from agent.checks.spec import CheckSettings
from agent.preset import Finder, PresetSettings, checks_of, look
from agent.samplers.watching import Checks

UNITS = "usr/lib/systemd/system"
WANTS = "etc/systemd/system/multi-user.target.wants"


def centos(root: Path, installed: str, on: str) -> Path:
    for folder in (UNITS, WANTS, "run/systemd/system"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in installed.split():
        (root / UNITS / f"{name}.service").write_text("[Service]\n")
    for name in on.split():
        (root / WANTS / f"{name}.service").symlink_to(f"/usr/lib/systemd/system/{name}.service")
    return root


def open_ports(*ports: int) -> Any:
    return lambda: [Listener("0.0.0.0", port, 0, 128) for port in ports]


def names(checks: List[CheckSettings]) -> List[str]:
    return [check.name for check in checks]


ALL = "nginx php-fpm mariadb redis memcached crond postfix sshd"


def test_the_web_stack_of_centos_is_found_with_its_units_and_ports(tmp_path) -> None:
    root = centos(tmp_path, f"{ALL} httpd", ALL)
    found = look(root, open_ports(22, 25, 80, 443, 3306, 6379, 11211, 8080))
    checks = checks_of(found, PresetSettings())
    assert names(checks) == [
        "nginx", "nginx port 80", "nginx port 443", "php-fpm", "mysql", "mysql port 3306", "redis", "redis port 6379",
        "memcached", "memcached port 11211", "cron", "postfix", "postfix port 25", "sshd", "sshd port 22",
    ]  # fmt: skip
    assert {check.unit for check in checks if check.name == "mysql"} == {"mariadb.service"}
    assert [one.name for one in found if one.is_off] == ["httpd"]


@pytest.mark.parametrize(
    ("installed", "on", "ports", "wanted"),
    [
        ("httpd nginx", "httpd", (80,), ["httpd", "httpd port 80"]),
        ("httpd nginx", "httpd nginx", (80, 8080), ["nginx", "nginx port 80", "httpd", "httpd port 8080"]),
        ("httpd nginx", "", (80,), []),
        ("nginx", "", (80,), ["nginx port 80"]),
        ("php74-php-fpm php82-php-fpm", "php74-php-fpm php82-php-fpm", (),
         ["php-fpm", "php-fpm php82-php-fpm.service"]),
        ("php8.2-fpm ssh cron apache2 mysql redis-server", "php8.2-fpm ssh cron apache2 mysql redis-server", (80,),
         ["httpd", "httpd port 80", "php-fpm", "mysql", "redis", "cron", "sshd"]),
        ("", "", (80, 3306), []),
    ],
)  # fmt: skip
def test_what_is_switched_on_or_listens_is_watched_and_nothing_else(
    tmp_path, installed, on, ports, wanted
) -> None:
    assert (
        names(checks_of(look(centos(tmp_path, installed, on), open_ports(*ports)), PresetSettings()))
        == wanted
    )


def test_a_unit_with_a_hostile_name_is_no_unit(tmp_path) -> None:
    root = centos(tmp_path, "nginx", "nginx")
    for name in ("php$(id)-fpm.service", "php\n-fpm.service", "php -fpm.service"):
        (root / UNITS / name).write_text("")
        (root / WANTS / name).write_text("")
    assert names(checks_of(look(root, open_ports()), PresetSettings())) == ["nginx"]


def test_checks_of_the_settings_stand_instead_and_some_are_left_out(tmp_path) -> None:
    root = centos(tmp_path, ALL, ALL)
    own = CheckSettings(name="nginx", type="http", url="http://127.0.0.1/health")
    finder = Finder(PresetSettings(without=["redis*", "mysql port*"]), root, open_ports(80, 3306, 6379))
    checks = finder.checks([own])
    assert names(checks) == [
        "nginx", "nginx port 80", "php-fpm", "mysql", "memcached", "cron", "postfix", "sshd",
    ]  # fmt: skip
    assert checks[0] is own


def test_a_port_once_seen_stays_watched_until_its_unit_is_switched_off(tmp_path) -> None:
    root = centos(tmp_path, "nginx", "nginx")
    seen: List[Any] = [open_ports(80)]
    finder = Finder(PresetSettings(), root, lambda: seen[0]())
    assert names(finder.checks([])) == ["nginx", "nginx port 80"]
    seen[0] = open_ports()
    assert names(finder.checks([])) == ["nginx", "nginx port 80"]
    (root / WANTS / "nginx.service").unlink()
    assert finder.checks([]) == []


def test_a_service_that_is_switched_off_is_no_finding_and_one_that_fails_is(tmp_path) -> None:
    root = centos(tmp_path, "nginx redis", "nginx redis")
    seen: List[Any] = [open_ports(80, 6379)]
    finder = Finder(PresetSettings(interval=5.0), root, lambda: seen[0]())

    def run(spec: CheckSettings, **_: Any) -> Any:
        return (
            listening.run(spec, 1.0, lambda: seen[0]())
            if spec.type == "listen"
            else listening.CheckAnswer("ok")
        )

    checks = Checks([], root, run=run, first_wait_s=0.5, find=finder.checks)

    def states(at_ms: int) -> Dict[str, Any]:
        checks.sweep(at_ms)
        checks.settle(2)
        return {s.subject: s.value for s in checks.sweep(at_ms + 1) if s.signal == "check.state"}

    assert set(states(0).values()) == {"ok"} and len(states(5_000)) == 4
    seen[0] = open_ports(80)
    assert states(10_000)["redis port 6379"] == "refused"
    (root / WANTS / "redis.service").unlink()
    assert set(states(20_000)) == {"nginx", "nginx port 80"}


# --- listening ---------------------------------------------------------------------------------------------------


def ask(port: int, host: str = "") -> Any:
    return listening.run(CheckSettings(name="x", type="listen", port=port, host=host), 2.0)


def test_a_listener_is_seen_by_the_kernel_and_is_not_visited() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ask(port).state == "ok" and ask(port, "127.0.0.1").state == "ok"
        assert ask(port, "127.0.0.9").state == "refused"
        server.settimeout(0.1)
        with pytest.raises(socket.timeout):
            server.accept()
    assert ask(port).state == "refused"
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        assert ask(server.getsockname()[1], "::1").state == "ok"


def test_a_service_that_hangs_lets_connections_wait_until_there_is_no_room() -> None:
    program = (
        "import socket,time\ns=socket.create_server(('127.0.0.1',0),backlog=2)\n"
        "print(s.getsockname()[1],flush=True)\ntime.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert child.stdout is not None
    port = int(child.stdout.readline())
    visits = []
    try:
        child.send_signal(signal.SIGSTOP)
        assert ask(port).state == "ok"
        for _ in range(6):
            visit = socket.socket()
            visit.setblocking(False)
            visit.connect_ex(("127.0.0.1", port))
            visits.append(visit)
        time.sleep(0.2)
        answer = ask(port)
        assert answer.state == "timeout" and answer.facts["waiting"] > answer.facts["room"]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        for visit in visits:
            visit.close()


def test_the_kernels_list_knows_addresses_of_both_families() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=7) as server:
        (found,) = [one for one in listeners() if one.port == server.getsockname()[1]]
    assert (found.address, found.waiting, found.room) == ("127.0.0.1", 0, 7)


def test_a_unit_with_processes_is_up_without_asking_systemctl(tmp_path) -> None:
    group = tmp_path / "sys/fs/cgroup/system.slice/nginx.service"
    group.mkdir(parents=True)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (group / "cgroup.procs").write_text("12\n13\n")
    spec = CheckSettings(name="n", type="unit", unit="nginx.service")
    answer = units.run(spec, 1.0, tmp_path)
    assert (answer.state, answer.facts) == ("ok", {"processes": 2})
    (group / "cgroup.procs").write_text("")
    assert units.processes_in("nginx.service", tmp_path) == 0


def test_check_config_shows_every_check_with_its_origin(tmp_path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"state_dir: {tmp_path}\nchecks: [{{name: shop, type: http, url: 'http://127.0.0.1/x'}}]\n"
    )
    command = [
        sys.executable,
        "-m",
        "agent.cli",
        "check-config",
        "--show",
        "--config",
        str(tmp_path / "a.yaml"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ}).stdout
    assert "shop" in said and "http://127.0.0.1/x" in said and "settings" in said
    shown = json.loads(
        subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    )
    assert shown["shown"][0] == {
        "name": "shop",
        "type": "http",
        "asks": "http://127.0.0.1/x",
        "origin": "settings",
    }
