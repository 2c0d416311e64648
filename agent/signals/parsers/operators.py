"""What people did on the host, out of log lines that anybody may have written into. Pure: text in, acts out.

sudo's and logind's lines of /var/log/secure (or auth.log), dnf's and yum's package logs. The words come out as people
say them: ``iptables -P INPUT DROP (sudo, user ivan)``. A command's arguments may hold secrets: what looks like one is
blotted out, and what follows a word that announces one as well. A line that does not fit is no act.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import List, NamedTuple, Optional, Tuple

LINE_MAX = 2_000
TEXT_MAX = 200

TELLING = frozenset(
    word
    for line in (
        "reboot shutdown poweroff halt init telinit systemctl service date timedatectl hwclock chronyc ntpdate iptables",
        "ip6tables nft firewall-cmd ufw ip ifconfig route nmcli tc ethtool mount umount mdadm lvremove lvextend lvresize",
        "vgreduce pvmove fsfreeze xfs_freeze sysctl kill pkill killall dnf yum rpm apt apt-get dpkg vi vim nano sed tee",
        "rm mv cp docker podman virsh vzctl prlctl passwd usermod",
    )
    for word in line.split()
)
"""Programs whose call may explain a fault; of a sudo without a terminal (a timer, a monitor) only these are told."""

_STAMP = r"(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,16})"
_SUDO = re.compile(
    _STAMP + r" \S{1,255} sudo(?:\[\d+\])?:\s+(?P<user>\S{1,64}) : (?:.{0,100}; )??TTY=(?P<tty>\S{1,64}) ; "
    r"PWD=.{0,300}? ; USER=(?P<as>\S{1,64}) ; (?:.{0,200}; )??COMMAND=(?P<command>.+)$"
)
_LOGIND = re.compile(
    _STAMP
    + r" \S{1,255} systemd-logind(?:\[\d+\])?: (?P<what>(?:Power|Reboot|Suspend) key pressed[^\n]{0,40}"
    r"|(?:The system will|System is) (?:reboot|power|halt)[^\n]{0,40})$"
)
_DNF = re.compile(
    r"(?P<stamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S{0,6}) (?:SUBDEBUG|INFO) "
    r"(?P<what>Installed|Upgrade|Upgraded|Erase|Erased|Removed|Downgrade|Reinstalled): (?P<package>[\w.+:~^-]{1,120})$"
)
_YUM = re.compile(
    r"(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) "
    r"(?P<what>Installed|Updated|Erased): (?P<package>[\w.+:~^-]{1,120})$"
)
_SECRET = re.compile(
    r"(?i)((?:pass\w*|pwd|secret|token|key|credential\w*|auth\w*)(?:\s*[=:]\s*|\s+))\S+"
    r"|(?<!\S)(-p)(?=\S)\S+|(://[^:/@\s]+:)[^@\s]+(?=@)|\b[A-Za-z0-9+/_-]{32,}={0,2}\b"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class OperatorAct(NamedTuple):
    """One act."""

    at_s: float
    """Seconds since 1970, by the host's wall clock."""
    text: str


def parse_acts(text: str, now_s: float, local: dt.tzinfo) -> List[OperatorAct]:
    """Every act of these lines, in their order; packages of one transaction are one act."""
    acts: List[OperatorAct] = []
    packages: List[Tuple[float, str, str]] = []
    for line in text.split("\n"):
        if len(line) > LINE_MAX:
            continue
        package = _DNF.match(line) or _YUM.match(line)
        if package is not None:
            at_s = stamp_s(package["stamp"], now_s, local)
            if at_s is not None and package["what"] != "Upgrade":
                packages.append((at_s, package["what"].lower(), package["package"]))
            continue
        act = _act(line, now_s, local)
        if act is not None:
            acts.append(act)
    return sorted(acts + _transactions(packages))


def _act(line: str, now_s: float, local: dt.tzinfo) -> Optional[OperatorAct]:
    found = _SUDO.match(line)
    if found is not None:
        command = _command(found["command"])
        program = command.split(" ", 1)[0]
        is_person = found["tty"] not in ("unknown", "none")
        at_s = stamp_s(found["stamp"], now_s, local)
        if at_s is None or not (is_person or program in TELLING):
            return None
        return OperatorAct(at_s, f"{command} (sudo, user {clean(found['user'])})")
    found = _LOGIND.match(line)
    if found is None:
        return None
    at_s = stamp_s(found["stamp"], now_s, local)
    return (
        None if at_s is None else OperatorAct(at_s, f"{clean(found['what']).rstrip('.!')} (systemd-logind)")
    )


def _command(raw: str) -> str:
    """The call as people say it: without the folder of the program, without secrets, on one bounded line."""
    program, _, arguments = clean(raw).partition(" ")
    words = f"{program.rsplit('/', 1)[-1]} {redact(arguments)}".strip()
    return words if len(words) <= TEXT_MAX else words[: TEXT_MAX - 1] + "…"


def redact(arguments: str) -> str:
    """Blot out what looks like a secret."""
    return _SECRET.sub(lambda m: (m[1] or m[2] or m[3] or "") + "***", arguments)


def clean(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _transactions(packages: List[Tuple[float, str, str]]) -> List[OperatorAct]:
    """Packages of the same kind within two minutes of each other, as one act."""
    acts: List[OperatorAct] = []
    groups: List[List[Tuple[float, str, str]]] = []
    for package in sorted(packages):
        last = groups[-1] if groups else None
        if last is not None and last[-1][1] == package[1] and package[0] - last[-1][0] <= 120:
            last.append(package)
        else:
            groups.append([package])
    for group in groups:
        # A new kernel first: it is what explains a reboot.
        names = sorted((name for _, _, name in group), key=lambda name: not name.startswith("kernel"))
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        acts.append(OperatorAct(group[0][0], f"packages {group[0][1]}: {', '.join(names[:3])}{more} (dnf)"))
    return acts


def stamp_s(stamp: str, now_s: float, local: dt.tzinfo) -> Optional[float]:
    """The time of a line; syslog's has no year: the newest one that does not lie more than a day ahead."""
    try:
        if stamp[:1].isdigit():
            text = re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", stamp.replace("Z", "+00:00"))
            moment = dt.datetime.fromisoformat(text)
            return (moment if moment.tzinfo else moment.replace(tzinfo=local)).timestamp()
        year = dt.datetime.fromtimestamp(now_s, local).year
        hour, minute, second = (int(part) for part in stamp[7:].split(":"))
        month, day = _MONTHS.index(stamp[:3]) + 1, int(stamp[4:6])
        at_s = dt.datetime(year, month, day, hour, minute, second, tzinfo=local).timestamp()
        if at_s > now_s + 86_400:
            at_s = dt.datetime(year - 1, month, day, hour, minute, second, tzinfo=local).timestamp()
        return at_s
    except (ValueError, OverflowError):
        return None
