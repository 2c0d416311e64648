"""A service that fails again soon is its last ticket's, whoever of us and the vantages looked first this time.

What we do not reach and what another vantage does not are problems of their own (``subjects.ELSEWHERE``), and are one
ticket where both hold. That ticket bears the problem of whoever came first; when the other comes first the next time,
its own problem has no ticket to resume.
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, select

from collector.qualify.case import Case
from collector.tables import findings
from ticketing.model import Verdict
from ticketing.tables import tickets


def as_last_time(tx: Connection, verdict: Verdict, case: Case, contract_id: str) -> Verdict:
    """The verdict as the problem of the resolved ticket that this very finding belonged to, of the same family and cause."""
    held = case.subject
    if held.family != "service" or not held.is_outside:
        return verdict
    last = (
        select(
            tickets.c.problem, tickets.c.open_mark, tickets.c.root_cause, tickets.c.family, tickets.c.scope
        )
        .join(findings, findings.c.ticket_id == tickets.c.id)
        .where(
            findings.c.host_id == held.host_id,
            findings.c.rule == held.rule,
            findings.c.subject == held.subject,
            findings.c.kind == "opened",
            tickets.c.contract_id == contract_id,
        )
        .order_by(findings.c.id.desc())
        .limit(1)
    )
    row = tx.execute(last).one_or_none()
    if row is None or row.open_mark == 1 or row.scope != verdict.scope:
        return verdict
    if (row.family, row.root_cause) != (verdict.family, verdict.root_cause):
        return verdict
    return dataclasses.replace(verdict, subject=row.problem.partition("|")[2])
