"""Alembic's folder: env.py and the chain of revisions, shipped inside the package."""
