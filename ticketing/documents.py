"""Settings dataclasses as plain values and back: how the store keeps what YAML said, its digest, and what changed in it. Pure."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

MAX_CHANGES = 200
"""Lines of a difference that are kept; past it only their number."""

_ABSENT: Any = object()


def document(value: Any) -> Any:
    """A settings dataclass as plain JSON values, the way its YAML would say it."""
    if dataclasses.is_dataclass(value):
        return {f.name.rstrip("_"): document(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [document(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)  # YAML made a date or a path of it (failover terms are read by a later room)


def from_document(kind: type[T], raw: Any) -> T:
    """The inverse of ``document``, for one that was validated when it was applied; unknown keys are ignored."""
    return shape_of(kind)(raw)


def digest(plain: Any) -> str:
    """sha256 of a document, hex: the same words in any order of keys have the same digest."""
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def difference(before: Any, after: Any) -> list[dict[str, Any]]:
    """What changed, as rows ``{"key", "before", "after"}`` in the order of keys; a side that was not there is missing.

    Entries of lists are told apart by their ``id`` or ``name`` where they have one (a host that was put in front of
    another is one line, not all of them), else by their place. At most MAX_CHANGES rows, and then one that counts the rest.
    """
    rows = list(_changes("", before, after))
    if len(rows) > MAX_CHANGES:
        rest = len(rows) - MAX_CHANGES
        rows = [*rows[:MAX_CHANGES], {"key": "...", "after": f"{rest} more"}]
    return rows


def _changes(key: str, before: Any, after: Any) -> typing.Iterator[dict[str, Any]]:
    if before == after:
        return
    olds, news = _entries(before), _entries(after)
    if before == [] and isinstance(news, dict):
        olds = {}
    if after == [] and isinstance(olds, dict):
        news = {}
    if olds is None or news is None:
        row = {"key": key} | ({} if before is _ABSENT else {"before": before})
        yield row | ({} if after is _ABSENT else {"after": after})
        return
    for name in dict.fromkeys([*olds, *news]):
        yield from _changes(
            f"{key}.{name}" if key else name, olds.get(name, _ABSENT), news.get(name, _ABSENT)
        )


def _entries(value: Any) -> dict[str, Any] | None:
    """A mapping or list by the names of its entries; None for a plain value, and for a list of plain values."""
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if not isinstance(value, list) or not value or not all(isinstance(item, Mapping) for item in value):
        return None
    names = [item.get("id") or item.get("name") for item in value]
    if all(names) and len(set(names)) == len(names):
        return dict(zip(map(str, names), value, strict=True))
    return {str(place): item for place, item in enumerate(value)}


@functools.cache
def shape_of(kind: Any) -> Callable[[Any], Any]:
    """A function that builds ``kind`` from plain values by its annotations; the document was validated before."""
    origin = typing.get_origin(kind)
    if origin is typing.Union:
        inner = shape_of(next(a for a in typing.get_args(kind) if a is not type(None)))
        return lambda raw: None if raw is None else inner(raw)
    if origin is list:
        item = shape_of(typing.get_args(kind)[0])
        return lambda raw: [item(value) for value in raw]
    if origin is dict:
        item = shape_of(typing.get_args(kind)[1])
        return lambda raw: {key: item(value) for key, value in raw.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        readers = {f.name.rstrip("_"): (f.name, shape_of(hints[f.name])) for f in dataclasses.fields(kind)}

        def build(raw: Any) -> Any:
            return kind(**{readers[k][0]: readers[k][1](v) for k, v in raw.items() if k in readers})

        return build
    return lambda raw: raw
