"""What the agent was given: settings and rules from files, changes from the collector; tried whole before they rule.

Nothing half-new is ever in force: ``Given`` is made complete or not at all, and the loop swaps it in one assignment.
The collector's part is thresholds and checks only, within what the local file lets go (``remote``); it is kept on disk
by its version, so that a restart while the collector is away judges by the same levels as before.

New settings of the collector are on trial until a report was answered under them. When none is within
``remote.trial``, or the agent had to be started twice meanwhile (settings that make it hang or crash), those before
them are back in force and the version is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from agent.checks.spec import CheckSettings
from agent.settings import AgentSettings, RemoteLimits, load_settings, rules_path
from agent.signals.rules import Rule, RuleChange, RuleFile, compile_rules
from config import loader
from config.loader import ConfigError, Fault, setting

REMOTE_NAME = "remote-settings.json"


class GivenFault(Exception):
    """New settings or rules that cannot be taken, with every reason."""


@dataclasses.dataclass(frozen=True)
class RemoteSettings:
    """What the collector may send: thresholds by rule, and checks. Anything else in it is a fault, commands above all."""

    rules: Dict[str, RuleChange] = setting({}, help="changes to rules by name", max=200)
    checks: List[CheckSettings] = setting(
        [], help="checks beside the local ones, or instead of those of the same name", max=100
    )


STARTS_ON_TRIAL = 1
"""Starts of the agent that settings on trial survive: one may be somebody's restart, two are a crash."""


@dataclasses.dataclass
class Given:
    """Settings and compiled rules in force, the collector's version among them, and what is wrong with the last try."""

    path: Optional[Path]
    settings: AgentSettings
    rules: List[Rule]
    version: int = 0
    remote: Dict[str, Any] = dataclasses.field(default_factory=dict)
    fault: str = ""
    local: Optional[AgentSettings] = None
    """The file's own settings, under what the collector laid over them."""
    before: Dict[str, Any] = dataclasses.field(default_factory=dict)
    """While on trial: {version, settings} of the collector that were in force before; {} where none were."""
    is_on_trial: bool = False

    @classmethod
    def from_file(cls, path: Optional[Path], *, is_start: bool = False) -> Given:
        """Read the settings (shipped defaults without a path) and the rules; raises ConfigError with every fault.

        ``is_start``: the agent itself begins to run; whoever only looks counts no start of settings on trial.
        """
        settings = load_settings(path) if path is not None else loader.defaults(AgentSettings)
        rules = read_rules(settings)
        given = cls(path, settings, rules)
        kept = _kept_remote(settings.state_dir)
        if kept is None:
            return given
        try:
            if kept.get("trial"):
                return given._on_trial_again(kept, is_start)
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
        """These settings with the collector's changes, on trial, kept on disk; raises GivenFault and changes nothing."""
        given = self._laid(remote, version)
        # Settings that were themselves still on trial have proved nothing: what is gone back to stays what it was.
        given.before = self.before if self.is_on_trial else {"version": self.version, "settings": self.remote}
        given.is_on_trial = True
        _keep_remote(self.settings.state_dir, given._kept(starts=0))
        return given

    def proved(self) -> None:
        """A report was answered under these settings: they stay. Raises GivenFault where the disk takes no word of it."""
        self.is_on_trial, self.before = False, {}
        _keep_remote(self.settings.state_dir, {"version": self.version, "settings": self.remote})

    def taken_back(self, why: str) -> Given:
        """The settings before the ones on trial, with this version refused. Kept on disk as such where it takes it."""
        before = self.before
        given = self._laid(before.get("settings") or {}, int(before.get("version") or 0))
        with contextlib.suppress(GivenFault):
            _keep_remote(self.settings.state_dir, {"version": given.version, "settings": given.remote})
        given.refuse(self.version, why)
        return given

    def refuse(self, version: int, why: str) -> None:
        """Remember that this version was refused: we say so in every report, and do not ask for it again."""
        self.version = version
        self.fault = why

    def _on_trial_again(self, kept: Dict[str, Any], is_start: bool) -> Given:
        """After a start in the midst of a trial: once more, or back."""
        given = self._laid(kept["settings"], int(kept["version"]))
        given.before = dict(kept["trial"]["before"])
        given.is_on_trial = True
        starts = int(kept["trial"]["starts"])
        if not is_start:
            return given
        if starts >= STARTS_ON_TRIAL:
            return given.taken_back("taken back: the agent was started again and again under them")
        _keep_remote(self.settings.state_dir, given._kept(starts=starts + 1))
        return given

    def _kept(self, starts: int) -> Dict[str, Any]:
        return {
            "version": self.version,
            "settings": self.remote,
            "trial": {"before": self.before, "starts": starts},
        }

    def _laid(self, remote: Any, version: int) -> Given:
        try:
            parsed = loader.parse(json.dumps(remote), RemoteSettings, file="(collector)")
        except ConfigError as error:
            raise GivenFault(str(error)) from error
        local = self.local or self.settings
        barred = _barred(parsed, local.remote)
        if barred:
            raise GivenFault(f"the settings of this server do not let the collector {'; '.join(barred)}")
        try:
            rules = read_rules(local, parsed.rules)
        except ConfigError as error:
            raise GivenFault(str(error)) from error
        own = {check.name for check in parsed.checks}
        checks = [*(check for check in local.checks if check.name not in own), *parsed.checks]
        settings = dataclasses.replace(local, checks=checks) if parsed.checks else local
        return Given(self.path, settings, rules, version, remote, local=local)


def _barred(remote: RemoteSettings, limits: RemoteLimits) -> List[str]:
    """What of it the local file does not let the collector do."""
    found = []
    rules = [n for n in remote.rules if not any(fnmatch.fnmatchcase(n, g) for g in limits.may_change)]
    if rules:
        found.append(f"change {', '.join(sorted(rules))}")
    off = [
        name
        for name, change in remote.rules.items()
        if change.enabled is False and not any(fnmatch.fnmatchcase(name, g) for g in limits.may_disable)
    ]
    if off:
        found.append(f"switch off {', '.join(sorted(off))}")
    types = {check.type for check in remote.checks} - set(limits.may_check)
    if types:
        found.append(f"add checks of type {', '.join(sorted(types))}")
    quick = [check.name for check in remote.checks if check.interval_s < limits.min_check_interval]
    if quick:
        found.append(f"run a check more often than each {limits.min_check_interval:g} s")
    return found


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
