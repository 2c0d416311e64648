"""Which class and line a filed request seems to need: words in both languages, and what the contract knows. Pure.

A proposal, never a decision: it is shown with its reason, and a person of line 1 confirms or chooses otherwise. Each row
gives its points to its class once for every different word that it finds, twice for those of the title; the class with the
most points is proposed, the words that gave them are the reason, and where another class comes close it is named too.
What the contract knows counts as words do: the name of one of its applications speaks for classes 3 to 5, the name of one
of its servers for class 2.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

from ticketing.model import Reason
from ticketing.terms import Contract

SWITCH, UPKEEP = "switch_to_backup", "upkeep"
WISHES = (SWITCH, UPKEEP)
"""What a client may ask of its servers: both are class 2 whatever words it uses."""

MAX_READ = 4000
"""Characters of the body that are looked at."""
MAX_WORDS = 4
CLOSE_PCT = 60
"""A class with so many percent of the first one's points is named beside it."""

DEFAULT_CLASS = 6
"""Without a known word it is a question until a person says otherwise: the least urgent claim on other people's time."""

LINE_OF_CLASS: Mapping[int, int] = {1: 4, 2: 2, 3: 3, 4: 3, 5: 2, 6: 1}
"""Line that works on a class, clamped to the contract's: hosters are line 4's, a system line 2's, an application that is
down or cannot sell line 3's, questions line 1's."""

_ROWS: tuple[tuple[int, int, str], ...] = (
    (2, 9, r"перемкн\w*|перемика\w*|резервн\w+ сервер\w*|switch(?:ing)? to the backup|fail-?over|backup server"),
    (2, 6, r"онов(?:іть|ити|лення) (?:систем|пакет|php|ядр|nginx|mysql|mariadb|centos)\w*"),
    (2, 6, r"(?:update|upgrade|install|patch) (?:the )?(?:system|packages?|php|kernel|nginx|mysql|mariadb|centos)\b"),
    (5, 8, r"вірус\w*|malware|virus\w*|зламал\w*|зламан\w*|hacked|ddos|атак\w*|attack\w*|шкідлив\w*|spam\b|спам\w*"),
    (1, 7, r"хостинг\w*|датацентр\w*|дата-центр\w*|hosting|hoster|data ?cent(?:er|re)|провайдер\w*|provider\w*"),
    (1, 7, r"гіпервізор\w*|hypervisor|raid\b|блок\w* живлення|power supply|магістрал\w*|пінг\w* втрач\w*|packet loss"),
    (
        3, 9,
        r"(?:сайт|портал|магазин|застосунок|крамниц)\w* (?:зовсім |знову )?"
        r"(?:не працю|не відкрива|не відповіда|леж|недоступн|впав|впала)\w*",
    ),
    (
        3, 9,
        r"(?:site|website|portal|application|app|shop|store) (?:is |does not |doesn.t )(?:completely )?"
        r"(?:down|dead|unreachable|unavailable|open|load)\b",
    ),
    (3, 6, r"\b50[0234]\b|internal server error|bad gateway|білий екран|white screen"),
    (4, 6, r"замовлен\w*|кошик\w*|оплат\w*|оплач\w*|checkout|orders?\b|payments?\b|cart\b|crm\b|накладн\w*|рахунк\w+"),
    (4, 7, r"не можемо (?:прода|оформ|прийма|виписа)\w*|cannot (?:sell|order|pay|invoice)"),
    (5, 4, r"повільн\w*|гальму\w*|довго (?:вантаж|відкрива|дума)\w*|slow\w*|lag(?:s|gy|ging)?\b"),
    (5, 3, r"сторінк\w*|картинк\w*|фото\w*|кнопк\w*|форм[аиуі]\b|фільтр\w*|пошук\w*"),
    (5, 3, r"page|picture|button|form\b|filter\w*|search\b"),
    (2, 4, r"сервер\w*|диск\w*|пам.?ят\w*|процесор\w*|навантажен\w*|server\b|disk\w*|memory|load average"),
    (2, 5, r"ssh\b|centos|nginx|apache|httpd|mysql\w*|mariadb|cron\w*|сертифікат\w*|certificate\w*|\bssl\b|\bcpu\b|root\b"),
    (6, 4, r"порад\w*|підкаж\w*|запитанн\w*|питанн\w*|документац\w*|консультац\w*"),
    (6, 4, r"how (?:do|to|can|should)|questions?\b|advice|documentation"),
    (6, 2, r"^(?:як|чи|де|коли|скільки|how|can|could|where|when|what)\b|\?\s*$"),
)  # fmt: skip
"""(class, points, pattern)."""

_COMPILED = tuple(
    (class_, points, re.compile(rf"(?<!\w)(?:{p})", re.IGNORECASE)) for class_, points, p in _ROWS
)

_BY_APPLICATION = {3: 2, 4: 2, 5: 3}
"""Points of a named application: single components go wrong most often."""
_BY_HOST = {2: 5}


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A class and a line with the reason; without words nothing was recognised."""

    class_: int
    line: int
    words: tuple[str, ...]
    reasons: tuple[Reason, ...]
    rival: int | None = None
    """Another class that comes close; None where the first is clear."""

    def to_dict(self) -> dict[str, object]:
        """As the ticket's first event keeps it."""
        return {
            "class": self.class_,
            "line": self.line,
            "words": list(self.words),
            "rival": self.rival,
            "reasons": [reason.to_dict() for reason in self.reasons],
        }


def propose(
    title: str,
    body: str,
    contract: Contract | None = None,
    *,
    host_id: str = "",
    application: str = "",
    wish: str = "",
) -> Proposal:
    """Class and line for what a person wrote; a wish decides by itself."""
    lines = contract.lines if contract is not None else 4
    if wish in WISHES:
        reasons = (Reason("reason.proposal.wish", {"wish": wish}), _line_reason(2, lines))
        return Proposal(2, _line(2, lines), (), reasons)
    points, words = _counted(title, body)
    known: list[Reason] = []
    for names, by_class, key in (
        (_named(contract.applications if contract else (), application, title, body), _BY_APPLICATION, "application"),
        (_named([h.id for h in contract.hosts] if contract else (), host_id, title, body), _BY_HOST, "host"),
    ):  # fmt: skip
        if names:
            known.append(Reason(f"reason.proposal.{key}", {"names": ", ".join(names)}))
            for class_, worth in by_class.items():
                points[class_] = points.get(class_, 0) + worth
    if not points:
        reasons = (Reason("reason.proposal.nothing"), _line_reason(DEFAULT_CLASS, lines))
        return Proposal(DEFAULT_CLASS, _line(DEFAULT_CLASS, lines), (), reasons)
    order = [class_ for class_, _, _ in _ROWS]  # of equal ones the class whose words are surer
    ranked = sorted(points, key=lambda class_: (-points[class_], order.index(class_)))
    first = ranked[0]
    rival = next((c for c in ranked[1:2] if points[c] * 100 >= points[first] * CLOSE_PCT), None)
    named = tuple(dict.fromkeys(words.get(first, ())))[:MAX_WORDS]
    told = [Reason("reason.proposal.words", {"words": ", ".join(named), "class_": first})] if named else []
    told += [
        reason for reason in known if first in (_BY_HOST if reason.key.endswith("host") else _BY_APPLICATION)
    ]
    if rival is not None:
        told.append(Reason("reason.proposal.rival", {"class_": rival}))
    return Proposal(first, _line(first, lines), named, (*told, _line_reason(first, lines)), rival)


def _counted(title: str, body: str) -> tuple[dict[int, int], dict[int, list[str]]]:
    """Points and words by class; a word counts once, in the title twice as much."""
    points: dict[int, int] = {}
    words: dict[int, list[str]] = {}
    for class_, worth, pattern in _COMPILED:
        in_title = {m.group(0).casefold().strip() for m in pattern.finditer(title)}
        in_body = {m.group(0).casefold().strip() for m in pattern.finditer(body[:MAX_READ])} - in_title
        if not in_title and not in_body:
            continue
        # The second word of one row says little that the first did not.
        gained = worth * (2 if in_title else 1) + max(0, len(in_title | in_body) - 1)
        points[class_] = points.get(class_, 0) + gained
        words.setdefault(class_, []).extend([*sorted(in_title), *sorted(in_body)])
    return points, {class_: [w for w in found if w.strip("?")] for class_, found in words.items()}


def _named(known: Iterable[str], chosen: str, title: str, body: str) -> list[str]:
    """Names of the contract that were chosen, or stand in the text as whole words."""
    if chosen:
        return [chosen]
    text = f"{title}\n{body[:MAX_READ]}".casefold()
    found = [n for n in known if n and re.search(rf"(?<!\w){re.escape(n.casefold())}(?!\w)", text)]
    return found[:MAX_WORDS]


def _line(class_: int, lines: int) -> int:
    return max(1, min(LINE_OF_CLASS[class_], lines))


def _line_reason(class_: int, lines: int) -> Reason:
    return Reason("reason.proposal.line", {"class_": class_, "line": _line(class_, lines)})
