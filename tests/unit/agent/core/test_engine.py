"""The engine: runs, gaps, holes, subjects that go, counters, and the laws that hold for any samples."""

from __future__ import annotations

import functools
import operator
from typing import Any, Dict, List, Optional

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.signals.engine import GAP_MIN_MS, QUIET, RuleEngine, RuleEvent, Run, step
from agent.signals.rules import Rule, RuleFile, compile_rules
from agent.signals.sample import Sample
from config import loader
from tests.tools.examples import examples


def rule(signal: str = "fs.used_pct", **over: Any) -> Rule:
    fields = {
        "name": "r",
        "family": "cpu",
        "signal": signal,
        "raise": f"{{all: ['{signal} >= 95'], for: 20 s}}",
        "clear": f"{{all: ['{signal} < 90'], for: 30 s}}",
        **over,
    }
    text = "{rules: [{" + ", ".join(f"{k}: {v}" for k, v in fields.items()) + "}]}"
    return compile_rules(loader.parse(text, RuleFile))[0]


class Bench:
    """An engine fed with sweeps ten seconds apart."""

    def __init__(self, *rules: Rule, **more: Any) -> None:
        self.engine = RuleEngine(rules, **more)
        self.at_ms = 1_000_000

    def sweep(self, *values: Any, after_s: float = 10, source: str = "s") -> List[str]:
        self.at_ms += int(after_s * 1000)
        samples = [Sample(signal, subject, value, self.at_ms) for signal, subject, value in values]
        return [self.said(event) for event in self.engine.judge(samples, self.at_ms, source)]

    def said(self, event: RuleEvent) -> str:
        ago_s = (self.at_ms - event.at_ms) // 1000
        words = f"{event.kind} {event.subject or 'host'} -{ago_s}"
        return words + (f" {event.reason}" if event.reason else "")

    def used(self, *values: Optional[float], **more: Any) -> List[str]:
        return [said for value in values for said in self.sweep(("fs.used_pct", "", value), **more)]


def test_a_finding_opens_when_the_level_held_for_its_time_and_is_dated_by_the_first_sample():
    bench = Bench(rule())
    assert bench.used(96, 96) == []
    assert bench.used(96) == ["opened host -20"]
    assert bench.used(99, 96) == []


def test_one_sample_below_starts_the_raising_again():
    assert Bench(rule()).used(96, 96, 94, 96, 96) == []


def test_between_the_levels_an_open_finding_stays_open_and_a_clear_run_breaks():
    bench = Bench(rule())
    bench.used(96, 96, 96)
    assert bench.used(89, 89, 89, 92, 89, 89, 89) == []
    assert bench.used(89) == ["closed host -30 cleared"]


def test_a_missing_sample_is_neither_true_nor_false():
    bench = Bench(rule())
    assert bench.used(96) == []
    assert bench.sweep() == [] and bench.used(None) == []
    assert bench.used(96) == ["opened host -30"]


def test_a_gap_longer_than_300_s_is_unmonitored_and_breaks_the_raising():
    bench = Bench(rule())
    bench.used(96)
    assert bench.used(96, after_s=301) == []
    assert bench.used(96, 96) == ["opened host -20"]


def test_a_gap_breaks_the_clearing_as_well():
    bench = Bench(rule())
    bench.used(96, 96, 96, 80)
    assert bench.used(80, after_s=400) == []
    assert bench.used(80, 80, 80) == ["closed host -30 cleared"]


def test_a_sample_without_a_value_does_not_bridge_a_gap():
    bench = Bench(rule())
    bench.used(96)
    assert bench.used(None, after_s=400) == []
    assert bench.used(96, after_s=1) == []


def test_five_minute_samples_hold_a_run_of_ten_minutes_together():
    bench = Bench(rule(**{"raise": "{all: ['fs.used_pct >= 95'], for: 10 min}"}))
    assert bench.used(50, 50, 96, 96, after_s=300) == []
    assert bench.used(96, after_s=300) == ["opened host -600"]


def test_after_a_hole_every_window_starts_again_and_open_findings_stay_open():
    bench = Bench(rule(), rule("load.per_cpu", name="other"))
    bench.sweep(("fs.used_pct", "", 96), ("load.per_cpu", "", 99))
    bench.sweep(("fs.used_pct", "", 96), ("load.per_cpu", "", 99))
    bench.sweep(("fs.used_pct", "", 96))
    bench.engine.hole()
    assert bench.engine.is_open("r", "")
    assert bench.sweep(("load.per_cpu", "", 99)) == []
    assert bench.sweep(("load.per_cpu", "", 99), after_s=20) == ["opened host -20"]


def test_each_part_is_judged_by_itself_and_the_worst_of_them_is_not_a_part():
    bench = Bench(rule(subjects="parts"))
    for _ in range(2):
        bench.sweep(("fs.used_pct", "", 97), ("fs.used_pct", "/", 40), ("fs.used_pct", "/var", 97))
    assert bench.sweep(("fs.used_pct", "", 97), ("fs.used_pct", "/", 40), ("fs.used_pct", "/var", 97)) == [
        "opened /var -20"
    ]


def test_only_and_except_choose_subjects_by_glob():
    some = rule(subjects="parts", only="['/srv*']", **{"except": "['*/tmp']"})
    assert [s for s in ("", "/", "/srv", "/srv/a", "/srv/tmp") if some.takes(s)] == ["/srv", "/srv/a"]


def test_a_related_signal_is_taken_from_the_same_part_else_from_the_host():
    related = rule(
        "disk.await_ms", subjects="parts",
        **{"raise": "{all: ['disk.await_ms > 50', 'disk.util_pct > 90', 'psi.io_full60 > 20']}"},
        clear="{all: ['disk.await_ms < 20']}",
    )  # fmt: skip
    bench = Bench(related)
    busy = [("psi.io_full60", "", 50), ("disk.util_pct", "vda", 99), ("disk.util_pct", "vdb", 10)]
    assert bench.sweep(*busy, ("disk.await_ms", "vda", 300), ("disk.await_ms", "vdb", 300)) == [
        "opened vda -0"
    ]


def test_a_related_signal_that_is_stale_is_unknown():
    bench = Bench(rule("fs.used_pct", **{"raise": "{all: ['fs.used_pct > 90', 'load.per_cpu > 1']}"}))
    bench.sweep(("load.per_cpu", "", 9))
    assert bench.used(99, after_s=301) == []
    assert bench.sweep(("load.per_cpu", "", 9), ("fs.used_pct", "", 99)) == ["opened host -0"]


def test_a_list_is_a_subject_for_each_entry_and_leaving_the_list_clears():
    bench = Bench(
        rule(
            "svc.failed",
            subjects="parts",
            **{"raise": "{all: ['svc.failed == true']}", "clear": "{all: ['svc.failed == false']}"},
        )
    )
    assert bench.sweep(("svc.failed", "", ["a.service", "b.service"])) == [
        "opened a.service -0",
        "opened b.service -0",
    ]
    assert bench.sweep(("svc.failed", "", ["b.service"])) == ["closed a.service -0 cleared"]


def test_a_map_is_a_subject_for_each_key():
    bench = Bench(
        rule(
            "ubc.failcnt",
            subjects="parts",
            **{"raise": "{all: ['ubc.failcnt > 0']}", "clear": "{all: ['ubc.failcnt == 0']}"},
        )
    )
    assert bench.sweep(("ubc.failcnt", "", {"numproc": 0, "kmemsize": 4})) == ["opened kmemsize -0"]


def test_a_part_that_its_producer_no_longer_finds_is_closed_as_gone_only_after_three_sweeps_and_two_minutes():
    bench = Bench(rule(subjects="parts"))
    for _ in range(3):
        bench.sweep(("fs.used_pct", "/mnt", 97))
    quiet = [bench.sweep() for _ in range(11)]
    assert quiet == [[]] * 11
    assert bench.sweep() == ["closed /mnt -120 subject_gone"]


def test_silence_of_the_producer_ends_nothing():
    bench = Bench(rule(subjects="parts"))
    for _ in range(3):
        bench.sweep(("fs.used_pct", "/mnt", 97))
    assert [bench.sweep(source="another") for _ in range(100)] == [[]] * 100
    assert bench.engine.is_open("r", "/mnt")


def test_a_part_that_exists_but_cannot_be_measured_is_not_gone():
    bench = Bench(rule(subjects="parts"))
    for _ in range(3):
        bench.sweep(("fs.used_pct", "/mnt", 97))
    assert [bench.sweep(("fs.hung", "/mnt", True)) for _ in range(60)] == [[]] * 60
    assert [bench.sweep(("fs.used_pct", "/mnt", None)) for _ in range(60)] == [[]] * 60


def test_the_host_itself_never_goes():
    bench = Bench(rule())
    bench.used(96, 96, 96)
    assert [bench.sweep() for _ in range(100)] == [[]] * 100


def test_a_resumed_finding_whose_signal_nobody_makes_any_more_is_closed_when_all_have_swept():
    bench = Bench(
        rule(
            "check.state",
            subjects="parts",
            **{"raise": "{all: ['check.state == dead']}", "clear": "{all: ['check.state == ok']}"},
        )
    )
    assert bench.engine.resume("r", "shop", bench.at_ms - 5000, "high", bench.at_ms)
    said = [bench.sweep(("cpu.user_pct", "", 1)) for _ in range(31)]
    assert said[:29] == [[]] * 29
    assert said[29] == ["closed shop -300 subject_gone"]


def test_a_resumed_finding_closes_with_proof_and_an_adopted_one_says_so():
    for is_adopted, reason in ((False, "cleared"), (True, "adopted_cleared")):
        bench = Bench(rule())
        bench.engine.resume("r", "", bench.at_ms - 60_000, "high", bench.at_ms, is_adopted=is_adopted)
        assert bench.used(96, 80, 80, 80) == []
        assert bench.used(80) == [f"closed host -30 {reason}"]


def test_no_rule_of_that_name_cannot_be_resumed():
    assert not Bench(rule()).engine.resume("gone", "", 0, "high", 0)


def test_new_rules_keep_open_findings_of_rules_that_stay_and_close_the_others():
    bench = Bench(rule(), rule("load.per_cpu", name="other"))
    for _ in range(3):
        bench.sweep(("fs.used_pct", "", 96), ("load.per_cpu", "", 99))
    events = bench.engine.replace([rule(clear="{all: ['fs.used_pct < 97'], for: 10 s}")], bench.at_ms)
    assert [(e.kind, e.rule.name, e.reason) for e in events] == [("closed", "other", "rule_removed")]
    assert bench.used(96, 96) == ["closed host -10 cleared"]


def test_severity_rises_once_and_never_falls_while_the_finding_is_open():
    bench = Bench(rule(severity="high", worse="{severity: critical, all: ['fs.used_pct >= 99'], for: 10 s}"))
    assert bench.used(96, 96, 96) == ["opened host -20"]
    assert bench.used(99, 99) == ["changed host -10"]
    assert bench.used(96, 96, 99, 99, 99) == []
    assert [run.severity for _, _, run in bench.engine.open()] == ["critical"]


def test_a_moved_value_is_told_at_most_every_five_minutes():
    bench = Bench(rule("disk.await_ms"))
    spoken = [bench.sweep(("disk.await_ms", "", value)) for value in [100] * 3 + [400] * 40 + [420] * 40]
    assert functools.reduce(operator.iadd, spoken, []) == ["opened host -20", "changed host -0"]


def test_a_counter_is_judged_by_its_rise_in_the_window_and_a_reset_is_no_rise():
    bench = Bench(
        rule(
            "vm.oom_kills",
            rise_over="60 s",
            **{"raise": "{all: ['vm.oom_kills > 0']}", "clear": "{all: ['vm.oom_kills == 0']}"},
        )
    )
    spoken = [bench.sweep(("vm.oom_kills", "", value)) for value in [7, 7, 8, 8, 8, 8, 8, 8, 8, 8, 2, 2, 3]]
    assert spoken[2] == ["opened host -0"] and spoken[8] == ["closed host -0 cleared"]
    assert spoken[12] == ["opened host -0"] and functools.reduce(operator.iadd, spoken[9:12], []) == []


def test_subjects_are_bounded_and_what_was_refused_is_counted():
    bench = Bench(rule(subjects="parts", **{"raise": "{all: ['fs.used_pct > 90']}"}), max_subjects=5)
    said = bench.sweep(*[("fs.used_pct", f"/m{i}", 99) for i in range(9)])
    assert len(said) == 5 and bench.engine.refused == 4 and len(bench.engine.open()) == 5


def test_subjects_that_come_and_go_do_not_grow_the_engine():
    bench = Bench(rule(subjects="parts"), max_subjects=8)
    for i in range(300):
        bench.sweep(("fs.used_pct", f"/m{i}", 40), ("fs.inode_pct", f"/m{i}", 4))
    assert len(bench.engine._newest) <= 64


def test_a_run_survives_json_between_two_processes():
    run = Run(raise_since_ms=5, last_ms=9, severity="high")
    assert Run.from_dict(run.to_dict()) == run
    assert Run.from_dict({"unheard": 1}) == QUIET


def test_a_sample_that_is_not_newer_changes_nothing():
    some = rule(**{"raise": "{all: ['fs.used_pct >= 95'], for: 20 s}"})
    values = {"fs.used_pct": 99.0}
    run, _ = step(some, QUIET, "", values.get, 1000)
    assert step(some, run, "", values.get, 1000) == (run, None)
    assert step(some, run, "", {"fs.used_pct": 1.0}.get, 900) == (run, None)


values = st.lists(
    st.tuples(st.sampled_from([1, 10, 10, 10, 60, 400]), st.sampled_from([None, 80.0, 92.0, 96.0, 99.5])),
    max_size=60,
)


@settings(max_examples=examples(150), deadline=None)
@given(values)
def test_for_any_samples_events_alternate_and_hold_what_they_claim(history):
    """Opened and closed take turns; each is dated by a sample at which its level held, and held at every sample since."""
    some = rule(worse="{severity: critical, all: ['fs.used_pct >= 99'], for: 20 s}")
    bench = Bench(some)
    seen: Dict[int, Optional[float]] = {}
    is_open = False
    for after_s, value in history:
        bench.at_ms += after_s * 1000
        seen[bench.at_ms] = value
        for event in bench.engine.judge([Sample("fs.used_pct", "", value, bench.at_ms)], bench.at_ms, "s"):
            if event.kind == "changed":
                assert is_open
                continue
            assert (event.kind == "opened") != is_open
            is_open = event.kind == "opened"
            since = [(t, v) for t, v in seen.items() if t >= event.at_ms and v is not None]
            assert since[0][0] == event.at_ms
            assert all(v >= 95 for _, v in since) if is_open else all(v < 90 for _, v in since)
            assert bench.at_ms - event.at_ms >= (20_000 if is_open else 30_000)
            assert all(b - a <= max(GAP_MIN_MS, 3 * 400_000) for (a, _), (b, _) in zip(since, since[1:]))
    assert is_open == bench.engine.is_open("r", "")


@settings(max_examples=examples(80), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, True, 3, 97.0, "ok", ["x"], {"y": 99}])),
        max_size=60,
    )
)
def test_no_kind_of_value_breaks_the_engine(history):
    bench = Bench(
        rule(subjects="parts"), rule("svc.failed", name="two", subjects="parts"), rule(name="three")
    )
    for subject, value in history:
        bench.sweep(("fs.used_pct", subject, value), ("svc.failed", "", value), ("fs.used_pct", "", value))
    assert len(bench.engine.open()) <= 20


@settings(max_examples=examples(60), deadline=None)
@given(values)
def test_step_and_engine_judge_alike(history):
    """The collector judges outside probes by ``step`` alone: it must say what the engine says."""
    some = rule()
    bench = Bench(some)
    run, by_step, by_engine = QUIET, [], []
    for after_s, value in history:
        bench.at_ms += after_s * 1000
        if value is not None:
            run, event = step(some, run, "", {"fs.used_pct": value}.get, bench.at_ms, bench_gap(bench, value))
            by_step += [event] if event else []
        by_engine += bench.engine.judge([Sample("fs.used_pct", "", value, bench.at_ms)], bench.at_ms, "s")
    assert [(e.kind, e.at_ms) for e in by_step] == [(e.kind, e.at_ms) for e in by_engine]


def bench_gap(bench: Bench, value: float) -> int:
    """What the engine will take as the gap once it has seen this sample."""
    beat = bench.engine._beats.get("fs.used_pct")
    if beat is None:
        return GAP_MIN_MS
    again = type(beat)(beat.last_ms, beat.period_ms)
    again.saw(bench.at_ms)
    return again.gap_ms


def test_what_went_is_forgotten_and_what_stays_is_not() -> None:
    bench = Bench(rule(subjects="parts"))
    for n in range(50):
        bench.sweep(("fs.used_pct", f"/mnt/{n}", 40.0), ("fs.used_pct", "/", 40.0))
    bench.sweep(("fs.used_pct", "/", 40.0), after_s=2 * 3600)
    bench.engine.prune(bench.at_ms)
    assert set(bench.engine._newest) == {("fs.used_pct", "/")}


def test_a_counter_among_many_of_one_drive_is_remembered_for_its_whole_window() -> None:
    bench = Bench(
        rule(
            subjects="parts",
            rise_over="1 d",
            **{"raise": {"all": ["fs.used_pct > 0"]}, "clear": {"all": ["fs.used_pct == 0"]}},
        )
    )
    bench.sweep(("fs.used_pct", "sda", {"sda:197": 0, "sda:5": 0}))
    bench.sweep(("fs.used_pct", "sda", {"sda:197": 8, "sda:5": 0}))
    assert bench.engine.is_open("r", "sda:197")
    for _ in range(5):
        bench.engine.prune(bench.at_ms)
        bench.sweep(("fs.used_pct", "sda", {"sda:197": 8, "sda:5": 0}), after_s=600)
    assert bench.engine.is_open("r", "sda:197") and not bench.engine.is_open("r", "sda:5")


def test_forgetting_ends_no_open_finding() -> None:
    bench = Bench(rule(subjects="parts"))
    for _ in range(4):
        bench.sweep(("fs.used_pct", "/var", 97.0))
    assert bench.engine.is_open("r", "/var")
    bench.engine.prune(bench.at_ms + 10 * 3_600_000)
    assert bench.engine.is_open("r", "/var")
