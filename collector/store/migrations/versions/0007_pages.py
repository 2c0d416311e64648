"""Knowledge: what solved a ticket, for the next that is like it; and what was done to one object, by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_pages"
down_revision = "0007_failover"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "knowledge",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("contract_id", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("root_cause", sa.String(length=64), nullable=False),
        sa.Column("host_id", sa.String(length=64), nullable=False),
        sa.Column("application", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=100), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("refuted_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge")),
    )
    op.create_index("ix_audit_object", "audit", ["object", "id"], unique=False)
    op.create_index("ix_knowledge_ticket_id", "knowledge", ["ticket_id"], unique=False)
    op.create_index("ix_knowledge_at_ms", "knowledge", ["at_ms"], unique=False)
    op.create_index("ix_knowledge_cause", "knowledge", ["root_cause", "id"], unique=False)
    op.create_index("ix_knowledge_contract", "knowledge", ["contract_id", "id"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_audit_object", table_name="audit")
    op.drop_table("knowledge")
