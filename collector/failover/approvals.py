"""A person's word on a switch: yes, no, stop; bound to the plan that they saw, its epoch, and a time (I18).

One door for page, command line and the link in a message. A refusal is a key of ``failover.refused.*``; nothing is
written then but, for links, that they were used. A link is good once, for its person, its plan and its time; following it
shows a page, and only the page's own button counts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from typing import Any

from sqlalchemy import Connection, insert, select, update

from collector.failover import gather, runs
from collector.failover.journal import Run
from collector.failover.plan import Approval
from collector.failover.states import TABLE, State
from collector.failover.terms import PairTerms
from collector.tables import failover_links, failover_runs
from ticketing import audit
from ticketing.contracts import Book
from ticketing.people import Person

GOOD_FOR_MS = 600_000
"""An approval that was not acted upon within ten minutes is void: facts were others then."""
DEFAULT_ROLES = ("lead", "admin")


@dataclasses.dataclass(frozen=True)
class Asker:
    """Who speaks, and by which way."""

    name: str
    """A log-in name, or ``cli:NAME`` of somebody who may use the collector's own command line."""
    role: str = ""
    method: str = "page"
    address: str = ""

    @staticmethod
    def of(person: Person, method: str, address: str = "") -> Asker:
        return Asker(person.id, person.role, method, address)


def pair_of_run(book: Book, contract_id: str, run: Run) -> PairTerms | None:
    """The pair's terms as they are in force now."""
    return next((p for c, p in gather.pairs_of(book) if c.id == contract_id and p.id == run.plan.pair), None)


def is_allowed(pair: PairTerms, asker: Asker, *, loses_writes: bool) -> bool:
    """Whether this person may say yes; to lost writes only who may accept them."""
    if asker.name.startswith("cli:"):
        return True
    named = pair.approval.people
    if loses_writes and pair.data_loss_authority:
        named = pair.data_loss_authority
    return asker.name in named if named else asker.role in DEFAULT_ROLES


def approve(tx: Connection, book: Book, run_id: str, plan_hash: str, asker: Asker, now_ms: int) -> str:
    """Say yes to this plan; why not as a key's tail, "" = it counts."""
    row, run = _run(tx, run_id)
    if row is None or run is None:
        return "no_run"
    if run.state not in (State.DECIDED, State.AWAIT_APPROVAL):
        return "not_asked"
    if run.approval is not None:
        return "twice"
    if plan_hash != run.plan.hash:
        return "plan_changed"
    if run.approve_until_ms is not None and now_ms >= run.approve_until_ms:
        return "late"
    pair = pair_of_run(book, row.contract_id, run)
    if pair is None:
        return "no_pair"
    at_risk_s = exposure_s(tx, book, row.contract_id, pair, run, now_ms)
    if not is_allowed(pair, asker, loses_writes=at_risk_s is None or at_risk_s > float(pair.rpo)):
        return "not_yours"
    given = Approval(run.plan.hash, run.epoch, asker.name, now_ms, now_ms + GOOD_FOR_MS)
    body = {"approval": dataclasses.asdict(given), "method": asker.method, "exposure_s": at_risk_s}
    runs.append(tx, run_id, "approve", body, now_ms, actor=asker.name[:64])
    _audit(tx, run, asker, "approve_failover", now_ms)
    return ""


def order(tx: Connection, book: Book, run_id: str, word: str, asker: Asker, now_ms: int) -> str:
    """Say abort, promote or acknowledge; why not as a key's tail, "" = it is written and the engine heeds it."""
    row, run = _run(tx, run_id)
    if row is None or run is None:
        return "no_run"
    pair = pair_of_run(book, row.contract_id, run)
    if pair is not None:
        loses_writes = False
        if word == "promote":  # it goes past the engine's own last look, so it is an approval of what is lost
            at_risk_s = exposure_s(tx, book, row.contract_id, pair, run, now_ms)
            loses_writes = at_risk_s is None or at_risk_s > float(pair.rpo)
        if not is_allowed(pair, asker, loses_writes=loses_writes):
            return "not_yours"
    table = TABLE[run.state]
    if word == "abort" and (State.ABORTED not in table.leads_to or table.is_past_no_return):
        return "past_no_return" if table.is_past_no_return else "not_now"
    if word == "promote" and (run.state is not State.STUCK or run.fenced_at_ms is None):
        return "not_now"
    if word == "acknowledge" and run.state not in (State.STUCK, State.HOLD_DOWN):
        return "not_now"
    runs.append(tx, run_id, "order", {"order": word, "method": asker.method}, now_ms, actor=asker.name[:64])
    _audit(tx, run, asker, f"{word}_failover", now_ms)
    return ""


def make_link(tx: Connection, run_id: str, person_id: str, plan_hash: str, now_ms: int, until_ms: int) -> str:
    """A one-time secret for this person and plan; only its digest is kept."""
    secret = secrets.token_urlsafe(32)
    tx.execute(
        insert(failover_links).values(
            token_hash=_digest(secret),
            run_id=run_id,
            person_id=person_id,
            plan_hash=plan_hash,
            made_at_ms=now_ms,
            expires_at_ms=until_ms,
        )
    )
    return secret


def read_link(conn: Connection, secret: str, now_ms: int) -> tuple[str, str, str] | None:
    """(run, person, plan hash) of a link that is still good; None for any other."""
    wanted = select(failover_links).where(failover_links.c.token_hash == _digest(secret))
    row = conn.execute(wanted).first()
    if row is None or row.used_at_ms is not None or now_ms >= row.expires_at_ms:
        return None
    return row.run_id, row.person_id, row.plan_hash


def spend_link(tx: Connection, secret: str, now_ms: int) -> bool:
    """Use it up; False where somebody did already, or its time is over."""
    spent = (
        update(failover_links)
        .where(
            failover_links.c.token_hash == _digest(secret),
            failover_links.c.used_at_ms.is_(None),
            failover_links.c.expires_at_ms > now_ms,
        )
        .values(used_at_ms=now_ms)
    )
    return tx.execute(spent).rowcount == 1


def exposure_s(
    tx: Connection, book: Book, contract_id: str, pair: PairTerms, run: Run, now_ms: int
) -> float | None:
    """Seconds of writes that are lost if the backup takes over now; None = unknown."""
    facts = gather.gather(tx, book, book.contract(contract_id), pair, now_ms, gather.Sight())
    return dataclasses.replace(facts, writes_stopped_at_ms=run.fenced_at_ms).exposure_s()


def _run(conn: Connection, run_id: str) -> tuple[Any, Run | None]:
    row = conn.execute(select(failover_runs).where(failover_runs.c.id == run_id)).first()
    return row, runs.load(conn, run_id) if row is not None else None


def _audit(tx: Connection, run: Run, asker: Asker, act: str, now_ms: int) -> None:
    details = {"run": run.id, "plan_hash": run.plan.hash, "method": asker.method}
    audit.write(tx, now_ms, asker.name, act, f"pair:{run.plan.pair}"[:128], asker.address, details)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
