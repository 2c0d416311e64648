"""What keeps us quiet: courses of problems (collector.tick.quiet) and announced roll-outs (collector.roll_outs)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_quiet"
down_revision = "0003_vitals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "courses",
        sa.Column("host_id", sa.String(length=64), nullable=False),
        sa.Column("problem", sa.String(length=400), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("calm_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("again_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host_id", "problem", name=op.f("pk_courses")),
    )
    op.create_index(op.f("ix_courses_again_at_ms"), "courses", ["again_at_ms"], unique=False)
    op.create_index(op.f("ix_courses_changed_at_ms"), "courses", ["changed_at_ms"], unique=False)
    op.create_index(op.f("ix_courses_ticket_id"), "courses", ["ticket_id"], unique=False)
    op.create_table(
        "roll_outs",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("scope", sa.String(length=128), nullable=False),
        sa.Column("why", sa.String(length=300), nullable=False),
        sa.Column("announced_by", sa.String(length=64), nullable=False),
        sa.Column("announced_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_roll_outs")),
    )
    op.create_index(op.f("ix_roll_outs_until_ms"), "roll_outs", ["until_ms"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_index(op.f("ix_roll_outs_until_ms"), table_name="roll_outs")
    op.drop_table("roll_outs")
    op.drop_index(op.f("ix_courses_ticket_id"), table_name="courses")
    op.drop_index(op.f("ix_courses_changed_at_ms"), table_name="courses")
    op.drop_index(op.f("ix_courses_again_at_ms"), table_name="courses")
    op.drop_table("courses")
