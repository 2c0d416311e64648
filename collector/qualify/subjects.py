"""What a problem is about: the subject half of the problem key, and when two symptoms are one problem.

A part of a host that a person repairs by itself (a mount, a unit, a check, a disk) is a subject of its own; what
concerns the whole host (CPU, memory, silence) is the host. The problem is fixed when its ticket opens, so these
rules decide about duplicates and must not depend on class or cause, which may change.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from agent.signals import kernel_lines
from ticketing.model import Reason

_PARTS = {
    "fs_space": "fs",
    "fs": "fs",
    "unit": "unit",
    "service": "service",
    "process": "process",
    "tls": "service",
    "hardware": "device",
}

LINK_RULES = frozenset({"link_down", "link_lost", "link_flaps", "link_errors", "packets_stuck"})
"""Rules about a card and its wire: another's to mend than what the way beyond, or the traffic, does to the host."""

_COUNTER = re.compile(r"(?:^|:)(?:5|187|188|196|197|198|199)$")

KERNEL_CAUSES = frozenset(row.id for row in kernel_lines.ROWS) | {"segv_storm"}

JOIN_WITHIN_MS = 10 * 60_000
"""Symptoms of one cause on one host that begin within this time of each other are one problem."""

SERVICE_FAMILIES = frozenset({"service", "unit", "process"})

PARTED_CAUSES = frozenset({"os.service_failed", "os.disk_full", "os.cert_expired", "os.sshd_down"})
"""Causes of a part of the host; any other that outside checks of it share is one for all of them."""

PARTED = frozenset({"unit", "service", "process", "fs_space", "tls"})
"""Families whose parts are repaired one by one: two of them that fail for the same kind of reason are two problems."""

AFTERWARDS = frozenset(
    {
        "network", "dns", "virt", "agent", "kernel", "hardware", "clock", "cpu", "io", "memory", "limits", "fs",
    }
)  # fmt: skip
"""What is found on a host that was silent, while it was away or just after: part of the same story."""

STARVING = frozenset({"hung", "agent_gone", "unknown"})
"""Silences that a starved host shows: its kernel answers, or its agent only was late."""

LASTING = frozenset({"network", "memory", "io", "limits", "fs", "kernel", "hardware"})
"""Troubles that explain a silence at any time while they hold."""

SERVED_BY = frozenset(
    {"cpu", "memory", "io", "fs", "limits", "network", "dns", "virt", "kernel", "hardware", "tls", "silence"}
)
"""Troubles that explain, at any time while they hold, that a service is not reached from outside."""

ANY_REASON = frozenset({"", "unknown", "os.service_failed"})
"""Causes that say too little for two symptoms to share them."""

STARVES_FOR_MS = 30 * 60_000
"""Want of memory, disk or names may take so long to bring a program down."""

MOMENTS = frozenset({"oom_kill", "oom_in_limit", "container_limit_hit", "limits_reached"})
"""Rules about a want that lasted an instant: whom it struck was struck then, and a kill gives the room back."""

TOGETHER_MS = 30_000
"""Units of one host that fail within this time fell by one thing: a library, a mount, a database that both need."""

AT_ONCE_MS = 120_000
"""What hangs on a program that was struck fails, and is seen to, within this time."""

SHARED_ROOM = re.compile(r"^(?:/|/(?:var|tmp|usr|home|srv|opt|run|root|etc|dev/shm)(?:/.*)?)?$")
"""Mounts in which programs of a server have their places; "" where nobody told which one is full."""

SPARE_ROOM = re.compile(r"^/(?:boot|mnt|media|run/media|efi)(?:/|$)|back-?up", re.IGNORECASE)
"""Mounts from which no service lives, unless it is named: the kernel's own, what is put in by hand, copies."""

STARVING_FAMILIES = frozenset({"silence", "memory", "fs_space", "fs", "limits", "kernel"})
"""Troubles that fell a program whatever an operator did to it."""

PROCESS_LIMIT = "pids_gone"
"""The rule about the table of processes."""

KERNEL_LIMIT = "limits_reached"
"""The rule that hears the kernel say that one of its limits is reached."""

ELSEWHERE_RULE = "vantage.service"
SSH_NAMES = frozenset({"ssh", "sshd"})
ELSEWHERE = "@elsewhere"
"""What only another vantage is not served is a problem of its own beside what we do not reach: our way may be broken."""

SOON_MS = 60_000
"""Clocks and samples differ: a cause that shows this little after its consequence still came before it."""

NEXT_STAGE = {
    "net.nullroute": frozenset(
        {"os.syn_flood", "os.conntrack", "os.softirq", "os.port_exhaustion", "os.cpu_demand"}
    )
}
"""Cause -> causes that it follows and ends: a flood is ours to bear while the path holds, and the provider's once it withdraws
the address (signals.md 3.8 N3)."""

TIME_UNIT = re.compile(r"chrony|ntpd?\b|timesyncd|openntpd")

CERTIFICATE_UNIT = re.compile(r"cert|acme|letsencrypt|lego|dehydrated|renew|ssl")

CONSEQUENCES = {
    # What is down or hung takes all its services with it.
    "silence": SERVICE_FAMILIES | AFTERWARDS,
    "fs_space": SERVICE_FAMILIES,
    "fs": SERVICE_FAMILIES | {"silence", "io"},
    "io": SERVICE_FAMILIES | {"silence", "cpu", "fs", "kernel"},
    "memory": SERVICE_FAMILIES | {"process", "cpu", "io", "limits", "silence", "kernel"},
    "limits": SERVICE_FAMILIES | {"process", "cpu", "silence"},
    "cpu": frozenset({"silence", "agent"}),
    "virt": SERVICE_FAMILIES | {"cpu", "memory", "clock", "agent", "io", "silence"},
    "dns": SERVICE_FAMILIES,
    "tls": frozenset({"service"}),
    "network": SERVICE_FAMILIES | {"dns", "clock", "silence"},
    "kernel": SERVICE_FAMILIES | {"silence", "io", "cpu"},
}
"""Cause family -> symptom families that it explains on the same host (signals.md 1 rule 6)."""

CONSEQUENCES_OF = {
    # The host is well and only its agent is not heard: what starves a host, or cuts it off, may have silenced the agent too.
    "os.agent_down": frozenset(
        {"agent", "cpu", "memory", "limits", "io", "virt", "network", "dns", "kernel"}
    ),
    # Programs that hang, the agent among them: it may have been heard no more before the others were seen to hang.
    "os.userland_hung": SERVICE_FAMILIES | {"silence", "agent"},
    "hw.disk": SERVICE_FAMILIES | {"io", "fs", "silence", "kernel"},
    "hw.memory": SERVICE_FAMILIES | {"kernel", "memory", "silence", "virt"},
    "hw.thermal": frozenset({"cpu", "kernel", "silence"}),
    "hw.power": frozenset({"silence", "kernel"}),
    "hw.nic": SERVICE_FAMILIES | {"network", "dns", "silence"},
    "net.transit_path": frozenset({"service", "network", "silence"}),
    # Where the host itself drops packets, names and ways seem to fail as well; a card and its wire do not.
    "os.conntrack": SERVICE_FAMILIES | {"network", "dns", "cpu", "silence"},
    "os.port_exhaustion": SERVICE_FAMILIES | {"network", "dns", "cpu", "silence"},
}
"""The same where the cause says more than its family does: not each fault of the hardware explains every symptom."""

ONLY_UNHEARD = frozenset({"net.transit_path", "os.agent_down"})
"""Causes of a silence by which the host itself is not away: what fails on it fails for a reason of its own."""

NO_CAUSE_OF_SILENCE = frozenset(
    {
        "os.clock", "svc3.ntp", "os.resolver", "svc3.dns", "os.cert_expired", "os.agent_down", "os.service_failed",
        "os.cpu_demand", "os.plan_limit", "os.disk_full",
    }
)  # fmt: skip
"""What may be found on a host that was silent without having silenced it: its consequences, or what happened beside."""


def subject_of(host_id: str, family: str, subject: str, rule: str = "") -> str:
    """``host:a1``, or ``host:a1/fs:/var`` for a part of it.

    Each of the system's limits is a subject of its own, and the cards with their wires are one beside the way beyond them.
    """
    part = f"limit:{rule}" if family == "limits" and rule else part_of(family, subject)
    part = "link" if family == "network" and rule in LINK_RULES else part
    part = f"{part}{ELSEWHERE}" if rule == ELSEWHERE_RULE else part
    return f"host:{host_id}/{part}" if part else f"host:{host_id}"


def part_of(family: str, subject: str) -> str:
    """The part of the host that a finding's subject names, or "" for the host itself."""
    kind = _PARTS.get(family)
    if kind == "device":
        # What a drive counts is the drive's: sda:197 is sda, and a counter without a drive's name the host's only one.
        subject = _COUNTER.sub("", subject)
    # What the kernel says names a cause where others name a part; the whole host has said it.
    return f"{kind}:{subject}" if kind and subject and subject not in KERNEL_CAUSES else ""


@dataclasses.dataclass(frozen=True)
class OpenProblem:
    """A problem that has an open ticket: what a new symptom may belong to."""

    ticket_id: int
    host_id: str
    subject: str
    family: str
    root_cause: str
    began_at_ms: int
    stems: frozenset[str] = frozenset()
    """Bare names of the parts it concerns: ``nginx`` of nginx.service."""
    is_outside: bool = False
    word: str = ""
    """For silence: what the probes made of it (collector.qualify.silence)."""
    is_acted_on: bool = False
    """Whether an operator's act just before names this very part (signals.md 1 rule 9)."""
    moment_ms: int | None = None
    """When it last struck, where all that is left of it is what happened in an instant (``MOMENTS``)."""
    names: frozenset[str] = frozenset()
    """Programs that its log lines name: whom the kernel killed, who found no room."""
    is_elsewhere: bool = False
    """Whether only another vantage saw it, not we ourselves."""
    lacks_room: bool = False
    """Whether its own log lines say that it found no room to write."""
    is_member: bool = False
    """Whether it is a finding that holds, and not the ticket as a whole."""


def stem(subject: str) -> str:
    """The bare name behind a unit, a process or a check: nginx of ``nginx.service``, ``php-fpm`` of ``php-fpm@1``."""
    name = subject.rsplit(":", 1)[-1].rsplit("/", 1)[-1]
    return re.sub(r"(@.*)?\.(service|socket|timer|mount)$|@.*$", "", name).lower()


def is_named(subject: str, acts: Iterable[str]) -> bool:
    """Whether one of the operators' acts names the part: ``systemctl restart nginx`` names nginx.service."""
    name = stem(subject)
    return len(name) > 2 and any(
        re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", act.lower()) for act in acts
    )


def may_join(problem: OpenProblem, found: OpenProblem, *, is_full: bool = False) -> Reason | None:
    """Why the newly found symptom belongs to the problem that has a ticket, or None when it is one of its own.

    ``found`` is the new symptom written as a problem of its own (ticket_id 0); ``is_full`` says that a file system of
    the host has no room left now.
    """
    if problem.host_id != found.host_id or _is_beyond_our_way(problem, found):
        return None
    if _is_same_cause(problem, found):
        return Reason("reason.join.same_cause", {"cause": found.root_cause})
    if _is_process_table(problem, found):
        return Reason("reason.join.consequence", {"family": problem.family})
    if _is_kernels_word(problem, found):
        return Reason("reason.join.same_cause", {"cause": found.root_cause})
    if _is_renewal(problem, found):
        return Reason("reason.join.consequence", {"family": problem.family})
    if SERVICE_FAMILIES.issuperset((problem.family, found.family)) and problem.stems & found.stems:
        return _same_service(problem, found)
    if not _is_in_time(problem, found, is_full):
        return None
    if found.family in consequences_of(problem) and _fits(problem, found) and _reaches(problem, found):
        return Reason("reason.join.consequence", {"family": problem.family})
    if problem.family in SERVICE_FAMILIES and found.family in SERVICE_FAMILIES:
        return _same_service(problem, found)
    return None


def consequences_of(problem: OpenProblem) -> frozenset[str]:
    """The symptom families that the problem explains on its host."""
    known = CONSEQUENCES_OF.get(problem.root_cause)
    is_away = problem.family == "silence" and problem.root_cause not in ONLY_UNHEARD
    if known is None or is_away:
        return CONSEQUENCES.get(problem.family, frozenset())
    return known


def is_next_stage(cause: str, after: str) -> bool:
    """Whether the one cause is what the other has come to: then who must act is another, however sure we were before."""
    return after in NEXT_STAGE.get(cause, frozenset())


def may_explain(found: OpenProblem, problem: OpenProblem) -> Reason | None:
    """Why the newly found trouble is what the problem that has a ticket comes from: the symptom was told first, the cause
    before it began (rule 6). Then the ticket is the cause's."""
    if problem.host_id != found.host_id or problem.family not in consequences_of(found):
        return None
    before = problem.began_at_ms - found.began_at_ms
    is_hung = (found.root_cause, problem.root_cause) == ("os.userland_hung", "os.agent_down")
    is_apart = (problem.family == "silence" and not is_hung) or not _reaches(found, problem)
    if not -SOON_MS <= before <= JOIN_WITHIN_MS or is_apart:
        return None
    return Reason("reason.join.cause", {"family": found.family})


def _is_same_cause(problem: OpenProblem, found: OpenProblem) -> bool:
    """One cause on one host is one problem as long as its ticket is open, whatever else it shows by."""
    if problem.root_cause != found.root_cause or found.root_cause in ANY_REASON:
        return False
    is_way = problem.is_outside and found.is_outside and found.root_cause not in PARTED_CAUSES
    return is_way or problem.family not in PARTED or found.family not in PARTED


def _is_kernels_word(problem: OpenProblem, found: OpenProblem) -> bool:
    """A limit that counters show running out, and the kernel's line that one is reached, whichever came first."""
    said = [each.subject.endswith(f"limit:{KERNEL_LIMIT}") for each in (problem, found)]
    return problem.family == found.family == "limits" and any(said)


def _is_process_table(problem: OpenProblem, found: OpenProblem) -> bool:
    """Dead processes that nobody collects, and the table of processes that they fill, hours apart as they may be."""
    subjects = {"process": "", "limits": ""}
    subjects |= {problem.family: problem.subject, found.family: found.subject}
    is_pair = {problem.family, found.family} == {"process", "limits"}
    host = f"host:{problem.host_id}"
    return is_pair and subjects["process"] == host and subjects["limits"] == f"{host}/limit:{PROCESS_LIMIT}"


def _is_renewal(problem: OpenProblem, found: OpenProblem) -> bool:
    """A certificate that runs out, or a clock that goes wrong, and the unit that should have seen to it, in either order."""
    pair = {problem.family, found.family}
    stems = problem.stems | found.stems
    if pair == {"clock", "unit"}:
        return any(TIME_UNIT.search(name) for name in stems)
    return pair == {"tls", "unit"} and any(CERTIFICATE_UNIT.search(name) for name in stems)


def _is_in_time(problem: OpenProblem, found: OpenProblem, is_full: bool) -> bool:
    if abs(problem.began_at_ms - found.began_at_ms) <= JOIN_WITHIN_MS:
        return True
    # Silence explains what was seen dead at any time during it, a full disk what fails while it is full, and a broken
    # way or a starved host why it is not heard.
    is_lasting = problem.family == "silence" or (problem.family == "fs_space" and is_full)
    is_lasting = is_lasting or (found.family == "silence" and problem.family in LASTING)
    is_starved = found.family in SERVICE_FAMILIES and problem.family in ("memory", "io", "dns", "fs")
    is_lasting = is_lasting or (is_starved and found.began_at_ms - problem.began_at_ms <= STARVES_FOR_MS)
    is_lasting = is_lasting or (
        found.family == "service" and found.is_outside and problem.family in SERVED_BY
    )
    return is_lasting and found.began_at_ms >= problem.began_at_ms


def _is_beyond_our_way(problem: OpenProblem, found: OpenProblem) -> bool:
    """What another vantage is not served hangs on no broken way of ours."""
    return found.is_elsewhere and problem.root_cause == "net.transit_path"


def _reaches(cause: OpenProblem, symptom: OpenProblem) -> bool:
    """Whether the cause is one of this very symptom, and not only of its kind: two troubles of one host are two problems."""
    if _is_own_doing(cause, symptom):
        return False
    if symptom.subject.endswith("/link") and cause.family == "limits":
        return False
    if symptom.family == "silence" or is_program(cause.names, symptom.stems):
        return True
    if cause.moment_ms is not None and symptom.began_at_ms - cause.moment_ms > AT_ONCE_MS:
        return False
    if cause.family != "fs_space" or symptom.lacks_room:
        return True
    mount = cause.subject.partition("/fs:")[2]
    return needs_room(mount, cause.began_at_ms, symptom.stems, symptom.began_at_ms)


def needs_room(mount: str, full_since_ms: int, stems: Iterable[str], failed_at_ms: int) -> bool:
    """Whether the file system that ran full is one that a program of these names may write to.

    Where all programs have their places: whenever it is full. One of somebody's own: soon after it ran full, or by its name.
    """
    if any(len(name) > 2 and name in mount.lower() for name in stems):
        return True
    if SPARE_ROOM.search(mount):
        return False
    return bool(SHARED_ROOM.match(mount)) or failed_at_ms - full_since_ms <= JOIN_WITHIN_MS


def is_program(names: Iterable[str], stems: Iterable[str]) -> bool:
    """Whether a program that is named is one of these parts; the kernel cuts names at 15 characters."""
    known = [name for name in names if len(name) > 2]
    return any(name.startswith(part) or part.startswith(name) for part in stems if part for name in known)


def _is_own_doing(cause: OpenProblem, symptom: OpenProblem) -> bool:
    """What an operator just touched fails by that, and not by what else ails the host; want of room or memory still fells it."""
    return symptom.is_acted_on and cause.family not in STARVING_FAMILIES


def _fits(problem: OpenProblem, found: OpenProblem) -> bool:
    """A silence is a consequence of want or of a broken way only as far as its answers bear that out."""
    if found.family != "silence":
        return True
    return problem.family in ("network", "kernel", "hardware", "virt") or found.word in STARVING


def _is_seen_by_both(problem: OpenProblem, found: OpenProblem) -> bool:
    """What we and another vantage are not served: it asks for the host's services as one, and for SSH beside them."""
    is_outside = problem.is_outside and found.is_outside and problem.family == found.family == "service"
    is_ssh = [bool(one.stems & SSH_NAMES) for one in (problem, found)]
    return is_outside and problem.is_elsewhere != found.is_elsewhere and is_ssh[0] == is_ssh[1]


def _same_service(problem: OpenProblem, found: OpenProblem) -> Reason | None:
    """Unit, process, inside and outside check of one service, and units that fell in the same moment."""
    pair = {problem.family, found.family}
    is_at_once = abs(problem.began_at_ms - found.began_at_ms) <= TOGETHER_MS
    if is_at_once and pair <= {"unit", "process"} and problem.root_cause == found.root_cause:
        return Reason("reason.join.same_cause", {"cause": found.root_cause})
    if problem.stems & found.stems:
        return Reason("reason.join.same_service", {"part": ", ".join(sorted(problem.stems & found.stems))})
    if _is_seen_by_both(problem, found):
        return Reason("reason.join.same_service", {"part": ", ".join(sorted(problem.stems | found.stems))})
    is_two_views = problem.family != found.family or problem.is_outside != found.is_outside
    if is_two_views and problem.root_cause == found.root_cause:
        return Reason("reason.join.same_cause", {"cause": found.root_cause})
    return None
