"""What people did on this host: new lines of sudo's, logind's and the package manager's logs. Reads files, runs nothing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Dict, List, Optional

from agent.samplers.base import Batch, why
from agent.samplers.tail import Tails
from agent.signals.parsers.operators import OperatorAct, parse_acts
from agent.signals.sample import Sample
from config.clock import Clock, SystemClock

LOGS = ("var/log/secure", "var/log/auth.log", "var/log/dnf.rpm.log", "var/log/yum.log")
RECENT_S = 900.0
"""At the start acts of so long ago are told still: they may explain the boot that started us."""

ACTS_MAX = 20


class Operators:
    """Signal ops.action, an event."""

    name = "operators"
    period_s = 10.0

    def __init__(self, root: Path = Path("/"), clock: Optional[Clock] = None) -> None:
        self._files = [root / log for log in LOGS]
        self._clock = clock or SystemClock()
        self._tails = Tails()
        self._lacks: Dict[str, str] = {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        now_s = self._clock.now_ms() / 1000.0
        local = dt.datetime.fromtimestamp(now_s, dt.timezone.utc).astimezone().tzinfo or dt.timezone.utc
        acts: List[OperatorAct] = []
        reasons: List[str] = []
        is_readable = False
        for file in self._files:
            try:
                text = self._tails.new_text(file)
            except FileNotFoundError:
                continue
            except OSError as error:
                reasons.append(f"/{file.name}: {why(error)}")
                continue
            is_readable = True
            acts += parse_acts(text, now_s, local) if text else []
        if is_readable:
            self._lacks.pop("ops.action", None)
        else:
            self._lacks["ops.action"] = "; ".join(reasons) or "no log of sudo or packages here"
        batch = Batch(mono_ms, self._lacks)
        for act in sorted(act for act in acts if act.at_s >= now_s - RECENT_S)[-ACTS_MAX:]:
            age_ms = max(0, round((now_s - act.at_s) * 1000))
            batch.samples.append(Sample("ops.action", "", act.text, mono_ms - age_ms))
        return batch.samples
