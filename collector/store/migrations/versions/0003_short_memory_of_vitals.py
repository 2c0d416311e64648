"""The last minutes of all hosts' vitals, packed: one table (collector.vitals)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_vitals"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "vitals",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("form", sa.String(length=16), nullable=False),
        sa.Column("points", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vitals")),
    )
    op.create_index(op.f("ix_vitals_at_ms"), "vitals", ["at_ms"], unique=False)
    op.create_index("ix_vitals_block", "vitals", ["block", "at_ms"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_vitals_block", table_name="vitals")
    op.drop_index(op.f("ix_vitals_at_ms"), table_name="vitals")
    op.drop_table("vitals")
