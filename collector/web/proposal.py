"""Which class a filed request seems to be: a few words in both languages, and the words that led there. Pure.

A proposal, never a decision: the form shows it with its reason, and a person confirms or chooses another. The order of
the rows is the order of the company's classes by how sure their words are.
"""

from __future__ import annotations

import dataclasses
import re

CLASSES_BY_WORDS: tuple[tuple[int, str], ...] = (
    (2, r"перемкн\w*|перемика\w*|резервн\w* сервер\w*|switch(ing)? to the backup|fail-?over|backup server"),
    (5, r"вірус\w*|malware|virus\w*|злам\w*|hacked|ddos|атак\w*|attack\w*|spam\b|спам\w*|бот\w*|bots?\b"),
    (
        1,
        r"хостинг\w*|датацентр\w*|hosting|data ?cent(er|re)|провайдер\w*|provider\w*|гіпервізор\w*|hypervisor",
    ),
    (
        3,
        r"сайт\w* (не працю|леж|недоступн|впав)\w*|(site|portal|application|shop) is (down|dead|unreachable)|50[0234]\b",
    ),
    (3, r"портал\w* (не працю|леж|недоступн)\w*|застосунок не працю\w*|магазин не (працю|відкрива)\w*"),
    (4, r"замовлен\w*|кошик\w*|оплат\w*|checkout|orders?\b|payments?\b|cart\b|crm|не можемо продавати"),
    (
        5,
        r"повільн\w*|гальму\w*|довго (вантажи|відкрива)\w*|slow\w*|сторінк\w*|picture|форм[аиуі]\b|фільтр\w*",
    ),
    (
        2,
        r"сервер\w*|диск\w*|пам.?ят\w*|cpu|ssh|centos|процесор\w*|навантажен\w*|server|disk|memory|load|nginx|mysql|cron",
    ),
    (
        6,
        r"як(им|ий)? \w+|порад\w*|питанн\w*|запитанн\w*|документац\w*|how (do|to|can)|question|advice|documentation",
    ),
)

DEFAULT_CLASS = 6
"""Without a known word it is a question until a person says otherwise: the least urgent claim on other people's time."""

_COMPILED = tuple(
    (class_, re.compile(rf"\b(?:{pattern})", re.IGNORECASE)) for class_, pattern in CLASSES_BY_WORDS
)


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A class and the words it was taken from; none of them = nothing was recognised."""

    class_: int
    words: tuple[str, ...]


def propose(title: str, body: str) -> Proposal:
    """The class of the first row that fits the title, else the body."""
    for text in (title, body[:4000]):
        for class_, pattern in _COMPILED:
            found = [match.group(0) for match in pattern.finditer(text)]
            if found:
                return Proposal(class_, tuple(dict.fromkeys(word.casefold() for word in found))[:3])
    return Proposal(DEFAULT_CLASS, ())
