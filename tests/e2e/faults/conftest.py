"""Faults that leave their words in the kernel's log come after all other tests: every agent of this machine reads them."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """To the end with them; the others keep their order."""
    items.sort(key=lambda item: item.get_closest_marker("stains_kernel_log") is not None)
