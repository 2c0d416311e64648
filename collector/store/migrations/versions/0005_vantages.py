"""Asks that vantage hosts answer: their expiry, and when each vantage was last heard (collector.asks)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_vantages"
down_revision = "0004_desk_lists"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "vantages",
        sa.Column("host_id", sa.String(length=64), nullable=False),
        sa.Column("polled_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("is_lost", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_vantages")),
    )
    with op.batch_alter_table("probes") as batch:
        batch.add_column(sa.Column("expires_at_ms", sa.BigInteger(), nullable=True))
    is_waiting = sa.text("answered_at_ms IS NULL")
    op.create_index(
        "ix_probes_asks",
        "probes",
        ["vantage", "expires_at_ms"],
        unique=False,
        sqlite_where=is_waiting,
        postgresql_where=is_waiting,
    )


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_probes_asks", table_name="probes")
    with op.batch_alter_table("probes") as batch:
        batch.drop_column("expires_at_ms")
    op.drop_table("vantages")
