"""One pass of the decider, one file a step: silence, qualify, ticket, clocks, failover, outbox."""
