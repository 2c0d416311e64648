"""The desk's lists with a million tickets: filters stand in the indexes, and a host's tickets have their order.

Lists that were narrowed by two things walked a hundred thousand rows, and a host's list sorted all of its tickets.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_desk_lists"
down_revision = "0003_quiet"
branch_labels = None
depends_on = None

_LISTS = {
    "ix_tickets_list": "open_mark",
    "ix_tickets_contract_list": "contract_id",
    "ix_tickets_assignee_list": "assignee",
    "ix_tickets_state_list": "state",
    "ix_tickets_class_list": "class",
    "ix_tickets_line_list": "line",
}
_BESIDE = ("contract_id", "class", "line", "state", "assignee")


def upgrade() -> None:
    """Go forward."""
    for name, lead in _LISTS.items():
        op.drop_index(name, table_name="tickets")
        beside = [column for column in _BESIDE if column != lead]
        op.create_index(name, "tickets", [lead, "updated_at_ms", "id", *beside], unique=False)
    op.add_column("ticket_hosts", sa.Column("updated_at_ms", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE ticket_hosts SET updated_at_ms ="
        " (SELECT tickets.updated_at_ms FROM tickets WHERE tickets.id = ticket_hosts.ticket_id)"
    )
    with op.batch_alter_table("ticket_hosts") as table:
        table.alter_column("updated_at_ms", existing_type=sa.BigInteger(), nullable=False)
    op.create_index(
        "ix_ticket_hosts_list", "ticket_hosts", ["host_id", "updated_at_ms", "ticket_id"], unique=False
    )


def downgrade() -> None:
    """Go back."""
    op.drop_index("ix_ticket_hosts_list", table_name="ticket_hosts")
    with op.batch_alter_table("ticket_hosts") as table:
        table.drop_column("updated_at_ms")
    for name, lead in _LISTS.items():
        op.drop_index(name, table_name="tickets")
        op.create_index(name, "tickets", [lead, "updated_at_ms", "id"], unique=False)
