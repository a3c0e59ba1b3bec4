"""Errors over HTTP: which code becomes which status, and the two shapes of a body. The one place for both."""

from collections.abc import Mapping
from typing import Any

from fastapi.responses import JSONResponse

from daemon.domain.errors import Code, Rejected

SESSION_PATHS = ("/tiktok/session", "/browse", "/profiles/")

STATUSES: Mapping[Code, int] = {
    Code.BAD_JSON: 400,
    Code.RETAINED_COMMAND: 400,
    Code.STALE_BACKLOG: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.UNKNOWN_COMMAND: 404,
    Code.NO_SUCH_ACCOUNT: 404,
    Code.NO_SUCH_LINK: 404,
    Code.NO_SUCH_POST: 404,
    Code.NO_SUCH_TASK: 404,
    Code.NO_SUCH_PROFILE: 404,
    Code.NO_SUCH_SESSION: 404,
    Code.NO_SUCH_TOKEN: 404,
    Code.EXPIRED: 408,
    Code.ID_CONFLICT: 409,
    Code.NOT_LOGGED_IN: 409,
    Code.CHALLENGE: 409,
    Code.LOGIN_UNCERTAIN: 409,
    Code.SESSION_BUSY: 409,
    Code.PROFILE_CHANGED: 409,
    Code.UPLOAD_CONFLICT: 409,
    Code.TOO_LATE: 409,
    Code.ALREADY_FINAL: 409,
    Code.ALREADY_POSTED: 409,
    Code.LINK_REFUSED: 409,
    Code.TOO_LARGE: 413,
    Code.UNKNOWN_FIELD: 422,
    Code.BAD_FIELD: 422,
    Code.BAD_TIME: 422,
    Code.ID_REQUIRED: 422,
    Code.MEDIA_MISSING: 422,
    Code.MEDIA_OUTSIDE_ROOTS: 422,
    Code.MEDIA_REJECTED: 422,
    Code.USER_DATA_LOCKED: 423,
    Code.RATE_LIMITED: 429,
    Code.INTERNAL: 500,
    Code.KEYRING_UNREACHABLE: 500,
    Code.NO_BROWSER: 500,
    Code.NO_DISPLAY: 500,
    Code.DRIVER_MISMATCH: 500,
    Code.BROWSER_FAILED: 500,
    Code.DISK_FULL: 500,
    Code.LINK_FAILED: 502,
    Code.BUSY: 503,
    Code.NOT_CONFIGURED: 503,
    Code.SESSION_LIMIT: 503,
    Code.SHUTTING_DOWN: 503,
    Code.SAFE_MODE: 503,
    Code.SESSION_TIMEOUT: 504,
}
_ARGS = "args."  # where a field stands in a command; a body over HTTP has no such level
_ABOUT_LOGIN = {Code.NOT_LOGGED_IN, Code.LOGIN_UNCERTAIN, Code.CHALLENGE}


class Refused(Exception):
    """A request that is refused before it is a command, with a status that says more than its code."""

    def __init__(
        self, status: int, code: Code, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"code": code.value, "message": message, "retryable": False}
        self.headers = dict(headers or {})


def refusal(status: int, code: Code, message: str, path: str, **headers: str) -> JSONResponse:
    """Return the answer to a request that never becomes a command."""
    return error_answer(path, {"code": code.value, "message": message, "retryable": False}, status, headers)


def rejected_answer(path: str, error: Rejected) -> JSONResponse:
    """Return the answer to a command that was refused."""
    return error_answer(path, error.as_dict())


def error_answer(
    path: str, error: Mapping[str, Any], status: int | None = None, headers: Mapping[str, str] | None = None,
    *, login_timeout_s: float | None = None,
) -> JSONResponse:  # fmt: skip
    """Return an error in the shape of the endpoint's family, with the headers that belong to it."""
    code = Code(error["code"])
    status = status or STATUSES[code]
    more = dict(headers or {})
    error = {**error, "message": str(error["message"]).replace(_ARGS, "")}
    if status == 401:  # noqa: PLR2004
        more.setdefault("WWW-Authenticate", "Bearer")
    if error.get("retry_after_s") is not None:
        more["Retry-After"] = str(error["retry_after_s"])
    elif status == 503:  # noqa: PLR2004
        more["Retry-After"] = "5"
    if path.startswith(SESSION_PATHS):
        return JSONResponse(_session_body(code, error, login_timeout_s), status, more)
    return JSONResponse({"error": _api_body(error)}, status, more)


def _api_body(error: Mapping[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in error.items() if key != "login"}
    return body | _field(error)


def _session_body(code: Code, error: Mapping[str, Any], login_timeout_s: float | None) -> dict[str, Any]:
    details: dict[str, Any] = {"code": code.value.upper(), "details": error["message"]} | _field(error)
    login = error.get("login") or {}
    if code in _ABOUT_LOGIN:
        details["method"] = login.get("method")
        details["timeout"] = login_timeout_s
        details |= {key: login[key] for key in ("reason", "evidence") if login.get(key)}
    if error.get("retry_after_s") is not None:
        details["retry_after_s"] = error["retry_after_s"]
    body: dict[str, Any] = {"status": "error", "message": error["message"]}
    if error.get("session"):
        body["session_id"] = error["session"]
    return body | {"error_details": details}


def _field(error: Mapping[str, Any]) -> dict[str, str]:
    """Return the field as a caller over HTTP knows it."""
    if not error.get("field"):
        return {}
    field = str(error["field"]).removeprefix(_ARGS)
    return {"field": "Idempotency-Key" if field == "id" else field}
