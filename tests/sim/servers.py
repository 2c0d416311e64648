"""Client servers of the simulation: a machine that is scripted, and the real AgentCore on it.

Replaced are the samplers (scripted samples), the clocks and the network; the rules, the spool on disk, the cadence of
sending and the wire are the real ones. What the truth was is written down beside, for the laws to compare with.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from agent import wire
from agent.core import AgentCore, Identity, Status
from agent.findings import Now
from agent.send import Cadence
from agent.signals.rules import Rule, RuleFile, compile_rules
from agent.signals.sample import Sample
from agent.spool import Spool
from config import loader

if TYPE_CHECKING:
    from tests.sim.world import World

SPOOL_BYTES = 1024 * 1024
REPLY_TIMEOUT_MS = 10_000
RETRY_MAX_S = 60.0

FAULTS = ("disk", "site", "steal", "unit")

SHIPPED_RULES = Path(loader.__file__).with_name("shipped") / "rules.yaml"


@functools.cache
def rules() -> tuple[Rule, ...]:
    """The rules that we ship."""
    return tuple(compile_rules(loader.load(SHIPPED_RULES, RuleFile)))


@dataclasses.dataclass
class PathState:
    """What the network between one server and the collector does now."""

    loss: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    is_cut: bool = False


@dataclasses.dataclass(frozen=True)
class Said:
    """One entry that the spool of a host took: what the collector owes us an account of."""

    host: str
    stream: str
    n: int
    kind: str
    rule: str
    subject: str


class Server:
    """One guarded machine with its agent."""

    def __init__(self, world: World, host_id: str, folder: Path) -> None:
        self.world = world
        self.id = host_id
        self.folder = folder
        self.token = f"token-of-{host_id}"
        self.path = PathState()
        self.faults: set[str] = set()
        self.work: dict[tuple[str, str], float] = {}
        """What the machine does besides its usual: (signal, subject) -> level; within a few percent of it."""
        self._acts: list[str] = []
        """What people did since the last sweep."""
        self.is_up = True
        self.boot_at_ms = world.now_ms - world.random.randrange(3_600_000, 86_400_000)
        self.boot_id = self._new_id()
        self.skew_ms = 0
        self.said: list[Said] = []
        """Everything that the spool ever took."""
        self.troubled_at_ms = world.now_ms
        """Last instant at which the truth was that this host could not be heard as it should."""
        self.is_blamed = True
        """A message of ours was lost or late, and none was heard since: the pauses between tries are then ours."""
        self.off_since_ms = 0
        self.core: AgentCore | None = None
        self._run = 0
        self._sent = 0
        self._sent_at_ms = 0
        self._rtt_ms: float | None = None
        self._waiting: int | None = None
        self._cadence = Cadence(world.interval_s, RETRY_MAX_S, world.random, world.now_ms)
        self._send_planned_ms: int | None = None
        self._noise = Random(world.random.random())

    # what happens to it

    def start_agent(self) -> None:
        """The agent's process begins, with whatever its spool holds."""
        if not self.is_up or self.core is not None:
            return
        self._run += 1
        self._waiting = None
        self._rtt_ms = None
        spool = Spool.open(self.folder, new_id=self._new_id, max_bytes=SPOOL_BYTES)
        identity = Identity("sim", self.boot_id, self._new_id())
        self.trouble()
        self.core = AgentCore(spool, rules(), identity, self.now())
        self._cadence = Cadence(self.world.interval_s, RETRY_MAX_S, self.world.random, self.world.now_ms)
        self._send_planned_ms = None
        self._plan(self.world.random.randrange(1000), self._sweep)

    def say_goodbye(self, reason: str) -> None:
        """The process ends in order: a last report that says so, then nothing."""
        if self.core is not None:
            report = self.core.goodbye(reason, self.now(), Status(self.world.interval_s, rtt_ms=self._rtt_ms))
            self.world.network.carry(self, wire.to_json(report), lambda status, reply: None)
            self.kill_agent()

    def stand_still(self, for_ms: int) -> None:
        """A live migration: the guest's clocks do not count this time."""
        self.boot_at_ms += for_ms
        self.skew_ms -= for_ms

    def act(self, words: str) -> None:
        """Somebody at the machine does something that its log keeps."""
        self._acts.append(words)

    def kill_agent(self) -> None:
        """kill -9: memory is gone, the spool stays."""
        if self.core is not None:
            self.trouble()
            self.core.spool.close()
            self.core = None
            self._run += 1

    def power_off(self) -> None:
        """The machine ends without a word."""
        self.kill_agent()
        self.trouble()
        if self.is_up:
            self.off_since_ms = self.world.now_ms
        self.is_up = False

    def power_on(self) -> None:
        """A new boot; the agent starts with it."""
        if not self.is_up:
            self.is_up = True
            self.off_since_ms = 0
            self.boot_at_ms = self.world.now_ms
            self.boot_id = self._new_id()
            self._plan(5_000, self.start_agent)

    def cut(self) -> None:
        """No way to the collector and back."""
        self.trouble()
        self.path.is_cut = True

    def mend(self) -> None:
        """The network is well again."""
        if self.path.is_cut:
            self.trouble()
        self.path = PathState()

    def trouble(self) -> None:
        """The truth: something of ours or of the network goes wrong now, and it shows until we are heard again."""
        self.troubled_at_ms = self.world.now_ms
        self.is_blamed = True

    def heard(self) -> None:
        """A report of ours reached a living collector."""
        if self.is_blamed:
            self.troubled_at_ms = self.world.now_ms
            self.is_blamed = False

    def is_troubled(self) -> bool:
        """Whether something of ours or of the network stands between us and being heard right now."""
        return not self.is_up or self.core is None or self.path.is_cut or self.is_blamed

    def now(self) -> Now:
        """The machine's three clocks: the wall clock may be wrong, the others are true."""
        since_boot = self.world.now_ms - self.boot_at_ms
        return Now(self.world.now_ms + self.skew_ms, since_boot, since_boot)

    # the agent's daemon, in events

    def _sweep(self) -> None:
        if self.core is None:
            return
        now = self.now()
        stored = self.core.take(self._samples(now.mono_ms), now, "sim")
        self._note(stored)
        self._consider_sending()
        self._plan(self.world.sweep_ms, self._sweep)

    def _samples(self, mono_ms: int) -> list[Sample]:
        noise = self._noise.uniform
        usual = {
            ("cpu.user_pct", ""): noise(5, 30),
            ("cpu.sys_pct", ""): noise(1, 4),
            ("cpu.steal_pct", ""): noise(30, 60) if "steal" in self.faults else noise(0, 2),
            ("cpu.spin_score", ""): noise(0.4, 0.55) if "steal" in self.faults else noise(0.95, 1.05),
            ("load.per_cpu", ""): noise(0.1, 0.8),
            ("sched.runq_per_cpu", ""): noise(0.0, 0.5),
            ("disk.await_ms", ""): noise(0.5, 4),
            ("mem.avail_pct", ""): noise(40, 60),
            ("fs.used_pct", "/"): noise(40, 42),
            ("fs.used_pct", "/var"): 99.0 if "disk" in self.faults else 60.0,
            ("check.state", "site"): "timeout" if "site" in self.faults else "ok",
            ("svc.unit_failed", "nginx.service"): "unit" in self.faults,
        }
        usual |= {key: level * noise(0.97, 1.03) for key, level in self.work.items()}
        acts, self._acts = self._acts, []
        return [
            *(Sample("ops.action", "", act, mono_ms) for act in acts),
            *(Sample(signal, subject, value, mono_ms) for (signal, subject), value in usual.items()),
        ]

    def _note(self, stored: list[wire.FindingChange]) -> None:
        if self.core is not None:
            stream = self.core.spool.stream
            self.said += [Said(self.id, stream, c.n, c.kind, c.rule, c.subject) for c in stored]

    def _consider_sending(self) -> None:
        if self.core is None or self._waiting is not None:
            return
        due_ms = self._cadence.due_ms(has_news=self.core.has_news, now_ms=self.world.now_ms)
        if due_ms is None or (self._send_planned_ms is not None and self._send_planned_ms <= due_ms):
            return
        self._send_planned_ms = due_ms
        self._plan(max(0, due_ms - self.world.now_ms), functools.partial(self._send, due_ms))

    def _send(self, planned_ms: int) -> None:
        if self.core is None or self._waiting is not None or self._send_planned_ms != planned_ms:
            return
        self._send_planned_ms = None
        status = Status(self.world.interval_s, sweep_age_s={"sim": 1.0}, rtt_ms=self._rtt_ms)
        self._sent_at_ms = self.world.now_ms
        report = self.core.report(self.now(), status)
        self._sent += 1
        self._waiting = self._sent
        self._cadence.sent(self.world.now_ms)
        answer = functools.partial(self._answered, self._run, self._sent, report.stream)
        self.world.network.carry(self, wire.to_json(report), answer)
        self._plan(REPLY_TIMEOUT_MS, functools.partial(self._timed_out, self._sent))

    def _timed_out(self, sent: int) -> None:
        if self._waiting == sent:
            self._waiting = None
            self._cadence.failed(self.world.now_ms)
            self._consider_sending()

    def _answered(self, run: int, sent: int, stream: str, status: int, body: bytes) -> None:
        if self.core is None or run != self._run or self._waiting != sent:
            return  # the process or the connection that asked is gone
        self._waiting = None
        if status not in (200, 409):
            self._cadence.failed(self.world.now_ms)
        else:
            reply = wire.reply_from_json(body)
            before = self.core.spool.stream
            stored = self.core.replied(reply, self.now(), stream=stream)
            if self.core.spool.stream != before:
                self.world.forked = (
                    f"{self.id} was told to forget what the store does not hold, and began a new stream"
                )
            self._note(stored)
            self._rtt_ms = self.world.now_ms - self._sent_at_ms
            self._cadence.answered()
        self._consider_sending()

    def _plan(self, after_ms: int, act: Callable[[], None]) -> None:
        """Later, unless this process is gone by then."""
        run = self._run

        def later() -> None:
            if run == self._run:
                act()

        self.world.later(after_ms, later, f"{self.id}.{getattr(act, '__name__', 'act')}")

    def _new_id(self) -> str:
        return f"{self.world.random.getrandbits(64):016x}"
