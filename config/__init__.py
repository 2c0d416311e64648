"""What a process is given: settings loader, clock, logging, sd_notify, and the YAML that we ship."""
