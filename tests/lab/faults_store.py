"""What is broken under the collector's store in mid-plan (E2): no act without journal, and afterwards it goes on or ends safely.

Crashes and two collectors: tests/unit/collector/failover/steps/test_crashes.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab.faults import OVER, SWITCH_S, once, quiet
from tests.lab.household import Household

ON_ITS_WAY_S = 3.0
"""An act whose intent was written just before the store broke may end within so long."""


def _broken(
    do: Callable[[Household], None], mend: Callable[[Household], None]
) -> Callable[[Household], None]:
    def play(home: Household) -> None:
        """What is begun has its intent (the checker counts them), nothing new begins and nothing is told that is not kept."""
        broken = once(home, lambda: home.state() == "fencing", lambda: do(home))
        home.kill("register-prim")
        broken.join(SWITCH_S)
        time.sleep(ON_ITS_WAY_S)
        done, written = home.effects(), _written(home)
        quiet(home, 1.0)
        assert home.effects() == done, "something was done that could not be announced"
        assert _written(home) == written, (
            "the store took a row: it was not broken, and the case proves nothing"
        )
        mend(home)
        # A run that was called off meanwhile may have become a request: a person is asked, which is as safe an end.
        home.wait("it went on, or ended safely", lambda: home.state() in (*OVER, "await_approval"), SWITCH_S)

    return play


def _written(home: Household) -> int:
    return sum(len(entries) for entries in home.journals()[0].values())


def _read_only(home: Household) -> None:
    home.disk.fail()


def _on_a_well_disk(home: Household) -> None:
    """As an engineer does: what the sick disk still shows goes onto another one, and the collector is started again."""
    home.kill_if_alive("collector")
    home.disk.replace()
    home.start_collector()


def _gone(home: Household) -> None:
    home.disk.take(home.pid("collector"))


def _there_again(home: Household) -> None:
    """The collector is not started again: it goes on with the file that it had."""
    home.disk.give_back(home.pid("collector"))


e2 = _broken(lambda home: home.disk.fill(), lambda home: home.disk.make_room())
e2_read_only = _broken(_read_only, _on_a_well_disk)
e2_gone = _broken(_gone, _there_again)
