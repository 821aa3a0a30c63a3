"""One shape for every error: ``{"error": {"code", "message", "next_step"}}`` and the status that fits it."""

from __future__ import annotations

import logging
from typing import Any, Final

from appliance.northbound.neighbours import Refusal
from appliance.vault.errors import VaultError

log = logging.getLogger(__name__)

STATUS: Final[dict[str, int]] = {
    "invalid": 400,
    "unauthenticated": 401,
    "wrong_credentials": 401,
    "forbidden": 403,
    "csrf": 403,
    "plain_http": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "setup_closed": 409,
    "length_required": 411,
    "too_large": 413,
    "unsupported_media_type": 415,
    "misdirected": 421,
    "too_many_attempts": 429,
    "internal": 500,
    "failed": 502,
    "busy": 503,
    "stopping": 503,
    "unavailable": 503,
    "unreachable": 504,
    "timeout": 504,
    "storage_full": 507,
}

REASON: Final[dict[int, str]] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}


# What somebody can do about a refusal of the vault, where its sentence does not say so itself.
_VAULT_STEPS: Final[dict[str, str]] = {
    "invalid": "Nothing was changed.",
    "conflict": "Nothing was changed.",
    "not_found": "GET /api/v1/vault/devices lists the devices that have keys.",
    "unavailable": "`homard check` says what is wrong.",
}


class ApiError(Exception):
    """An answer that is an error. ``code`` is a key of `STATUS`."""

    def __init__(
        self, code: str, message: str, next_step: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.next_step = next_step
        self.headers = headers

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    @property
    def body(self) -> dict[str, Any]:
        """The one shape."""
        return error_body(self.code, self.message, self.next_step)


def error_body(code: str, message: str, next_step: str) -> dict[str, Any]:
    """The one shape of an error."""
    return {"error": {"code": code, "message": message, "next_step": next_step}}


def as_api_error(error: Exception) -> ApiError:
    """Any exception as an answer. What was not foreseen is logged and told to nobody."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, VaultError):
        return ApiError(error.kind, str(error), _VAULT_STEPS[error.kind])
    if isinstance(error, Refusal) and error.kind in STATUS:
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is None and STATUS[error.kind] == 503:
            retry_after_s = 1
        headers = (("Retry-After", str(retry_after_s)),) if retry_after_s is not None else ()
        return ApiError(error.kind, error.message, error.next_step, headers)
    log.error("a request failed", exc_info=error)
    return ApiError(
        "internal", "something went wrong inside", "The log of the appliance says what: journalctl -u homard"
    )
