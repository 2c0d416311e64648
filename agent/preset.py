"""Checks for the usual web stack that nobody has to write: what is installed and switched on here is found by itself.

A service counts when its unit file lies here and the unit is switched on (a link in a target's folder); then the unit
must run, and on each of its usual ports that somebody listens on when we first see it, somebody must go on listening.
A service that listens though its unit is not switched on is watched by its port alone. Reads files and asks the
kernel; no connection is made, since databases and mail servers log each one.

A check of the settings with the same name stands instead of one found here; ``preset.without`` leaves some out.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from agent.checks.sock_diag import Listener, listeners
from agent.checks.spec import UNIT_NAME, CheckSettings
from config.loader import Duration, setting

INTERVAL_S = 30.0
UNIT_FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system", "run/systemd/system")
LINKS = "etc/systemd/system"
RUNNING = "run/systemd/system"
MAX_UNITS_A_SERVICE = 10
MAIN_PORTS = 2


class Stacked(NamedTuple):
    """One service of the stack, under the names that distributions give it."""

    name: str
    units: Tuple[str, ...]
    """Names or globs (Remi's php74-php-fpm, Debian's php8.2-fpm, MariaDB's instances)."""
    ports: Tuple[int, ...]


SERVICES: Tuple[Stacked, ...] = (
    Stacked("nginx", ("nginx.service",), (80, 443)),
    Stacked("httpd", ("httpd.service", "apache2.service", "httpd24-httpd.service"), (80, 443, 8080, 8443)),
    Stacked("php-fpm", ("php-fpm.service", "php*-php-fpm.service", "php*-fpm.service"), (9000,)),
    Stacked("mysql", ("mysqld.service", "mariadb.service", "mysql.service", "mysqld@*.service"), (3306,)),
    Stacked("redis", ("redis.service", "redis-server.service", "valkey.service", "redis@*.service"), (6379,)),
    Stacked("memcached", ("memcached.service",), (11211,)),
    Stacked("cron", ("crond.service", "cron.service"), ()),
    Stacked("postfix", ("postfix.service",), (25,)),
    Stacked("sshd", ("sshd.service", "ssh.service"), (22,)),
)


@dataclasses.dataclass(frozen=True)
class PresetSettings:
    """Whether the usual services are found, and which are left out."""

    enabled: bool = setting(
        True, help="watch nginx, httpd, php-fpm, MySQL, Redis, memcached, cron, postfix, sshd"
    )
    without: List[str] = setting(
        [], help="checks that are not wanted, by name or glob, e.g. redis or mysql*", max=100
    )
    interval: Duration = setting(INTERVAL_S, help="time between two runs of each", min=1, max=3600)


class Found(NamedTuple):
    """What was found of one service."""

    name: str
    units: Tuple[str, ...]
    """Switched on."""
    ports: Tuple[int, ...]
    """Somebody listens there."""
    is_off: bool
    """Installed, and neither switched on nor listening."""


def look(root: Path = Path("/"), ask: Callable[[], List[Listener]] = listeners) -> List[Found]:
    """The services of the stack that are installed here. What cannot be read is not there."""
    installed, switched_on = _units(root)
    if not (root / RUNNING).is_dir():
        switched_on = set()  # no systemd runs here: a link in a folder switches nothing on
    here = [
        (service, _named(switched_on, service.units))
        for service in SERVICES
        if _named(installed, service.units)
    ]
    if not here:
        return []
    try:
        open_ports = {one.port for one in ask()}
    except OSError:
        open_ports = set()
    ports = {
        service.name: [p for p in service.ports if p in open_ports and _owner(p, here) is service]
        for service, _ in here
    }
    return [
        Found(
            service.name,
            tuple(on[:MAX_UNITS_A_SERVICE]),
            tuple(ports[service.name]),
            not on and not ports[service.name],
        )
        for service, on in here
    ]


def _owner(port: int, here: Sequence[Tuple[Stacked, List[str]]]) -> Optional[Stacked]:
    """Whose port it is: of two web servers the first that is switched on; of two that are both off nobody knows."""
    wants = [(service, on) for service, on in here if port in service.ports]
    on = [service for service, units in wants if units]
    if on:
        return on[0]
    # 8080 may be anybody's.
    return wants[0][0] if len(wants) == 1 and port in wants[0][0].ports[:MAIN_PORTS] else None


def checks_of(found: Sequence[Found], settings: PresetSettings) -> List[CheckSettings]:
    """The checks for what was found: ``nginx`` for the unit, ``nginx port 80`` for a port."""
    made: List[CheckSettings] = []
    for one in found:
        for place, unit in enumerate(one.units):
            name = one.name if place == 0 else f"{one.name} {unit}"
            made.append(CheckSettings(name=name, type="unit", unit=unit, interval_s=settings.interval))
        for port in one.ports:
            made.append(
                CheckSettings(
                    name=f"{one.name} port {port}", type="listen", port=port, interval_s=settings.interval
                )
            )
    return [check for check in made if not any(fnmatch.fnmatchcase(check.name, g) for g in settings.without)]


class Finder:
    """Looks again now and then: a service that was installed since is watched, one that was switched off is not.

    A port once seen stays watched while its service is there: that nobody listens any more is the finding.
    """

    def __init__(
        self,
        settings: PresetSettings,
        root: Path = Path("/"),
        ask: Callable[[], List[Listener]] = listeners,
    ) -> None:
        self._settings = settings
        self._root = root
        self._ask = ask
        self._ports: Dict[str, Tuple[int, ...]] = {}

    def checks(self, local: Sequence[CheckSettings]) -> List[CheckSettings]:
        """The local checks, and those found that no local one stands instead of."""
        found: List[Found] = []
        for one in look(self._root, self._ask):
            # Of one that is not switched on the port alone says that it runs: closed, it was ended on purpose.
            seen = self._ports.get(one.name, ()) if one.units else ()
            ports = tuple(sorted({*seen, *one.ports}))
            self._ports[one.name] = ports
            found.append(one._replace(ports=ports))
        own = {check.name for check in local}
        return [*local, *(check for check in checks_of(found, self._settings) if check.name not in own)]


def _units(root: Path) -> Tuple[Set[str], Set[str]]:
    """(unit files, units that a target wants), among those that UNIT_NAME allows."""
    installed: Set[str] = set()
    for folder in UNIT_FOLDERS:
        installed |= _names(root / folder)
    switched_on: Set[str] = set()
    try:
        wants = [place for place in (root / LINKS).iterdir() if place.name.endswith((".wants", ".requires"))]
    except OSError:
        wants = []
    for place in wants[:200]:
        switched_on |= _names(place)
    instances = {name for name in switched_on if "@" in name}
    return installed | instances, switched_on


def _names(folder: Path) -> Set[str]:
    try:
        names = {entry.name for entry in folder.iterdir() if entry.name.endswith(".service")}
    except OSError:
        return set()
    return {name for name in names if UNIT_NAME.fullmatch(name) and not name.endswith("@.service")}


def _named(units: Set[str], wanted: Sequence[str]) -> List[str]:
    """Those of ``units`` that the names or globs mean, in the order of the globs."""
    chosen: Dict[str, None] = {}
    for glob in wanted:
        chosen.update(dict.fromkeys(sorted(fnmatch.filter(units, glob))))
    return list(chosen)
