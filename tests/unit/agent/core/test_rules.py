"""Rules as YAML writes them: conditions in three values, every fault at once, changes laid over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import SHIPPED
from agent.signals.catalogue import BY_NAME
from agent.signals.rules import (
    FAMILIES,
    Level,
    RuleChange,
    RuleFile,
    compile_rules,
    parse_condition,
)
from config import loader
from config.loader import ConfigError


@pytest.mark.parametrize(
    ("text", "values", "answer"),
    [
        ("fs.used_pct >= 95", {"fs.used_pct": 95.0}, True),
        ("fs.used_pct >= 95", {"fs.used_pct": 94.9}, False),
        ("fs.used_pct >= 95", {}, None),
        ("cpu.user_pct + cpu.sys_pct > 80", {"cpu.user_pct": 50, "cpu.sys_pct": 31}, True),
        ("cpu.user_pct + cpu.sys_pct > 80", {"cpu.user_pct": 99}, None),
        ("net.gw == dead", {"net.gw": "dead"}, True),
        ("net.gw == dead", {"net.gw": "ok"}, False),
        ("net.gw == dead", {"net.gw": 3.0}, None),
        ("net.gw == dead", {"net.gw": "unknown"}, None),
        ("net.gw != dead", {"net.gw": "unknown"}, None),
        ("fs.ro == true", {"fs.ro": True}, True),
        ("fs.ro == true", {"fs.ro": 1}, True),
        ("fs.ro == false", {"fs.ro": True}, False),
        ("fs.ro == true", {"fs.ro": "yes"}, None),
        ("check.state in refused timeout", {"check.state": "timeout"}, True),
        ("check.state not in ok, slow", {"check.state": "slow"}, False),
        ("check.state not in ok slow", {"check.state": "unknown"}, None),
    ],
)
def test_a_condition_is_true_false_or_unknown(text, values, answer):
    assert parse_condition(text).holds(values.get) is answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fs.used_pct",
        "> 3",
        "fs.used_pct >= ",
        "net.gw > dead",
        "a.b + c.d == ok",
        "a.b > nan",
        "a.b >= inf",
        "a.b ! 3",
    ],
)
def test_what_is_no_condition_is_refused_with_a_sentence(text):
    with pytest.raises(ValueError, match=r"condition|orders|sum|no sample"):
        parse_condition(text)


@given(st.text(max_size=60))
def test_no_text_breaks_the_condition_parser(text):
    try:
        parse_condition(text)
    except ValueError:
        return
    assert "." in text or text.strip()[0].isalpha()


TRUE, FALSE, UNKNOWN = (
    parse_condition("t.t == true"),
    parse_condition("f.f == true"),
    parse_condition("u.u == true"),
)
VALUES = {"t.t": True, "f.f": False}


@pytest.mark.parametrize(
    ("all_", "any_", "answer"),
    [
        ((TRUE, TRUE), (), True),
        ((TRUE, UNKNOWN), (), None),
        ((FALSE, UNKNOWN), (), False),
        ((UNKNOWN, FALSE), (), False),
        ((TRUE,), (FALSE, TRUE), True),
        ((TRUE,), (UNKNOWN, TRUE), True),
        ((TRUE,), (UNKNOWN, FALSE), None),
        ((TRUE,), (FALSE, FALSE), False),
        ((UNKNOWN,), (FALSE,), False),
        ((), (TRUE,), True),
    ],
)
def test_a_level_is_three_valued(all_, any_, answer):
    assert Level(all_, any_, 0).holds(VALUES.get) is answer


def test_every_fault_of_a_rules_file_is_listed_with_its_line():
    text = """rules:
  - name: Bad Name
    family: cpu
    signal: cpu.user_pct
    raise: {all: ["cpu.user_pct >>> 3"]}
    clear: {all: ["cpu.usr_pct < 3"], for: -1}
  - name: other
    family: weather
    signal: fs.used_pct
    severity: loud
    raise: {all: ["load.per_cpu > 3"]}
    clear: {}
  - name: third
"""
    with pytest.raises(ConfigError) as caught:
        loader.parse(text, RuleFile, file="r.yaml")
    said = [str(fault) for fault in caught.value.faults]
    for part in (
        "r.yaml:2: rules[0].name",
        "r.yaml:5: rules[0].raise.all: 'cpu.user_pct >>> 3' is not a condition",
        "r.yaml:6: rules[0].clear.for",
        "r.yaml:8: rules[1].family: 'weather' is not known",
        "r.yaml:10: rules[1].severity",
        "r.yaml:12: rules[1].clear.all: needs at least one condition",
        "r.yaml:13: rules[2].signal: is missing",
    ):
        assert any(line.startswith(part) for line in said), (part, said)


ONE = (
    "rules: [{{name: a, family: cpu, signal: {0}, raise: {{all: ['{1} > 1']}}, clear: {{all: ['{1} < 1']}}}}]"
)


def test_a_signal_that_the_catalogue_does_not_know_is_a_fault():
    text = ONE.format("cpu.usr_pct", "cpu.usr_pct")
    with pytest.raises(ConfigError, match=r"cpu.usr_pct is no signal .*cpu.user_pct"):
        loader.parse(text, RuleFile)


def test_a_rule_must_look_at_its_own_signal():
    text = ONE.format("cpu.user_pct", "load.per_cpu")
    with pytest.raises(ConfigError, match="never looks at the rule's own signal"):
        loader.parse(text, RuleFile)


def test_two_rules_of_one_name_are_a_fault(rules):
    one = "{name: a, family: cpu, signal: cpu.user_pct, raise: {all: ['cpu.user_pct > 1']}, clear: {all: ['cpu.user_pct < 1']}}"
    with pytest.raises(ConfigError, match="a stands twice"):
        rules(f"rules: [{one}, {one}]")


def test_a_change_lays_over_only_what_it_names():
    file = loader.load(SHIPPED / "rules.yaml", RuleFile)
    change = loader.parse("{raise: {all: ['fs.used_pct >= 97'], for: 60 s}, except: [/mnt]}", RuleChange)
    before = {rule.name: rule for rule in compile_rules(file)}["fs_full"]
    after = {rule.name: rule for rule in compile_rules(file, {"fs_full": change})}["fs_full"]
    assert after.raise_.for_ms == 60_000 and after.except_ == ("/mnt",)
    assert (after.clear, after.severity, after.worse) == (before.clear, before.severity, before.worse)


def test_a_rule_that_is_switched_off_is_not_compiled():
    file = loader.load(SHIPPED / "rules.yaml", RuleFile)
    names = {rule.name for rule in compile_rules(file, {"fs_full": RuleChange(enabled=False)})}
    assert "fs_full" not in names and "inodes_gone" in names


def test_a_change_to_no_rule_is_refused():
    with pytest.raises(ValueError, match="no such rule: fs_ful"):
        compile_rules(RuleFile(), {"fs_ful": RuleChange(enabled=False)})


SHIPPED_RULES = compile_rules(loader.load(SHIPPED / "rules.yaml", RuleFile))


@pytest.mark.parametrize("rule", [r for r in SHIPPED_RULES if not r.lasts_ms], ids=lambda rule: rule.name)
def test_no_value_raises_and_clears_a_shipped_rule_at_once(rule):
    """Hysteresis: raise and clear levels are apart, for each main signal on a grid of values, words and truths."""
    grid = [x / 20 for x in range(-2400, 2500)] + [
        0,
        1,
        600,
        1000,
        True,
        False,
        "ok",
        "dead",
        "down",
        "up",
        "fail",
    ]
    grid += ["slow", "loss", "refused", "timeout", "stopped", "degraded", "inactive", "starting", "unknown"]
    for value in grid:
        seen = {rule.signal: value}
        for other in rule.raise_.signals() | rule.clear.signals():
            seen.setdefault(other, 1e6)
        assert not (rule.raise_.holds(seen.get) and rule.clear.holds(seen.get)), (rule.name, value)


@pytest.mark.parametrize("rule", SHIPPED_RULES, ids=lambda rule: rule.name)
def test_a_healthy_host_raises_no_shipped_rule(rule):
    """At the catalogue's baselines every rule is quiet, and none of those with a value is unknown about clearing."""
    baseline = {name: signal.baseline for name, signal in BY_NAME.items()}
    if rule.fall_ms:
        baseline[rule.signal] = 0.0  # such a rule judges how far the signal fell
    assert rule.raise_.holds(baseline.get) is not True


def test_load_alone_opens_nothing():
    busy = {
        "load.per_cpu": 40.0,
        "sched.runq_per_cpu": 40.0,
        "cpu.user_pct": 15,
        "cpu.sys_pct": 4,
        "cpu.softirq_pct": 0,
    }
    busy.update({"psi.cpu_some60": 0.5, "cpu.steal_pct": 0.2})
    assert [rule.name for rule in SHIPPED_RULES if rule.raise_.holds(busy.get)] == []


def test_the_families_of_rules_are_families_of_tickets():
    model = pytest.importorskip("ticketing.model", reason="the desk needs Python 3.11")
    assert set(FAMILIES) <= set(model.FAMILIES)
