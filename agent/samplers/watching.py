"""The checks that an admin asked for, each run in a thread of its own when it is due."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from agent.checks.answer import CheckAnswer
from agent.checks.run import run_check
from agent.checks.spec import CheckSettings
from agent.samplers.base import Batch, Errand
from agent.signals.sample import Sample
from config.clock import Clock, perf_seconds

MAX_AT_ONCE = 8
"""Checks under way together; the others wait for the next sweep."""
MAX_HUNG = 16
"""Checks that do not come back may hold so many threads; past it none is begun that could hang as they do."""
FIND_EVERY_MS = 600_000
LATE_S = 2.0
"""A check keeps its own time-out; one that is so much later hangs in the kernel and never will."""
MAX_NUMBERS = 300

FIRST_WAIT_S = 0.2
"""Local services answer within it, so that the first report already knows of them."""


_NOT_ASKED = CheckAnswer("unknown")


class Checks:
    """Signals check.state, check.ms and tls.days, subject = the check's name; check.number, subject = check/label;
    of replication repl.lag_s with each answer that has one, and repl.sample_age_s; host: the one that is worst off.

    A sweep starts what is due and reports the latest answers: it waits only for the first answers, and shortly. A
    check that does not come back is itself the answer (``hung``); it holds its thread, and is not begun again.
    """

    name = "checks"
    period_s = 5.0

    def __init__(
        self,
        checks: Sequence[CheckSettings],
        root: Path = Path("/"),
        clock: Optional[Clock] = None,
        run: Callable[..., CheckAnswer] = run_check,
        first_wait_s: float = FIRST_WAIT_S,
        find: Optional[Callable[[Sequence[CheckSettings]], List[CheckSettings]]] = None,
    ) -> None:
        self._local = list(checks)
        self._find = find
        self._found_ms: Optional[int] = None
        self._checks = list(checks)
        self._root = root
        self._clock = clock
        self._run = run
        self._first_wait_s = first_wait_s
        self._errands: Dict[str, Errand[CheckAnswer]] = {}
        self._due_ms: Dict[str, int] = {}
        self._begun_ms: Dict[str, int] = {}
        self._lags: Dict[str, Tuple[float, int]] = {}
        """Check -> (last lag, monotonic ms at which that was asked)."""
        self._has_new_lag = False
        self.answers: Dict[str, CheckAnswer] = {}
        """Latest answer of each check, for evidence."""

    def lacks(self) -> Dict[str, str]:
        """Checks that could not be asked: neither good nor bad, so they give no sample."""
        return {
            f"check.state{{{name}}}": a.detail for name, a in self.answers.items() if a.state == "unknown"
        }

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        is_first = not self.answers
        self._look_again(mono_ms)
        self._start(mono_ms)
        if is_first:
            self.settle(self._first_wait_s)
        self._collect()
        self._mark_hung(mono_ms)
        self._look_again(mono_ms)
        for check in self._checks:
            answer = self.answers.get(check.name)
            if answer is None or answer.state == "unknown":
                continue
            batch.add("check.state", answer.state, check.name)
            if answer.is_good:
                batch.add("check.ms", float(answer.ms), check.name)
            batch.add("tls.days", answer.facts.get("tls_days"), check.name)
            for label, number in answer.facts.get("numbers", {}).items():
                if len(batch.samples) < MAX_NUMBERS + len(self._checks) * 3:
                    batch.add("check.number", float(number), f"{check.name}/{label}")
        days = [a.facts["tls_days"] for a in self.answers.values() if "tls_days" in a.facts]
        batch.add("tls.days", min(days, default=None))
        self._add_lags(batch, mono_ms)
        return batch.samples

    def _add_lags(self, batch: Batch, mono_ms: int) -> None:
        """The lag is stamped with the moment it was asked for, not with the sweep's: its age counts for a failover."""
        known = {check.name: self._lags[check.name] for check in self._checks if check.name in self._lags}
        if not known:
            return
        for name, (lag_s, at_ms) in known.items():
            batch.add("repl.sample_age_s", (mono_ms - at_ms) / 1000.0, name)
            if self._has_new_lag:
                batch.samples.append(Sample("repl.lag_s", name, lag_s, at_ms))
        # Of several the one that may be furthest behind by now.
        lag_s, at_ms = max(known.values(), key=lambda one: one[0] - one[1] / 1000.0)
        batch.add("repl.sample_age_s", (mono_ms - at_ms) / 1000.0)
        if self._has_new_lag:
            batch.samples.append(Sample("repl.lag_s", "", lag_s, at_ms))
        self._has_new_lag = False

    def _look_again(self, mono_ms: int) -> None:
        """Which services are here may change; above all where a check of one fails: perhaps it was switched off."""
        if self._find is None or self._found_ms == mono_ms:
            return
        local = {check.name for check in self._local}
        fails = any(not answer.is_good for name, answer in self.answers.items() if name not in local)
        if self._found_ms is not None and not fails and mono_ms - self._found_ms < FIND_EVERY_MS:
            return
        self._found_ms = mono_ms
        self._checks = self._find(self._local)
        names = {check.name for check in self._checks}
        for gone in [name for name in self.answers if name not in names]:
            del self.answers[gone]
            self._due_ms.pop(gone, None)

    def settle(self, seconds: float) -> None:
        """Wait until the checks under way have answered, at most so long in all; ``once`` asks for it."""
        begun = perf_seconds()
        for errand in list(self._errands.values()):
            errand.wait(max(0.0, seconds - (perf_seconds() - begun)))
        self._collect()

    def _start(self, mono_ms: int) -> None:
        for check in self._checks:
            if check.name in self._errands or mono_ms < self._due_ms.get(check.name, mono_ms):
                continue
            hung = sum(1 for name in self._errands if self.answers.get(name, _NOT_ASKED).state == "hung")
            if len(self._errands) - hung >= MAX_AT_ONCE or hung >= MAX_HUNG:
                break
            first = check.name not in self._due_ms
            # Spread, so that checks of one interval do not all fall into one sweep for ever.
            spread = random.uniform(0.7, 1.0) if first else 1.0
            self._due_ms[check.name] = mono_ms + int(check.interval_s * 1000 * spread)
            self._begun_ms[check.name] = mono_ms
            self._errands[check.name] = Errand(f"check {check.name}", self._call(check))

    def _mark_hung(self, mono_ms: int) -> None:
        for check in self._checks:
            late_ms = mono_ms - self._begun_ms.get(check.name, mono_ms)
            if check.name in self._errands and late_ms > (check.timeout_s + LATE_S) * 1000:
                self.answers[check.name] = CheckAnswer(
                    "hung", f"has not come back for {late_ms / 1000:.0f} s", float(late_ms)
                )

    def _call(self, check: CheckSettings) -> Callable[[], CheckAnswer]:
        return lambda: self._run(check, root=self._root, clock=self._clock)

    def _collect(self) -> None:
        for name, errand in list(self._errands.items()):
            if errand.is_done:
                del self._errands[name]
                if any(check.name == name for check in self._checks):
                    self.answers[name] = answer = errand.answer()
                    if "lag_s" in answer.facts:
                        self._lags[name] = (float(answer.facts["lag_s"]), self._begun_ms[name])
                        self._has_new_lag = True
