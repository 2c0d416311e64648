"""What must hold of a laboratory run, whatever was broken in it: pure questions to what was seen (failover.md 9.1).

In the manner of Jepsen: clients' acknowledgements, the final content of the register, the journals and what is left on the
machine are values; each question returns the sentences of what is wrong. Nothing here knows which fault was injected.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collector.failover.journal import Entry, broken_at
from collector.failover.states import TABLE, State, may_follow
from tests.lab.clients import Ack


@dataclasses.dataclass(frozen=True)
class Seen:
    """A run as it was seen from outside, after everything was healed."""

    acks: Sequence[Ack]
    """Of all clients."""
    began_s: float
    ended_s: float
    """When the clients wrote, by the clock of the acknowledgements."""
    kept: Iterable[str]
    """Values that the register that serves now holds."""
    journals: Mapping[str, Sequence[Entry]]
    """Run -> its entries, oldest first."""
    stored_sha256: Mapping[str, Sequence[str]]
    """Run -> the link that the store keeps of each entry."""
    holders: Sequence[str]
    """Hosts that the clients' address leads to."""
    may_write: Sequence[str]
    """Hosts whose register would take a write now, asked one after another."""
    effects: Sequence[tuple[str, int]] = ()
    """What was really done, as those saw it to whom it was done: (phase, Unix ms)."""
    locks: Sequence[str] = ()
    """Locks that nobody should hold any more."""
    strays: Sequence[str] = ()
    """Processes that nobody knows."""
    tickets: Sequence[Mapping[str, Any]] = ()
    """Rows of the tickets: id, state, open_mark, family, ..."""
    runs: Sequence[Mapping[str, Any]] = ()
    """Rows of failover_runs in the order in which they began: id, kind, state, ticket_id, cause_id."""
    named: Mapping[str, tuple[int, str]] = dataclasses.field(default_factory=dict)
    """Host -> the epoch that it knows, and whom it takes for its primary."""


def faults(seen: Seen, *, rpo_s: float, rto_s: float | None, serves: str | None, led: str = "") -> list[str]:
    """Everything that is wrong.

    ``rto_s`` None: nothing was to be switched. ``serves``: who must at the end, None = nobody. ``led``: where clients are
    led when that is not who serves.
    """
    found = two_writers(seen.acks)
    found += lost_writes(seen.acks, seen.kept, rpo_s)
    if rto_s is not None:
        found += unavailable(seen, rto_s)
    found += journal_faults(seen)
    found += unannounced(seen)
    found += displaced(seen)
    found += left_over(seen, serves, led)
    return found


def two_writers(acks: Iterable[Ack]) -> list[str]:
    """No two nodes acknowledge in overlapping intervals, and a later epoch never gives way to an earlier one.

    A node surely served from its first acknowledgement's arrival to its last one's sending.
    """
    spans: dict[tuple[str, int], tuple[float, float]] = {}
    for ack in acks:
        first, last = spans.get((ack.node, ack.epoch), (ack.got_s, ack.sent_s))
        spans[(ack.node, ack.epoch)] = (min(first, ack.got_s), max(last, ack.sent_s))
    ordered = sorted(spans.items(), key=lambda item: item[1][0])
    found = []
    for n, ((node, epoch), (_, last)) in enumerate(ordered):
        for (other, later), (first, _) in ordered[n + 1 :]:
            if first <= last and node != other:
                found.append(
                    f"{node} (epoch {epoch}) and {other} (epoch {later}) both acknowledged, {last - first:.2f} s long"
                )
            if later < epoch:
                found.append(f"{other} acknowledged under epoch {later} after epoch {epoch} of {node}")
    return found


def lost_writes(acks: Sequence[Ack], kept: Iterable[str], rpo_s: float) -> list[str]:
    """Acknowledged writes that are gone lie within the RPO before the old node's last acknowledgement."""
    there = set(kept)
    lost = [ack for ack in acks if ack.value not in there]
    found = []
    for node, epoch in sorted({(ack.node, ack.epoch) for ack in lost}):
        its = [ack for ack in lost if (ack.node, ack.epoch) == (node, epoch)]
        last_s = max(ack.got_s for ack in acks if (ack.node, ack.epoch) == (node, epoch))
        span_s = last_s - min(ack.sent_s for ack in its)
        if span_s > rpo_s:
            found.append(
                f"{len(its)} acknowledged writes of {node} are gone, back to {span_s:.1f} s (RPO {rpo_s:g} s)"
            )
    return found


def outage_s(seen: Seen) -> float:
    """The longest time without an acknowledgement at the clients' address, in seconds."""
    times = [seen.began_s, *(a.got_s for a in seen.acks if a.client == "vip"), seen.ended_s]
    times.sort()
    return max(b - a for a, b in zip(times, times[1:], strict=False))


def unavailable(seen: Seen, rto_s: float) -> list[str]:
    """Clients waited no longer than the RTO."""
    longest_s = outage_s(seen)
    return [f"clients were without service for {longest_s:.1f} s (RTO {rto_s:g} s)"] * (longest_s > rto_s)


def journal_faults(seen: Seen) -> list[str]:
    """Chains hold, every effect has its intent before it, states follow the table, fence comes before promotion."""
    found = []
    for run, entries in seen.journals.items():
        at = broken_at(entries)
        if at is not None:
            found.append(f"run {run}: the chain is broken at {at}")
        if [entry.sha256 for entry in entries] != list(seen.stored_sha256.get(run, ())):
            found.append(f"run {run}: a stored link is not the entry's own")
        found += [f"run {run}: {fault}" for fault in _one_journal(entries)]
    return found


def unannounced(seen: Seen) -> list[str]:
    """Every effect has an intent of its own that was written before it (I6)."""
    found = []
    for phase in sorted({phase for phase, _ in seen.effects}):
        intents = sorted(
            entry.at_ms
            for entries in seen.journals.values()
            for entry in entries
            if entry.kind == "intent"
            and entry.body["step"].startswith(f"{phase}-")
            and not _is_rehearsal(entries)
        )
        for n, at_ms in enumerate(sorted(at for word, at in seen.effects if word == phase)):
            if n >= len(intents) or intents[n] > at_ms:
                found.append(f"a {phase} was done that no intent had announced (the {n + 1}. one)")
    return found


def displaced(seen: Seen) -> list[str]:
    """A new primary is named by a promotion, or a lease that the old one is to hear of, and nothing before them: a run that was
    given up leaves the old one in its place."""
    named = {
        entry.epoch
        for entries in seen.journals.values()
        for entry in entries
        if entry.kind == "intent" and _names(entry.body) and not _is_rehearsal(entries)
    }
    return [
        f"{host} takes {primary} for the primary of epoch {epoch}, and nothing that names one was begun under it"
        for host, (epoch, primary) in sorted(seen.named.items())
        if epoch > 0 and epoch not in named
    ]


def _names(body: Mapping[str, Any]) -> bool:
    return body["step"].startswith("promote-") or body.get("type") == "fence.lease"


def _one_journal(entries: Sequence[Entry]) -> list[str]:
    found = []
    open_intents: dict[str, int] = {}
    state, is_fenced, epoch = State.DECIDED, False, -1
    for entry in entries:
        step = entry.body.get("step", "")
        if entry.kind == "intent":
            if open_intents.get(step):
                found.append(f"{step} was begun again while nobody knew what became of it ({entry.seq})")
            open_intents[step] = 1
            if step.startswith("promote") and not is_fenced and not _is_rehearsal(entries):
                found.append(f"{step} was begun before the old primary was fenced ({entry.seq})")
        elif entry.kind == "result" and not open_intents.pop(step, 0):
            found.append(f"{step} has a result without an intent ({entry.seq})")
        elif entry.kind == "probe":
            open_intents.pop(step, 0)
        elif entry.kind == "enter":
            there = State(entry.body["state"])
            if not may_follow(state, there):
                found.append(f"{there.value} does not follow {state.value} ({entry.seq})")
            state, is_fenced = there, is_fenced or there is State.FENCED
        if entry.epoch < epoch:
            found.append(f"the epoch goes back from {epoch} to {entry.epoch} ({entry.seq})")
        epoch = entry.epoch
    return found


def _is_rehearsal(entries: Sequence[Entry]) -> bool:
    return entries[0].body["plan"]["kind"] == "rehearsal"


def left_over(seen: Seen, serves: str | None, led: str = "") -> list[str]:
    """One holder of the clients' address; only who should takes writes; no lock, no stray; tickets as the runs ended."""
    found = []
    if len(seen.holders) != 1:
        found.append(f"the clients' address leads to {', '.join(seen.holders) or 'nobody'}")
    wanted = [] if serves is None else [serves]
    if sorted(seen.may_write) != wanted:
        found.append(f"{', '.join(seen.may_write) or 'nobody'} takes writes, not {serves or 'nobody'}")
    if serves is not None and list(seen.holders) != [led or serves]:
        found.append(f"clients are led to {', '.join(seen.holders)}, not to {led or serves}")
    found += [f"stale lock: {lock}" for lock in seen.locks]
    found += [f"stray process: {stray}" for stray in seen.strays]
    rows = {row["id"]: row for row in seen.tickets}
    newest = {run["ticket_id"]: run["id"] for run in seen.runs}
    for run in seen.runs:
        # A trouble that comes back has its request go on, with a run of its own: the newest says how it stands.
        if run["ticket_id"] is None or newest[run["ticket_id"]] == run["id"]:
            found += _ticket_faults(run, rows.get(run["ticket_id"]))
    return found


def _ticket_faults(run: Mapping[str, Any], ticket: Mapping[str, Any] | None) -> list[str]:
    """A request is open as long as its run may still need somebody, and resolved when it is over."""
    state = State(run["state"])
    if run["ticket_id"] is None:
        return [] if run["kind"] != "failover" else [f"run {run['id']} has no request"]
    if ticket is None:
        return [f"run {run['id']}: its request {run['ticket_id']} is gone"]
    is_over = state in (State.ABORTED, State.ON_BACKUP, State.HOLD_DOWN, State.FAILBACK_READY)
    is_resolved = ticket["state"] in ("resolved", "closed")
    if is_over and not is_resolved:
        return [f"run {run['id']} is {state.value} and its request is {ticket['state']}"]
    if is_resolved and not is_over and (state is State.STUCK or not TABLE[state].is_end):
        return [f"run {run['id']} is {state.value} and its request is {ticket['state']} already"]
    return []
