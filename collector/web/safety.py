"""What keeps a page safe in a hostile browser: headers, the token against forged writes, the way back after log-in.

All pure. The token against forged writes is derived from the session's secret, so it needs no storage of its own, dies
with the session, and cannot be made by someone who can only set cookies.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from urllib.parse import urlsplit

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

ALWAYS = {
    "content-security-policy": CSP,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
NO_STORE = "no-store"
HSTS = "max-age=31536000"

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"

_PLAIN_PATH = re.compile(r"^/(?![/\\])[^\x00-\x20\x7f\\]*$")


def csrf_token(secret: str) -> str:
    """The token that a form of this session must carry."""
    return hmac.new(secret.encode(), b"vartovyi csrf v1", hashlib.sha256).hexdigest()


def is_csrf_token(secret: str, given: str) -> bool:
    return hmac.compare_digest(csrf_token(secret), given.encode("ascii", "replace").decode())


def new_visit_secret() -> str:
    """For the log-in form, before there is a session."""
    return secrets.token_urlsafe(24)


def safe_next(wanted: str | None, default: str = "/tickets") -> str:
    """A path on this site, or ``default``: never a way to another host, whatever a link carried."""
    if not wanted or len(wanted) > 500 or not _PLAIN_PATH.match(wanted):
        return default
    parts = urlsplit(wanted)
    if parts.scheme or parts.netloc or parts.path in ("/login", "/logout"):
        return default
    return wanted
