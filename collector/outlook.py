"""What the collector's side sees beside reports and probes: providers, planned windows, our own anchors, hops on the way.

Composition only: each producer has its own module and writes by the one door (collector.observed). All of it runs in
threads of its own, since every one of them waits for somebody else's machine; none decides anything. Only the
collector that holds the lease looks, so that two collectors on one store do not say everything twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from collector import anchors, trace, windows_feed
from collector.chores import Chore, Chores
from collector.feed_settings import FeedSettings
from collector.providers.adapter import AdapterFault
from collector.providers.fetch import fetch
from collector.providers.poller import Poller
from collector.providers.terms import ProviderTerms, load_providers
from collector.settings import CollectorSettings
from collector.store.engine import Store
from config.clock import Clock
from config.log import fields
from ticketing.contracts import Book

log = logging.getLogger(__name__)

WINDOWS_S = 5.0
LEARN_S = 60.0
FETCH_S = 10.0


class Outlook:
    """All producers of the collector's side, of one collector process."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: CollectorSettings,
        book: Callable[[], Book],
        *,
        decides: Callable[[], bool],
        poke: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._book = book
        self._decides = decides
        self._poke = poke
        self._table = [(hop.net, hop.name) for hop in settings.probes.hops]
        with store.read() as conn:
            self._owners = trace.HopOwners.of(self._table, trace.learned(conn))
        self._calendars: dict[int, bytes] = {}
        self._providers = self.read_providers()
        self.poller = self._make_poller()
        self._chores = Chores(self._near(), clock)
        self._far = Chores(self._readings(), clock)

    def owners(self) -> trace.HopOwners:
        """Whose hops are whose, as far as we know now."""
        return self._owners

    def start(self) -> None:
        """Begin to look."""
        self.poller.start()
        self._chores.start()
        self._far.start()

    def stop(self) -> None:
        """Finish the look in hand."""
        self._far.stop()
        self._chores.stop()
        self.poller.stop()

    def read_providers(self) -> tuple[ProviderTerms, ...]:
        """The providers' files as they are now; raises ConfigError with every fault, and changes nothing."""
        return load_providers(self._settings.providers)

    def follow_providers(self, providers: tuple[ProviderTerms, ...]) -> bool:
        """Ask as these files say from now on; whether anything changed."""
        if providers == self._providers:
            return False
        self._providers = providers
        old, self.poller = self.poller, self._make_poller()
        old.stop()
        self.poller.start()
        return True

    def _make_poller(self) -> Poller:
        return Poller(self._store, self._clock, self._providers, decides=self._decides, poke=self._poke)

    def look_at_windows(self) -> None:
        """Bring ``ops.window`` of every host to what contracts and calendars plan now."""
        if not self._decides():
            return
        now_ms, book = self._clock.now_ms(), self._book()
        planned = windows_feed.planned_in(book, now_ms)
        for index, octets in sorted(self._calendars.items()):
            try:
                planned += windows_feed.planned_of(self._settings.calendars[index], octets, book, now_ms)
            except windows_feed.FeedFault as fault:
                log.warning("A calendar cannot be taken. %s", fields(calendar=index, why=fault))
                del self._calendars[index]
        if self._store.write(lambda tx: windows_feed.write_windows(tx, planned, book, now_ms)):
            self._poke()

    def look_at_anchors(self) -> None:
        """Ask our anchors and uplinks, and tell what changed."""
        probes = self._settings.probes
        if not self._decides():
            return
        wanted = [*probes.anchors, *(a for addresses in probes.uplinks.values() for a in addresses)]
        seen = anchors.look(wanted)
        now_ms = self._clock.now_ms()
        self._store.write(lambda tx: anchors.write_anchors(tx, seen, probes.anchors, probes.uplinks, now_ms))

    def learn_hops(self) -> None:
        """Trace to hosts that are well, so that their gateways have names when one is not."""
        with self._store.read() as conn:
            known = trace.learned(conn)
            racks = trace.to_learn(conn, known.values()) if self._decides() else []
        ways = trace.ways_of(racks)
        if ways:
            self._store.write(lambda tx: trace.learn(tx, ways))
            with self._store.read() as conn:
                known = trace.learned(conn)
        self._owners = trace.HopOwners.of(self._table, known)

    def read_calendar(self, index: int, feed: FeedSettings) -> None:
        """Read one feed; one that cannot be read leaves what it said before in force."""
        try:
            if feed.file is not None:
                with feed.file.open("rb") as stream:
                    octets = stream.read(windows_feed.BYTES_MAX + 1)
            else:
                octets = fetch(feed.url, timeout_s=FETCH_S, body_max=windows_feed.BYTES_MAX)
            now_ms = self._clock.now_ms()
            windows_feed.planned_of(feed, octets, self._book(), now_ms)
        except (OSError, AdapterFault, windows_feed.FeedFault) as fault:
            log.warning(
                "A calendar cannot be read; its last windows stay. %s", fields(calendar=index, why=fault)
            )
            return
        self._calendars[index] = octets

    def _near(self) -> list[Chore]:
        probes = self._settings.probes
        found = [Chore("windows", WINDOWS_S, self.look_at_windows), Chore("hops", LEARN_S, self.learn_hops)]
        if probes.anchors or probes.uplinks:
            found.append(Chore("anchors", probes.look_s, self.look_at_anchors))
        return found

    def _readings(self) -> list[Chore]:
        return [
            Chore(
                f"calendar {index}",
                feed.interval,
                lambda index=index, feed=feed: self.read_calendar(index, feed),
            )
            for index, feed in enumerate(self._settings.calendars)
        ]
