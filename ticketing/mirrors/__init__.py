"""Mirrors: the same ticket in an external service desk."""
