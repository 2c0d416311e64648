"""J1: a random schedule of faults of A to D (and a collector that dies), from a seed; whatever falls, the checker is clean.

Nothing is expected of where it ends: nothing switched, switched wholly, or waiting for a person. The same seed gives the
same schedule; the machine under it decides how the parts meet, so a seed that fails is played again more than once.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.lab.faults import OVER, SWITCH_S
from tests.lab.given import Scale
from tests.lab.household import Household
from tests.lab.play import Case, Expect, Row, play

Break = Callable[[Household], Any]


def _provider(where: str, fault: str) -> Break:
    return lambda home: home.provider.faults.update({where: fault})


def _well(where: str) -> Break:
    return lambda home: home.provider.faults.pop(where, None)


def _loss(percent: int) -> Break:
    return lambda home: home.lose("prim", percent)


def _file(host: str, name: str, text: str) -> Break:
    return lambda home: (home.folder / f"register-{host}" / name).write_text(text)


def _gone(host: str, name: str) -> Break:
    return lambda home: (home.folder / f"register-{host}" / name).unlink(missing_ok=True)


def _half_open(home: Household) -> None:
    sshd = home.house.sshd("prim").process
    if home.powered["prim"] and sshd is not None and sshd.poll() is None:
        home.freeze_pid(sshd.pid)
        home.freeze_if_alive("register-prim")


def _restart(home: Household) -> None:
    home.kill("collector")
    home.start_collector()


def _nothing(_: Household) -> None:
    return


FAULTS: tuple[tuple[str, Break, Break], ...] = (
    ("kill the service", lambda home: home.kill_if_alive("register-prim"), _nothing),
    ("cut prim", lambda home: home.cut("prim"), lambda home: home.cut("prim", False)),
    ("cut prim from coll", lambda home: home.drop_between("coll", "prim"), Household.drop_nothing),
    ("cut prim from probe2", lambda home: home.drop_between("probe2", "prim"), Household.drop_nothing),
    ("cut coll", lambda home: home.cut("coll"), lambda home: home.cut("coll", False)),
    ("one way to prim", lambda home: home.lose("prim", ways=("to",)), Household.drop_nothing),
    ("one way from prim", lambda home: home.lose("prim", ways=("from",)), Household.drop_nothing),
    ("lose 30 %", _loss(30), Household.drop_nothing),
    ("lose 60 %", _loss(60), Household.drop_nothing),
    ("half-open", _half_open, Household.thaw),
    ("pause prim", lambda home: home.freeze("prim"), Household.thaw),
    ("slow", _file("prim", "slow", "0.4"), _gone("prim", "slow")),
    ("fence lies", _provider("POST /servers", "lies"), _well("POST /servers")),
    ("fence hangs", _provider("POST /servers", "hangs"), _well("POST /servers")),
    ("fence is late", _provider("POST /servers", "late"), _well("POST /servers")),
    ("fence's answer is lost", _provider("POST /servers", "answer_lost"), _well("POST /servers")),
    ("provider down", _provider("", "down"), _well("")),
    ("promotion fails", _file("back", "fault", "fails"), _gone("back", "fault")),
    ("promotion is slow", _file("back", "fault", "slow"), _gone("back", "fault")),
    ("cut coll from back", lambda home: home.drop_between("coll", "back"), Household.drop_nothing),
    ("cut back", lambda home: home.cut("back"), lambda home: home.cut("back", False)),
    ("replication cut", lambda home: home.drop_between("prim", "back"), Household.drop_nothing),
    ("address forbidden", _provider("POST /ip", "forbidden"), _well("POST /ip")),
    ("address busy", _provider("POST /ip", "busy"), _well("POST /ip")),
    ("kill the collector", _restart, _nothing),
)
"""What falls, and how it is undone. Rules of the router are undone together: a schedule has more than one of them rarely."""


@dataclasses.dataclass(frozen=True)
class Event:
    """One fault of a schedule."""

    name: str
    at_s: float
    for_s: float
    """Undone after so long; 0 = at the end, with all others."""


def schedule_of(seed: int) -> tuple[Event, ...]:
    """One to four faults within half a minute, of which one surely hits the primary."""
    dice = Random(seed)
    names = [name for name, _, _ in FAULTS]
    first = dice.choice([name for name in names[:12] if "slow" not in name])
    chosen = [first, *dice.sample([name for name in names if name != first], dice.randint(0, 3))]
    events = [
        Event(
            name,
            round(dice.uniform(0, 2 if name == first else 25), 1),
            round(dice.choice((0, dice.uniform(2, 25))), 1),
        )
        for name in chosen
    ]
    return tuple(sorted(events, key=lambda event: event.at_s))


def told(seed: int) -> str:
    """The schedule as one line."""
    return ", ".join(
        f"{e.at_s:g} s {e.name}" + (f" for {e.for_s:g} s" if e.for_s else "") for e in schedule_of(seed)
    )


def run(events: tuple[Event, ...]) -> Break:
    """Play the schedule, heal everything, and wait until nothing moves any more."""
    acts = {name: (start, stop) for name, start, stop in FAULTS}

    def do(home: Household) -> None:
        steps = [(e.at_s, acts[e.name][0]) for e in events]
        steps += [(e.at_s + e.for_s, acts[e.name][1]) for e in events if e.for_s]
        began_s = time.monotonic()
        for at_s, act in sorted(steps, key=lambda step: step[0]):
            time.sleep(max(0.0, began_s + at_s - time.monotonic()))
            act(home)
        # Long enough for what was broken last to be decided upon.
        time.sleep(15 + home.scale.dwell)
        home.heal()
        at_rest(home)

    return do


def at_rest(home: Household) -> None:
    """Nothing moves for as long as a detection and a decision take."""
    since_s, last = time.monotonic(), ""
    ends_s = since_s + 2 * SWITCH_S
    while time.monotonic() - since_s < 10 + home.scale.dwell:
        state = home.state()
        if state != last or state not in (*OVER, "", "await_approval"):
            since_s, last = time.monotonic(), state
        assert time.monotonic() < ends_s, f"no end: {state}"
        time.sleep(0.2)


def whoever_is_left(home: Household) -> Expect:
    """Any safe end; which one is told."""
    state, writers = home.state(), home.may_write()
    serves = writers[0] if len(writers) == 1 else None
    ends = ("hold_down", "failback_ready") if state in ("hold_down", "failback_ready") else (state,)
    return Expect(ends, serves, led=",".join(home.house.clients_led_to()))


def play_random(seed: int, folder: Path) -> Row:
    """One run of this seed."""
    case = Case(
        f"J1/{seed}", told(seed), "checker clean", run(schedule_of(seed)), whoever_is_left, Scale(dwell=3.0)
    )
    return play(case, folder)
