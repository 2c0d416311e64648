"""File systems: how full, how fast they fill, whether one turned read-only, answers with errors only, or hangs.

statvfs on a dead NFS server or a dying disk never returns. So mounts are looked at in a thread; when it does not come
back, that thread is left with the mount it hangs on, the mount is a finding (``fs.hung``), and a new thread looks at
the others. A mount that hangs is not touched again until the thread on it comes back: one thread a mount, no more.
"""

from __future__ import annotations

import dataclasses
import errno
import fnmatch
import os
import re
from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, List, Optional, Set, Tuple

from agent.samplers.base import Batch, Errand, ratio_pct, read, read_or_none
from agent.signals.parsers.mounts import Mount, parse_mountinfo, parse_mounts
from agent.signals.sample import Sample
from config.clock import perf_seconds
from config.loader import setting

GIB = 1024.0**3
WAIT_S = 0.5
"""How long a sweep waits for the mounts; healthy ones take microseconds."""

HUNG_AFTER_MS = 5_000
GROWTH_WINDOW_MS = 600_000
MAX_MOUNTS = 100

# fmt: off
PSEUDO = frozenset((
    "autofs", "bdev", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "cpuset", "cramfs", "debugfs", "devpts",
    "devtmpfs", "efivarfs", "erofs", "fuse.gvfsd-fuse", "fuse.lxcfs", "fuse.portal", "fusectl", "hugetlbfs", "iso9660",
    "mqueue", "nsfs", "overlay", "proc", "pstore", "ramfs", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs",
    "squashfs", "sysfs", "tracefs", "udf",
))
REMOTE = frozenset((
    "9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs",
))
# fmt: on
"""Full or slow, they are another machine's; they count by name only, and not for the fullest of ours."""


@dataclasses.dataclass(frozen=True)
class MountSettings:
    """Which mounts are looked at."""

    include: List[str] = setting(
        [], help="mount points (globs) to watch beside the usual ones, e.g. a tmpfs", max=100
    )
    exclude: List[str] = setting([], help="mount points (globs) not to touch", max=100)
    remote: bool = setting(True, help="watch NFS and the like for hanging and being full")


_NO_TMPFS = re.compile(
    r"/(?:proc|sys)(?:/|$)|/dev(?:$|/(?!shm$))|/run/|/var/lib/(?:docker|containers|kubelet|lxcfs)/"
)
"""A full /tmp, /run or /dev/shm breaks programs; the many small ones of sessions and containers are not ours."""

SICK = frozenset((
    "EIO", "ENOTCONN", "ESTALE", "EUCLEAN", "ENXIO", "ENODEV", "ETIMEDOUT", "ESHUTDOWN", "EHOSTDOWN", "EHOSTUNREACH",
    "ECONNREFUSED", "ECONNABORTED", "ECONNRESET", "EREMOTEIO",
))  # fmt: skip
"""What no program can work on. Not among them: a mount that is gone meanwhile, or that the agent's account may not see."""

Space = Tuple[int, int, int, int, int]
"""(block size, blocks, free for users, inodes, free inodes)."""


def _statvfs(path: str) -> Space:
    # A file system that shut itself down after errors (XFS, ext4) still counts its blocks; its root cannot be looked at.
    Path(path).stat()
    found = os.statvfs(path)
    reserved = found.f_bfree - found.f_bavail
    # As df does: what only root may fill is neither used nor free.
    return found.f_frsize, found.f_blocks - reserved, found.f_bavail, found.f_files, found.f_favail


class _Round:
    """One pass over some mounts, shared with the thread that makes it."""

    def __init__(self, points: List[str], statvfs: Callable[[str], Space], begun_ms: int) -> None:
        self.left = list(points)
        self.found: Dict[str, Optional[Space]] = {}
        self.errors: Dict[str, str] = {}
        self.begun_ms = begun_ms
        self._statvfs = statvfs
        self.errand = Errand("statvfs", self._go)

    def _go(self) -> None:
        while self.left:
            point = self.left[0]
            try:
                self.found[point] = self._statvfs(point)
            except OSError as error:
                self.errors[point] = errno.errorcode.get(error.errno or 0, "")
                self.found[point] = None
            # The owner may have taken the rest away while we hung.
            if self.left:
                self.left.pop(0)


class Filesystems:
    """Signals fs.used_pct, fs.inode_pct, fs.growth_gb_h, fs.ro, fs.error, fs.hung: for each mount, and the worst as ""."""

    name = "filesystems"
    period_s = 10.0

    def __init__(
        self,
        root: Path = Path("/"),
        settings: Optional[MountSettings] = None,
        statvfs: Callable[[str], Space] = _statvfs,
        wait_s: float = WAIT_S,
    ) -> None:
        self._root = root
        self._settings = settings or MountSettings()
        self._statvfs = statvfs
        self._wait_s = wait_s
        self._hung: Dict[str, _Round] = {}
        self._errors: Dict[str, str] = {}
        """Mount -> the error that the last look at it brought."""
        self._history: Dict[str, Deque[Tuple[int, int]]] = {}
        self._was_writable: Set[str] = set()
        self._mounts_text = ""
        self._mounts: List[Mount] = []

    def lacks(self) -> Dict[str, str]:
        return {}

    def settle(self, seconds: float) -> None:
        """While a mount does not answer, wait until that counts as hung, at most so long; ``once`` asks for it."""
        begun = perf_seconds()
        for stuck in list(self._hung.values()):
            stuck.errand.wait(max(0.0, min(seconds, HUNG_AFTER_MS / 1000) - (perf_seconds() - begun)))

    def sweep(self, mono_ms: int) -> List[Sample]:
        batch = Batch(mono_ms, {})
        mounts = self._watched()
        found = self._look([mount.point for mount in mounts], mono_ms)
        self._add_hung(batch, mounts, mono_ms)
        self._add_errors(batch, mounts, found)
        self._add_read_only(batch, mounts)
        self._add_space(batch, mounts, found, mono_ms)
        return batch.samples

    def _watched(self) -> List[Mount]:
        text = read_or_none(self._root / "proc/self/mountinfo")
        is_info = text is not None
        text = text if text is not None else read(self._root / "proc/mounts")
        if text != self._mounts_text:
            self._mounts_text = text
            mounts = parse_mountinfo(text) if is_info else parse_mounts(text)
            self._mounts = watched(mounts, self._settings)
        return self._mounts

    def _look(self, points: List[str], mono_ms: int) -> Dict[str, Optional[Space]]:
        """Space of every mount that answers in time. Those that hang stay with their thread."""
        for point, stuck in list(self._hung.items()):
            if stuck.errand.is_done:
                del self._hung[point]
        self._errors.clear()
        left = [point for point in points if point not in self._hung]
        found: Dict[str, Optional[Space]] = {}
        while left:
            round_ = _Round([self._path(point) for point in left], self._statvfs, mono_ms)
            is_done = round_.errand.wait(self._wait_s)
            by_path = {self._path(point): point for point in left}
            rest, round_.left = list(round_.left), []
            found.update((by_path[path], space) for path, space in list(round_.found.items()))
            self._errors.update((by_path[path], word) for path, word in list(round_.errors.items()))
            if is_done:
                round_.errand.answer()
                break
            if not rest:
                break  # it came back between the wait and the look
            self._hung[by_path[rest[0]]] = round_
            left = [by_path[path] for path in rest[1:]]
        return found

    def _path(self, point: str) -> str:
        return point if self._root == Path("/") else f"{self._root}{point}"

    def _add_hung(self, batch: Batch, mounts: List[Mount], mono_ms: int) -> None:
        worst = 0.0
        for mount in mounts:
            stuck = self._hung.get(mount.point)
            seconds = (mono_ms - stuck.begun_ms) / 1000.0 if stuck else 0.0
            is_hung = stuck is not None and mono_ms - stuck.begun_ms >= HUNG_AFTER_MS
            batch.add("fs.hung", is_hung, mount.point)
            if stuck:
                batch.add("fs.hung_s", seconds, mount.point)
            worst = max(worst, seconds)
        batch.add("fs.hung", worst * 1000 >= HUNG_AFTER_MS)

    def _add_errors(self, batch: Batch, mounts: List[Mount], found: Dict[str, Optional[Space]]) -> None:
        worst = "ok"
        for mount in mounts:
            word = self._errors.get(mount.point, "ok")
            if mount.point in found and (word == "ok" or word in SICK):
                batch.add("fs.error", word, mount.point)
                worst = word if word != "ok" else worst
        batch.add("fs.error", worst)

    def _add_read_only(self, batch: Batch, mounts: List[Mount]) -> None:
        """A mount that we saw writable, and is not now. One that was never writable is so by intent."""
        any_turned = False
        for mount in mounts:
            if mount.fs in REMOTE:
                continue
            if not mount.is_read_only:
                self._was_writable.add(mount.point)
            turned = mount.is_read_only and (mount.point in self._was_writable or _has_write_intent(mount))
            any_turned = any_turned or turned
            batch.add("fs.ro", turned, mount.point)
        self._was_writable.intersection_update(mount.point for mount in mounts)
        batch.add("fs.ro", any_turned)

    def _add_space(
        self, batch: Batch, mounts: List[Mount], found: Dict[str, Optional[Space]], mono_ms: int
    ) -> None:
        fullest: Dict[str, float] = {}
        for mount in mounts:
            space = found.get(mount.point)
            if space is None or space[1] <= 0:
                continue
            frag, blocks, free, inodes, free_inodes = space
            used = (blocks - free) * frag
            values = {"fs.used_pct": ratio_pct(blocks - free, blocks), "fs.free_gb": free * frag / GIB}
            if inodes > 0 and mount.fs != "btrfs":
                values["fs.inode_pct"] = ratio_pct(inodes - free_inodes, inodes)
            values["fs.growth_gb_h"] = self._growth(mount.point, used, mono_ms)
            for signal, value in values.items():
                batch.add(signal, value, mount.point)
                # A file system mounted read-only on purpose is full by nature (images, media).
                if value is not None and mount.fs not in REMOTE and not mount.is_read_only:
                    fullest[signal] = _worse(signal, fullest.get(signal), value)
        for signal, value in fullest.items():
            batch.add(signal, value)
        for gone in self._history.keys() - {mount.point for mount in mounts}:
            del self._history[gone]

    def _growth(self, point: str, used: int, mono_ms: int) -> Optional[float]:
        """GiB an hour over the last ten minutes; nothing until a minute has been seen."""
        series = self._history.setdefault(point, deque(maxlen=80))
        series.append((mono_ms, used))
        while len(series) > 2 and mono_ms - series[0][0] > GROWTH_WINDOW_MS:
            series.popleft()
        elapsed_ms = mono_ms - series[0][0]
        if elapsed_ms < 60_000:
            return None
        return (used - series[0][1]) / GIB * 3_600_000 / elapsed_ms


def _worse(signal: str, before: Optional[float], value: float) -> float:
    if before is None:
        return value
    return min(before, value) if signal == "fs.free_gb" else max(before, value)


def _has_write_intent(mount: Mount) -> bool:
    """The options themselves say that the mount is broken: ``emergency_ro``, or ``errors=remount-ro`` beside ``ro``.

    The latter only for the root: other mounts may carry the option and be mounted read-only on purpose.
    """
    if mount.is_broken:
        return True
    return mount.point == "/" and mount.error_policy == "remount-ro" and mount.device.startswith("/dev/")


def watched(mounts: List[Mount], settings: MountSettings) -> List[Mount]:
    """The mounts worth a look: the topmost on each point, one of each file system, none that is no storage."""
    topmost: Dict[str, Mount] = {}
    for mount in mounts:
        topmost[mount.point] = mount
    chosen: Dict[str, Mount] = {}
    for mount in topmost.values():
        if any(fnmatch.fnmatchcase(mount.point, glob) for glob in settings.exclude):
            continue
        is_asked_for = any(fnmatch.fnmatchcase(mount.point, glob) for glob in settings.include)
        if not is_asked_for and not _is_storage(mount, settings):
            continue
        # Bind mounts show one file system many times: the one with the shortest path stands for it.
        key = mount.point if is_asked_for or not mount.number else f"{mount.number} {mount.device}"
        other = chosen.get(key)
        if other is None or (len(mount.point), mount.point) < (len(other.point), other.point):
            chosen[key] = mount
    by_point = {mount.point: mount for mount in chosen.values()}
    return [by_point[point] for point in sorted(by_point)][:MAX_MOUNTS]


def _is_storage(mount: Mount, settings: MountSettings) -> bool:
    if mount.fs in PSEUDO:
        # A container's or live system's root may be an overlay: it is where its files lie.
        return mount.point == "/" and mount.fs == "overlay"
    if mount.fs in REMOTE:
        return settings.remote
    if mount.fs == "tmpfs":
        return not mount.is_read_only and not _NO_TMPFS.match(mount.point)
    return True
