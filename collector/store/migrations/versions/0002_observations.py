"""What the collector's side sees of hosts and providers: one table (collector.observed)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "observations",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("host_id", sa.String(length=64), nullable=False),
        sa.Column("signal", sa.String(length=64), nullable=False),
        sa.Column("vantage", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observations")),
    )
    op.create_index(op.f("ix_observations_received_at_ms"), "observations", ["received_at_ms"], unique=False)
    op.create_index(
        "ix_observations_seen", "observations", ["host_id", "signal", "vantage", "at_ms"], unique=False
    )


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_observations_seen", table_name="observations")
    op.drop_index(op.f("ix_observations_received_at_ms"), table_name="observations")
    op.drop_table("observations")
