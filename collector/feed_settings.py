"""What settings say of a calendar feed; apart from its reader, so that no command pays for the calendar libraries."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Optional
from zoneinfo import ZoneInfo

from config.loader import Duration, setting


@dataclasses.dataclass(frozen=True)
class FeedSettings:
    """One calendar feed."""

    file: Optional[Path] = setting(None, help="an .ics file")
    url: str = setting("", help="or the address of one", pattern=r"(https?://\S{1,1990})?")
    contract: str = setting("", help="whose hosts it is about")
    provider: str = setting("", help="or all hosts of a provider, as in the contracts' topology")
    hosts: list[str] = setting([], help="or these hosts", max=1000)
    interval: Duration = setting(Duration(900), help="time between two readings", min=30, max=86_400)
    zone: str = setting("Europe/Kyiv", help="zone of times that say none")

    def faults(self) -> list[tuple[str, str]]:
        """One source, one scope."""
        found: list[tuple[str, str]] = []
        if bool(self.url) == (self.file is not None):
            found.append(("url", "give either file or url"))
        if sum(map(bool, (self.contract, self.provider, self.hosts))) != 1:
            found.append(("contract", "give one of contract, provider, hosts"))
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            found.append(("zone", f"{self.zone!r} is not a time zone"))
        return found
