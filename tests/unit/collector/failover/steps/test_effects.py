"""Each step against something that behaves like the real part, and each way in which it can fail. The real parts: the lab."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import dns.tsig
import pytest

from collector.failover.steps import (
    fence_ipmi,
    fence_lease,
    fence_libvirt,
    fence_port,
    fence_provider,
    traffic_dns,
    traffic_floating_ip,
    traffic_haproxy,
    verify,
)
from collector.failover.steps.registry import STEPS
from collector.failover.steps.step_type import Answer
from config.loader import ConfigError

pytestmark = pytest.mark.collector
NOWHERE = {"a1": "255.255.255.255", "b9": "255.255.255.255"}
"""No TCP goes there: the kernel says so at once, and nothing leaves this machine."""


def tool(folder: Any, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program on the PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


IPMI = """case "$*" in
*"mc guid"*) echo "System GUID  : 4711-aa" ;;
*status*) echo "Chassis Power is $(cat {folder}/power)" ;;
*off*) echo "$*" >> {folder}/orders; {off}; echo "Chassis Power Control: Down/Off" ;;
esac
"""


@pytest.fixture
def bmc(tmp_path, monkeypatch):
    (tmp_path / "power").write_text("on")
    (tmp_path / "pw").write_text("secret")

    def make(off: str = "echo off > {folder}/power") -> dict[str, Any]:
        text = IPMI.replace("{off}", off).replace("{folder}", str(tmp_path))
        tool(tmp_path / "bin", "ipmitool", text, monkeypatch)
        return {
            "address": "127.0.0.1",
            "user": "fence",
            "password_file": str(tmp_path / "pw"),
            "guid": "4711-aa",
        }

    return make


def test_power_goes_off_and_is_read_back_twice_and_the_password_is_no_argument(bmc, order, tmp_path) -> None:
    mine = order("fence.ipmi", bmc(), addresses=NOWHERE)
    step = fence_ipmi.STEP
    assert step.precheck(mine).outcome == "done"
    assert step.probe(mine).outcome == "not_done"
    assert step.act(mine).outcome == "done"
    read = step.probe(mine)
    assert (read.outcome, read.level) == ("done", "F4"), read
    assert "secret" not in (tmp_path / "orders").read_text()


def test_a_controller_that_says_off_while_the_host_answers_is_not_believed(bmc, order, tmp_path) -> None:
    """B1."""
    with socket.create_server(("127.0.0.1", 0)) as host:
        options = {**bmc(), "alive_ports": [host.getsockname()[1]]}
        mine = order("fence.ipmi", options)
        fence_ipmi.STEP.act(mine)
        read = fence_ipmi.STEP.probe(mine)
    assert read.outcome == "not_done"
    assert "answers" in read.error


def test_a_controller_of_another_machine_is_refused_before_anything_is_ordered(bmc, order, tmp_path) -> None:
    """B6."""
    mine = order("fence.ipmi", {**bmc(), "guid": "0815"}, addresses=NOWHERE)
    assert fence_ipmi.STEP.precheck(mine).outcome == "not_done"
    assert fence_ipmi.STEP.act(mine).outcome == "not_done"
    assert not (tmp_path / "orders").exists()


def test_an_order_that_hangs_is_unknown_at_its_deadline(bmc, order) -> None:
    """B3."""
    mine = order("fence.ipmi", bmc(off="sleep 60"), addresses=NOWHERE, deadline_s=1.0)
    assert fence_ipmi.STEP.act(mine).outcome == "unknown"


def test_without_the_tool_nothing_was_done(bmc, order, monkeypatch) -> None:
    options = bmc()
    monkeypatch.setenv("PATH", "/nowhere")
    assert fence_ipmi.STEP.precheck(order("fence.ipmi", options)).outcome == "not_done"


def test_a_guest_is_destroyed_kept_from_starting_and_read_back(order, tmp_path, monkeypatch) -> None:
    (tmp_path / "state").write_text("running")
    text = f"""echo "$*" >> {tmp_path}/orders
case "$*" in *domuuid*) echo 11-22 ;; *domstate*) cat {tmp_path}/state ;; *destroy*) echo "shut off" > {tmp_path}/state ;; esac
"""
    tool(tmp_path / "bin", "virsh", text, monkeypatch)
    mine = order("fence.libvirt", {"uri": "qemu+ssh://n7/system", "domain": "a1", "uuid": "11-22"})
    assert fence_libvirt.STEP.probe(mine).outcome == "not_done"
    assert fence_libvirt.STEP.act(mine).outcome == "done"
    assert fence_libvirt.STEP.probe(mine).level == "F4"
    orders = (tmp_path / "orders").read_text()
    assert orders.index("autostart a1 --disable") < orders.index("destroy a1")
    other = order("fence.libvirt", {"uri": "qemu+ssh://n7/system", "domain": "a1", "uuid": "99"})
    assert fence_libvirt.STEP.act(other).outcome == "not_done"


def test_a_port_is_closed_by_root_s_own_command(order, tmp_path) -> None:
    script = tmp_path / "switch"
    script.write_text(
        f"#!/bin/sh\n[ $1 = off ] && touch {tmp_path}/off\n[ -e {tmp_path}/off ] && echo off || echo on\n"
    )
    script.chmod(0o755)
    mine = order("fence.port", {"command": "switch", "args": ["7"], "folder": str(tmp_path)})
    assert fence_port.STEP.probe(mine).outcome == "not_done"
    assert fence_port.STEP.act(mine).outcome == "done"
    assert (fence_port.STEP.probe(mine).outcome, fence_port.STEP.probe(mine).level) == ("done", "F3")
    script.write_text("#!/bin/sh\nexit 1\n")
    assert fence_port.STEP.probe(mine).outcome == "unknown"
    missing = order("fence.port", {"command": "missing", "folder": str(tmp_path)})
    assert fence_port.STEP.act(missing).outcome == "not_done"


def test_a_lease_counts_only_after_the_whole_wait_with_the_service_s_ports_shut(order, sshd) -> None:
    options = {"ports": [9], "ttl": 10, "margin": 10}

    def probe(waited_s: float) -> Answer:
        return fence_lease.STEP.probe(order("fence.lease", options, sshd.target(), waited_s=waited_s))

    assert probe(36.0).outcome == "not_done"  # nobody was told: the old primary goes by the word of before
    assert fence_lease.STEP.act(order("fence.lease", options, sshd.target())).outcome == "unknown"
    assert probe(34.0).outcome == "unknown"
    waited = probe(36.0)
    assert (waited.outcome, waited.level) == ("done", "F2")
    with socket.create_server(("127.0.0.1", 0)) as served:
        options["ports"] = [served.getsockname()[1]]
        assert probe(36.0).outcome == "not_done"


def test_a_lease_whose_word_the_backup_refuses_is_not_waited_for(order, sshd) -> None:
    options = {"ports": [9], "ttl": 10, "margin": 10}
    assert fence_lease.STEP.act(order("fence.lease", options, sshd.target(), epoch=9)).outcome == "unknown"
    assert fence_lease.STEP.act(order("fence.lease", options, sshd.target(), epoch=8)).outcome == "not_done"


class Api:
    """A provider's interface: a state, answers as told, orders counted."""

    def __init__(self) -> None:
        self.state, self.status, self.orders, self.works = "on", 200, 0, True
        self.seen_secret = ""
        outer = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen_secret = self.headers.get("Authorization", "")
                self._answer(json.dumps({"server": {"name": "vm-a1", "status": outer.state}}).encode())

            def do_POST(self) -> None:
                outer.orders += 1
                if outer.works:
                    outer.state = "off"
                self._answer(b"")

            def _answer(self, octets: bytes) -> None:
                self.send_response(outer.status)
                if outer.status in (429, 503):
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def options(self, **changes: Any) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.server.server_port}/servers/{{id}}"
        whole = {
            "act": {"url": url + "/poweroff", "method": "POST"},
            "read": {"url": url},
            "path": "server.status",
            "done": ["off"],
            "values": {"id": "42"},
        }
        return {**whole, **changes}


@pytest.fixture
def api() -> Iterator[Api]:
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_provider_s_power_off_counts_when_it_reads_off(api, order, tmp_path) -> None:
    (tmp_path / "token").write_text("t0p\n")
    mine = order("fence.provider", api.options(secret_file=str(tmp_path / "token")), addresses=NOWHERE)
    assert fence_provider.STEP.precheck(mine).outcome == "done"
    assert api.seen_secret == "Bearer t0p"
    assert fence_provider.STEP.act(mine).outcome == "done"
    assert fence_provider.STEP.probe(mine).level == "F4"
    assert fence_provider.STEP.act(mine).outcome == "done"
    assert api.orders == 1  # off already: not ordered again


def test_a_provider_that_is_down_or_lies_fences_nothing(api, order) -> None:
    """B2, B4."""
    mine = order("fence.provider", api.options(), addresses=NOWHERE)
    api.works = False
    assert fence_provider.STEP.act(mine).outcome == "done"
    assert fence_provider.STEP.probe(mine).outcome == "not_done"
    api.status = 503
    assert fence_provider.STEP.precheck(mine).outcome == "not_done"
    assert fence_provider.STEP.probe(mine).outcome == "unknown"


def test_a_mapping_to_another_machine_is_refused(api, order) -> None:
    options = api.options(identity_path="server.name", identity="vm-other")
    mine = order("fence.provider", options, addresses=NOWHERE)
    assert fence_provider.STEP.act(mine).outcome == "not_done"
    assert api.orders == 0


def test_a_floating_address_is_read_first_and_limits_are_heeded(api, order) -> None:
    """D3."""
    mine = order("traffic.floating_ip", api.options())
    step = traffic_floating_ip.STEP
    assert step.act(mine).outcome == "done"
    assert step.probe(mine).outcome == "done"
    assert step.act(mine).outcome == "done"
    assert api.orders == 1
    api.status = 429
    assert step.act(mine).outcome == "unknown"
    assert step.probe(mine).outcome == "unknown"


def test_options_that_do_not_fit_are_named(api, order) -> None:
    with pytest.raises(ConfigError, match="no plain word"):
        traffic_floating_ip.STEP.precheck(order("traffic.floating_ip", api.options(values={"id": "4 2"})))
    with pytest.raises(ConfigError):
        fence_ipmi.STEP.precheck(order("fence.ipmi", {"address": "x"}))
    assert {kind.partition(".")[0] for kind in STEPS} == {
        "gate",
        "demote",
        "fence",
        "promote",
        "traffic",
        "verify",
    }


class Balancer(socketserver.BaseRequestHandler):
    """HAProxy's runtime interface, as far as the step uses it."""

    states: dict[str, int]
    said: list[str]

    def handle(self) -> None:
        words = self.request.recv(1000).decode().split()
        self.said.append(" ".join(words))
        if words[:3] == ["show", "servers", "state"]:
            lines = ["1", "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state"]
            lines += [
                f"3 web {n} {name} 192.0.2.{n} 2 {state}"
                for n, (name, state) in enumerate(self.states.items())
            ]
            self.request.sendall(("\n".join(lines) + "\n\n").encode())
        elif words[:2] == ["set", "server"]:
            name = words[2].partition("/")[2]
            if name not in self.states:
                self.request.sendall(b"No such server.\n")
                return
            self.states[name] = 1 if words[4] == "maint" else 0
            self.request.sendall(b"\n")
        else:
            self.request.sendall(b"\n")


def test_clients_are_led_over_by_the_balancer_and_a_reload_is_seen(order) -> None:
    """D4."""
    handler = type("B", (Balancer,), {"states": {"a1": 0, "b9": 1}, "said": []})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        place = f"127.0.0.1:{server.server_address[1]}"
        options = {"sockets": [place], "backend": "web", "old": "a1", "new": "b9"}
        mine, step = order("traffic.haproxy", options), traffic_haproxy.STEP
        assert step.precheck(mine).outcome == "done"
        assert step.probe(mine).outcome == "not_done"
        assert step.act(mine).outcome == "done"
        assert step.probe(mine).outcome == "done"
        assert "shutdown sessions server web/a1" in handler.said
        handler.states.update({"a1": 0, "b9": 1})
        assert step.probe(mine).outcome == "not_done"
        absent = order("traffic.haproxy", {**options, "new": "zz"})
        assert step.precheck(absent).outcome == "not_done"
        assert step.act(absent).outcome == "not_done"
        server.shutdown()
    assert step.probe(mine).outcome == "unknown"


SECRET = "c2VjcmV0c2VjcmV0"


class Zone:
    """A name server with one record: queries by UDP; to an update it says yes, signed, and does nothing (bind9: tests/lab)."""

    def __init__(self) -> None:
        self.value, self.refuses, self.ttl = "192.0.2.1", "", 60
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        threading.Thread(target=self._take_updates, daemon=True).start()

    def _serve(self) -> None:
        while True:
            octets, peer = self.udp.recvfrom(4096)
            if not octets:
                return
            query = dns.message.from_wire(octets)
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.AA
            answer.answer.append(dns.rrset.from_text(query.question[0].name, self.ttl, "IN", "A", self.value))
            self.udp.sendto(answer.to_wire(), peer)

    def _take_updates(self) -> None:
        key = dns.tsig.Key("failover", SECRET, "hmac-sha256")
        while True:
            try:
                sock, _ = self.tcp.accept()
                with sock:
                    size = int.from_bytes(sock.recv(2, socket.MSG_WAITALL), "big")
                    update = dns.message.from_wire(sock.recv(size, socket.MSG_WAITALL), keyring=key)
                    octets = dns.message.make_response(update).to_wire()
                    sock.sendall(len(octets).to_bytes(2, "big") + octets)
            except OSError:
                return

    def close(self) -> None:
        self.udp.sendto(b"", ("127.0.0.1", self.port))
        self.thread.join(5)
        self.tcp.close()
        self.udp.close()


@pytest.mark.slow
def test_a_record_is_probed_at_every_server_and_its_ttl_is_looked_at(order, tmp_path) -> None:
    zone = Zone()
    (tmp_path / "key").write_text(SECRET)
    options = {
        "zone": "client.example",
        "name": "www.client.example",
        "old": "192.0.2.1",
        "new": "192.0.2.2",
        "server": "127.0.0.1",
        "port": zone.port,
        "key_name": "failover",
        "key_file": str(tmp_path / "key"),
    }
    mine, step = order("traffic.dns", options), traffic_dns.STEP
    assert step.precheck(mine).outcome == "done"
    assert step.probe(mine).outcome == "not_done"
    zone.value = "192.0.2.2"
    assert step.probe(mine).outcome == "done"
    zone.value = "192.0.2.99"
    assert step.precheck(mine).outcome == "not_done"
    zone.value, zone.ttl = "192.0.2.1", 86_400
    assert "86400" in step.precheck(mine).error
    zone.close()
    assert step.precheck(mine).outcome == "not_done"
    with pytest.raises(ConfigError, match="is no address"):
        step.precheck(order("traffic.dns", {**options, "new": "www"}))


def test_the_service_is_proven_by_its_public_name_and_the_old_address_must_not_serve(order) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        step = verify.TCP
        assert step.probe(order("verify.tcp", {"host": "127.0.0.1", "port": port})).outcome == "done"
        both = order("verify.tcp", {"host": "127.0.0.1", "port": port, "old_host": "127.0.0.1"})
        wrong = step.probe(both)
        assert (wrong.outcome, "still serves" in wrong.error) == ("not_done", True)
    assert step.probe(order("verify.tcp", {"host": "127.0.0.1", "port": port})).outcome == "not_done"
