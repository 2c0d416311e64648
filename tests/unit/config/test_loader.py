"""The loader: every fault at once, with file, line and key; and what each type of field takes."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import loader
from config.loader import ConfigError, Duration, Size, setting


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Part:
    name: str = setting(help="its name", pattern="[a-z]+")
    weight: float = setting(1.0, help="its weight", min=0, max=10)


@dataclasses.dataclass(frozen=True)
class Whole:
    needed: str = setting(help="must be there")
    number: int = setting(3, help="a number", min=1, max=9)
    wait: Duration = setting(10.0, help="a time", min=0)
    room: Size = setting(4096, help="a size")
    is_on: bool = setting(False, help="a switch")
    colour: Colour = setting(Colour.RED, help="a colour")
    path: Optional[Path] = setting(None, help="a path")
    class_: int = setting(2, help="a keyword of Python")
    parts: List[Part] = setting([], help="parts", max=2)
    by_name: Dict[str, Part] = setting({}, help="parts by name")
    any_: Any = setting(None, help="left as it is")
    one: Part = setting(lambda: Part("x"), help="one part")

    def faults(self) -> List[Tuple[str, str]]:
        return (
            [("number", "does not go with blue")] if self.colour is Colour.BLUE and self.number == 4 else []
        )


def faults(text: str) -> List[str]:
    with pytest.raises(ConfigError) as caught:
        loader.parse(text, Whole, file="f.yaml")
    return [str(fault) for fault in caught.value.faults]


def test_defaults_hold_where_nothing_is_said():
    whole = loader.parse("needed: x", Whole)
    assert (whole.number, whole.wait, whole.path, whole.one, whole.parts) == (3, 10.0, None, Part("x"), [])


def test_a_key_with_nothing_behind_it_means_the_default():
    assert loader.parse("needed: x\nnumber:\nparts:\n", Whole).number == 3


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("number: 9", "number", 9),
        ("wait: 5 min", "wait", 300.0),
        ("wait: 250 ms", "wait", 0.25),
        ("wait: 2h", "wait", 7200.0),
        ("wait: 7", "wait", 7.0),
        ("room: 64 KiB", "room", 65536),
        ("room: 1 MiB", "room", 1 << 20),
        ("is_on: true", "is_on", True),
        ("colour: blue", "colour", Colour.BLUE),
        ("path: /a/b", "path", Path("/a/b")),
        ("class: 5", "class_", 5),
        ("parts: [{name: a, weight: 2}]", "parts", [Part("a", 2.0)]),
        ("by_name: {q: {name: a}}", "by_name", {"q": Part("a")}),
        ("any: [1, {a: b}]", "any_", [1, {"a": "b"}]),
    ],
)
def test_each_type_takes_what_people_type(text, field, value):
    assert getattr(loader.parse(f"needed: x\n{text}", Whole), field) == value


def test_text_is_what_was_typed_even_where_yaml_would_know_better():
    assert [loader.parse(f"needed: {t}", Whole).needed for t in ("no", "10", "1e3")] == ["no", "10", "1e3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number: ten", "f.yaml:2: number: 'ten' is not a whole number (allowed: a whole number, 1 to 9)"),
        ("number: true", "f.yaml:2: number: 'true' is not a whole number"),
        ("number: 10", "f.yaml:2: number: 10 is out of bounds (allowed: 1 to 9)"),
        ("wait: soon", "f.yaml:2: wait: 'soon' is not a time"),
        ("is_on: 1", "f.yaml:2: is_on: '1' is not true or false"),
        ("colour: green", "f.yaml:2: colour: 'green' is not red, blue"),
        ("parts: {}", "f.yaml:2: parts: is a mapping (allowed: a list)"),
        ("parts: [{name: a}, {name: b}, {name: c}]", "f.yaml:2: parts: 3 entries is out of bounds"),
        ("parts:\n- name: A", "f.yaml:3: parts[0].name: 'A' does not fit"),
        ("parts:\n- weight: 11", "f.yaml:3: parts[0].name: is missing"),
        ("by_name:\n  q:\n    name: b\n    weight: nan", "f.yaml:5: by_name.q.weight:"),
        ("one: 3", "f.yaml:2: one: is a single value (allowed: a mapping of keys and values)"),
        ("numbr: 3", "f.yaml:2: numbr: is not a setting here"),
        ("number: 3\nnumber: 4", "f.yaml:3: number: stands twice"),
        ("colour: blue\nnumber: 4", "f.yaml:3: number: does not go with blue"),
        ("parts: [", "not valid YAML"),
        ("? [a]\n: b", "a key must be plain text"),
    ],
)
def test_each_fault_names_file_line_key_and_what_is_allowed(text, said):
    assert any(said in fault for fault in faults(f"needed: x\n{text}")), faults(f"needed: x\n{text}")


def test_all_faults_come_at_once_in_the_files_order():
    said = faults("number: ten\nwait: soon\nwhat: 1\n")
    assert [fault.split(":")[1] for fault in said] == ["1", "2", "3", "1"]
    assert said[-1].startswith("f.yaml:1: needed: is missing")


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        loader.load(tmp_path / "none.yaml", Whole)


def test_a_file_beyond_the_bound_is_refused(tmp_path):
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (loader.MAX_FILE_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        loader.load(path, Whole)


def test_yaml_cannot_make_objects_of_ours():
    with pytest.raises(ConfigError):
        loader.parse("needed: x\nany: !!python/object/apply:os.system [true]", Whole)


@given(st.text(max_size=80))
def test_no_text_raises_anything_but_a_config_error(text):
    try:
        loader.parse(text, Whole)
    except ConfigError as error:
        assert error.faults
