"""What a check answers: a state out of a closed list, a sentence, how long it took, and facts.

A failure is an answer, not an exception. ``unknown`` says that we could not ask (no permission, no systemd here);
it is never taken for good or bad.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict

STATES = (
    "ok",
    "slow",  # right, but later than slow_ms
    "refused",  # the kernel answers, nobody listens (or the listener hangs up at once)
    "timeout",
    "unreachable",  # a router or our own kernel says: no way there
    "dns",  # the name does not resolve
    "tls",  # the handshake failed or the certificate is not good
    "status",  # HTTP: answered with a status that is not good
    "text",  # answered without the text that was asked for
    "protocol",  # answered with something that is not the protocol
    "banner_timeout",  # SSH: connected, but no banner: the userland hangs
    "kex_timeout",  # SSH: banner came, key exchange hangs: large packets are lost
    "loss",  # ICMP: some answers are missing
    "dead",  # ICMP: none came; unit or process: is not there
    "starting",  # unit: on its way up
    "stopped",  # process: there, but frozen (SIGSTOP or a debugger)
    "warning",  # command: the plugin says WARNING
    "critical",  # command: the plugin says CRITICAL
    "old",  # file: nothing new for too long
    "missing",  # file: is not there
    "small",  # file: is there, but there is too little in it
    "hung",  # the check itself did not come back, not even when it was killed
    "unknown",  # we could not ask
)

GOOD = ("ok", "slow", "loss", "starting", "warning")


@dataclasses.dataclass(frozen=True)
class CheckAnswer:
    """The answer of one run of one check."""

    state: str
    detail: str = ""
    """One sentence in English for people, e.g. ``answered 502 Bad Gateway``. Never holds what the server sent us whole."""
    ms: float = 0.0
    facts: Dict[str, Any] = dataclasses.field(default_factory=dict)
    """Numbers and words behind the state: http_status, tls_days, banner, count, sent, received..."""

    @property
    def is_good(self) -> bool:
        """The thing asked about works, perhaps badly."""
        return self.state in GOOD

    def to_dict(self) -> Dict[str, Any]:
        """Plain values, for ``probes.answer``."""
        return {"state": self.state, "detail": self.detail, "ms": round(self.ms, 1), "facts": self.facts}


def service_word(state: str) -> str:
    """A check's state as the vocabulary's ``ext.svc`` says it: ok, slow, dead or unknown."""
    if state in ("ok", "slow", "unknown"):
        return state
    return "slow" if state in ("loss", "starting", "warning") else "dead"
