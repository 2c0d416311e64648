"""What a silent host's answers mean. Pure: states of probes in, an outcome in the vocabulary's words out.

A missed deadline only makes a suspect; this decides, from what the host itself answered when asked, whether it is
down, hung (its kernel answers, its user space does not), or well without its agent. An ``unknown`` answer (we may not
send ICMP, a probe did not come back) is no evidence either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

PEERS = "peers"
"""The vantage of what peers of several contracts agree on. Weak evidence, and never a ground for fencing."""

USER_SPACE_ANSWERS = frozenset({"ok", "slow", "status", "text", "tls", "protocol"})
"""States in which a program of the host itself spoke."""

_SSH_WORD = {
    "ok": "ok",
    "slow": "ok",
    "protocol": "ok",
    "refused": "refused",
    "timeout": "timeout",
    "unreachable": "timeout",
    "dead": "timeout",
    "banner_timeout": "banner_timeout",
    "kex_timeout": "kex_timeout",
}
_ICMP_WORD = {
    "ok": "ok",
    "slow": "ok",
    "loss": "loss",
    "dead": "dead",
    "timeout": "dead",
    "unreachable": "dead",
}


def icmp_word(state: str) -> str:
    """A ping's state as ``ext.icmp`` says it; "" where it is no evidence."""
    return _ICMP_WORD.get(state, "")


def ssh_word(state: str) -> str:
    """An SSH probe's state as ``ext.tcp22`` says it; "" where it is no evidence."""
    return _SSH_WORD.get(state, "")


@dataclasses.dataclass(frozen=True)
class Asked:
    """One probe's kind and answered state; "" while it has not answered."""

    kind: str
    state: str
    detail: str = ""
    vantage: str = ""
    """Who asked; "" = the collector."""
    peer_of: str = ""
    """The contract that lent the vantage; "" = ours."""
    is_ssh: bool = False
    """Whether a service's check asks for SSH: the engineers' way in, and not what clients are served."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the answers come to."""

    word: str
    """agent_gone, hung, down, path or unknown."""
    icmp: str
    tcp22: str
    svc: str
    """The worst word of what clients are served: one service that fails is not made well by another that answers."""
    speaks: bool = False
    """Whether a program of the host itself spoke."""
    is_mute: bool = False
    """Whether one of the services answers nothing at all; one that answers with an error of its own runs."""

    def facts(self) -> dict[str, dict[str, Any]]:
        """As facts of the silence finding; what nobody answered is left out."""
        words = {
            "silence.outcome": self.word,
            "ext.icmp": self.icmp,
            "ext.tcp22": self.tcp22,
            "ext.svc": self.svc,
        }
        found: dict[str, dict[str, Any]] = {name: {"now": word} for name, word in words.items() if word}
        return found | ({"silence.mute": {"now": True}} if self.is_mute else {})


@dataclasses.dataclass(frozen=True)
class Witness:
    """What the vantages beside the collector make of a suspect."""

    alive: tuple[str, ...] = ()
    """Vantages that reach it."""
    speaks: tuple[str, ...] = ()
    """Of those, vantages to which a program of the host itself spoke."""
    dead: tuple[str, ...] = ()
    """Vantages to which nothing of it answers."""
    services: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Vantage -> its word on the services, for those of our own."""

    def facts(self) -> dict[str, dict[str, Any]]:
        """As facts of the silence finding: who saw what; nothing where nobody else could look."""
        found: dict[str, dict[str, Any]] = {}
        if self.alive:
            found["silence.alive_to"] = {"now": list(self.alive)}
        if self.dead:
            found["silence.dead_to"] = {"now": list(self.dead)}
        return found


def outcome(asked: Sequence[Asked], others: Witness | None = None) -> Outcome:
    """The outcome of a suspicion from our own probes, beside what other vantages saw.

    Dead to us and alive to another is our way to it; dead to us alone and to nobody else asked is down. Where we could
    not ask at all, the others' word stands for ours.
    """
    others = others or Witness()
    own = _seen_from(tuple(a for a in asked if not a.vantage))
    if own.tcp22 == "banner_timeout" and "dead" in others.services.values():
        # Another vantage is not served, and SSH sends no banner: an answer that we got may be a cache's.
        own = dataclasses.replace(own, word=_word(own.icmp, own.tcp22, ["dead"]), svc="dead")
    if own.word == "down" and others.alive:
        return dataclasses.replace(own, word="path")
    if own.tcp22 == "banner_timeout" and "dead" in others.services.values():
        # An answer that we got from a service does not show that programs run: a cache may have given it.
        return dataclasses.replace(own, word="hung", svc="dead")
    if own.word == "hung" and others.speaks and own.icmp == "loss" and own.tcp22 == "timeout":
        # A few pings come through and no connection does, while others are served: packets are lost on our way to it.
        return dataclasses.replace(own, word="path")
    if own.word == "hung" and others.speaks:
        # Something filters us: user space that speaks to another vantage runs.
        return dataclasses.replace(own, word="agent_gone")
    if own.word == "unknown" and (others.alive or others.dead):
        seen = _seen_from(tuple(a for a in asked if a.vantage and not a.peer_of))
        return seen if seen.word != "unknown" else own
    return own


def witness(asked: Sequence[Asked], contracts: int = 2) -> Witness:
    """What vantages of ours saw, each for itself, and what peers of at least so many contracts agree on."""
    by_vantage: dict[tuple[str, str], list[Asked]] = {}
    for one in asked:
        if one.vantage:
            by_vantage.setdefault((one.vantage, one.peer_of), []).append(one)
    alive: list[str] = []
    speaks: list[str] = []
    dead: list[str] = []
    services: dict[str, str] = {}
    peers: dict[str, set[str]] = {}
    for (vantage, peer_of), answers in sorted(by_vantage.items()):
        seen = _seen_from(answers)
        if peer_of:
            peers.setdefault(seen.word, set()).add(peer_of)
            continue
        services[vantage] = seen.svc
        if seen.word == "down":
            dead.append(vantage)
        elif seen.word != "unknown":
            alive.append(vantage)
            if seen.word == "agent_gone" and seen.speaks:
                speaks.append(vantage)
    contracts_dead = peers.pop("down", set())
    contracts_alive = {c for word, who in peers.items() if word != "unknown" for c in who} - contracts_dead
    if len(contracts_dead) >= contracts and not contracts_alive:
        dead.append(PEERS)
    if len(contracts_alive) >= contracts and not contracts_dead:
        alive.append(PEERS)
    return Witness(tuple(alive), tuple(speaks), tuple(dead), services)


def _seen_from(asked: Sequence[Asked]) -> Outcome:
    """What one place's answers come to."""
    icmp = next((icmp_word(a.state) for a in asked if a.kind == "icmp" and icmp_word(a.state)), "")
    ssh = next((ssh_word(a.state) for a in asked if a.kind == "ssh" and ssh_word(a.state)), "")
    answered = [a for a in asked if a.kind in ("service", "tcp") and a.state not in ("", "unknown")]
    services = [a.state for a in answered]
    served = [a.state for a in answered if not a.is_ssh] or services
    svc = ""
    if served:
        svc = "ok" if all(s in ("ok", "slow") for s in served) else "dead"
    speaks = ssh == "ok" or any(s in ("ok", "slow") for s in services)
    is_mute = any(s not in USER_SPACE_ANSWERS for s in served)
    return Outcome(_word(icmp, ssh, services), icmp, ssh, svc, speaks, is_mute)


def _word(icmp: str, ssh: str, services: Sequence[str]) -> str:
    if any(s in USER_SPACE_ANSWERS for s in services) or ssh == "ok":
        return "agent_gone"
    if ssh == "kex_timeout":
        return "path"
    if ssh == "banner_timeout":
        return "hung"
    if ssh == "refused" or "refused" in services:
        return "agent_gone"
    if icmp in ("ok", "loss"):
        # The kernel answers; that a contracted service does not argues that nothing above it runs.
        return "hung" if services else "agent_gone"
    if not icmp and not ssh and not services:
        return "unknown"
    return "down"


def are_we_cut_off(anchors: Mapping[str, str]) -> bool:
    """Whether none of our own anchors answers. Without anchors we cannot know, and say no."""
    answered = [state for state in anchors.values() if state not in ("", "unknown")]
    return bool(answered) and not any(s in USER_SPACE_ANSWERS | {"refused", "loss"} for s in answered)


def is_maimed(anchors: Mapping[str, str]) -> bool:
    """Whether some of our own anchors do not answer: enough to doubt ourselves when unrelated providers fall at once."""
    answered = [state for state in anchors.values() if state not in ("", "unknown")]
    return any(s not in USER_SPACE_ANSWERS | {"refused", "loss"} for s in answered)


def looks_isolated(suspects: int, alive: int, providers: int, answers: int) -> bool:
    """Everybody of at least two providers fell silent at once and nobody answered anything: suspect ourselves first."""
    return alive == 0 and suspects >= 3 and providers >= 2 and answers == 0
