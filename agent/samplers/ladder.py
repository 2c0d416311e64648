"""The network ladder beyond the gateway: hop 2, public anchors, resolvers, and whether large packets pass.

Theory of operation. One look asks everything at once in a thread of its own, with bare sockets and literal addresses:
it costs a few milliseconds where all is well and ends after LOOK_MAX_S where nothing answers. Looks come each
``every`` while all is well, and with each sweep (10 s) on suspicion: a rung that does not answer, a packet that was
lost, a collector or a gateway that is away.

A rung counts only once it has answered: a firewall that lets no echo out, an anchor that is blocked, a link that never
carried 1500 octets are facts about this server and no fault. Until then its signal is lacking, with that reason.
Resolvers of resolv.conf are the exception: programs ask them, so silence from the first is a fault.

Only what was just asked gives a sample: an old answer never stands for a new one.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, List, NamedTuple, Optional, Set, Tuple

from agent.checks.dns import Said, ask_all, resolvers
from agent.checks.hops import trace
from agent.checks.reach import Address, Echoes, addresses_of, connect_all, echo_all, parse_address
from agent.samplers.base import Batch, Errand, LoopNotes, Rungs, ratio_pct, read, read_or_none
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import parse_whole
from agent.signals.parsers.routes import parse_default_route
from agent.signals.sample import Sample
from config.clock import Clock, SystemClock
from config.loader import Duration, setting

ANCHORS = ("1.1.1.1:443", "8.8.8.8:443", "9.9.9.9:443")
"""Three networks that have nothing to do with one another, and answer echo requests and TCP."""

CONNECT_S, ECHO_S, BIG_S, HOP_S, DNS_S = 3.0, 1.0, 1.0, 1.0, 2.0
LOOK_MAX_S = CONNECT_S + ECHO_S + BIG_S + HOP_S + DNS_S
ECHOES_QUIET, ECHOES_SUSPICIOUS = 3, 5
LOSS_WINDOW_MS = 120_000
LOSS_LEAST = 9
"""Fewer packets than this say nothing about per cents."""
HOP_MISSES = 2
"""Routers answer such questions when they have time: one silence is none."""
HOP_AGAIN_MS = 3_600_000
ICMP_HEADERS = 28
FULL_MTU = 1500
QUICK_WAIT_S = 0.25
"""A healthy network answers within it, so that a look's samples are those of its own sweep."""

SIGNALS = (
    "net.hop2", "net.anchors", "net.loss_pct", "net.bigpkt", "net.dns_sys", "net.dns_pub",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LadderSettings:
    """What the ladder asks, and how often while all is well."""

    anchors: List[str] = setting(
        list(ANCHORS), help="address:port of up to three public servers in three networks; []: none", max=3
    )
    resolver: str = setting(
        "1.1.1.1",
        help="public resolver, to compare with those of resolv.conf; empty: none",
        pattern=r"[0-9a-fA-F.:]{0,45}",
        example="9.9.9.9",
    )
    name: str = setting(
        "dns.google", help="name that the resolvers are asked for", pattern=r"[A-Za-z0-9._-]{1,253}"
    )
    every: Duration = setting(60.0, help="time between two looks while all is well", min=0.2, max=3600)

    def faults(self) -> List[Tuple[str, str]]:
        """Anchors are literal addresses: what looks for a broken resolver must not need one."""
        found = [
            ("anchors", f"{text!r} is no address:port (names are not resolved here)")
            for text in self.anchors
            if parse_address(text) is None
        ]
        if self.resolver and parse_address(f"[{self.resolver}]:53") is None:
            found.append(("resolver", "is no address"))
        return found


class Sight(NamedTuple):
    """What one look saw."""

    at_ms: int
    anchors: Dict[str, bool]
    """Address -> a connection or an echo was answered."""
    echoes: Optional[Echoes]
    """None: this process may not send echo requests."""
    big: Optional[Echoes]
    """Full-size packets that nobody may cut; None: not asked in this look."""
    hop2: Optional[Tuple[str, str]]
    """(anchor, router two hops away on the way to it); None: nobody answered there, or nobody was asked."""
    has_asked_hop: bool
    dns_sys: List[Said]
    dns_pub: Optional[Said]


class Ladder:
    """Signals net.hop2, net.anchors, net.loss_pct, net.bigpkt, net.dns_sys (host and each server), net.dns_pub."""

    name = "ladder"
    period_s = 10.0

    def __init__(
        self,
        root: Path = Path("/"),
        settings: Optional[LadderSettings] = None,
        notes: Optional[LoopNotes] = None,
        rungs: Optional[Rungs] = None,
        look: Optional[Callable[[Question], Sight]] = None,
        clock: Optional[Clock] = None,
    ) -> None:
        self._root = root
        self._settings = settings or LadderSettings()
        self._notes = notes or LoopNotes()
        self._rungs = rungs or Rungs()
        self._look = look or look_around
        self._clock = clock or SystemClock()
        self._anchors = addresses_of(self._settings.anchors)
        self._errand: Optional[Errand[Sight]] = None
        self._due_ms: Optional[int] = None
        self._hop_due_ms: Optional[int] = None
        self._hop_known = ""
        self._hop_misses = 0
        self._known: Set[str] = set()
        self._echo_known: Set[str] = set()
        self._big_known: Set[str] = set()
        self._public_known = False
        self._losses: Deque[Tuple[int, int, int]] = deque(maxlen=60)
        self._is_suspicious = False
        self._lacks: Dict[str, str] = dict.fromkeys(SIGNALS, "was not asked yet")

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        """What the look under way brought, and a new look where one is due. Waits for at most QUICK_WAIT_S."""
        is_first = self._due_ms is None
        samples = self._collect()
        if self._errand is None and (self._due_ms is None or mono_ms >= self._due_ms or self._hurries()):
            self._due_ms = mono_ms + int(self._settings.every * 1000)
            question = self._question(mono_ms)
            self._errand = Errand("ladder", lambda: self._look(question))
            if not is_first:
                self._errand.wait(QUICK_WAIT_S)
                samples += self._collect()
        return samples

    def settle(self, seconds: float) -> None:
        """Wait until the look under way has ended, at most so long; ``once`` asks for it."""
        if self._errand is not None:
            self._errand.wait(seconds)

    def _hurries(self) -> bool:
        return self._is_suspicious or self._notes.collector_answers is False or self._rungs.gateway is False

    def _question(self, mono_ms: int) -> Question:
        if self._hop_due_ms is None or mono_ms >= self._hop_due_ms:
            self._hop_due_ms = None
        anchors = self._anchors
        return Question(
            at_ms=mono_ms,
            anchors=tuple(anchors),
            echoes=ECHOES_SUSPICIOUS if self._hurries() else ECHOES_QUIET,
            asks_hop=bool(anchors) and self._hop_due_ms is None,
            mtu=own_mtu(self._root),
            servers=tuple(resolvers(self._root)),
            public=self._settings.resolver,
            name=self._settings.name,
        )

    def _collect(self) -> List[Sample]:
        if self._errand is None or not self._errand.is_done:
            return []
        errand, self._errand = self._errand, None
        sight = errand.answer()
        batch = Batch(sight.at_ms, {})
        self._is_suspicious = False
        self._take_anchors(batch, sight)
        self._take_loss(batch, sight)
        self._take_big(batch, sight)
        self._take_hop(batch, sight)
        self._take_resolvers(batch, sight)
        return batch.samples

    def _say(self, batch: Batch, signal: str, value: object, why: str = "", *, good: bool = True) -> None:
        """A value, or why there is none."""
        if value is None:
            self._lacks[signal] = why
            return
        self._lacks.pop(signal, None)
        self._is_suspicious = self._is_suspicious or not good
        batch.add(signal, value)

    def _take_anchors(self, batch: Batch, sight: Sight) -> None:
        answering = {host for host, answers in sight.anchors.items() if answers}
        self._known |= answering
        count = len(answering) if self._known else None
        why = "no anchor is set" if not self._anchors else "no anchor has answered since the agent began"
        self._rungs.anchors = count
        self._say(batch, "net.anchors", count, why, good=answering >= self._known)

    def _take_loss(self, batch: Batch, sight: Sight) -> None:
        if sight.echoes is None:
            self._lacks["net.loss_pct"] = "this process may not send echo requests"
            return
        self._echo_known |= {host for host, n in sight.echoes.received.items() if n}
        sent = sight.echoes.sent * len(self._echo_known)
        if not sent:
            self._lacks["net.loss_pct"] = "no anchor has answered an echo request since the agent began"
            return
        got = sum(sight.echoes.received.get(host, 0) for host in self._echo_known)
        self._losses.append((sight.at_ms, sent, got))
        while sight.at_ms - self._losses[0][0] > LOSS_WINDOW_MS:
            self._losses.popleft()
        sent, got = sum(s for _, s, _ in self._losses), sum(g for _, _, g in self._losses)
        loss = ratio_pct(sent - got, sent)
        if sent >= LOSS_LEAST:
            self._say(batch, "net.loss_pct", loss, good=got == sent)
        else:
            self._is_suspicious = self._is_suspicious or got < sent

    def _take_big(self, batch: Batch, sight: Sight) -> None:
        """Large packets fail only where small ones to the same anchor pass, and where they once passed themselves."""
        if sight.big is None or sight.echoes is None:
            if sight.echoes is None:
                self._lacks["net.bigpkt"] = "this process may not send echo requests"
            return
        honest = {host for host, n in sight.big.received.items() if n} | sight.big.too_large
        self._big_known |= {host for host, n in sight.big.received.items() if n}
        asked = {host for host in self._big_known if sight.echoes.received.get(host)}
        if not self._big_known:
            self._lacks["net.bigpkt"] = "no packet of full size has passed since the agent began"
        elif asked:
            passes = bool(asked & honest)
            self._say(batch, "net.bigpkt", "ok" if passes else "fail", good=passes)

    def _take_hop(self, batch: Batch, sight: Sight) -> None:
        if not sight.has_asked_hop:
            if not self._anchors:
                self._lacks["net.hop2"] = "no anchor is set"
            return
        if sight.hop2 is not None:
            self._hop_known, self._hop_misses = sight.hop2[1], 0
        elif not self._hop_known:
            # Many networks hide their routers: asked again seldom.
            self._hop_due_ms = sight.at_ms + HOP_AGAIN_MS
            self._rungs.hop2 = None
            self._say(batch, "net.hop2", None, "no router beyond the gateway answers")
            return
        else:
            self._hop_misses += 1
        is_dead = self._hop_misses >= HOP_MISSES
        self._rungs.hop2 = not is_dead
        self._say(batch, "net.hop2", "dead" if is_dead else "ok", good=self._hop_misses == 0)

    def _take_resolvers(self, batch: Batch, sight: Sight) -> None:
        answers = [said.is_good for said in sight.dns_sys]
        for said in sight.dns_sys:
            batch.add("net.dns_sys", "ok" if said.is_good else "fail", said.server)
        is_good = any(answers) if answers else None
        word = None if is_good is None else ("ok" if is_good else "fail")
        self._rungs.resolver = is_good
        # One dead server of two is slow for programs and no outage: looked at closely all the same.
        self._say(batch, "net.dns_sys", word, "no resolver is set", good=all(answers))
        public = sight.dns_pub
        self._public_known = self._public_known or (public is not None and public.is_good)
        if public is None or not self._public_known:
            self._lacks["net.dns_pub"] = (
                "no public resolver is set"
                if public is None
                else "the public resolver has not answered since the agent began"
            )
            return
        self._say(batch, "net.dns_pub", "ok" if public.is_good else "fail", good=public.is_good)


class Question(NamedTuple):
    """What one look asks."""

    at_ms: int
    anchors: Tuple[Address, ...]
    echoes: int
    asks_hop: bool
    mtu: int
    servers: Tuple[str, ...]
    public: str
    name: str


def look_around(asked: Question) -> Sight:
    """Ask everything, within LOOK_MAX_S. Sockets only, each part under its own deadline."""
    hosts = [host for host, _ in asked.anchors]
    answered = connect_all(asked.anchors, CONNECT_S) if asked.anchors else set()
    echoes = echo_all(hosts, asked.echoes, ECHO_S)
    big = None
    if echoes is not None and any(echoes.received.values()):
        answered |= {host for host, n in echoes.received.items() if n}
        alive = [host for host in hosts if echoes.received.get(host)]
        big = echo_all(alive, 2, BIG_S, size=asked.mtu - ICMP_HEADERS, whole=True)
    servers = [*asked.servers, *([asked.public] if asked.public else [])]
    said = ask_all(servers, asked.name, DNS_S)
    return Sight(
        at_ms=asked.at_ms,
        anchors={host: host in answered for host in hosts},
        echoes=echoes,
        big=big,
        hop2=_hop2(asked, answered) if asked.asks_hop else None,
        has_asked_hop=asked.asks_hop,
        dns_sys=said[: len(asked.servers)],
        dns_pub=said[-1] if asked.public else None,
    )


def _hop2(asked: Question, answered: Set[str]) -> Optional[Tuple[str, str]]:
    """The router two hops away. Toward an anchor that answers where there is one, else toward the first."""
    hosts = [host for host, _ in asked.anchors]
    target = next((host for host in hosts if host in answered), hosts[0])
    found = trace(target, HOP_S, first=2, most=2)
    hop = found.last
    return (target, hop.address) if hop is not None and hop.kind == "transit" else None


def own_mtu(root: Path = Path("/")) -> int:
    """The MTU of the interface with the default route, at most that of Ethernet."""
    try:
        route = parse_default_route(read_or_none(root / "proc/net/route") or "")
        if route is None:
            return FULL_MTU
        return max(576, min(FULL_MTU, parse_whole(read(root / "sys/class/net" / route[0] / "mtu"))))
    except (OSError, ParseError):
        return FULL_MTU
