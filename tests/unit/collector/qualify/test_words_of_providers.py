"""What providers write, in Ukrainian and in English: whose act it was, and what broke."""

from __future__ import annotations

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
