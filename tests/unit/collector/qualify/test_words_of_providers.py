"""What providers write, in Ukrainian and in English: whose act it was, and what broke."""

from __future__ import annotations

import dataclasses

import pytest

from collector.qualify.judge import qualify

pytestmark = pytest.mark.collector


@pytest.mark.parametrize(
    ("said", "virt", "cause"),
    [
        ("Користувач client_17 виконав «Reset Guest» через панель", "vmware", "os.user_reset"),
        ("перезавантаження за запитом клієнта", "kvm", "os.user_reset"),
        ("power cycle via customer panel", "kvm", "os.user_reset"),
        ("примусове вимкнення віртуальної машини службою експлуатації", "kvm", "virt.node_failure"),
        ("Аварія вузла n7, машини піднято на n9", "kvm", "virt.node_failure"),
        ("вузол pve4 недоступний, триває евакуація", "lxc", "virt.node_failure"),
        ("n7 watchdog reset, instance up on n9", "kvm", "virt.node_failure"),
        ("instance restarted by HA on n9", "kvm", "virt.node_failure"),
        ("n7 завис, машини піднято на n9", "kvm", "virt.node_failure"),
        ("збій системи зберігання: сховище ceph-a недоступне", "kvm", "virt.storage_backend"),
        ("СХД-2: відмова контролера", "kvm", "virt.storage_backend"),
        ("Зникнення електроживлення в ряду 4", "none", "hw.power"),
        ("відключення живлення стійки r3", "none", "hw.power"),
        ("Обрив оптики до майданчика, бригада виїхала", "kvm", "net.provider_edge"),
        ("аварія на магістралі, мережа недоступна", "none", "net.provider_edge"),
        ("IP 203.0.113.7 заблоковано на бордері через DDoS", "kvm", "net.nullroute"),
        ("адресу 203.0.113.7 знято з анонсу", "none", "net.nullroute"),
    ],
)
def test_a_provider_s_words_name_who_acted_and_what_broke(make_case, said, virt, cause):
    case = make_case("silence", {}, topology={"virt": virt}, seen=(("prov.event", said, ""),))
    assert qualify(case).root_cause == cause


@pytest.mark.parametrize(
    "said",
    ["Рахунок за листопад сплачено", "Планову перевірку мережі завершено успішно", "створено запис DNS"],
)
def test_words_about_something_else_name_nothing(make_case, said):
    assert qualify(make_case("silence", {}, seen=(("prov.event", said, ""),))).root_cause == "unknown"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("post-incident report: host node crash", "virt.node_failure"),
        ("Звіт про інцидент: збій вузла", "virt.node_failure"),
        ("host node crash", "unknown"),
    ],
)
def test_of_what_comes_hours_later_only_what_looks_back_speaks_of_the_fault(make_case, said, cause):
    case = make_case("silence", {}, seen=(("prov.event", said, ""),))
    late = dataclasses.replace(case.seen[0], at_ms=case.subject.at_ms + 5 * 3_600_000)
    assert qualify(dataclasses.replace(case, seen=(late,))).root_cause == cause


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("Тариф змінено клієнтом: 4 ядра -> 1 ядро", "os.plan_limit"),
        ("downgraded to plan S by customer", "os.plan_limit"),
        ("тариф змінено клієнтом: 1 -> 4 ядра", "virt.cpu_contention"),
        ("CPU quota 400 -> 100 by operations", "virt.limits_changed"),
    ],
)
def test_what_is_withheld_since_the_customer_ordered_less_is_what_was_bought(make_case, said, cause):
    case = make_case("cpu", {"cpu.steal_pct": 74}, seen=(("prov.event", said, ""),))
    assert qualify(case).root_cause == cause


@pytest.mark.parametrize(
    "taken_back",
    [
        "correction: previous event withdrawn, hard reset was requested in the panel by customer user m.b",
        "Виправлення: машину перезавантажив клієнт через панель",
    ],
)
def test_a_correction_stands_for_all_that_was_said_before_it(make_case, taken_back):
    said = (("prov.event", "HA restart: host node n7 failure", ""), ("prov.event", taken_back, ""))
    assert qualify(make_case("silence", {}, seen=said[:1])).root_cause == "virt.node_failure"
    assert qualify(make_case("silence", {}, seen=said)).root_cause == "os.user_reset"
