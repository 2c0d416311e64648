"""The real parts, a house of the laboratory for each test. What is marked ``lab`` runs under make failover-lab only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.house import House, require_house, standing


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """One for each test: most of them end with a host that is off."""
    require_house()
    with standing(tmp_path) as made:
        yield made
