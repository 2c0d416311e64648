"""Sample: one value of one signal about one subject at one instant."""

from __future__ import annotations

from typing import NamedTuple

from agent.wire import Value


class Sample(NamedTuple):
    """A NamedTuple and not a dataclass: the agent makes a few hundred of them in every sweep."""

    signal: str
    """Name in the catalogue, e.g. ``fs.used_pct``."""
    subject: str
    """"" for the host itself (or the worst of its parts), else the part: "/var", "eth0", "nginx.service"."""
    value: Value
    at_ms: int
    """When it was read: monotonic milliseconds on the agent; wall milliseconds once it leaves the host."""


def plain(sample: Sample) -> Sample:
    """The sample with nothing in its words that a terminal or a line of text would obey.

    Mounts, units, processes and virtual machines are named by others: a newline or an escape sequence in a name must
    not reach a log, a ticket or a screen. What stands for it is readable, and tells two such names apart.
    """
    subject, value = sample.subject, sample.value
    if not subject.isprintable():
        subject = _readable(subject)
    if isinstance(value, str) and not value.isprintable():
        value = "".join(c if c.isprintable() else " " for c in value)
    if subject is sample.subject and value is sample.value:
        return sample
    return sample._replace(subject=subject, value=value)


def _readable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
