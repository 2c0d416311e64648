"""What a RAID controller's tool prints: ``storcli /call show J`` (MegaRAID; Dell's perccli is the same program). Pure.

Only arrays (virtual drives) are read: a spare that failed harms nobody yet, and a drive in an array shows in the array.
"""

from __future__ import annotations

import json
from typing import Any, Dict

from agent.signals.parsers.error import ParseError

MAX_ARRAYS = 256
WORDS = {"Optl": "optimal", "Pdgd": "degraded", "Dgrd": "degraded", "Rec": "degraded", "OfLn": "failed"}
"""Its abbreviations, by its own legend: optimal, partially degraded, degraded, recovery, offline."""
ORDER = ("optimal", "degraded", "failed")
"""The worse the later."""


def parse_storcli(text: str) -> Dict[str, str]:
    """Array (``c0/v1``: controller and virtual drive) -> optimal, degraded or failed. {} = controllers without arrays.

    Raises ParseError for what is no such document, for a controller that did not answer, and for a word that we do not
    know: half an answer would hide the array that is missing from it.
    """
    try:
        controllers = json.loads(text)["Controllers"]
        found: Dict[str, str] = {}
        for one in controllers:
            status = one["Command Status"]
            if status["Status"] != "Success":
                raise ParseError(f"the controller did not answer: {str(status.get('Description', ''))[:80]}")
            for row in _arrays(one.get("Response Data", {})):
                number = str(row["DG/VD"]).rpartition("/")[2]
                found[f"c{int(status['Controller'])}/v{int(number)}"] = _word(row["State"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ParseError):
            raise
        raise ParseError("no answer of storcli in JSON") from error
    if len(found) > MAX_ARRAYS:
        raise ParseError(f"{len(found)} arrays are more than any controller has")
    return found


def _arrays(answer: Dict[str, Any]) -> Any:
    rows = answer.get("VD LIST")
    if rows is None and answer.get("Virtual Drives"):
        raise ParseError("storcli counts arrays that it does not list")
    return rows or ()


def _word(state: Any) -> str:
    if state not in WORDS:
        raise ParseError(f"storcli says {str(state)[:20]!r} of an array")
    return WORDS[state]
