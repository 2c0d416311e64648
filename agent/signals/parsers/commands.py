"""Two shapes that most commands print: lines of ``key: value`` in blocks, and a table under a line of headings.

The agent runs few commands (smartctl, systemctl, journalctl, mdadm, virsh, ipmitool, an admin's own checks), and reads
/proc wherever it can; these two parsers take what is left: values stay text, and the caller asks for the one it needs.
"""

from __future__ import annotations

import re
from typing import Dict, List, Tuple

from agent.signals.parsers.error import ParseError
from agent.signals.parsers.numbers import decimal

MAX_LINES = 100_000
MAX_COLUMNS = 200
_FIELD = re.compile(r"^\s*([A-Za-z/#(][^:=\t]{0,80}?)\s*(?::\s|:$|=\s?|\t+: ?|\t+)\s*(.*?)\s*$")


def parse_fields(text: str) -> List[Dict[str, str]]:
    """Blocks, parted by empty lines, of ``key: value``, ``key = value`` or ``key<TAB>value``; of a key twice the first.

    A line without a key that is indented goes on with the value before it; another one ends nothing and is left out.
    """
    blocks: List[Dict[str, str]] = []
    fresh = True
    for line in _lines(text):
        if not line.strip():
            fresh = True
            continue
        found = _FIELD.match(line)
        if found is None:
            continue
        if fresh or not blocks:
            blocks.append({})
            fresh = False
        blocks[-1].setdefault(found.group(1), found.group(2))
    if not blocks:
        raise ParseError("expected lines of key and value")
    return blocks


def parse_table(text: str) -> List[Dict[str, str]]:
    """Rows under the first line as headings; cells by white space, the last column takes what is left of its row.

    A row with fewer cells than headings leaves the last ones out; a line of the same headings again begins no row;
    a line of dashes is none.
    """
    lines = [line for line in _lines(text) if line.strip()]
    if not lines:
        raise ParseError("expected a line of headings")
    headings = lines[0].replace("Mounted on", "Mounted_on").split()
    if len(headings) < 2 or len(headings) > MAX_COLUMNS:
        raise ParseError("expected at least two headings")
    rows: List[Dict[str, str]] = []
    pending: List[str] = []
    for line in lines[1:]:
        if set(line.strip()) <= set("-=+ ") or line.split() == lines[0].split():
            continue
        cells = pending + line.split(None, max(0, len(headings) - 1 - len(pending)))
        pending = []
        # df and multipath break a row whose first cell is too long for its column.
        if len(cells) == 1 and len(headings) > 2 and not line[:1].isspace():
            pending = cells
            continue
        rows.append(dict(zip(headings, (cell.strip() for cell in cells))))
    return rows


def parse_paths(text: str) -> Dict[str, Tuple[int, int]]:
    """``multipath -ll``: map -> (paths that work, paths that failed)."""
    maps: Dict[str, Tuple[int, int]] = {}
    name = ""
    for line in _lines(text):
        if not line.strip():
            continue
        if _MAP.match(line):
            name = line.split()[0]
            maps[name] = (0, 0)
        elif name and _PATH.search(line):
            good, bad = maps[name]
            is_bad = re.search(r"\b(failed|faulty|offline|shaky)\b", line) is not None
            maps[name] = (good, bad + 1) if is_bad else (good + 1, bad)
    return maps


_MAP = re.compile(r"^(?:[a-z]+: )?[\w.:-]+ (?:\(\S+\) ?)?dm-\d+\b")
_PATH = re.compile(r"\b\d+:\d+:\d+:\d+\s+\w+\s+\d+:\d+\b")


def parse_netlink(text: str) -> Dict[Tuple[int, int], int]:
    """/proc/net/netlink: (protocol, port id) -> messages that the socket's owner was too slow to take."""
    drops: Dict[Tuple[int, int], int] = {}
    for row in parse_table(text):
        try:
            key = int(decimal(row["Eth"])), int(decimal(row["Pid"]))
            drops[key] = drops.get(key, 0) + int(decimal(row["Drops"]))
        except KeyError as error:
            raise ParseError("expected columns Eth, Pid and Drops") from error
    return drops


def parse_swaps(text: str) -> Dict[str, Tuple[int, int]]:
    """/proc/swaps: file or device -> (kB, kB in use)."""
    if not text.startswith("Filename"):
        raise ParseError("expected a line that begins with Filename")
    found: Dict[str, Tuple[int, int]] = {}
    for row in parse_table(text):
        try:
            found[row["Filename"]] = int(decimal(row["Size"])), int(decimal(row["Used"]))
        except KeyError as error:
            raise ParseError("expected columns Size and Used") from error
    return found


def parse_uptime(text: str) -> Tuple[float, float]:
    """/proc/uptime: seconds since boot, and idle seconds over all CPUs."""
    fields = text.split()
    if len(fields) != 2:
        raise ParseError("expected two numbers")
    return decimal(fields[0]), decimal(fields[1])


def _lines(text: str) -> List[str]:
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise ParseError("expected fewer lines")
    return lines


def parse_mdadm(text: str) -> Tuple[Dict[str, str], List[Tuple[str, ...]]]:
    """``mdadm --detail`` and ``--examine``: the fields, and the cells of each line of the table of members."""
    fields: Dict[str, str] = {}
    for block in parse_fields(text):
        for key, value in block.items():
            fields.setdefault(key, value)
    members = [tuple(line.split()) for line in _lines(text) if _MEMBER.match(line)]
    return fields, members


_MEMBER = re.compile(r"^\s*(?:this|-|\d+)\s+(?:-|\d+)\s+(?:-|\d+)\s+(?:-|\d+)(?=\s)")
