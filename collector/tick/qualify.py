"""Step 2: unhandled findings are folded into problems, each is judged with all that stands around it, and placed.

One pass a tick: rows are read in order, the open set changes, problems that still hold get a verdict; what arrived
already closed is accounted for too, and what outlived a window or was told late is judged again. Findings, open set and
tickets are written in the tick's one transaction. How is ``groups`` (what several hosts share) and ``judging`` (the rest).
"""

from __future__ import annotations

from sqlalchemy import Connection

from collector.tick.again import Windows, outlived, told
from collector.tick.cases import load_open
from collector.tick.context import TickContext, TickReport
from collector.tick.groups import Groups
from collector.tick.judging import Judge
from collector.tick.kin import call_kin, left_behind
from collector.tick.parting import LEFT_ALONE_MS
from collector.tick.problems import Problem, fold, problem_of, unhandled, write_handled, write_open
from collector.tick.quiet import due
from ticketing.contracts import Book


def judge_findings(tx: Connection, now_ms: int, ctx: TickContext, book: Book, report: TickReport) -> None:
    """The whole step."""
    has_silences = report.counts.get("confirmed") or report.counts.get("returned")
    rows = unhandled(tx, ctx.limits.findings, now_ms if has_silences else None)
    windows = Windows(tx, book, now_ms)
    asked_again = [*outlived(tx, now_ms, ctx, windows), *told(tx, now_ms, ctx)]
    patient = due(tx, now_ms, ctx.limits.findings)
    if not rows and not asked_again and not patient:
        return
    host_ids = {row.host_id for row in rows} | {opened.host_id for opened in asked_again}
    host_ids = sorted(host_ids | {host_id for host_id, _ in patient})
    open_set = load_open(tx, host_ids)
    before = [key for here in open_set.values() for key in here]
    touched = fold(rows, open_set)
    for opened in asked_again:
        key = problem_of(opened)
        touched.setdefault(f"{opened.host_id}\n{key}", Problem(opened.host_id, key))
    for problem in [p for p in touched.values() if p.key.startswith("silence|")]:
        # What was only noted on a host may be why it fell silent, and then belongs to that story.
        for opened in open_set.get(problem.host_id, {}).values():
            if opened.ticket_id is None:
                key = problem_of(opened)
                touched.setdefault(f"{opened.host_id}\n{key}", Problem(opened.host_id, key))
    known = set(open_set)
    call_kin(tx, touched, open_set)
    left = left_behind(tx, touched, open_set)
    before += [key for host_id in set(open_set) - known for key in open_set[host_id]]
    for host_id, key in patient:
        touched.setdefault(f"{host_id}\n{key}", Problem(host_id, key, is_asked_again=True))
    problems = list(touched.values())
    judge = Judge.of(tx, now_ms, ctx, book, windows, open_set, report)
    judge.look(problems)
    for left_key in left:
        judge.patience.ask_again(left_key, now_ms + LEFT_ALONE_MS)
    alone = Groups(judge).place([p for p in problems if p.members(open_set)])
    judge.run(alone, [p for p in problems if not p.members(open_set)])
    write_open(tx, before, open_set)
    if rows:
        write_handled(tx, rows, now_ms)
    report.count("findings", len(rows))
    if len(rows) >= ctx.limits.findings:
        report.wake_at(now_ms)
