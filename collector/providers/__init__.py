"""What providers and hypervisors tell us: status feeds, event logs, machine state."""
