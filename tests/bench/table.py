"""The table of docs/benchmarks.md: what, figure, budget."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Row:
    """One measured thing."""

    what: str
    figure: str
    budget: str
    note: str = ""
    posts_per_s: float | None = None
    """For what the peer does too: taken posts a second."""
    is_peer: bool = False
    ratio: str = ""
    """Ours divided by each peer's, where the peers are several."""


def render(rows: Sequence[Row], command: str, date: str) -> str:
    """Markdown: machine, command, figures."""
    peer = next((row.posts_per_s for row in rows if row.is_peer and row.posts_per_s), None)
    lines = [
        f"Machine: {machine()}. Command: `{command}`. Date: {date}.",
        "",
        "| what | figure | budget | beside the peer | note |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = row.ratio
        if peer and row.posts_per_s and not row.is_peer:
            ratio = f"× {row.posts_per_s / peer:.2f}"
        lines.append(f"| {row.what} | {row.figure} | {row.budget} | {ratio} | {row.note} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Processor, cores, memory, kernel, Python."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory_kib / 1024 / 1024:.0f} GiB, kernel {platform.release()}, "
        f"Python {platform.python_version()}"
    )
