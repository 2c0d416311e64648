"""A desk worth looking at: two clients, six people, hosts in every life, tickets with evidence, children and history.

For tests of pages and API. It is made through the desk's own functions on a real SQLite file, so it cannot show what
the desk could not hold.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert

from collector.store.engine import Store
from collector.tables import hosts, open_findings
from config import loader
from tests.tools.tables import make_tables
from ticketing import acts, contracts, intake, people
from ticketing.contracts import Book
from ticketing.model import Confidence, Reason, Verdict
from ticketing.queries import Viewer
from ticketing.tables import metadata
from ticketing.terms import Contract

NOW_MS = 1_779_782_400_000
MINUTE = 60_000
PASSWORD = "horse battery staple"

ACME = """
id: acme
title: ТОВ «Акме»
language: uk
calendar: {zone: Europe/Kyiv}
applications: [Крамниця, Портал постачальників]
sla:
  "1": {reaction: 15 min, resolution: 4 h}
  "2": {reaction: 30 min, resolution: 8 h}
hosts:
  - {id: acme-web-1, kind: vds, web_environment: true, exclusive_access: true, addresses: [192.0.2.11],
     topology: {provider: alfa, site: kyiv-1, node: n7, virt: kvm, os: CentOS Stream 9, plan: VDS-4}}
  - {id: acme-db-1, kind: dedicated, web_environment: true, exclusive_access: true, addresses: [192.0.2.12],
     topology: {provider: alfa, site: kyiv-1, virt: bare, os: CentOS Stream 9}}
  - {id: acme-old, kind: shared, addresses: [192.0.2.13]}
"""

BETA = """
id: beta
title: Beta Industries
language: en
lines: 2
calendar:
  zone: Europe/London
  hours: {mon: ["09:00-18:00"], tue: ["09:00-18:00"], wed: ["09:00-18:00"], thu: ["09:00-18:00"], fri: ["09:00-18:00"]}
hosts:
  - {id: beta-shop, kind: vds, web_environment: true, exclusive_access: true, addresses: [198.51.100.7],
     topology: {provider: alfa, site: kyiv-1, node: n7}}
"""

PEOPLE = (
    "{id: olena, name: Олена Ковальчук, role: engineer, line: 2, profiles: [linux, storage], language: uk}",
    "{id: taras, name: Тарас Бондар, role: lead, line: 3, profiles: [network, virtualization], language: uk}",
    "{id: kate, name: Kate Holm, role: engineer, line: 1, profiles: [web], language: en}",
    "{id: admin, name: Admin, role: admin, language: en}",
    "{id: client-a, name: Ірина (Акме), role: client, contract: acme, language: uk}",
    "{id: client-b, name: Ben (Beta), role: client, contract: beta, language: en}",
)

_HASHED: dict[str, str] = {}
"""argon2 is slow on purpose; each password is hashed once for all the desks of a test run."""


@dataclasses.dataclass(frozen=True)
class Desk:
    """What a test needs to know about the world it got."""

    store: Store
    book: Book
    tickets: dict[str, int]


def make_desk(folder: Path, *, with_tickets: bool = True, now_ms: int = NOW_MS) -> Desk:
    """A desk in a new SQLite file below ``folder``."""
    store = Store.open(f"sqlite:///{folder}/collector.db")
    store.write(lambda tx: make_tables(tx, metadata))
    loaded = contracts.Loaded(
        (loader.parse(ACME, Contract), loader.parse(BETA, Contract)),
        tuple(loader.parse(text, contracts.Person) for text in PEOPLE),
    )
    store.write(lambda tx: contracts.apply(tx, loaded, now_ms - 86_400_000, "test"))
    with store.read() as conn:
        book = contracts.current(conn)
    for name in ("olena", "kate", "taras", "client-a", "client-b"):
        store.write(lambda tx, name=name: _set_password(tx, name, now_ms))
    store.write(lambda tx: _hosts(tx, now_ms))
    tickets: dict[str, int] = store.write(lambda tx: _tickets(tx, book, now_ms)) if with_tickets else {}
    return Desk(store, book, tickets)


def _set_password(tx: Connection, name: str, now_ms: int) -> None:
    table = metadata.tables["people"]
    if PASSWORD not in _HASHED:
        people.set_password(tx, name, PASSWORD, now_ms, "test")
        _HASHED[PASSWORD] = (
            tx.execute(table.select().where(table.c.id == name)).mappings().one()["password_hash"]
        )
    tx.execute(table.update().where(table.c.id == name).values(password_hash=_HASHED[PASSWORD]))


def _hosts(tx: Connection, now_ms: int) -> None:
    lives = {"acme-web-1": "alive", "acme-db-1": "silent", "acme-old": "awaited", "beta-shop": "suspect"}
    for host_id, life in lives.items():
        contract = "beta" if host_id.startswith("beta") else "acme"
        terms = {h.id: h for text in (ACME, BETA) for h in loader.parse(text, Contract).hosts}[host_id]
        topology = {f.name: getattr(terms.topology, f.name) for f in dataclasses.fields(terms.topology)}
        has_reported = life != "awaited"
        tx.execute(
            insert(hosts).values(
                id=host_id,
                contract_id=contract,
                addresses=terms.addresses,
                topology=topology,
                token_hash=host_id.ljust(64, "0"),
                enrolled_at_ms=now_ms - 86_400_000,
                is_retired=False,
                life=life,
                life_since_ms=now_ms - 3 * MINUTE,
                silent_after_ms=now_ms + 9_000 if life == "alive" else None,
                last_report_at_ms=now_ms - 4_000 if has_reported else None,
                interval_s=10.0,
                wall_offset_ms=40 if life == "alive" else 7_500,
                agent_version="0.1.0" if has_reported else "",
                vitals=VITALS if has_reported else {},
                lacks={"hw.edac_ce_h": "no EDAC on a virtual machine"} if life == "alive" else {},
                sweep_age_s={"cpu": 2.0},
            )
        )
    tx.execute(
        insert(open_findings).values(
            host_id="acme-web-1",
            rule="fs.space",
            subject="/var",
            stream="s1",
            opening_n=3,
            family="fs_space",
            severity="high",
            at_ms=now_ms - 25 * MINUTE,
            changed_at_ms=now_ms - 5 * MINUTE,
            body={"facts": {"fs.used_pct": {"now": 97.4, "before": 71.0, "usual": 68.0, "unit": "%"}}},
            ticket_id=None,
        )
    )


VITALS = {
    "cpu.user_pct": 12.4,
    "cpu.sys_pct": 3.1,
    "cpu.steal_pct": 0.3,
    "load.per_cpu": 0.41,
    "mem.avail_pct": 52.7,
    "disk.await_ms": 2.9,
    "net.in_mbps": 14.2,
    "net.ladder": 127.0,
}


def disk_verdict(now_ms: int, **changes: Any) -> Verdict:
    """Class 2: /var of acme-web-1 is full."""
    verdict = Verdict(
        class_=2,
        root_cause="os.disk_full",
        scope="host:acme-web-1",
        subject="host:acme-web-1/fs:/var",
        family="fs_space",
        affected=("acme-web-1",),
        began_at_ms=now_ms - 25 * MINUTE,
        confidence=Confidence.HIGH,
        severity="high",
        reasons=(
            Reason("reason.intake.opened", {"class_": 2}, -1.0, "inside"),
            Reason("reason.intake.unchanged", {}, 0.0, "siblings"),
        ),
        would_change=(Reason("reason.intake.nothing_to_open"),),
        summary=Reason("cause.os.disk_full"),
    )
    return dataclasses.replace(verdict, **changes)


def evidence(now_ms: int) -> dict[str, Any]:
    """What the tick attaches to the disk ticket."""
    points = [[now_ms - (60 - i) * MINUTE, 70 + 27 / (1 + math.exp((35 - i) / 3))] for i in range(60)]
    waits = [[now_ms - (60 - i) * MINUTE, 2 + (i % 7) * 0.3 + (12 if 34 < i < 40 else 0)] for i in range(60)]
    return {
        "host": "acme-web-1",
        "rule": "fs.space",
        "subject": "/var",
        "family": "fs_space",
        "at_ms": now_ms - 25 * MINUTE,
        "facts": {
            "fs.used_pct": {"now": 97.4, "before": 71.0, "usual": 68.0, "unit": "%"},
            "disk.await_ms": {"now": 3.1, "before": 2.9, "usual": 3.0, "unit": "ms"},
            "fs.ro": {"now": False, "before": False, "usual": None, "unit": ""},
        },
        "top": [
            {
                "by": "io",
                "pid": 4121,
                "name": "mysqldump",
                "user": "backup",
                "cpu_pct": 38.2,
                "rss_mb": 212,
                "io_mbps": 61.4,
            },
            {
                "by": "cpu",
                "pid": 902,
                "name": "php-fpm",
                "user": "apache",
                "cpu_pct": 12.0,
                "rss_mb": 488,
                "io_mbps": 0.2,
            },
        ],
        "log": [
            {
                "at_ms": now_ms - 26 * MINUTE,
                "source": "kernel",
                "text": "EXT4-fs warning (device vda2): ext4_dx_add_entry",
            },
            {
                "at_ms": now_ms - 24 * MINUTE,
                "source": "mariadb.service",
                "text": "[ERROR] mysqld: Disk full (/var/lib/mysql/#sql_123.MAI); waiting for someone to free some space",
            },
        ],
        "series": {"fs.used_pct": points, "disk.await_ms": waits},
        "notes": {"device": "/dev/vda2", "largest": ["/var/backup 41 GiB", "/var/log 3 GiB"]},
    }


def _tickets(tx: Connection, book: Book, now_ms: int) -> dict[str, int]:
    made: dict[str, int] = {}
    olena = Viewer("olena", "engineer", None, "uk", "192.0.2.200")

    past_ms = now_ms - 5 * 86_400_000
    old = intake.open_or_join(tx, book, disk_verdict(past_ms), "acme", past_ms)
    acts.perform(
        tx, book, "resolve", _id(old), olena, 1, past_ms + 70 * MINUTE,
        cause="Резервні копії не прибиралися", remedy="Видалено копії, старші за 7 днів; додано ротацію",
    )  # fmt: skip
    made["past"] = _id(old)

    opened_ms = now_ms - 25 * MINUTE
    disk = intake.open_or_join(tx, book, disk_verdict(now_ms), "acme", opened_ms)
    intake.add_evidence(tx, _id(disk), evidence(now_ms), opened_ms + 1000)
    made["disk"] = _id(disk)

    node = disk_verdict(
        now_ms,
        class_=1,
        root_cause="virt.node_failure",
        scope="node:alfa/n7",
        subject="node:alfa/n7",
        family="silence",
        affected=("acme-db-1", "beta-shop"),
        severity="critical",
        provisional=True,
        confidence=Confidence.MEDIUM,
        reasons=(Reason("reason.intake.opened", {"class_": 1}, 1.4, "siblings"),),
        summary=Reason("cause.virt.node_failure"),
    )
    outcomes = intake.open_by_contract(tx, book, node, now_ms - 12 * MINUTE)
    made["parent"], made["child_acme"], made["child_beta"] = [_id(outcome) for outcome in outcomes]
    acts.perform(tx, book, "take", made["child_acme"], olena, 1, now_ms - 9 * MINUTE)
    acts.perform(
        tx, book, "ask_provider", made["child_acme"], olena, 2, now_ms - 8 * MINUTE,
        text="Вузол n7 не відповідає з 14:48. Прошу перевірити.", provider_ref="ALFA-5521",
    )  # fmt: skip

    client = Viewer("client-a", "client", "acme", "uk", "203.0.113.9")
    filed = acts.file(
        tx, book, client, "acme", 4, "Покупці не можуть оплатити кошик", "З 12:30 кнопка «Оплатити» крутиться без кінця.",
        now_ms - 95 * MINUTE,
    )  # fmt: skip
    assert isinstance(filed, int)
    made["filed"] = filed
    kate = Viewer("kate", "engineer", None, "en", "192.0.2.201")
    acts.perform(
        tx,
        book,
        "ask_client",
        filed,
        kate,
        1,
        now_ms - 80 * MINUTE,
        text="Чи бачите ви помилку в консолі браузера?",
    )
    return made


def _id(outcome: intake.Outcome) -> int:
    assert outcome.ticket_id is not None, outcome.reason
    return outcome.ticket_id
