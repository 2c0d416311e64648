"""The table of kernel log patterns: what the kernel says, by cause, in the wording of 3.10, 4.18 and 5.x.

One row a cause: id, family of symptoms, weight, class hint, expression, a sample line. Weights:

    fault   something is broken or somebody was hurt: a finding
    note    told as a fact beside a finding, and counted; no finding by itself (one crash of one program, a fall-back
            of the clock source, a warning of a debugging kernel)
    detail  reads like a fault and is none (a loop device that was detached, a corrected bit): counted by its cause only,
            so that no rule about the host's lines mistakes it

Hints are those of the signal catalogue: "1" argues for the layer below, "2" for this system, "2*" this system unless
hardware speaks too, "context" the class is decided by what came before. Expressions are applied to the message without
its time stamp and are anchored (``^``) wherever the wording allows: a program that quotes the kernel is not the kernel.
Order matters: the first row that matches names the line. A table, no logic.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple


class Row(NamedTuple):
    """One cause."""

    id: str
    family: str
    weight: str
    hint: str
    expression: str
    sample: str


FAULT, NOTE, DETAIL = "fault", "note", "detail"

# What may stand between the time stamp and the words that we know: "rcu: ", "NMI watchdog: ", "Kernel ", "cpu3: ".
_LEAD = r"^(?:[A-Za-z][\w/. -]{0,30}: ){0,2}"
_DEV = r"(?P<dev>[\w!/-]+)"
# Devices without a medium of their own: a loop or RAM disk that fails says nothing of a disk, nor does a floppy drive.
_NO_DISK = r"(?!loop\d|ram\d|zram\d|fd\d|sr\d|nbd\d)"

# fmt: off
ROWS: Tuple[Row, ...] = (
    # --- the kernel itself -----------------------------------------------------------------------------------
    Row("panic", "kernel", FAULT, "2*", r"^(?:\S{1,40}: )?Kernel panic - not syncing(?:: (?P<why>.*))?",
        "Kernel panic - not syncing: Fatal exception in interrupt"),
    # x86 says this in capitals where it cannot go on: the machine halts, with or without a panic line after it.
    Row("panic", "kernel", FAULT, "2*", r"^(?:traps: )?PANIC: (?P<why>double fault|early exception|\w+ fault)",
        "PANIC: double fault, error_code: 0x0"),
    Row("rcu_stall", "kernel", FAULT, "context",
        _LEAD + r"INFO: (?P<flavour>rcu_\w+|rcu) (?:self-)?detected (?:expedited )?stalls? on (?:CPU|tasks)",
        "INFO: rcu_sched self-detected stall on CPU { 1}"),
    Row("rcu_stall", "kernel", FAULT, "context",
        _LEAD + r"(?P<flavour>rcu_\w+) kthread (?:starved for|timer wakeup didn't happen for)",
        "rcu: rcu_sched kthread starved for 10002 jiffies! g26593 f0x2 RCU_GP_WAIT_FQS(5) ->state=0x0 ->cpu=1"),
    Row("soft_lockup", "kernel", FAULT, "context",
        _LEAD + r"BUG: soft lockup(?: -)? ?(?:detected on )?(?:- )?CPU#?(?P<cpu>\d+) ?(?:stuck for (?P<s>\d+)s!)?(?: \[(?P<comm>.*?)(?::\d+)?\])?",
        "BUG: soft lockup - CPU#1 stuck for 22s! [foo:123]"),
    Row("hard_lockup", "kernel", FAULT, "context",
        _LEAD + r"(?:Watchdog detected hard LOCKUP on cpu ?(?P<cpu>\d+)|watchdog: Watchdog detected hard LOCKUP|BUG: NMI Watchdog detected LOCKUP|NMI Watchdog detected LOCKUP)",
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3"),
    Row("hard_lockup", "kernel", FAULT, "context",
        _LEAD + r"(?:CPU (?P<cpu>\d+) self-detected hard LOCKUP|CPU \d+ detected hard LOCKUP on other CPUs? (?P<cpu2>\d+)|[Ww]atchdog:? CPU:?\d+ )",
        "watchdog: CPU 3 self-detected hard LOCKUP @ plpar_hcall_norets+0x1c/0x28"),
    Row("workqueue_lockup", "kernel", FAULT, "context",
        _LEAD + r"BUG: workqueue lockup - pool(?P<pool>.*?) stuck for (?P<s>\d+)s!",
        "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 32s!"),
    Row("spinlock_lockup", "kernel", FAULT, "context",
        _LEAD + r"BUG: (?:spinlock|rwlock|read-lock|write-lock)[ -](?:cpu-)?lockup(?: suspected)?(?: on CPU#(?P<cpu>\d+), (?P<comm>.+)/\d+)?",
        "BUG: spinlock lockup suspected on CPU#1, httpd/2211"),
    Row("hung_task", "io", FAULT, "context",
        _LEAD + r"INFO: task (?P<comm>.+?):(?P<pid>\d+) (?:blocked (?:.+ )?for more than (?P<s>\d+) seconds|can't die for more than (?P<s2>\d+) seconds)",
        "INFO: task kworker/u8:1:77 blocked for more than 120 seconds."),
    Row("oops", "kernel", FAULT, "2*",
        r"^(?:\S{1,20}: )?(?:BUG: )?[Uu]nable to handle (?P<what>kernel .{3,40}?|page fault|unknown .{3,20}?)(?: request)? (?:at|for|in|\()",
        "BUG: unable to handle kernel NULL pointer dereference at 0000000000000078"),
    Row("oops", "kernel", FAULT, "2*", r"^(?:\S{1,20}: )?BUG: unable to handle (?P<what>\S.*)$",
        "BUG: unable to handle kernel paging request"),
    # x86 since 5.4, and powerpc: the same words without "unable to handle".
    Row("oops", "kernel", FAULT, "2*", r"^(?:\S{1,20}: )?BUG: [Kk]ernel (?P<what>NULL pointer dereference)\b",
        "BUG: kernel NULL pointer dereference, address: 0000000000000008"),
    Row("oops", "kernel", FAULT, "2*", _LEAD + r"kernel BUG at (?P<where>\S+)[:!]",
        "kernel BUG at mm/page_alloc.c:3112!"),
    # arm64 says so where it jumped to what is no code: no place and no culprit in it, one program is killed. Where more
    # comes of it, the lines behind tell.
    Row("wild_jump", "kernel", NOTE, "2", r"^Internal error: (?:Oops - )?SP/PC alignment exception",
        "Internal error: Oops - SP/PC alignment exception: 8a000000 [#1] PREEMPT SMP"),
    # Die lines: the trap's name, the error code, the count. Programs' traps have no [#n]: they are crashes, further down.
    Row("oops", "kernel", FAULT, "2*",
        # KASAN's remark before a protection fault ends without a newline on 4.x.
        r"^(?:kasan: GPF could be caused by NULL-ptr deref or user memory access)?(?P<what>[A-Za-z][\w ()/,.-]{1,60}?)(?:, (?:probably|maybe) for .{5,60}?)?: (?:[\w ]{1,40}: )?[0-9a-f]{1,8} \[#\d+\]",
        "general protection fault: 0000 [#1] SMP"),
    Row("oops", "kernel", FAULT, "2*", r"^(?P<what>Oops|Kernel BUG)(?: - [\w ]+)? \[#\d+\]", "Oops [#1]"),
    Row("oops", "kernel", FAULT, "2*", r"^(?P<what>Oops|Internal error|Kernel access of bad area)(?: - [\w ]+)?: ",
        "Oops: Kernel access of bad area, sig: 11 [#1]"),
    Row("oops", "kernel", FAULT, "2*",
        r"^(?:BUG: (?P<what2>(?:[A-Z]{2,4}\d? )?stack guard page was hit|Dentry \S+ ?\{.*still in use|bad usercopy|kernel stack overflow)|(?P<what3>Unhandled (?:fault|prefetch abort): .{3,60} \(0x[0-9a-f]+\) at|Insufficient stack space to handle exception|Kernel [Ss]tack [Oo]verflow|Bad kernel stack pointer|kernel stack overflow \(|Alignment trap: not handling instruction))",
        "BUG: stack guard page was hit at 00000000397c6d92 (stack is 00000000a0f6b86a..000000000e6f9570)"),
    Row("oops", "kernel", FAULT, "2*",
        r"^(?:usercopy: [Kk]ernel memory (?P<what>exposure|overwrite) attempt detected|(?:list_(?:add|del)) corruption|slab error in |Thread overran stack, or stack corrupted)",
        "usercopy: Kernel memory exposure attempt detected from SLUB object 'kvm_vcpu' (offset 8, size 3360)!"),
    Row("bad_page", "kernel", FAULT, "1?",
        r"^BUG: (?:Bad page (?:state|map|cache) in process (?P<comm>.+?)\s+(?:pfn|pte)|Bad rss-counter state|non-zero (?:nr_ptes|pgtables_bytes) on freeing mm)",
        "BUG: Bad page state in process httpd  pfn:1a2b3"),
    Row("unregister_stuck", "network", FAULT, "2",
        r"^unregister_netdevice: waiting for (?P<dev>\S+) to become free",
        "unregister_netdevice: waiting for lo to become free. Usage count = 1"),
    # What debugging kernels report of themselves: bugs in waiting, nobody is hurt yet.
    Row("kernel_debug", "kernel", NOTE, "2",
        r"^(?:BUG: (?:KASAN|KFENCE|KMSAN|KCSAN)|UBSAN: |WARNING: possible (?:circular|recursive|irq) |WARNING: (?:suspicious RCU usage|inconsistent lock state|bad unlock balance|held lock freed|ODEBUG)|ODEBUG: |INFO: (?:possible (?:circular|recursive|irq) |suspicious RCU|trying to register non-static key)|\[ (?:BUG|INFO): |BUG: (?:sleeping function called|scheduling while atomic|using \w+\(\) in preemptible)|kmemleak: \d+ new suspected|unreferenced object 0x)",
        "BUG: KASAN: use-after-free in rb_first_postorder+0x7c/0xa0"),
    Row("kernel_warning", "kernel", NOTE, "2",
        r"^WARNING: (?:CPU: (?P<cpu>\d+) PID: \d+ (?:Comm: \S+ )?at |at )(?P<where>\S+)",
        "WARNING: CPU: 1 PID: 4737 at kernel/sched/core.c:2698 try_invoke_on_locked_down_task+0x18b/0x320"),
    # A trace whose head was lost or is new to us; KernelWatch tells it only where nothing known stands before it.
    Row("call_trace", "kernel", NOTE, "2", r"^(?:Call [Tt]race:|\[ cut here \]|-+\[ cut here \]-+)",
        "Call Trace:"),
    # --- memory -----------------------------------------------------------------------------------------------
    Row("oom_cgroup", "memory", FAULT, "2",
        r"^Memory cgroup out of memory: Kill(?:ed)? process (?P<pid>\d+) \((?P<comm>.+?)\)",
        "Memory cgroup out of memory: Killed process 1777 (gunicorn) total-vm:640000kB"),
    # A kill inside a group says whose limit it was in lines of its own; any of the three may be all that the log kept.
    Row("oom_cgroup", "memory", FAULT, "2",
        r"^oom-kill:constraint=CONSTRAINT_MEMCG\b(?:.*,task=(?P<comm>.+?),pid=(?P<pid>\d+))?",
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=shop.service,mems_allowed=0,oom_memcg=/shop.slice,task_memcg=/shop.slice/shop.service,task=gunicorn,pid=1777,uid=997"),
    Row("oom_cgroup", "memory", FAULT, "2",
        r"^Task in \S+ killed as a result of limit of (?P<where>\S+)",
        "Task in /docker/6f1c29aa killed as a result of limit of /docker/6f1c29aa"),
    Row("oom_global", "memory", FAULT, "2*",
        r"^Out of memory(?: \([\w ]+\))?: Kill(?:ed)? process (?P<pid>\d+) \((?P<comm>.+?)\)",
        "Out of memory: Kill process 4242 (perl) score 803 or sacrifice child"),
    Row("oom_no_victim", "memory", FAULT, "2*", r"^Out of memory and no killable processes",
        "Out of memory and no killable processes..."),
    Row("oom_constraint", "memory", NOTE, "2",
        r"^(?:oom-kill:constraint=(?P<c>CONSTRAINT_\w+)|(?P<comm>.+) invoked oom-killer:)",
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/"),
    Row("page_alloc_failed", "memory", NOTE, "2",
        r"^(?P<comm>.+): page allocation (?:failure|stalls for \d+ms)[:.,] ?order:(?P<order>\d+)",
        "swapper/0: page allocation failure: order:2, mode:0x104020"),
    # --- hardware ---------------------------------------------------------------------------------------------
    Row("mce_fatal", "hardware", FAULT, "1",
        r"^(?:mce: )?(?:\[Hardware Error\]: (?:CPU \d+: )?Machine [Cc]heck(?: Exception)?: \d|\[Hardware Error\]: PANIC|\{\d+\}\[Hardware Error\]: .*(?:event severity|severity): (?:fatal|recoverable))",
        "mce: [Hardware Error]: CPU 3: Machine Check Exception: 5 Bank 4: b200000000070f0f"),
    Row("mce", "hardware", FAULT, "1",
        r"^(?:mce: |\{\d+\}|EDAC \w+: |MCE: )?(?:\[Hardware Error\]|Machine [Cc]heck (?:[Ee]xception|events logged)|HARDWARE ERROR)",
        "mce: [Hardware Error]: Machine check events logged"),
    Row("edac_ue", "hardware", FAULT, "1", r"^EDAC (?P<mc>\w+): (?:(?P<n>\d+) )?UE ",
        "EDAC MC0: 1 UE memory read error on CPU_SrcID#0_Channel#1_DIMM#0 (channel:1 slot:0)"),
    Row("edac_ce", "hardware", DETAIL, "1", r"^EDAC (?P<mc>\w+): (?:(?P<n>\d+) )?CE ",
        "EDAC MC1: 2 CE memory scrubbing error on CPU_SrcID#1_MC#1_Chan#0_DIMM#1 (channel:0 slot:1)"),
    Row("memfail", "hardware", FAULT, "1", r"^(?:Memory failure: 0x[0-9a-f]+|MCE 0x[0-9a-f]+): ",
        "Memory failure: 0x12345: recovery action for dirty LRU page: Recovered"),
    Row("nmi", "hardware", FAULT, "1",
        r"^(?:Uhhuh\. NMI received for unknown reason (?P<why>\w+)|NMI: (?:PCI system error|IOCK error|memory parity error)|INFO: NMI handler .* took too long to run: [1-9]\d{4})",
        "Uhhuh. NMI received for unknown reason 3d on CPU 0."),
    Row("aer_fatal", "hardware", FAULT, "1",
        r"^(?:\S+ [\da-f:.]+: )?(?:AER: )?(?:(?:Multiple )?Uncorrect\w+ (?:\(\w[\w-]*\) )?error|PCIe Bus Error: severity=Uncorrect)",
        "pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error received: id=00e0"),
    Row("aer_corrected", "hardware", DETAIL, "1",
        r"^(?:\S+ [\da-f:.]+: )?(?:AER: )?(?:(?:Multiple )?Correct\w+ error|PCIe Bus Error: severity=Correct)",
        "pcieport 0000:00:1c.0: AER: Corrected error received: id=00e0"),
    Row("thermal", "hardware", NOTE, "1",
        _LEAD + r"(?:Core|Package) temperature (?:is )?above threshold, cpu clock (?:is )?throttled",
        "CPU11: Core temperature above threshold, cpu clock throttled (total events = 4)"),
    Row("thermal_off", "hardware", FAULT, "1", _LEAD + r"(?:critical temperature reached|Critical temperature reached)",
        "thermal thermal_zone0: critical temperature reached (110 C), shutting down"),
    Row("power_supply", "hardware", FAULT, "1", _LEAD + r"(?:Power supply .{0,40}(?:fail|lost)|ACPI: .*AC adapter .*off-line)",
        "ipmi_si: Power supply 1 failed"),
    # --- disks ------------------------------------------------------------------------------------------------
    Row("blk_io", "io", FAULT, "1",
        r"^(?:(?:end_request|print_req_error|blk_update_request): )?(?P<kind>I/O|critical medium|critical target|critical nexus|critical space allocation|timeout|protection|device resource|recoverable transport|reservation conflict) error, dev "
        + _NO_DISK + _DEV + r", sector (?P<sector>\d+)",
        "end_request: I/O error, dev sda, sector 1234"),
    Row("blk_io_removable", "io", DETAIL, "2",
        r"^(?:(?:end_request|print_req_error|blk_update_request): )?[\w/ ]+ error, dev " + _DEV + r", sector \d+",
        "blk_update_request: I/O error, dev loop11, sector 0 op 0x1:(WRITE) flags 0x800 phys_seg 0 prio class 0"),
    Row("buf_io", "io", FAULT, "1", r"^Buffer I/O error on (?:dev|device) " + _NO_DISK + _DEV + r", logical block (?P<block>\d+)",
        "Buffer I/O error on dev dm-0, logical block 12, lost async page write"),
    Row("buf_io_removable", "io", DETAIL, "2", r"^Buffer I/O error on (?:dev|device) " + _DEV,
        "Buffer I/O error on device sr0, logical block 0"),
    Row("nvme", "io", FAULT, "1",
        r"^(?:nvme )?(?P<dev>nvme\d+)(?:n\d+|c\d+n\d+)?: (?:I/O (?:tag )?\d+.*timeout|(?:controller is down|Device not ready|Removing after probe failure|Abort status|Device shutdown incomplete|failed to (?:set|mark) )|(?:async event|critical warning).*(?:0x[1-9a-f]|error)|.*resetting controller)",
        "nvme nvme0: I/O 123 QID 4 timeout, aborting"),
    Row("ata_scsi", "io", FAULT, "1",
        r"^(?P<dev>ata\d+(?:\.\d+)?): (?:exception Emask|hard resetting link|failed command|limiting SATA link speed|disabled$|qc timeout|link is slow to respond|SError: )",
        "ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen"),
    # A host byte of 0 is the target's own word; then the sense key says whether it is the medium.
    Row("ata_scsi", "io", FAULT, "1",
        r"^(?:sd|scsi) [\d:]+: (?:\[(?P<dev>\w+)\] )?(?:tag#\d+ )?(?:.*FAILED Result: hostbyte=(?!DID_OK|invalid)|FAILED Result: hostbyte=DID_OK driverbyte=(?!DRIVER_SENSE|DRIVER_OK)|Sense Key : (?:Medium|Hardware|Aborted Command)|rejecting I/O to offline device|rejecting I/O to dead device|Device offlined|timing out command|.*(?:task abort|device reset|host reset|bus reset|TUR)\b.*(?:FAIL|fail))",
        "sd 0:0:0:0: [sda] Sense Key : Medium Error [current]"),
    Row("scsi_command", "io", DETAIL, "1",
        r"^(?:sd|scsi) [\d:]+: (?:\[(?P<dev>\w+)\] )?(?:tag#\d+ )?(?:FAILED Result|CDB: |Sense Key)",
        "sd 0:0:9:0: [sdk] tag#915 CDB: Write(16) 8a 00 00 00 00 00 07 c8 fa cb 00 00 00 65 00 00"),
    Row("vscsi_abort", "io", FAULT, "1",
        r"^(?:.*: )?(?:vmw_pvscsi|mptscsih?|mptbase|storvsc|hv_storvsc|xen-?blkfront|blkfront|megaraid_sas|megasas|mpt[23]sas_cm\d|aacraid|hpsa|3w-\w+|qla2xxx|lpfc|virtio_blk|virtio_scsi)\b.*(?:task abort|abort(?:ing)? (?:command|task|outstanding)|(?:device|adapter|target|bus|host|controller|logical) reset|resett?ing (?:device|adapter|controller|fusion|target)|timed? ?out|FW in FAULT|fault state|firmware (?:crash|fault))",
        "mptscsih: ioc0: attempting task abort! (sc=ffff880)"),
    Row("hba_no_scan", "io", FAULT, "2",
        r"^(?P<driver>qla2xxx) \[(?P<dev>[\da-f:.]+)\]-\w+:\d+: skipping scsi_scan_host\(\) for non-initiator port",
        "qla2xxx [0000:04:00.0]-0122:1: skipping scsi_scan_host() for non-initiator port"),
    Row("mpath_failed", "io", FAULT, "1",
        r"^device-mapper: multipath: (?:\S+: )?Failing path (?P<dev>[\d:]+)",
        "device-mapper: multipath: Failing path 8:16."),
    Row("dm_pool_full", "io", FAULT, "2",
        r"^device-mapper: (?:thin|space map \w+): (?:\S+: )?(?:no free (?:data|metadata) space available|switching pool to (?:out-of-data-space|read-only|fail)|.*(?:unable to allocate new|metadata operation .* failed))",
        "device-mapper: thin: 253:4: switching pool to out-of-data-space (queue IO) mode"),
    # Routine where dmeventd makes the pool larger by itself.
    Row("dm_pool_low", "io", NOTE, "2", r"^device-mapper: (?:thin|space map \w+): (?:\S+: )?reached low water mark",
        "device-mapper: thin: 253:4: reached low water mark for data device: sending event."),
    Row("md_fail", "hardware", FAULT, "1",
        r"^(?:md/)?(?:md: )?raid\w*:?\s?(?P<md>md[\w-]+): (?:Disk failure on (?P<dev>[\w-]+), disabling|Operation continuing on|Cannot continue|not enough operational)",
        "md/raid1:md0: Disk failure on sdb2, disabling device."),
    # The controller's own event log, which the driver prints from CRIT on: "BBU disabled; changing WB virtual disks to WT" is
    # said in every learning cycle of a battery and is no fault.
    Row("raid_event", "hardware", FAULT, "1",
        r"^megaraid_sas [\da-f:.]+: \d+ \(\w+/0x[\da-f]+/\w+\) - (?:VD (?P<vd>\S+) is now (?:PARTIALLY )?(?:DEGRADED|OFFLINE)|State change on PD (?P<pd>\w+).* to FAILED|Predictive failure: PD (?P<pd2>\w+)|Battery (?:has failed|(?:requires|needs) replacement|needs to be replaced)|Controller encountered a fatal error|Fatal firmware error|Multi-bit ECC error)",
        "megaraid_sas 0000:02:00.0: 1508 (595830949s/0x0001/FATAL) - VD 07/7 is now OFFLINE"),
    Row("iscsi_nfs", "io", FAULT, "1",
        r"^(?:\s*connection\d+:\d+: (?:detected conn error|ping timeout)|nfs: server (?P<server>\S+) not responding|session\d+: session recovery timed out)",
        "nfs: server filer1 not responding, still trying"),
    # --- file systems -----------------------------------------------------------------------------------------
    Row("ext4_ro", "fs", FAULT, "context",
        r"^EXT[234]-fs(?: error)? ?\((?:device )?(?P<dev>[\w!/-]+)\): (?:[\w]+:\d+: )?Remounting filesystem read-only",
        "EXT4-fs (vda1): Remounting filesystem read-only"),
    Row("ext4_err", "fs", FAULT, "context", r"^EXT[234]-fs error ?\((?:device )?(?P<dev>[\w!/-]+)\)",
        "EXT4-fs error (device vda1): ext4_find_entry:1436: inode #2: comm ls: reading directory lblock 0"),
    Row("ext4_err", "fs", FAULT, "context",
        r"^EXT[234]-fs \((?P<dev>[\w!/-]+)\): (?:I/O error while writing|previous I/O error to superblock|delayed block allocation failed|This should not happen)",
        "EXT4-fs (vda1): previous I/O error to superblock detected"),
    Row("jbd2_abort", "fs", FAULT, "context",
        r"^(?:Aborting journal on device|(?:JBD2?: )?Detected (?:IO|aborted journal|\w+ IO) ?errors?(?: while flushing file data on)?|JBD2?: Error -\d+ detected when updating journal superblock for|journal commit I/O error) ?(?P<dev>[\w!/-]+)?",
        "Aborting journal on device vda1-8."),
    Row("xfs_corrupt_mem", "fs", FAULT, "2", r"^XFS \((?P<dev>[\w-]+)\): (?:Corruption of in-memory (?:meta)?data|Corruption detected)",
        "XFS (dm-2): Corruption of in-memory data detected.  Shutting down filesystem"),
    Row("xfs_shutdown", "fs", FAULT, "context", r"^XFS \((?P<dev>[\w-]+)\): .*[Ss]hut(?:ting)? ?down(?: the)? filesystem",
        "XFS (md122): I/O Error Detected. Shutting down filesystem"),
    Row("xfs_io", "io", FAULT, "1", r"^XFS \((?P<dev>[\w-]+)\): (?:metadata I/O error|log I/O error|writeback error on|failing async write)",
        "XFS (vdd): log I/O error -5"),
    Row("xfs_corrupt", "fs", FAULT, "context", r"^XFS \((?P<dev>[\w-]+)\): (?:Metadata (?:corruption|CRC error) detected|Internal error |corrupt (?:dinode|inode))",
        "XFS (dm-2): Metadata CRC error detected at xfs_agf_read_verify+0xde/0x100 [xfs], xfs_agf block 0x1"),
    Row("btrfs_dev", "fs", FAULT, "context",
        r"^BTRFS(?: error| critical| warning| info)?:? ?\(device (?P<dev>[\w-]+)[^)]*\)(?:: | in ).*(?:errs: wr (?!0, rd 0, flush 0, corrupt 0, gen 0)|IO failure|forced readonly|Transaction aborted)",
        "BTRFS error (device sda1): bdev /dev/sda1 errs: wr 1, rd 0, flush 0, corrupt 0, gen 0"),
    Row("fs_ro", "fs", FAULT, "context", r"^(?P<fs>[A-Za-z0-9]+)-fs.*\((?:device )?(?P<dev>[\w!/-]+)\).*[Rr]emounting filesystem read-only",
        "F2FS-fs (sda1): Remounting filesystem read-only"),
    Row("fs_journal", "fs", NOTE, "context", r"^(?:EXT[34]-fs \((?P<dev>[\w!/-]+)\): (?:recovery complete|recovering journal)|XFS \((?P<dev2>[\w-]+)\): (?:Starting|Ending) recovery)",
        "EXT4-fs (vda1): recovery complete"),
    # --- network ----------------------------------------------------------------------------------------------
    Row("tx_timeout", "network", FAULT, "1",
        r"^(?:.*: )?NETDEV WATCHDOG: (?:CPU: \d+: )?(?P<dev>\S+) \((?P<driver>[\w-]*)\): transmit queue (?P<queue>\d+) timed out",
        "NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out"),
    Row("nic_hang", "network", FAULT, "1",
        r"^(?:\S+ [\da-f:.]+ )?(?P<dev>[\w.]+): (?:\w+: )?(?:Detected (?:Hardware Unit|Tx Unit) Hang|Reset adapter|PCIe link lost|firmware (?:hang|error)|adapter reset)",
        "e1000e 0000:00:19.0 eth0: Detected Hardware Unit Hang:"),
    # Both words: the rule opens at the one and closes at the other.
    Row("bond_leg", "network", FAULT, "1",
        r"^(?:bonding: )?[\w.-]+: (?:\(slave (?P<dev>\S+)\): )?link status definitely (?:down|up)(?: for interface (?P<dev2>[\w.]+))?",
        "bond0: (slave eno2): link status definitely down, disabling slave"),
    Row("link_down", "network", NOTE, "1",
        r"^(?:\S+ [\da-f:.]+ )?(?P<dev>[\w.@-]+)(?:: [\w. ]{1,40})?:? (?:[\w.]{1,20} )?(?:NIC )?[Ll]ink (?:is )?(?:[Dd]own|not ready)",
        "igb 0000:03:00.0 eth0: igb: eth0 NIC Link is Down"),
    Row("over_mtu", "network", FAULT, "2", r"^(?P<dev>\S+): dropped over-mtu packet: (?P<size>\d+) > (?P<mtu>\d+)",
        "tap0e778df8-ca: dropped over-mtu packet: 8950 > 1450"),
    Row("conntrack", "limits", FAULT, "2", r"^(?:nf_conntrack: )?(?:\w+: )?(?:nf|ip)_conntrack: (?:nf_conntrack: )?table full, dropping packet",
        "nf_conntrack: nf_conntrack: table full, dropping packet"),
    Row("synflood", "network", FAULT, "2",
        _LEAD + r"[Pp]ossible SYN flooding on port (?P<port>[\d.:\[\]a-f]+?)\. (?P<act>Sending cookies|Dropping request)",
        "TCP: request_sock_TCP: Possible SYN flooding on port 443. Sending cookies.  Check SNMP counters."),
    Row("ip_duplicate", "network", FAULT, "2", r"^(?:IPv[46]: )?(?P<dev>\S+): IPv[46] duplicate address (?P<address>\S+) detected",
        "IPv6: eth0: IPv6 duplicate address fe80::1 detected!"),
    Row("martian", "network", NOTE, "2", r"^(?:IPv4: )?martian (?:source|destination) ",
        "IPv4: martian source 10.0.0.1 from 192.168.1.1, on dev eth0"),
    Row("mount_unresolved", "dns", FAULT, "1?", r"^mount\.nfs4?: Failed to resolve server (?P<server>[^\s:]+)",
        "mount.nfs: Failed to resolve server filesrv23: Temporary failure in name resolution"),
    # --- limits -----------------------------------------------------------------------------------------------
    Row("limits", "limits", FAULT, "2",
        r"^(?:VFS: file-max limit (?P<fm>\d+) reached|(?:\w+: )?cgroup: fork rejected by pids controller|TCP: (?:\w+: )?(?:too many orphaned sockets|out of memory)|(?:\w+: )?neighbou?r(?:: |ing? )?.*table overflow|ipv[46]: neighbou?r table overflow|dst cache overflow|Route cache is full|TCP: time wait bucket table overflow|UDP: out of memory)",
        "VFS: file-max limit 801252 reached"),
    # --- programs ---------------------------------------------------------------------------------------------
    Row("segv", "process", NOTE, "2",
        r"^(?P<comm>[^\[]{1,64})\[(?P<pid>\d+)\]: segfault at [0-9a-f]+ ip|^traps: (?P<comm2>[^\[]{1,64})\[(?P<pid2>\d+)\] (?:general protection|trap|invalid opcode)|^(?P<comm3>[^\[]{1,64})\[(?P<pid3>\d+)\] (?:general protection|trap \w+) (?:fault )?ip[: ]",
        "httpd[2211]: segfault at 0 ip 00007f3a1c2b4f10 sp 00007ffc9a1b2e58 error 4 in libphp7.so"),
    # --- clock and the layer below ----------------------------------------------------------------------------
    Row("clocksource_bad", "virt", NOTE, "1 weak",
        _LEAD + r"(?:timekeeping watchdog(?: on CPU\d+)?: Marking clocksource '(?P<cs>\w+)' as unstable|Clocksource (?P<cs2>\w+) unstable \(delta)",
        "clocksource: timekeeping watchdog on CPU3: Marking clocksource 'tsc' as unstable because the skew is too large:"),
    Row("clocksource_switch", "virt", NOTE, "1 weak", _LEAD + r"Switch(?:ed|ing) to clocksource (?P<cs>[\w-]+)",
        "clocksource: Switched to clocksource hpet"),
    Row("vmgenid", "virt", NOTE, "1 event", r"^(?:random: )?crng reseeded due to virtual machine fork",
        "random: crng reseeded due to virtual machine fork"),
    Row("balloon", "virt", FAULT, "1", r"^virtio_balloon \w+: Out of puff! Can't get (?P<pages>\d+) pages",
        "virtio_balloon virtio3: Out of puff! Can't get 1 pages"),
    Row("hv_balloon", "virt", NOTE, "1", r"^hv_balloon: ",
        "hv_balloon: Max. dynamic memory size: 4096 MB"),
    Row("power_key", "virt", NOTE, "1/2", r"^(?:[\w-]+(?:\[\d+\])?: )?Power key pressed",
        "systemd-logind[712]: Power key pressed."),
)
# fmt: on
