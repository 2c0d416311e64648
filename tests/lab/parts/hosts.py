"""What stands on a host beside its database: the shipped steps and asks, and the gate with a peer that it asks over real SSH."""

from __future__ import annotations

from pathlib import Path

from tests.lab.house import ADDRESS, SSH_PORT, House
from tests.lab.parts.orders import BACKUP, PLACE, PRIMARY, WORD
from tests.lab.sshd import SHIPPED


def furnish(house: House, *, service: str, standby: dict[str, str] | None = None) -> None:
    """sshd, steps, asks and the pair's file on both hosts.

    ``standby``: place -> the gate's command that says that the service would take no writes.
    """
    for host, place in PLACE.items():
        sshd = house.sshd(place)
        for kind in ("steps", "asks"):
            for shipped in (SHIPPED / kind).iterdir():
                link = sshd.etc / kind / shipped.name
                link.unlink(missing_ok=True)
                link.symlink_to(shipped)
        # As its engineer sets a new pair up: a1 is the primary.
        (sshd.state / WORD).mkdir(exist_ok=True)
        (sshd.state / WORD / "epoch").write_text(f"0 {PRIMARY}\n")
        other = PLACE[BACKUP if host == PRIMARY else PRIMARY]
        (sshd.etc / "pairs" / WORD).write_text(
            f"host={host}\nservice={service}\nttl=10\npeer={_peer(house, place, other)}\n"
            f"standby={(standby or {}).get(place, '')}\n"
        )


def _peer(house: House, place: str, other: str) -> str:
    """The command by which a host learns what the other one knows: the same wrapper, by a key and a pinned host key."""
    there, folder = house.sshd(other), house.sshd(place).folder
    known = folder / "known_hosts"
    known.write_text(f"{ADDRESS[other]} {there.host_key}\n")
    return (
        f"ssh -F none -i {there.folder / 'user'} -o BatchMode=yes -o ConnectTimeout=3 -o UserKnownHostsFile={known}"
        f" -p {SSH_PORT} root@{ADDRESS[other]} epoch {WORD}"
    )


def gate(house: House, place: str, verb: str) -> tuple[int, str]:
    """``vartovyi-gate VERB PAIR`` there: its status and words."""
    done = house.exec(place, [str(SHIPPED / "vartovyi-gate"), verb, WORD], env=env(house, place), check=False)
    return done.returncode, done.stderr


def may_start(house: House, place: str, host: str) -> bool:
    """Whether the host's gate lets its service start."""
    status, said = gate(house, place, "check")
    assert status in (0, 1), f"{host}: {said}"
    return status == 0


def epoch_of(house: House, place: str) -> str:
    """What the host knows, e.g. ``1 b9``."""
    path = house.sshd(place).state / WORD / "epoch"
    return path.read_text().strip() if path.exists() else "0 -"


def env(house: House, place: str) -> dict[str, str]:
    sshd = house.sshd(place)
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(Path("/root")),
        "VARTOVYI_FAILOVER_ETC": str(sshd.etc),
        "VARTOVYI_FAILOVER_STATE": str(sshd.state),
    }
