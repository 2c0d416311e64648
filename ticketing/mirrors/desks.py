"""The desks that settings name, as adapters; one object a desk, shared by the workers of a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from config.clock import Clock
from ticketing.mirrors.desk import Desk, Fault
from ticketing.mirrors.redmine import Redmine
from ticketing.mirrors.rt import RequestTracker
from ticketing.mirrors.terms import DeskTerms

Kinds = Mapping[str, Callable[[DeskTerms, Clock], Desk]]

KINDS: Kinds = {"redmine": Redmine, "rt": RequestTracker}


class Desks:
    """Opens each desk when it is first used; after a refusal the token is read anew."""

    def __init__(self, terms: Mapping[str, DeskTerms], clock: Clock, kinds: Kinds = KINDS) -> None:
        self.terms = terms
        self._kinds = kinds
        self._clock = clock
        self._open: dict[str, Desk] = {}
        self._lock = threading.Lock()

    def desk(self, name: str) -> Desk:
        """The adapter; Fault where settings name no such desk or its token cannot be read."""
        terms = self.terms.get(name)
        if terms is None:
            raise Fault(f"the settings name no desk {name!r}", is_known=True)
        with self._lock:
            if name not in self._open:
                self._open[name] = self._kinds[terms.type](terms, self._clock)
            return self._open[name]

    def forget(self, name: str) -> None:
        """Open it anew next time: its token may have been changed since."""
        with self._lock:
            self._open.pop(name, None)
