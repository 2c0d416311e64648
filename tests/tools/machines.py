"""The roots of the test machines, made ahead: ``make test`` starts this beside the first tests of a fresh machine.

Building them is mostly waiting for a package registry, so it costs the other tests little, and the end-to-end tests find
them ready. What cannot be built here is said and left to the tests that need it: they build it themselves or say why not.
"""

from __future__ import annotations

import os
import shutil
import sys
import time


def main() -> int:
    """0 = every root is there; 1 = one could not be built (what it was is printed)."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("apt-get", "debootstrap", "systemd-nspawn"))):
        print("The test machines need root and Debian's tools: none is built ahead.")
        return 0
    # Only after the tools are known to be here: the recipes live with the tests that use them.
    from tests.conformance.mirrors import roots
    from tests.e2e.systemd import base

    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:4.0f} s  {text}", flush=True)

    try:
        base.wheels(base.debian())
        say("a Debian with systemd, and what pip will ask for")
        for recipe in roots.RECIPES.values():
            roots.root(recipe, say)
            say(f"the root of {recipe.kind}")
    except (AssertionError, OSError) as error:
        say(f"not built: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
