"""TLS for the listener: the files that settings name, or a self-signed certificate that is made once and kept.

The pin (sha256 of the certificate's DER) is what an agent's settings take instead of a CA; it is printed at start.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collector.settings import Listen

VALID_DAYS = 3650


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Where certificate and key lie, and the certificate's sha256."""

    cert: Path
    key: Path
    pin: str


def certificate(listen: Listen, state_dir: Path, now_ms: int, public_url: str = "") -> Certificate | None:
    """The certificate to serve with, made on the first start with ``tls: auto``; None for plain HTTP."""
    if listen.tls_kind == "off":
        return None
    files = listen.tls_files
    if files is not None:
        return Certificate(files.cert, files.key, pin_of(files.cert.read_bytes()))
    cert, key = state_dir / "tls.crt", state_dir / "tls.key"
    if not (cert.exists() and key.exists()):
        public_name = urlsplit(public_url).hostname or listen.address
        _make(
            cert, key, {"localhost", socket.gethostname() or "localhost", listen.address, public_name}, now_ms
        )
    return Certificate(cert, key, pin_of(cert.read_bytes()))


def pin_of(pem: bytes) -> str:
    """sha256 of the first certificate in a PEM file, in hexadecimal."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    return hashlib.sha256(der).hexdigest()


def _make(cert: Path, key: Path, names: set[str], now_ms: int) -> None:
    # P-256: a handshake costs the collector a tenth of what RSA costs, and 10,000 agents shake hands.
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vartovyi-collector")])
    since = dt.datetime.fromtimestamp(now_ms / 1000, tz=dt.timezone.utc) - dt.timedelta(days=1)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(key, pem, 0o600)
    _write(cert, built.public_bytes(serialization.Encoding.PEM), 0o644)


def _names(texts: set[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    for text in sorted(texts):
        try:
            ip = ipaddress.ip_address(text)
        except ValueError:
            found.append(x509.DNSName(text))
        else:
            if not ip.is_unspecified and str(ip) != "127.0.0.1":
                found.append(x509.IPAddress(ip))
    return found


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all: a start that dies in between must find either nothing or a pair."""
    draft = path.with_suffix(path.suffix + ".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
