"""The cookie of a session, and what protects it: its flags, the CSRF token, where a request comes from."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from appliance.identity.principals import Session
from appliance.northbound.errors import ApiError

CSRF_HEADER: Final = "X-CSRF-Token"
UNCHANGING: Final = frozenset({"GET", "HEAD"})


def cookie_name(secure: bool) -> str:
    """Over TLS a name that browsers let no other host and no plain page set (RFC 6265bis §4.1.3.2)."""
    return "__Host-homard" if secure else "homard"


def cookie_of(session: Session, secure: bool) -> str:
    """The Set-Cookie of a login."""
    lifetime_s = max(0, int(session.expires_at - session.created_at))
    return _cookie(session.id, lifetime_s, secure)


def ended_cookie(secure: bool) -> str:
    """The Set-Cookie of a logout."""
    return _cookie("", 0, secure)


def session_id(header: str, secure: bool) -> str | None:
    """The session id in a Cookie header, or None."""
    wanted = cookie_name(secure)
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == wanted and 0 < len(value) <= 128:
            return value
    return None


def check_origin(method: str, headers: Mapping[str, str], secure: bool) -> None:
    """Refuse a change that a page of somebody else asks for; raises ApiError("csrf")."""
    if method in UNCHANGING:
        return
    origin, host = headers.get("Origin"), headers.get("Host", "")
    own = f"{'https' if secure else 'http'}://{host}"
    site = headers.get("Sec-Fetch-Site", "same-origin")
    if (origin is not None and origin.casefold() != own.casefold()) or site not in ("same-origin", "none"):
        raise ApiError("csrf", "the request comes from another page", "Use the page of the appliance itself.")


def check_csrf(method: str, headers: Mapping[str, str], session: Session) -> None:
    """A change that is allowed by a cookie needs the session's token as well; raises ApiError("csrf")."""
    if method in UNCHANGING:
        return
    given = headers.get(CSRF_HEADER, "").encode("utf-8", "replace")
    if not hmac.compare_digest(given, session.csrf.encode("ascii")):
        raise ApiError(
            "csrf", "the CSRF token is missing or wrong", f"Send the session's csrf as {CSRF_HEADER}."
        )


def _cookie(value: str, lifetime_s: int, secure: bool) -> str:
    flags = "; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
    return f"{cookie_name(secure)}={value}; Path=/; Max-Age={lifetime_s}{flags}"
