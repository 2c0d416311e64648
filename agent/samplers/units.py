"""systemd units: which have failed, which restart again and again. One systemctl a minute, in a thread."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, List, Optional, Tuple, Union

from agent.checks import systemctl
from agent.samplers.base import Batch, Errand
from agent.signals.parsers.error import ParseError
from agent.signals.parsers.systemd import UnitState, parse_list_units, parse_show
from agent.signals.sample import Sample

TIMEOUT_S = 15.0
FIRST_WAIT_S = 0.3
RESTARTS_EVERY_MS = 300_000
HOUR_MS = 3_600_000
MAX_UNITS = 50
SIGNALS = ("svc.failed", "svc.unit_failed", "svc.restarts_h")

Answer = Union[str, systemctl.Unavailable]


class Units:
    """Signals svc.failed (list), svc.unit_failed (by unit), svc.restarts_h (by unit, and the worst)."""

    name = "units"
    period_s = 60.0

    def __init__(
        self,
        root: Path = Path("/"),
        list_failed: Callable[[float], Answer] = systemctl.show_failed,
        list_services: Callable[[float], Answer] = systemctl.show_all_services,
        absence: Callable[[Path], Optional[systemctl.Unavailable]] = systemctl.absence,
    ) -> None:
        self._list_failed = list_failed
        self._list_services = list_services
        self._errand: Optional[Errand[Tuple[Answer, Optional[Answer]]]] = None
        self._restarts_due_ms: Optional[int] = None
        self._restarts: Dict[str, Deque[Tuple[int, int]]] = {}
        self._once_failed: Dict[str, None] = {}
        absent = absence(root)
        self._absent = absent is not None
        self._lacks: Dict[str, str] = dict.fromkeys(SIGNALS, absent.why) if absent else {}

    def lacks(self) -> Dict[str, str]:
        return dict(self._lacks)

    def sweep(self, mono_ms: int) -> List[Sample]:
        """What systemctl said since the last sweep. The first sweep waits for it shortly, later ones do not."""
        batch = Batch(mono_ms, {})
        if self._absent:
            return []
        is_first = self._restarts_due_ms is None
        if self._errand is None:
            self._errand = Errand("systemctl", self._question(mono_ms))
        self._errand.wait(FIRST_WAIT_S if is_first else 0.3)
        if self._errand.is_done:
            failed, services = self._errand.answer()
            self._errand = None
            self._take_failed(batch, failed)
            if services is not None:
                self._take_services(batch, services, mono_ms)
        return batch.samples

    def settle(self, seconds: float) -> None:
        """Wait until systemctl has answered, at most so long; ``once`` asks for it."""
        if self._errand is not None:
            self._errand.wait(seconds)

    def _question(self, mono_ms: int) -> Callable[[], Tuple[Answer, Optional[Answer]]]:
        wants_restarts = self._restarts_due_ms is None or mono_ms >= self._restarts_due_ms
        if wants_restarts:
            self._restarts_due_ms = mono_ms + RESTARTS_EVERY_MS

        def ask() -> Tuple[Answer, Optional[Answer]]:
            return self._list_failed(TIMEOUT_S), self._list_services(TIMEOUT_S) if wants_restarts else None

        return ask

    def _take_failed(self, batch: Batch, answer: Answer) -> None:
        units = self._parse(answer, parse_list_units, SIGNALS[:2])
        if units is None:
            return
        failed = sorted(unit.name for unit in units if unit.active == "failed")[:MAX_UNITS]
        batch.add("svc.failed", failed)
        for name in failed:
            batch.add("svc.unit_failed", True, name)
        for name in list(self._once_failed):
            if name not in failed:
                batch.add("svc.unit_failed", False, name)
        self._once_failed.update(dict.fromkeys(failed))
        while len(self._once_failed) > 4 * MAX_UNITS:
            self._once_failed.pop(next(iter(self._once_failed)))

    def _take_services(self, batch: Batch, answer: Answer, mono_ms: int) -> None:
        if isinstance(answer, str) and answer.strip() and "NRestarts=" not in answer:
            self._lacks["svc.restarts_h"] = "this systemd (before 235) does not count restarts"
            return
        units = self._parse(answer, parse_show, SIGNALS[2:])
        if units is None:
            return
        worst = 0
        for unit in units:
            restarts = self._restarts_of(unit, mono_ms)
            worst = max(worst, restarts)
            if restarts or unit.name in self._once_failed:
                batch.add("svc.restarts_h", restarts, unit.name)
                self._once_failed.setdefault(unit.name)
        batch.add("svc.restarts_h", worst)
        for gone in self._restarts.keys() - {unit.name for unit in units}:
            del self._restarts[gone]

    def _restarts_of(self, unit: UnitState, mono_ms: int) -> int:
        """Automatic restarts within the last hour; a start by hand sets systemd's counter back to 0."""
        series = self._restarts.setdefault(unit.name, deque(maxlen=14))
        series.append((mono_ms, unit.restarts))
        while mono_ms - series[0][0] > HOUR_MS:
            series.popleft()
        counts = [count for _, count in series]
        return sum(now - before if now >= before else now for before, now in zip(counts, counts[1:]))

    def _parse(
        self, answer: Answer, parse: Callable[[str], List[UnitState]], signals: Tuple[str, ...]
    ) -> Optional[List[UnitState]]:
        try:
            if isinstance(answer, str):
                units = parse(answer)
                for signal in signals:
                    self._lacks.pop(signal, None)
                return units
            reason = answer.why
        except ParseError as error:
            reason = f"systemctl said something else: {error}"
        self._lacks.update(dict.fromkeys(signals, reason))
        return None
