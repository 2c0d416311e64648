"""Somebody else's JSON: what is none, and what would use up our stack, is said so; and a place is found or is missing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.json_path import DEPTH_MAX, MISSING, at_path, read_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_json_is_read_whatever_stands_in_its_words(value):
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("times", [DEPTH_MAX + 1, 100_000])
def test_what_is_too_deep_is_refused_before_it_is_read(unit, times):
    with pytest.raises(ValueError, match="within one another"):
        read_json(unit * times)


def test_many_beside_one_another_and_brackets_within_words_are_not_deep():
    assert read_json(b"[" + b"[], " * 1000 + b"[]]") == [[]] * 1001
    assert read_json(b'"' + b"[" * 1000 + b'"') == "[" * 1000
    assert read_json(rb'["\"' + b"[" * 1000 + b'"]') == ['"' + "[" * 1000]


@pytest.mark.parametrize("raw", [b"", b"<html>", b"\xff", b"[NaN]", b"[1", b'"' + rb"\"" * 100_000])
def test_what_is_no_json_is_a_value_error(raw):
    with pytest.raises(ValueError):
        read_json(raw)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b", 1),
        ("list[0].x", 2),
        ("list[-1].x", 3),
        ("list[2]", MISSING),
        ("list.x", MISSING),
        ("a.c", MISSING),
        ("a[0]", MISSING),
    ],
)
def test_a_place_is_found_or_missing(path, found):
    assert at_path({"a": {"b": 1}, "list": [{"x": 2}, {"x": 3}]}, path) == found
