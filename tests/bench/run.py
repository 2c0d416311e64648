"""`make bench`: measures against the budgets of the design's section 7 and prints the table of docs/benchmarks.md.

    python -m tests.bench [--quick] [--only intake,tick,desk,latency,weight,peer] [--write]

Progress goes to stderr, the table to stdout. The whole takes about ten minutes and half of the disk's quiet. Ends with 1
when a part could not be measured at all. A figure past its budget is no error: the table says it. Stopped by a signal,
it stops what it started and leaves no folder behind.
"""

from __future__ import annotations

import argparse
import datetime as dt
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.bench import desk, intake, latency, peer, tick, weight
from tests.bench.table import Row, render

TABLE = Path("docs/benchmarks.md")
BEGIN, END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"
AGENT_BEGIN, AGENT_END = (
    "<!-- figures of the agent: written by `make bench-agent` -->",
    "<!-- end of the agent's figures -->",
)


def main() -> int:
    """Measure, print, and with ``--write`` put the table into the documentation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller fleets, fewer tickets, shorter runs")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--write", action="store_true", help=f"put the table into {TABLE}")
    parser.add_argument("--agent-python", default=weight.default_python(), help="Python that runs the agent")
    args = parser.parse_args()
    parts = parts_of(args.quick, args.agent_python)
    wanted = [name for name in args.only.split(",") if name] or list(parts)
    unknown = sorted(set(wanted) - set(parts))
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)} (known: {', '.join(parts)})")
    # As Ctrl-C: each part stops its processes and removes its folder on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        rows, failed = _measured({name: parts[name] for name in wanted})
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        return 130
    options = " ".join(a for a in sys.argv[1:] if a != "--write")
    table = render(
        rows, f"python -m tests.bench {options}".strip(), dt.datetime.now(dt.timezone.utc).date().isoformat()
    )
    print(table)
    if args.write:
        # The agent alone has a table of its own, so that its run does not wipe out the collector's figures.
        write(table, *((AGENT_BEGIN, AGENT_END) if wanted == ["weight"] else (BEGIN, END)))
    return 1 if failed else 0


def _measured(parts: dict[str, Callable[[], list[Row]]]) -> tuple[list[Row], int]:
    """The parts' rows, told as they come, and how many parts failed."""
    rows: list[Row] = []
    failed = 0
    began = time.monotonic()
    for n, (name, measure) in enumerate(parts.items(), 1):
        print(f"[{time.monotonic() - began:4.0f} s] {n} of {len(parts)}: {name}", file=sys.stderr, flush=True)
        try:
            found = measure()
        except Exception:
            failed += 1
            traceback.print_exc()
            found = [Row(name, "could not be measured", "", "see the run's output")]
        for row in found:
            print(f"  {row.what}: {row.figure}  {row.budget}", file=sys.stderr, flush=True)
        rows += found
    print(f"[{time.monotonic() - began:4.0f} s] done", file=sys.stderr, flush=True)
    return rows, failed


def parts_of(quick: bool, agent_python: str) -> dict[str, Callable[[], list[Row]]]:
    """Every part, in order."""
    return {
        "intake": lambda: intake.measure(6 if quick else 10, 3000 if quick else 10_000),
        "peer": lambda: peer.measure(6 if quick else 20),
        "tick": lambda: tick.measure(2000 if quick else 10_000, 400 if quick else 2000),
        "desk": lambda: desk.measure(20_000 if quick else 1_000_000),
        "latency": lambda: latency.measure(slow=not quick),
        "weight": lambda: weight.measure(30 if quick else 150, agent_python),
    }


def write(table: str, begin: str, end: str) -> None:
    """Replace what stands between the marks."""
    text = TABLE.read_text(encoding="utf-8")
    head, _, rest = text.partition(begin)
    _, mark, tail = rest.partition(end)
    if not mark:
        raise SystemExit(f"{TABLE} has no place for the figures: {begin} ... {end}")
    TABLE.write_text(f"{head}{begin}\n\n{table}\n{end}{tail}", encoding="utf-8")
