"""One case of the laboratory from beginning to end: a house, a household, the fault, the heal, the checker, one row.

What the case expects is asserted by the case; what must hold in any case is the checker's. A row is honest about both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from collector.failover.journal import Entry
from collector.failover.states import State
from tests.lab import checker
from tests.lab.given import HOSTS, Scale, Terms
from tests.lab.house import House
from tests.lab.household import Household

CALM_S = 1.5
"""Clients go on so long after the heal, so that a second writer that wakes up is caught."""


@dataclasses.dataclass(frozen=True)
class Expect:
    """How the world stands afterwards."""

    state: tuple[str, ...]
    """Of the newest run of kind failover; "" = none was begun."""
    serves: str | None
    """Whose register takes writes; None = nobody's."""
    led: str = ""
    """Where clients are led, when that is not who serves."""
    is_switched: bool = False
    """The machine was allowed to switch, so the RTO counts."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of failover.md 9.2: played here (``do``), proven by a test elsewhere (``test``), or not built (``why_not``)."""

    id: str
    fault: str
    expected: str
    do: Callable[[Household], None] | None = None
    expect: Callable[[Household], Expect] | Expect | None = None
    scale: Scale = dataclasses.field(default_factory=Scale)
    terms: Terms | None = None
    clock: bool = False
    """The collector's wall clock can be shifted."""
    disk: str = ""
    """The collector's store lies on a disk of its own: tmpfs or ext4."""
    is_core: bool = False
    """Runs in ``make test``."""
    test: str = ""
    """Node id, or file::beginning of its name."""
    why_not: str = ""
    scaled: str = ""
    """Which time was made shorter, and from what."""


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of a run, from its journal and the fault; None = it did not come so far."""

    decide: float | None = None
    """From the fault to the decision."""
    fence: float | None = None
    promote: float | None = None
    traffic: float | None = None
    verify: float | None = None
    own: float | None = None
    """From decision to verified, without the steps' own time, and without that in which no collector lived."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What came of a case."""

    id: str
    fault: str
    expected: str
    got: str
    verdict: str
    """pass, FAIL or not built."""
    times: Times = Times()
    faults: tuple[str, ...] = ()
    outage_s: float | None = None


def play(case: Case, folder: Path) -> Row:
    """Play it in a house of its own; whatever goes wrong is in the row."""
    assert case.do is not None, f"{case.id} is not played here"
    faults: list[str] = []
    got, times, outage_s = "-", Times(), None
    with House(folder) as house:
        home = Household(house, case.scale, case.terms)
        try:
            if case.clock:
                home.give_clock()
            if case.disk:
                home.give_disk(case.disk)
            home.settle()
            home.broke()
            try:
                case.do(home)
            except AssertionError as error:
                faults.append(f"expected otherwise: {error}")
            expect = case.expect(home) if callable(case.expect) else case.expect
            assert expect is not None, f"{case.id} says what is to be"
            seen = observe(home)
            rto_s = case.scale.rto if expect.is_switched else None
            faults += checker.faults(
                seen, rpo_s=case.scale.rpo, rto_s=rto_s, serves=expect.serves, led=expect.led
            )
            faults += _against(expect, home)
            got = home.state() or "no run"
            times, outage_s = times_of(home), round(checker.outage_s(seen), 1)
            if case.disk:
                # Of these our own share is the time in which our store was broken.
                times = dataclasses.replace(times, own=None)
        except Exception:
            faults.append(traceback.format_exc())
        finally:
            home.end()
            if faults:
                print(f"== {case.id}\n" + "\n".join(faults) + "\n" + home.told())
                _show_logs(folder)
    shutil.rmtree(folder, ignore_errors=True)
    verdict = "FAIL" if faults else "pass"
    return Row(case.id, case.fault, case.expected, got, verdict, times, tuple(faults), outage_s)


def _against(expect: Expect, home: Household) -> list[str]:
    state = home.state()
    return (
        []
        if state in expect.state
        else [f"the run is {state or 'not there'}, not {' or '.join(expect.state)}"]
    )


def observe(home: Household) -> checker.Seen:
    """Heal, let clients go on for a moment, then look at everything; the household is stopped afterwards."""
    home.heal()
    time.sleep(CALM_S)
    acks = home.clients.stop()
    may_write = home.may_write()
    serving = may_write[0] if may_write else ""
    kept = home.lines(serving) if serving else [line for host in HOSTS for line in home.lines(host)]
    holders = home.house.clients_led_to()
    named = {host: home.named(host) for host in HOSTS}
    home.stop_programs()
    journals, stored = home.journals()
    return checker.Seen(
        acks=acks,
        began_s=home.clients.began_s,
        ended_s=home.clients.ended_s,
        kept=kept,
        journals=journals,
        stored_sha256=stored,
        holders=holders,
        may_write=may_write,
        effects=home.effects(),
        locks=home.locks(),
        strays=home.strays(),
        tickets=home.rows("SELECT * FROM tickets"),
        runs=home.rows("SELECT * FROM failover_runs ORDER BY began_at_ms"),
        named=named,
    )


def times_of(home: Household) -> Times:
    """Of the newest run of kind failover."""
    found = home.runs()
    if not found:
        return Times()
    entries = home.journals()[0][found[-1]["id"]]
    return times_in(entries, home.broken_at_ms, home.killed_at_ms)


def times_in(entries: Sequence[Entry], broken_at_ms: int, killed_at_ms: Sequence[int] = ()) -> Times:
    """From a run's journal alone, and when its collector was killed."""
    at = {entry.body["state"]: entry.at_ms for entry in reversed(entries) if entry.kind == "enter"}

    def between(one: State, other: State) -> float | None:
        return (
            round((at[other.value] - at[one.value]) / 1000, 2)
            if one.value in at and other.value in at
            else None
        )

    own = None
    if State.ON_BACKUP.value in at:
        until = next(n for n, e in enumerate(entries) if e.body.get("state") == State.ON_BACKUP.value)
        steps_ms = sum(e.body.get("took_ms", 0) for e in entries[:until]) + _waited_ms(entries[:until])
        steps_ms += sum(_away_ms(entries[: until + 1], at_ms) for at_ms in killed_at_ms)
        # A person's own time is none of ours: the decision is theirs where they were asked.
        decided_ms = max([entries[0].at_ms, *(e.at_ms for e in entries if e.kind == "approve")])
        own = round((at[State.ON_BACKUP.value] - decided_ms - steps_ms) / 1000, 2)
    return Times(
        decide=round((entries[0].at_ms - broken_at_ms) / 1000, 1),
        fence=between(State.ARMED, State.FENCED),
        promote=between(State.PROMOTING, State.PROMOTED),
        traffic=between(State.SWITCHING, State.VERIFYING),
        verify=between(State.VERIFYING, State.ON_BACKUP),
        own=own,
    )


def _away_ms(entries: Sequence[Entry], killed_at_ms: int) -> int:
    """From the collector's death in mid-run to the first thing that the next one did; what that took is the step's own."""
    pairs = itertools.pairwise(entries)
    after = next((b for a, b in pairs if a.at_ms <= killed_at_ms < b.at_ms), None)
    return 0 if after is None else max(0, after.at_ms - after.body.get("took_ms", 0) - killed_at_ms)


def _waited_ms(entries: Sequence[Entry]) -> int:
    """The pauses after which a step was still not done: they are its own time. The last one, after which it was, is ours."""
    return sum(
        after.at_ms - before.at_ms - after.body.get("took_ms", 0)
        for before, after in itertools.pairwise(entries)
        if before.body.get("outcome") in ("unknown", "not_done")
        and after.kind == "probe"
        and after.body["outcome"] != "done"
        and after.body["step"] == before.body["step"]
    )


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.rglob("*.log")):
        with contextlib.suppress(OSError):
            lines = log.read_text(errors="replace").splitlines()[-25:]
            print(f"-- {log.name}\n" + "\n".join(line[:300] for line in lines))
