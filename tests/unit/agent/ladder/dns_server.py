"""A small real DNS server: a process on UDP that answers, keeps silent, or says SERVFAIL; the mode is read from stdin."""

from __future__ import annotations

import socket
import struct
import sys
import threading

RCODES = {"answer": 0, "servfail": 2, "nxdomain": 3, "refused": 5}


def reply(query: bytes, mode: str) -> bytes:
    """The answer to one query: an address for `answer`, else only the code."""
    (number,) = struct.unpack_from(">H", query)
    end = 12
    while query[end]:
        end += 1 + query[end]
    asked = query[12 : end + 5]
    answers = b""
    if mode == "answer":
        kind = struct.unpack(">H", asked[-4:-2])[0]
        address = b"\x7f\x00\x00\x07" if kind == 1 else b"\0" * 15 + b"\x07"
        answers = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(address)) + address
    head = struct.pack(">HHHHHH", number, 0x8180 | RCODES[mode], 1, int(bool(answers)), 0, 0)
    return head + asked + answers


class DnsServer:
    """One server; ``mode`` may be changed while it runs: answer, servfail, nxdomain, refused, silent, liar."""

    def __init__(self, address: str, port: int = 0, mode: str = "answer") -> None:
        self.mode = mode
        self.asked = 0
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((address, port))
        self.port = self.sock.getsockname()[1]

    def serve(self) -> None:
        while True:
            try:
                query, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            self.asked += 1
            if self.mode == "silent" or len(query) < 17:
                continue
            if self.mode == "liar":
                # The right number for a name that nobody asked for.
                other = query[:12] + b"\x05other\x03net\0" + query[-4:]
                self.sock.sendto(reply(other, "answer"), peer)
                continue
            self.sock.sendto(reply(query, self.mode), peer)

    def start(self) -> None:
        threading.Thread(target=self.serve, daemon=True).start()

    def stop(self) -> None:
        self.sock.close()


if __name__ == "__main__":
    server = DnsServer(sys.argv[1], int(sys.argv[2]))
    server.start()
    print("ready", flush=True)
    for line in sys.stdin:
        server.mode = line.strip()
        print("ready", flush=True)
