"""One command over SSH to one host, within a deadline that is ours: the only door to paramiko.

A link that is cut in the middle of a command never ends by itself (measured: neither keepalive nor paramiko's own
time-outs bound waiting for the exit status), so the exit is polled against our clock and the transport is closed. What
had begun by then may have been done all the same: "late" and "cut" mean unknown, and the caller probes. The host key is
pinned: another one is a stop, never a question. Nothing is asked of a person, no agent and no password is used.
"""

from __future__ import annotations

import dataclasses
import select
import socket
from pathlib import Path

import paramiko
from paramiko.ssh_exception import IncompatiblePeer

from config.clock import perf_seconds

CONNECT_S = 5.0
BANNER_S = 8.0
OUT_MAX = 64 * 1024
POLL_S = 0.1
LAST_WORDS_S = 1.0
"""What a command said may come after its exit status; a child of it that holds the line open is not waited for."""
SURE = frozenset({"ok"})
"""Only then is the exit status known."""
NOT_BEGUN = frozenset({"refused", "timeout", "banner_timeout", "kex_timeout", "wrong_key", "auth", "no_key"})
"""Nothing was asked of the host: the command did not begin."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Where, as whom, and how we know that it is the one."""

    address: str
    user: str
    key_file: Path
    host_key: str
    """``type base64`` as in known_hosts; "" = none is pinned, and then nothing is said to it."""
    port: int = 22


@dataclasses.dataclass(frozen=True)
class Said:
    """What came of it."""

    state: str
    """ok, or what went wrong: refused, timeout, banner_timeout, kex_timeout, wrong_key, auth, no_key, late, cut."""
    rc: int | None = None
    out: str = ""
    err: str = ""
    detail: str = ""

    @property
    def is_unknown(self) -> bool:
        """Whether the command may have run without our knowing its end."""
        return self.state in ("late", "cut")


class _Failed(Exception):
    """A stage failed; the state is its argument."""


def say(target: Target, command: str, deadline_s: float) -> Said:
    """Run the command and wait for its end, at most ``deadline_s`` seconds in all."""
    ends_s = perf_seconds() + deadline_s
    if not target.host_key:
        return Said("no_key", detail="no host key is pinned")
    sock: socket.socket | None = None
    transport: paramiko.Transport | None = None
    try:
        sock = _connected(target, _left(ends_s, CONNECT_S))
        _wait_for_banner(sock, _left(ends_s, BANNER_S))
        transport = _shaken(sock, target, ends_s)
        _logged_in(transport, target, ends_s)
        return _ran(transport, command, ends_s)
    except _Failed as failed:
        state, detail = failed.args
        return Said(state, detail=detail)
    finally:
        # The socket first: closing a transport waits for its thread, and the thread for the socket.
        if sock is not None:
            sock.close()
        if transport is not None:
            transport.close()


def _left(ends_s: float, at_most_s: float = 1e9) -> float:
    left = min(at_most_s, ends_s - perf_seconds())
    if left <= 0:
        raise _Failed("timeout", "the time was over before the command began")
    return left


def _connected(target: Target, timeout_s: float) -> socket.socket:
    try:
        sock = socket.create_connection((target.address, target.port), timeout=timeout_s)
    except TimeoutError:
        raise _Failed("timeout", "no answer to the connection") from None
    except ConnectionRefusedError:
        raise _Failed("refused", "the port is closed") from None
    except OSError as error:
        raise _Failed("timeout", error.strerror or type(error).__name__) from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(BANNER_S * 1000))
    return sock


def _wait_for_banner(sock: socket.socket, timeout_s: float) -> None:
    """paramiko tells a silent sshd from a dead one only in the text of an error: look at the raw socket first."""
    readable, _, _ = select.select([sock], [], [], timeout_s)
    if not readable:
        raise _Failed("banner_timeout", "connected, but no banner came")
    try:
        first = sock.recv(4, socket.MSG_PEEK)
    except OSError as error:
        raise _Failed("banner_timeout", error.strerror or type(error).__name__) from None
    if not first:
        raise _Failed("banner_timeout", "the connection was closed before the banner")


def _shaken(sock: socket.socket, target: Target, ends_s: float) -> paramiko.Transport:
    kind, _, blob = target.host_key.partition(" ")
    transport = paramiko.Transport(sock)
    try:
        kinds = ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)
        transport.get_security_options().key_types = kinds
        transport.banner_timeout = _left(ends_s, BANNER_S)
        transport.start_client(timeout=_left(ends_s, BANNER_S))
        shown = transport.get_remote_server_key().get_base64()
    except _Failed:
        transport.close()
        raise
    except ValueError:
        transport.close()
        raise _Failed("no_key", f"a host key of kind {kind} cannot be checked") from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        transport.close()
        is_other = isinstance(error, IncompatiblePeer)
        word = "wrong_key" if is_other else "kex_timeout"
        raise _Failed(word, str(error)[:200] or type(error).__name__) from None
    if shown != blob.split(" ")[0]:
        transport.close()
        raise _Failed("wrong_key", "the host shows another key than the pinned one")
    return transport


def _logged_in(transport: paramiko.Transport, target: Target, ends_s: float) -> None:
    try:
        key = paramiko.PKey.from_path(target.key_file)
        transport.auth_timeout = _left(ends_s)
        transport.auth_publickey(target.user, key)
    except paramiko.AuthenticationException as error:
        raise _Failed("auth", f"{target.user} is not let in ({type(error).__name__})") from None
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        raise _Failed("auth", f"{type(error).__name__}: {error}"[:200]) from None


def _ran(transport: paramiko.Transport, command: str, ends_s: float) -> Said:
    try:
        channel = transport.open_session(timeout=_left(ends_s))
        channel.settimeout(POLL_S)
        channel.exec_command(command)
    except (paramiko.SSHException, OSError, EOFError) as error:
        return Said("cut", detail=f"{type(error).__name__}: {error}"[:200])
    out, err = bytearray(), bytearray()
    ended_s: float | None = None
    while True:
        if channel.exit_status_ready() and ended_s is None:
            ended_s = perf_seconds()
        has_come = _take(channel, out) | _take(channel, err, is_err=True)
        now_s = perf_seconds()
        if ended_s is not None and not has_come and (channel.eof_received or now_s > ended_s + LAST_WORDS_S):
            rc = channel.recv_exit_status()
            return (
                _said("ok", out, err, rc) if rc >= 0 else _said("cut", out, err, None, "no exit status came")
            )
        if now_s > ends_s:
            return _said("late", out, err, None, "no end in time")
        if ended_s is None and not transport.is_active():
            return _said("cut", out, err, None, "the link broke")
        if not has_come and channel.eof_received and ended_s is None:
            channel.status_event.wait(POLL_S)


def _said(state: str, out: bytearray, err: bytearray, rc: int | None, detail: str = "") -> Said:
    return Said(state, rc, out.decode(errors="replace"), err.decode(errors="replace"), detail)


def _take(channel: paramiko.Channel, into: bytearray, *, is_err: bool = False) -> bool:
    """Read what has come; past the bound it is read and thrown away, so that a talkative command can end."""
    try:
        if is_err:
            if not channel.recv_stderr_ready():
                return False
            got = channel.recv_stderr(32 * 1024)
        else:
            got = channel.recv(32 * 1024)
    except TimeoutError:
        return False
    into += got[: max(0, OUT_MAX - len(into))]
    return bool(got)
