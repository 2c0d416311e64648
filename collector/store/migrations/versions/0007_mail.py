"""Letters that people send us, how far mailboxes were read, and what providers were asked (ticketing.letters, dossier)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_mail"
down_revision = "0007_pages"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "mailboxes",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("read_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mailboxes")),
    )
    op.create_table(
        "mails",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("mailbox", sa.String(length=200), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("content_key", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.String(length=250), nullable=False),
        sa.Column("sender", sa.String(length=320), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("received_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("taken_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("is_cut", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=24), nullable=False),
        sa.Column("reason", sa.JSON(), nullable=True),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("settled_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("marked_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.UniqueConstraint("mailbox", "uidvalidity", "uid", name=op.f("uq_mails_mailbox_uidvalidity_uid")),
    )
    op.create_index(op.f("ix_mails_content_key"), "mails", ["content_key"], unique=False)
    op.create_index("ix_mails_outcome", "mails", ["outcome", "id"], unique=False)
    op.create_index("ix_mails_sender", "mails", ["sender", "taken_at_ms"], unique=False)
    op.create_index("ix_mails_state", "mails", ["state", "id"], unique=False)
    op.create_index(op.f("ix_mails_ticket_id"), "mails", ["ticket_id"], unique=False)
    op.create_table(
        "provider_cases",
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("desk", sa.String(length=64), nullable=False),
        sa.Column("number", sa.String(length=100), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("receivers", sa.JSON(), nullable=False),
        sa.Column("asked_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("answered_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("remind_at_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_provider_cases_ticket_id")),
        sa.PrimaryKeyConstraint("ticket_id", name=op.f("pk_provider_cases")),
    )
    op.create_index(op.f("ix_provider_cases_remind_at_ms"), "provider_cases", ["remind_at_ms"], unique=False)


def downgrade() -> None:
    """Go back."""
    op.drop_index(op.f("ix_provider_cases_remind_at_ms"), table_name="provider_cases")
    op.drop_table("provider_cases")
    op.drop_index(op.f("ix_mails_ticket_id"), table_name="mails")
    op.drop_index("ix_mails_state", table_name="mails")
    op.drop_index("ix_mails_sender", table_name="mails")
    op.drop_index("ix_mails_outcome", table_name="mails")
    op.drop_index(op.f("ix_mails_content_key"), table_name="mails")
    op.drop_table("mails")
    op.drop_table("mailboxes")
