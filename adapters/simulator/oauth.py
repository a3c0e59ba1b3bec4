"""OAuth v2: the authorization redirect, the token exchange, refresh and revocation."""

import hashlib
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from .answers import OAuthError
from .options import ALL_SCOPES, LOOPBACK_HOSTS
from .records import Code, Token
from .site_pages import consent_page
from .world import World

_MALFORMED = "The request parameters are malformed."
_MAX_REDIRECT_LENGTH = 512
_DEVELOPER_REVOKED = 5
# No form-action: it would forbid the redirect to the app's own address that follows the form.
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}


def form_of(request: Request, body: bytes) -> dict[str, str]:
    """Return the form's fields; anything but a form has none."""
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("application/x-www-form-urlencoded"):
        return {}
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _is_acceptable_redirect(world: World, uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return False
    if world.options.redirect_uris:
        return uri in {known.replace(":*", f":{port}") for known in world.options.redirect_uris}
    if len(uri) >= _MAX_REDIRECT_LENGTH or not parts.hostname or parts.query or parts.fragment:
        return False
    is_local = parts.hostname in LOOPBACK_HOSTS and port is not None
    return parts.scheme == "https" or (parts.scheme == "http" and is_local)


async def authorize(world: World, request: Request) -> Response:
    """Ask the person, on a page; with `_simulator_user` send the browser back at once, with a code or why not."""
    redirect_uri = _trusted_redirect(world, request)
    query = request.query_params
    if "_simulator_user" in query:
        granted = query.get("_simulator_scopes", query.get("scope", "")).split(",")
        return _send_back(world, request, redirect_uri, query["_simulator_user"], granted)
    try:
        scopes = _asked_scopes(request)
    except OAuthError as error:
        return _back(request, redirect_uri, {"error": error.error, "error_description": error.description})
    return HTMLResponse(consent_page(list(world.state.users), scopes), headers=_PAGE_HEADERS)


async def consent(world: World, request: Request) -> Response:
    """Take what the person has decided on that page, and send the browser back."""
    redirect_uri = _trusted_redirect(world, request)
    form = parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    fields = dict(form)
    granted = [value for name, value in form if name == "scope"]
    is_agreed = fields.get("decision") == "authorize"
    return _send_back(world, request, redirect_uri, fields.get("user", "") if is_agreed else "", granted)


def _trusted_redirect(world: World, request: Request) -> str:
    """Return where to send the browser back to. Raises OAuthError where it must not be sent anywhere."""
    query = request.query_params
    redirect_uri = query.get("redirect_uri", "")
    if query.get("client_key") != world.options.client_key:
        raise OAuthError("invalid_client", "Client key or secret is incorrect.")
    if not _is_acceptable_redirect(world, redirect_uri):
        raise OAuthError("invalid_request", "The redirect_uri is not registered.")
    return redirect_uri


def _send_back(world: World, request: Request, redirect_uri: str, user: str, granted: list[str]) -> Response:
    try:
        answer = _grant_code(world, request, redirect_uri, user, granted)
    except OAuthError as error:
        answer = {"error": error.error, "error_description": error.description}
    return _back(request, redirect_uri, answer)


def _back(request: Request, redirect_uri: str, answer: dict[str, str]) -> Response:
    if "state" in request.query_params:
        answer["state"] = request.query_params["state"]
    return RedirectResponse(f"{redirect_uri}?{urlencode(answer)}", status_code=302)


def _asked_scopes(request: Request) -> list[str]:
    query = request.query_params
    if query.get("response_type") != "code":
        raise OAuthError("unsupported_response_type", "The response_type must be code.")
    if not query.get("state") or query.get("code_challenge_method", "S256") != "S256":
        raise OAuthError("invalid_request", _MALFORMED)
    scopes = query.get("scope", "").split(",")
    if not set(scopes) <= set(ALL_SCOPES):
        raise OAuthError("invalid_scope", "An unknown scope was asked for.")
    return scopes


def _grant_code(
    world: World, request: Request, redirect_uri: str, user: str, granted: list[str]
) -> dict[str, str]:
    scopes = _asked_scopes(request)
    if user not in world.state.users:
        raise OAuthError("access_denied", "The user denied the request.")
    query = request.query_params
    granted = [scope for scope in granted if scope in scopes]
    code = Code(
        value=secrets.token_urlsafe(24),
        user=user,
        scopes=granted,
        redirect_uri=redirect_uri,
        challenge=query.get("code_challenge"),
        expires_at=world.state.now() + world.settings.code_seconds,
    )
    world.state.put(code)
    return {"code": code.value, "scopes": ",".join(granted)}


def _check_client(world: World, form: dict[str, str]) -> None:
    if not form:
        raise OAuthError("invalid_request", _MALFORMED)
    if not form.get("client_secret"):
        raise OAuthError("invalid_request", "Client secret is missed in request.")
    expected = (world.options.client_key, world.options.client_secret)
    if (form.get("client_key"), form["client_secret"]) != expected:
        raise OAuthError("invalid_client", "Client key or secret is incorrect.")


async def exchange_token(world: World, request: Request) -> Response:
    """Answer both grant types of the token endpoint."""
    form = form_of(request, await request.body())
    _check_client(world, form)
    match form.get("grant_type"):
        case "authorization_code":
            return _exchange_code(world, form)
        case "refresh_token":
            return _refresh(world, form)
        case _:
            raise OAuthError("unsupported_grant_type", "The grant_type is not supported.")


def _exchange_code(world: World, form: dict[str, str]) -> Response:
    code = world.state.codes.get(form.get("code", ""))
    if code is None:
        raise OAuthError("invalid_grant", "Authorization code is expired.")
    world.state.drop(code)
    if code.expires_at <= world.state.now():
        raise OAuthError("invalid_grant", "Authorization code is expired.")
    if form.get("redirect_uri") != code.redirect_uri:
        raise OAuthError("invalid_request", "Redirect_uri is not matched with the uri when requesting code.")
    # TikTok's own PKCE: lower-case hex, not RFC 7636 base64url. Without a challenge a verifier is ignored.
    hashed = hashlib.sha256(form.get("code_verifier", "").encode()).hexdigest()
    if code.challenge is not None and code.challenge != hashed:
        raise OAuthError("invalid_request", "Code verifier or code challenge is invalid.")
    return JSONResponse(issue_tokens(world, code.user, code.scopes))


def _refresh(world: World, form: dict[str, str]) -> Response:
    now, settings = world.state.now(), world.settings
    old = world.state.tokens.get(form.get("refresh_token", ""))
    is_good = old is not None and old.use == "refresh" and old.expires_at > now
    account = None if old is None else old.user
    is_rotated = settings.refresh_rotation != "off"
    world.ledger.write("refresh", account=account, time=now, ok=is_good, rotated=is_good and is_rotated)
    if old is None or not is_good:
        raise OAuthError("invalid_grant", "Refresh token is invalid or expired.")
    if not is_rotated:
        return JSONResponse(_pair(world, _new_token(world, "access", old.user, old.scopes), old))
    if settings.refresh_rotation == "grace":
        old.expires_at = min(old.expires_at, now + settings.refresh_grace_seconds)
        world.state.put(old)
    else:
        world.state.drop(old)
    return JSONResponse(issue_tokens(world, old.user, old.scopes))


def _new_token(world: World, use: str, user: str, scopes: list[str]) -> Token:
    is_access = use == "access"
    settings = world.settings
    lifetime = settings.access_token_seconds if is_access else settings.refresh_token_seconds
    token = Token(
        value=("act." if is_access else "rft.") + secrets.token_urlsafe(32),
        use="access" if is_access else "refresh",
        user=user,
        scopes=scopes,
        expires_at=world.state.now() + lifetime,
    )
    world.state.put(token)
    return token


def _pair(world: World, access: Token, refresh: Token) -> dict[str, Any]:
    now = world.state.now()
    return {
        "access_token": access.value,
        "expires_in": round(access.expires_at - now),
        "open_id": world.state.users[access.user].open_id,
        "refresh_token": refresh.value,
        "refresh_expires_in": round(refresh.expires_at - now),
        "scope": ",".join(access.scopes),
        "token_type": "Bearer",
    }


def issue_tokens(world: World, user: str, scopes: list[str]) -> dict[str, Any]:
    """Mint a pair and return it in the token endpoint's form."""
    access = _new_token(world, "access", user, scopes)
    return _pair(world, access, _new_token(world, "refresh", user, scopes))


async def revoke(world: World, request: Request) -> Response:
    """Kill all of the user's tokens."""
    form = form_of(request, await request.body())
    _check_client(world, form)
    token = world.state.tokens.get(form.get("token", ""))
    if token is None or token.use != "access":
        raise OAuthError("invalid_request", "The token is invalid.")
    for dead in world.state.tokens_of(token.user):
        world.state.drop(dead)
    for post in world.state.posts_of.get(token.user, []):
        if post.is_processing and post.ready_at is None:
            world.progress.fail(post, "auth_removed")
    open_id = world.state.users[token.user].open_id
    world.webhooks.send("authorization.removed", open_id, {"reason": _DEVELOPER_REVOKED})
    return JSONResponse({})


def subject_of(world: World, form: dict[str, str]) -> str | None:
    """Return the user a form of either OAuth endpoint speaks of."""
    code = world.state.codes.get(form.get("code", ""))
    if code is not None:
        return code.user
    token = world.state.tokens.get(form.get("refresh_token") or form.get("token") or "")
    return None if token is None else token.user
