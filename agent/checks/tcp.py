"""Does a TCP port accept a connection, and, where a text is asked for, does the server say it first?"""

from __future__ import annotations

import socket

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline, connect, connect_state, receive
from agent.checks.spec import CheckSettings

MAX_BANNER_BYTES = 4096


def run(spec: CheckSettings, timeout_s: float) -> CheckAnswer:
    """Connect to host and port; ``text`` must stand in the first 4 KiB that the server sends of itself."""
    deadline = Deadline(timeout_s)
    try:
        sock = connect(spec.host, spec.port, deadline)
    except OSError as error:
        state, detail = connect_state(error)
        return CheckAnswer(state, detail, deadline.spent_ms())
    with sock:
        if spec.text:
            return _await_text(sock, spec.text, deadline)
    return CheckAnswer("ok", "accepts connections", deadline.spent_ms())


def _await_text(sock: socket.socket, text: str, deadline: Deadline) -> CheckAnswer:
    wanted = text.encode()
    got = b""
    try:
        while wanted not in got and len(got) < MAX_BANNER_BYTES:
            piece = receive(sock, MAX_BANNER_BYTES, deadline)
            if not piece:
                break
            got += piece
    except socket.timeout:
        return CheckAnswer("timeout", "connected, but the server said nothing in time", deadline.spent_ms())
    except OSError as error:
        return CheckAnswer(
            "refused", f"connected, then cut off: {error.strerror or error}", deadline.spent_ms()
        )
    if wanted in got:
        return CheckAnswer("ok", "said what was asked for", deadline.spent_ms())
    return CheckAnswer("text", "connected, but the server said something else", deadline.spent_ms())
