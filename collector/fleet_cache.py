"""What the intake must know of every host without asking the store: who a token is, where its stream stands, what is newest.

One entry a host, loaded at start and again when the fleet's version moves (an enrolment, also by another process).
The cache never decides what is true: the store does. It may be late, and then answers are only slower.

Newest wins. Within one boot the monotonic clock orders everything. A boot that was left behind and speaks again is
either a late message or a cloned server: what it says was sent at (its own offset + its monotonic clock), so a
message that was sent after the other boot had begun proves that both live. When both halves have proved it, the
token belongs to a clone, and neither half is believed.
"""

from __future__ import annotations

import collections
import enum
import threading
from collections.abc import Callable, Iterable

from sqlalchemy import Connection, select

from collector.tables import hosts, open_findings, own_state, streams

FLEET_VERSION_KEY = "fleet_version"

SLACK_MS = 1000
"""How far the estimate of a sending time may be off (network delay of the quickest message so far)."""

LATE_MAX_MS = 900_000
"""No request stays on the way this long: an older monotonic clock than that is a server restored from a snapshot."""

BOOTS_KEPT = 4
RUNS_KEPT = 8


class Sight(enum.Enum):
    """What a report is beside those before it."""

    NEWEST = "newest"
    OLDER = "older"
    CLONE = "clone"


class Boot:
    """One boot id heard under a token."""

    __slots__ = ("first_at_ms", "min_offset_ms", "returned_at_ms")

    def __init__(self, first_at_ms: int, min_offset_ms: int) -> None:
        self.first_at_ms = first_at_ms
        self.min_offset_ms = min_offset_ms
        self.returned_at_ms: int | None = None


class HostEntry:
    """One host as the intake sees it; changed only under the intake's lock."""

    __slots__ = (
        "adopt_until_ms",
        "boot_id",
        "boots",
        "clone_seen_at_ms",
        "contract_id",
        "id",
        "is_retired",
        "mono_ms",
        "next_n",
        "past_runs",
        "run_id",
        "stream",
        "token_hash",
        "vitals_at_ms",
        "window_count",
        "window_s",
    )

    def __init__(self, id: str, contract_id: str, token_hash: str) -> None:
        self.id = id
        self.contract_id = contract_id
        self.token_hash = token_hash
        self.is_retired = False
        self.stream = ""
        self.next_n = 1
        self.boot_id = ""
        self.run_id = ""
        self.mono_ms = 0
        self.boots: dict[str, Boot] = {}
        self.past_runs: collections.deque[str] = collections.deque(maxlen=RUNS_KEPT)
        self.clone_seen_at_ms: int | None = None
        self.adopt_until_ms = 0
        """Until then every reply asks the store for findings of a lost stream; 0 = nothing to adopt."""
        self.vitals_at_ms = 0
        """When a heartbeat's vitals were last kept (collector.vitals)."""
        self.window_s = 0
        self.window_count = 0

    def is_cloned(self, now_ms: int, quiet_ms: int) -> bool:
        """Whether two servers spoke under this token lately."""
        return self.clone_seen_at_ms is not None and now_ms - self.clone_seen_at_ms < quiet_ms

    def sight(self, boot_id: str, run_id: str, mono_ms: int, received_ms: int, quiet_ms: int) -> Sight:
        """Place a report among those before it, and remember it."""
        offset = received_ms - mono_ms
        boot = self.boots.get(boot_id)
        if boot is None:
            self._begin_boot(boot_id, run_id, mono_ms, received_ms)
            return self._believed(Sight.NEWEST, received_ms, quiet_ms)
        boot.min_offset_ms = min(boot.min_offset_ms, offset)
        if boot_id == self.boot_id:
            return self._believed(
                self._within_boot(boot, run_id, mono_ms, received_ms), received_ms, quiet_ms
            )
        return self._other_boot(boot, boot_id, run_id, mono_ms, received_ms, quiet_ms)

    def restored(self, boot_id: str, run_id: str, mono_ms: int, last_at_ms: int, offset_ms: int) -> None:
        """Take up what the store remembers of the newest report."""
        self.boot_id, self.run_id, self.mono_ms = boot_id, run_id, mono_ms
        self.boots[boot_id] = Boot(last_at_ms, offset_ms)

    def _believed(self, sight: Sight, now_ms: int, quiet_ms: int) -> Sight:
        return Sight.CLONE if self.is_cloned(now_ms, quiet_ms) else sight

    def _begin_boot(self, boot_id: str, run_id: str, mono_ms: int, received_ms: int) -> None:
        while len(self.boots) >= BOOTS_KEPT:
            del self.boots[min(self.boots, key=lambda b: self.boots[b].first_at_ms)]
        self.boots[boot_id] = Boot(received_ms, received_ms - mono_ms)
        self._now_at(boot_id, run_id, mono_ms)

    def _now_at(self, boot_id: str, run_id: str, mono_ms: int) -> None:
        if self.run_id and run_id != self.run_id:
            self.past_runs.append(self.run_id)
        self.boot_id, self.run_id, self.mono_ms = boot_id, run_id, mono_ms

    def _within_boot(self, boot: Boot, run_id: str, mono_ms: int, received_ms: int) -> Sight:
        if mono_ms > self.mono_ms and run_id not in self.past_runs:
            self._now_at(self.boot_id, run_id, mono_ms)
            return Sight.NEWEST
        if (received_ms - mono_ms) - boot.min_offset_ms > LATE_MAX_MS:
            # Too late for a late message: the server went back to a snapshot of its memory.
            boot.min_offset_ms = received_ms - mono_ms
            self.past_runs.clear()
            self._now_at(self.boot_id, run_id, mono_ms)
            return Sight.NEWEST
        return Sight.OLDER

    def _other_boot(
        self, boot: Boot, boot_id: str, run_id: str, mono_ms: int, received_ms: int, quiet_ms: int
    ) -> Sight:
        current = self.boots[self.boot_id]
        sent_at_ms = boot.min_offset_ms + mono_ms
        if sent_at_ms <= current.first_at_ms + SLACK_MS and received_ms - sent_at_ms <= LATE_MAX_MS:
            return self._believed(Sight.OLDER, received_ms, quiet_ms)
        boot.returned_at_ms = received_ms
        was_back = current.returned_at_ms
        self.past_runs.clear()
        self._now_at(boot_id, run_id, mono_ms)
        if was_back is not None and received_ms - was_back < quiet_ms:
            self.clone_seen_at_ms = received_ms
        return self._believed(Sight.NEWEST, received_ms, quiet_ms)


class FleetCache:
    """All entries, by token hash and by host id."""

    def __init__(self) -> None:
        self._by_token: dict[str, HostEntry] = {}
        self._by_id: dict[str, HostEntry] = {}
        self._lock = threading.Lock()
        self.version = ""

    def __len__(self) -> int:
        return len(self._by_id)

    def by_token_hash(self, token_hash: str) -> HostEntry | None:
        """The host whose token has this sha256, retired ones too."""
        return self._by_token.get(token_hash)

    def by_id(self, host_id: str) -> HostEntry | None:
        """The host of that id."""
        return self._by_id.get(host_id)

    def entries(self) -> Iterable[HostEntry]:
        """Every entry, as they stand now."""
        return list(self._by_id.values())

    def load(self, conn: Connection, now_ms: int) -> None:
        """Read the fleet from the store; what is known of newest reports stays where it is ahead of the store."""
        with self._lock:
            version = fleet_version(conn)
            by_id: dict[str, HostEntry] = {}
            for row in conn.execute(_HOSTS):
                entry = self._by_id.get(row.id)
                if entry is None:
                    entry = HostEntry(row.id, row.contract_id, row.token_hash)
                    entry.clone_seen_at_ms = row.clone_seen_at_ms
                    if row.boot_id:
                        offset = (
                            row.mono_offset_ms if row.mono_offset_ms is not None else now_ms - row.mono_ms
                        )
                        entry.restored(
                            row.boot_id, row.run_id, row.mono_ms, row.last_report_at_ms or now_ms, offset
                        )
                entry.contract_id, entry.token_hash, entry.is_retired = (
                    row.contract_id,
                    row.token_hash,
                    row.is_retired,
                )
                by_id[row.id] = entry
            for row in conn.execute(_STREAMS):
                entry = by_id.get(row.host_id)
                if entry is not None and (entry.stream != row.stream or entry.next_n < row.next_n):
                    entry.stream, entry.next_n = row.stream, row.next_n
            for row in conn.execute(_FOREIGN):
                entry = by_id.get(row.host_id)
                if entry is not None and entry.stream and row.stream != entry.stream:
                    entry.adopt_until_ms = max(entry.adopt_until_ms, now_ms + 1)
            self._by_id = by_id
            self._by_token = {entry.token_hash: entry for entry in by_id.values()}
            self.version = version

    def load_if_moved(self, conn: Connection, now_ms: int) -> bool:
        """Read the fleet again when an enrolment moved its version; whether it did."""
        if fleet_version(conn) == self.version:
            return False
        self.load(conn, now_ms)
        return True

    def for_each(self, act: Callable[[HostEntry], None]) -> None:
        """Run ``act`` on every entry."""
        for entry in self.entries():
            act(entry)


_HOSTS = select(
    hosts.c.id,
    hosts.c.contract_id,
    hosts.c.token_hash,
    hosts.c.is_retired,
    hosts.c.boot_id,
    hosts.c.run_id,
    hosts.c.mono_ms,
    hosts.c.mono_offset_ms,
    hosts.c.last_report_at_ms,
    hosts.c.clone_seen_at_ms,
)
_STREAMS = select(streams.c.host_id, streams.c.stream, streams.c.next_n).where(
    streams.c.is_current, streams.c.stream.not_like("collector:%")
)
_FOREIGN = (
    select(open_findings.c.host_id, open_findings.c.stream)
    .where(open_findings.c.stream.not_like("collector:%"))
    .distinct()
)


def fleet_version(conn: Connection) -> str:
    """A text that changes whenever hosts are enrolled, retired or moved."""
    row = conn.execute(select(own_state.c.value).where(own_state.c.key == FLEET_VERSION_KEY)).first()
    return row.value if row else ""


def bump_fleet_version(tx: Connection) -> None:
    """Tell every collector on this store that the fleet changed."""
    current = fleet_version(tx)
    if current:
        tx.execute(
            own_state.update().where(own_state.c.key == FLEET_VERSION_KEY).values(value=str(int(current) + 1))
        )
    else:
        tx.execute(own_state.insert().values(key=FLEET_VERSION_KEY, value="1"))
