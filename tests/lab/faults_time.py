"""Time goes wrong, and time that fences: the collector's clock (F1), a host that stands still (F2), a lease that ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from tests.lab import register
from tests.lab.faults import SWITCH_S, quiet, trouble, until_over, until_switched
from tests.lab.household import Household


def _shifted(seconds: int) -> Callable[[Household], None]:
    def do(home: Household) -> None:
        home.kill("register-prim")
        home.wait("a ticket about it", lambda: trouble(home))
        home.shift_clock(seconds)
        quiet(home, 3.0)
        assert home.effects() == [], home.effects()

    return do


f1_ahead, f1_back = _shifted(3_600), _shifted(-3_600)


def f1_frozen(home: Household) -> None:
    home.kill("register-prim")
    home.wait("a ticket about it", lambda: trouble(home))
    home.freeze_clock()
    quiet(home, 3.0)
    assert home.effects() == [], home.effects()


def f1_frozen_asked(home: Household) -> None:
    """A request whose time would never be over: it is called off, and a yes that comes then is none."""
    home.kill("register-prim")
    home.wait("a person is asked", lambda: home.state() == "await_approval", SWITCH_S)
    (asked,) = home.runs()
    home.freeze_clock()
    home.wait("the request is called off", lambda: home.runs()[0]["state"] == "aborted", SWITCH_S)
    with contextlib.suppress(AssertionError):  # refused: the run is over
        home.command("failover", "approve", asked["id"], "--plan", asked["plan_hash"], "--no-follow")
    quiet(home, 1.0)
    assert home.effects() == [], home.effects()


def _approved(home: Household) -> None:
    """Its cause is provisional, and a closed port, or a lease, is less than power off: a person says yes."""
    home.wait("a person is asked", lambda: home.state() == "await_approval", SWITCH_S)
    (asked,) = home.runs()
    home.command("failover", "approve", asked["id"], "--plan", asked["plan_hash"], "--no-follow")


def f2(home: Household) -> None:
    """A guest that is paused with its clock: cut off at its switch port, since it answers nobody; then it wakes up."""
    home.freeze("prim")
    home.cut("prim")
    _approved(home)
    until_switched(home)
    assert "off prim" in home.provider.orders
    # Awake, and it believes that no time has passed: first behind the closed port, then with a way to its clients.
    home.cut("prim", False)
    home.thaw()
    stopped = home.folder / "watch-prim.log"
    home.wait("it stops its service by itself", lambda: "stopping" in register.text_of(stopped))
    home.port("prim", True)
    home.wait("its agent is heard again", lambda: home.lives()["prim"] == "alive", SWITCH_S)
    assert not home.start_register("prim")


def a2_lease(home: Household) -> None:
    """No power switch: a primary that reaches nobody stops itself, and the collector waits until it must have."""
    home.cut("prim")
    _approved(home)
    until_switched(home)
    assert "poweroff prim" not in home.provider.orders
    assert "stopping" in register.text_of(home.folder / "watch-prim.log")
    home.cut("prim", False)
    home.wait("its agent is heard again", lambda: home.lives()["prim"] == "alive", SWITCH_S)
    assert not home.start_register("prim")


def b1_lease(home: Household) -> None:
    """Its watch is dead, and it is back while the collector waits: it still serves, so nobody is promoted."""
    home.kill("watch-prim")
    home.cut("prim")
    _approved(home)
    home.wait("the wait has begun", lambda: home.state() == "fencing", SWITCH_S)
    home.cut("prim", False)
    until_over(home)
    assert home.promotions() == [], home.promotions()
