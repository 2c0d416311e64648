"""``vartovyi-collector failover``: plan, rehearse, run, failback, approve, abort, status, audit and the rest of its verbs.

A verb that acts shows the plan first and needs a word: ``--yes`` on a terminal, and without one it is refused unless
``--plan HASH`` names the plan that was seen. The acting itself is the deciding collector's (``serve``): these verbs write
orders into the store and print what its journal says, as it happens.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, select

from collector.commands.desk import Desk, Refused, tell, who
from collector.failover import approvals, gather, runs, telling
from collector.failover.decide import decide
from collector.failover.states import TABLE, State
from collector.tables import failover_rehearsals, failover_runs, lease, own_state
from collector.tick.context import TEXTS_FOLDER
from collector.tick.rows import remember
from ticketing import audit, contracts
from ticketing.model import Reason
from ticketing.texts import Texts, register, texts

LOOK_S = 0.3
NOBODY_S = 20.0
RESTING = frozenset({State.STUCK, State.ABORTED, State.HOLD_DOWN, State.FAILBACK_READY})


def add_verbs(verbs: Any, verb: Callable[..., argparse.ArgumentParser]) -> None:
    """The verbs under ``failover``."""
    under = verbs.add_parser("failover", help="switching to the backup server").add_subparsers(
        dest="failover_verb", required=True, metavar="VERB"
    )
    _pair(verb("plan", _plan, "what would be done now, and why or why not; changes nothing", under))
    rehearse = _acting(
        _pair(
            verb(
                "rehearse",
                _begin("rehearsal"),
                "the whole plan without effects: what could be done now",
                under,
            )
        )
    )
    rehearse.add_argument(
        "--for-real",
        action="store_true",
        help="do all of it, fence and promotion too; only a pair that its contract marks with `drill: true`",
    )
    run = _acting(
        _pair(verb("run", _begin("failover"), "switch to the backup; the guards hold for people too", under))
    )
    run.add_argument(
        "--planned", action="store_true", help="the primary is well: ask it to stop, do not cut it off"
    )
    _acting(_pair(verb("failback", _begin("failback"), "back to the primary, in order", under)))
    for word, text in (
        ("approve", "say yes to a switch request"),
        ("abort", "call a switch off, before the point of no return"),
        ("promote", "lead a stuck switch on: you answer for what is unknown"),
        ("acknowledge", "a stuck switch was ended by hand, or its rest may end"),
    ):
        _acting(_run(verb(word, _order(word), text, under)))
    status = verb("status", _status, "pairs, epochs, runs", under)
    status.add_argument("run_id", metavar="RUN", nargs="?", help="this run's journal")
    status.add_argument("--follow", action="store_true", help="print on as it goes")
    look = verb("audit", _audit, "the journal as JSON lines, or whether its chain holds", under)
    look.add_argument("run_id", metavar="RUN", nargs="?", help="this run; default: all")
    look.add_argument("--verify", action="store_true", help="check every link; exit 1 where one is broken")
    off = verb("off", _off, "no failover anywhere, by anybody, until `on`", under)
    off.add_argument("--why", required=True, help="said to everybody who asks")
    verb("on", _on, "failover as the contracts say again", under)


def _pair(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("pair", metavar="PRIMARY", help="the pair's primary, by its host id")
    parser.add_argument("--language", choices=("uk", "en"), default="en", help="language of the reasons")
    return parser


def _run(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("run_id", metavar="RUN", help="the run, as `status` names it")
    parser.add_argument("--language", choices=("uk", "en"), default="en", help="language of the reasons")
    return parser


def _acting(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--yes", action="store_true", help="do it; on a terminal only")
    parser.add_argument(
        "--plan", metavar="HASH", default="", help="the plan that was seen: needed without a terminal"
    )
    parser.add_argument("--no-follow", action="store_true", help="do not print what happens then")
    return parser


def _words(args: argparse.Namespace) -> Texts:
    register(TEXTS_FOLDER)
    return texts(getattr(args, "language", "en"))


def _found(conn: Any, primary: str) -> tuple[Any, Any, Any]:
    book = contracts.current(conn)
    for contract, pair in gather.pairs_of(book):
        if primary in (pair.primary, pair.id):
            return book, contract, pair
    raise Refused(f"no contract has a pair whose primary is {primary}")


def _sight(desk: Desk) -> gather.Sight:
    anchors = len(desk.settings.probes.anchors)
    return gather.Sight(anchors > 0, anchors)


def _planned(desk: Desk, conn: Any, primary: str, kind: str) -> tuple[Any, Any, Any, Any, Any]:
    book, contract, pair = _found(conn, primary)
    facts = gather.gather_for(conn, book, contract, pair, kind, desk.clock.now_ms(), _sight(desk))
    plan = gather.plan_of(contract, book.version(contract.id), pair, facts, kind)
    return contract, pair, facts, plan, decide(facts)


def _plan(args: argparse.Namespace) -> int:
    words = _words(args)
    with Desk(args, with_contracts=True) as desk, desk.store.read() as conn:
        _, _, facts, plan, decided = _planned(desk, conn, args.pair, "failover")
    value = {
        "plan": plan.to_dict(),
        "plan_hash": plan.hash,
        "decision": decided.decision.value,
        "guards": [checked.to_dict() for checked in decided.checked],
        "facts": gather.as_told(facts),
    }
    tell(args, value, "\n".join(telling.plan_lines(plan, decided, words)))
    return 0


def _meant(args: argparse.Namespace, plan_hash: str) -> None:
    """Whether the person means it: seen on this terminal, or the very plan named."""
    if args.plan:
        if args.plan != plan_hash:
            raise Refused(f"the plan is {plan_hash} now, not the one that you name: look again")
        return
    if not sys.stdin.isatty():
        raise Refused("without a terminal this needs --plan HASH, as `failover plan` or `status` prints it")
    if not args.yes:
        raise Refused("nothing was done: say --yes when this is what you want")


def _begin(kind_given: str) -> Callable[[argparse.Namespace], int]:
    def begin(args: argparse.Namespace) -> int:
        words = _words(args)
        kind = kind_given
        if getattr(args, "planned", False):
            kind = "switchover"
        elif getattr(args, "for_real", False):
            kind = "drill"
        with Desk(args, with_contracts=True) as desk:
            with desk.store.read() as conn:
                _, pair, _, plan, decided = _planned(desk, conn, args.pair, kind)
                open_run = runs.open_run(conn, pair.id)
                is_on_backup = runs.pair_state(conn, pair.id).serving == pair.backup
            print("\n".join(telling.plan_lines(plan, decided, words)), file=sys.stderr, flush=True)
            if kind == "drill" and not pair.drill:
                raise Refused("the contract does not mark this pair for it (`drill: true`)")
            if is_on_backup and kind in ("failover", "switchover", "drill"):
                raise Refused("the backup serves already, as far as is known here: `failover failback` first")
            if open_run is not None:
                raise Refused(f"run {open_run.id} of this pair is not over ({open_run.state})")
            if kind != "rehearsal":
                _meant(args, plan.hash)
            now_ms = desk.clock.now_ms()
            reason = Reason("failover.by_person", {"kind": kind})
            began = runs.Began("approve", reason, actor=who(), cause_id=plan.ticket_id or None)

            def write(tx: Any) -> str:
                run_id = runs.begin(tx, plan, began, now_ms)
                audit.write(tx, now_ms, who(), f"failover.{kind}", f"pair:{pair.id}", "", {"run": run_id})
                if kind == "failover":
                    asker = approvals.Asker(who(), method="cli")
                    why = approvals.approve(tx, contracts.current(tx), run_id, plan.hash, asker, now_ms)
                    if why:
                        raise Refused(words.get(f"failover.refused.{why}"))
                return run_id

            run_id = desk.store.write(write)
            print(f"run {run_id}", flush=True)
            return 0 if args.no_follow else _follow(desk, run_id, words)

    return begin


def _order(word: str) -> Callable[[argparse.Namespace], int]:
    def give(args: argparse.Namespace) -> int:
        words = _words(args)
        with Desk(args, with_contracts=True) as desk:
            with desk.store.read() as conn:
                run = runs.load(conn, args.run_id)
                book = contracts.current(conn)
            if run is None:
                raise Refused(f"there is no run {args.run_id}")
            steps = " → ".join(step.type for step in run.plan.steps)
            shown = f"{run.plan.pair}  {run.plan.kind}  {run.state.value}: {steps}\nplan {run.plan.hash}"
            print(shown, file=sys.stderr, flush=True)
            _meant(args, run.plan.hash)
            asker, now_ms = approvals.Asker(who(), method="cli"), desk.clock.now_ms()
            if word == "approve":
                why = desk.store.write(
                    lambda tx: approvals.approve(tx, book, args.run_id, run.plan.hash, asker, now_ms)
                )
            else:
                why = desk.store.write(lambda tx: approvals.order(tx, book, args.run_id, word, asker, now_ms))
            if why:
                raise Refused(words.get(f"failover.refused.{why}"))
            return 0 if args.no_follow else _follow(desk, args.run_id, words)

    return give


def _follow(desk: Desk, run_id: str, words: Texts, seen: int = -1) -> int:
    """Print the journal as it grows, until the run rests; 0 where the service was brought over, 1 where not."""
    quiet = threading.Event()
    since_ms, mark = desk.clock.mono_ms(), None
    while True:
        with desk.store.read() as conn:
            entries = runs.entries_of(conn, run_id)
            run = runs.load(conn, run_id)
            counter = conn.execute(select(lease.c.term, lease.c.counter)).first()
        for entry in entries[seen + 1 :]:
            print(telling.line_of(entry, words), flush=True)
            seen, since_ms = entry.seq, desk.clock.mono_ms()
        if run is None or run.state in RESTING:
            return 0 if run is not None and run.state in (State.HOLD_DOWN, State.FAILBACK_READY) else 1
        if mark != counter:
            mark, since_ms = counter, desk.clock.mono_ms()
        if desk.clock.mono_ms() - since_ms > NOBODY_S * 1000:
            raise Refused(
                "no collector decides at the moment: the order stands in the journal and waits for one"
            )
        desk.clock.wait(quiet, LOOK_S)


def _status(args: argparse.Namespace) -> int:
    words = _words(args)
    with Desk(args, with_contracts=True) as desk:
        if args.run_id:
            if args.follow:
                return _follow(desk, args.run_id, words)
            with desk.store.read() as conn:
                entries = runs.entries_of(conn, args.run_id)
            if not entries:
                raise Refused(f"there is no run {args.run_id}")
            tell(args, [_entry(e) for e in entries], "\n".join(telling.line_of(e, words) for e in entries))
            return 0
        with desk.store.read() as conn:
            rows = [
                _pair_row(desk, conn, contract, pair)
                for contract, pair in gather.pairs_of(contracts.current(conn))
            ]
            off = conn.execute(select(own_state.c.value).where(own_state.c.key == gather.OFF)).scalar()
    lines = [f"Failover is switched off everywhere: {off}"] if off else []
    lines.append(f"{'PAIR':24} {'MODE':8} {'SERVING':12} {'EPOCH':>5} {'REHEARSED':12} {'RUN':22} STATE")
    for row in rows:
        lines.append(
            f"{row['pair']:24} {row['mode']:8} {row['serving']:12} {row['epoch']:>5} {row['rehearsed']:12}"
            f" {row['run'] or '-':22} {row['state'] or '-'}"
        )
    tell(args, rows, "\n".join(lines))
    return 0


def _pair_row(desk: Desk, conn: Any, contract: Any, pair: Any) -> dict[str, Any]:
    state, now_ms = runs.pair_state(conn, pair.id), desk.clock.now_ms()
    last = conn.execute(
        select(failover_runs)
        .where(failover_runs.c.pair == pair.id)
        .order_by(failover_runs.c.began_at_ms.desc())
        .limit(1)
    ).first()
    rehearsed = conn.execute(
        select(failover_rehearsals.c.at_ms, failover_rehearsals.c.is_passed)
        .where(failover_rehearsals.c.pair == pair.id)
        .order_by(failover_rehearsals.c.at_ms.desc())
        .limit(1)
    ).first()
    days = "never" if rehearsed is None else f"{(now_ms - rehearsed.at_ms) // 86_400_000} d"
    return {
        "pair": pair.id,
        "contract": contract.id,
        "mode": pair.mode_at(now_ms),
        "serving": state.serving or pair.primary,
        "epoch": state.epoch,
        "rehearsed": days if rehearsed is None or rehearsed.is_passed else f"{days} failed",
        "run": last.id if last is not None else "",
        "state": last.state if last is not None else "",
        "plan_hash": last.plan_hash if last is not None and not TABLE[State(last.state)].is_end else "",
        "hold_down_until_ms": state.hold_down_until_ms,
    }


def _audit(args: argparse.Namespace) -> int:
    with Desk(args) as desk, desk.store.read() as conn:
        wanted = select(failover_runs.c.id).order_by(failover_runs.c.began_at_ms)
        ids = [args.run_id] if args.run_id else list(conn.execute(wanted).scalars())
        if args.verify:
            broken = {run_id: at for run_id in ids if (at := runs.broken_at(conn, run_id)) is not None}
            missing = [run_id for run_id in ids if not runs.entries_of(conn, run_id)]
            told = [
                f"{run_id}: entry {at} does not follow from the one before" for run_id, at in broken.items()
            ]
            told += [f"{run_id}: has no journal" for run_id in missing]
            told.append(f"{len(ids) - len(broken) - len(missing)} of {len(ids)} runs are whole.")
            tell(args, {"runs": len(ids), "broken": broken, "missing": missing}, "\n".join(told))
            return 1 if broken or missing else 0
        for run_id in ids:
            for entry in runs.entries_of(conn, run_id):
                print(json.dumps(_entry(entry), ensure_ascii=False))
    return 0


def _entry(entry: Any) -> dict[str, Any]:
    return {**entry.__dict__, "body": dict(entry.body), "sha256": entry.sha256}


def _off(args: argparse.Namespace) -> int:
    with Desk(args) as desk:
        word = f"{who()}: {args.why}"[:200]

        def write(tx: Any) -> None:
            remember(tx, gather.OFF, word)
            audit.write(tx, desk.clock.now_ms(), who(), "failover.off", "failover", "", {"why": args.why})

        desk.store.write(write)
    tell(
        args,
        {"off": word},
        f"Failover is switched off everywhere: {word}. Runs that wait for a yes end; `on` ends this.",
    )
    return 0


def _on(args: argparse.Namespace) -> int:
    with Desk(args) as desk:

        def write(tx: Any) -> None:
            tx.execute(delete(own_state).where(own_state.c.key == gather.OFF))
            audit.write(tx, desk.clock.now_ms(), who(), "failover.on", "failover")

        desk.store.write(write)
    tell(args, {"off": ""}, "Failover is as the contracts say again.")
    return 0
