"""What people do to tickets. An act commits in its request, against the version of the ticket that the person saw.

``perform`` asks the table (``ticketing.transitions``), checks role, version and fields, and writes ticket, event, clocks,
messages and the audit row together; whatever it will not do it answers with a ``Refusal`` that says why. Nothing here
raises for an expected outcome.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from ticketing import (
    audit,
    calls,
    effects,
    knowledge,
    ledger,
    lines,
    outbox,
    people,
    provider_cases,
    transitions,
)
from ticketing.calls import Moment
from ticketing.causes import CAUSES, cause
from ticketing.clocks import Change
from ticketing.contracts import Book
from ticketing.filing import MAX_TEXT as MAX_TEXT
from ticketing.filing import MAX_TITLE as MAX_TITLE
from ticketing.filing import Refusal as Refusal
from ticketing.filing import file as file
from ticketing.model import CLASSES, ClockKind, ClockState, Reason, TicketState
from ticketing.queries import TicketView, Viewer, ticket
from ticketing.rota import Call
from ticketing.tables import RowLike
from ticketing.transitions import STAFF, Row, step


@dataclasses.dataclass(frozen=True)
class _Moment:
    """Everything one act works with."""

    tx: Connection
    book: Book
    act: str
    row: RowLike
    rule: Row
    actor: Viewer
    now_ms: int
    fields: Mapping[str, Any]

    @property
    def text(self) -> str:
        return str(self.fields.get("text") or "").strip()[:MAX_TEXT]


def perform(
    tx: Connection,
    book: Book,
    act: str,
    ticket_id: int,
    actor: Viewer,
    seen_version: int,
    now_ms: int,
    **fields: Any,
) -> TicketView | Refusal:
    """Do one act. Fields by act: text, is_public (note), line (escalate), line or assignee (consult), assignee (assign),
    class_ and root_cause (requalify), class_ and line (qualify), cause and remedy (resolve), into (merge), provider_ref and
    send (ask_provider: the dossier goes out with ``text`` before it), provider_ref (provider_answered)."""
    row = ledger.ticket_row(tx, ticket_id)
    if row is None or (actor.is_client and row["contract_id"] != actor.contract_id):
        return Refusal("not_found", Reason("refusal.not_found", {"ticket": ticket_id}))
    if actor.is_client and act == "note" and row["state"] == TicketState.WAITING_CLIENT.value:
        act = "client_answered"  # whatever the client writes now is the answer that was asked for
    if act not in _WRITERS:
        return Refusal("invalid", Reason("refusal.unknown_act", {"act": act[:40]}))
    rule = step(TicketState(row["state"]), act)
    if rule is None:
        # Somebody else's act may have taken the ticket away: that is stale rather than impossible.
        code = "stale" if row["version"] != seen_version else "impossible"
        return Refusal(
            code, Reason(f"refusal.{code}", {"act": act, "state": row["state"], "version": row["version"]})
        )
    if actor.role not in rule.who:
        return Refusal("forbidden", Reason("refusal.forbidden", {"act": act, "role": actor.role}))
    if row["version"] != seen_version:
        return Refusal(
            "stale", Reason("refusal.stale", {"act": act, "state": row["state"], "version": row["version"]})
        )
    missing = _missing(rule, fields)
    if missing:
        return Refusal(
            "invalid", Reason("refusal.invalid"), {name: Reason("refusal.missing") for name in missing}
        )
    moment = _Moment(tx, book, act, row, rule, actor, now_ms, fields)
    try:
        with tx.begin_nested():
            refusal = _WRITERS[act](moment)
    except IntegrityError:
        if act != "reopen":
            raise
        refusal = Refusal("impossible", Reason("refusal.other_open"))
    if refusal is not None:
        if refusal.code == "not_eligible":
            asked = {"class": fields.get("class_"), "reason": refusal.reason.to_dict()}
            audit.write(
                tx, now_ms, actor.person_id, "refuse", f"ticket:{ticket_id}", actor.from_address, asked
            )
        return refusal
    told = {key: value for key, value in fields.items() if key != "text" and value not in (None, "")}
    audit.write(
        tx, now_ms, actor.person_id, act, f"ticket:{ticket_id}", actor.from_address, audit.plain(told)
    )
    view = ticket(tx, actor, ticket_id)
    assert view is not None, "who may act on a ticket may see it"
    return view


def _missing(rule: Row, fields: Mapping[str, Any]) -> list[str]:
    def is_given(name: str) -> bool:
        value = fields.get(name)
        return value is not None and (not isinstance(value, str) or bool(value.strip()))

    return [
        need.split("|")[0].rstrip("_") for need in rule.needs if not any(is_given(n) for n in need.split("|"))
    ]


def _is_reaction(m: _Moment, is_public: bool = True) -> bool:
    """The first public act of the staff, or a take, is the reaction; a client's or internal word is not."""
    return (
        m.rule.reacts
        and is_public
        and m.actor.role in STAFF
        and m.row["reacted_at_ms"] is None
        and ledger.is_open(m.row)
    )


def _clock_changes(m: _Moment, reacts: bool) -> list[Change]:
    """What the table of states makes of this act's clocks."""
    contract = m.book.contract(m.row["contract_id"])
    return transitions.clock_changes(
        m.rule,
        ledger.watches(m.tx, m.row["id"]),
        m.now_ms,
        has_reacted=m.row["reacted_at_ms"] is not None,
        reacts=reacts,
        provider_target_ms=int(contract.provider_sla * 1000),
    )


def _record(
    m: _Moment,
    *,
    is_public: bool = True,
    reacts: bool | None = None,
    called: Call | None = None,
    body: Mapping[str, Any] | None = None,
    **values: Any,
) -> None:
    """Clocks, ticket, event, next step and messages of an ordinary act."""
    reacts = _is_reaction(m, is_public) if reacts is None else reacts
    changes = _clock_changes(m, reacts)
    held = ledger.turn_clocks(m.tx, m.book, m.row, changes)
    if reacts:
        values["reacted_at_ms"] = m.now_ms
    values.setdefault("state", m.rule.next_state.value)
    after = ledger.change_ticket(m.tx, m.row, m.now_ms, **values)
    sentence = Reason(m.rule.sentence, {"who": m.actor.person_id, **(body or {})})
    event = {"reason": sentence.to_dict(), "text": m.text, "clocks": ledger.as_dicts(changes), **(body or {})}
    event_id = ledger.write_event(
        m.tx, m.row["id"], m.now_ms, m.actor.person_id, m.act, event, is_public=is_public
    )
    if ledger.is_open(after):
        ledger.plan_next_step(m.tx, m.book, after, held, m.now_ms)
    contract = m.book.contract(m.row["contract_id"])
    if is_public:
        told = {"reasons": [sentence], "text": m.text, "extra": {"is_by_client": m.actor.is_client}}
        outbox.announce(m.tx, contract, after, m.act, event_id, m.now_ms, **told)
    calls.call(m.tx, contract, after, called, Moment(m.act, event_id, m.now_ms, [sentence], m.text))


def _take(m: _Moment) -> Refusal | None:
    _record(m, assignee=m.actor.person_id)
    return None


def _note(m: _Moment) -> Refusal | None:
    is_public = m.actor.is_client or bool(m.fields.get("is_public", False))
    _record(m, is_public=is_public)
    return None


def _ask_client(m: _Moment) -> Refusal | None:
    _record(m, **_taken(m))
    return None


def _client_answered(m: _Moment) -> Refusal | None:
    _record(m)
    return None


def _ask_provider(m: _Moment) -> Refusal | None:
    """The provider owes an answer from now on; the client's clock runs on beside it."""
    reference = str(m.fields.get("provider_ref") or "")[:200]
    proposed = None
    if m.fields.get("send"):
        proposed = provider_cases.propose(m.tx, m.book, m.row, m.now_ms)
        if proposed is None:
            reason = Reason("refusal.no_provider_desk", {"contract": m.row["contract_id"]})
            return Refusal("invalid", reason, {"send": reason})
    _record(m, body={"provider_ref": reference}, **_taken(m))
    if proposed is not None:
        provider_cases.send(m.tx, m.book, m.row, proposed, m.text, m.actor.person_id, m.now_ms)
        provider_cases.note_number(m.tx, m.row["id"], reference)
    return None


def _provider_answered(m: _Moment) -> Refusal | None:
    provider = ledger.watches(m.tx, m.row["id"]).get(ClockKind.PROVIDER)
    if provider is None or provider.state is not ClockState.RUNNING:
        return Refusal("impossible", Reason("refusal.provider_not_asked"))
    _record(m)
    provider_cases.answer(m.tx, m.row["id"], str(m.fields.get("provider_ref") or ""), m.now_ms)
    return None


def _taken(m: _Moment) -> dict[str, Any]:
    """Who asks has taken the ticket, where nobody had."""
    is_nobody = m.actor.role == "machine" or m.actor.person_id.startswith("cli:")
    return {} if m.row["assignee"] or is_nobody else {"assignee": m.actor.person_id}


def _escalate(m: _Moment) -> Refusal | None:
    contract = m.book.contract(m.row["contract_id"])
    wanted = m.fields.get("line") or m.row["line"] + 1
    if not isinstance(wanted, int) or not m.row["line"] < wanted <= contract.lines:
        reason = Reason("refusal.no_line", {"line": m.row["line"], "lines": contract.lines})
        return Refusal("invalid", reason, {"line": reason})
    moved, called = lines.moved(m.tx, contract, m.row, wanted, m.now_ms, m.row["profile"])
    body = {"line": wanted, "line_before": m.row["line"], **lines.as_body(called)}
    _record(m, body=body, called=called, **moved)
    return None


def _consult(m: _Moment) -> Refusal | None:
    """A higher line is asked for help; the ticket, its line and its clocks stay where they are."""
    contract = m.book.contract(m.row["contract_id"])
    asked = lines.helper(m.tx, contract, m.row, m.fields, m.actor.person_id, m.now_ms)
    if isinstance(asked, Reason):
        return Refusal("invalid", asked, {"assignee" if m.fields.get("assignee") else "line": asked})
    body = {"asked": asked.person or "", "call": asked.to_dict()}
    _record(m, is_public=False, body=body, called=asked)
    return None


def _advise(m: _Moment) -> Refusal | None:
    """The answer of whoever was asked for help; told to whom it helps."""
    helped = m.row["assignee"]
    called = None
    if helped and helped != m.actor.person_id:
        called = Call(helped, Reason("reason.duty.advised", {"who": m.actor.person_id}))
    _record(m, is_public=False, called=called)
    return None


def _assign(m: _Moment) -> Refusal | None:
    who = people.person(m.tx, str(m.fields["assignee"]))
    if who is None or not who.is_staff:
        reason = Reason("refusal.no_person", {"person": str(m.fields["assignee"])})
        return Refusal("invalid", reason, {"assignee": reason})
    # Giving a ticket to somebody is not yet a reaction of theirs, so the reaction clock runs on.
    body = {"assignee": who.id}
    reacts = who.id == m.actor.person_id and m.row["reacted_at_ms"] is None
    is_own = who.id == m.actor.person_id
    called = None if is_own else Call(who.id, Reason("reason.duty.yours", {"who": who.id}))
    _record(m, reacts=reacts, body=body, called=called, assignee=who.id)
    return None


def _requalify(m: _Moment) -> Refusal | None:
    class_ = m.fields.get("class_") or m.row["class"]
    root_cause = str(m.fields.get("root_cause") or m.row["root_cause"])
    if class_ not in CLASSES:
        return Refusal(
            "invalid",
            Reason("refusal.invalid"),
            {"class": Reason("refusal.no_class", {"class_": str(class_)})},
        )
    if root_cause not in CAUSES:
        wrong = {"root_cause": Reason("refusal.no_cause", {"cause": root_cause})}
        return Refusal("invalid", Reason("refusal.invalid"), wrong)
    contract = m.book.contract(m.row["contract_id"])
    if class_ == 2 and m.row["class"] != 2:
        refusal = contract.class2_refusal(m.row["affected"] or [h.id for h in contract.hosts])
        if refusal is not None:
            return Refusal("not_eligible", refusal, {"class": refusal})
    line = m.fields.get("line") or m.row["line"]
    if not isinstance(line, int) or not m.row["line"] <= line <= contract.lines:
        wrong_line = Reason("refusal.no_line", {"line": m.row["line"], "lines": contract.lines})
        return Refusal("invalid", wrong_line, {"line": wrong_line})
    if class_ != m.row["class"] or m.act == "qualify":
        line = max(line, lines.least_line(contract, class_))
    reason = Reason(
        "did.other_cause" if m.act == "requalify" and class_ == m.row["class"] else f"did.{m.act}_to",
        {
            "who": m.actor.person_id,
            "class_before": m.row["class"],
            "class_": class_,
            "cause_before": m.row["root_cause"],
            "cause": root_cause,
            "line": line,
        },
    )
    changes, held, flag = effects.reclassed(m.tx, m.book, m.row, class_, m.now_ms)
    profile = cause(root_cause).profile
    moved, called = lines.moved(m.tx, contract, m.row, line, m.now_ms, profile)
    values: dict[str, Any] = {"class": class_, "root_cause": root_cause, "profile": profile, **moved}
    after = ledger.change_ticket(m.tx, m.row, m.now_ms, **values)
    body = {
        "reason": reason.to_dict(),
        "before": {"class": m.row["class"], "root_cause": m.row["root_cause"], "line": m.row["line"]},
        "after": {"class": class_, "root_cause": root_cause, "line": line},
        "clocks": ledger.as_dicts(changes),
        "text": m.text,
        **flag,
        **lines.as_body(called),
    }
    event_id = ledger.write_event(m.tx, m.row["id"], m.now_ms, m.actor.person_id, m.act, body, is_public=True)
    ledger.plan_next_step(m.tx, m.book, after, held, m.now_ms)
    outbox.announce(m.tx, contract, after, m.act, event_id, m.now_ms, reasons=[reason], text=m.text)
    calls.call(m.tx, contract, after, called, Moment(m.act, event_id, m.now_ms, [reason], m.text))
    return None


def _resolve(m: _Moment) -> Refusal | None:
    root_cause = str(m.fields["cause"]).strip()[:200]
    remedy = str(m.fields["remedy"]).strip()[:2000]
    row = m.row
    knowledge.keep(m.tx, m.book, row, root_cause, remedy, m.actor.person_id, m.now_ms)
    reason = Reason("did.resolve", {"who": m.actor.person_id, "cause": root_cause, "remedy": remedy})
    body = {"reason": reason.to_dict(), "cause": root_cause, "remedy": remedy}
    effects.resolved(
        m.tx,
        m.book,
        row,
        body,
        [reason],
        m.now_ms,
        actor=m.actor.person_id,
        text=m.text,
        reacts=_is_reaction(m),
    )
    return None


def _reopen(m: _Moment) -> Refusal | None:
    contract = m.book.contract(m.row["contract_id"])
    if not effects.may_reopen(contract, m.row, m.now_ms):
        return Refusal("impossible", Reason("refusal.window_over", {"hours": contract.reopen_window / 3600}))
    reason = Reason("did.reopen", {"who": m.actor.person_id})
    effects.reopened(m.tx, m.book, m.row, reason, m.now_ms, actor=m.actor.person_id, text=m.text)
    return None


def _close(m: _Moment) -> Refusal | None:
    _record(m, closed_at_ms=m.now_ms, next_step_at_ms=None)
    return None


def _merge(m: _Moment) -> Refusal | None:
    into_id = m.fields["into"]
    into = ledger.ticket_row(m.tx, into_id) if isinstance(into_id, int) else None
    if (
        into is None
        or into["id"] == m.row["id"]
        or not ledger.is_open(into)
        or into["contract_id"] != m.row["contract_id"]
    ):
        reason = Reason("refusal.no_merge", {"ticket": str(into_id)})
        return Refusal("invalid", reason, {"into": reason})
    reason = Reason("did.merge", {"who": m.actor.person_id, "into": into["id"]})
    effects.merged(m.tx, m.book, m.row, into, reason, m.now_ms, actor=m.actor.person_id, text=m.text)
    return None


_WRITERS: dict[str, Callable[[_Moment], Refusal | None]] = {
    "take": _take,
    "note": _note,
    "ask_client": _ask_client,
    "client_answered": _client_answered,
    "ask_provider": _ask_provider,
    "provider_answered": _provider_answered,
    "escalate": _escalate,
    "consult": _consult,
    "advise": _advise,
    "assign": _assign,
    "qualify": _requalify,
    "requalify": _requalify,
    "resolve": _resolve,
    "reopen": _reopen,
    "close": _close,
    "merge": _merge,
}
