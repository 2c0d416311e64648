"""Evidence from what others say: the provider's own log, status and view of the machine, and our operators' acts.

Enough alone, since who acted is no guess (rule 4). A provider's word on itself as a whole speaks of a host only where
it names a place of that host, or the provider says that it has an incident now.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import SCOPES, Case
from collector.qualify.row import DECISIVE, MEDIUM, STRONG, WEAK, Params, Row, holds, row

BEFORE_MS = 600_000
AFTER_MS = 3_600_000
"""Providers write their log late: an entry within the hour after still speaks of this fault."""
REPORT_AFTER_MS = 24 * 3_600_000
"""What looks back says so, and comes when they have found out: the next day at the latest, it is hoped."""

# Providers here write in Ukrainian as often as in English; stems, since words are declined.
_NODE = re.compile(
    r"(?i)(?:host|node|hypervisor)\b.*\b(?:fail|crash|down|dead|lost|died|fence|reboot)|\bHA restart\b|\bevacuat|"
    r"\bre-?start\w* (?:by|through|via) (?:the )?(?:HA|high.availability)\b|"
    r"(?:вуз(?:ол|л)|нод|гіпервізор|фізичн\w+ сервер)\w*.*(?:збі|збо|авар|відмов|впа|недоступ|перезавантаж|зламав)|"
    r"(?:збій|збою|аварі\w|відмов\w) (?:\w+ )?(?:вузла|ноди|гіпервізора|фізичн\w+)|евакуац|евакуйова"
)
_BEFELL = (
    r"\b(?:crash|panic|watchdog|fail(?:ed|ure)|died|dead\b|hung|unresponsive|fenced|"
    r"впа[вл]|завис|відмов|збій|збо[юїєм]|авар)"
)
_RESET = re.compile(
    r"(?i)\b(?:reset|reboot|restart|power.?(?:off|cycle)|stop|shutdown|shut down|destroy|"
    r"перезавант|перезапу|вимкн|вимик|зупин|скинут|скидан)"
)
_CUSTOMER = re.compile(
    r"(?i)\b(?:customer|client|user|panel|api key|owner|клієнт\w*|замовни\w+|користувач\w*|власни\w+|абонент\w*|панел\w+)\b"
)
_NULL_ROUTE = re.compile(
    r"(?i)null.?rout|black.?hol|\brtbh\b|(?:address|ip) (?:is )?(?:blocked|withdrawn|filtered)|бл[еє]к.?хол|"
    r"(?:адрес|\bIP\b).*(?:заблок|знято з анонс|відфільтр)|(?:заблок|блокуван)\w* (?:адрес|IP)"
)
_TROUBLE = (
    r".*(?:fail|outage|down|incident|degrad|loss|lost|slow|cut|trip|flap|broken|problem|recover|"
    r"збій|збо[юїєм]|авар|відмов|обрив|обірва|втра[тч]|недоступ|деград|повільн|пошкодж|зник|вимкнен|відключ|не працю)"
)
_TROUBLE_BEFORE = (
    r"(?:збій|збої|збою|аварі\w|відмов\w|обрив|втрат\w|деградаці\w|пошкоджен\w+|зникнен\w+|відключен\w+)\b.*"
)
_UK_STORAGE = r"(?:сховищ|\bСХД\b|дисков\w+ (?:масив|полиц)|датастор|том(?:у|ів)?\b)"
_UK_POWER = r"(?:живлен|електр|\bДБЖ\b|\bАВР\b|струм)"
_UK_NETWORK = r"(?:мереж|маршрутизатор|комутатор|аплінк|оптик|оптичн|волок|магістрал|канал\w* зв|шлюз)"


def _place(english: str, ukrainian: str) -> re.Pattern[str]:
    """Trouble with a thing, in either language and (in Ukrainian) either order of words."""
    return re.compile(rf"(?i)\b(?:{english})\b{_TROUBLE}|{ukrainian}{_TROUBLE}|{_TROUBLE_BEFORE}{ukrainian}")


_STORAGE = _place("storage|ceph|osd|san|volume|lun|datastore", _UK_STORAGE)
_POWER = _place(r"power|pdu|ups|mains|electric\w*|breaker", _UK_POWER)
_NETWORK = _place("router|switch|uplink|network|fib(?:er|re)|core|border|bgp|link|gateway", _UK_NETWORK)
_CAPACITY = re.compile(
    r"(?i)\b(?:resiz|downgrad|upgrad|flavou?r|limit|balloon|setmem|setvcpus|hotplug|memory|vcpu|plan|quota|tariff|chcpu|"
    r"тариф|план\w*|пам.ят|процесор|ліміт|обмежен|квот|ресурс)|cpu\d*/online"
)
_LIMITS = re.compile(r"(?i)limit|quota|beancounter|shares|cpuunits|ліміт|обмежен|квот")
_CPU_SIZE = re.compile(
    r"(?i)\b(?:v?cpus?|cores?|processor|процесор\w*|ядр\w*|ядер)\b.*(?:limit|cap\b|quota|shares|units|->|→|обмежен|ліміт|квот)|"
    r"(?:limit|\bcap\b|quota|обмежен|ліміт|квот).*\b(?:v?cpus?|cores?|processor|процесор\w*|ядр\w*|ядер)\b|"
    r"\b(?:plan|tariff|flavou?r|downgrad\w+|тариф\w*)\b"
)
_STEP = re.compile(r"(\d+(?:[.,]\d+)?)[^\d>→]*(?:->|→|to|до|на)\s*(\d+(?:[.,]\d+)?)")
_PAUSE = re.compile(
    r"(?i)\b(?:snapshot|suspend|paus|migrat|backup|stun|знім(?:ок|к)|снапшот|призупин|пауз|міграц|мігру|резервн\w+ копі)"
)
FIREWALL = re.compile(
    r"(?i)\biptables|\bnft\b|nftables|firewall|\bufw\b|\bcsf\b|\bipset\b|"
    r"\bip (?:link|addr|address|route|rule|-6)|\bif(?:down|up|config)\b|\bnmcli|network-scripts|hosts\.(?:deny|allow)"
)
_RESOLVER = re.compile(
    r"(?i)resolv\.conf|\bnmcli|resolvectl|systemd-resolved|dnsmasq|unbound|named|nscd|nsswitch"
)
_CLOCK = re.compile(r"(?i)\bdate (?:-s|--set|\d)|timedatectl|hwclock|chrony|ntpd|ntpdate|timesync")
_UNIT = re.compile(
    r"(?i)systemctl (?:stop|disable|mask|kill)|\bservice \S+ stop|\bkill(?:all)?\b|/etc/init\.d/\S+ stop"
)
_WORK = re.compile(
    r"(?i)\b(?:deploy|release|rollout|install|update|upgrade|import|migrat|batch|reindex|restore|dump|"
    r"розгорт|встановл|оновлен|імпорт|відновлен)"
)


_LOOKS_BACK = re.compile(
    r"(?i)post.?(?:incident|mortem)|\b(?:RFO|RCA)\b|root.cause|reason for (?:the )?outage|incident report|"
    r"(?:was|were) (?:caused|due)|звіт|причин\w+ (?:збо|авар|відмов|простою|недоступ)|спричин"
)


_WITHDRAWS = re.compile(
    r"(?i)\bcorrection\b|\b(?:previous|earlier) (?:event|statement|notice|message|report)\b|"
    r"\b(?:event|statement|notice|message|report) (?:is |was )?(?:withdrawn|retracted|wrong|void)\b|"
    r"спростув|виправлення\b|уточнення\b|попередн\w+ (?:повідомлення|поді\w|запис)"
)


def _events(case: Case) -> list[str]:
    """What the provider's log says of this host, or of a place of its; a correction stands for all that was said before it."""
    began, provider = case.subject.at_ms, case.host.place("provider")
    names = {case.host.place(kind) for kind in (*SCOPES[:-1], "resolver")} - {"", "local", provider}
    has_incident = case.provider_status() == "incident"
    found: list[str] = []
    for said in case.happened("prov.event", BEFORE_MS, REPORT_AFTER_MS):
        text = str(said.value)
        is_mine = said.host_id == case.host.id
        if is_mine and _WITHDRAWS.search(text):
            found.clear()
        elif is_mine and said.at_ms > began + AFTER_MS and not _LOOKS_BACK.search(text):
            continue
        elif not is_mine:
            is_near = has_incident or any(re.search(rf"\b{re.escape(name)}\b", text) for name in names)
            if said.host_id != provider or said.at_ms > began + AFTER_MS or not is_near:
                continue
        found.append(text)
    return found


def event(case: Case, pattern: re.Pattern[str], *, by_customer: bool = False) -> str:
    """The first entry of the provider's log that matches, of its own doing or of the customer's."""
    return next(
        (t for t in _events(case) if pattern.search(t) and bool(_CUSTOMER.search(t)) == by_customer), ""
    )


def _said(pattern: re.Pattern[str], *, by_customer: bool = False):
    def when(case: Case) -> Params | None:
        text = event(case, pattern, by_customer=by_customer)
        return holds(bool(text), line=text[:160])

    return when


def _only_on(is_metal: bool, when):
    return lambda case: when(case) if case.host.is_bare_metal == is_metal else None


def _of_node(case: Case) -> str:
    """The first entry by which the node failed: by the word, or by the node's own name and what befell it."""
    name = case.host.place("node")
    befell = re.compile(rf"(?i)\b{re.escape(name)}\b.*{_BEFELL}") if name else _NODE
    return event(case, _NODE) or event(case, befell)


def _node_failed(case: Case) -> Params | None:
    text = _of_node(case)
    return holds(bool(text), line=text[:160])


def forced_off(case: Case) -> Params | None:
    """Reset or switched off by the provider itself, no failure of a node named."""
    text = event(case, _RESET)
    return holds(bool(text) and not _of_node(case), line=text[:160])


def ordered_capacity(case: Case) -> str:
    """What the customer ordered of the provider, or an operator did, that explains a step of the machine's size."""
    return event(case, _CAPACITY, by_customer=True) or case.done_by_operator(_CAPACITY.search)


def _cpu_ordered_down(case: Case) -> Params | None:
    """What the hypervisor withholds since the customer ordered less of the processor is what was bought, and not taken."""
    text = event(case, _CPU_SIZE, by_customer=True)
    step = _STEP.search(text)
    is_more = step is not None and float(step[2].replace(",", ".")) >= float(step[1].replace(",", "."))
    is_withheld = case.ran_above("cpu.steal_pct", 10.0) or case.ran_above("cg.throttled_pct", 10.0)
    return holds(bool(text) and not is_more and is_withheld, line=text[:160])


def _machine_state(word: str):
    """The provider's view of the machine; one that shut itself down in order is off by its own word."""

    def when(case: Case) -> Params | None:
        said = list(case.seen_now("prov.vm_state").values())
        own = case.value("agent.stop_reason") == "host_shutdown" or bool(
            event(case, _RESET, by_customer=True)
        )
        return holds(bool(said) and said[-1] == word and not own, state=word)

    return when


def _has_incident(case: Case) -> Params | None:
    return holds(case.provider_status() == "incident", provider=case.host.place("provider"))


def _act(pattern: re.Pattern[str]):
    def when(case: Case) -> Params | None:
        act = case.done_by_operator(pattern.search)
        return holds(bool(act), act=act[:160])

    return when


_SILENT = "silence kernel network service"

SAID_ROWS: Sequence[Row] = (
    row(
        "prov.node_failed",
        "silence kernel virt",
        "virt.node_failure",
        STRONG,
        "provider",
        "signals.md 5 node failure",
        _node_failed,
    ),
    row(
        "prov.customer_reset",
        "silence kernel",
        "os.user_reset",
        -STRONG,
        "provider",
        "signals.md 5 customer reset",
        _said(_RESET, by_customer=True),
    ),
    row(
        "prov.null_route",
        f"{_SILENT} limits",
        "net.nullroute",
        STRONG + MEDIUM,
        "provider",
        "signals.md 3.7 null-route",
        _said(_NULL_ROUTE),
        says="prov.said",
    ),
    row(
        "prov.storage",
        "io fs silence",
        "virt.storage_backend",
        STRONG,
        "provider",
        "signals.md 1 rule 4, 3.3",
        _said(_STORAGE),
        says="prov.said",
    ),
    row(
        "prov.power",
        "silence kernel hardware",
        "hw.power",
        STRONG,
        "provider",
        "signals.md 5 power",
        _only_on(True, _said(_POWER)),
        says="prov.said",
    ),
    row(
        "prov.power_of_node",
        "silence kernel",
        "virt.node_failure",
        STRONG,
        "provider",
        "signals.md 5 power",
        _only_on(False, _said(_POWER)),
        says="prov.said",
    ),
    row(
        "prov.network",
        "silence network",
        "net.provider_edge",
        STRONG,
        "provider",
        "signals.md 3.7 gateway, uplink",
        _said(_NETWORK),
        says="prov.said",
    ),
    row(
        "prov.forced_off",
        "silence kernel",
        "virt.node_failure",
        STRONG,
        "provider",
        "signals.md 5 forced reset",
        forced_off,
        says="prov.said",
    ),
    row(
        "prov.capacity",
        "virt memory cpu",
        "",
        STRONG,
        "provider",
        "signals.md 1 rule 9",
        _said(_CAPACITY),
        says="prov.said",
    ),
    row(
        "prov.limits",
        "cpu memory virt",
        "virt.limits_changed",
        STRONG + MEDIUM,
        "provider",
        "signals.md 3.1 C12, 1 rule 9",
        _said(_LIMITS),
        says="prov.said",
    ),
    row(
        "prov.cpu_ordered_down",
        "cpu",
        "os.plan_limit",
        -DECISIVE,
        "provider",
        "signals.md 3.1 C2, 1 rule 9",
        _cpu_ordered_down,
        says="prov.said",
    ),
    row(
        "prov.pause",
        "virt",
        "virt.pause",
        MEDIUM,
        "provider",
        "signals.md 3.4 P8",
        _said(_PAUSE),
        says="prov.said",
    ),
    row(
        "prov.machine_stopped",
        "silence",
        "virt.node_failure",
        MEDIUM,
        "provider",
        "signals.md 5, 1 rule 4",
        _machine_state("stopped"),
        says="prov.machine",
    ),
    row(
        "prov.machine_paused",
        "silence virt",
        "virt.pause",
        STRONG,
        "provider",
        "signals.md 3.4, 1 rule 4",
        _machine_state("paused"),
        says="prov.machine",
    ),
    row(
        "prov.incident",
        "silence network",
        "net.provider_edge",
        MEDIUM,
        "provider",
        "signals.md 1 rule 4",
        _has_incident,
    ),
    row(
        "prov.incident_below",
        "io dns virt",
        "",
        MEDIUM,
        "provider",
        "signals.md 1 rule 4",
        _has_incident,
        says="prov.incident",
    ),
    # A change explains a step (rule 9): what an operator did just before is the first hypothesis.
    row(
        "ops.firewall",
        "service network",
        "os.firewall",
        -STRONG,
        "ops",
        "signals.md 1 rule 9, 3.7",
        _act(FIREWALL),
        says="ops.act",
    ),
    row(
        "ops.resolver",
        "dns",
        "os.resolver",
        -STRONG,
        "ops",
        "signals.md 1 rule 9, 3.8 N1",
        _act(_RESOLVER),
        says="ops.act",
    ),
    row(
        "ops.clock",
        "clock",
        "os.clock",
        -STRONG,
        "ops",
        "signals.md 1 rule 9, 3.8 T2",
        _act(_CLOCK),
        says="ops.act",
    ),
    row(
        "ops.unit",
        "service unit process",
        "os.service_failed",
        -MEDIUM,
        "ops",
        "signals.md 1 rule 9",
        _act(_UNIT),
        says="ops.act",
    ),
    row(
        "ops.work",
        "cpu io memory service unit",
        "",
        -WEAK,
        "ops",
        "signals.md 1 rule 9",
        _act(_WORK),
        says="ops.act",
    ),
)
