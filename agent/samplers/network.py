"""Network: the interfaces' link, errors and traffic, what TCP dropped, and the first rungs of the ladder.

Interfaces that are hardware (or a hypervisor's stand-in for it) count; bridges, veth pairs and tunnels show the same
packets again. The gateway is judged by its neighbour entry, which our own reports keep exercised: no packet is sent.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Deque, Dict, List, Mapping, NamedTuple, Optional, Tuple

from agent.samplers.base import Batch, LoopNotes, Rungs, per_second, ratio_pct, read, read_or_none, why
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.keyed import parse_paired, parse_softnet
from agent.signals.parsers.netdev import NicCounters, parse_netdev
from agent.signals.parsers.numbers import parse_whole
from agent.signals.parsers.routes import parse_arp, parse_default_route
from agent.signals.sample import Sample

FLAPS_WINDOW_MS = 600_000
MAX_NICS = 32
LADDER_LINK, LADDER_GATEWAY, LADDER_HOP2, LADDER_COLLECTOR, LADDER_RESOLVER, LADDER_ANCHORS = (
    1,
    2,
    4,
    8,
    16,
    32,
)


class Tcp(NamedTuple):
    """Counters of the whole host."""

    cookies: int
    listen_drops: int
    softnet_drops: int


class Network:
    """Signals net.link, .flaps, .crc_ps, .missed_ps, .in_*, .out_mbps, .cookies_ps, .listen_drops_ps, .conntrack_pct,
    .gw, .collector, .ladder."""

    name = "network"
    period_s = 10.0

    def __init__(
        self, root: Path = Path("/"), notes: Optional[LoopNotes] = None, rungs: Optional[Rungs] = None
    ) -> None:
        self._proc = f"{root / 'proc'}"
        self._class = f"{root / 'sys/class/net'}"
        self._nics_before: Dict[str, NicCounters] = {}
        self._errors_before: Dict[str, Tuple[int, int]] = {}
        self._tcp_before: Optional[Tcp] = None
        self._before_ms = 0
        self._changes: Dict[str, Deque[Tuple[int, int]]] = {}
        self._was_up: Dict[str, None] = {}
        self._route: Optional[Tuple[str, str]] = None
        self._known: Dict[str, bool] = {}
        self._lacks: Dict[str, str] = {}
        self._notes = notes or LoopNotes()
        self._rungs = rungs or Rungs()

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        seconds, self._before_ms = (mono_ms - self._before_ms) / 1000.0, mono_ms
        try:
            nics = self._counted(parse_netdev(read(f"{self._proc}/net/dev")))
        except (OSError, ParseError) as error:
            self._lacks.update(dict.fromkeys(("net.in_mbps", "net.in_kpps", "net.out_mbps"), why(error)))
            nics = {}
        self._add_traffic(batch, nics, seconds)
        missed = self._add_errors(batch, nics, seconds)
        self._add_tcp(batch, missed, seconds)
        self._add_conntrack(batch)
        route = parse_default_route(read_or_none(f"{self._proc}/net/route") or "")
        self._route = route or self._route
        links = self._add_links(batch, nics, mono_ms)
        self._add_ladder(batch, links, has_route=route is not None)
        return batch.samples

    def _counted(self, nics: Dict[str, NicCounters]) -> Dict[str, NicCounters]:
        """Interfaces with a device behind them; where there are none (containers), all but loopback."""
        self._known = {name: known for name, known in self._known.items() if name in nics}
        for name in nics:
            if name not in self._known:
                self._known[name] = Path(f"{self._class}/{name}/device").exists()
        hard = {name: nic for name, nic in nics.items() if self._known[name]}
        chosen = hard or {name: nic for name, nic in nics.items() if name != "lo"}
        return dict(list(chosen.items())[:MAX_NICS])

    def _add_traffic(self, batch: Batch, nics: Dict[str, NicCounters], seconds: float) -> None:
        before, self._nics_before = self._nics_before, nics
        total: Dict[str, float] = {}
        for name, nic in nics.items():
            prior = before.get(name)
            if prior is None:
                continue
            rates = {
                "net.in_mbps": (nic.rx_bytes, prior.rx_bytes, 8e-6),
                "net.in_kpps": (nic.rx_packets, prior.rx_packets, 1e-3),
                "net.out_mbps": (nic.tx_bytes, prior.tx_bytes, 8e-6),
            }
            for signal, (now, then, scale) in rates.items():
                rate = per_second(now, then, seconds)
                if rate is not None:
                    total[signal] = total.get(signal, 0.0) + rate * scale
                    if len(nics) > 1:
                        batch.add(signal, rate * scale, name)
        for signal, value in total.items():
            batch.add(signal, value)

    def _add_errors(self, batch: Batch, nics: Mapping[str, NicCounters], seconds: float) -> Optional[float]:
        """CRC errors by interface and in all; returns packets missed by the interfaces, for the sum with softnet."""
        now = {
            name: (self._statistic(name, "rx_crc_errors"), self._statistic(name, "rx_missed_errors"))
            for name in nics
        }
        before, self._errors_before = self._errors_before, now
        crc_total: Optional[float] = None
        missed_total: Optional[float] = None
        for name, (crc, missed) in now.items():
            if name not in before:
                continue
            crc_ps = per_second(crc, before[name][0], seconds)
            missed_ps = per_second(missed, before[name][1], seconds)
            batch.add("net.crc_ps", crc_ps, name)
            crc_total = (crc_total or 0.0) + (crc_ps or 0.0)
            missed_total = (missed_total or 0.0) + (missed_ps or 0.0)
        batch.add("net.crc_ps", crc_total)
        return missed_total

    def _statistic(self, nic: str, name: str) -> int:
        try:
            return parse_whole(read(f"{self._class}/{nic}/statistics/{name}"))
        except (OSError, ParseError):
            return 0  # a driver that does not count it never shows one

    def _add_tcp(self, batch: Batch, missed: Optional[float], seconds: float) -> None:
        try:
            counters = parse_paired(read(f"{self._proc}/net/netstat")).get("TcpExt", {})
            dropped, _ = parse_softnet(read_or_none(f"{self._proc}/net/softnet_stat") or "")
        except (OSError, ParseError) as error:
            self._lacks.update(dict.fromkeys(("net.cookies_ps", "net.listen_drops_ps"), why(error)))
            return
        now = Tcp(counters.get("SyncookiesSent", 0), counters.get("ListenDrops", 0), dropped)
        before, self._tcp_before = self._tcp_before, now
        if before is None:
            return
        batch.add("net.cookies_ps", per_second(now.cookies, before.cookies, seconds))
        batch.add("net.listen_drops_ps", per_second(now.listen_drops, before.listen_drops, seconds))
        softnet = per_second(now.softnet_drops, before.softnet_drops, seconds)
        if softnet is not None or missed is not None:
            batch.add("net.missed_ps", (softnet or 0.0) + (missed or 0.0))

    def _add_conntrack(self, batch: Batch) -> None:
        folder = f"{self._proc}/sys/net/netfilter"
        try:
            count = parse_whole(read(f"{folder}/nf_conntrack_count"))
            limit = parse_whole(read(f"{folder}/nf_conntrack_max"))
        except (OSError, ParseError) as error:
            missing = isinstance(error, FileNotFoundError)
            self._lacks["net.conntrack_pct"] = "connection tracking is not loaded" if missing else why(error)
            return
        self._lacks.pop("net.conntrack_pct", None)
        batch.add("net.conntrack_pct", ratio_pct(count, limit))

    def _add_links(self, batch: Batch, nics: Mapping[str, NicCounters], mono_ms: int) -> Dict[str, bool]:
        """Carrier of every interface that ever had one: a port without a cable is no fault."""
        links: Dict[str, bool] = {}
        worst = 0
        for name in list(nics) + [n for n in self._was_up if n not in nics]:
            is_up = self._is_up(name)
            if is_up:
                self._was_up[name] = None
            elif name not in self._was_up:
                continue
            links[name] = is_up
            batch.add("net.link", "up" if is_up else "down", name)
            flaps = self._flaps(name, mono_ms)
            if flaps is not None:
                batch.add("net.flaps", flaps, name)
                worst = max(worst, flaps)
        batch.add("net.flaps", worst)
        return links

    def _is_up(self, nic: str) -> bool:
        """Reading ``carrier`` of an interface that was set down is an error (EINVAL): no carrier."""
        carrier = (read_or_none(f"{self._class}/{nic}/carrier") or "").strip()
        if carrier:
            return carrier == "1"
        return (read_or_none(f"{self._class}/{nic}/operstate") or "").strip() == "up"

    def _flaps(self, nic: str, mono_ms: int) -> Optional[int]:
        text = (read_or_none(f"{self._class}/{nic}/carrier_changes") or "").strip()
        if not text.isdigit():
            self._lacks["net.flaps"] = "this kernel does not count carrier changes"
            return None
        series = self._changes.setdefault(nic, deque(maxlen=80))
        series.append((mono_ms, int(text)))
        while len(series) > 1 and mono_ms - series[0][0] > FLAPS_WINDOW_MS:
            series.popleft()
        return max(0, series[-1][1] - series[0][1])

    def _add_ladder(self, batch: Batch, links: Dict[str, bool], *, has_route: bool) -> None:
        nic, gateway = self._route or ("", "")
        is_linked = links.get(nic, any(links.values())) if links else True
        batch.add("net.link", "up" if is_linked else "down")
        answers = self._gateway(gateway, nic) if has_route else (False if self._route else None)
        if answers is None:
            self._lacks["net.gw"] = "no gateway that has a neighbour entry"
        else:
            self._lacks.pop("net.gw", None)
            batch.add("net.gw", "ok" if answers else "dead")
        if self._notes.collector_answers is not None:
            batch.add("net.collector", "ok" if self._notes.collector_answers else "dead")
        self._rungs.gateway = answers
        bits = LADDER_LINK if is_linked else 0
        bits |= LADDER_GATEWAY if answers or (answers is None and is_linked) else 0
        # A collector that answers proves the way to it; one that was not asked proves nothing against it.
        bits |= LADDER_COLLECTOR if self._notes.collector_answers in (True, None) else 0
        # Of the rungs beyond, those that answered: what nobody asked is not told of as well.
        bits |= LADDER_HOP2 if self._rungs.hop2 else 0
        bits |= LADDER_RESOLVER if self._rungs.resolver else 0
        bits |= LADDER_ANCHORS * min(3, self._rungs.anchors or 0)
        batch.add("net.ladder", bits)

    def _gateway(self, address: str, nic: str) -> Optional[bool]:
        """Does the gateway's neighbour entry hold? None where there is no entry to judge by."""
        if not address or address == "0.0.0.0":
            return None
        return parse_arp(read_or_none(f"{self._proc}/net/arp") or "").get((address, nic))
