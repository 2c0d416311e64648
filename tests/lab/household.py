"""A whole household in a house: a real collector, real agents on three hosts, a pair of registers, the provider, clients.

``settle`` brings it to the point where the pair may be switched automatically: every host heard, the service seen by the
collector and by probe2, the switch rehearsed without effects. From there a case breaks something and looks. Times are a
tenth of what a contract would say where they may be (``Scale``); the proportions are kept.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from tests.lab.clients import Clients
from tests.lab.given import (
    DEMOTE,
    HOSTS,
    PROMOTE,
    RULES,
    SWITCH,
    SYSTEMCTL,
    WORD,
    Scale,
    Terms,
    collector_settings,
    contracts,
    other,
)
from tests.lab.hands import Hands
from tests.lab.house import ADDRESS, House
from tests.lab.provider import PORT as API_PORT
from tests.lab.provider import Provider
from tests.lab.sshd import SHIPPED


class Household(Hands):
    """What stands in a house, and the hands that break it."""

    def __init__(self, house: House, scale: Scale | None = None, terms: Terms | None = None) -> None:
        self.house, self.scale, self.folder = house, scale or Scale(), house.folder
        self._terms = terms or {}
        super().__init__()
        self.provider = Provider(
            house.listen("oob", API_PORT),
            power=self.power,
            is_powered=self.powered.__getitem__,
            port=self.port,
            is_port_open=self.is_port_open.__getitem__,
            route=house.lead_clients_to,
            routed=lambda: ",".join(house.clients_led_to()),
        )
        self.clients = Clients(house)

    # settling

    def settle(self) -> None:
        """Everything started and well; the switch rehearsed; clients write."""
        self._files()
        for host in HOSTS:
            self._host_files(host)
        self.start_collector()
        for host in HOSTS:
            self.boot(host)
        self.start_agent("probe2")
        self.wait("every host is heard", lambda: set(self.lives().values()) == {"alive"})
        self.wait("both see the service", lambda: self.views() == {"": "ok", "probe2": "ok"})
        self.wait(
            "the lag is known", lambda: self.rows("SELECT 1 FROM observations WHERE signal = 'repl.lag_s'")
        )
        self.command("failover", "rehearse", "prim", "--no-follow")
        sql = "SELECT found FROM failover_rehearsals WHERE is_passed"
        self.wait("the rehearsal passed", lambda: self.rows(sql))
        self.clients.start()
        self.wait("clients are served", lambda: self.clients.served_by() == "prim")

    def _files(self) -> None:
        (self.folder / "contracts").mkdir()
        (self.folder / "providers").mkdir()
        (self.folder / "rules.yaml").write_text(RULES)
        (self.folder / "switch").write_text(SWITCH)
        (self.folder / "switch").chmod(0o755)
        for contract in contracts(self.scale, self._terms, self.folder):
            (self.folder / "contracts" / f"{contract['id']}.yaml").write_text(yaml.safe_dump(contract))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        known = [f"{host} {self.house.sshd(host).host_key}" for host in HOSTS]
        (self.folder / "known_hosts").write_text("\n".join(known) + "\n")
        for host in HOSTS:
            # One key of the collector's for both, as in life.
            self.house.sshd(host).let_in(
                self.key.with_suffix(".pub"), self.peer_key(host).with_suffix(".pub")
            )
        (self.folder / "collector.yaml").write_text(
            yaml.safe_dump(collector_settings(self.scale, self.folder))
        )

    @property
    def key(self) -> Path:
        """The collector's log-in key."""
        return self.folder / "collector_key"

    def peer_key(self, host: str) -> Path:
        """The key with which the other host asks this one for its epoch."""
        return self.house.sshd(host).folder / "user"

    def _host_files(self, host: str) -> None:
        sshd, folder = self.house.sshd(host), self.folder / f"register-{host}"
        folder.mkdir()
        (folder / "role").write_text("primary 0\n" if host == "prim" else "standby\n")
        peer = other(host)
        sshd.allow("asks", "role-register", f"read -r word rest < {folder}/role; echo $word\n")
        sshd.allow("steps", "promote-register", PROMOTE.format(folder=folder, shipped=SHIPPED))
        sshd.allow("steps", "demote-register", DEMOTE.format(folder=folder))
        # What an engineer does when the pair is set up: the first epoch names the primary on both hosts.
        self.wrapper(host, "arm", WORD, "0", "prim")
        key, known = self.folder / f"peer-key-of-{host}", self.folder / "known_hosts"
        key.write_bytes(self.peer_key(peer).read_bytes())
        key.chmod(0o600)
        ask = (
            f"ssh -F none -o BatchMode=yes -o ConnectTimeout=2 -o UserKnownHostsFile={known} "
            f"-o HostKeyAlias={peer} -o StrictHostKeyChecking=yes -i {key} root@{ADDRESS[peer]} epoch {WORD}"
        )
        (sshd.etc / "pairs" / WORD).write_text(
            f"host={host}\nservice=register-{host}\npeer={ask}\ncollector={ADDRESS['coll']}:8440\n"
            f"ttl={self.scale.gate_ttl:g}\n"
        )
        systemctl = self.folder / f"systemctl-{host}"
        pidfile = self.folder / f"register-{host}.pid"
        systemctl.write_text(SYSTEMCTL.format(pidfile=pidfile, role=folder / "role"))
        systemctl.chmod(0o755)
