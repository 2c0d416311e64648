"""Changes of a scenario's world that must change no verdict: other names, another order, contract, hour, or more hosts.

Nothing here knows a truth: a scenario is played as it is and changed, and what came of both must be the same.
By hand, over all scenarios: ``python -m tests.scenarios.changed_worlds [--only ID] [--change NAME] [--seed N]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from collector.replay.expand import is_event
from collector.replay.played import Played, PlayedTicket
from collector.replay.player import START_MS, Options
from collector.replay.scenario import Entry, Host, Scenario
from tests.scenarios import labelled

TIME_SLACK_S = 1.0
"""Openings may differ by so much: the order in which hosts are asked decides tenths of a second."""
SAID = frozenset({"ext.last_hop", "clk.ntp_source", "prov.event", "ops.action", "col.transit"})
"""Signals whose values may name hosts, providers, sites or racks."""
PLACES = ("site", "rack", "node", "storage", "resolver", "ntp")
NOBODYS = frozenset({"", "public", "pool", "local"})
"""Places that are words and not names."""
KYIV_SUMMER_MS = round(dt.datetime(2026, 3, 29, 1, tzinfo=dt.timezone.utc).timestamp() * 1000)
KYIV_WINTER_MS = round(dt.datetime(2026, 10, 25, 1, tzinfo=dt.timezone.utc).timestamp() * 1000)
MINUTE_MS = 60_000


@dataclasses.dataclass(frozen=True)
class Changed:
    """A changed world, and how to read its names back."""

    scenario: Scenario
    options: Options = dataclasses.field(default_factory=Options)
    back: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """New name -> old name."""


@dataclasses.dataclass(frozen=True, order=True)
class Verdict:
    """A parent ticket as far as these changes may not touch it."""

    class_: str
    root_cause: str
    scope: str
    affected: tuple[str, ...]
    opened_at_s: float
    is_parted: bool = dataclasses.field(default=False, compare=False)
    """Whether hosts left it or came out of another: over contracts, which of the parts keeps the first ticket depends on
    whose contract opened it."""


Change = Callable[[Scenario, Random], Changed | None]
"""None: this change means something else in this scenario (a healthy host where none may be, say)."""


def renamed(scenario: Scenario, random: Random) -> Changed:
    """Every host, provider, place and contract under another name, in the opposite order of the alphabet."""
    hosts = scenario.topology.hosts
    old = {host.id for host in hosts} | {host.provider for host in hosts} | {host.contract for host in hosts}
    old |= {host.places.get(place, "") for host in hosts for place in PLACES}
    names = sorted(old - NOBODYS)
    new = {
        name: f"{chr(ord('z') - i % 25)}{len(names) - i}q{random.randrange(100)}"
        for i, name in enumerate(names)
    }
    told = _Renaming(new)
    failover = scenario.topology.failover
    topology = dataclasses.replace(
        scenario.topology,
        hosts=tuple(told.host(host) for host in random.sample(hosts, len(hosts))),
        failover={key: told.word(value) for key, value in failover.items()} if failover else None,
    )
    timeline = tuple(told.entry(entry) for entry in scenario.timeline)
    return Changed(
        dataclasses.replace(scenario, topology=topology, timeline=timeline),
        back={name: was for was, name in new.items()},
    )


class _Renaming:
    """Old names to new ones, as whole words."""

    def __init__(self, new: Mapping[str, str]) -> None:
        self._new = new
        words = "|".join(re.escape(name) for name in sorted(new, key=len, reverse=True))
        self._any = re.compile(rf"\b(?:{words})\b")

    def word(self, value: Any) -> Any:
        return self._new.get(value, value) if isinstance(value, str) else value

    def text(self, value: str) -> str:
        return self._any.sub(lambda found: self._new[found[0]], value)

    def host(self, host: Host) -> Host:
        places = {key: self.word(value) if key in PLACES else value for key, value in host.places.items()}
        return dataclasses.replace(
            host,
            id=self.word(host.id),
            provider=self.word(host.provider),
            places=places,
            contract=self.word(host.contract),
        )

    def entry(self, entry: Entry) -> Entry:
        value = self.text(entry.value) if entry.signal in SAID else entry.value
        return dataclasses.replace(
            entry, host=self.word(entry.host), vantage=self.word(entry.vantage), value=value
        )


def reordered(scenario: Scenario, random: Random) -> Changed:
    """Entries of one instant in another order; the events of a host keep theirs, for a kernel log has one."""
    by_instant: dict[int, dict[tuple[str, ...], list[Entry]]] = {}
    for entry in scenario.timeline:
        chain = (entry.host, "") if is_event(entry.signal) else (entry.host, entry.signal, entry.vantage)
        by_instant.setdefault(entry.t_ms, {}).setdefault(chain, []).append(entry)
    timeline: list[Entry] = []
    for t_ms in sorted(by_instant):
        chains = list(by_instant[t_ms].values())
        while chains:
            chain = random.choice(chains)
            timeline.append(chain.pop(0))
            chains = [left for left in chains if left]
    hosts = tuple(random.sample(scenario.topology.hosts, len(scenario.topology.hosts)))
    topology = dataclasses.replace(scenario.topology, hosts=hosts)
    return Changed(dataclasses.replace(scenario, topology=topology, timeline=tuple(timeline)))


def over_contracts(scenario: Scenario, random: Random) -> Changed | None:
    """The hosts dealt to three contracts; a failover pair stays in one."""
    hosts = scenario.topology.hosts
    if len(hosts) < 2:
        return None
    pair = {str(value) for value in (scenario.topology.failover or {}).values()}
    dealt = [
        dataclasses.replace(host, contract="pair" if host.id in pair else f"part{random.randrange(3)}")
        for host in hosts
    ]
    topology = dataclasses.replace(scenario.topology, hosts=tuple(dealt))
    return Changed(dataclasses.replace(scenario, topology=topology))


def doubled(scenario: Scenario, random: Random) -> Changed | None:
    """As many healthy hosts again, where healthy hosts may be: at new sites, at the same providers or at new ones."""
    truth = scenario.truth
    if truth is None or truth.root_cause == "none.collector_fault" or _loses_collector(scenario):
        return None
    is_about_provider = any(
        ticket.scope_type in ("provider", "dns", "ntp", "path") for ticket in truth.tickets
    )
    more = []
    for i, host in enumerate(scenario.topology.hosts):
        provider = f"healthy{i % 2}" if is_about_provider or random.random() < 0.5 else host.provider
        places = {key: value for key, value in host.places.items() if key in ("virt", "os", "plan")}
        places |= {"site": f"new{i}", "node": f"newnode{i}", "storage": f"newstorage{i}"}
        more.append(dataclasses.replace(host, id=f"healthy-{i}", provider=provider, places=places))
    topology = dataclasses.replace(scenario.topology, hosts=(*scenario.topology.hosts, *more))
    return Changed(dataclasses.replace(scenario, topology=topology))


def _loses_collector(scenario: Scenario) -> bool:
    """Whether the collector itself is cut off: no host could be seen well then."""
    return any(entry.signal == "col.anchors" and entry.value != 3 for entry in scenario.timeline)


def at_another_hour(scenario: Scenario, random: Random) -> Changed:
    """Another hour of the day, as in another time zone, and another year."""
    by_ms = random.randrange(1, 48) * 30 * MINUTE_MS + random.randrange(-300, 300) * 86_400_000
    return Changed(scenario, Options(start_ms=START_MS + by_ms))


def over_summer_time(scenario: Scenario, random: Random) -> Changed:
    """The clocks of Europe/Kyiv go forward in the middle."""
    return Changed(scenario, Options(start_ms=_before(KYIV_SUMMER_MS, scenario)))


def over_winter_time(scenario: Scenario, random: Random) -> Changed:
    """The clocks of Europe/Kyiv go back in the middle."""
    return Changed(scenario, Options(start_ms=_before(KYIV_WINTER_MS, scenario)))


def _before(change_ms: int, scenario: Scenario) -> int:
    half_ms = round(min(scenario.duration_s, 7_200) * 500)
    return (change_ms - half_ms) // MINUTE_MS * MINUTE_MS


CHANGES: dict[str, Change] = {
    "renamed": renamed,
    "reordered": reordered,
    "over-contracts": over_contracts,
    "doubled": doubled,
    "another-hour": at_another_hour,
    "summer-time": over_summer_time,
    "winter-time": over_winter_time,
}


def verdicts(played: Played, back: Mapping[str, str] | None = None) -> list[Verdict]:
    """The parents that came out, under their old names."""
    told = _Renaming(back) if back else None
    found = []
    for ticket in played.tickets:
        if ticket.role != "parent":
            continue
        affected = tuple(sorted(told.word(host) for host in ticket.affected)) if told else ticket.affected
        scope = told.text(ticket.scope) if told else ticket.scope
        found.append(
            Verdict(
                ticket.class_,
                ticket.root_cause,
                scope,
                tuple(sorted(affected)),
                _first_told_s(played, ticket),
                ticket.is_parted,
            )
        )
    return sorted(found)


def _first_told_s(played: Played, parent: PlayedTicket) -> float:
    """When somebody first had this ticket: what gathers several contracts' is not there before the second one's, and
    the first contract's own is."""
    below = [
        ticket.opened_at_s
        for ticket in played.tickets
        if ticket.role == "child"
        and (ticket.root_cause, ticket.scope) == (parent.root_cause, parent.scope)
        and set(ticket.affected) <= set(parent.affected)
    ]
    return min([parent.opened_at_s, *below])


def differences(scenario: Scenario, change: Change, random: Random, before: Played) -> list[str]:
    """What the change did to the verdicts, in words; nothing where all is well or the change does not apply."""
    if scenario.recorded is not None:
        return []  # one moment that is judged again: there is no order, hour or neighbour in it to change
    changed = change(scenario, random)
    if changed is None:
        return []
    after = labelled.played(changed.scenario, changed.options)
    was, now = verdicts(before), verdicts(after, changed.back)
    is_dealt = change is over_contracts
    found = [f"was {one}" for one in was if not any(_is_same(one, other, is_dealt) for other in now)]
    found += [f"became {one}" for one in now if not any(_is_same(one, other, is_dealt) for other in was)]
    if len(was) != len(now):
        found.append(f"{len(was)} parents became {len(now)}")
    if before.failover.decision != after.failover.decision:
        found.append(f"failover {before.failover.decision} became {after.failover.decision}")
    return found


def _is_same(one: Verdict, other: Verdict, is_dealt: bool) -> bool:
    is_in_time = abs(one.opened_at_s - other.opened_at_s) <= TIME_SLACK_S
    is_in_time = is_in_time or (is_dealt and (one.is_parted or other.is_parted))
    return is_in_time and dataclasses.replace(one, opened_at_s=0) == dataclasses.replace(other, opened_at_s=0)


def main(words: Sequence[str]) -> int:
    """Play all scenarios under all changes, or those named; 1 where a verdict changed."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.changed_worlds", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="only this scenario")
    parser.add_argument("--change", action="append", default=[], choices=CHANGES, help="only this change")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    args = parser.parse_args(words)
    scenarios = {**labelled.public(), **labelled.own()}
    wrong = 0
    for number, name in enumerate(args.only or scenarios, 1):
        before = labelled.played(scenarios[name])
        for change in args.change or CHANGES:
            random = Random(f"{args.seed}/{change}/{name}")
            for line in differences(scenarios[name], CHANGES[change], random, before):
                wrong += 1
                sys.stdout.write(f"{name} {change}: {line}\n")
        sys.stdout.flush()
        end = "" if sys.stderr.isatty() else "\n"
        sys.stderr.write(f"\r{number}/{len(args.only or scenarios)} {name} {end}")
        sys.stderr.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
