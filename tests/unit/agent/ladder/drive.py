"""Drives one Ladder inside a network namespace: a line of JSON in is a sweep, a line out its samples and lacks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from agent.samplers.base import LoopNotes, Rungs
from agent.samplers.ladder import Ladder, LadderSettings

if __name__ == "__main__":
    root, given = Path(sys.argv[1]), json.loads(sys.argv[2])
    rungs = Rungs()
    ladder = Ladder(root, LadderSettings(**given), LoopNotes(), rungs)
    ladder.sweep(0)
    ladder.settle(15)
    for line in sys.stdin:
        mono_ms = int(line)
        # The first sweep takes what the look before it saw, and begins another one.
        found = ladder.sweep(mono_ms)
        ladder.settle(15)
        found += ladder.sweep(mono_ms + 1)
        ladder.settle(15)
        values = {(s.signal + (f"{{{s.subject}}}" if s.subject else "")): s.value for s in found}
        print(
            json.dumps(
                {"values": values, "lacks": ladder.lacks(), "anchors": rungs.anchors, "hop2": rungs.hop2}
            ),
            flush=True,
        )
