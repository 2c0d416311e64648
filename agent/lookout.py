"""Whether this host is a vantage now: starts and ends ``agent.vantage`` as the settings say.

Apart from it, so that a host that looks at nobody imports none of it and pays no memory.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Optional

from agent.send import read_token
from agent.settings import AgentSettings
from config.clock import Clock

if TYPE_CHECKING:
    from agent.vantage import Vantage


class Lookout:
    """None or one running vantage."""

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self._clock = clock
        self._chance = chance
        self._followed: Any = None
        self.vantage: Optional[Vantage] = None

    def follow(self, settings: AgentSettings) -> None:
        """Bring the threads to what the settings say; nothing happens where they say what they said."""
        wanted = (settings.collector, settings.vantage)
        if wanted == self._followed:
            return
        self.stop()
        self._followed = wanted
        if settings.collector.url and settings.vantage.networks:
            from agent.vantage import Vantage

            token = read_token(settings.collector)
            self.vantage = Vantage(settings.collector, settings.vantage, token, self._clock, self._chance)
            self.vantage.start()

    def stop(self) -> None:
        """End the threads."""
        if self.vantage is not None:
            self.vantage.stop()
            self.vantage = None
