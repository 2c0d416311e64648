"""The one exception that a parser may raise."""

from __future__ import annotations


class ParseError(Exception):
    """The text is not what this parser reads. ``args[0]`` says what was expected; the text itself is not kept."""
