"""traffic.dns: the public name's record, compared and swapped by RFC 2136 with TSIG; the only door to dnspython.

The update carries its own condition, "the record still has the old value" (a prerequisite of the protocol): whoever
changed it meanwhile is not overwritten. Done means that every authoritative server named here answers the new value. An
epoch stands beside the record as TXT. Clients that hold the old value linger for its TTL: the old address must be fenced.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import dns.exception
import dns.inet
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsigkeyring
import dns.update

from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import setting
from ticketing.terms import Faults

ASK_S = 5.0
TTL_MAX_S = 300


@dataclasses.dataclass(frozen=True)
class Options:
    zone: str = setting(help="zone", example="client.example")
    name: str = setting(help="record in it", example="www.client.example")
    old: str = setting(help="the old primary's address")
    new: str = setting(help="the backup's address")
    server: str = setting(help="address of the primary name server that takes updates")
    key_name: str = setting(help="name of the TSIG key")
    key_file: Path = setting(help="file with its secret in base64, readable by the collector only")
    servers: list[str] = setting(
        [], help="addresses of all authoritative servers; empty = `server` alone", max=16
    )
    port: int = setting(53, help="their port", min=1, max=65535)
    ttl: int = setting(60, help="seconds that clients may keep the record", min=1, max=TTL_MAX_S)
    key_algorithm: str = setting("hmac-sha256", help="its algorithm", choices=("hmac-sha256", "hmac-sha512"))

    def faults(self) -> Faults:
        found: Faults = []
        for key, address in (("old", self.old), ("new", self.new), ("server", self.server)):
            if not dns.inet.is_address(address):
                found.append((key, f"{address} is no address"))
        if not found and dns.inet.af_for_address(self.old) != dns.inet.af_for_address(self.new):
            found.append(("new", "is of another family than `old`"))
        return found

    @property
    def kind(self) -> str:
        """A or AAAA."""
        return "AAAA" if ":" in self.new else "A"

    @property
    def all_servers(self) -> list[str]:
        return self.servers or [self.server]


class TrafficDns:
    type = "traffic.dns"
    effect = "reversible"
    Options = Options

    def precheck(self, order: Order) -> Answer:
        options = order.options(Options)
        if not options.key_file.is_file():
            return Answer(NOT_DONE, f"{options.key_file} is not there")
        values, ttl = _asked(options, options.server)
        if values is None:
            return Answer(NOT_DONE, f"{options.server} does not answer for {options.name}")
        if ttl > TTL_MAX_S:
            return Answer(NOT_DONE, f"the record lives for {ttl} s: lower its TTL first")
        is_known = values in ({options.old}, {options.new})
        return Answer(DONE if is_known else NOT_DONE, "" if is_known else f"the record is {sorted(values)}")

    def act(self, order: Order) -> Answer:
        return _swap(order, order.options(Options), back=False)

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        stale, silent = [], []
        for server in options.all_servers:
            values, _ = _asked(options, server)
            if values is None:
                silent.append(server)
            elif values != {options.new}:
                stale.append(server)
        if stale and len(stale) < len(options.all_servers):
            return Answer(UNKNOWN, f"{', '.join(stale)} still answers the old value")
        if silent:
            return Answer(UNKNOWN, f"{', '.join(silent)} does not answer")
        return Answer(NOT_DONE, "the record is the old one") if stale else Answer(DONE)

    def undo(self, order: Order) -> Answer:
        return _swap(order, order.options(Options), back=True)


def _swap(order: Order, options: Options, *, back: bool) -> Answer:
    old, new = (options.new, options.old) if back else (options.old, options.new)
    try:
        secret = options.key_file.read_text("ascii").strip()
        ring = dns.tsigkeyring.from_text({options.key_name: (options.key_algorithm, secret)})
        key_name = dns.name.from_text(options.key_name)
        update = dns.update.UpdateMessage(options.zone, keyring=ring, keyname=key_name)
        name = dns.name.from_text(options.name)
        update.present(name, options.kind, old)
        update.replace(name, options.ttl, options.kind, new)
        update.replace(
            f"_vartovyi-epoch.{options.name}.", options.ttl, "TXT", f'"{order.plan.pair} {order.epoch}"'
        )
        answer = dns.query.tcp(
            update, options.server, timeout=min(order.deadline_s, 2 * ASK_S), port=options.port
        )
    except (OSError, ValueError) as error:
        outcome = NOT_DONE if isinstance(error, ConnectionRefusedError) else UNKNOWN
        return Answer(outcome, f"{type(error).__name__}: {error}"[:200])
    except dns.exception.DNSException as error:
        return Answer(UNKNOWN, type(error).__name__)
    rcode = dns.rcode.to_text(answer.rcode())
    if rcode == "NOERROR":
        return Answer(DONE)
    # NXRRSET, YXRRSET...: the prerequisite does not hold. A repeat after our own success ends here too; the probe tells.
    return Answer(NOT_DONE, f"the server refuses: {rcode}", evidence={"rcode": rcode})


def _asked(options: Options, server: str) -> tuple[set[str] | None, int]:
    """The record's values at this server and their TTL; None where it does not answer for it."""
    try:
        query = dns.message.make_query(options.name, options.kind)
        answer = dns.query.udp_with_fallback(query, server, timeout=ASK_S, port=options.port)[0]
    except (OSError, dns.exception.DNSException):
        return None, 0
    if answer.rcode() != dns.rcode.NOERROR:
        return None, 0
    wanted = dns.rdatatype.from_text(options.kind)
    found = [rrset for rrset in answer.answer if rrset.rdtype == wanted]
    return {item.to_text() for rrset in found for item in rrset}, max(
        (rrset.ttl for rrset in found), default=0
    )


STEP = TrafficDns()
