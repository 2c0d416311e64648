"""What the store answers when it cannot write: errors that its askers may expect."""

from __future__ import annotations

import errno


class StoreError(Exception):
    """The store cannot take this now; ``permanent`` says whether asking again can help."""

    permanent = False


class StoreBusy(StoreError):
    """The writer's queue is full."""


class StoreClosed(StoreError):
    """The store was closed; nothing more is written."""

    permanent = True


class StoreGone(StoreError):
    """The file that is open is no more the one at the store's path: nothing that is written there would be kept."""


_FULL = ("SQLITE_FULL", "53100")
"""SQLite's name and PostgreSQL's state for "no space left"."""


def is_disk_full(error: BaseException) -> bool:
    """Whether a write failed because the store's disk has no room."""
    driver = getattr(error, "orig", None) or error
    if isinstance(driver, OSError):
        return driver.errno == errno.ENOSPC
    named = (getattr(driver, "sqlite_errorname", None), getattr(driver, "sqlstate", None))
    return any(name in _FULL for name in named)
