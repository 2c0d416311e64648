"""``vartovyi-collector judgement``: the confusion matrix in words or as JSON, and the export of a case."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from collector.commands.desk import Desk, Refused, tell
from collector.judgement import Learned, export, learn
from collector.tick.context import TEXTS_FOLDER
from ticketing.texts import Texts, register, texts

DAY_MS = 86_400_000
SHOWN = 20
"""Lines of each list for a person; --json has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommand's arguments; ``--json`` is every subcommand's."""
    parser.add_argument(
        "--days", type=_days, default=400, help="only tickets opened in the last so many days"
    )
    parser.add_argument(
        "--export", type=int, metavar="TICKET", help="write this ticket's case as a scenario file for replay"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="with --export: the file; default: standard output"
    )
    parser.add_argument("--language", choices=("uk", "en"), default="en", help="language of the words")


def told(conn: Connection, now_ms: int, days: int, language: str) -> tuple[dict[str, Any], str]:
    """What there is to learn, for a machine and for a person."""
    register(TEXTS_FOLDER)
    learned = learn(conn, now_ms - days * DAY_MS)
    return to_dict(learned), "\n".join(lines_of(learned, texts(language)))


def exported(conn: Connection, ticket_id: int, out: Path | None) -> tuple[dict[str, Any], str] | None:
    """The case, written to ``out`` or as text; None where the ticket has no recorded facts. Raises OSError."""
    case = export(conn, ticket_id)
    if case is None:
        return None
    text = json.dumps(case, ensure_ascii=False, indent=1)
    if out is None:
        return case, text
    scratch = out.with_name(out.name + ".new")
    scratch.write_text(text + "\n", encoding="utf-8")
    scratch.replace(out)
    return {"ticket": ticket_id, "file": str(out)}, f"The case of ticket {ticket_id} is in {out}."


def to_dict(learned: Learned) -> dict[str, Any]:
    """Plain values for --json."""
    return {
        "judged": len(learned.judged),
        "right": sum(one.is_right for one in learned.judged),
        "waiting": learned.waiting,
        "classes": [{"machine": m, "person": p, "n": n} for (m, p), n in sorted(learned.matrix().items())],
        "causes": [{"machine": m, "person": p, "n": n} for (m, p), n in learned.causes().most_common()],
        "rows": [
            {"row": e.row, "weight": e.weight, "tickets": list(e.tickets), "counted": e.counted}
            for e in learned.erred
        ],
        "corrected": [
            {
                "ticket": one.ticket_id,
                "machine": one.machine.to_dict(),
                "person": one.person.to_dict(),
                "by": one.by,
                "why": one.why,
                "at_ms": one.at_ms,
            }
            for one in learned.judged
            if not one.is_right
        ],
    }


def lines_of(learned: Learned, words: Texts) -> list[str]:
    """The same for a person."""
    if not learned.judged:
        return [words.get("judgement.nothing")]
    right = sum(one.is_right for one in learned.judged)
    lines = [words.get("judgement.head", right=right, n=len(learned.judged), waiting=learned.waiting)]
    lines += ["", words.get("judgement.matrix"), *_matrix(learned)]
    causes = learned.causes().most_common(SHOWN)
    if causes:
        lines += ["", words.get("judgement.causes")]
        lines += [f"  {words.get('judgement.cause', n=n, machine=m, person=p)}" for (m, p), n in causes]
    if learned.erred:
        lines += ["", words.get("judgement.rows")]
    for row in learned.erred[:SHOWN]:
        wrong, where = len(row.tickets), ", ".join(map(str, row.tickets[:SHOWN]))
        said = {
            "weight": row.weight,
            "row": row.row,
            "wrong": wrong,
            "counted": row.counted,
            "tickets": where,
        }
        lines.append(f"  {words.get('judgement.row', **said)}")
    corrected = [one for one in learned.judged if not one.is_right]
    if corrected:
        lines += ["", words.get("judgement.tickets")]
    for one in corrected[:SHOWN]:
        before, after = one.machine, one.person
        said = {"ticket": one.ticket_id, "by": one.by, "why": one.why[:200]}
        said |= {"before": before.class_, "cause_before": before.cause}
        said |= {"after": after.class_, "cause_after": after.cause}
        lines.append(f"  {words.get('judgement.ticket', **said)}")
    return lines


def _matrix(learned: Learned) -> list[str]:
    found = learned.matrix()
    classes = sorted({class_ for pair in found for class_ in pair})
    lines = ["      " + "".join(f"{class_:>6}" for class_ in classes)]
    for machine in classes:
        lines.append(f"{machine:>6}" + "".join(f"{found[machine, person] or '.':>6}" for person in classes))
    return lines


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 36_500:
        raise argparse.ArgumentTypeError("1 to 36500 days")
    return days


def run(args: argparse.Namespace) -> int:
    if args.out is not None and args.export is None:
        raise Refused("--out goes with --export")
    with Desk(args) as desk, desk.store.read() as conn:
        if args.export is None:
            value, text = told(conn, desk.clock.now_ms(), args.days, args.language)
        else:
            try:
                found = exported(conn, args.export, args.out)
            except OSError as error:
                raise Refused(f"{args.out} cannot be written: {error.strerror}") from error
            if found is None:
                raise Refused(f"ticket {args.export} has no recorded facts (none, or a person filed it)")
            value, text = found
    tell(args, value, text)
    return 0
