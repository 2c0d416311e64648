"""What ``systemctl show`` and ``systemctl list-units`` print."""

from __future__ import annotations

from typing import Dict, List, NamedTuple

from agent.signals.parsers.error import ParseError


class UnitState(NamedTuple):
    """One unit."""

    name: str
    load: str
    active: str
    sub: str
    result: str
    restarts: int
    """Automatic restarts since the unit was last started by hand; 0 where this systemd (219) does not count."""
    pid: int


def parse_show(text: str) -> List[UnitState]:
    """Blocks of ``Key=value`` lines, parted by empty lines."""
    units: List[UnitState] = []
    for block in text.split("\n\n"):
        values: Dict[str, str] = {}
        for line in block.split("\n"):
            key, equals, value = line.partition("=")
            if equals:
                values[key] = value
            elif line.strip():
                raise ParseError("expected lines of key=value")
        if not values:
            continue
        if "Id" not in values or "ActiveState" not in values:
            raise ParseError("expected Id and ActiveState")
        units.append(
            UnitState(
                values["Id"],
                values.get("LoadState", ""),
                values["ActiveState"],
                values.get("SubState", ""),
                values.get("Result", ""),
                _count(values.get("NRestarts", "0")),
                _count(values.get("MainPID", "0")),
            )
        )
    return units


def _count(text: str) -> int:
    return int(text) if text.isdigit() and text.isascii() and len(text) < 20 else 0


def parse_list_units(text: str) -> List[UnitState]:
    """``systemctl list-units --plain --no-legend``: name, load, active, sub, description."""
    units: List[UnitState] = []
    for line in text.split("\n"):
        fields = line.lstrip("●*× ").split(None, 4)
        if not fields:
            continue
        if len(fields) < 4:
            raise ParseError("expected a unit and three states")
        units.append(UnitState(fields[0], fields[1], fields[2], fields[3], "", 0, 0))
    return units
