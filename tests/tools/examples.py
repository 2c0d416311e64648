"""How many examples a property test tries: all of them in ``make test``, a share in ``make check``, which must be quick.

@settings(max_examples=examples(60))
"""

from __future__ import annotations

import os

IS_FEW = os.environ.get("VARTOVYI_EXAMPLES") == "few"
SHARE = 6
LEAST = 5


def examples(whole: int) -> int:
    """``whole``, or its share where ``VARTOVYI_EXAMPLES=few``."""
    return max(min(whole, LEAST), whole // SHARE) if IS_FEW else whole
