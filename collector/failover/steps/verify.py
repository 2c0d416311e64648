"""verify.http and verify.tcp: what a client sees through the public name, and that the old address serves no more.

Seen from the collector here; what other vantages see is asked by the worker beside it (collector.failover.elsewhere).
"""

from __future__ import annotations

import dataclasses

from agent.checks.answer import service_word
from agent.checks.run import run_check
from agent.checks.spec import CheckSettings
from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import Duration, setting

ASK_S = 10.0


@dataclasses.dataclass(frozen=True)
class HttpOptions:
    url: str = setting(help="address by the public name", example="https://www.client.example/health")
    text: str = setting("", help="words that the page must hold, best the backup's own")
    old_url: str = setting(
        "", help="the same by the old primary's address: it must not answer; empty = not asked"
    )

    def checks(self) -> list[tuple[CheckSettings, bool]]:
        """(check, whether it must hold)."""
        found = [(CheckSettings(name="public", type="http", url=self.url, text=self.text), True)]
        if self.old_url:
            found.append((CheckSettings(name="old", type="http", url=self.old_url, text=self.text), False))
        return [(dataclasses.replace(check, timeout_s=Duration(ASK_S)), wanted) for check, wanted in found]


@dataclasses.dataclass(frozen=True)
class TcpOptions:
    host: str = setting(help="public name")
    port: int = setting(help="port", min=1, max=65535)
    old_host: str = setting(
        "", help="the old primary's address: the port must be closed there; empty = not asked"
    )

    def checks(self) -> list[tuple[CheckSettings, bool]]:
        """(check, whether it must hold)."""
        found = [(CheckSettings(name="public", type="tcp", host=self.host, port=self.port), True)]
        if self.old_host:
            found.append((CheckSettings(name="old", type="tcp", host=self.old_host, port=self.port), False))
        return [(dataclasses.replace(check, timeout_s=Duration(ASK_S)), wanted) for check, wanted in found]


class Verify:
    """Either kind; nothing is done, so act and probe are one."""

    effect = "none"

    def __init__(self, kind: str, options: type) -> None:
        self.type = kind
        self.Options = options

    def precheck(self, order: Order) -> Answer:
        order.options(self.Options)
        return Answer(DONE)

    def act(self, order: Order) -> Answer:
        return self.probe(order)

    def probe(self, order: Order) -> Answer:
        seen = {}
        for check, is_wanted in order.options(self.Options).checks():
            answer = run_check(check, ASK_S)
            word = service_word(answer.state)
            seen[check.name] = answer.state
            if answer.state == "unknown":
                return Answer(UNKNOWN, f"{check.name}: {answer.detail}"[:200], evidence=seen)
            if (word in ("ok", "slow")) is not is_wanted:
                what = "does not answer" if is_wanted else "still serves"
                return Answer(NOT_DONE, f"{check.name} {what}: {answer.detail}"[:200], evidence=seen)
        return Answer(DONE, evidence=seen)

    def undo(self, order: Order) -> None:
        return None


HTTP = Verify("verify.http", HttpOptions)
TCP = Verify("verify.tcp", TcpOptions)
