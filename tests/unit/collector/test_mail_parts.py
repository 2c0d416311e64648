"""What a mail says of what happened around its ticket: to our own people all of it, to a client's channel what it may read."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select

from collector import mail_parts
from collector.observed import observe
from tests.desk_world import NOW_MS, make_desk
from ticketing import messages, snapshots
from ticketing.tables import knowledge, tickets

pytestmark = pytest.mark.collector


@pytest.fixture
def desk(tmp_path):
    made = make_desk(tmp_path)
    yield made
    made.store.close()


def _payload(desk, **more):
    """A message about an open ticket of acme's, as it would be stored."""
    with desk.store.read() as conn:
        wanted = select(tickets).where(tickets.c.contract_id == "acme", tickets.c.open_mark == 1)
        row = next(r for r in conn.execute(wanted).mappings() if r["affected"])
        body = snapshots.snapshot(conn, desk.book.contract("acme"), row)
    return body | {"event": "opened", "event_id": 1, "language": "uk", "text": "", "reasons": [], **more}


def _said(desk, payload):
    with desk.store.read() as conn:
        parts = mail_parts.around(conn, desk.book, payload)
    return parts, messages.compose(payload, "", around=parts).text


@pytest.fixture
def seen(desk):
    """Somebody typed a command an hour before the fault, and a fault of the same cause was solved once."""
    ticket = _payload(desk)["ticket"]
    host, began = ticket["affected"][0], ticket["began_at_ms"]

    def write(tx):
        observe(
            tx, host, "ops.action", "systemctl restart mariadb (sudo, user ivan)", began - 3_600_000, "agent"
        )
        for n, contract in enumerate(("acme", "beta")):
            tx.execute(
                insert(knowledge).values(
                    ticket_id=900 + n, contract_id=contract, at_ms=NOW_MS - 86_400_000, root_cause=ticket["root_cause"],
                    host_id="", application="", provider="", title="", cause=f"журнали {contract}",
                    remedy="ротація", by="olena",
                )
            )  # fmt: skip

    desk.store.write(write)
    return host


def test_one_of_ours_reads_what_changed_before_and_what_helped(desk, seen):
    parts, text = _said(desk, _payload(desk, person="olena"))
    assert len(parts) == 2
    assert "systemctl restart mariadb" in text and seen in text
    assert "#900" in text and "#901" in text and "ротація" in text


def test_a_channel_reads_nothing_of_operators_and_of_other_clients(desk, seen):
    _, text = _said(desk, _payload(desk))
    assert "restart mariadb" not in text and "beta" not in text and "#901" not in text


def test_what_is_no_beginning_of_work_is_left_as_it_is(desk, seen):
    assert _said(desk, _payload(desk, event="warned", person="olena"))[0] == ()
    gone = _payload(desk, person="olena")
    gone["ticket"] = gone["ticket"] | {"id": 999_999}
    assert _said(desk, gone)[0] == ()
