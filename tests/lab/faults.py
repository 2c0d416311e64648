"""What is broken in each case, and what is waited for: one function a case, in the words of ``Household``.

A case waits for conditions, never for a time alone; where it must see that nothing happens, it waits as long as the
thing would have taken (``quiet``) and looks at the store, which forgets nothing.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.lab.eyes import START_S
from tests.lab.given import HOSTS
from tests.lab.house import ADDRESS, SSH_PORT
from tests.lab.household import Household

OVER = ("hold_down", "failback_ready", "stuck", "aborted")
SWITCH_S = 240.0
"""From the fault to the end of a switch, on a slow machine."""


def until_over(home: Household) -> None:
    home.wait("the run is over", lambda: home.state() in OVER, SWITCH_S)


def until_switched(home: Household) -> None:
    """The run is over and clients are served by the backup."""
    until_over(home)
    if home.state() in ("hold_down", "failback_ready"):
        home.wait("clients are served by back", lambda: home.clients.served_by() == "back")


def quiet(home: Household, dwells: float = 2.0) -> None:
    """As long as detection, dwell and a decision would take; nobody decided anything."""
    time.sleep(8.0 + dwells * home.scale.dwell)


def once(home: Household, holds: Callable[[], Any], do: Callable[[], Any]) -> threading.Thread:
    """Do it as soon as it holds, beside the case."""

    def watch() -> None:
        home.wait("the moment for the next fault", holds, SWITCH_S)
        do()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def trouble(home: Household) -> list[dict[str, Any]]:
    return [row for row in home.tickets() if row["family"] != "request"]


def requests(home: Household) -> list[dict[str, Any]]:
    return [row for row in home.tickets() if row["family"] == "request"]


def why_not(home: Household) -> list[str]:
    """Keys of the reasons that stand on tickets about the switch."""
    rows = home.rows("SELECT body FROM ticket_events WHERE kind = 'failover' ORDER BY id")
    return [row["body"].split('"key":"', 1)[1].split('"', 1)[0] for row in rows if '"key":"' in row["body"]]


# A: the primary and the ways to it


def a1(home: Household) -> None:
    home.kill("register-prim")
    until_switched(home)
    (asked,) = requests(home)
    sql = "SELECT body FROM ticket_events WHERE ticket_id = ? AND body LIKE '%failover.achieved%'"
    home.wait("the request says what it took and what was lost", lambda: home.rows(sql, asked["id"]))


def a2(home: Household) -> None:
    home.cut("prim")
    until_switched(home)
    assert home.provider.orders.count("poweroff prim") == 1, home.provider.orders


def a3(home: Household) -> None:
    home.drop_between("coll", "prim")
    home.wait("a ticket about it", lambda: trouble(home))
    quiet(home)
    assert home.clients.served_by() == "prim"
    (ticket,) = trouble(home)
    assert ticket["root_cause"] == "net.transit_path", ticket["root_cause"]


def a4(home: Household) -> None:
    home.cut("coll")
    cut_off = "SELECT value FROM own_state WHERE key = 'cut_off_since_ms' AND value != 'null'"
    home.wait("we know that we are cut off", lambda: home.rows(cut_off))
    quiet(home)
    assert home.clients.served_by() == "prim"
    home.cut("coll", False)
    home.wait("every host is heard again", lambda: set(home.lives().values()) == {"alive"})
    assert trouble(home) == [], [t["root_cause"] for t in trouble(home)]


def a5(home: Household) -> None:
    """43 s of 60 s dwell, of which detection takes 25: healed when 0.3 of the dwell has passed."""
    home.cut("prim")
    home.wait("a ticket about it", lambda: trouble(home))
    time.sleep(0.3 * home.scale.dwell)
    home.cut("prim", False)
    home.wait("clients are served again", lambda: home.clients.served_by() == "prim")
    quiet(home)


def _one_way(one: str, other: str) -> Callable[[Household], None]:
    def do(home: Household) -> None:
        home.drop("ip", "saddr", ADDRESS[one], "ip", "daddr", ADDRESS[other])
        quiet(home, 3.0)
        assert home.clients.served_by() == "prim"

    return do


a6_there, a6_back = _one_way("coll", "prim"), _one_way("prim", "coll")


def _loss(percent: int) -> Callable[[Household], None]:
    def do(home: Household) -> None:
        home.lose("prim", percent)
        quiet(home, 4.0)
        home.drop_nothing()
        home.wait(
            "somebody serves, or a person is asked",
            lambda: home.clients.served_by() or home.state() in (*OVER, "await_approval"),
        )
        home.wait("what was begun is over", lambda: home.state() in (*OVER, "", "await_approval"), SWITCH_S)
        assert len(home.promotions()) <= 1

    return do


a7_30, a7_60, a7_90 = _loss(30), _loss(60), _loss(90)


def a8(home: Household) -> None:
    sshd = home.house.sshd("prim").process
    assert sshd is not None
    home.freeze_pid(sshd.pid)
    home.freeze_program("register-prim")
    until_switched(home)
    fenced = [e for run in home.journals()[0].values() for e in run if e.body.get("state") == "fenced"]
    assert fenced[-1].body["level"] == "F4"


def a9(home: Household) -> None:
    (home.folder / "register-prim" / "slow").write_text("0.4")
    quiet(home, 4.0)
    assert home.clients.served_by() == "prim"


def a10(home: Household) -> None:
    """Every 20 s for 10 minutes, scaled: a flap a third of the dwell, for ten dwells."""
    for _ in range(10):
        home.cut("prim")
        time.sleep(home.scale.dwell / 3)
        home.cut("prim", False)
        time.sleep(home.scale.dwell / 3)
    home.wait(
        "somebody serves, or a person is asked",
        lambda: home.clients.served_by() or home.state() in (*OVER, "await_approval"),
    )
    home.wait("what was begun is over", lambda: home.state() in (*OVER, "", "await_approval"), SWITCH_S)
    assert len(trouble(home)) <= 1, [t["root_cause"] for t in trouble(home)]
    assert len(home.runs()) <= 1


# B: the fence


def b1(home: Household) -> None:
    home.provider.faults.update({"POST /servers": "lies", "POST /ports": "lies"})
    home.kill("register-prim")
    until_over(home)
    ignored = [order for order in home.provider.orders if order.startswith("ignored")]
    assert any("poweroff" in order for order in ignored), ignored
    assert any("ports" in order for order in ignored), ignored
    assert home.promotions() == []


def b2(home: Household) -> None:
    home.provider.faults[""] = "down"
    home.kill("register-prim")
    home.wait("a person is asked", lambda: home.state() == "await_approval", SWITCH_S)
    quiet(home, 1.0)
    assert home.provider.orders == []
    assert home.promotions() == []
    assert requests(home)


def b2_later(home: Household) -> None:
    """Down only when the order is to be given."""
    once(
        home, lambda: home.state() in ("armed", "fencing"), lambda: home.provider.faults.update({"": "down"})
    )
    home.provider.faults["POST /servers"] = "down"
    home.kill("register-prim")
    until_over(home)
    assert home.promotions() == []
    assert "poweroff prim" not in home.provider.orders


def b3(home: Household) -> None:
    """120 s against a deadline of 60: 20 s against 10, once."""
    home.provider.faults["POST /servers"] = "hangs"
    once(home, lambda: home.provider.hung, home.provider.faults.clear)
    home.kill("register-prim")
    until_switched(home)
    assert home.provider.orders.count("poweroff prim") == 1, home.provider.orders


def b4(home: Household) -> None:
    home.provider.faults["POST /servers"] = "answer_lost"
    home.kill("register-prim")
    until_switched(home)
    assert home.provider.orders.count("poweroff prim") == 1, home.provider.orders


def b5(home: Household) -> None:
    """The order takes its time, and the primary comes back meanwhile; what was ordered happens, and it stays isolated."""
    home.provider.faults["POST /servers"] = "late"
    home.cut("prim")
    back_again = once(home, lambda: home.provider.hung, lambda: home.cut("prim", False))
    until_switched(home)
    back_again.join(START_S)
    home.provider.faults.clear()
    home.power("prim", True)
    home.wait("its agent is heard again", lambda: home.lives()["prim"] == "alive", SWITCH_S)
    assert not home.start_register("prim"), "the gate of the old primary let the service start"


def b6(home: Household) -> None:
    home.provider.faults["GET /servers"] = "wrong_machine"
    home.kill("register-prim")
    home.wait("a person is asked", lambda: home.state() == "await_approval", SWITCH_S)
    quiet(home, 1.0)
    assert home.provider.orders == []


# C: the backup


def c1(home: Household) -> None:
    home.drop_between("prim", "back")
    old = f"SELECT 1 FROM observations WHERE signal = 'repl.lag_s' AND CAST(value AS REAL) > {home.scale.rpo}"
    home.wait("the copy is too far behind", lambda: home.rows(old))
    home.kill("register-prim")
    home.wait("a person is asked", lambda: home.state() == "await_approval", SWITCH_S)
    assert home.provider.orders == []
    assert "failover.guard.exposure" in requests(home)[0]["verdict"]


def c2(home: Household) -> None:
    home.kill("register-back")
    unfit = "SELECT 1 FROM open_findings WHERE host_id = 'back' AND severity = 'high'"
    home.wait("the backup is known to be unfit", lambda: home.rows(unfit))
    home.kill("register-prim")
    refused = {"failover.guard.backup_alive", "failover.guard.backup_fit"}
    home.wait("the refusal stands on the ticket", lambda: refused & set(why_not(home)), SWITCH_S)
    quiet(home, 1.0)
    assert home.provider.orders == []


def c3_fails(home: Household) -> None:
    (home.folder / "register-back" / "fault").write_text("fails")
    home.kill("register-prim")
    until_over(home)
    intents = [
        e
        for run in home.journals()[0].values()
        for e in run
        if e.kind == "intent" and e.body["step"] == "promote-0"
    ]
    assert len([e for e in intents if e.run_id == home.runs()[-1]["id"]]) == 2


def c3_hangs(home: Household) -> None:
    (home.folder / "register-back" / "fault").write_text("hangs")
    home.kill("register-prim")
    until_over(home)
    assert home.promotions() == []


def c3_link_lost(home: Household) -> None:
    """The script begins, and nobody hears of its end until the link is back: asked after, not done again."""
    (home.folder / "register-back" / "fault").write_text("slow")
    begun = home.folder / "register-back" / "begun"
    cut = once(home, begun.exists, lambda: home.drop_between("coll", "back", "tcp", "dport", str(SSH_PORT)))
    home.kill("register-prim")
    cut.join(SWITCH_S)
    home.wait("the script is done", home.promotions, SWITCH_S)
    home.drop_nothing()
    until_switched(home)
    assert len(home.promotions()) == 1, home.promotions()


def c4(home: Household) -> None:
    once(home, lambda: not home.powered["prim"], lambda: home.power("back", False))
    home.kill("register-prim")
    until_over(home)
    assert home.promotions() == []


# D: traffic (more with real name servers and balancers: tests/lab/parts)


def d3_forbidden(home: Household) -> None:
    home.provider.faults["POST /ip"] = "forbidden"
    home.kill("register-prim")
    until_over(home)
    assert home.may_write() == ["back"]


def d3_busy(home: Household) -> None:
    home.provider.faults["POST /ip"] = "busy"
    once(home, lambda: home.provider.refused, home.provider.faults.clear)
    home.kill("register-prim")
    until_switched(home)


# I: rehearsal, the way back


def i1(home: Household) -> None:
    """It was rehearsed before anything began: nothing was ordered, nothing changed, clients noticed nothing."""
    entries = home.journals()[0][home.runs("rehearsal")[0]["id"]]
    steps = {entry.body["step"] for entry in entries if entry.kind == "probe"}
    assert {"arm-0", "fence-0-0", "promote-0", "traffic-0", "verify-0"} <= steps, steps
    home.command("failover", "rehearse", "prim", "--no-follow")
    home.wait(
        "a second one passed",
        lambda: len([r for r in home.runs("rehearsal") if r["state"] in OVER]) == 2,
        SWITCH_S,
    )
    assert home.provider.orders == []
    assert home.promotions() == []
    for host in HOSTS:
        assert home.wrapper(host, "epoch", "prim+back") == "epoch 0 primary prim orders 0\n"


def i1_real(home: Household) -> None:
    """A marked pair: all of it is done, and from then on its time is what a switch is known to take."""
    word = ("rehearse", "prim", "--for-real")
    home.command("failover", *word, "--plan", home.plan_hash("rehearse", "--for-real"), "--no-follow")
    home.wait("it is over", lambda: home.state("drill") in OVER, SWITCH_S)
    assert home.state("drill") in ("hold_down", "failback_ready"), home.state("drill")
    home.wait("clients are served by back", lambda: home.clients.served_by() == "back")
    assert home.provider.orders.count("poweroff prim") == 1, home.provider.orders
    assert len(home.promotions()) == 1
    (done,) = home.rows("SELECT is_passed, seconds FROM failover_rehearsals WHERE is_real")
    assert done["is_passed"] and done["seconds"] > 0, done
    told = json.loads(home.command("failover", "plan", "prim", "--json"))
    assert told["facts"]["switch_time_s"] == done["seconds"], told["facts"]


def i1_unmarked(home: Household) -> None:
    """No contract marks this pair: the word alone does nothing."""
    with contextlib.suppress(AssertionError):  # refused
        home.command("failover", "rehearse", "prim", "--for-real", "--plan", "0" * 64, "--no-follow")
    assert home.runs("drill") == []
    i1(home)


def switched_and_back_in_line(home: Household, *, tells_lag: bool = True) -> None:
    """A switch, and the old primary made anew as the backup's copy, as an engineer does it."""
    a1(home)
    home.power("prim", True)
    home.wait("its agent is heard again", lambda: home.lives()["prim"] == "alive", SWITCH_S)
    home.rebuild("prim", tells_lag=tells_lag)
    there = home.clients.acks[-1].value
    home.wait("the copy follows", lambda: there in home.lines("prim"), SWITCH_S)
    if tells_lag:
        lag = "SELECT 1 FROM observations WHERE host_id = 'prim' AND signal = 'repl.lag_s'"
        home.wait("its lag is known", lambda: home.rows(lag), SWITCH_S)


def i2(home: Household) -> None:
    switched_and_back_in_line(home)
    plan = home.plan_hash("failback")
    home.command("failover", "failback", "prim", "--plan", plan, "--no-follow")
    home.wait("it went back", lambda: home.state("failback") in OVER, SWITCH_S)
    assert home.state("failback") in ("hold_down", "failback_ready"), home.state("failback")
    home.wait("clients are served by prim", lambda: home.clients.served_by() == "prim")


def i2_aborted(home: Household) -> None:
    """The backup cannot be asked to give up its role: nothing is promoted, it serves on."""
    switched_and_back_in_line(home)
    sshd = home.house.sshd("back")
    sshd.allow("steps", "demote-register", "echo no; exit 1\n")
    home.command("failover", "failback", "prim", "--plan", home.plan_hash("failback"), "--no-follow")
    home.wait("it is over", lambda: home.state("failback") in OVER, SWITCH_S)
    assert home.state("failback") == "aborted", home.state("failback")
    assert home.clients.served_by() == "back"


def i2_unknown(home: Household) -> None:
    """Nobody knows how far the old primary is behind: the one that serves is not even asked to stop."""
    switched_and_back_in_line(home, tells_lag=False)
    home.command("failover", "failback", "prim", "--plan", home.plan_hash("failback"), "--no-follow")
    home.wait("it is over", lambda: home.state("failback") in OVER, SWITCH_S)
    assert home.state("failback") == "aborted", home.state("failback")
    assert home.clients.served_by() == "back"


def i3(home: Household) -> None:
    a2(home)
    home.cut("prim", False)
    home.power("prim", True)
    home.wait("its agent is heard again", lambda: home.lives()["prim"] == "alive", SWITCH_S)
    assert not home.start_register("prim")
    assert home.named("prim")[1] == "back", "it learned who serves"
    quiet(home, 1.0)
    assert home.clients.served_by() == "back"
