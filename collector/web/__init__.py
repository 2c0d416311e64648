"""Pages for people: server-rendered, live without reloading, no build step."""
