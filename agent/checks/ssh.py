"""How far does an SSH server get? Its answer is a stage, not a boolean.

refused: the kernel lives, sshd does not. timeout: nothing answers. banner_timeout: the kernel accepts, the userland
hangs. kex_timeout: small packets pass, large ones do not (MTU hole). ok: a key exchange was answered.

No key is ever agreed on and nobody logs in: we send a key-exchange offer large enough to fill a packet, any valid
public value, and look whether the server answers. So no cryptography is needed, and no secret is in play.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import List, Tuple

from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline, connect, connect_state, receive
from agent.checks.spec import CheckSettings

OUR_BANNER = b"SSH-2.0-Vartovyi_probe\r\n"
MAX_BANNER_BYTES = 8192
MAX_PACKET_BYTES = 35_000
KEXINIT, KEX_INIT, KEX_REPLY, DISCONNECT = 20, 30, 31, 1
LARGE_OFFER_BYTES = 1500

_P256_BASE_POINT = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
"""A public value that every server must take as valid; FIPS servers know no curve25519, where any 32 bytes are."""

_KEX = ("curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
_HOST_KEYS = "rsa-sha2-512,rsa-sha2-256,ssh-rsa,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,ssh-ed25519"
_CIPHERS = "aes128-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com"
_MACS = "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1"


class _Closed(Exception):
    """The server hung up."""


class _Stream:
    """Reads lines and packets under one deadline."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        self._got = b""

    def _more(self) -> None:
        piece = receive(self._sock, 16_384, self._deadline)
        if not piece:
            raise _Closed
        self._got += piece

    def line(self) -> bytes:
        """Up to the next newline, which is cut off; a server may not talk for longer than MAX_BANNER_BYTES."""
        while b"\n" not in self._got:
            if len(self._got) > MAX_BANNER_BYTES:
                return self._got
            self._more()
        line, _, self._got = self._got.partition(b"\n")
        return line.rstrip(b"\r")

    def packet(self) -> bytes:
        """The payload of the next unencrypted packet."""
        while len(self._got) < 5:
            self._more()
        length, padding = struct.unpack(">IB", self._got[:5])
        if not 2 <= length <= MAX_PACKET_BYTES or padding >= length:
            raise ValueError("no SSH packet")
        while len(self._got) < 4 + length:
            self._more()
        payload = self._got[5 : 4 + length - padding]
        self._got = self._got[4 + length :]
        return payload


def run(spec: CheckSettings, timeout_s: float) -> CheckAnswer:
    """Connect, read the banner, try a key exchange. Facts: banner, stage."""
    deadline = Deadline(timeout_s)
    try:
        sock = connect(spec.host, spec.port or 22, deadline)
    except OSError as error:
        state, detail = connect_state(error)
        return CheckAnswer(state, detail, deadline.spent_ms(), {"stage": "connect"})
    with sock:
        return _talk(sock, deadline)


def _talk(sock: socket.socket, deadline: Deadline) -> CheckAnswer:
    stream = _Stream(sock, deadline)
    facts = {"stage": "banner"}
    try:
        banner = _banner(stream)
        if banner is None:
            return CheckAnswer(
                "protocol", "something else than SSH listens there", deadline.spent_ms(), facts
            )
        facts = {"stage": "kex", "banner": banner}
        sock.settimeout(deadline.left_s())
        sock.sendall(OUR_BANNER + packet(offer()))
        names = _kex_names(_await(stream, KEXINIT))
        common = [name for name in _KEX if name in names]
        if not common:
            return CheckAnswer("ok", "offers a key exchange (none that we know)", deadline.spent_ms(), facts)
        point = _P256_BASE_POINT if "nistp256" in common[0] else os.urandom(32)
        sock.sendall(packet(bytes([KEX_INIT]) + _string(point)))
        _await(stream, KEX_REPLY)
        facts["stage"] = "done"
        return CheckAnswer("ok", "answers a key exchange", deadline.spent_ms(), facts)
    except socket.timeout:
        if facts["stage"] == "banner":
            return CheckAnswer(
                "banner_timeout", "accepts the connection, but sends no banner", deadline.spent_ms(), facts
            )
        return CheckAnswer("kex_timeout", "sends its banner, but no key exchange", deadline.spent_ms(), facts)
    except (_Closed, OSError):
        if facts["stage"] == "banner":
            return CheckAnswer(
                "refused", "closes the connection before its banner", deadline.spent_ms(), facts
            )
        # It talks SSH and hung up by its own will (limits, penalties): the server is well.
        return CheckAnswer("ok", "talks SSH, then closes the connection", deadline.spent_ms(), facts)
    except ValueError:
        return CheckAnswer("protocol", "something else than SSH listens there", deadline.spent_ms(), facts)


def _banner(stream: _Stream) -> str | None:
    """The server's version line; it may send up to 50 other lines first (RFC 4253, 4.2)."""
    for _ in range(50):
        line = stream.line()
        if line.startswith(b"SSH-"):
            return "".join(c if " " < c <= "~" else "?" for c in line[:80].decode("latin-1"))
    return None


def _await(stream: _Stream, kind: int) -> bytes:
    for _ in range(20):
        payload = stream.packet()
        if payload[:1] == bytes([kind]):
            return payload
        if payload[:1] == bytes([DISCONNECT]):
            raise _Closed
    raise ValueError("no key exchange")


def _kex_names(payload: bytes) -> List[str]:
    (length,) = struct.unpack_from(">I", payload.ljust(21, b"\0"), 17)
    return payload[21 : 21 + length].decode("latin-1").split(",")


def _string(octets: bytes) -> bytes:
    return struct.pack(">I", len(octets)) + octets


def offer() -> bytes:
    """Our SSH_MSG_KEXINIT, filled with private names until it takes more than one full-size packet."""
    filler = ",".join(f"padding-{n:03d}@vartovyi.invalid" for n in range(LARGE_OFFER_BYTES // 30 + 1))
    kex = ",".join(_KEX) + "," + filler
    lists: Tuple[str, ...] = (kex, _HOST_KEYS, _CIPHERS, _CIPHERS, _MACS, _MACS, "none", "none", "", "")
    return (
        bytes([KEXINIT])
        + os.urandom(16)
        + b"".join(_string(names.encode()) for names in lists)
        + b"\0\0\0\0\0"
    )


def packet(payload: bytes) -> bytes:
    """An unencrypted SSH packet: length, padding length, payload, padding to a multiple of eight."""
    padding = 8 - (len(payload) + 5) % 8
    if padding < 4:
        padding += 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + b"\0" * padding
