"""What the intake answers when it does not take a report: status, code, and a sentence for the agent's admin."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from agent.wire import WIRE_VERSION


@dataclasses.dataclass(frozen=True)
class Rejected:
    """Why a report was not taken: an HTTP status, a code, and a sentence that tells the agent's admin what to do."""

    status: int
    error: str
    detail: str
    want_n: int | None = None
    retry_after_s: int | None = None

    def to_json(self) -> bytes:
        """The body of the answer."""
        body: dict[str, Any] = {"v": WIRE_VERSION, "error": self.error, "detail": self.detail}
        if self.want_n is not None:
            body["want_n"] = self.want_n
        return msgspec.json.encode(body)


NO_TOKEN = Rejected(401, "no_token", "Send the host's token as `Authorization: Bearer TOKEN`.")
BAD_TOKEN = Rejected(
    401, "bad_token", "This token is not known here: enrol the host again and give the agent its new token."
)
RETIRED = Rejected(
    401, "retired", "This host was taken out of service here; stop its agent or enrol it again."
)
TOO_MANY = Rejected(429, "too_many", "More reports a second than one host may send.", retry_after_s=1)
