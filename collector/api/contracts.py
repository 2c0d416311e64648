"""GET /contracts and /contracts/{id}: what is agreed, and since when."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, get
from litestar.params import PathParameter, QueryParameter
from sqlalchemy import Connection

from collector.api.answers import READ_ONE, REFUSED
from collector.api.shapes import NO_NUL
from collector.web import contract_pages
from collector.web.faults import ApiFault
from collector.web.visitor import context_of, known, visitor_of
from ticketing import contract_versions
from ticketing.contract_versions import Version
from ticketing.model import CLASSES
from ticketing.terms import Contract

ContractId = Annotated[str, PathParameter(max_length=64, pattern=NO_NUL, description="the contract's id")]


class ContractRow(msgspec.Struct):
    """A contract in a list."""

    id: str
    version: int
    applied_at_ms: int
    is_current: bool
    """False: it was retired."""


class ContractList(msgspec.Struct):
    contracts: list[ContractRow]


class PromiseShape(msgspec.Struct, rename={"class_": "class"}):
    """The agreed times of a class, in the calendar's working time."""

    class_: int
    reaction_s: float
    resolution_s: float


class ContractHost(msgspec.Struct):
    """A server under the contract."""

    id: str
    kind: str
    services: list[str]
    is_class2_eligible: bool


class VersionShape(msgspec.Struct):
    """When a version was put in force."""

    version: int
    applied_at_ms: int
    is_current: bool


class ContractFull(msgspec.Struct):
    """What is agreed; keys, addresses and people stay in the desk."""

    id: str
    title: str
    version: int
    language: str
    lines: int
    zone: str
    hours: dict[str, list[str]]
    holidays: list[str]
    promises: list[PromiseShape]
    provider_s: float
    applications: list[str]
    services: list[str]
    preventive: str
    hosts: list[ContractHost]
    versions: list[VersionShape]


@get("/contracts", guards=[known], responses=REFUSED, operation_id="list_contracts", tags=["contracts"])
async def list_contracts(request: Request[Any, Any, Any]) -> ContractList:
    """Contracts by id; a client's user sees its own."""
    viewer = visitor_of(request).viewer
    newest = await context_of(request).read(contract_versions.newest)
    rows = [
        ContractRow(one.contract_id, one.version, one.applied_at_ms, one.is_current)
        for one in newest
        if contract_pages.may_see(viewer, one.contract_id)
    ]
    return ContractList(rows)


@get(
    "/contracts/{contract_id:str}",
    guards=[known],
    responses=READ_ONE,
    operation_id="contract",
    tags=["contracts"],
)
async def contract(
    request: Request[Any, Any, Any],
    contract_id: ContractId,
    version: Annotated[int, QueryParameter(ge=0, le=10**9, description="0 = the newest")] = 0,
) -> ContractFull:
    """One contract as it was agreed in a version."""
    viewer = visitor_of(request).viewer

    def ask(conn: Connection) -> ContractFull | None:
        found = contract_pages.find(conn, viewer, contract_id, version or None)
        return found and _full(*found, contract_versions.history(conn, contract_id))

    full = await context_of(request).read(ask)
    if full is None:
        raise ApiFault(404, "not_found", "there is no such contract")
    return full


def _full(shown: Version, terms: Contract, history: list[Version]) -> ContractFull:
    return ContractFull(
        id=str(terms.id),
        title=terms.title,
        version=shown.version,
        language=terms.language,
        lines=terms.lines,
        zone=terms.calendar.zone,
        hours={day: list(hours) for day, hours in terms.calendar.hours.items()},
        holidays=list(terms.calendar.holidays),
        promises=[
            PromiseShape(class_, float(terms.times(class_).reaction), float(terms.times(class_).resolution))
            for class_ in CLASSES
        ],
        provider_s=float(terms.provider_sla),
        applications=list(terms.applications),
        services=list(terms.services),
        preventive=terms.preventive,
        hosts=[
            ContractHost(
                str(host.id),
                host.kind,
                [service.name for service in host.services],
                terms.class2_refusal([host.id]) is None,
            )
            for host in terms.hosts
        ],
        versions=[VersionShape(one.version, one.applied_at_ms, one.is_current) for one in history],
    )


ROUTES = [list_contracts, contract]
