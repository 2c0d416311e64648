"""Whose problem: evidence rows by family, correlation, quiet. Pure."""
