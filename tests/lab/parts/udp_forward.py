"""A UDP forwarder as a program: ADDRESS PORT TO_PORT MUTE AFTER. Answers are dropped while the files MUTE and AFTER exist.

Run in a place of the laboratory; it ends with it.
"""

from __future__ import annotations

import select
import socket
import sys
from pathlib import Path

CLIENTS_MAX = 200


def main(address: str, port: int, to_port: int, mute: Path, after: Path) -> None:
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.bind((address, port))
    far: dict[tuple[str, int], socket.socket] = {}
    while True:
        for one in select.select([near, *far.values()], [], [])[0]:
            if one is near:
                octets, client = near.recvfrom(65536)
                if client not in far:
                    if len(far) >= CLIENTS_MAX:
                        far.pop(next(iter(far))).close()
                    far[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    far[client].connect((address, to_port))
                far[client].send(octets)
                continue
            try:
                octets = one.recv(65536)
            except OSError:
                continue
            if not (mute.exists() and after.exists()):
                near.sendto(octets, next(client for client, sock in far.items() if sock is one))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), Path(sys.argv[5]))
