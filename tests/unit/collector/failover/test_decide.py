"""One change to an outage that may be acted upon, and what follows from it: failover.md section 7 as a table."""

from __future__ import annotations

import pytest

from collector.failover import terms as failover_terms
from collector.failover.causes import HELPED, WHY_NOT
from collector.failover.decide import Decision, decide
from collector.failover.facts import Backup, Fence, History, Judge, LagSample, Trouble, View
from collector.failover.guards import GUARDS
from collector.failover.terms import PairTerms, ScheduleTerms
from config.loader import ConfigError, parse
from tests.unit.collector.failover.worlds import MINUTE, T0, facts, pair
from ticketing.causes import CAUSES
from ticketing.terms import CalendarTerms, Contract, HostTerms

NOW = T0 + 2 * MINUTE
GOOD = Backup(is_alive=True, lag=LagSample(2.0, T0 - 8_000), rehearsed_at_ms=T0)


def _with(cause: str) -> Trouble:
    return Trouble(7, cause, 2, "host:a1", T0, T0 + 20_000)


def test_a_dead_primary_with_a_sure_fence_and_a_fresh_backup_may_be_acted_upon():
    decided = decide(facts())
    assert decided.decision is Decision.AUTO
    assert decided.exposure_s == 10.0
    assert decided.blocking == ()


@pytest.mark.parametrize(
    ("changes", "expected", "guard"),
    [
        ({"judge": Judge(anchors_ok=False, witnesses=9)}, Decision.NONE, "anchors"),
        ({"judge": Judge(anchors_ok=True, witnesses=2)}, Decision.NONE, "witnesses"),
        ({"judge": Judge(anchors_ok=True, witnesses=9, clock_ok=False)}, Decision.NONE, "clock"),
        ({"judge": Judge(anchors_ok=True, witnesses=9, store_ok=False)}, Decision.NONE, "store"),
        ({"trouble": None}, Decision.NONE, "trouble"),
        ({"views": (View("collector", NOW, "ok"), View("probe2", NOW, "ok"))}, Decision.REFUSE, "served"),
        ({"views": (View("collector", NOW, "dead"), View("probe2", NOW, "ok"))}, Decision.REFUSE, "served"),
        ({"views": (View("collector", NOW, "dead"),)}, Decision.REQUEST, "vantages"),
        (
            {"views": (View("collector", NOW, "dead"), View("probe2", NOW - 5 * MINUTE, "dead"))},
            Decision.REQUEST,
            "vantages",
        ),
        ({"trouble": _with("os.syn_flood")}, Decision.REFUSE, "cause"),
        ({"trouble": _with("net.transit_path")}, Decision.REFUSE, "cause"),
        ({"trouble": _with("os.disk_full")}, Decision.REFUSE, "cause"),
        ({"trouble": _with("something.new")}, Decision.REFUSE, "cause"),
        ({"window": "kernel update"}, Decision.REFUSE, "planned"),
        ({"overran_window": "kernel update"}, Decision.REQUEST, "overrun"),
        ({"switched_off": "olena"}, Decision.REFUSE, "off"),
        ({"pair": pair(mode="manual")}, Decision.REFUSE, "by_hand"),
        ({"pair": pair(mode="approve")}, Decision.REQUEST, "mode"),
        ({"backup": Backup(is_alive=None)}, Decision.REFUSE, "backup_alive"),
        ({"backup": Backup(True, "hw.disk", (), GOOD.lag)}, Decision.REFUSE, "backup_alive"),
        ({"backup": Backup(True, "", ("disk",), GOOD.lag)}, Decision.REFUSE, "backup_fit"),
        ({"backup": Backup(True, "", (), GOOD.lag, "provider:alfa")}, Decision.REFUSE, "apart"),
        ({"backup": Backup(True, "", (), None, "", T0)}, Decision.REQUEST, "exposure"),
        ({"backup": Backup(True, "", (), LagSample(70, T0), "", T0)}, Decision.REQUEST, "exposure"),
        ({"backup": Backup(True, "", (), LagSample(1, T0 - MINUTE), "", T0)}, Decision.REQUEST, "exposure"),
        ({"backup": Backup(True, "", (), GOOD.lag)}, Decision.REQUEST, "rehearsal"),
        ({"fences": (Fence("F1", True), Fence("F4", None))}, Decision.REQUEST, "fence"),
        ({"history": History(hold_down_until_ms=NOW + 1)}, Decision.REQUEST, "held_down"),
        ({"history": History(running=1)}, Decision.REQUEST, "rate"),
        ({"history": History(same_incident=1)}, Decision.REQUEST, "rate"),
        ({"trouble": Trouble(7, "hw.power", 1, "host:a1", T0, NOW - 59_000)}, Decision.WAIT, "dwell"),
        ({"repair_at_ms": NOW + MINUTE}, Decision.WAIT, "repair"),
    ],
)
def test_one_thing_that_is_not_right_keeps_the_machine_from_acting(changes, expected, guard):
    decided = decide(facts(NOW, **changes))
    assert decided.decision is expected
    assert decided.reason.key == f"failover.guard.{guard}"


def test_a_provisional_cause_is_acted_upon_only_where_power_is_read_back_off():
    unsure = Trouble(7, "virt.node_failure", 2, "host:a1", T0, T0, is_provisional=True)
    assert decide(facts(trouble=unsure)).decision is Decision.AUTO
    weaker = decide(facts(trouble=unsure, fences=(Fence("F3", True),)))
    assert weaker.decision is Decision.REQUEST
    assert weaker.reason.key == "failover.guard.certain"


def test_a_server_that_nobody_hears_and_nothing_explains_is_acted_upon_only_where_power_is_read_back_off():
    """A lone server that lost its power tells no more than that (failover.md 7: primary dead)."""
    dark = _with("unknown")
    assert decide(facts(trouble=dark)).decision is Decision.AUTO
    weaker = decide(facts(trouble=dark, fences=(Fence("F3", True),)))
    assert (weaker.decision, weaker.reason.key) == (Decision.REQUEST, "failover.guard.certain")
    for refused in (
        facts(trouble=dark, is_reporting=True),
        facts(trouble=dark, pair=pair(forbidden_causes=["unknown"])),
        facts(trouble=dark, pair=pair(allowed_causes=["hw.power"])),
    ):
        decided = decide(refused)
        assert (decided.decision, decided.reason.key) == (Decision.REFUSE, "failover.guard.cause")


def test_a_ticket_on_a_server_that_serves_its_clients_is_no_outage():
    well = facts(is_reporting=True, views=(View("collector", NOW, "ok"), View("probe2", NOW, "ok")))
    decided = decide(well)
    assert decided.decision is Decision.NONE
    assert decided.reason.key == "failover.guard.outage"


def test_a_flood_that_makes_the_service_slow_is_refused_with_its_reason():
    slow = facts(
        is_reporting=True,
        trouble=_with("os.syn_flood"),
        views=(View("collector", NOW, "slow"), View("probe2", NOW, "ok")),
    )
    decided = decide(slow)
    assert decided.decision is Decision.REFUSE
    assert decided.reason.params["why"] == "attack"


def test_a_signed_waiver_lets_its_guard_pass_and_stands_in_the_record():
    decided = decide(facts(fences=(), waivers={"fence": "P. Client"}))
    assert decided.decision is Decision.AUTO
    assert [checked.guard for checked in decided.waived] == ["fence"]
    assert decided.waived[0].to_dict()["waived_by"] == "P. Client"


def test_what_was_written_after_the_lag_was_measured_counts_as_lost_until_the_end_of_writes():
    """The public outage: lag 2 s, measured 8 s before it began; half-open, somebody may still be served."""
    assert facts().exposure_s() == 10.0
    served = (View("collector", NOW, "dead"), View("probe2", NOW, "slow"))
    assert facts(NOW, views=served).exposure_s() == 2.0 + 8.0 + 120.0
    assert facts(NOW, views=served, writes_stopped_at_ms=T0 + MINUTE).exposure_s() == 2.0 + 8.0 + 60.0
    assert facts(writes_stopped_at_ms=T0 + MINUTE).exposure_s() == 10.0
    assert facts(pair=pair(stateful=False), backup=Backup(True)).exposure_s() == 0.0


def test_a_lag_that_was_taken_after_the_end_of_writing_counts_no_time_in_which_nothing_was_written():
    """A copy's lag grows with every second that its primary is dead: that is no lost write."""
    outage_ms = facts().outage_at_ms
    assert outage_ms is not None
    later = Backup(True, lag=LagSample(92.0, outage_ms + 90_000))
    assert facts(outage_ms + 90_000, backup=later).exposure_s() == 2.0
    applied = Backup(True, lag=LagSample(0.0, outage_ms + 90_000))
    assert facts(outage_ms + 90_000, backup=applied).exposure_s() == 0.0


def test_the_latest_start_leaves_the_time_that_a_switch_takes():
    assert facts(switch_time_s=300.0).latest_start_ms() == T0 + 1_500_000


def test_the_mode_follows_the_hours_of_its_schedule():
    nights = ScheduleTerms("auto", CalendarTerms("UTC", {"wed": ["00:00-06:00"]}))
    terms = pair(mode="approve", schedule=[nights])
    wednesday_midnight = 1_700_006_400_000  # 2023-11-15 00:00 UTC
    assert terms.mode_at(wednesday_midnight) == "auto"
    assert terms.mode_at(wednesday_midnight + 6 * 3_600_000) == "approve"


def test_every_cause_of_the_desk_is_either_helped_by_a_switch_or_says_why_not():
    silent = {
        key for key in CAUSES if key not in HELPED and key not in WHY_NOT and not key.startswith("none.")
    }
    assert silent == {"unknown", "request"}


def test_guards_are_named_once():
    assert len({guard.id for guard in GUARDS}) == len(GUARDS)


def test_faults_of_failover_terms_name_the_host_and_the_step():
    hosts = [HostTerms("a1"), HostTerms("b9")]
    good = {"pairs": [{"primary": "a1", "backup": "b9"}]}
    contract = Contract("acme", "Acme", hosts=hosts, failover=good)
    assert failover_terms.pair_of(contract, "a1") == PairTerms("a1", "b9")
    assert failover_terms.pair_of(contract, "b9") is None
    with pytest.raises(ConfigError, match="host zz is not in this contract"):
        failover_terms.terms_of(
            Contract("acme", "Acme", hosts=hosts, failover={"pairs": [{"primary": "a1", "backup": "zz"}]})
        )
    with pytest.raises(ConfigError, match="no promote step"):
        parse("{primary: a1, backup: b9, promote: [{type: traffic.dns}]}", PairTerms)
    with pytest.raises(ConfigError, match="needs F2 at least"):
        parse("{primary: a1, backup: b9, mode: auto, fence_min: F1}", PairTerms)
