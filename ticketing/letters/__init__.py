"""Letters that people send us: read, told apart, and put on their ticket. Hostile until proven otherwise."""
