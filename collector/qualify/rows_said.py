"""Evidence from what others say: the provider's own action log. Enough alone, since who acted is no guess (rule 4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from collector.qualify.case import Case
from collector.qualify.row import STRONG, Params, Row, holds, row

BEFORE_MS = 300_000
AFTER_MS = 3_600_000
"""Providers write their log late: an entry within the hour after still speaks of this fault."""

_NODE = re.compile(r"(?i)(?:host|node|hypervisor)\b.*\b(?:fail|crash|down|dead|lost)|\bHA restart\b")
_RESET = re.compile(r"(?i)\b(?:reset|reboot|restart|power.?(?:off|cycle)|stop|shutdown)\b")
_CUSTOMER = re.compile(r"(?i)\b(?:customer|client|user|panel|api key)\b")


def _events(case: Case) -> list[str]:
    return [
        str(s.value) for s in case.happened("prov.event", BEFORE_MS, AFTER_MS) if s.host_id == case.host.id
    ]


def _node_failed(case: Case) -> Params | None:
    said = next((text for text in _events(case) if _NODE.search(text) and not _CUSTOMER.search(text)), "")
    return holds(bool(said), line=said[:160])


def _customer_reset(case: Case) -> Params | None:
    said = next((text for text in _events(case) if _RESET.search(text) and _CUSTOMER.search(text)), "")
    return holds(bool(said), line=said[:160])


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
        _customer_reset,
    ),
)
