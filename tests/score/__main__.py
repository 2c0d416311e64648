"""SCORE.md's tables with our column beside the marks: `python -m tests.score --data FOLDER [--gate] [--json]`."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, Optional

from tests.score import kernel, snapshots
from tests.score.series import exathlon, nab, nezha, vm
from tests.score.streams import Series, Streams, Tally, shipped_rules, simulate, tally

POST_S = 120


class Line(NamedTuple):
    """One line of a table."""

    table: str
    what: str
    mark: str
    ours: str
    is_met: Optional[bool]
    """None: shown, not judged."""


def _simulated(one: Series) -> Streams:
    return simulate(one, shipped_rules())


class Bar:
    """A progress bar where somebody looks at it."""

    def __init__(self, steps: int) -> None:
        self._steps, self._done = steps, 0
        self._shows = sys.stderr.isatty()

    def step(self, what: str) -> None:
        self._done += 1
        if self._shows:
            filled = 30 * self._done // max(1, self._steps)
            print(
                f"\r[{'#' * filled}{'.' * (30 - filled)}] {what:<40.40}", end="", file=sys.stderr, flush=True
            )

    def close(self) -> None:
        if self._shows:
            print("\r" + " " * 76 + "\r", end="", file=sys.stderr, flush=True)


def _tallies(sets: list[Series], post_s: int, bar: Bar) -> tuple[Tally, Tally]:
    """(findings, tickets)."""
    with ProcessPoolExecutor(max_workers=2) as pool:
        streams = []
        for one, done in zip(sets, pool.map(_simulated, sets)):
            streams.append(done)
            bar.step(one.server)
    findings = {one.server: done.findings for one, done in zip(sets, streams)}
    tickets = {one.server: done.tickets for one, done in zip(sets, streams)}
    return tally(sets, findings, post_s), tally(sets, tickets, post_s)


def _delay(found: Tally) -> Optional[float]:
    return statistics.median(found.delays_s) if found.delays_s else None


def _told(found: Tally) -> str:
    masked = f" (+{found.masked})" if found.masked else ""
    delay = _delay(found)
    late = "" if delay is None else f", {delay:.0f} s"
    return f"{found.detected}{masked} of {found.windows}{late}"


def _noise(found: Tally) -> str:
    worst = max(found.by_server.values(), default=0)
    ten = sum(sorted(found.by_server.values(), reverse=True)[:10])
    share = f", ten noisiest {100 * ten // found.false} %" if found.false else f", bound {3 / found.days:.3f}"
    return f"FTSD {found.per_day():.3f} ({found.false} in {found.days:.1f} d, worst server {worst}{share})"


def metric_lines(folder: Path, bar: Bar) -> Iterator[Line]:
    if (folder / "exathlon").is_dir():
        _, tickets = _tallies(exathlon(folder / "exathlon"), 0, bar)
        yield Line("metrics", "Exathlon, no fault", "0 tickets", _noise(tickets), tickets.false == 0)
    if (folder / "nab").is_dir():
        sets = nab(folder / "nab")
        for name, part, ftsd, least in (
            ("NAB cpu", [s for s in sets if s.signals[0].startswith("cpu")], 0.1, 2 / 8),
            ("NAB all", sets, 0.04, 7 / 14),
        ):
            _, tickets = _tallies(part, 0, bar)
            met = tickets.per_day() <= ftsd and tickets.detected >= least * tickets.windows
            mark = f"FTSD <= {ftsd}, detected >= {least:.0%}"
            yield Line("metrics", name, mark, f"{_noise(tickets)}; {_told(tickets)}", met)
    for day in sorted(path.name.split(".pods")[0] for path in (folder / "nezha").glob("*.pods.csv*")):
        findings, tickets = _tallies(nezha(folder / "nezha", day), POST_S, bar)
        delay = _delay(findings)
        share = (findings.detected + findings.masked) / findings.windows if findings.windows else 1.0
        met = share >= 0.9 and (delay is None or delay <= 120)
        yield Line(
            "metrics", f"Nezha {day}, findings", ">= 0.9 with masked, delay <= 120 s", _told(findings), met
        )
        mark = "tickets outside windows <= 0.1 a pod-day"
        yield Line("metrics", f"Nezha {day}, tickets", mark, _noise(tickets), tickets.per_day() <= 0.1)
    if (folder / "vm").is_dir():
        sets = vm(folder / "vm")
        _, tickets = _tallies(sets, 0, bar)
        days = {one.server: one.days() for one in sets}
        worst = max((n / days[server] for server, n in tickets.by_server.items()), default=0.0)
        met = tickets.per_day() <= 0.02 and worst <= 0.5
        mark = "<= 0.02 a server-day, no server above 0.5"
        yield Line("metrics", "virtual machines", mark, f"{_noise(tickets)}, {worst:.3f} a day", met)


def kernel_lines(folder: Path, bar: Bar) -> Iterator[Line]:
    logs = next(folder.glob("syzkaller.jsonl*"), None)
    if logs is not None:
        items = kernel.crash_logs(logs)
        bar.step(logs.name)
        halves = kernel.half(items, held_out=False), kernel.half(items, held_out=True)
        for family in (*kernel.FAMILIES, "panicked"):
            least = 0.99 if family == "panicked" else 0.95
            shares = [
                kernel.panic_shares(part) if family == "panicked" else kernel.family_shares(part, family)
                for part in (items, *halves)
            ]
            whole = shares[0]
            ours = ", ".join(f"{s.hits}/{s.items} {s.hits}/{s.flagged}" for s in shares)
            met = whole.recall >= least and whole.precision >= least
            yield Line(
                "kernel", family, f"recall, precision >= {least}", f"{ours} (all, tuned half, held out)", met
            )
        flagged, panics = kernel.none_flagged(items)
        ours = f"{len(flagged)} {flagged}; by a panic, judged above: {len(panics)} {panics}"
        yield Line("kernel", "none", "<= 1 flagged", ours, len(flagged) <= 1)
    if (folder / "hosts").is_dir():
        hosts = kernel.healthy_hosts(folder / "hosts")
        bar.step("hosts")
        ours = (
            f"{len(hosts.flagged)} of {hosts.lines}, {len(hosts.distinct)} distinct {hosts.flagged[:3] or ''}"
        )
        yield Line("kernel", "healthy hosts", "0 lines", ours, not hosts.flagged)
    path = next(folder.glob("scenarios.jsonl*"), None)
    if path is not None:
        cases = kernel.scenarios(path)
        bar.step(path.name)
        ours = f"missed {cases.missed or 0}, false {cases.false or 0}; beyond the mark, not found: {cases.beyond or 0}"
        met = not cases.missed and not cases.false
        yield Line("kernel", "hotsos scenarios", "disk, conntrack, network found", ours, met)
    path = next(folder.glob("npd.jsonl*"), None)
    if path is not None:
        found = kernel.incidents(path)
        blind = [name for name, causes in found.items() if not causes]
        yield Line(
            "kernel", "npd incidents", "", f"{len(found) - len(blind)} of {len(found)}, not {blind}", None
        )


def snapshot_lines(folder: Path, bar: Bar) -> Iterator[Line]:
    outcomes: list[tuple[str, str, Callable[[], snapshots.Outcome]]] = []
    with tempfile.TemporaryDirectory() as tree:
        if (folder / "node_exporter").is_dir():
            outcomes.append(
                ("node_exporter", "equal within 1e-9",
                 lambda: snapshots.node_exporter(folder / "node_exporter", Path(tree)))
            )  # fmt: skip
        for path in sorted(folder.glob("mdstat*.jsonl*")):
            outcomes.append((path.stem, "reference state", lambda path=path: snapshots.mdstat_texts(path)))
        for path in sorted(folder.glob("jc.jsonl*")):
            outcomes.append(("jc", "no exception, numbers equal", lambda path=path: snapshots.jc(path)))
        if (folder / "smart").is_dir():
            outcomes.append(
                ("drives", "agrees with the exit bits", lambda: snapshots.drives(folder / "smart"))
            )
        outcomes.append(("texts without reference", "no exception", lambda: snapshots.texts(_texts(folder))))
        for name, mark, run in outcomes:
            outcome = run()
            bar.step(name)
            untaken = (
                f", {len(outcome.untaken)} not taken (reasons in tests/score/snapshots.py)"
                if outcome.untaken
                else ""
            )
            unknown = [fixture for fixture, why in outcome.untaken.items() if why.startswith("no parser")]
            ours = f"{outcome.compared} compared, {len(outcome.different)} differ{untaken} {outcome.different[:4] or ''}"
            yield Line("snapshots", name, mark, ours + (f" unknown: {unknown}" if unknown else ""),
                       not outcome.different)  # fmt: skip


def _texts(folder: Path) -> Iterator[tuple[str, str, str]]:
    for path in sorted(folder.glob("insights.jsonl*")):
        for entry in snapshots.jsonl(path):
            yield entry["id"], entry["kind"], entry["text"]
    for path in sorted((folder / "hosts").glob("*.jsonl*")):
        for entry in snapshots.jsonl(path):
            yield f"{path.name} {entry['path']}", entry["path"], entry.get("content") or ""


def score(folder: Path) -> list[Line]:
    """Every line that the folder has data for."""
    bar = Bar(90)
    lines: list[Line] = []
    for name, part in (("metrics", metric_lines), ("kernel", kernel_lines), ("snapshots", snapshot_lines)):
        if (folder / name).is_dir():
            lines.extend(part(folder / name, bar))
    bar.close()
    return lines


def show(lines: list[Line]) -> str:
    """The tables for a person."""
    words = {True: "met", False: "MISSED", None: ""}
    text = []
    table = ""
    for line in lines:
        if line.table != table:
            table = line.table
            text.append(f"\n{table}")
        text.append(f"  {line.what:<24} {line.mark:<42} {words[line.is_met]:<7} {line.ours}")
    return "\n".join(text).lstrip("\n")


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.score", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder laid out as shared/data")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a mark is missed")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        print(f"no such folder: {given.data}", file=sys.stderr)
        return 2
    lines = score(given.data)
    if not lines:
        print(f"nothing to score under {given.data}: expected metrics, kernel or snapshots", file=sys.stderr)
        return 2
    print(json.dumps([line._asdict() for line in lines], indent=1) if given.json else show(lines))
    missed = [line for line in lines if line.is_met is False]
    if not given.json:
        print(f"\n{sum(1 for line in lines if line.is_met)} marks met, {len(missed)} missed")
    return 1 if missed and given.gate else 0


if __name__ == "__main__":
    sys.exit(main())
