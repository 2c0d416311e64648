"""What a silent host's answers mean. Pure: states of probes in, an outcome in the vocabulary's words out.

A missed deadline only makes a suspect; this decides, from what the host itself answered when asked, whether it is
down, hung (its kernel answers, its user space does not), or well without its agent. An ``unknown`` answer (we may not
send ICMP, a probe did not come back) is no evidence either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

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


@dataclasses.dataclass(frozen=True)
class Asked:
    """One probe's kind and answered state; "" while it has not answered."""

    kind: str
    state: str
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the answers come to."""

    word: str
    """agent_gone, hung, down, path or unknown."""
    icmp: str
    tcp22: str
    svc: str

    def facts(self) -> dict[str, dict[str, str]]:
        """As facts of the silence finding; what nobody answered is left out."""
        words = {
            "silence.outcome": self.word,
            "ext.icmp": self.icmp,
            "ext.tcp22": self.tcp22,
            "ext.svc": self.svc,
        }
        return {name: {"now": word} for name, word in words.items() if word}


def outcome(asked: Sequence[Asked], is_seen_elsewhere: bool = False) -> Outcome:
    """The outcome of a suspicion from its probes; what is dead to us and alive to another vantage is our way to it."""
    icmp = next(
        (_ICMP_WORD.get(a.state, "") for a in asked if a.kind == "icmp" and _ICMP_WORD.get(a.state)), ""
    )
    ssh = next((_SSH_WORD.get(a.state, "") for a in asked if a.kind == "ssh" and _SSH_WORD.get(a.state)), "")
    services = [a.state for a in asked if a.kind in ("service", "tcp") and a.state not in ("", "unknown")]
    svc = ""
    if services:
        svc = "ok" if any(s in ("ok", "slow") for s in services) else "dead"
    word = _word(icmp, ssh, services)
    return Outcome("path" if word == "down" and is_seen_elsewhere else word, icmp, ssh, svc)


def is_alive_elsewhere(words: Mapping[str, Mapping[str, object]]) -> bool:
    """Whether another vantage reaches the host: signal -> vantage -> the word that it saw last."""
    icmp = [word for vantage, word in words.get("ext.icmp", {}).items() if vantage]
    others = [
        word
        for signal in ("ext.tcp22", "ext.svc")
        for vantage, word in words.get(signal, {}).items()
        if vantage and words.get("ext.icmp", {}).get(vantage) != "dead"
    ]
    return any(word in ("ok", "loss") for word in icmp) or any(word in ("ok", "slow") for word in others)


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


def looks_isolated(suspects: int, alive: int, providers: int, answers: int) -> bool:
    """Everybody of at least two providers fell silent at once and nobody answered anything: suspect ourselves first."""
    return alive == 0 and suspects >= 3 and providers >= 2 and answers == 0
