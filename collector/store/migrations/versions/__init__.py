"""The chain of revisions, oldest first."""
