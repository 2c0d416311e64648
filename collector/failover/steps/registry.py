"""Every step type by its name. A new one is a file of this folder and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from collector.failover.plan import Plan
from collector.failover.steps import (
    demote_ssh,
    fence_ipmi,
    fence_lease,
    fence_libvirt,
    fence_port,
    fence_provider,
    gate_epoch,
    promote,
    traffic_dns,
    traffic_floating_ip,
    traffic_haproxy,
    verify,
)
from collector.failover.steps.step_type import StepType

STEPS: Mapping[str, StepType] = {
    step.type: step
    for step in (
        gate_epoch.STEP,
        demote_ssh.STEP,
        fence_ipmi.STEP,
        fence_libvirt.STEP,
        fence_provider.STEP,
        fence_port.STEP,
        fence_lease.STEP,
        promote.UNIT,
        promote.SCRIPT,
        traffic_floating_ip.STEP,
        traffic_dns.STEP,
        traffic_haproxy.STEP,
        verify.HTTP,
        verify.TCP,
    )
}


def unknown_types(plan: Plan) -> list[str]:
    """Types that the plan names and nobody knows."""
    return sorted({step.type for step in plan.steps} - STEPS.keys())
