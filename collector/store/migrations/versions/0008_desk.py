"""How people are reached, and who was called: a call's next word is a row."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_desk"
down_revision = "0007_mirrors"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("people", sa.Column("ways", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("people", sa.Column("quiet", sa.JSON(), nullable=False, server_default="{}"))
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "calls",
        sa.Column("id", number, autoincrement=True, nullable=False),
        sa.Column("ticket_id", number, nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("event_id", number, nullable=False),
        sa.Column("reason", sa.JSON(), nullable=False),
        sa.Column("called_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("told_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_calls_ticket_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_due_at_ms"), "calls", ["due_at_ms"], unique=False)
    op.create_index(op.f("ix_calls_ticket_id"), "calls", ["ticket_id"], unique=False)
    op.create_index("ix_calls_person", "calls", ["person_id", "told_at_ms"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_table("calls")
    with op.batch_alter_table("people") as batch:
        batch.drop_column("quiet")
        batch.drop_column("ways")
