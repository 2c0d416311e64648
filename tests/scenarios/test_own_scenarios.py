"""Each of our own labelled scenarios, played through the real code and held against its truth (``make test``)."""

from __future__ import annotations

import pytest

from tests.scenarios import labelled

pytestmark = [pytest.mark.collector, pytest.mark.slow]


@pytest.mark.parametrize("name", sorted(labelled.own()))
def test_a_scenario_of_our_own_is_judged_as_labelled(name):
    one = labelled.played(labelled.own()[name])
    found = labelled.scored(one)
    missed = labelled.misses(found)
    known = labelled.known_failures().get(name)
    if known is None:
        words = "; ".join((*found.notes, *found.hard_fails))
        assert missed == (), f"{name}: {words}; came:\n{labelled.tickets_in_words(one)}"
        return
    assert missed == known.misses, (
        f"{name} misses {', '.join(missed) or 'nothing'}, known_failures.txt says {', '.join(known.misses)}: "
        f"mend the list, or what got worse; came:\n{labelled.tickets_in_words(one)}"
    )
    pytest.xfail(known.why)
