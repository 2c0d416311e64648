"""Digests and differences of contracts; rotas and absences, a row a version; what an agent found on its server."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_clocks"
down_revision = "0006_tick"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("contracts", sa.Column("digest", sa.String(64), nullable=False, server_default=""))
    op.add_column("contracts", sa.Column("changes", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("hosts", sa.Column("found", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "rosters",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("applied_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("applied_by", sa.String(64), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("changes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rosters")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("rosters")
    op.drop_column("hosts", "found")
    op.drop_column("contracts", "changes")
    op.drop_column("contracts", "digest")
