"""Checks of services: TCP, HTTP, systemd unit, process. Run by the agent and by the collector's probes."""
