"""A real collector with a mirror, from an agent's finding to the external desk, killed in between: one ticket, all in order."""

from __future__ import annotations

import json
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.wire import REPORT_PATH, Fact, FindingChange, Report, to_json
from tests.conformance.mirrors.conftest import Databases
from tests.conformance.mirrors.rig import DESK, Rig, contract_yaml
from tests.conformance.test_running_collector import Process, wait_for
from ticketing.mirrors.desk import Wanted, marker_in

SEED = 20261123
WORDS = ("перше слово", "друге слово", "третє слово", "четверте слово")
WITHIN_S = 120.0


class Mirrored(Process):
    """A collector whose one contract mirrors into the rig's desk."""

    def __init__(self, rig: Rig, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        hosts = (
            "hosts: [{id: web-1, kind: vds, web_environment: true, exclusive_access: true,"
            " addresses: [127.0.0.1], interval: 30}]\n"
        )
        (self.contracts / "acme.yaml").write_text(contract_yaml(rig) + hosts, encoding="utf-8")
        people = (
            "people:\n  - {id: olena, role: engineer, name: Олена, line: 1}\n  - {id: chief, role: admin}\n"
        )
        (self.contracts / "people.yaml").write_text(people, encoding="utf-8")
        desk = (
            f"desks:\n  {DESK}:\n    type: {rig.kind}\n    url: {rig.proxy.url}\n"
            f"    token_file: {rig.terms.token_file}\n    key_field: '{rig.terms.key_field}'\n"
            "    settle: 1 s\n    every: 5 s\n"
        )
        # A killed worker's claim must run out before the next one asks; short here, ten minutes by default.
        self.config.write_text(
            self.config.read_text(encoding="utf-8") + desk + "outbox: {claim_s: 35 s}\n", encoding="utf-8"
        )

    def finds(self, token: str) -> None:
        """The agent says that a file system is full."""
        now = round(time.time() * 1000)
        change = FindingChange(
            n=1, kind="opened", opening_n=1, rule="fs_full", subject="/var", family="fs_space", at_ms=now - 30_000,
            severity="high", facts={"fs.used_pct:/var": Fact(97.0)},
        )  # fmt: skip
        body = Report(
            v=1, agent="0.1", boot_id="b1", run_id="r1", wall_ms=now, mono_ms=1000, boottime_ms=1000, interval_s=30.0,
            stream="s1", findings=[change],
        )  # fmt: skip
        request = urllib.request.Request(
            self.url + REPORT_PATH, data=to_json(body), headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200

    def ask(self, token: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """GET, or POST with a body, as the person of this token."""
        request = urllib.request.Request(
            f"{self.url}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode()}") from error

    def act(self, token: str, ticket_id: int, act: str, **fields: Any) -> Any:
        """One act against the version as it stands."""
        seen = self.ask(token, f"tickets/{ticket_id}")["version"]
        return self.ask(token, f"tickets/{ticket_id}/acts/{act}", {"seen_version": seen, **fields})


@pytest.fixture
def collector(rig: Rig, databases: Databases, tmp_path: Path) -> Iterator[Mirrored]:
    made = Mirrored(rig, tmp_path, databases.new(tmp_path))
    yield made
    made.kill()
    print(made.said()[-4000:])


def _later(what: Any, why: str) -> Any:
    """As ``wait_for``, with the time that a claim of a killed worker takes."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(why)


# A minute and a half a desk, most of it waiting for a dead worker's claim: one desk is enough for every day.
KINDS = ["redmine", "rt"] if os.environ.get("MIRROR_WHOLE") == "all" else ["rt"]


@pytest.mark.e2e
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rig", KINDS, indirect=True)
def test_a_finding_is_a_ticket_there_once_with_each_word_in_order_however_often_the_collector_dies(
    rig: Rig, collector: Mirrored
) -> None:
    dice = random.Random(f"{SEED}/{rig.kind}")
    collector.start()
    agent = collector.enrol()
    olena = json.loads(collector.run("token", "olena", "--json").stdout)["token"]
    collector.finds(agent)
    (ticket,) = wait_for(
        lambda: collector.ask(olena, "tickets?contract=acme")["tickets"],
        "the finding opened no ticket",
    )
    number = ticket["id"]
    collector.act(olena, number, "take")
    for word in WORDS:
        collector.act(olena, number, "note", text=word, is_public=True)
        if word != WORDS[-1]:
            time.sleep(dice.uniform(0, 1.5))
            collector.kill()  # wherever its workers happen to be
            collector.start()
    collector.act(olena, number, "resolve", cause="журнали", remedy="ротація")

    def delivered() -> dict[str, Any] | None:
        (mirror,) = collector.ask(olena, f"tickets/{number}")["mirrors"] or [{}]
        return mirror if mirror.get("state") == "level" else None

    mirror = _later(delivered, f"seed {SEED}: not everything arrived")
    remote_id = mirror["number"]
    comments = rig.comments(remote_id)
    said = [next((w for w in WORDS if w in text), "") for text in comments]
    assert [word for word in said if word] == list(WORDS), comments
    markers = [marker_in(text) for text in comments]
    assert len(set(markers)) == len(markers) and all(markers), "each of ours once"
    assert rig.human.read(remote_id).status == rig.statuses["resolved"]
    rig.work_there(remote_id, "дякую, бачу", Wanted(rig.statuses["in_work"]))
    _later(
        lambda: collector.ask(olena, f"tickets/{number}")["state"] == "in_work",
        "what a person did there did not come back",
    )
    assert "Traceback" not in collector.said()
