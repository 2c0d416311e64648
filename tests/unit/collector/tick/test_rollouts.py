"""Which operator's acts replace our agent: those hosts are waited for."""

from __future__ import annotations

import pytest

from collector.tick.replaced import is_roll_out

pytestmark = pytest.mark.collector


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("dnf update vartovyi-agent", True),
        ("yum: Upgraded: vartovyi-agent-1.4-1.el7", True),
        ("ansible: roll-out of the monitoring agent 1.4", True),
        ("systemctl stop vartovyi-agent (sudo, user ivan)", False),
        ("dnf update kernel", False),
        ("kill -9 4242", False),
    ],
)
def test_an_act_that_replaces_the_agent(act, expected):
    assert is_roll_out(act) is expected
