"""Tickets in external desks: the desks, which ticket is which there, comments that were taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_mirrors"
down_revision = "0007_mail"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "desks",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.String(length=200), nullable=False),
        sa.Column("next_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("down_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_desks")),
    )
    op.create_table(
        "mirrored",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("desk", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("made_by", sa.String(length=128), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("remote_id", sa.String(length=64), nullable=True),
        sa.Column("url", sa.String(length=512), nullable=False),
        sa.Column("is_sure", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(length=200), nullable=False),
        sa.Column("assignee", sa.String(length=200), nullable=False),
        sa.Column("stamp", sa.String(length=64), nullable=False),
        sa.Column("looks", sa.Integer(), nullable=False),
        sa.Column("look_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("claimed_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_mirrored_ticket_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mirrored")),
        sa.UniqueConstraint("ticket_id", "desk", name=op.f("uq_mirrored_ticket_id_desk")),
    )
    op.create_index(op.f("ix_mirrored_look_at_ms"), "mirrored", ["look_at_ms"], unique=False)
    op.create_index("ix_mirrored_remote", "mirrored", ["desk", "remote_id"], unique=False)
    op.create_table(
        "mirrored_comments",
        sa.Column("mirrored_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("comment_id", sa.String(length=64), nullable=False),
        sa.Column("marker", sa.String(length=128), nullable=False),
        sa.ForeignKeyConstraint(
            ["mirrored_id"], ["mirrored.id"], name=op.f("fk_mirrored_comments_mirrored_id")
        ),
        sa.PrimaryKeyConstraint("mirrored_id", "comment_id", name=op.f("pk_mirrored_comments")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("mirrored_comments")
    op.drop_index("ix_mirrored_remote", table_name="mirrored")
    op.drop_index(op.f("ix_mirrored_look_at_ms"), table_name="mirrored")
    op.drop_table("mirrored")
    op.drop_table("desks")
