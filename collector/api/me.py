"""GET /me: who this token or session belongs to."""

from __future__ import annotations

from typing import Any

from litestar import Request, get

from collector.api.answers import REFUSED
from collector.api.shapes import Me
from collector.web.visitor import known, visitor_of


@get("/me", guards=[known], responses=REFUSED, operation_id="me", tags=["people"])
async def me(request: Request[Any, Any, Any]) -> Me:
    """Who asks."""
    person = visitor_of(request).person
    assert person is not None
    return Me(
        id=person.id,
        name=person.name,
        role=person.role,
        language=person.language,
        contract=person.contract_id,
        line=person.line,
        profiles=list(person.profiles),
    )


ROUTES = [me]
