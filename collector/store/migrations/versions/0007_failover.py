"""Failover: pairs, runs with their journal, one-time links, rehearsals, what prechecks said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_failover"
down_revision = "0007_clocks"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "failover_checks",
        sa.Column("pair", sa.String(length=140), nullable=False),
        sa.Column("step", sa.String(length=64), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("level", sa.String(length=2), nullable=False),
        sa.Column("detail", sa.String(length=300), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pair", "step", name=op.f("pk_failover_checks")),
    )
    op.create_table(
        "failover_journal",
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("prev_sha256", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_failover_journal")),
    )
    op.create_table(
        "failover_links",
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("person_id", sa.String(length=64), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("made_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_failover_links")),
    )
    op.create_index(
        op.f("ix_failover_links_expires_at_ms"), "failover_links", ["expires_at_ms"], unique=False
    )
    op.create_index(op.f("ix_failover_links_run_id"), "failover_links", ["run_id"], unique=False)
    op.create_table(
        "failover_pairs",
        sa.Column("pair", sa.String(length=140), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("serving", sa.String(length=64), nullable=False),
        sa.Column("hold_down_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pair", name=op.f("pk_failover_pairs")),
    )
    op.create_table(
        "failover_rehearsals",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("pair", sa.String(length=140), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("is_real", sa.Boolean(), nullable=False),
        sa.Column("is_passed", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("run_id", sa.String(length=40), nullable=False),
        sa.Column("found", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failover_rehearsals")),
    )
    op.create_index("ix_failover_rehearsals_pair", "failover_rehearsals", ["pair", "at_ms"], unique=False)
    op.create_table(
        "failover_runs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("pair", sa.String(length=140), nullable=False),
        sa.Column("contract_id", sa.String(length=64), nullable=False),
        sa.Column("cause_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("ticket_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("mode", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("plan_hash", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("began_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("acted_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_at_ms", sa.BigInteger(), nullable=True),
        sa.Column("open_mark", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failover_runs")),
    )
    op.create_index(op.f("ix_failover_runs_began_at_ms"), "failover_runs", ["began_at_ms"], unique=False)
    op.create_index(op.f("ix_failover_runs_cause_id"), "failover_runs", ["cause_id"], unique=False)
    op.create_index(op.f("ix_failover_runs_ticket_id"), "failover_runs", ["ticket_id"], unique=False)
    op.create_index("ux_failover_runs_open", "failover_runs", ["pair", "open_mark"], unique=True)


def downgrade() -> None:
    """Go back."""
    op.drop_index("ux_failover_runs_open", table_name="failover_runs")
    op.drop_index(op.f("ix_failover_runs_ticket_id"), table_name="failover_runs")
    op.drop_index(op.f("ix_failover_runs_cause_id"), table_name="failover_runs")
    op.drop_index(op.f("ix_failover_runs_began_at_ms"), table_name="failover_runs")
    op.drop_table("failover_runs")
    op.drop_index("ix_failover_rehearsals_pair", table_name="failover_rehearsals")
    op.drop_table("failover_rehearsals")
    op.drop_table("failover_pairs")
    op.drop_index(op.f("ix_failover_links_run_id"), table_name="failover_links")
    op.drop_index(op.f("ix_failover_links_expires_at_ms"), table_name="failover_links")
    op.drop_table("failover_links")
    op.drop_table("failover_journal")
    op.drop_table("failover_checks")
