"""What the agent was given: settings and rules from files, changes from the collector; tried whole before they rule.

Nothing half-new is ever in force: ``Given`` is made complete or not at all, and the loop swaps it in one assignment.
The collector's part is thresholds only, within ``remote.may_change``; it is kept on disk by its version, so that a
restart while the collector is away judges by the same levels as before.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from agent.settings import AgentSettings, load_settings, rules_path
from agent.signals.rules import Rule, RuleChange, RuleFile, compile_rules
from config import loader
from config.loader import ConfigError, Fault, setting

REMOTE_NAME = "remote-settings.json"


class GivenFault(Exception):
    """New settings or rules that cannot be taken, with every reason."""


@dataclasses.dataclass(frozen=True)
class RemoteSettings:
    """What the collector may send: thresholds by rule. Anything else in it is a fault, commands above all."""

    rules: Dict[str, RuleChange] = setting({}, help="changes to rules by name", max=200)


@dataclasses.dataclass
class Given:
    """Settings and compiled rules in force, the collector's version among them, and what is wrong with the last try."""

    path: Optional[Path]
    settings: AgentSettings
    rules: List[Rule]
    version: int = 0
    remote: Dict[str, Any] = dataclasses.field(default_factory=dict)
    fault: str = ""

    @classmethod
    def from_file(cls, path: Optional[Path]) -> Given:
        """Read the settings (shipped defaults without a path) and the rules; raises ConfigError with every fault."""
        settings = load_settings(path) if path is not None else loader.defaults(AgentSettings)
        rules = read_rules(settings)
        given = cls(path, settings, rules)
        kept = _kept_remote(settings.state_dir)
        if kept is None:
            return given
        try:
            return given._laid(kept["settings"], int(kept["version"]))
        except (GivenFault, KeyError, TypeError, ValueError) as fault:
            # Kept from another release of ours: the collector sends them again, since our version says 0.
            given.fault = f"kept settings of the collector do not fit: {fault}"
            return given

    def again(self) -> Given:
        """The same from the files as they are now; raises GivenFault and changes nothing."""
        try:
            return Given.from_file(self.path)
        except ConfigError as error:
            raise GivenFault(str(error)) from error

    def with_remote(self, remote: Any, version: int) -> Given:
        """These settings with the collector's changes, kept on disk; raises GivenFault and changes nothing."""
        given = self._laid(remote, version)
        _keep_remote(self.settings.state_dir, {"version": version, "settings": remote})
        return given

    def refuse(self, version: int, why: str) -> None:
        """Remember that this version was refused: we say so in every report, and do not ask for it again."""
        self.version = version
        self.fault = why

    def _laid(self, remote: Any, version: int) -> Given:
        try:
            changes = loader.parse(json.dumps(remote), RemoteSettings, file="(collector)").rules
        except ConfigError as error:
            raise GivenFault(str(error)) from error
        barred = [
            n for n in changes if not any(fnmatch.fnmatchcase(n, g) for g in self.settings.remote.may_change)
        ]
        if barred:
            raise GivenFault(
                f"the settings of this server do not let the collector change {', '.join(sorted(barred))}"
            )
        try:
            rules = read_rules(self.settings, changes)
        except ConfigError as error:
            raise GivenFault(str(error)) from error
        return Given(self.path, self.settings, rules, version, remote)


def read_rules(settings: AgentSettings, remote: Optional[Dict[str, RuleChange]] = None) -> List[Rule]:
    """The rules in force under these settings; raises ConfigError with every fault."""
    path = rules_path(settings)
    file = loader.load(path, RuleFile)
    known = {spec.name for spec in file.rules}
    faults = [
        Fault(where, 0, f"rules.{name}", "no such rule", ", ".join(sorted(known)))
        for where, changes in (("(settings)", settings.rules), ("(collector)", remote or {}))
        for name in changes
        if name not in known
    ]
    if faults:
        raise ConfigError(faults)
    changes = {
        name: merged(settings.rules.get(name), (remote or {}).get(name))
        for name in {*settings.rules, *(remote or {})}
    }
    return compile_rules(file, changes)


def check_files(path: Optional[Path]) -> Tuple[List[Fault], Dict[str, Any]]:
    """Every fault of the settings file and of the rules file together, and a summary when there is none."""
    faults: List[Fault] = []
    settings = loader.defaults(AgentSettings)
    try:
        if path is not None:
            settings = load_settings(path)
    except ConfigError as error:
        faults.extend(error.faults)
    rules: List[Rule] = []
    try:
        # With faulty settings the rules that they name are unknown: the shipped ones are still worth a look.
        rules = read_rules(settings)
    except ConfigError as error:
        faults.extend(error.faults)
    return faults, {"rules": len(rules), "checks": len(settings.checks), "collector": settings.collector.url}


def merged(local: Optional[RuleChange], remote: Optional[RuleChange]) -> RuleChange:
    """The collector's change over the local one, field by field."""
    fields = dataclasses.fields(RuleChange)
    over = {f.name: getattr(remote, f.name) for f in fields if remote is not None}
    under = {f.name: getattr(local, f.name) for f in fields if local is not None}
    return RuleChange(
        **{f.name: over.get(f.name) if over.get(f.name) is not None else under.get(f.name) for f in fields}
    )


def version() -> str:
    """Our version, as the package says; ``0`` in a tree that was never installed."""
    from importlib import metadata

    try:
        return metadata.version("vartovyi")
    except metadata.PackageNotFoundError:
        return "0"


def _kept_remote(folder: Path) -> Optional[Dict[str, Any]]:
    try:
        raw = json.loads((folder / REMOTE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None


def _keep_remote(folder: Path, kept: Dict[str, Any]) -> None:
    fresh = folder / (REMOTE_NAME + ".new")
    try:
        with fresh.open("w", encoding="utf-8") as stream:
            json.dump(kept, stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(folder / REMOTE_NAME)
    except OSError as error:
        raise GivenFault(f"cannot be kept on disk: {error.strerror or error}") from error
