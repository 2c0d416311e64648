"""Asks the small root program (agent.privileged) one question, over its socket; blocking, so from a thread only.

Who is root already (``once`` in a person's hand) is answered in this process. An answer is text or a reason.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Callable, NamedTuple, Union

SOCKET = "run/vartovyi/privileged.sock"
TIMEOUT_S = 50.0
"""The other side waits 25 s for its turn and 20 s for its command."""
MAX_ANSWER = 1024 * 1024 + 4096


class NoAnswer(NamedTuple):
    """Why there is no text."""

    why: str
    is_hung: bool = False
    """The reader itself hangs: which is a fault of what it reads."""


Ask = Callable[[str], Union[str, NoAnswer]]
"""A question (``smart sda``) -> what was printed, or why nothing was."""


def asker(root: Path = Path("/")) -> Union[Ask, NoAnswer]:
    """The way to ask on this machine, or why there is none."""
    place = root / SOCKET
    if place.exists():
        return lambda question: ask(place, question)
    if root == Path("/") and os.geteuid() == 0:
        return ask_here
    return NoAnswer("only root may read this, and vartovyi-privileged.socket is not installed")


def ask(place: Path, question: str) -> Union[str, NoAnswer]:
    """Ask over the socket."""
    octets = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(place))
            connection.sendall(question.encode("ascii", "replace") + b"\n")
            while len(octets) < MAX_ANSWER:
                part = connection.recv(65536)
                if not part:
                    break
                octets += part
    except socket.timeout:
        return NoAnswer(f"no answer within {TIMEOUT_S:g} s", is_hung=True)
    except OSError as error:
        return NoAnswer(f"the root-only reader cannot be asked: {(error.strerror or str(error)).lower()}")
    return told(octets)


def ask_here(question: str) -> Union[str, NoAnswer]:
    """The same in this process, as root."""
    from agent.privileged import answer

    return told(answer(question).octets())


def told(octets: bytes) -> Union[str, NoAnswer]:
    """An answer's octets as text, or as the reason that they give."""
    head, line_end, body = octets.partition(b"\n")
    try:
        said = json.loads(head)
        state, why = str(said["state"]), str(said["why"])
    except (ValueError, KeyError, TypeError):
        return NoAnswer("the root-only reader said something else")
    if state == "ok" and line_end:
        return body.decode("utf-8", "replace")
    return NoAnswer(why or state, is_hung=state == "hung")
