"""What the store answers when it cannot write: errors that its askers may expect."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot take this now; ``permanent`` says whether asking again can help."""

    permanent = False


class StoreBusy(StoreError):
    """The writer's queue is full."""


class StoreClosed(StoreError):
    """The store was closed; nothing more is written."""

    permanent = True
