"""The shapes of TikTok's answers: the envelope, and the flat objects of OAuth."""

import secrets
from typing import Any

from fastapi.responses import JSONResponse

_STATUS = {
    "ok": 200,
    "invalid_param": 400,
    "invalid_params": 400,
    "app_version_check_failed": 400,
    "invalid_publish_id": 400,
    "token_not_authorized_for_specified_publish_id": 400,
    "publish_not_cancellable": 400,
    "scope_permission_missed": 400,
    "invalid_file_upload": 400,
    "access_token_invalid": 401,
    "scope_not_authorized": 401,
    "spam_risk_too_many_posts": 403,
    "spam_risk_user_banned_from_posting": 403,
    "spam_risk_too_many_pending_share": 403,
    "spam_risk_text": 403,
    "spam_risk": 403,
    "reached_active_user_cap": 403,
    "unaudited_client_can_only_post_to_private_accounts": 403,
    "url_ownership_unverified": 403,
    "privacy_level_option_mismatch": 403,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
}
# creator_info answers these with HTTP 200 (documented as intentional).
SOFT_FAILURES = frozenset(
    {"spam_risk_too_many_posts", "spam_risk_user_banned_from_posting", "reached_active_user_cap"}
)
_MESSAGES = {
    "access_token_invalid": "The access token is invalid or not found in the request.",
    "unaudited_client_can_only_post_to_private_accounts": "Please review our integration guidelines at "
    "https://developers.tiktok.com/doc/content-sharing-guidelines/",
}


class ApiError(Exception):
    """A refusal in the envelope's words; "invalid_params" is spelt as the settings say."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class OAuthError(Exception):
    """A refusal in OAuth's flat form."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.error = error
        self.description = description


def log_id() -> str:
    """Return a fresh log id of the usual look."""
    return f"2026{secrets.token_hex(14).upper()}"


def success(data: dict[str, Any] | None) -> JSONResponse:
    """Wrap data as TikTok does; None leaves `data` out, as cancel does."""
    error = {"code": "ok", "message": "", "log_id": log_id()}
    return JSONResponse({"error": error} if data is None else {"data": data, "error": error})


def failure(
    endpoint: str, code: str, message: str = "", *, status: int | None = None, with_data: bool = True
) -> JSONResponse:
    """Wrap a refusal, with the documented HTTP status unless told otherwise."""
    if status is None:
        is_soft = endpoint == "creator_info" and code in SOFT_FAILURES
        status = 200 if is_soft else _STATUS.get(code, 400)
    error = {"code": code, "message": message or _MESSAGES.get(code, code), "log_id": log_id()}
    return JSONResponse({"data": {}, "error": error} if with_data else {"error": error}, status)


def flat_failure(error: str, description: str, status: int) -> JSONResponse:
    """Return an OAuth refusal."""
    return JSONResponse({"error": error, "error_description": description, "log_id": log_id()}, status)
