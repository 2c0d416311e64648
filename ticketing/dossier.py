"""The provider's dossier: what failed, since when, the evidence, what was ruled out, whose server it is. Pure.

It is written for somebody at the provider who knows nothing of us and has two minutes: facts with times in UTC and local,
the names that they know (their client's number, node, plan), and no word about our classes, lines or clocks. Nothing of
the client's programs goes out: of log lines only the kernel's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ticketing.model import Reason
from ticketing.provider_terms import ProviderDesk
from ticketing.tables import RowLike
from ticketing.terms import Contract
from ticketing.texts import Texts, texts

MAX_HOSTS = 20
MAX_REASONS = 12
MAX_FACTS = 12
MAX_LOG = 12
MAX_LINE = 300

RULED_OUT: tuple[tuple[str, str, float, str], ...] = (
    ("cpu.user_pct", "at_most", 60.0, "dossier.out.cpu"),
    ("mem.avail_pct", "at_least", 10.0, "dossier.out.memory"),
    ("fs.used_pct", "at_most", 90.0, "dossier.out.space"),
    ("fs.inode_pct", "at_most", 90.0, "dossier.out.inodes"),
    ("disk.iops", "as_usual", 1.5, "dossier.out.io"),
    ("disk.mbps", "as_usual", 1.5, "dossier.out.throughput"),
    ("net.in_mbps", "as_usual", 2.0, "dossier.out.traffic"),
    ("load.per_cpu", "at_most", 1.0, "dossier.out.load"),
)
"""(signal, how, bound, sentence): what a fact shows to be no cause inside the server. ``as_usual`` = times the usual."""


@dataclasses.dataclass(frozen=True)
class Dossier:
    """What goes to the provider, as the plain values that an outbox row's ``letter`` holds."""

    subject: str
    title: str
    parts: tuple[dict[str, Any], ...]
    zone: str

    def to_letter(self, words: str, desk: ProviderDesk) -> dict[str, Any]:
        """The payload of a mail; ``words`` are a person's own, first of all."""
        told = [text.strip() for text in re.split(r"\n\s*\n", words) if text.strip()]
        return {
            "subject": self.subject,
            "title": self.title,
            "paragraphs": told,
            "parts": list(self.parts),
            "zone": self.zone,
            "purpose": "p",
            "with_plots": True,
            "language": desk.language,
        }


def desk_of(contract: Contract, affected: Sequence[str]) -> ProviderDesk | None:
    """The desk of whoever hosts these servers; one without a provider's name stands for all others."""
    providers = {
        host.topology.provider for host_id in affected if (host := contract.host(host_id)) is not None
    }
    for desk in contract.provider_desks:
        if desk.provider and desk.provider in providers:
            return desk
    return next((desk for desk in contract.provider_desks if not desk.provider), None)


def compose(
    ticket: RowLike, contract: Contract, desk: ProviderDesk, bodies: Sequence[Mapping[str, Any]], now_ms: int
) -> Dossier:
    """The dossier of a ticket as of now; ``bodies`` = its evidence, newest first."""
    words = texts(desk.language).at(contract.calendar.zone)
    one_line = _one_line(ticket, words)
    subject = words.get("dossier.subject", summary=one_line, number=desk.client_number or "–")
    parts: list[dict[str, Any]] = [
        {"title": "", "paragraphs": [words.get("dossier.intro", client=contract.title)]},
        {"title": words.get("dossier.whose"), "table": _whose(ticket, contract, desk, words)},
        {"title": words.get("dossier.when"), "table": _when(ticket, words, now_ms)},
    ]
    for key, lines in (
        ("dossier.seen", _seen(ticket, words)),
        ("dossier.facts", _facts(bodies, words)),
        ("dossier.ruled_out", _ruled_out(bodies, words)),
        ("dossier.kernel", _kernel(bodies, words)),
    ):
        if lines:
            parts.append({"title": words.get(key), "lines": lines})
    parts.append(
        {"title": words.get("dossier.asked"), "lines": words.get("dossier.asked_lines").splitlines()}
    )
    return Dossier(subject, one_line, tuple(parts), contract.calendar.zone)


def reminder(
    ticket: RowLike, contract: Contract, desk: ProviderDesk, case: RowLike, number: int, now_ms: int
) -> Dossier:
    """A word to a provider that has not answered."""
    words = texts(desk.language).at(contract.calendar.zone)
    one_line = _one_line(ticket, words)
    subject = words.get(
        "dossier.reminder_subject",
        summary=one_line,
        number=desk.client_number or "–",
        theirs=case["number"] or "–",
    )
    text = words.get(
        "dossier.reminder",
        n=number,
        asked_at_ms=case["asked_at_ms"],
        waited_for_ms=now_ms - case["asked_at_ms"],
        theirs=case["number"] or "–",
    )
    parts = (
        {"title": "", "paragraphs": [text]},
        {"title": words.get("dossier.whose"), "table": _whose(ticket, contract, desk, words)},
        {"title": words.get("dossier.when"), "table": _when(ticket, words, now_ms)},
    )
    return Dossier(subject, one_line, parts, contract.calendar.zone)


def _one_line(ticket: RowLike, words: Texts) -> str:
    summary = (ticket["verdict"] or {}).get("summary")
    if summary:
        return words.reason(Reason.from_dict(summary))
    key = f"cause.{ticket['root_cause']}"
    return str(ticket["title"]) or (words.get(key) if key in words else ticket["root_cause"])


def _whose(ticket: RowLike, contract: Contract, desk: ProviderDesk, words: Texts) -> list[list[str]]:
    rows = [[words.get("dossier.client_number"), desk.client_number]] if desk.client_number else []
    rows.append([words.get("dossier.our_ticket"), str(ticket["id"])])
    for host_id in list(ticket["affected"])[:MAX_HOSTS]:
        host = contract.host(host_id)
        if host is None:
            continue  # another client's server: a provider is told of each client's apart
        where = host.topology
        known = [
            ", ".join(host.addresses[:4]),
            *(
                f"{words.get(f'dossier.{name}')} {value}"
                for name, value in (
                    ("plan", where.plan), ("node", where.node), ("rack", where.rack), ("site", where.site)
                )
                if value
            ),
        ]  # fmt: skip
        rows.append(
            [
                words.get("dossier.server"),
                f"{host_id}: {'; '.join(part for part in known if part)}".rstrip(": "),
            ]
        )
    return rows


def _when(ticket: RowLike, words: Texts, now_ms: int) -> list[list[str]]:
    began = ticket["began_at_ms"]
    lasts = ticket["resolved_at_ms"] is None
    return [
        [words.get("dossier.since_utc"), words.when(began, "UTC")],
        [words.get("dossier.since_local"), words.when(began)],
        [
            words.get("dossier.lasting"),
            words.get("dossier.still" if lasts else "dossier.over", lasting_for_ms=now_ms - began),
        ],
    ]


def _seen(ticket: RowLike, words: Texts) -> list[str]:
    """What argues for the provider's side, the strongest first."""
    reasons = [Reason.from_dict(raw) for raw in (ticket["verdict"] or {}).get("reasons", [])]
    # What our own desk did with it is nobody else's matter.
    told = sorted(
        (r for r in reasons if r.weight > 0 and not r.key.startswith("reason.intake.")),
        key=lambda r: -r.weight,
    )
    return [words.reason(reason)[:MAX_LINE] for reason in told[:MAX_REASONS]]


def _facts(bodies: Sequence[Mapping[str, Any]], words: Texts) -> list[str]:
    lines = []
    for name, fact in list(_known_facts(bodies).items())[:MAX_FACTS]:
        shown = [
            words.get(f"dossier.fact_{part}", value=_value(words, fact[part], fact.get("unit")))
            for part in ("now", "before", "usual")
            if isinstance(fact.get(part), int | float) and not isinstance(fact.get(part), bool)
        ]
        if shown:
            lines.append(f"{_name(words, name)}: {', '.join(shown)}")
    return lines


def _ruled_out(bodies: Sequence[Mapping[str, Any]], words: Texts) -> list[str]:
    facts = _known_facts(bodies)
    lines = []
    for signal, how, bound, key in RULED_OUT:
        for name, fact in facts.items():
            if name.partition("|")[0] == signal and _is_out(fact, how, bound):
                usual = fact.get("usual") if how == "as_usual" else None
                lines.append(
                    words.get(
                        key,
                        now=_value(words, fact["now"], fact.get("unit")),
                        usual="–" if usual is None else _value(words, usual, fact.get("unit")),
                    )
                )
                break
    return lines


def _is_out(fact: Mapping[str, Any], how: str, bound: float) -> bool:
    now = _number(fact.get("now"))
    if now is None:
        return False
    if how == "at_most":
        return now <= bound
    if how == "at_least":
        return now >= bound
    usual = _number(fact.get("usual"))
    return usual is not None and usual > 0 and now <= usual * bound


def _kernel(bodies: Sequence[Mapping[str, Any]], words: Texts) -> list[str]:
    lines: list[str] = []
    for body in bodies:
        for entry in body.get("log") or []:
            if str(entry.get("source", "")) != "kernel":
                continue
            at_ms = entry.get("at_ms")
            when = f"{words.when(at_ms, 'UTC')}  " if isinstance(at_ms, int) and at_ms > 0 else ""
            lines.append(f"{when}{entry.get('text', '')}"[:MAX_LINE])
    return list(dict.fromkeys(lines))[:MAX_LOG]


def _known_facts(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Facts by name, each from the newest evidence that has it."""
    found: dict[str, Mapping[str, Any]] = {}
    for body in bodies:
        for name, fact in (body.get("facts") or {}).items():
            if isinstance(fact, Mapping):
                found.setdefault(name, fact)
    return found


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    return float(value) if is_number else None


def _value(words: Texts, value: float, unit: Any) -> str:
    shown = words.number(round(value, 2 if abs(value) < 10 else 1))
    key = f"web.unit.{unit}"
    unit = words.get(key) if key in words else str(unit or "")
    return f"{shown} {unit}".strip() if unit not in ("count", "ratio", "bits", "number") else shown


def _name(words: Texts, signal: str) -> str:
    name, _, subject = signal.partition("|")
    key = f"web.signal.{name}"
    return (words.get(key) if key in words else name) + (f" ({subject})" if subject else "")
