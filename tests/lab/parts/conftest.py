"""The real parts, a house of the laboratory for each test. Marked ``lab``: only under FAILOVER_LAB=1 (make failover-lab)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.house import House, require_house, standing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("FAILOVER_LAB") == "1":
        return
    left = [item for item in items if item.path.is_relative_to(HERE) and item.get_closest_marker("lab")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """One for each test: most of them end with a host that is off."""
    require_house()
    with standing(tmp_path) as made:
        yield made
