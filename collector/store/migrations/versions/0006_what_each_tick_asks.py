"""Indexes for what each tick asks: probes that wait for it, and whether contracts moved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_tick"
down_revision = "0005_vantages"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_index(
        "ix_contracts_current", "contracts", ["is_current", "version", "applied_at_ms"], unique=False
    )
    op.create_index(
        "ix_probes_unhandled",
        "probes",
        ["why", "answered_at_ms"],
        unique=False,
        sqlite_where=sa.text("handled_at_ms IS NULL"),
        postgresql_where=sa.text("handled_at_ms IS NULL"),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_probes_unhandled", table_name="probes")
    op.drop_index("ix_contracts_current", table_name="contracts")
