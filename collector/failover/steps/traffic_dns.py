"""traffic.dns: the public name's record, compared and swapped by RFC 2136 with TSIG; the only door to dnspython.

The update carries its own condition, "the record still has the old value" (a prerequisite of the protocol): whoever
changed it meanwhile is not overwritten. Done means that every authoritative server named here answers the new value. An
epoch stands beside the record as TXT. Clients that hold the old value linger for its TTL: the old address must be fenced.
The precheck sends a signed update that changes nothing, so that a wrong key, clock or right shows at the rehearsal.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from pathlib import Path

import dns.exception
import dns.inet
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsig
import dns.update

from collector.failover.steps.step_type import DONE, NOT_DONE, UNKNOWN, Answer, Order
from config.loader import setting
from ticketing.terms import Faults

ASK_S = 5.0
TTL_MAX_S = 300
KEY_MAX_BYTES = 4096
_SECRET = re.compile(r'secret\s+"?([A-Za-z0-9+/=]+)"?\s*;')


@dataclasses.dataclass(frozen=True)
class Options:
    zone: str = setting(help="zone", example="client.example")
    name: str = setting(help="record in it", example="www.client.example")
    old: str = setting(help="the old primary's address")
    new: str = setting(help="the backup's address")
    server: str = setting(help="address of the primary name server that takes updates")
    key_name: str = setting(help="name of the TSIG key")
    key_file: Path = setting(
        help="its secret in base64, or the file that tsig-keygen prints; readable by the collector only"
    )
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
        values, ttl = _asked(options, options.server)
        if values is None:
            return Answer(NOT_DONE, f"{options.server} does not answer for {options.name}")
        if ttl > TTL_MAX_S:
            return Answer(NOT_DONE, f"the record lives for {ttl} s: lower its TTL first")
        if values not in ({options.old}, {options.new}):
            return Answer(NOT_DONE, f"the record is {sorted(values)}")
        try:
            update = _update(options)
            update.present(dns.name.from_text(options.name), options.kind)
        except _NoKey as error:
            return Answer(NOT_DONE, str(error))
        told = _sent(options, update, ASK_S)
        return Answer(DONE) if told.outcome == DONE else dataclasses.replace(told, outcome=NOT_DONE)

    def act(self, order: Order) -> Answer:
        return _swap(order, order.options(Options), back=False)

    def probe(self, order: Order) -> Answer:
        options = order.options(Options)
        stale, silent = {}, []
        for server in options.all_servers:
            values, _ = _asked(options, server)
            if values is None:
                silent.append(server)
            elif values != {options.new}:
                stale[server] = ", ".join(sorted(values)) or "nothing"
        told = [f"{server} still answers {values}" for server, values in stale.items()]
        told += [f"{server} does not answer" for server in silent]
        if stale and len(stale) == len(options.all_servers):
            return Answer(NOT_DONE, "; ".join(told))
        return Answer(UNKNOWN, "; ".join(told)) if told else Answer(DONE)

    def undo(self, order: Order) -> Answer:
        return _swap(order, order.options(Options), back=True)


class _NoKey(Exception):
    """The key cannot be used; its text says why, without the secret."""


def _swap(order: Order, options: Options, *, back: bool) -> Answer:
    old, new = (options.new, options.old) if back else (options.old, options.new)
    clock = order.clock()
    if _asked(options, options.server, min(ASK_S, order.deadline_s / 2))[0] == {new}:
        return Answer(DONE, evidence={"before": new})
    try:
        update = _update(options)
    except _NoKey as error:
        return Answer(NOT_DONE, str(error))
    name = dns.name.from_text(options.name)
    update.present(name, options.kind, old)
    update.replace(name, options.ttl, options.kind, new)
    epoch = dns.name.from_text(f"_vartovyi-epoch.{options.name}")
    update.replace(epoch, options.ttl, "TXT", f'"{order.plan.pair} {order.epoch}"')
    try:
        left_s = clock.left_s()
    except TimeoutError:
        return Answer(NOT_DONE, f"{options.server} took all the time to answer: nothing was sent")
    return _sent(options, update, min(left_s, 2 * ASK_S))


def _update(options: Options) -> dns.update.UpdateMessage:
    """An update of the zone, signed, with nothing in it yet."""
    try:
        with options.key_file.open("rb") as stream:
            text = stream.read(KEY_MAX_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise _NoKey(f"{options.key_file}: {error.strerror}") from None
    found = _SECRET.search(text)
    try:
        secret = base64.b64decode(found[1] if found else text.strip(), validate=True)
    except ValueError:  # its text may quote what it could not read
        secret = b""
    if not secret:
        raise _NoKey(f"{options.key_file} holds no secret in base64")
    key = dns.tsig.Key(options.key_name, secret, options.key_algorithm)
    return dns.update.UpdateMessage(options.zone, keyring=key)


def _sent(options: Options, update: dns.update.UpdateMessage, timeout_s: float) -> Answer:
    """What the server made of it; only what it surely refused is not done."""
    try:
        answer = dns.query.tcp(update, options.server, timeout=timeout_s, port=options.port)
    except ConnectionRefusedError:
        return Answer(NOT_DONE, f"{options.server} takes no updates: port {options.port} is closed over TCP")
    except dns.tsig.PeerError as error:
        return Answer(NOT_DONE, _refused_key(options, error))
    except (OSError, dns.exception.DNSException) as error:
        return Answer(UNKNOWN, f"{options.server}: {type(error).__name__}")
    rcode = dns.rcode.to_text(answer.rcode())
    if rcode == "NOERROR":
        return Answer(DONE)
    # A repeat after our own success ends here too; the probe tells.
    meaning = REFUSALS.get(rcode, "it refuses the update").format(**vars(options))
    return Answer(NOT_DONE, f"{options.server}: {rcode}: {meaning}", evidence={"rcode": rcode})


REFUSALS = {
    "NXRRSET": "the record {name} is not {old} any more: somebody changed it",
    "REFUSED": "the key {key_name} may not change {name} and _vartovyi-epoch.{name} there (update-policy)",
    "NOTAUTH": "it is not the server of the zone {zone}",
    "NOTZONE": "{name} does not lie in the zone {zone}",
    "NOTIMP": "it takes no updates",
    "SERVFAIL": "it cannot write the zone {zone}",
}
"""What its answers mean (RFC 2136, 2.2)."""


def _refused_key(options: Options, error: dns.tsig.PeerError) -> str:
    if isinstance(error, dns.tsig.PeerBadTime):
        return f"{options.server}: BADTIME: its clock and ours differ by more than five minutes"
    if isinstance(error, dns.tsig.PeerBadKey):
        return (
            f"{options.server}: BADKEY: it knows no key {options.key_name} ({options.key_algorithm}): "
            "another name, algorithm or secret"
        )
    if isinstance(error, dns.tsig.PeerBadSignature):
        return f"{options.server}: BADSIG: the secret of the key {options.key_name} is another one there"
    return f"{options.server}: it does not take our signature ({type(error).__name__})"


def _asked(options: Options, server: str, timeout_s: float = ASK_S) -> tuple[set[str] | None, int]:
    """The record's values at this server and their TTL; None where it does not answer for it."""
    try:
        query = dns.message.make_query(options.name, options.kind)
        answer = dns.query.udp_with_fallback(query, server, timeout=timeout_s, port=options.port)[0]
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
