"""Is this machine's or container's own CPU limit what holds it back? The share of periods that ended at the limit.

Our own group and each one above it are read: the limit of a container stands at the top of what it sees, one that an
admin gave to a slice stands between. The group that was held most is the value. Reads v1 and v2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Optional

from agent.samplers.base import Batch, read, read_or_none, why
from agent.signals.parsers.cgroup import Throttle, parse_own_groups, parse_throttle
from agent.signals.parsers.error import ParseError
from agent.signals.sample import Sample

V1_FOLDERS = ("sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup/cpu")
V2_FOLDERS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
MAX_LEVELS = 20


class CpuLimit:
    """Signal cg.throttled_pct."""

    name = "cpu_limit"
    period_s = 30.0

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._before: Dict[str, Throttle] = {}
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, self._lacks)
        try:
            now = self._counters()
        except (OSError, ParseError) as error:
            self._lacks["cg.throttled_pct"] = why(error)
            return []
        if not now:
            self._lacks["cg.throttled_pct"] = "no CPU limit is set above us"
            return []
        self._lacks.clear()
        before, self._before = self._before, now
        shares = [
            share
            for share in (_share(before.get(path), counters) for path, counters in now.items())
            if share is not None
        ]
        batch.add("cg.throttled_pct", max(shares, default=None))
        return batch.samples

    def _counters(self) -> Dict[str, Throttle]:
        """Path -> counters, of our group and those above it that have a limit."""
        own = parse_own_groups(read(self._root / "proc/self/cgroup"))
        places = [(V1_FOLDERS, own["cpu"])] if "cpu" in own else []
        places += [(V2_FOLDERS, own[""])] if "" in own else []
        found: Dict[str, Throttle] = {}
        for folders, group in places:
            folder = next((self._root / f for f in folders if (self._root / f).is_dir()), None)
            for path in levels(group) if folder is not None else []:
                text = read_or_none(f"{folder}{path}/cpu.stat")
                counters = parse_throttle(text) if text is not None else None
                # A v1 group without a quota counts no periods.
                if counters is not None and counters.periods:
                    found[path or "/"] = counters
        return found


def levels(group: str) -> List[str]:
    """``/a/b`` -> ``["/a/b", "/a", ""]``."""
    parts = [part for part in group.split("/") if part][:MAX_LEVELS]
    if ".." in parts:
        return [""]  # our group lies outside of what this namespace shows; its top is all that we may read
    return ["".join(f"/{part}" for part in parts[:end]) for end in range(len(parts), -1, -1)]


def _share(before: Optional[Throttle], now: Throttle) -> Optional[float]:
    """Per cent of the periods between two readings; None where there were none, or the group is a new one."""
    if before is None or now.periods <= before.periods or now.throttled < before.throttled:
        return 0.0 if before is not None and now.periods == before.periods else None
    return 100.0 * (now.throttled - before.throttled) / (now.periods - before.periods)
