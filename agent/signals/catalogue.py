"""Every signal, once: name, unit, meaning, kind, usual value, the one place that makes it, its Prometheus name.

The vocabulary that agent, rules, collector, tickets and recorded cases share. A signal without a producer is one that
this release cannot show; it stands here so that its name is taken and its absence is said (``lacks``).
Pure: a table and look-ups.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Tuple

from agent.wire import Value

KINDS = ("gauge", "rate", "word", "flag", "list", "map", "event")
"""gauge and rate are numbers; word is text out of few; flag is true or false; event happens, and is delivered once."""


class Metric(NamedTuple):
    """How /metrics shows a signal: always a gauge, in base units (a rate is shown as the rate that rules judge)."""

    name: str
    scale: float = 1.0
    """Multiply the signal's value by this."""
    label: str = "subject"
    """Label that carries the sample's subject."""
    is_state: bool = False
    """A word: shown as 1 with the word in the label ``state``."""


class Signal(NamedTuple):
    """One row."""

    name: str
    unit: str
    meaning: str
    kind: str
    baseline: Value
    """What a healthy host shows; the value held where a recorded case says nothing."""
    producer: str
    """Dotted path of the class or module that makes it from real input; "" = nothing does yet."""
    prometheus: Optional[Metric] = None


_CPU = "agent.samplers.cpu.Cpu"
_MEMORY = "agent.samplers.memory.Memory"
_DISK = "agent.samplers.disk.Disk"
_FS = "agent.samplers.filesystems.Filesystems"
_NET = "agent.samplers.network.Network"
_LADDER = "agent.samplers.ladder.Ladder"
_DISK_PROBE = "agent.samplers.disk_probe.DiskProbe"
_SPIN = "agent.samplers.spin.Spin"
_WAKEUPS = "agent.samplers.wakeups.Wakeups"
_TIME_SOURCE = "agent.samplers.time_source.TimeSource"
_CPU_LIMIT = "agent.samplers.throttle.CpuLimit"
_PROGRAM_LOG = "agent.samplers.program_log.ProgramLog"
_SOCKETS = "agent.samplers.sockets.Sockets"
_UNITS = "agent.samplers.units.Units"
_PROC = "agent.samplers.processes.Processes"
_KERNEL_LOG = "agent.samplers.kernel_log.KernelLog"
_CLOCK = "agent.samplers.timekeeping.Timekeeping"
_OWN = "agent.samplers.own.Own"
_HARDWARE = "agent.samplers.hardware.Hardware"
_DRIVES = "agent.samplers.drives.Drives"
_RAID = "agent.samplers.raid.Raid"
_CONTROLLER = "agent.samplers.controller.Controller"
_VIRTUAL = "agent.samplers.virtual.Virtual"
_WITNESS = "agent.samplers.witness.Witness"
_CHECKS = "agent.samplers.watching.Checks"
_DAEMON = "agent.daemon"
_PROBES = "collector.probes"
_FLEET = "collector.fleet"
_PROVIDERS = "collector.providers.poller.Poller"
_FOLD = "collector.clock_fold.ClockFold"
_TRACE = "collector.trace.write_last_hop"
_ANCHORS = "collector.anchors.write_anchors"
_WINDOWS = "collector.windows_feed.write_windows"
_OPERATORS = "agent.samplers.operators.Operators"

MIB = 1024.0 * 1024.0


# fmt: off
_ROWS: Tuple[Tuple[str, str, str, str, Value, str], ...] = (
    # The agent itself, and what its clocks say about the guest.
    ("agent.heartbeat", "ok|lost", "collector's view: are reports being accepted", "word", "ok", _FLEET),
    ("agent.stop_reason", "none|host_shutdown|service_stop|roll_out",
     "last word of the agent on SIGTERM",
     "word", "none", _FLEET),
    ("agent.gap_s", "s", "overrun of the agent's own loop on CLOCK_MONOTONIC in this interval", "event", 0, _CPU),
    ("agent.gap_progress", "ratio",
     "(ctxt+intr) during the gap / expected for its length; <=0.3 the guest did not run, >=0.7 only the agent was starved",
     "event", 1.0, _CPU),
    ("agent.cpu_ms", "ms/min", "CPU time that the agent itself uses, per minute", "rate", 60, _OWN),
    ("agent.rss_mb", "MiB", "resident memory of the agent", "gauge", 22, _OWN),
    ("agent.threads", "count", "threads of the agent, those left on hung mounts among them", "gauge", 3, _OWN),
    ("agent.fds", "count", "open descriptors of the agent", "gauge", 12, _OWN),
    ("agent.spool_used_pct", "%", "room of the spool that undelivered findings take", "gauge", 0, _DAEMON),
    ("agent.sampler_stuck", "flag",
     "a sampler took longer than its deadline and was left alone; subject = the sampler",
     "flag", False, _DAEMON),
    ("agent.reader_hung", "flag",
     "a root-only reader did not end within 20 s; subject = its question (smart sda, sel, domains)",
     "flag", False, _DRIVES),
    ("agent.settings_refused", "flag",
     "the last settings, from the file or the collector, were refused",
     "flag", False, _DAEMON),
    # Clocks.
    ("clk.offset_step_s", "s",
     "step of (collector receive clock - agent monotonic clock), same boot_id; >0 = guest clock stood still",
     "event", 0, _FOLD),
    ("clk.bt_mono_step_s", "s", "step of CLOCK_BOOTTIME - CLOCK_MONOTONIC", "event", 0, _CLOCK),
    ("clk.wall_step_s", "s", "step of CLOCK_REALTIME - CLOCK_MONOTONIC", "event", 0, _CLOCK),
    ("clk.ntp_offset_ms", "ms", "offset to the configured time source, as the kernel has it", "gauge", 1, _CLOCK),
    ("clk.true_offset_ms", "ms",
     "host wall clock - collector wall clock, corrected by the round trip",
     "gauge", 1, _FOLD),
    ("clk.synced", "bool", "adjtimex not STA_UNSYNC", "flag", True, _CLOCK),
    ("clk.ntp_source", "text", "selected time source", "word", "pool", _TIME_SOURCE),
    ("clk.source", "text", "current clock source of the kernel", "word", "kvm-clock", _CLOCK),
    # CPU.
    ("cpu.user_pct", "%", "CPU time in programs, nice ones among them", "gauge", 15, _CPU),
    ("cpu.sys_pct", "%", "CPU time in the kernel", "gauge", 4, _CPU),
    ("cpu.iowait_pct", "%", "CPU idle while I/O was pending", "gauge", 1, _CPU),
    ("cpu.steal_pct", "%", "CPU time that the hypervisor gave to others", "gauge", 0.2, _CPU),
    ("cpu.softirq_pct", "%", "CPU time in soft interrupts (packets)", "gauge", 0.5, _CPU),
    ("cpu.online", "count", "online CPUs", "gauge", 4, _CPU),
    ("cpu.spin_score", "ratio", "calibrated spin probe: work per wall-clock ms / own 7-day median", "gauge", 1.0, _SPIN),
    ("cpu.mhz_pct", "%", "mean frequency / base frequency (bare metal)", "gauge", 100, _HARDWARE),
    ("load.per_cpu", "ratio", "load of one minute / online CPUs", "gauge", 0.2, _CPU),
    ("sched.wake_ms", "ms", "overrun of 100 ms sleeps, p99 of the last five minutes", "gauge", 0.2, _WAKEUPS),
    ("sched.runq_per_cpu", "ratio",
     "tasks that run or want to run, the reader not counted / online CPUs",
     "gauge", 0.1, _CPU),
    ("psi.cpu_some60", "%", "time in which some task waited for a CPU, average of a minute", "gauge", 0.5, _CPU),
    ("cg.throttled_pct", "%", "time in which the own control group was held at its CPU limit", "gauge", 0, _CPU_LIMIT),
    ("psi.mem_full60", "%", "time in which all tasks waited for memory, average of a minute", "gauge", 0, _MEMORY),
    ("psi.io_full60", "%", "time in which all tasks waited for I/O, average of a minute", "gauge", 0.3, _DISK),
    # Memory.
    ("mem.total_mb", "MiB", "MemTotal", "gauge", 8000, _MEMORY),
    ("mem.avail_pct", "%", "MemAvailable / MemTotal", "gauge", 55, _MEMORY),
    ("mem.balloon_mb", "MiB", "net pages held by the balloon driver", "gauge", 0, _MEMORY),
    ("mem.hypervisor_swap_mb", "MiB", "memory of this guest that the hypervisor has swapped out (VMware)", "gauge", 0, _VIRTUAL),
    ("mem.corrupted_kb", "kB", "memory that the hardware gave up (HardwareCorrupted)", "gauge", 0, _MEMORY),
    ("mem.top_rss", "text", "largest process: name=MiB", "word", "none", _PROC),
    ("swap.out_mbps", "MiB/s", "written to swap", "rate", 0, _MEMORY),
    ("swap.used_pct", "%", "swap in use", "gauge", 0, _MEMORY),
    ("vm.majfault_ps", "1/s", "page faults that needed the disk", "rate", 5, _MEMORY),
    ("vm.oom_kills", "count", "processes killed for want of memory since the agent began", "gauge", 0, _MEMORY),
    # Processes.
    ("proc.count", "count", "processes", "gauge", 180, _PROC),
    ("proc.forks_ps", "1/s", "new processes", "rate", 5, _CPU),
    ("proc.zombies", "count", "processes that ended and were not waited for", "gauge", 0, _PROC),
    ("proc.blocked", "count", "processes in uninterruptible wait", "gauge", 0, _PROC),
    ("pid.used_pct", "%", "tasks / least of pid_max and threads-max", "gauge", 1, _PROC),
    ("fd.used_pct", "%", "open files / file-max", "gauge", 5, _PROC),
    ("proc.top_cpu", "text", "top CPU consumer: name=% of one CPU", "word", "none", _PROC),
    ("proc.top_io", "text", "top I/O consumer: name=MiB/s", "word", "none", _PROC),
    # Disks and file systems.
    ("disk.await_ms", "ms", "mean time of a request; host: the slowest busy device", "gauge", 3, _DISK),
    ("disk.iops", "1/s", "requests; host: all devices", "rate", 120, _DISK),
    ("disk.mbps", "MiB/s", "octets read and written; host: all devices", "rate", 4, _DISK),
    ("disk.util_pct", "%",
     "time with a request under way; says nothing on devices that work in parallel",
     "gauge", 8, _DISK),
    ("disk.qdepth", "count", "requests under way on average (aqu-sq)", "gauge", 0.4, _DISK),
    ("disk.stuck_s", "s", "for so long requests are under way and none ends", "gauge", 0, _DISK),
    ("disk.probe_ms", "ms", "4 KiB O_DIRECT read of own file, median of the minute", "gauge", 1, _DISK_PROBE),
    ("fs.used_pct", "%", "space in use, as df counts; host: the fullest local file system", "gauge", 50, _FS),
    ("fs.free_gb", "GiB", "space that users may still fill; host: the least", "gauge", 20, _FS),
    ("fs.inode_pct", "%", "inodes in use; host: the fullest", "gauge", 10, _FS),
    ("fs.growth_gb_h", "GiB/h", "growth over the last ten minutes; host: the fastest", "rate", 0.05, _FS),
    ("fs.ro", "bool", "a writable mount has become read-only", "flag", False, _FS),
    ("fs.hung", "bool", "a look at the mount has not come back for 5 s or more", "flag", False, _FS),
    ("fs.error", "ok|EIO|ENOTCONN|ESTALE|...", "what a look at the mount fails with, at once", "word", "ok", _FS),
    ("fs.hung_s", "s", "for so long a look at the mount has not come back", "gauge", 0, _FS),
    # Network.
    ("net.link", "up|down", "carrier; host: of the interface with the default route", "word", "up", _NET),
    ("net.flaps", "count", "carrier changes in the last 10 min", "gauge", 0, _NET),
    ("net.crc_ps", "1/s", "frames received with a wrong checksum", "rate", 0, _NET),
    ("net.missed_ps", "1/s", "packets that this host was too busy to take (rx_missed, softnet drops)", "rate", 0, _NET),
    ("net.gw", "ok|dead", "gateway, by its neighbour entry", "word", "ok", _NET),
    ("net.hop2", "ok|dead", "first hop beyond the gateway (learned when healthy)", "word", "ok", _LADDER),
    ("net.anchors", "0..3", "public anchors (3 networks) that answer", "gauge", 3, _LADDER),
    ("net.collector", "ok|dead", "collector reachable from the host", "word", "ok", _NET),
    ("net.ladder", "bits",
     "what answers: bit 0 link, 1 gateway, 2 hop 2, 3 collector, 4 resolver, 5-6 anchors",
     "gauge", 127, _NET),
    ("net.loss_pct", "%", "loss to anchors", "gauge", 0, _LADDER),
    ("net.in_mbps", "Mbit/s", "received", "rate", 8, _NET),
    ("net.in_kpps", "kpkt/s", "packets received", "rate", 2, _NET),
    ("net.out_mbps", "Mbit/s", "sent", "rate", 8, _NET),
    ("net.syn_recv", "count", "half-open connections", "gauge", 5, _SOCKETS),
    ("net.cookies_ps", "1/s", "SYN cookies sent", "rate", 0, _NET),
    ("net.listen_drops_ps", "1/s", "connections dropped because a listener's queue was full", "rate", 0, _NET),
    ("net.buffer_drops", "count",
     "packets since boot that a socket's buffer had no room for; subject = udp, tcp or netlink",
     "gauge", 0, _SOCKETS),
    ("net.conntrack_pct", "%", "connection tracking table in use", "gauge", 6, _NET),
    ("net.ports_pct", "%", "ephemeral ports in use", "gauge", 4, _SOCKETS),
    ("net.tcp_established", "count", "established connections", "gauge", 50, _SOCKETS),
    ("net.dns_sys", "ok|fail", "resolvers of resolv.conf", "word", "ok", _LADDER),
    ("net.dns_pub", "ok|fail", "public resolver over the same path", "word", "ok", _LADDER),
    ("net.bigpkt", "ok|fail", "1472-byte DF probe to anchors", "word", "ok", _LADDER),
    # From outside.
    ("ext.icmp", "ok|loss|dead", "from outside, by vantage", "word", "ok", _PROBES),
    ("ext.tcp22", "ok|refused|timeout|banner_timeout|kex_timeout",
     "SSH probe: connect, banner, key exchange",
     "word", "ok", _PROBES),
    ("ext.svc", "ok|slow|dead", "service check as a client sees it", "word", "ok", _PROBES),
    ("ext.last_hop", "text", "last hop that answers in a trace to the host", "word", "host", _TRACE),
    ("ext.bmc", "ok|dead", "management controller reachable out of band", "word", "ok", _PROBES),
    ("col.anchors", "0..3", "anchors that the collector itself reaches", "gauge", 3, _ANCHORS),
    ("col.transit", "text", "which of its uplinks the collector sees working", "word", "all", _ANCHORS),
    # Logs and boots.
    ("kmsg", "text", "kernel log line of a known cause; parts: the cause (agent.signals.kernel_lines)", "event", "", _KERNEL_LOG),
    ("kmsg.lost", "count", "kernel log records that the ring dropped before the agent read them, since it began",
     "gauge", 0, _KERNEL_LOG),
    ("log", "text", "line of a program's log that argues; parts: the program", "event", "", _PROGRAM_LOG),
    ("host.boot_id", "text", "the kernel's random id of this boot", "word", "b1", _FLEET),
    ("boot.wtmp_shutdown", "bool", "a shutdown record precedes the boot record", "flag", True, _WITNESS),
    ("boot.pstore", "text", "panic trace or vmcore found after boot", "word", "none", _WITNESS),
    ("boot.fs_recovery", "bool", "journal replay at mount", "flag", False, _WITNESS),
    ("boot.restart_cause", "text", "IPMI chassis restart_cause", "word", "unknown", _WITNESS),
    ("boot.kernel", "text", "running kernel", "word", "k1", _WITNESS),
    ("host.gap", "account", "what a gap was: kind, from_ms, to_ms, why, rung (agent.forensics.KINDS)", "event", {}, _WITNESS),
    # Hardware and the layer below.
    ("hw.smart", "map",
     "raw values of five SMART attributes",
     "map", {"5": 0, "187": 0, "188": 0, "197": 0, "198": 0}, _DRIVES),
    ("hw.smart_health", "PASSED|FAILED|na", "the drive's own verdict", "word", "PASSED", _DRIVES),
    ("hw.nvme_cw", "bits", "NVMe critical warning", "gauge", 0, _DRIVES),
    ("hw.md", "ok|degraded|rebuilding|inactive", "software RAID", "word", "ok", _DISK),
    ("hw.raid", "optimal|degraded|failed|na", "MegaRAID arrays by storcli or perccli; subject = the array", "word", "na", _RAID),
    ("hw.edac_ce_h", "1/h", "corrected memory errors", "rate", 0, _HARDWARE),
    ("hw.edac_ue", "count", "uncorrectable memory errors", "gauge", 0, _HARDWARE),
    ("hw.therm_ps", "1/s", "thermal throttling events", "rate", 0, _HARDWARE),
    ("hw.sel", "text", "IPMI SEL entry", "event", "", _CONTROLLER),
    ("virt.dom", "map", "libvirt domain -> state/reason (hypervisor host)", "map", {}, _VIRTUAL),
    ("ubc.failcnt", "map", "user_beancounters resource -> failcnt delta per minute", "map", {}, _VIRTUAL),
    ("ubc.limit_mb", "MiB", "physpages limit", "gauge", 4096, _VIRTUAL),
    ("ubc.held_mb", "MiB", "physpages held", "gauge", 1800, _VIRTUAL),
    # What others say.
    ("prov.status", "ok|maintenance|incident", "provider status feed", "word", "ok", _PROVIDERS),
    ("prov.event", "text", "provider API or action log", "event", "", _PROVIDERS),
    ("prov.vm_state", "running|stopped|paused|unknown",
     "the provider's view of the server",
     "word", "running", _PROVIDERS),
    ("ops.window", "bool", "a maintenance window is open for the host", "flag", False, _WINDOWS),
    ("ops.action", "text", "operator action seen in audit, sudo or package log", "event", "", _OPERATORS),
    # Services of the host.
    ("svc.failed", "list", "failed systemd units", "list", [], _UNITS),
    ("svc.unit_failed", "bool", "the unit is failed; subject = the unit", "flag", False, _UNITS),
    ("svc.restarts_h", "1/h", "automatic restarts within the last hour; host: the unit with most", "rate", 0, _UNITS),
    ("check.state", "state",
     "answer of a check (agent.checks.answer.STATES); subject = the check",
     "word", "ok", _CHECKS),
    ("check.ms", "ms", "time that a good answer took; subject = the check", "gauge", 20, _CHECKS),
    ("check.number", "",
     "a number that a plugin printed (performance data, in base units); subject = check/label",
     "gauge", 0, _CHECKS),
    ("tls.days", "days",
     "days to notAfter by the host clock; the collector corrects it by clk.true_offset_ms",
     "gauge", 60, _CHECKS),
    ("usual.outside", "ratio",
     "newest five minutes of a key signal beyond everything that closed days reached, in its own ranges; <0 = below; "
     "subject = the signal",
     "gauge", 0, "agent.usual"),
    # What failover must know of the pair, and the collector's own memory.
    ("repl.lag_s", "s",
     "how far the backup is behind its primary, at the moment it was asked (check of type replication); subject = the check",
     "gauge", 1, _CHECKS),
    ("repl.sample_age_s", "s",
     "age of the last lag that could be had; grows while none can; subject = the check",
     "gauge", 5, _CHECKS),
    ("hist.same_hour_match", "ratio",
     "share of the previous 7 days with the same pattern at this hour (collector's memory)",
     "gauge", 0, "collector.tick.hours.Hours"),
)
# fmt: on


def _pct(name: str, label: str = "subject") -> Metric:
    return Metric(f"vartovyi_{name}_ratio", 0.01, label)


def _num(name: str, scale: float = 1.0, label: str = "subject") -> Metric:
    return Metric(f"vartovyi_{name}", scale, label)


def _word(name: str, label: str = "subject") -> Metric:
    return Metric(f"vartovyi_{name}", 1.0, label, True)


# fmt: off
_METRICS: Dict[str, Metric] = {
    "agent.gap_s": _num("agent_gap_seconds"),
    "agent.gap_progress": _num("agent_gap_progress_ratio"),
    "agent.cpu_ms": _num("agent_cpu_seconds_per_minute", 0.001),
    "agent.rss_mb": _num("agent_resident_memory_bytes", MIB),
    "agent.threads": _num("agent_threads"),
    "agent.fds": _num("agent_open_fds"),
    "agent.spool_used_pct": _pct("agent_spool_used"),
    "agent.sampler_stuck": _num("agent_sampler_stuck", label="sampler"),
    "agent.settings_refused": _num("agent_settings_refused"),
    "clk.bt_mono_step_s": _num("clock_boottime_step_seconds"),
    "clk.wall_step_s": _num("clock_wall_step_seconds"),
    "clk.ntp_offset_ms": _num("clock_offset_seconds", 0.001),
    "clk.synced": _num("clock_synced"),
    "clk.source": _word("clock_source_info"),
    "cpu.user_pct": _pct("cpu_user"),
    "cpu.sys_pct": _pct("cpu_system"),
    "cpu.iowait_pct": _pct("cpu_iowait"),
    "cpu.steal_pct": _pct("cpu_steal"),
    "cpu.softirq_pct": _pct("cpu_softirq"),
    "cpu.online": _num("cpu_online"),
    "load.per_cpu": _num("load_per_cpu"),
    "sched.wake_ms": _num("wakeup_overrun_seconds", 0.001),
    "sched.runq_per_cpu": _num("run_queue_per_cpu"),
    "psi.cpu_some60": _pct("pressure_cpu_some"),
    "psi.mem_full60": _pct("pressure_memory_full"),
    "psi.io_full60": _pct("pressure_io_full"),
    "mem.total_mb": _num("memory_total_bytes", MIB),
    "mem.avail_pct": _pct("memory_available"),
    "mem.balloon_mb": _num("memory_balloon_bytes", MIB),
    "mem.corrupted_kb": _num("memory_corrupted_bytes", 1024.0),
    "swap.out_mbps": _num("swap_out_bytes_per_second", MIB),
    "swap.used_pct": _pct("swap_used"),
    "vm.majfault_ps": _num("major_faults_per_second"),
    "vm.oom_kills": _num("oom_kills_since_start"),
    "proc.count": _num("processes"),
    "proc.forks_ps": _num("forks_per_second"),
    "proc.zombies": _num("processes_zombie"),
    "proc.blocked": _num("processes_blocked"),
    "pid.used_pct": _pct("pids_used"),
    "fd.used_pct": _pct("file_handles_used"),
    "disk.await_ms": _num("disk_await_seconds", 0.001, "device"),
    "disk.iops": _num("disk_operations_per_second", label="device"),
    "disk.mbps": _num("disk_bytes_per_second", MIB, "device"),
    "disk.util_pct": _pct("disk_busy", "device"),
    "disk.qdepth": _num("disk_queue_depth", label="device"),
    "disk.probe_ms": _num("disk_probe_seconds", 0.001),
    "cpu.spin_score": _num("cpu_spin_score_ratio"),
    "cg.throttled_pct": _pct("cpu_limit_throttled"),
    "clk.ntp_source": _word("clock_time_source_info"),
    "disk.stuck_s": _num("disk_stuck_seconds", label="device"),
    "fs.used_pct": _pct("filesystem_used", "mountpoint"),
    "fs.free_gb": _num("filesystem_free_bytes", 1024.0 ** 3, "mountpoint"),
    "fs.inode_pct": _pct("filesystem_inodes_used", "mountpoint"),
    "fs.growth_gb_h": _num("filesystem_growth_bytes_per_second", 1024.0 ** 3 / 3600, "mountpoint"),
    "fs.ro": _num("filesystem_turned_readonly", label="mountpoint"),
    "fs.hung": _num("filesystem_hung", label="mountpoint"),
    "fs.error": _word("filesystem_error_info", "mountpoint"),
    "fs.hung_s": _num("filesystem_hung_seconds", label="mountpoint"),
    "net.link": _word("network_link_state", "interface"),
    "net.flaps": _num("network_link_changes_recent", label="interface"),
    "net.crc_ps": _num("network_crc_errors_per_second", label="interface"),
    "net.missed_ps": _num("network_missed_per_second", label="interface"),
    "net.gw": _word("network_gateway_state"),
    "net.collector": _word("network_collector_state"),
    "net.hop2": _word("network_second_hop_state"),
    "net.anchors": _num("network_anchors_reached"),
    "net.loss_pct": _pct("network_loss"),
    "net.bigpkt": _word("network_full_size_packets_state"),
    "net.dns_sys": _word("dns_system_resolver_state", "server"),
    "net.dns_pub": _word("dns_public_resolver_state"),
    "net.ladder": _num("network_ladder_mask"),
    "net.in_mbps": _num("network_receive_bytes_per_second", 125000.0, "interface"),
    "net.in_kpps": _num("network_receive_packets_per_second", 1000.0, "interface"),
    "net.out_mbps": _num("network_transmit_bytes_per_second", 125000.0, "interface"),
    "net.syn_recv": _num("tcp_syn_recv"),
    "net.cookies_ps": _num("tcp_syncookies_per_second"),
    "net.listen_drops_ps": _num("tcp_listen_drops_per_second"),
    "net.buffer_drops": _num("socket_buffer_drops_since_boot", label="kind"),
    "net.conntrack_pct": _pct("conntrack_used"),
    "net.ports_pct": _pct("ephemeral_ports_used"),
    "net.tcp_established": _num("tcp_established"),
    "agent.reader_hung": _num("agent_reader_hung", label="reader"),
    "mem.hypervisor_swap_mb": _num("memory_hypervisor_swapped_bytes", MIB),
    "cpu.mhz_pct": _pct("cpu_frequency"),
    "hw.md": _word("md_state", "device"),
    "hw.raid": _word("raid_array_state", "array"),
    "hw.smart_health": _word("smart_state", "device"),
    "hw.nvme_cw": _num("nvme_critical_warning", label="device"),
    "hw.edac_ce_h": _num("memory_corrected_errors_last_hour"),
    "hw.edac_ue": _num("memory_uncorrected_errors"),
    "hw.therm_ps": _num("thermal_throttles_per_second"),
    "ubc.limit_mb": _num("container_memory_limit_bytes", MIB),
    "ubc.held_mb": _num("container_memory_held_bytes", MIB),
    "kmsg.lost": _num("kernel_log_records_lost"),
    "svc.unit_failed": _num("unit_failed", label="unit"),
    "svc.restarts_h": _num("unit_restarts_last_hour", label="unit"),
    "check.state": _word("check_state", "check"),
    "check.ms": _num("check_duration_seconds", 0.001, "check"),
    "check.number": _num("check_plugin_value", label="check"),
    "repl.lag_s": _num("replication_lag_seconds", label="check"),
    "repl.sample_age_s": _num("replication_lag_age_seconds", label="check"),
    "tls.days": _num("certificate_seconds_left", 86400.0, "check"),
}
"""What /metrics shows. Texts without bound (names of processes), maps and events of others are left out."""
# fmt: on

SIGNALS: Tuple[Signal, ...] = tuple(Signal(*row, _METRICS.get(row[0])) for row in _ROWS)

BY_NAME: Dict[str, Signal] = {signal.name: signal for signal in SIGNALS}

UNITS: Dict[str, str] = {signal.name: signal.unit for signal in SIGNALS}
"""Signal -> unit, for facts and for ``once``."""


def signal_named(name: str) -> Optional[Signal]:
    """The row, or None where no signal has that name."""
    return BY_NAME.get(name)
