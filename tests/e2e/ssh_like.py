"""A server that speaks SSH up to its key exchange and no further: what a probe needs, in packets of full size.

python -m tests.e2e.ssh_like PORT
"""

from __future__ import annotations

import contextlib
import socketserver
import struct
import sys

from agent.checks.ssh import KEX_REPLY, offer, packet


class Handler(socketserver.StreamRequestHandler):
    timeout = 20

    def handle(self) -> None:
        with contextlib.suppress(OSError, struct.error):
            self.wfile.write(b"SSH-2.0-OpenSSH_8.7\r\n")
            self.rfile.readline(255)
            self._packet()
            self.wfile.write(packet(offer()))
            self._packet()
            self.wfile.write(packet(bytes([KEX_REPLY]) + b"\0" * 64))

    def _packet(self) -> None:
        (length,) = struct.unpack(">I", self.rfile.read(4))
        self.rfile.read(length)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    with Server(("0.0.0.0", int(sys.argv[1])), Handler) as server:
        server.serve_forever()
