"""Settings: YAML in, typed frozen dataclasses out, every fault at once.

A room types its own section as a dataclass whose fields are made by ``setting()``; ``load()`` reads a file
into it. It never guesses: an unknown key, a wrong type or a value out of bounds is a ``Fault`` with file,
line, key path and what is allowed, and all of them are reported together. It runs on Python 3.9 with nothing
but PyYAML, since every MiB of the agent is paid on every client server (docs/adr/0004).

Field types understood: str, int, float, bool, Path, Enum, Duration (seconds; ``10``, ``"10 s"``, ``"5 min"``,
``"2 h"``, ``"1 d"``), Size (bytes; ``4096``, ``"64 KiB"``, ``"1 MiB"``), another dataclass, Optional[T],
List[T], Dict[str, T] and Any (left as YAML gave it).
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import typing
from pathlib import Path
from typing import Any, Dict, List, NewType, Optional, Tuple, Type, TypeVar, Union

import yaml

EX_CONFIG = 78
"""Exit status of a process whose settings are wrong (sysexits.h)."""

MAX_FILE_BYTES = 4 * 1024 * 1024

Duration = NewType("Duration", float)
Size = NewType("Size", int)

T = TypeVar("T")

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: the agent's rules are read in 3 ms and not in 30."""

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|min|m|h|d)?\s*$")
_DURATION_UNIT = {
    None: 1.0,
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_SIZE = re.compile(r"^\s*(\d+)\s*(B|KiB|MiB|GiB)?\s*$")
_SIZE_UNIT = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing wrong in a settings file: where it stands, what it is, what would be right."""

    file: str
    line: int
    key: str
    message: str
    allowed: str = ""

    def __str__(self) -> str:
        allowed = f" (allowed: {self.allowed})" if self.allowed else ""
        return f"{self.file}:{self.line}: {self.key or '(top)'}: {self.message}{allowed}"


class ConfigError(Exception):
    """Settings could not be taken; ``faults`` holds every reason, in file order."""

    def __init__(self, faults: List[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


_REQUIRED: Any = object()


def setting(
    default: Any = _REQUIRED,
    *,
    help: str,
    min: Optional[float] = None,
    max: Optional[float] = None,
    choices: Optional[Tuple[str, ...]] = None,
    pattern: Optional[str] = None,
    secret: bool = False,
    example: str = "",
) -> Any:
    """A settings field: its default (none: required), help text, bounds (of the value, or of a list's or text's length)."""
    metadata = {
        "help": help,
        "min": min,
        "max": max,
        "choices": choices,
        "pattern": pattern,
        "secret": secret,
        "example": example,
    }
    if default is _REQUIRED:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    if callable(default) and not isinstance(default, enum.Enum):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def load(path: Path, kind: Type[T]) -> T:
    """Read the YAML file at ``path`` into ``kind``; raises ConfigError with every fault."""
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError([Fault(str(path), 0, "", f"cannot be read: {error.strerror or error}")]) from error
    return parse(text, kind, file=str(path))


def read_text(path: Path) -> str:
    """The file's text; refuses one above 4 MiB (OSError), because a settings file never is."""
    with path.open("rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise OSError(27, f"larger than {MAX_FILE_BYTES} bytes")
    return raw.decode("utf-8", errors="replace")


def parse(text: str, kind: Type[T], *, file: str = "(text)") -> T:
    """Parse YAML text into ``kind``; an empty text is an empty mapping. Raises ConfigError with every fault."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 0
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError([Fault(file, line, "", f"not valid YAML: {problem}")]) from error
    reader = _Reader(file)
    if node is None:
        node = yaml.MappingNode("tag:yaml.org,2002:map", [])
    value = reader.read(node, kind, {}, "")
    if reader.faults:
        raise ConfigError(reader.faults)
    return value


def defaults(kind: Type[T]) -> T:
    """An instance of ``kind`` with its defaults; raises ConfigError when a field is required."""
    return parse("", kind, file="(defaults)")


class _Reader:
    """Walks a YAML node tree beside a type, collecting faults; a faulty value reads as None."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: List[Fault] = []
        self._constructor = yaml.SafeLoader("")

    def read(self, node: yaml.Node, kind: Any, meta: typing.Mapping[str, Any], key: str) -> Any:
        origin = typing.get_origin(kind)
        if origin is Union:
            inner = [a for a in typing.get_args(kind) if a is not type(None)]
            if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
                return None
            return self.read(node, inner[0], meta, key)
        if origin in (list, tuple, List):
            return self._read_list(node, typing.get_args(kind)[0], meta, key)
        if origin in (dict, Dict):
            return self._read_dict(node, typing.get_args(kind)[1], meta, key)
        if kind is Any:
            return self._plain(node, key)
        if dataclasses.is_dataclass(kind):
            return self._read_dataclass(node, typing.cast(type, kind), key)
        return self._read_scalar(node, kind, meta, key)

    def fault(self, node: yaml.Node, key: str, message: str, allowed: str = "") -> None:
        line = node.start_mark.line + 1 if node.start_mark else 0
        self.faults.append(Fault(self.file, line, key, message, allowed))

    def _plain(self, node: yaml.Node, key: str) -> Any:
        try:
            return self._constructor.construct_object(node, deep=True)
        except yaml.YAMLError as error:
            self.fault(node, key, f"cannot be read: {getattr(error, 'problem', None) or error}")
            return None

    def _pairs(self, node: yaml.Node, key: str) -> Dict[str, Tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, key, f"is a {_node_word(node)}", "a mapping of keys and values")
            return {}
        pairs: Dict[str, Tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            name = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if not name:
                self.fault(key_node, key, "a key must be plain text")
            elif name in pairs:
                self.fault(key_node, _join(key, name), "stands twice")
            else:
                pairs[name] = (key_node, value_node)
        return pairs

    def _read_dataclass(self, node: yaml.Node, kind: type, key: str) -> Any:
        before = len(self.faults)
        pairs = self._pairs(node, key)
        hints = _hints(kind)
        known = {f.name: f for f in dataclasses.fields(kind)}
        values: Dict[str, Any] = {}
        for name, (key_node, value_node) in pairs.items():
            # A keyword of Python (`class`) is written plainly in YAML and with a trailing underscore in code.
            field_name = name if name in known else name + "_"
            if field_name not in known:
                names = sorted(f.rstrip("_") for f in known)
                self.fault(key_node, _join(key, name), "is not a setting here", ", ".join(names))
                continue
            field = known[field_name]
            is_empty = isinstance(value_node, yaml.ScalarNode) and value_node.tag == "tag:yaml.org,2002:null"
            if is_empty and _has_default(field):
                continue  # `key:` with nothing behind it means "the default"
            values[field_name] = self.read(value_node, hints[field_name], field.metadata, _join(key, name))
        for name, field in known.items():
            if name not in values and not _has_default(field):
                self.fault(node, _join(key, name.rstrip("_")), "is missing", field.metadata.get("help", ""))
        if len(self.faults) > before:
            return None
        value = kind(**values)
        check = getattr(value, "faults", None)
        if callable(check):
            for sub_key, message in typing.cast("List[Tuple[str, str]]", check()):
                where = pairs[sub_key][1] if sub_key in pairs else node
                self.fault(where, _join(key, sub_key), message)
        return value

    def _read_list(self, node: yaml.Node, kind: Any, meta: typing.Mapping[str, Any], key: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, key, f"is a {_node_word(node)}", "a list")
            return []
        self._check_bounds(node, len(node.value), meta, key, "entries")
        item_meta = {"choices": meta.get("choices"), "pattern": meta.get("pattern")}
        return [self.read(item, kind, item_meta, f"{key}[{i}]") for i, item in enumerate(node.value)]

    def _read_dict(self, node: yaml.Node, kind: Any, meta: typing.Mapping[str, Any], key: str) -> Any:
        pairs = self._pairs(node, key)
        self._check_bounds(node, len(pairs), meta, key, "entries")
        return {name: self.read(v, kind, {}, _join(key, name)) for name, (_, v) in pairs.items()}

    def _read_scalar(self, node: yaml.Node, kind: Any, meta: typing.Mapping[str, Any], key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self.fault(node, key, f"is a {_node_word(node)}", _kind_word(kind, meta))
            return None
        value = _scalar(node, self._plain(node, key), kind)
        if value is None:
            self.fault(node, key, f"{node.value!r} is not {_kind_word(kind, {})}", _kind_word(kind, meta))
            return None
        choices = meta.get("choices")
        if choices and value not in choices:
            self.fault(node, key, f"{node.value!r} is not known", ", ".join(choices))
        pattern = meta.get("pattern")
        if pattern and isinstance(value, str) and not re.fullmatch(pattern, value):
            self.fault(
                node, key, f"{node.value!r} does not fit", f"text like {meta.get('example') or pattern}"
            )
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._check_bounds(node, value, meta, key, "")
        return value

    def _check_bounds(
        self, node: yaml.Node, value: float, meta: typing.Mapping[str, Any], key: str, unit: str
    ) -> None:
        low, high = meta.get("min"), meta.get("max")
        if (low is not None and value < low) or (high is not None and value > high):
            said = f"{value:g} {unit}".strip()
            self.fault(node, key, f"{said} is out of bounds", _bounds_word(low, high, unit))


def _scalar(node: yaml.ScalarNode, plain: Any, kind: Any) -> Any:
    """The node's value as ``kind``, or None when it is not one."""
    if kind is bool:
        return plain if isinstance(plain, bool) else None
    if kind is int:
        return plain if isinstance(plain, int) and not isinstance(plain, bool) else None
    if kind is float:
        is_number = isinstance(plain, (int, float)) and not isinstance(plain, bool)
        return float(plain) if is_number and plain == plain else None
    if kind is Duration:
        match = _DURATION.match(node.value)
        return float(match.group(1)) * _DURATION_UNIT[match.group(2)] if match else None
    if kind is Size:
        match = _SIZE.match(node.value)
        return int(match.group(1)) * _SIZE_UNIT[match.group(2)] if match else None
    if kind is str:
        # `name: 10` and `port: no` are what people type; the text they typed is what they meant.
        return node.value if node.tag != "tag:yaml.org,2002:null" else None
    if kind is Path:
        return Path(node.value).expanduser() if node.value else None
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        for member in kind:
            if str(member.value) == node.value:
                return member
        return None
    raise TypeError(f"settings cannot hold {kind!r}")


def _kind_word(kind: Any, meta: typing.Mapping[str, Any]) -> str:
    if meta.get("choices"):
        return ", ".join(meta["choices"])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(str(member.value) for member in kind)
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        Duration: 'a time such as 10, "10 s", "5 min", "2 h"',
        Size: 'a size such as 4096, "64 KiB", "1 MiB"',
        str: "text",
        Path: "a path",
    }
    bounds = _bounds_word(meta.get("min"), meta.get("max"), "")
    return words.get(kind, str(kind)) + (f", {bounds}" if bounds else "")


def _bounds_word(low: Optional[float], high: Optional[float], unit: str) -> str:
    tail = f" {unit}" if unit else ""
    if low is not None and high is not None:
        return f"{low:g} to {high:g}{tail}"
    if low is not None:
        return f"{low:g}{tail} or more"
    return f"{high:g}{tail} or less" if high is not None else ""


def _node_word(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "mapping"
    return "list" if isinstance(node, yaml.SequenceNode) else "single value"


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


@functools.lru_cache(maxsize=64)
def _hints(kind: type) -> Dict[str, Any]:
    """The fields' types; evaluated once a class, since a file holds hundreds of rules of the same one."""
    return typing.get_type_hints(kind)


def _has_default(field: Any) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
