"""The service desk: tickets, contracts, clocks, people, outbox. Knows no agents and no HTTP server."""
