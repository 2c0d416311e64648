"""``vartovyi-collector contract check | diff | apply | propose | history``: contracts as files and as what is in force.

Exit status of ``diff`` as of diff(1): 0 nothing differs, 1 something does. Wrong files end every verb with 78 and all of
their faults. ``apply`` shows what it would write and writes it with ``--yes`` only.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from collector.commands.desk import Desk, Refused, tell, who
from collector.failover.terms import terms_of
from collector.opening import apply_contracts
from collector.settings import CollectorSettings
from config.loader import ConfigError, Fault, load
from ticketing import contract_versions, contracts
from ticketing.contract_plan import RETIRED, Change
from ticketing.contracts import Loaded
from ticketing.tables import tickets

_SIGNS = {"new": "+", "changed": "~", "retired": "-"}
_WIDEST = 100


def add_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The verbs under ``contract``."""
    parser = verbs.add_parser("contract", help="clients' contracts: files, and what is in force")
    under = parser.add_subparsers(dest="contract_verb", required=True, metavar="VERB")
    check = verb("check", _check, "read the folder; every fault of every file at once, exit 78", under)
    diff = verb("diff", _diff, "what applying the folder would change; exit 1 where something differs", under)
    for one in (check, diff):
        one.add_argument("--contracts", type=Path, help="another folder than the settings' one")
    apply = verb("apply", _apply, "write what differs as new versions; open tickets are judged anew", under)
    apply.add_argument("--yes", action="store_true", help="do it; without, only say what would be done")
    propose = verb("propose", _propose, "a draft of a contract from what the agent found on a server", under)
    propose.add_argument("host", metavar="HOST", help="an enrolled host")
    propose.add_argument("--id", help="the contract's short name; default: from the host's name")
    past = verb("history", _history, "the versions of a contract: when, who, what changed", under)
    past.add_argument("id", metavar="CONTRACT")


def _check(args: argparse.Namespace) -> int:
    folder = _folder(args)
    loaded = read(folder)
    hosts = sum(len(contract.hosts) for contract in loaded.contracts)
    counts = {
        "contracts": len(loaded.contracts),
        "hosts": hosts,
        "people": len(loaded.people),
        "rotas": len(loaded.roster.rota) + sum(len(contract.rota) for contract in loaded.contracts),
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    tell(args, {"ok": True, **counts}, f"{folder}: in order: {told}.")
    return 0


def read(folder: Path) -> Loaded:
    """The folder with all that is said in it, failover terms too; ConfigError with every fault."""
    loaded = contracts.load_folder(folder)
    faults: list[Fault] = []
    for contract in loaded.contracts:
        try:
            terms_of(contract)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    return loaded


def _diff(args: argparse.Namespace) -> int:
    loaded = read(_folder(args))
    with Desk(args) as desk, desk.store.read() as conn:
        changes = contracts.plan_of(conn, loaded)
        text = _told(changes, _open_tickets(conn, changes))
    tell(args, _plain(changes), text)
    return 1 if changes else 0


def _apply(args: argparse.Namespace) -> int:
    loaded = read(_folder(args))
    with Desk(args) as desk:
        with desk.store.read() as conn:
            changes = contracts.plan_of(conn, loaded)
            text = _told(changes, _open_tickets(conn, changes))
        if not changes:
            tell(args, {"applied": False, "changes": []}, text)
            return 0
        if not args.yes:
            tell(args, {"applied": False, "changes": _plain(changes)}, text)
            raise Refused("nothing was written; say --yes to apply this")
        applied = apply_contracts(desk.store, loaded, desk.clock.now_ms(), who())
    versions = [{"contract": contract_id, "version": version} for contract_id, version in applied.contracts]
    done = ", ".join(f"{one['contract']} is version {one['version']}" for one in versions) or "done"
    tell(
        args, {"applied": True, "changes": _plain(changes), "versions": versions}, f"{text}\nApplied: {done}."
    )
    return 0


def _propose(args: argparse.Namespace) -> int:
    from collector import contract_draft  # yaml words and the failover of one verb

    with Desk(args) as desk, desk.store.read() as conn:
        draft = contract_draft.draft(conn, args.host, args.id)
    if draft is None:
        raise Refused(f"no host {args.host!r} is enrolled")
    tell(args, {"contract": draft.id, "yaml": draft.text}, draft.text.rstrip("\n"))
    return 0


def _history(args: argparse.Namespace) -> int:
    with Desk(args) as desk, desk.store.read() as conn:
        found = contract_versions.history(conn, args.id)
    if not found:
        raise Refused(f"no contract {args.id!r} was ever applied")
    plain = [
        {
            "version": one.version,
            "applied_at_ms": one.applied_at_ms,
            "applied_by": one.applied_by,
            "digest": one.digest,
            "is_current": one.is_current,
            "changes": list(one.changes),
        }
        for one in found
    ]
    lines: list[str] = []
    for one in found:
        at = dt.datetime.fromtimestamp(one.applied_at_ms / 1000, dt.timezone.utc)
        mark = ", in force" if one.is_current else ""
        lines.append(f"version {one.version}: {at:%Y-%m-%d %H:%M} UTC by {one.applied_by}{mark}")
        lines += [f"    {_row(row)}" for row in one.changes]
    tell(args, plain, "\n".join(lines))
    return 0


def _folder(args: argparse.Namespace) -> Path:
    given = getattr(args, "contracts", None)
    return given or load(args.config, CollectorSettings).contracts


def _open_tickets(conn: Connection, changes: Sequence[Change]) -> dict[str, int]:
    """How many open tickets each changed contract has: their clocks are counted anew."""
    ids = [change.id for change in changes if change.what == "contract"]
    found: dict[str, int] = {}
    for start in range(0, len(ids), 500):
        wanted = (
            select(tickets.c.contract_id, func.count().label("n"))
            .where(tickets.c.open_mark == 1, tickets.c.contract_id.in_(ids[start : start + 500]))
            .group_by(tickets.c.contract_id)
        )
        found |= {row.contract_id: row.n for row in conn.execute(wanted)}
    return found


def _told(changes: Sequence[Change], open_tickets: dict[str, int]) -> str:
    if not changes:
        return "Nothing differs from what is in force."
    lines: list[str] = []
    for change in changes:
        n = open_tickets.get(change.id, 0) if change.what == "contract" else 0
        note = ""
        if n and change.word == RETIRED:
            note = f" ({n} open ticket{_s(n)} keep{_s(2 - n)} its last terms)"
        elif n:
            note = f" ({n} open ticket{_s(n)} will be judged anew)"
        lines.append(f"{_SIGNS[change.word]} {change.what} {change.id}: {change.word}{note}")
        lines += [f"    {_row(row)}" for row in change.rows]
    return "\n".join(lines)


def _s(n: int) -> str:
    return "" if n == 1 else "s"


def _row(row: Any) -> str:
    if "before" not in row:
        return f"{row['key']}: + {_short(row['after'])}"
    if "after" not in row:
        return f"{row['key']}: - {_short(row['before'])}"
    return f"{row['key']}: {_short(row['before'])} -> {_short(row['after'])}"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value) if value != "" else '""'
    return text if len(text) <= _WIDEST or not sys.stdout.isatty() else text[: _WIDEST - 1] + "\u2026"


def _plain(changes: Sequence[Change]) -> list[dict[str, Any]]:
    return [
        {
            "what": change.what,
            "id": change.id,
            "word": change.word,
            "rows": [dict(row) for row in change.rows],
        }
        for change in changes
    ]
