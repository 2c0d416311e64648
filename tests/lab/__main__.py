"""``make failover-lab``: every case of failover.md 9.2 on this machine, one row a case.

    python -m tests.lab [--cases A1,B2] [--runs 200 --seed 1] [--jobs 2] [--write]

Cases run beside each other, each in a house of its own; what went wrong in one is printed whole. J1 plays ``--runs``
schedules of the seeds from ``--seed`` on. ``--write`` puts the table into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time

from tests.lab.house import ROOT, sweep
from tests.lab.random_runs import told
from tests.lab.rows import rows_of, table_of
from tests.lab.table import CASES

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- failover-lab: begin -->", "<!-- failover-lab: end -->"
BUDGET_S = 3.0
RANDOM = "J1"


def write_page(table: str) -> None:
    """Put the table between its marks in docs/benchmarks.md."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")


def main(argv: list[str] | None = None) -> int:
    """Play; 1 where a case failed, a law was broken or our own share was over its budget."""
    parser = argparse.ArgumentParser(
        prog="make failover-lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="", help="ids with commas; default: all")
    parser.add_argument("--runs", type=int, default=5, help="random schedules (J1)")
    parser.add_argument("--seed", type=int, default=1, help="the first schedule's seed")
    parser.add_argument("--jobs", type=int, default=2, help="houses beside each other")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    args = parser.parse_args(argv)
    wanted = args.cases.split(",") if args.cases else [case.id for case in CASES]
    known = {case.id for case in CASES}
    unknown = [one for one in wanted if one not in known]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    seeds = list(range(args.seed, args.seed + args.runs)) if RANDOM in wanted else []
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="failover-lab-") as folder:
        rows = rows_of([one for one in wanted if one != RANDOM], seeds, max(1, args.jobs), folder)
    sweep()
    cases, runs = rows[: len(rows) - len(seeds)], rows[len(rows) - len(seeds) :]
    print("\n" + table_of(cases, runs, args.seed))
    own = [row.times.own for row in rows if row.times.own is not None]
    if own:
        print(f"\nOwn share from decision to verified: {max(own):g} s at most (budget {BUDGET_S:g} s)")
    for row in runs:
        if row.faults:
            number = int(row.id.partition("/")[2])
            print(f"make failover-lab CASES=J1 RUNS=1 SEED={number}   # {told(number)}")
    if args.write:
        write_page(table_of(cases, runs, args.seed))
    failed = [row.id for row in rows if row.verdict == "FAIL"]
    print(f"{len(rows)} rows in {time.monotonic() - began_s:.0f} s; failed: {', '.join(failed) or 'none'}")
    return 1 if failed or max(own, default=0.0) > BUDGET_S else 0


if __name__ == "__main__":
    sys.exit(main())
