"""The answers that API routes document beside their own: one table, so that no status is forgotten."""

from __future__ import annotations

from litestar.openapi.datastructures import ResponseSpec

from collector.api.shapes import Fault


def _spec(description: str) -> ResponseSpec:
    return ResponseSpec(data_container=Fault, description=description, generate_examples=False)


REFUSED = {
    401: _spec("neither a session nor a valid token"),
    403: _spec("not allowed for this role, or the form's token is missing"),
    503: _spec("too much at once; try again after Retry-After seconds"),
}
READ = REFUSED | {400: _spec("a parameter is out of bounds; `fields` names it")}
READ_ONE = READ | {404: _spec("there is none that this person may see")}
WRITE = READ_ONE | {
    409: _spec(
        "the ticket changed since it was seen (`version` is the current one), or the act does not fit its state"
    ),
    413: _spec("the body is too large"),
    415: _spec("the body is not JSON"),
}
FILE = REFUSED | {
    400: _spec("a field is wrong; `fields` names it"),
    409: _spec("the contract does not take this; `detail` says why"),
    413: _spec("the body is too large"),
    415: _spec("the body is not JSON"),
}
