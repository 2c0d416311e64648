"""/proc/mdstat: software RAID arrays, whether each is whole."""

from __future__ import annotations

import re
from typing import List, NamedTuple, Tuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import MAX_DIGITS, decimal, whole

_ARRAY = re.compile(r"^([\w.+-]+) : (active|inactive)(?: \((?:auto-)?(read-only)\))?(.*)$")
_COMPONENT = re.compile(r"([\w/.!+-]+)\[(\d+)\]((?:\([A-Z]\))*)")
_MEMBERS = re.compile(r"\[(\d+)/(\d+)\](?: \[([U_]+)\])?")
_ACTION = re.compile(r"(recovery|resync|reshape|check|repair)\s*=\s*(?:([\d.]+)%|(DELAYED|PENDING))")


class MdArray(NamedTuple):
    """One array."""

    name: str
    is_active: bool
    level: str
    """raid1, raid5, ...; "" for an inactive array, which names none."""
    components: Tuple[str, ...]
    failed: Tuple[str, ...]
    spares: Tuple[str, ...]
    wanted: int
    """Members that the array should have; 0 where mdstat does not say (raid0, linear)."""
    present: int
    action: str
    """recovery, resync, reshape, check or repair under way; "" = none."""
    done_pct: float

    def state(self) -> str:
        """The vocabulary's word for ``hw.md``: a missing member outweighs everything but a rebuild of just that."""
        if not self.is_active:
            return "inactive"
        is_short = self.present < self.wanted or bool(self.failed)
        if is_short:
            return "rebuilding" if self.action == "recovery" else "degraded"
        return "rebuilding" if self.action in ("recovery", "reshape") else "ok"


def parse_mdstat(text: str) -> List[MdArray]:
    """All arrays, in the file's order; an empty list where there are none."""
    if not text.startswith("Personalities"):
        raise ParseError("expected a line that begins with Personalities")
    arrays: List[MdArray] = []
    for line in text.split("\n")[1:]:
        match = _ARRAY.match(line)
        if match:
            arrays.append(_array(match))
        elif arrays and line[:1] in (" ", "\t"):
            arrays[-1] = _more(arrays[-1], line)
    return arrays


def _array(match: re.Match[str]) -> MdArray:
    rest = match.group(4)
    components = _COMPONENT.findall(rest)
    words = [word for word in rest.split() if "[" not in word]
    level = words[0] if words and not words[0].startswith("(") else ""
    return MdArray(
        match.group(1),
        match.group(2) == "active",
        level,
        tuple(name for name, _, _ in components),
        tuple(name for name, _, flags in components if "(F)" in flags),
        tuple(name for name, _, flags in components if "(S)" in flags),
        0,
        0,
        "",
        0.0,
    )


def _more(array: MdArray, line: str) -> MdArray:
    members = _MEMBERS.search(line)
    if members:
        if max(len(members.group(1)), len(members.group(2))) > MAX_DIGITS:
            raise ParseError("expected a number of members")
        array = array._replace(wanted=whole(members.group(1)), present=whole(members.group(2)))
    action = _ACTION.search(line)
    if action:
        done = decimal(action.group(2)) if action.group(2) else 0.0
        array = array._replace(action=action.group(1), done_pct=done)
    return array
