"""What the provider's HTTP interface needs to be told, as a small template: requests of an allow-list, and where to read.

Shared by fence.provider and traffic.floating_ip. ``{id}`` and the like are filled in from the step's own options, and
each value must be a plain word; the secret comes from a file into a header and is never shown (I17).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from collector.providers.adapter import AdapterFault
from collector.providers.fetch import fetch
from config.clock import perf_seconds
from config.loader import setting
from ticketing.json_path import MISSING, at_path, read_json
from ticketing.terms import Faults

ACCEPTS = frozenset({200, 201, 202, 204})
BODY_MAX = 256 * 1024
_VALUE = re.compile(r"[A-Za-z0-9._:-]{1,200}")


@dataclasses.dataclass(frozen=True)
class Call:
    """One request."""

    url: str = setting(help="https address; {name} is filled in from `values`")
    method: str = setting("GET", help="method", choices=("GET", "POST", "PUT", "PATCH", "DELETE"))
    body: str = setting("", help="JSON body; {name} is filled in", max=4_000)


@dataclasses.dataclass(frozen=True)
class ApiOptions:
    """A provider's interface for one purpose."""

    act: Call = setting(help="does it")
    read: Call = setting(help="reads it back")
    path: str = setting(help="where in the answer of `read` the word stands", example="server.status")
    done: list[str] = setting(help="words that mean that it is done", max=10)
    not_done: list[str] = setting(
        [], help="words that mean that it is not; others are unknown; empty = all others", max=20
    )
    undo: Optional[Call] = setting(None, help="takes it back")
    values: dict[str, str] = setting({}, help="what is filled in", max=20)
    secret_header: str = setting("Authorization", help="header that carries the secret", max=64)
    secret_prefix: str = setting("Bearer ", help="what stands before it", max=64)
    secret_file: Optional[Path] = setting(None, help="file that holds the secret; none where none is needed")
    timeout_s: float = setting(10.0, help="longest wait for one answer (seconds)", min=1, max=60)
    identity_path: str = setting("", help="where in the answer of `read` the machine's own name stands")
    identity: str = setting("", help="that name: a mapping to another machine is refused")

    def faults(self) -> Faults:
        return [
            (f"values.{name}", "is no plain word")
            for name, word in self.values.items()
            if not _VALUE.fullmatch(word)
        ]


@dataclasses.dataclass(frozen=True)
class Told:
    """What a call brought: a word, or a fault in one sentence."""

    word: str | None = None
    fault: str = ""
    answer: Any = None
    after_s: float = 0.0
    is_sent: bool = True
    """Whether anything may have reached the interface."""
    is_other: bool = False
    """It spoke of another machine than the pinned one."""


def call(
    options: ApiOptions, request: Call, values: Mapping[str, str] | None = None, *, within_s: float = 60.0
) -> Told:
    """Ask once, within so many seconds and the options' own time-out."""
    if within_s <= 0:
        return Told(fault="there was no time left to ask: nothing was sent", is_sent=False)
    filled = {**options.values, **(values or {})}
    headers = {"Content-Type": "application/json"} if request.body else {}
    try:
        if options.secret_file is not None:
            headers[options.secret_header] = (
                options.secret_prefix + options.secret_file.read_text("utf-8").strip()
            )
        octets = fetch(
            _filled(request.url, filled),
            timeout_s=min(options.timeout_s, within_s),
            body_max=BODY_MAX,
            method=request.method,
            headers=headers,
            body=_filled(request.body, filled),
            accepts=ACCEPTS,
        )
    except AdapterFault as fault:
        return Told(fault=str(fault)[:200], after_s=fault.retry_after_s)
    except OSError as error:
        return Told(fault=f"{options.secret_file}: {error.strerror}", is_sent=False)
    try:
        answer = read_json(octets) if octets.strip() else None
    except ValueError:
        return Told(fault="the answer is no JSON")
    return Told(answer=answer)


def read(options: ApiOptions, values: Mapping[str, str] | None = None, *, within_s: float = 60.0) -> Told:
    """The word that tells how it stands; a fault where the answer is about another machine."""
    told = call(options, options.read, values, within_s=within_s)
    if told.fault:
        return told
    if options.identity and str(_at(told.answer, options.identity_path)) != options.identity:
        return Told(fault="the interface speaks of another machine than the pinned one", is_other=True)
    word = _at(told.answer, options.path)
    return Told(
        word=None if word is None else str(word),
        fault="" if word is not None else f"no {options.path} in the answer",
    )


def ordered(order: Order, options: ApiOptions, *, must_read: bool) -> tuple[Answer, Told]:
    """Read, and order where it is not so yet, all within the order's deadline; the act's answer and the last thing told.

    ``must_read``: without having read what stands there nothing is ordered. Whatever an order's own answer was, only the
    next reading counts: it may have been taken before its answer was lost.
    """
    ends_s = perf_seconds() + order.deadline_s
    before = read(options, within_s=order.deadline_s / 2)
    if before.word is not None and before.word in options.done:
        return Answer(DONE, evidence={"state": before.word}), before
    if before.is_other or (must_read and before.fault):
        return Answer(NOT_DONE, before.fault), before
    told = call(options, options.act, within_s=ends_s - perf_seconds())
    if not told.fault:
        return Answer(DONE), told
    return Answer(UNKNOWN if told.is_sent else NOT_DONE, told.fault), told


def _at(answer: Any, path: str) -> Any:
    found = at_path(answer, path)
    return None if found is MISSING else found


def undone(order: Order) -> Answer | None:
    """The interface's own way back, where the contract names one."""
    options = order.options(ApiOptions)
    if options.undo is None:
        return None
    told = call(options, options.undo, within_s=order.deadline_s)
    return Answer(UNKNOWN, told.fault) if told.fault else Answer(DONE)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Only our own names are replaced: a JSON body is full of braces."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
