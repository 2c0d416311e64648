"""The monthly statement of a contract: availability, promises kept and broken, and whose minutes they were."""
