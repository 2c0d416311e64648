"""Which lines of programs' logs argue: that a disk is full, a limit is reached, a clock is wrong, a name does not resolve.

A table: names of programs (* is any ending), and what its line must hold. Programs of the usual web stack and the system's own; a line
that no row names is noise here, whatever its author's opinion of its severity. Pure. Kernel lines have their own table
(agent.signals.kernel_lines).
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple, Optional, Tuple

# Any program that could not do what it was asked, in the words of the C library.
_ERRNO = (
    r"No space left on device|Disk quota exceeded|Too many open files|Cannot allocate memory|Input/output error"
    r"|Read-only file system|Stale file handle|Resource temporarily unavailable|Errcode: (?:28|24|12|30|5)\b"
    r"|[Nn]ame or service not known|Temporary failure in name resolution|Clock skew too great"
)

_ROWS: Tuple[Tuple[str, str], ...] = (
    ("chronyd ntpd systemd-timesyncd",
     r"System clock wrong by|time jump detected|[Nn]o selectable sources|[Cc]an't synchroni[sz]e|no servers? (?:reachable|can be used)"
     r"|time (?:reset|stepped)|Clock change detected|Timed out waiting for reply"),
    ("systemd",
     r"Failed with result|Start request repeated too quickly|killed by the OOM killer|Main process exited, code=(?:killed|dumped)"
     r"|Time has been changed|Dependency failed for|Job .* timed out|Failed to mount|Entering emergency mode|start operation timed out"),
    ("systemd-journald", r"Suppressed \d+ messages|Failed to write entry|corrupted or uncleanly shut down"),
    ("sshd sshd-session", r"MaxStartups throttling|fatal: |error: (?:Bind|fork|accept|openpty)|Could not load host key"),
    ("mysqld mariadbd mysqld_safe mariadb*",
     r"Disk is full|Too many connections|marked as crashed|Got error \d+ .*(?:engine|from storage)|InnoDB: .*(?:corrupt|"
     r"Operating system error|Cannot allocate|Unable to lock|[Ss]emaphore wait|crash recovery|page cleaner)|got signal \d+"
     r"|Out of memory|Slave (?:I/O|SQL).*(?:error|stopp)|Aborting"),
    ("postgres*", r"(?:FATAL|PANIC):|too many clients|could not (?:write|extend|fsync|fork)|terminated by signal"),
    ("nginx",
     r"worker_connections are not enough|no live upstreams|upstream timed out|bind\(\) to .* failed|\[emerg\]|\[alert\]"),
    ("httpd apache2", r"MaxRequestWorkers|scoreboard is full|could not bind|AH00\d+: .*(?:fail|error)|child pid \d+ exit signal"),
    ("php php-fpm*", r"max_children|seems busy|exited on signal|server reached|getaddrinfo failed|Allowed memory size"),
    ("redis*", r"Can't save in background|MISCONF|Error writing|maxclients|OOM command|Out [Oo]f [Mm]emory"),
    ("memcached", r"[Tt]oo many open connections|[Ff]ailed to (?:listen|allocate)"),
    ("postfix/*", r"fatal: |panic: |warning: .*(?:No space|throttling|unexpected|timeout)|queue file write error"),
    ("cron crond CRON CROND anacron", r"FAILED|can't (?:fork|lock)|ERROR|PAM .*error"),
    ("NetworkManager dhclient dhcpcd", r"No DHCPOFFERS|lease (?:lost|expired)|carrier lost|link disconnected|duplicate address"),
    ("named unbound dnsmasq systemd-resolved", r"no servers could be reached|timed out resolving|[Uu]sing degraded feature set|SERVFAIL"),
    ("smartd", r"FAILED|[Pp]refail|[Uu]nreadable|[Uu]ncorrectable|ATA error count increased|Temperature .* reached critical"),
    ("mcelog rasdaemon", r"error|corrected|MCE"),
    ("multipathd lvm dmeventd", r"[Ff]ail|remaining active paths: 0|[Tt]hin .*(?:full|9\d)"),
    ("*", _ERRNO),
)  # fmt: skip
_SYSLOG = re.compile(
    r"^(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) (?:\S+ )?([\w./@+-]{1,60})(?:\[\d+\])?: (.*)$"
)
MAX_SEEN = 1000


class ProgramLine(NamedTuple):
    """A line that argues."""

    program: str
    text: str


def parse_syslog(line: str) -> Optional[ProgramLine]:
    """A line of /var/log/messages or of ``journalctl --output=short-iso``; None where it is none."""
    found = _SYSLOG.match(line[:MAX_SEEN])
    return ProgramLine(found.group(1), found.group(2)) if found else None


def argues(line: ProgramLine) -> bool:
    """Whether a row of the table knows this line as a sign of trouble."""
    return any(
        _is_named(line.program, names) and _compiled(text).search(line.text) is not None
        for names, text in _ROWS
    )


def _is_named(program: str, names: str) -> bool:
    return any(
        program == name or (name.endswith("*") and program.startswith(name[:-1])) for name in names.split()
    )


@functools.cache
def _compiled(text: str) -> re.Pattern[str]:
    """Made when the first line of such a program comes: most servers run few of them."""
    return re.compile(text)
