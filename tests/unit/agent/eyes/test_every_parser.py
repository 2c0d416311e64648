"""Every function of the parsers' package, found by walking it: whatever it is given, it answers or raises ParseError.

A parser that is added tomorrow is in here without a line of this file. What it takes is read from its annotations; one
that cannot be called from them fails, so that nobody's parser is passed over in silence. Hand-picked pairs of parser and
fixture stand in ``test_parsers_any_text.py``; here every parser meets every fixture, since a file is not always what its
name says.
"""

from __future__ import annotations

import datetime as dt
import importlib
import inspect
import json
import lzma
import os
import pkgutil
import random
import types
import typing
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agent.signals.parsers as package
from agent.signals.parsers.error import ParseError
from tests.tools.examples import examples

FIXTURES = Path(__file__).with_name("fixtures")
REPO = Path(__file__).resolve().parents[4]
DATA = Path(os.environ.get("VARTOVYI_DATA") or REPO.parent / "shared" / "data") / "snapshots"
MAX_CHARS = 20_000


def _modules() -> Iterator[types.ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        yield importlib.import_module(found.name)


PARSERS: Dict[str, Callable[..., Any]] = {
    f"{module.__name__.rsplit('.', 1)[-1]}.{name}": call
    for module in _modules()
    for name, call in vars(module).items()
    if inspect.isfunction(call) and call.__module__ == module.__name__ and not name.startswith("_")
}
REAL = [path.read_text(encoding="utf-8") for path in sorted(FIXTURES.rglob("*")) if path.is_file()]

_CORNERS = st.sampled_from(
    [
        "9" * 5000,
        "nan",
        "-inf",
        "1e999",
        "-1",
        "\0",
        "\ud800",
        "²",
        "٣",
        "0-99999999",
        "\x1c",
        " \t\n",
        "[" * 2000,
        "=:=",
    ]
)
_ANY = st.lists(st.text(max_size=40) | _CORNERS, max_size=6).map("".join)


@st.composite
def _damaged(draw: Any) -> str:
    """A real text with a piece cut out, doubled or put in."""
    text = draw(st.sampled_from(REAL))
    at = draw(st.integers(0, len(text)))
    length = draw(st.integers(0, 200))
    piece = draw(st.sampled_from(["", text[at : at + length]]) | _CORNERS | st.text(max_size=20))
    return text[:at] + piece + text[at + (length if draw(st.booleans()) else 0) :]


_TEXT = _ANY | _damaged() | st.sampled_from(REAL)
_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_WAYS: Dict[Any, Any] = {
    str: _TEXT,
    bytes: st.binary(max_size=2000) | _TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")),
    Iterable[str]: _TEXT.map(lambda text: text.split("\n")),
    Dict[str, Any]: st.dictionaries(st.text(max_size=20), _JSON, max_size=5),
    # Instants, zones and bounds are ours and not the machine's: sound ones, of any size.
    float: st.floats(0, 4e9),
    int: st.integers(0, 1000),
    dt.tzinfo: st.sampled_from([dt.timezone.utc, dt.timezone(dt.timedelta(hours=-9.5))]),
}


# Of a DNS question the name and the kind of record are settings of ours, which are checked where they are read.
_OURS: Dict[str, Dict[str, Any]] = {
    "dns.question": {"name": "example.org", "record": "A"},
    "dns.parse_reply": {"name": "example.org", "record": "MX"},
}


def _arguments(name: str) -> Any:
    """A strategy for the arguments, by the annotations."""
    call = PARSERS[name]
    hints = {part: hint for part, hint in typing.get_type_hints(call).items() if part != "return"}
    assert set(hints) == set(inspect.signature(call).parameters), "a parser's arguments are annotated"
    ours = {part: st.just(value) for part, value in _OURS.get(name, {}).items()}
    ways = {part: _WAYS[hint] if hint in _WAYS else st.from_type(hint) for part, hint in hints.items()}
    return st.fixed_dictionaries({**ways, **ours})


def _raises_only_parse_error(call: Callable[..., Any], **arguments: Any) -> None:
    try:
        call(**arguments)
    except ParseError as error:
        assert str(error), "a refusal says what was expected"


def test_the_walk_finds_the_parsers() -> None:
    assert {"stat.parse_stat", "wtmp.parse_wtmp", "smart.parse_smartctl", "firmware.parse_sel"} <= set(
        PARSERS
    )


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_whatever_it_is_given_a_parser_answers_or_refuses_in_one_way(name: str) -> None:
    @settings(max_examples=examples(80), deadline=None, database=None)
    @given(_arguments(name))
    def check(arguments: Dict[str, Any]) -> None:
        _raises_only_parse_error(PARSERS[name], **arguments)

    check()


def _texts(value: Any) -> Iterator[str]:
    """Every text of some length in a line of the data."""
    if isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str) and len(value) > 20:
        yield value[:MAX_CHARS]


@pytest.fixture(scope="module")
def real_texts() -> List[str]:
    """Inputs of the real data: commands' outputs, files of /proc and /sys, smartctl's documents."""
    if not DATA.is_dir():
        pytest.skip("needs data beside the checkout: ../shared/data (or VARTOVYI_DATA)")
    found = set()
    for path in DATA.rglob("*.jsonl*"):
        content = path.read_bytes()
        content = lzma.decompress(content) if path.suffix == ".xz" else content
        for line in content.decode("utf-8").splitlines():
            entry = json.loads(line)
            found.update([json.dumps(entry["doc"])[:MAX_CHARS]] if "doc" in entry else _texts(entry))
    assert len(found) > 500
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PARSERS))
def test_every_parser_meets_the_real_data_whole_and_damaged(name: str, real_texts: List[str]) -> None:
    """Other parsers' files too: an admin's symbolic link, a vendor's kernel, a command replaced by another."""
    hints = [hint for part, hint in typing.get_type_hints(PARSERS[name]).items() if part != "return"]
    if not {str, bytes, Iterable[str]} & set(hints):
        return  # takes no text: the walk above has it
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1_000_000)
    print(f"replay: SEED={seed}")
    chance = random.Random(seed)
    ways = {
        str: lambda t: t,
        bytes: lambda t: t.encode("utf-8", "surrogatepass"),
        Iterable[str]: lambda t: t.split("\n"),
    }
    ours = {float: 1.7e9, int: 100, dt.tzinfo: dt.timezone.utc}
    call = PARSERS[name]
    parts = {part: hint for part, hint in typing.get_type_hints(call).items() if part != "return"}
    for text in chance.sample(real_texts, min(300, len(real_texts))):
        at = chance.randrange(len(text))
        for given_text in (
            text,
            text[:at] + text[at + chance.randrange(60) :],
            text[:at] + chr(chance.randrange(0xD800)) + text[at:],
        ):
            arguments = {
                part: ways[hint](given_text) if hint in ways else ours[hint] for part, hint in parts.items()
            }
            arguments.update(_OURS.get(name, {}))
            _raises_only_parse_error(call, **arguments)
