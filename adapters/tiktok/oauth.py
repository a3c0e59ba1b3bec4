"""The login endpoints: flat JSON, not the envelope of the posting calls (OA, OE, LKD)."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlencode

from adapters.tiktok import errors
from adapters.tiktok.addresses import scrub
from adapters.tiktok.answers import count, load_object, retry_after
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.transport import Answer, Call, Transport
from daemon.domain.account import Tokens
from daemon.domain.errors import Fault, PlatformError
from daemon.ports import Clock

TOKEN = "/v2/oauth/token/"  # noqa: S105 - a path
REVOKE = "/v2/oauth/revoke/"
_ACCESS_S, _REFRESH_S = 86_400, 31_536_000  # OA, where an answer does not say


def pkce_challenge(verifier: str) -> str:
    """Return TikTok's own form of the PKCE challenge: lower-case hex of the SHA-256, not base64url (LKD)."""
    return hashlib.sha256(verifier.encode("ascii")).hexdigest()


_NOT_AGREED = {
    "access_denied": "the person did not agree",
    "unauthorized_client": "TikTok does not let this app log anybody in: add Login Kit to it, register the redirect "
    "address, and in the sandbox add the account to the target users",
    "invalid_scope": "TikTok does not give this app a scope that was asked for: add it to the app, or ask for less "
    "(tiktok.scopes)",
    "server_error": "TikTok failed inside",
    "temporarily_unavailable": "TikTok cannot do it now",
}


def why_not_agreed(error: str) -> str:
    """Return what the error of a callback means (LKW; the sandbox's `unauthorized_client` was seen in the field)."""
    return _NOT_AGREED.get(error, "TikTok sent the person back without a code")


class OAuth:
    """Each method is one call, sent once on a connection of its own. Raises PlatformError and nothing else.

    auth: a login is needed. transient: never carried out (the app's own credentials are missing or wrong,
    too), or TikTok says that it failed inside.
    unknown_outcome: sent, and no usable answer: the old refresh token may be dead.
    content: TikTok takes the request for malformed; asking again does not help.
    """

    def __init__(self, settings: TikTokSettings, transport: Transport, clock: Clock) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock

    def authorize_url(
        self, state: str, scopes: Sequence[str], redirect_uri: str, verifier: str | None = None,
        *, always_asks: bool = False,
    ) -> str:  # fmt: skip
        """Return the page on which a creator agrees; a verifier makes it the desktop flow (LKW, LKD).

        `always_asks` is for the web flow only: the desktop's table does not list it.
        """
        fields = {
            "client_key": self._settings.client_key or "",
            "response_type": "code",
            "scope": ",".join(scopes),
            "redirect_uri": redirect_uri,
            "state": state,
        }
        if verifier is not None:
            fields |= {"code_challenge": pkce_challenge(verifier), "code_challenge_method": "S256"}
        elif always_asks:
            fields["disable_auto_auth"] = "1"
        return f"{self._settings.authorize_url}?{urlencode(fields)}"

    def exchange(self, code: str, redirect_uri: str, verifier: str | None) -> Tokens:
        """Turn an authorisation code into tokens; one copied from an address bar is decoded first."""
        fields = {
            "grant_type": "authorization_code",
            "code": unquote(code),
            "redirect_uri": redirect_uri,
        }
        if verifier is not None:
            fields["code_verifier"] = verifier
        return self._tokens(fields, "", code, unquote(code), verifier or "")

    def refresh(self, refresh_token: str) -> Tokens:
        """Renew a pair. The answer's refresh token counts from now on; without one the old one is kept."""
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self._tokens(fields, refresh_token, refresh_token)

    def revoke(self, access_token: str) -> None:
        """Give the tokens back; success is an empty answer (OA)."""
        answer = self._post(REVOKE, {"token": access_token})
        content = load_object(answer.body) or {}
        if _error(content) or not 200 <= answer.status < 300:  # noqa: PLR2004
            raise self._refusal(answer, content, REVOKE, (access_token,))

    def _tokens(self, fields: Mapping[str, str], old_refresh: str, *secrets: str) -> Tokens:
        asked_at = self._clock.now()  # before the call, so that what we keep never outlives what TikTok keeps
        answer = self._post(TOKEN, fields)
        content = load_object(answer.body) or {}
        access = content.get("access_token")
        if _error(content) or not isinstance(access, str) or not access:
            raise self._refusal(answer, content, TOKEN, secrets)
        refresh = content.get("refresh_token") or old_refresh
        if not isinstance(refresh, str) or not refresh:
            raise PlatformError(Fault.UNKNOWN_OUTCOME, "bad_answer", f"POST {TOKEN}: no refresh_token")
        seconds = count(content.get("expires_in")) or _ACCESS_S
        refresh_seconds = count(content.get("refresh_expires_in")) or _REFRESH_S
        scope = content.get("scope")
        return Tokens(
            access=access,
            refresh=refresh,
            access_expires_at=asked_at + timedelta(seconds=min(seconds, _REFRESH_S)),
            refresh_expires_at=asked_at + timedelta(seconds=min(refresh_seconds, 10 * _REFRESH_S)),
            open_id=str(content.get("open_id") or ""),
            scopes=tuple(scope.replace(",", " ").split()) if isinstance(scope, str) else (),
        )

    def _post(self, path: str, fields: Mapping[str, str]) -> Answer:
        settings = self._settings
        if not settings.client_key or not settings.client_secret:
            raise PlatformError(
                Fault.TRANSIENT, "not_configured", f"POST {path}: no client key or secret is set"
            )
        form = {"client_key": settings.client_key, "client_secret": settings.client_secret, **fields}
        call = Call(
            method="POST",
            url=settings.api_base.rstrip("/") + path,
            label=f"POST {path}",
            headers={"Content-Type": "application/x-www-form-urlencoded", "Cache-Control": "no-cache"},
            body=urlencode(form).encode(),
            is_fresh=True,
        )
        return self._transport.send(call)

    def _refusal(
        self, answer: Answer, content: Mapping[str, Any], path: str, secrets: tuple[str, ...]
    ) -> PlatformError:
        hidden = (*secrets, self._settings.client_secret or "")
        code = scrub(_error(content), *hidden)[:64]
        meaning = errors.find(code, errors.oauth_codes()) or _by_status(code, answer.status)
        said = content.get("error_description")
        told = scrub(said, *hidden) if isinstance(said, str) else ""
        log_id = content.get("log_id")
        return PlatformError(
            meaning.fault,
            meaning.code,
            f"POST {path}: HTTP {answer.status}, {told or 'no description'}",
            status=answer.status,
            retry_after_s=retry_after(answer, self._clock) if meaning.fault is Fault.RATE else None,
            log_id=scrub(log_id) if isinstance(log_id, str) else None,
            advice=meaning.advice,
        )


def _error(content: Mapping[str, Any]) -> str:
    # A string here, an object in the envelope: read as the wrong one, a failure passes for a success (seen).
    error = content.get("error")
    if isinstance(error, dict):
        error = error.get("code")
        return error if isinstance(error, str) and error != "ok" else ""
    return error if isinstance(error, str) else ""


def _by_status(code: str, status: int) -> errors.Meaning:
    if status == 429:  # noqa: PLR2004
        return errors.Meaning(
            code or "rate_limit_exceeded", Fault.RATE, "Nothing to do: tokd waits.", errors.EH
        )
    if status >= 500:  # noqa: PLR2004
        return errors.Meaning(
            code or "server_error", Fault.TRANSIENT, "Nothing to do: tokd tries again.", errors.OE
        )
    if code:
        return errors.find(code, errors.api_codes()) or errors.unknown(code)
    return errors.Meaning(
        "bad_answer", Fault.UNKNOWN_OUTCOME, "If the account stops working, link it again.", errors.FIELD
    )
