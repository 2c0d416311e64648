"""`vartovyi-agent run | once | check-config | status`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any, Dict, List, Optional

from config.loader import EX_CONFIG, ConfigError

EXIT_CODES = """exit status: 0 well (`once`: the look was made, whatever it found); 1 `status`: something is wrong;
69 `status`: no agent runs here; 75 another agent holds the state folder; 78 the settings are wrong (every fault is listed)"""
EX_UNAVAILABLE = 69
STATUS_OLD_MS = 30_000


def main(argv: Optional[List[str]] = None) -> int:
    """Run one command; the process's exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except ConfigError as error:
        _print_faults(error, as_json=getattr(arguments, "json", False))
        return EX_CONFIG
    except BrokenPipeError:
        # `status | head`: the reader has seen enough. Python's own flush at exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vartovyi-agent",
        description="Watches this server, judges its own signals, and reports findings to the collector.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, what: str, call: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=what, description=what, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        made.add_argument(
            "--config", type=Path, metavar="PATH", default=_default_path(), help="settings file"
        )
        made.set_defaults(command=call)
        return made

    command("run", "Watch until told to stop (SIGTERM); SIGHUP reads settings and rules again.", _run)
    once = command("once", "Make one sweep and print what is wrong on this server.", _once)
    once.add_argument("--json", action="store_true", help="print JSON for a program")
    once.add_argument(
        "--language",
        choices=("uk", "en"),
        default=None,
        help="language (else the locale's, where that is Ukrainian, else the settings')",
    )
    once.add_argument("--colour", choices=("auto", "always", "never"), default="auto", help="colours")
    check = command(
        "check-config", "Read settings and rules, list every fault, change nothing.", _check_config
    )
    check.add_argument("--json", action="store_true", help="print JSON for a program")
    check.add_argument(
        "--show", action="store_true", help="list the checks that run here, those found by themselves too"
    )
    status = command(
        "status", "Print how the running agent is: collector, spool, findings, samplers.", _status
    )
    status.add_argument("--json", action="store_true", help="print JSON for a program")
    return parser


def _default_path() -> Optional[Path]:
    """VARTOVYI_AGENT_CONFIG, else /etc/vartovyi/agent.yaml where it exists, else the shipped defaults."""
    from agent.settings import DEFAULT_PATH

    named = os.environ.get("VARTOVYI_AGENT_CONFIG", "")
    if named:
        return Path(named)
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None


def _run(arguments: argparse.Namespace) -> int:
    import random

    from agent.daemon import EX_TEMPFAIL, Daemon
    from agent.given import Given
    from agent.host import Busy, single_instance
    from config import log
    from config.clock import SystemClock

    given = Given.from_file(arguments.config, is_start=True)
    log.set_up(given.settings.log_level)
    try:
        with single_instance(given.settings.state_dir):
            return Daemon(given, SystemClock(), random.Random()).run()
    except (Busy, OSError) as error:
        print(f"vartovyi-agent: {error}", file=sys.stderr)
        return EX_TEMPFAIL


def _once(arguments: argparse.Namespace) -> int:
    from agent import once
    from agent.given import Given

    given = Given.from_file(arguments.config)
    colour = arguments.colour == "always" or (
        arguments.colour == "auto" and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    )
    language = arguments.language or _locale_language() or given.settings.language
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no Cyrillic shows question marks; it must not cost the page.
        sys.stdout.reconfigure(errors="replace")
    return once.run(given.settings, given.rules, as_json=arguments.json, language=language, colour=colour)


def _locale_language() -> str:
    """uk where the person's locale is Ukrainian. en_US says nothing: most servers have it without anybody's choice."""
    said = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    return "uk" if said.lower().startswith("uk") else ""


def _check_config(arguments: argparse.Namespace) -> int:
    from agent.given import check_files

    faults, summary = check_files(arguments.config)
    if faults:
        raise ConfigError(faults)
    shown = _shown_checks(arguments.config) if arguments.show else []
    if arguments.json:
        print(json.dumps({"faults": [], **summary, **({"shown": shown} if arguments.show else {})}))
        return 0
    read = arguments.config or "the shipped defaults (no settings file)"
    collector = summary["collector"] or "none: findings are judged and shown, and reported to nobody"
    print(f"well: {read}")
    print(f"  {summary['rules']} rules, {summary['checks']} checks")
    print(f"  collector {collector}")
    for check in shown:
        print(f"  {check['name']:28} {check['type']:8} {check['asks']:44} {check['origin']}")
    if arguments.show and not shown:
        print("  no check runs here: none is set, and no usual service was found")
    return 0


def _shown_checks(path: Optional[Path]) -> List[Dict[str, str]]:
    """Name, type, what it asks, and where it comes from, of every check that would run."""
    from agent.given import Given
    from agent.preset import Finder, look

    settings = Given.from_file(path).settings
    finder = Finder(settings.preset)
    checks = finder.checks(settings.checks) if settings.preset.enabled else settings.checks
    local = {check.name for check in settings.checks}
    shown = [
        {
            "name": check.name,
            "type": check.type,
            "asks": check.url or check.unit or check.process or check.path or check.command or check.query
            or (f"{check.host}:{check.port}" if check.host else f"port {check.port}"),
            "origin": "settings" if check.name in local else "found here",
        }
        for check in checks
    ]  # fmt: skip
    if settings.preset.enabled:
        shown += [
            {"name": one.name, "type": "-", "asks": "", "origin": "installed, not switched on: not watched"}
            for one in look()
            if one.is_off
        ]
    return shown


def _print_faults(error: ConfigError, *, as_json: bool) -> None:
    if as_json:
        import dataclasses

        print(
            json.dumps({"faults": [dataclasses.asdict(fault) for fault in error.faults]}, ensure_ascii=False)
        )
        return
    for fault in error.faults:
        print(fault, file=sys.stderr)
    number = len(error.faults)
    print(f"vartovyi-agent: {number} fault{'' if number == 1 else 's'} in the settings", file=sys.stderr)


def _status(arguments: argparse.Namespace) -> int:
    from agent.given import Given
    from agent.page import ask_status
    from config.clock import SystemClock

    folder = Given.from_file(arguments.config).settings.state_dir
    try:
        snapshot = json.loads(ask_status(folder))
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        print(f"vartovyi-agent: no agent answers in {folder}: {reason}", file=sys.stderr)
        print("Is it running? `systemctl status vartovyi-agent`. Elsewhere: --config PATH.", file=sys.stderr)
        return EX_UNAVAILABLE
    now_ms = SystemClock().now_ms()
    faults = _troubles(snapshot, now_ms)
    if arguments.json:
        print(json.dumps({**snapshot, "troubles": faults}, ensure_ascii=False))
    else:
        _print_status(snapshot, now_ms)
        for fault in faults:
            print(f"WRONG: {fault}")
    return 1 if faults else 0


def _troubles(snapshot: Dict[str, Any], now_ms: int) -> List[str]:
    """What is wrong with the agent itself; open findings are about the server and not counted."""
    found = []
    age_ms = now_ms - snapshot["written_at_ms"]
    if abs(age_ms) > STATUS_OLD_MS:
        found.append(f"the agent hangs: its loop wrote this {_ago(age_ms)} ago")
    if snapshot["last_error"]:
        found.append(f"the collector does not take reports: {snapshot['last_error']}")
    if snapshot["settings"]["fault"]:
        found.append(f"settings were refused: {snapshot['settings']['fault']}")
    found.extend(f"sampler {name} is stuck" for name, s in snapshot["samplers"].items() if s["stuck"])
    if snapshot["spool"]["held"]:
        found.append(f"{snapshot['spool']['held']} findings wait in memory: the disk takes none")
    return found


def _print_status(snapshot: Dict[str, Any], now_ms: int) -> None:
    reply = snapshot["last_reply_at_ms"]
    spool = snapshot["spool"]
    print(f"agent      version {snapshot['version']}, pid {snapshot['pid']}")
    print(f"collector  {snapshot['collector'] or 'none is set'}")
    if snapshot["collector"]:
        print(f"last reply {'never' if reply is None else _ago(now_ms - reply) + ' ago'}")
    print(f"spool      {spool['depth']} undelivered, {spool['dropped']} folded, stream {spool['stream']}")
    ages = ", ".join(
        f"{name} {max(0.0, s['age_s']):.0f} s" for name, s in sorted(snapshot["samplers"].items())
    )
    print(*textwrap.wrap(f"samplers   {ages or 'none'}", 100, subsequent_indent=" " * 11), sep="\n")
    print(f"findings   {len(snapshot['findings']) or 'none'} open")
    for finding in snapshot["findings"]:
        subject = f" {finding['subject']}" if finding["subject"] else ""
        print(f"  {finding['severity']:8} {finding['rule']}{subject}, for {_ago(now_ms - finding['at_ms'])}")


def _ago(ms: int) -> str:
    seconds = max(0, ms // 1000)
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


if __name__ == "__main__":
    sys.exit(main())
