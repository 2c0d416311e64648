"""Evidence about services: a unit failed, a process is gone, a port does not answer, a certificate ran out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from collector.qualify.case import Case, Held, Seen, as_number
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row
from collector.qualify.rows_said import FIREWALL
from collector.qualify.subjects import needs_room, stem

INSIDE_ANSWERS = ("ok", "slow")
TLS_DAYS_LOW = 14.0
FRESH_WORD_MS = 60_000
OWN_ALL_PCT, QUEUE_LONG, STOLEN_LITTLE_PCT = 90.0, 2.0, 5.0
"""Own processes take all of the processor, more than two of them wait for each, and nobody else takes any (signals.md C6, C8)."""
WANTS = frozenset({"unit", "process", "memory", "fs_space", "fs", "io"})
"""Families of what fells a service by itself."""
_SSHD = re.compile(r"^(?:open)?sshd?(?:\.service|\.socket|@|$)")


def _part(case: Case) -> str:
    return case.subject.subject or case.host.id


def _unit_failed(case: Case) -> Params | None:
    failed = case.value("svc.failed")
    units = [str(u) for u in failed] if isinstance(failed, list) else []
    units += [h.subject for h in case.held() if h.family == "unit" and h.subject and h.subject not in units]
    return holds(bool(units), units=", ".join(sorted(set(units))[:5]), n=len(set(units)))


def _sshd_down(case: Case) -> Params | None:
    """The way in for engineers is gone, and nothing else: its own cause, since repairing it needs a console."""
    down = [h.subject for h in case.held() if h.family in ("unit", "process") and _SSHD.search(h.subject)]
    return holds(bool(down), part=", ".join(sorted(set(down))))


def _restarts(case: Case) -> Params | None:
    count = case.number("svc.restarts_h")
    return holds(count is not None and count > 2, count=count)


def _process_gone(case: Case) -> Params | None:
    gone = [h.subject for h in case.held() if h.family == "process" and h.subject]
    return holds(bool(gone), process=", ".join(sorted(set(gone))[:5]))


def _state(case: Case, held: Held) -> str:
    """What the check said last: refused, timeout, http 500, ...; from its facts or its notes."""
    for signal in ("check.state", "ext.state"):
        found = held.facts.get(signal)
        if found is not None and isinstance(found.now, str):
            return found.now
    return str(held.notes.get("state", ""))


def _inside_fails(case: Case) -> Params | None:
    failing = [
        h
        for h in case.held()
        if h.family == "service" and not h.is_outside and _state(case, h) not in ("slow", "loss")
    ]
    state = _state(case, failing[0]) if failing else ""
    return holds(bool(failing), part=failing[0].subject if failing else "", state=state or "-")


def _outside_fails(case: Case) -> Params | None:
    failing = [h for h in case.held() if h.family == "service" and h.is_outside]
    return holds(
        bool(failing),
        part=failing[0].subject if failing else "",
        state=_state(case, failing[0]) if failing else "",
    )


def _outside_only(case: Case) -> bool:
    """Outside sees it dead while the host reports and nothing inside complains about it."""
    inside = any(h.family in ("service", "unit", "process") and not h.is_outside for h in case.held())
    outside = any(h.family == "service" and h.is_outside for h in case.held())
    return outside and not inside and case.host.life == "alive"


def _refused(case: Case) -> Params | None:
    """A refused connection is the kernel's own answer: the way is clear and nobody listens."""
    state = next((_state(case, h) for h in case.held() if h.family == "service" and h.is_outside), "")
    return holds(_outside_only(case) and state == "refused", part=_part(case))


def _filtered(case: Case) -> Params | None:
    """The port is swallowed without an answer while the host itself reports: a filter on the way in."""
    held = next((h for h in case.held() if h.family == "service" and h.is_outside), None)
    state = _state(case, held) if held else ""
    others = held.facts.get("ext.tcp22") if held else None
    # Packets that vanish are a filter's work; of a service that is only said to be dead, more than it must be.
    ssh_dead = others is None or others.now in ("timeout", "dead", None)
    if state == "dead":
        ssh_dead = _is_swallowed_too(case, held) or bool(case.done_by_operator(FIREWALL.search))
    is_swallowed = state in ("timeout", "unreachable", "dead") and case.value("ext.port") not in (
        "ok",
        "refused",
    )
    is_filtered = _outside_only(case) and is_swallowed and ssh_dead
    return holds(is_filtered and _alive_elsewhere(case) is None, part=_part(case))


def _is_ssh(held: Held) -> bool:
    """Whether a check asks for SSH: by its type where the probe told it, else by its name."""
    return held.notes.get("type") == "ssh" or bool(_SSHD.search(held.subject))


def _ssh_state(case: Case) -> str:
    """What the SSH check from outside met, "" where none fails."""
    return next(
        (_state(case, h) for h in case.held() if h.family == "service" and h.is_outside and _is_ssh(h)), ""
    )


def _ssh_refused(case: Case) -> Params | None:
    """The kernel answers that nobody listens for SSH; whatever else is asked works."""
    return holds(_is_ssh(case.subject) and _ssh_state(case) == "refused", part=_part(case))


def _ssh_silent(case: Case) -> Params | None:
    """The kernel takes the connection and no banner comes: what runs above it hangs."""
    return holds(_ssh_state(case) == "banner_timeout", part=_part(case))


def _alive_here(case: Case) -> Params | None:
    """Another vantage finds it dead while our own probe is served and nothing inside complains."""
    is_theirs = case.subject.rule == "vantage.service"
    ours = any(h.family == "service" and h.is_outside and h.rule != "vantage.service" for h in case.beside)
    return holds(is_theirs and not ours, part=_part(case))


def _is_swallowed_too(case: Case, held: Held | None) -> bool:
    """Whether another way in is swallowed as well, seen from the same place: a filter drops what comes, a program falls alone."""
    if held is None:
        return False
    others = [h for h in case.held() if h.family == "service" and h.is_outside and h.subject != held.subject]
    words = [_state(case, h) for h in others]
    beside = held.facts.get("ext.tcp22" if not _is_ssh(held) else "ext.svc")
    ping = held.facts.get("ext.icmp")
    words += [str(fact.now) for fact in (beside, ping) if fact is not None]
    return any(word in ("timeout", "dead", "unreachable") for word in words)


def _settled_words(case: Case, signal: str) -> dict[str, str]:
    """Vantage -> its word on the signal; nothing while one of them has just changed: we shall see the same in a moment."""
    words: dict[str, Seen] = {}
    for seen in case.seen:
        known = words.get(seen.vantage)
        is_mine = seen.signal == signal and seen.host_id == case.host.id and seen.vantage
        if is_mine and (known is None or known.value != seen.value):
            words[seen.vantage] = seen
    if any(_is_fresh_word(case, seen) for seen in words.values()):
        return {}
    return {vantage: str(seen.value) for vantage, seen in words.items()}


def _is_fresh_word(case: Case, seen: Seen) -> bool:
    """A word that changed a moment ago, after our own probe began to fail."""
    return seen.at_ms > case.subject.at_ms and case.now_ms - seen.at_ms < FRESH_WORD_MS


def _alive_elsewhere(case: Case) -> Params | None:
    """Our probe finds it dead while another vantage is served: the clients are well, only our way there is not."""
    signal = "ext.tcp22" if _is_ssh(case.subject) else "ext.svc"
    if _state(case, case.subject) in ("refused", "banner_timeout"):
        return None  # The host's own kernel answered.
    # Its agent reaches us: the way is clear, unless a trace shows where our packets end, or hosts of other providers were
    # lost with it; and others must be served since.
    is_heard = case.host.life == "alive"
    if is_heard and not (_ends_on_our_way(case) or case.value("ext.together") is True):
        return None
    words = _words_since(case, signal) if is_heard else _settled_words(case, signal)
    is_served = bool(words) and all(word in ("ok", "slow") for word in words.values())
    outside = any(h.family == "service" and h.is_outside and h.rule != "vantage.service" for h in case.held())
    inside = any(h.family in ("service", "unit", "process") and not h.is_outside for h in case.held())
    return holds(outside and not inside and is_served, vantages=", ".join(sorted(words)))


def _words_since(case: Case, signal: str) -> dict[str, str]:
    """Vantage -> its word on the signal since the fault began: what it was asked at once, and what it told by itself."""
    told = case.value("ext.elsewhere")
    asked = told.items() if isinstance(told, Mapping) else ()
    words = {str(v): str(seen[signal]) for v, seen in asked if isinstance(seen, Mapping) and signal in seen}
    mine = [s for s in case.seen if s.signal == signal and s.host_id == case.host.id and s.vantage]
    return words | {s.vantage: str(s.value) for s in mine if s.at_ms > case.subject.at_ms}


def _ends_on_our_way(case: Case) -> bool:
    """Whether our own trace towards the host ends on our side or in a carrier, and not at its provider's door."""
    since = case.subject.at_ms - FRESH_WORD_MS
    traces = [s for s in case.seen if s.signal == "ext.last_hop" and s.host_id == case.host.id]
    ours = [str(s.value) for s in traces if s.vantage in ("", "collector") and s.at_ms >= since]
    return bool(ours) and ours[-1].startswith(("col-", "transit-")) and "before-" not in ours[-1]


def _hangs(case: Case) -> Params | None:
    """The port takes the connection and then nobody speaks: the kernel accepts for a program that hangs.

    Unless large packets are lost on the way: then an answer may well be spoken and not be heard.
    """
    return holds(case.value("ext.port") == "ok" and not _is_half_heard(case), part=_part(case))


def _app_error(case: Case) -> Params | None:
    state = next((_state(case, h) for h in case.held() if h.family == "service"), "")
    code = str(case.subject.notes.get("status", "")) or (
        state.rpartition(" ")[2] if state.startswith("http") else ""
    )
    return holds(code.startswith("5") and not _has_inside_cause(case), status=code)


def _only_slow(case: Case) -> Params | None:
    """It answers, only late, and the server itself lacks nothing."""
    slow = case.subject.rule == "check_slow" or _state(case, case.subject) in ("slow", "loss")
    return holds(slow and not _has_inside_cause(case), part=_part(case))


def _has_inside_cause(case: Case, families: frozenset[str] = WANTS | {"cpu"}) -> bool:
    return any(h.family in families for h in case.beside)


def _disk_full(case: Case) -> Params | None:
    """A service that fails while what it may write to is full is a consequence of that; of a disk of others it is none."""
    began, stems = case.subject.at_ms, {stem(case.subject.subject)} if case.subject.subject else set[str]()
    full = [h for h in case.beside if h.family == "fs_space" and needs_room(h.subject, h.at_ms, stems, began)]
    return holds(bool(full) and not _unit_is_down(case), part=_part(case))


PUT_ASIDE = frozenset(
    {"vim", "vi", "nano", "emacs", "mcedit", "mc", "less", "more", "man", "top", "htop", "atop", "watch", "ssh", "sftp",
     "bash", "sh", "zsh", "su", "sudo", "mysql", "psql", "gdb", "tail"}
)  # fmt: skip
"""What people stop in a terminal and forget there."""


def _no_turn(case: Case) -> Params | None:
    """It runs and does not answer in time, while our own processes leave it no processor: load, and no fault of its own."""
    own, queue = case.own_cpu_pct() or 0.0, case.number("sched.runq_per_cpu") or 0.0
    stolen = case.number("cpu.steal_pct") or 0.0
    refused = _state(case, case.subject) == "refused" or _has_inside_cause(case, WANTS)
    full = own >= OWN_ALL_PCT and queue > QUEUE_LONG and stolen < STOLEN_LITTLE_PCT
    is_other = refused or _is_stopped(case) or _is_dropped(case) or _is_half_heard(case)
    return holds(full and not is_other, own=own, queue=queue)


def _is_dropped(case: Case) -> bool:
    """Whether packets do not reach the program's port: however busy, the kernel takes connections until a backlog is full.

    That no ping is answered tells nothing here: many servers never answer any.
    """
    is_backlog_full = (case.number("net.listen_drops_ps") or 0.0) > 0.0
    return case.value("ext.port") == "timeout" and not is_backlog_full


def _is_half_heard(case: Case) -> bool:
    """Whether sshd spoke its banner and its key exchange got lost: a program had its turn, large packets had not."""
    return case.value("ext.tcp22") == "kex_timeout"


def _is_stopped(case: Case) -> bool:
    """Whether a program of the host stands still by a signal: it wants no processor. What a person put aside is none such."""
    told = [held.notes.get("stopped") for held in case.held()]
    return any(
        isinstance(names, (list, tuple)) and {str(name) for name in names} - PUT_ASIDE for names in told
    )


def _unit_is_down(case: Case) -> bool:
    return any(h.family in ("unit", "process") for h in case.held())


def true_days(case: Case) -> float | None:
    """Days that the certificate has left by our clock: the host counts them by its own, which may be wrong (S4)."""
    days, offset = case.number("tls.days"), case.number("clk.true_offset_ms")
    said = list(case.seen_now("clk.true_offset_ms").values())
    offset = offset if offset is not None else as_number(said[-1]) if said else None
    return None if days is None else days + (offset or 0.0) / 86_400_000


def _certificate(case: Case) -> Params | None:
    days = true_days(case)
    return holds(days is not None and days < TLS_DAYS_LOW, days=days)


SERVICE_ROWS: Sequence[Row] = (
    row(
        "service.unit_failed",
        "service unit process",
        "os.service_failed",
        -STRONG,
        "inside",
        "signals.md 3.8 S1",
        _unit_failed,
    ),
    row(
        "service.sshd_down",
        "unit process",
        "os.sshd_down",
        -STRONG - WEAK,
        "inside",
        "signals.md 3.7 SSH probe",
        _sshd_down,
    ),
    row(
        "service.restarts",
        "service unit",
        "os.service_failed",
        -MEDIUM,
        "inside",
        "signals.md 3.8 S1",
        _restarts,
    ),
    row(
        "service.process_gone",
        "service unit process",
        "os.service_failed",
        -STRONG,
        "inside",
        "signals.md 3.8 S1",
        _process_gone,
    ),
    row(
        "service.inside_fails",
        "service unit",
        "os.service_failed",
        -MEDIUM,
        "demand",
        "signals.md 3.7",
        _inside_fails,
    ),
    row(
        "service.outside_fails",
        "service unit process",
        "os.service_failed",
        -WEAK,
        "outside",
        "signals.md 3.7",
        _outside_fails,
    ),
    row(
        "service.refused",
        "service",
        "os.service_failed",
        -MEDIUM,
        "outside",
        "signals.md 3.7 SSH probe",
        _refused,
    ),
    row(
        "service.filtered",
        "service",
        "os.firewall",
        -STRONG,
        "outside",
        "signals.md 3.7 local firewall",
        _filtered,
    ),
    row(
        "service.alive_elsewhere",
        "service",
        "net.transit_path",
        DECISIVE,
        "outside",
        "signals.md 3.7 one transit to the collector",
        _alive_elsewhere,
    ),
    row(
        "service.ssh_refused",
        "service",
        "os.sshd_down",
        -STRONG - WEAK,
        "outside",
        "signals.md 3.7 SSH probe",
        _ssh_refused,
        says="service.refused",
    ),
    row(
        "service.ssh_silent",
        "service",
        "os.userland_hung",
        -STRONG - WEAK,
        "outside",
        "signals.md 3.7 host hung",
        _ssh_silent,
        says="silence.no_banner",
    ),
    row("service.alive_here", "service", "", 0.0, "outside", "signals.md 3.7", _alive_here),
    row(
        "service.hangs",
        "service",
        "os.service_failed",
        -STRONG,
        "outside",
        "signals.md 3.7 SSH probe",
        _hangs,
    ),
    row(
        "service.disk_full",
        "service",
        "os.disk_full",
        -MEDIUM,
        "demand",
        "signals.md 1 rule 6",
        _disk_full,
    ),
    row(
        "service.no_turn",
        "service",
        "os.cpu_demand",
        -STRONG - WEAK,
        "demand",
        "signals.md 3.1 C6, C8, 1 rule 6",
        _no_turn,
    ),
    row(
        "service.certificate",
        "tls service",
        "os.cert_expired",
        -STRONG,
        "inside",
        "signals.md 3.8 S4",
        _certificate,
    ),
)

APPLICATION_ROWS: Sequence[Row] = (
    row("service.slow", "service", "app.slow", -STRONG, "inside", "design.md 1, class 5", _only_slow),
    row("service.app_error", "service", "app.error", -STRONG, "outside", "design.md 1, class 3", _app_error),
)
