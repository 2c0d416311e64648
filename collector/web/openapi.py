"""The OpenAPI document, told a little more exactly than the framework does: bodies refuse fields that they do not know."""

from __future__ import annotations

import copy
from typing import Any

from litestar import Request
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from collector.api.shapes import ActRequest, FileTicket
from collector.web.visitor import SESSION_COOKIE

STRICT = (ActRequest, FileTicket)
"""Request bodies: a misspelt field must not be taken for one that was left out."""


class ExactDocument(JsonRenderPlugin):
    """Serves the document at /api/v1/openapi.json."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, exact(openapi_schema))


def exact(document: dict[str, Any]) -> dict[str, Any]:
    """The document with ``additionalProperties: false`` where msgspec forbids unknown fields."""
    document = copy.deepcopy(document)
    schemas = document["components"]["schemas"]
    for struct in STRICT:
        schemas[struct.__name__]["additionalProperties"] = False
    return document


def config() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Vartovyi",
        version="1",
        description="Tickets, hosts and acts of the desk. Writes with a session cookie need the X-CSRF-Token header.",
        path="/api/v1",
        render_plugins=[ExactDocument(path="/openapi.json")],
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "token": SecurityScheme(type="http", scheme="bearer", description="a person's API token"),
                "session": SecurityScheme(type="apiKey", name=SESSION_COOKIE, security_scheme_in="cookie"),
            }
        ),
    )
