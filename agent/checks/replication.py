"""How far this server, a backup, is behind its primary: from a command of root's folder, or from a replicated file.

A command prints the lag as performance data (``lag=2s``; any time unit). A file is a heartbeat that the primary writes
again and again and that is copied like everything else: its text is the moment it was written (Unix seconds or ISO 8601
with an offset), or, where it is empty, its modification time (rsync -t, lsyncd). Its lag holds the time between two writes
as well, and the difference of both clocks: a moment in the future is refused rather than called no lag. What cannot be
read gives no lag; the last one only grows older, and the check says what is wrong.
"""

from __future__ import annotations

import datetime
import os
import stat
from pathlib import Path
from typing import Optional, Tuple

from agent.checks import commands
from agent.checks.answer import CheckAnswer
from agent.checks.deadline import Deadline
from agent.checks.spec import CheckSettings
from config.clock import Clock, SystemClock

MAX_TEXT = 64
TIME_UNITS = ("s", "")
"""In base units. A bare number is taken for seconds, as databases say it; octets or a counter are no lag in time."""
AHEAD_S = 2.0
"""So far clocks that follow a time source may differ."""
MAX_LAG_S = 10 * 366 * 86_400.0


def run(
    spec: CheckSettings,
    timeout_s: float,
    root: Path = Path("/"),
    clock: Optional[Clock] = None,
    folder: Path = commands.FOLDER,
    owner: int = 0,
) -> CheckAnswer:
    """Ask once. Facts: lag_s, where there is one."""
    if spec.command:
        return from_numbers(spec, commands.run(spec, timeout_s, folder, owner))
    deadline = Deadline(timeout_s)
    path = Path(spec.path) if root == Path("/") else Path(f"{root}{spec.path}")
    try:
        text, modified_s = _read(path)
    except FileNotFoundError:
        return CheckAnswer("missing", "the heartbeat file is not there", deadline.spent_ms())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return CheckAnswer("unknown", f"the heartbeat file cannot be read: {why}", deadline.spent_ms())
    written_s = moment(text) if text else modified_s
    if written_s is None:
        return CheckAnswer("protocol", "the heartbeat file holds no moment", deadline.spent_ms())
    lag_s = (clock or SystemClock()).now_ms() / 1000.0 - written_s
    if lag_s < -AHEAD_S:
        detail = f"was written {-lag_s:.0f} s in the future: the clocks of primary and backup differ"
        return CheckAnswer("protocol", detail, deadline.spent_ms())
    return judged(spec, CheckAnswer("ok", "", deadline.spent_ms()), max(0.0, lag_s))


def from_numbers(spec: CheckSettings, said: CheckAnswer) -> CheckAnswer:
    """What a command said, as a lag. Pure."""
    lag_s = said.facts.get("numbers", {}).get(spec.label)
    unit = said.facts.get("units", {}).get(spec.label, "")
    if lag_s is not None and unit not in TIME_UNITS:
        detail = f"printed {spec.label} in {unit}, which is no time: {said.detail}"
        return CheckAnswer("protocol", detail, said.ms, said.facts)
    if lag_s is None or not 0.0 <= lag_s <= MAX_LAG_S:
        if not said.is_good:
            return said
        return CheckAnswer("protocol", f"printed no time {spec.label}: {said.detail}", said.ms, said.facts)
    return judged(spec, said, lag_s)


def judged(spec: CheckSettings, said: CheckAnswer, lag_s: float) -> CheckAnswer:
    """The answer with its lag; worse than max_lag is a fault, whatever the command thinks of it. Pure."""
    facts = {**said.facts, "lag_s": round(lag_s, 3)}
    detail = said.detail or f"is {lag_s:.0f} s behind"
    if said.is_good and lag_s > spec.max_lag:
        return CheckAnswer("old", f"is {lag_s:.0f} s behind", said.ms, facts)
    return CheckAnswer(said.state, detail, said.ms, facts)


def moment(text: str) -> Optional[float]:
    """Unix seconds out of a heartbeat's text; None where it is none. A moment without an offset is nobody's. Pure."""
    try:
        number = float(text)
    except ValueError:
        try:
            told = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            return None
        return told.timestamp() if told.tzinfo is not None else None
    return number if 1e9 <= number < 1e10 else None


def _read(path: Path) -> Tuple[str, float]:
    """(its text, modified at); raises OSError, and ValueError for what is no small text."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, "rb") as stream:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("no plain file")
        text = stream.read(MAX_TEXT + 1)
    if len(text) > MAX_TEXT:
        raise ValueError(f"longer than {MAX_TEXT} octets")
    return text.decode("ascii", "replace").strip(), about.st_mtime
