"""What several steps share: words to a host's ``vartovyi-step`` over SSH, and what they mean. The wrapper keeps the laws.

A step runs detached on the host under the order's key: the link may break and come again, the key is done once. The
pair's name travels as a word that no shell could take for anything else.
"""

from __future__ import annotations

import re
import socket

from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from collector.ssh import NOT_BEGUN, Said, say
from config.clock import perf_seconds

REFUSED_EPOCH = 75
NOT_ALLOWED = 65
POLL_S = 0.5
SAY_S = 15.0
ALIVE_S = 2.0
_WORD = re.compile(r"[A-Za-z0-9_+:@,=/][A-Za-z0-9._+:@,=/-]{0,199}")


def pair_word(pair: str) -> str:
    """The pair's name as a host's file and word."""
    return pair.replace(">", "+")


def speak(order: Order, host: str, *words: str, deadline_s: float = SAY_S) -> Said:
    """Say these words to the host's wrapper."""
    wrong = [word for word in words if not _WORD.fullmatch(word) or ".." in word]
    if wrong:
        return Said("refused", detail=f"not a word that may travel: {wrong[0]!r}"[:200])
    return say(order.ssh(host), " ".join(words), deadline_s)


def run_there(order: Order, host: str, step: str, *args: str) -> Answer:
    """Begin an allowed step on the host, and wait for its end until the order's deadline."""
    ends_s = perf_seconds() + order.deadline_s
    limit = str(max(1, min(900, round(order.step.deadline_s))))
    pair = pair_word(order.plan.pair)
    words = ("run", pair, str(order.epoch), order.key, limit, step, *args)
    said = speak(order, host, *words, deadline_s=min(SAY_S, order.deadline_s))
    if said.state in NOT_BEGUN:
        return Answer(NOT_DONE, f"{host}: {said.state}: {said.detail}", evidence={"ssh": said.state})
    if said.state == "ok" and said.rc != 0:
        return Answer(NOT_DONE, f"{host}: {said.out.strip()}", evidence={"rc": said.rc})
    while perf_seconds() < ends_s:
        answer = ended(speak(order, host, "status", pair, order.key), host)
        if answer is not None:
            return answer
        order.pause(POLL_S)
    return Answer(UNKNOWN, f"{host}: {step} has not ended in time")


def ended(said: Said, host: str) -> Answer | None:
    """What a status line says of a step that is over; None while it runs or nobody answers."""
    first, _, words = said.out.partition("\n")
    if said.state != "ok" or said.rc != 0 or first in ("running", "none"):
        return None
    told = {"said": words.strip()[-200:]}
    if first == "rc 0":
        return Answer(DONE, evidence=told)
    # Killed at its limit (124, 137) or lost in a boot: nobody knows how far it came.
    outcome = UNKNOWN if first in ("lost", "rc 124", "rc 137") else NOT_DONE
    return Answer(outcome, f"{host}: {first}: {words.strip()[-200:]}", evidence=told)


def ask(order: Order, host: str, name: str, *args: str) -> str | None:
    """The first line of what an allowed ask answers; None where nothing certain came."""
    said = speak(order, host, "ask", pair_word(order.plan.pair), "10", name, *args)
    return said.out.strip().split("\n")[0] if said.state == "ok" and said.rc == 0 else None


def can_speak(order: Order, host: str, epoch: int) -> Answer:
    """Precheck of whatever goes through the wrapper: it answers, and knows no higher epoch than ours."""
    said = speak(order, host, "epoch", pair_word(order.plan.pair))
    if said.state != "ok" or said.rc != 0:
        return Answer(
            NOT_DONE, f"{host}: {said.state} {said.detail}{said.out.strip()}", evidence={"ssh": said.state}
        )
    words = said.out.split()
    known = int(words[5]) if len(words) == 6 and words[5].isdecimal() else None
    if known is None:
        return Answer(UNKNOWN, f"{host}: {said.out.strip()[:100]}")
    return Answer(
        DONE if known <= epoch else NOT_DONE, "" if known <= epoch else f"{host} knows epoch {known}"
    )


def is_alive(address: str, ports: tuple[int, ...] = (22,)) -> bool:
    """Whether anything of the host answers: proof that it is not off. Silence proves nothing."""
    for port in ports:
        try:
            socket.create_connection((address, port), timeout=ALIVE_S).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            continue
        return True
    return False
