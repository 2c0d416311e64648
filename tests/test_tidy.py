"""The house's own laws as tests (after TigerBeetle's tidy.zig): laws that are not tests are wishes."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("agent", "collector", "config", "ticketing")
MODULES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))
SOURCES = sorted([*MODULES, *(p for p in (ROOT / "tests").rglob("*.py"))])

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 450

BANNED_CLASS_WORDS = {"Manager", "Helper", "Util", "Utils", "Service", "Base", "Impl"}
BANNED_FUNCTION_NAMES = {"process", "handle"}

# One library, one door: who may import it. A folder ends in "/".
DOORS = {
    "psutil": ("agent/samplers/",),
    "prometheus_client": ("agent/metrics.py", "collector/metrics.py", "collector/app.py"),
    "paramiko": ("collector/ssh.py",),
    "dns": ("collector/failover/steps/traffic_dns.py",),
    "requests": (
        "ticketing/mirrors/",
        "ticketing/channels/",
        "collector/providers/",
        "ticketing/desk_client.py",
    ),
    "litestar": ("collector/api/", "collector/web/", "collector/app.py"),
    "uvicorn": ("collector/serve.py", "collector/joined_writes.py"),
    "alembic": ("collector/store/",),
    "argon2": ("ticketing/people.py",),
    "icalendar": ("collector/windows_feed.py",),
    "recurring_ical_events": ("collector/windows_feed.py",),
    "apprise": ("ticketing/channels/chat.py",),
    "PIL": ("ticketing/pictures.py",),
    "imaplib": ("ticketing/letters/imap.py",),
    "smtplib": ("ticketing/channels/mail.py",),
    "yaml": ("config/loader.py",),
    "sqlite3": ("collector/store/",),
    "psycopg": ("collector/store/",),
}

# Rooms where a database, a socket or a thread has no business: values in, values with reasons out.
PURE = (
    "agent/signals/",
    "agent/wire.py",
    "collector/qualify/",
    "collector/failover/causes.py",
    "collector/failover/decide.py",
    "collector/failover/engine.py",
    "collector/failover/facts.py",
    "collector/failover/guards.py",
    "collector/failover/journal.py",
    "collector/failover/plan.py",
    "collector/failover/states.py",
    "collector/fleet.py",
    "ticketing/model.py",
    "ticketing/transitions.py",
    "ticketing/clocks.py",
    "ticketing/calendar.py",
    "ticketing/documents.py",
    "ticketing/plots.py",
    "ticketing/pictures.py",
    "ticketing/dossier.py",
    "ticketing/provider_terms.py",
    "ticketing/json_path.py",
    "ticketing/letters/decide.py",
    "ticketing/letters/parse.py",
    "ticketing/letters/plain.py",
    "ticketing/letters/quotes.py",
    "ticketing/letters/tokens.py",
    "ticketing/minutes.py",
    "ticketing/rota.py",
    "ticketing/proposal.py",
    "ticketing/statement/",
)
IMPURE_LIBRARIES = {
    "sqlalchemy", "requests", "socket", "threading", "subprocess", "logging", "psutil", "litestar", "asyncio", "time",
}  # fmt: skip

# One broad `except` per loop boundary: log with traceback, count, push that row forward, go on.
# A handler that ends in a bare `raise` only cleans up, and needs no place here.
LOOP_BOUNDARIES = {
    "agent/gathering.py:_go": "a finding without evidence is worth more than no finding",
    "agent/samplers/base.py:_go": "an errand's error is raised where its answer is taken",
    "agent/sweeps.py:_sweep": "one sampler's bug must not end the others",
    "collector/chores.py:run_due": "one chore's fault must not stop the others",
    "collector/decider.py:_turn": "one bad turn must not end the deciding",
    "collector/failover/worker.py:_one": "one broken run must not stop the others",
    "collector/failover/worker.py:_do": "a step's bug is an unknown outcome, which is probed",
    "collector/failover/worker.py:_check_round": "one pair's odd answer must not keep the others from being asked",
    "collector/intake_asgi.py:_one_by_one": "one report's fault must not end the intake",
    "collector/probes.py:_claim_some": "the store may be busy; the rows stay",
    "collector/probes.py:_ask": "the claim runs out and the probe is asked again",
    "collector/mail_intake.py:act": "one letter's fault must not stop the others; it is held for a person",
    "collector/providers/poller.py:round": "a bug in one adapter is counted like any other fault of it",
    "collector/providers/poller.py:_run": "a store that is away is back at the next round",
    "collector/serve.py:_reload": "a reload that fails leaves the collector as it was",
    "collector/store/writer.py:run": "the writer's asker gets the error through its future",
    "collector/store/writer.py:settle": "a hook's bug must not leave the asker waiting for ever",
    "collector/store/writer.py:_commit_group": "a failed COMMIT is every asker's answer",
    "collector/store/engine.py:submit": "the asker gets the error through its future",
    "collector/tick/judging.py:survives": "one odd problem must not keep every other from its ticket",
    "collector/web/app.py:_pulse_forever": "the pulse of live pages begins again",
    "collector/workers.py:_run": "a broken row must not end the hand",
    "collector/workers.py:_deliver": "a channel's bug makes one row wait, the others go on",
}

# Words that a framework or the language forces on us, by file.
FORCED_NAMES = {"collector/api/": {"data"}, "collector/web/": {"data"}, "ticketing/mirrors/rt.py": {"data"}}

# Packages whose __init__ is more than a docstring, with the reason.
FULL_INITS = {
    "ticketing/texts/__init__.py": "the catalogue's code lies beside its .po files, under the name that all import",
}

# What of the agent the collector may see; replay plays incidents through the real agent.
SEEN_OF_THE_AGENT = ("agent.wire", "agent.signals", "agent.checks")
REPLAY_SEES_MORE = ("agent.core", "agent.findings", "agent.spool")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _is_at(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or (place.endswith("/") and name.startswith(place)) for place in places)


def _imports(tree: ast.Module) -> set[str]:
    """Top-level names of everything imported anywhere in the module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def _broken(law: Callable[[Path], Iterable[str]], paths: Iterable[Path]) -> list[str]:
    """What breaks the law, of every file at once, so that one run tells all."""
    return [f"{_name(path)}: {fault}" for path in paths for fault in law(path)]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_every_module_says_what_it_is_for() -> None:
    assert not [_name(path) for path in SOURCES if not ast.get_docstring(_tree(path))]


def test_a_folders_init_is_a_docstring_and_nothing_else() -> None:
    folders = [path for path in MODULES if path.name == "__init__.py" and _name(path) not in FULL_INITS]
    bodies = {_name(path): _tree(path).body for path in folders}
    assert not [name for name, body in bodies.items() if len(body) != 1 or not isinstance(body[0], ast.Expr)]


def test_no_file_is_too_long_to_hold_in_mind() -> None:
    lines = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: count for name, count in lines.items() if count > MAX_FILE_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    def law(path: Path) -> Iterator[str]:
        for function in _functions(path):
            lines = (function.end_lineno or 0) - function.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{function.name} has {lines} lines"

    # A migration is a list of tables as it was on one day; nobody changes it afterwards.
    assert not _broken(law, [path for path in SOURCES if "/migrations/versions/" not in path.as_posix()])


def test_names_say_what_a_thing_is() -> None:
    def law(path: Path) -> Iterator[str]:
        forced = {
            word for place, words in FORCED_NAMES.items() if _is_at(_name(path), (place,)) for word in words
        }
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                words = re.findall(r"[A-Z]+(?=[A-Z][a-z]|\b)|[A-Z][a-z0-9]*", node.name) or [node.name]
                # What a class is stands last in its name: ServiceTerms are terms, a TicketService is a vague thing.
                if words[-1] in BANNED_CLASS_WORDS or words[0] in ("Base", "Abstract"):
                    yield f"class {node.name}"
        for function in _functions(path):
            if function.name in BANNED_FUNCTION_NAMES:
                yield f"def {function.name}"
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            yield from (f"{function.name}(data)" for one in arguments if one.arg in {"data"} - forced)

    assert not _broken(law, MODULES)


def test_nothing_is_left_to_be_done_later() -> None:
    marks = re.compile(r"\b(?:FIX" r"ME|TO" r"DO|XX" r"X)\b")
    assert not _broken(lambda path: marks.findall(path.read_text(encoding="utf-8")), SOURCES)


def test_only_loop_boundaries_catch_everything() -> None:
    """The listed ones name their file and function, and say what keeps them honest."""
    assert not [place for path in MODULES for place in _broad_excepts(path) if place not in LOOP_BOUNDARIES]


def test_the_list_of_loop_boundaries_has_no_dead_entry() -> None:
    found = {place for path in MODULES for place in _broad_excepts(path)}
    assert set(LOOP_BOUNDARIES) <= found


def _broad_excepts(path: Path) -> list[str]:
    """``file:function`` of each bare or broad except, and of each ``suppress(Exception)``."""
    places = []
    for function in ast.walk(_tree(path)):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            caught = None
            if isinstance(node, ast.ExceptHandler):
                if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
                    continue
                caught = ast.unparse(node.type) if node.type else "BaseException"
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
                caught = ", ".join(ast.unparse(argument) for argument in node.args)
            if caught and re.search(r"\b(Base)?Exception\b", caught):
                places.append(f"{_name(path)}:{function.name}")
    return places


def test_one_library_has_one_door() -> None:
    def law(path: Path) -> list[str]:
        seen = sorted(_imports(_tree(path)) & DOORS.keys())
        return [f"imports {library}" for library in seen if not _is_at(_name(path), DOORS[library])]

    assert not _broken(law, MODULES), "a library's door is elsewhere (DOORS)"


def test_the_collector_sees_only_the_agents_wire_signals_and_checks() -> None:
    def law(path: Path) -> Iterator[str]:
        is_replay = _is_at(_name(path), ("collector/replay/",))
        allowed = SEEN_OF_THE_AGENT + (REPLAY_SEES_MORE if is_replay else ())
        for node in ast.walk(_tree(path)):
            module = (isinstance(node, ast.ImportFrom) and node.module) or ""
            if module.startswith("agent.") and not module.startswith(allowed):
                yield f"imports {module}"

    assert not _broken(law, sorted((ROOT / "collector").rglob("*.py")))


def test_pure_modules_touch_nothing() -> None:
    pure = [path for path in MODULES if _is_at(_name(path), PURE)]
    assert not _broken(lambda path: sorted(_imports(_tree(path)) & IMPURE_LIBRARIES), pure)


def test_every_place_that_a_law_names_is_there() -> None:
    """A law about a file that moved away would hold for ever."""
    places = [*PURE, *FULL_INITS, *FORCED_NAMES, *(place for door in DOORS.values() for place in door)]
    assert not [place for place in places if not (ROOT / place).exists()]


def test_every_shipped_file_is_free_of_machine_paths() -> None:
    """Nothing of one machine may ship: work trees, interpreters of somebody's home."""
    pattern = re.compile(r"/wo" r"rk/|\.py" r"env/versions/3")
    faults = [
        _name(path)
        for path in sorted(ROOT.glob("**/*"))
        if path.is_file()
        and path.suffix in {".py", ".md", ".yaml", ".toml", ".service", ".conf", ".po", ".html"}
        and not any(
            part.startswith(".venv") or part in {"build", "state"} for part in path.relative_to(ROOT).parts
        )
        and pattern.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not faults, faults
