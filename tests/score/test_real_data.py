"""The marks on the real data, and a taker or a reason for every fixture; skipped where the data does not lie beside us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.score import kernel, snapshots
from tests.score.__main__ import Bar, Line, kernel_lines, main, metric_lines, show, snapshot_lines

pytestmark = [pytest.mark.collector, pytest.mark.slow]

REPO = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("VARTOVYI_DATA") or REPO.parent / "shared" / "data")

needs_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="needs data beside the checkout: ../shared/data (or VARTOVYI_DATA)"
)

TAKEN = {
    "metrics/nab": "tests.score.series.nab -> RuleEngine, Profile, damping",
    "metrics/exathlon": "tests.score.series.exathlon -> RuleEngine, damping",
    "metrics/nezha": "tests.score.series.nezha -> RuleEngine, damping",
    "metrics/asd": "none: no units, so no rule applies; for studies of what is usual",
    "metrics/smd": "none: no units, so no rule applies; for studies of what is usual",
    "kernel/syzkaller.jsonl.xz": "agent.signals.patterns.KernelWatch",
    "kernel/hosts": "agent.signals.patterns.classify",
    "kernel/scenarios.jsonl": "KernelWatch for logs; parsers.keyed, parsers.commands for /proc",
    "kernel/npd.jsonl": "agent.signals.patterns.KernelWatch",
    "snapshots/node_exporter": "every parser that a sampler uses (tests.score.snapshots.our_samples)",
    "snapshots/jc.jsonl.xz": "by item: tests.score.snapshots.taker",
    "snapshots/mdstat_insights.jsonl": "agent.signals.parsers.mdstat",
    "snapshots/smart": "agent.signals.parsers.smart",
    "snapshots/hosts": "by path: tests.score.snapshots._HOST_FILES and _HOST_UNTAKEN",
    "snapshots/insights.jsonl.xz": "by kind: tests.score.snapshots._KINDS and _KINDS_UNTAKEN",
}
"""Every file or folder of the data, and what takes it; items of collections by the tables named."""


def missed(lines: list[Line]) -> list[str]:
    return [f"{line.what}: {line.ours} (mark: {line.mark})" for line in lines if line.is_met is False]


@needs_data
def test_every_file_of_the_data_has_a_taker_or_a_reason() -> None:
    for part in ("metrics", "kernel", "snapshots"):
        for path in (FOLDER / part).iterdir():
            assert f"{part}/{path.name}" in TAKEN, path.name


@needs_data
def test_every_line_of_the_manifest_has_a_taker_or_a_reason() -> None:
    """File by file, as the data was handed over; and nothing is named as taken that is not there."""
    lines = (FOLDER / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    paths = [line.split("\t")[0] for line in lines if not line.startswith("LICENCES/")]
    assert len(paths) > 50
    for path in paths:
        assert any(path == part or path.startswith(part + "/") for part in TAKEN), path
    for part in TAKEN:
        assert (FOLDER / part).exists(), part


@needs_data
def test_every_item_of_a_collection_has_a_taker_or_a_reason() -> None:
    folder = FOLDER / "snapshots"
    kinds = {entry["kind"] for entry in snapshots.jsonl(folder / "insights.jsonl.xz")}
    assert kinds <= snapshots._KINDS.keys() | snapshots._KINDS_UNTAKEN.keys()
    for path in (folder / "smart").iterdir():
        assert all("doc" in entry for entry in snapshots.jsonl(path)), path.name
    for entry in snapshots.jsonl(folder / "jc.jsonl.xz"):
        name = entry["id"].rsplit("/", 1)[-1]
        assert snapshots.taker(name) != "no parser of ours knows it", name
    outcome = snapshots.texts(
        (f"{path.name} {entry['path']}", entry["path"], entry.get("content") or "")
        for path in sorted((folder / "hosts").iterdir())
        for entry in snapshots.jsonl(path)
    )
    assert "no parser of ours knows it" not in outcome.untaken.values()


@needs_data
def test_kernel_logs_reach_their_marks() -> None:
    assert missed(list(kernel_lines(FOLDER / "kernel", Bar(1)))) == []


@needs_data
def test_both_halves_of_the_crash_logs_are_told_alike() -> None:
    """Patterns were written against one half; the other one must not be far behind."""
    items = kernel.crash_logs(next((FOLDER / "kernel").glob("syzkaller.jsonl*")))
    for family in kernel.FAMILIES:
        shares = kernel.family_shares(kernel.half(items, held_out=True), family)
        assert shares.recall >= 0.9 and shares.precision >= 0.9, family


@needs_data
def test_snapshots_equal_their_reference() -> None:
    assert missed(list(snapshot_lines(FOLDER / "snapshots", Bar(1)))) == []


@needs_data
def test_metric_series_reach_their_marks() -> None:
    assert missed(list(metric_lines(FOLDER / "metrics", Bar(1)))) == []


def test_a_folder_without_data_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert "nothing to score" in capsys.readouterr().err


def test_a_missed_mark_shows_and_fails_only_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kernel" / "hosts").mkdir(parents=True)
    (tmp_path / "kernel" / "hosts" / "kern.log").write_text("end_request: I/O error, dev sda, sector 1\n")
    assert main(["--data", str(tmp_path)]) == 0
    assert "MISSED" in capsys.readouterr().out
    assert main(["--data", str(tmp_path), "--gate", "--json"]) == 1


def test_the_table_keeps_its_parts_apart() -> None:
    shown = show([Line("kernel", "a", "m", "1", True), Line("snapshots", "b", "m", "2", None)])
    assert shown.index("kernel") < shown.index("snapshots")
