"""The provider's dossier of a ticket as a draft: what line 4 reads before it says yes (act ``ask_provider``, ``send``)."""

from __future__ import annotations

from typing import Any

from litestar import Request, get

from collector.api.answers import READ_ONE
from collector.api.shapes import DossierShape
from collector.api.tickets import TicketNumber
from collector.web.faults import ApiFault
from collector.web.visitor import context_of, known, visitor_of
from ticketing import provider_cases
from ticketing.model import Reason
from ticketing.texts import texts


@get(
    "/tickets/{ticket_id:int}/dossier",
    guards=[known],
    responses=READ_ONE,
    operation_id="dossier",
    tags=["tickets"],
)
async def dossier(request: Request[Any, Any, Any], ticket_id: TicketNumber) -> DossierShape:
    """What the provider would be told now, and where to; for the staff. Nothing is sent."""
    context, visitor = context_of(request), visitor_of(request)
    found = None
    if not visitor.viewer.is_client:
        book, now_ms = context.book(), context.clock.now_ms()
        found = await context.read(lambda conn: provider_cases.draft(conn, book, ticket_id, "", now_ms))
    if found is None:
        reason = Reason("refusal.no_dossier", {"ticket": ticket_id})
        raise ApiFault(404, "not_found", texts(visitor.language).reason(reason))
    return DossierShape(found.to, found.subject, found.text)


ROUTES = [dossier]
