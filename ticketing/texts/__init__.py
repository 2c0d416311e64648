"""All words that people read, in Ukrainian and English: keys in, sentences out.

A catalogue is a folder with ``en.po`` and ``uk.po``; msgid is the key, plurals are chosen by a parameter ``n``. Files are
read at run time (no compiled ones that could be stale). Rooms add their folders with ``register``. An unknown key raises
in strict mode (tests); in production it is shown as the key, with one warning, since a ticket must never fail for a word.

In a text, ``{x:.1f}`` gets the language's decimal sign; ``{cause:@cause}`` is the text ``cause.<value>``; ``{at_ms:when}``,
``{at_ms:clock}`` and ``{for_ms:duration}`` are instants and durations in words. Lists are joined, the first ten of them;
``{hosts:named}`` says of an empty one that those are other contracts'.
"""

from __future__ import annotations

import datetime as dt
import functools
import gettext
import logging
import string
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from ticketing.model import Reason

log = logging.getLogger(__name__)

LANGUAGES = ("uk", "en")

MAX_LISTED = 10

Forms = tuple[str, ...]
"""One string, or the plural forms in the language's order."""


class UnknownText(KeyError):
    """A key that no catalogue has, or a parameter that its text needs and did not get; raised in strict mode only."""


class _State:
    """What the process has registered; one, guarded by its lock."""

    def __init__(self) -> None:
        self.folders: list[Path] = [Path(__file__).parent, Path(__file__).parent.parent / "runbook"]
        self.is_strict = False
        self.warned: set[str] = set()
        self.lock = threading.Lock()


_state = _State()


def register(folder: Path) -> None:
    """Add a folder with en.po and uk.po; a second time is harmless."""
    folder = folder.resolve()
    with _state.lock:
        if folder not in [known.resolve() for known in _state.folders]:
            _state.folders.append(folder)
            texts.cache_clear()


def registered() -> tuple[Path, ...]:
    """The folders in use, in order."""
    return tuple(_state.folders)


def set_strict(is_strict: bool) -> None:
    """Raise ``UnknownText`` instead of showing a key; for tests."""
    _state.is_strict = is_strict


def read_catalogue(file: Path, language: str) -> tuple[dict[str, Forms], Callable[[int], int]]:
    """One .po file: key -> forms, and the function that picks a form for n."""
    with file.open("rb") as stream:
        catalogue = read_po(stream, locale=language)
    forms: dict[str, Forms] = {}
    for message in catalogue:
        if not message.id:
            continue  # the header
        key = message.id[0] if isinstance(message.id, list | tuple) else message.id
        strings = message.string if isinstance(message.string, list | tuple) else (message.string,)
        forms[key] = tuple(text or "" for text in strings)
    return forms, gettext.c2py(catalogue.plural_expr)


@functools.cache
def texts(language: str) -> Texts:
    """The catalogue of a language (``uk`` or ``en``), of all registered folders; times are shown in UTC."""
    if language not in LANGUAGES:
        raise ValueError(f"no texts in {language!r}")
    merged: dict[str, Forms] = {}
    pick: Callable[[int], int] = lambda n: 0  # noqa: E731 - replaced below; the desk's own folder always exists
    for folder in _state.folders:
        file = folder / f"{language}.po"
        if not file.exists():
            continue
        forms, pick = read_catalogue(file, language)
        merged.update(forms)
    return Texts(language, merged, pick)


class Texts:
    """Sentences of one language, with times of one zone."""

    def __init__(
        self, language: str, forms: Mapping[str, Forms], pick: Callable[[int], int], zone: str = "UTC"
    ) -> None:
        self.language = language
        self.zone = zone
        self._forms = forms
        self._pick = pick
        self._formatter = _Formatter(self)

    def at(self, zone: str) -> Texts:
        """The same texts with times of another zone."""
        return self if zone == self.zone else Texts(self.language, self._forms, self._pick, zone)

    def __contains__(self, key: str) -> bool:
        return key in self._forms

    def keys(self) -> Iterable[str]:
        """All keys, for checks."""
        return self._forms.keys()

    def get(self, key: str, **params: Any) -> str:
        """The text of a key with its parameters; ``n`` picks the plural form."""
        forms = self._forms.get(key)
        if forms is None or not forms[0]:
            return self._unknown(key, "has no text")
        form = forms[0]
        if len(forms) > 1:
            number = params.get("n", 1)
            is_whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
            # A fraction takes the genitive singular in Ukrainian (1,5 години): the form of 2.
            form = forms[min(self._pick(abs(int(number)) if is_whole else 2), len(forms) - 1)]
        try:
            return self._formatter.vformat(form, (), self._derived(params))
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, UnknownText):
                raise
            return self._unknown(key, f"cannot be filled in: {error!r}") + _said(params)

    def reason(self, reason: Reason) -> str:
        """A reason in words."""
        return self.get(reason.key, **{str(k): v for k, v in reason.params.items()})

    def duration(self, ms: float) -> str:
        """The two largest units: ``2 години 5 хвилин``; below a minute in seconds."""
        seconds = round(abs(ms) / 1000)
        if seconds < 60:
            return self.get("unit.seconds", n=seconds)
        minutes = round(seconds / 60)
        days, rest = divmod(minutes, 1440)
        hours, left = divmod(rest, 60)
        parts = [("unit.days", days), ("unit.hours", hours), ("unit.minutes", left)]
        first = next(i for i, (_, n) in enumerate(parts) if n)
        return " ".join(self.get(key, n=n) for key, n in parts[first : first + 2] if n)

    def number(self, value: float) -> str:
        """A number with the language's separators."""
        return format_decimal(value, locale=self.language)

    def when(self, at_ms: int, zone: str | None = None) -> str:
        """Date and time of the zone, with its name."""
        moment = self._moment(at_ms, zone)
        pattern = "%d.%m.%Y %H:%M:%S %Z" if self.language == "uk" else "%Y-%m-%d %H:%M:%S %Z"
        return moment.strftime(pattern)

    def clock(self, at_ms: int, zone: str | None = None) -> str:
        """The time of day only."""
        return self._moment(at_ms, zone).strftime("%H:%M:%S")

    def _moment(self, at_ms: int, zone: str | None) -> dt.datetime:
        return dt.datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone or self.zone))

    def _derived(self, params: dict[str, Any]) -> dict[str, Any]:
        extra: dict[str, Any] = {}
        for name, value in params.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if name.endswith("_at_ms"):
                extra[name[: -len("_at_ms")] + "_when"] = self.when(int(value))
            elif name.endswith("_for_ms"):
                extra[name[: -len("_for_ms")] + "_duration"] = self.duration(value)
        return {**extra, **params}

    def _unknown(self, key: str, problem: str) -> str:
        if _state.is_strict:
            raise UnknownText(f"{self.language}: {key} {problem}")
        mark = f"{self.language}/{key}"
        if mark not in _state.warned and len(_state.warned) < 1000:
            _state.warned.add(mark)
            log.warning(
                "A text is missing or does not fit language=%s key=%s problem=%r", self.language, key, problem
            )
        return key


class _Formatter(string.Formatter):
    """``str.format`` with the specs of the module's docstring; attributes and indexes of parameters are not for texts."""

    def __init__(self, owner: Texts) -> None:
        self._owner = owner

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if not field_name.isidentifier():
            raise ValueError(f"{field_name!r} is not a plain parameter")
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        owner = self._owner
        if format_spec.startswith("@"):
            values = value[:MAX_LISTED] if isinstance(value, list | tuple) else [value]
            return ", ".join(owner.get(f"{format_spec[1:]}.{one}") for one in values)
        if format_spec == "when":
            return owner.when(int(value))
        if format_spec == "clock":
            return owner.clock(int(value))
        if format_spec == "duration":
            return owner.duration(value)
        if format_spec == "named":
            if not value:
                return owner.get("list.unnamed")
            format_spec = ""
        if isinstance(value, list | tuple):
            shown = ", ".join(str(v) for v in value[:MAX_LISTED])
            return shown + (f", … (+{len(value) - MAX_LISTED})" if len(value) > MAX_LISTED else "")
        if value is None:
            return "–"
        shown = format(value, format_spec)
        if isinstance(value, float) and owner.language == "uk":
            return shown.replace(",", "\u00a0").replace(".", ",")
        return shown


def _said(params: Mapping[str, Any]) -> str:
    """Parameters behind a key whose text could not be made, so that nothing is lost to the reader."""
    return (
        (" (" + ", ".join(f"{k}={v}" for k, v in list(params.items())[:MAX_LISTED]) + ")") if params else ""
    )
