"""`check-config`: everything that a person wrote for the collector, read together, every fault at once.

Settings, contracts, providers' files and calendars, and what each says of the others: a vantage that no contract
guards, a calendar about an unknown contract, a provider's file about an unknown host. Asks nobody over the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from collector.failover.terms import terms_of
from collector.feed_settings import FeedSettings
from collector.providers.terms import ProviderTerms, load_providers
from collector.settings import CollectorSettings
from config.loader import ConfigError, Fault, load
from ticketing import contracts

T = TypeVar("T")


def check(config: Path, contracts_folder: Path | None = None) -> dict[str, int]:
    """How many of each were read without a fault; raises ConfigError with every fault of all of them."""
    faults: list[Fault] = []
    settings = _read(lambda: load(config, CollectorSettings), faults)
    folder = contracts_folder or (settings.contracts if settings else None)
    loaded = _read(lambda: contracts.load_folder(folder), faults) if folder is not None else None
    providers: Sequence[ProviderTerms] | None = ()
    if settings is not None:
        providers = _read(lambda: load_providers(settings.providers), faults)
        faults += _calendar_faults(config, settings.calendars)
    if settings is not None and loaded is not None:
        book = contracts.Book.of(loaded.contracts)
        faults += _mirror_faults(config, settings, book)
        faults += _faults_between(config, settings, providers or (), book)
        for contract in loaded.contracts:
            _read(lambda contract=contract: terms_of(contract), faults)
    if faults:
        raise ConfigError(faults)
    return {
        "contracts": len(loaded.contracts) if loaded else 0,
        "providers": len(providers or ()),
        "calendars": len(settings.calendars) if settings else 0,
        "desks": len(settings.desks) if settings else 0,
    }


def _read(read: Callable[[], T], faults: list[Fault]) -> T | None:
    try:
        return read()
    except ConfigError as error:
        faults += error.faults
        return None


def _mirror_faults(config: Path, settings: CollectorSettings, book: contracts.Book) -> list[Fault]:
    """Desks whose files are missing, and mirrors that do not fit the desk they name."""
    found = [
        Fault(str(config), 0, f"desks.{name}.{key}", message)
        for name, desk in settings.desks.items()
        for key, message in desk.missing_files()
    ]
    for contract in book.contracts.values():
        for mirror in contract.mirrors:
            where = f"{contract.id}: mirrors.{mirror.desk}"
            desk = settings.desks.get(mirror.desk)
            if desk is None:
                allowed = ", ".join(sorted(settings.desks)) or "none is there"
                found.append(
                    Fault(str(settings.contracts), 0, where, "the settings name no such desk", allowed)
                )
                continue
            faults = mirror.faults_at(desk)
            found += [Fault(str(settings.contracts), 0, f"{where}.{key}", text) for key, text in faults]
    return found


def _calendar_faults(config: Path, feeds: Iterable[FeedSettings]) -> list[Fault]:
    """Of calendars by file: that they can be read and understood. One by address is asked at run time."""
    from collector import windows_feed  # the calendar libraries: no other command should pay for them

    found: list[Fault] = []
    for index, feed in enumerate(feeds):
        if feed.file is None:
            continue
        key = f"calendars[{index}].file"
        try:
            with feed.file.open("rb") as stream:
                octets = stream.read(windows_feed.BYTES_MAX + 1)
            windows_feed.read_feed(octets, feed.zone, 0, windows_feed.AHEAD_MS)
        except (OSError, windows_feed.FeedFault) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            found.append(Fault(str(config), 0, key, f"{feed.file}: {why}"))
    return found


def _faults_between(
    config: Path, settings: CollectorSettings, providers: Iterable[ProviderTerms], book: contracts.Book
) -> list[Fault]:
    named = [("vantages.hosts", host) for host in settings.vantages.hosts]
    found: list[Fault] = []
    for index, feed in enumerate(settings.calendars):
        named += [(f"calendars[{index}].hosts", host) for host in feed.hosts]
        if feed.contract and feed.contract not in book.contracts:
            found.append(
                Fault(
                    str(config), 0, f"calendars[{index}].contract", f"no file holds contract {feed.contract}"
                )
            )
    found += [
        Fault(str(config), 0, key, f"host {host} stands in no contract")
        for key, host in named
        if host not in book.hosts
    ]
    for terms in providers:
        file = str(settings.providers / f"({terms.provider})")
        found += [
            Fault(file, 0, f"hosts.{host}", f"host {host} stands in no contract")
            for host in terms.hosts
            if host not in book.hosts
        ]
        for request in terms.requests:
            found += [
                Fault(file, 0, f"requests.secret_headers.{name}", f"{secret.file} is not there")
                for name, secret in request.secret_headers.items()
                if not secret.file.exists()
            ]
    return found
