"""The simulated TikTok website: its home page in every state a login check may meet, login and logout.

Paths: `/`, `/passport/web/account/info/`, `/login`, `/logout`, `/tiktokstudio/upload`, `/elsewhere`. They pass
neither the API's rate windows nor its fault script; the console's `GET /_simulator/site` counts them.

The home page is named by `?page=`, else by the cookie `sim_page`, else it is `auto`, so that browsers can differ:

- `auto`: as the cookie `sessionid` says; `logged_in`, `logged_out`: whatever it says (with no live login,
  `logged_in` is the first user); `conflict`: page and DOM are logged in, the info call says session_expired.
- `slow`: `auto` after `delay_ms` (3000).
- `skeleton`: `auto` without page state; a login button, until after `swap_ms` (600) the true DOM replaces it and
  the info call is answered.
- `neither`: no marker and no info call; `challenge`: only a captcha, and every info call is refused.
- `401`, `403`, `429`, `500`: an error page; `off_site`: leads to `/elsewhere` under the other of this machine's
  two names (localhost, 127.0.0.1); `to_login`: leads to `/login`.

The page's script makes the info call on load and puts the DOM `dom_ms` (150) later, whether the call was answered
or not. Its own `?info=` it hands through. The info call heeds `?info=`, else the cookie `sim_info` (`200`, `401`,
`403`, `429`, `500`, `hang`, `garbage`), `?delay_ms=`, and `?force=in|out`. A call that a test makes itself from
within a page (Referer), or in a browser with `sim_page`, agrees with that page too; so does `/tiktokstudio/upload`
with `sim_page`. All waits are bounded to 60 s.
"""

import asyncio
import secrets
from http import HTTPStatus
from urllib.parse import parse_qs, urlencode, urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse

from . import site_logins, site_pages
from .gate import Work
from .oauth import form_of
from .records import User
from .world import World

STATUSES = ("401", "403", "429", "500")
PAGES = (
    "auto", "logged_in", "logged_out", "slow", "skeleton", "neither", "challenge", "conflict", *STATUSES,
    "off_site", "to_login",
)  # fmt: skip
INFOS = ("200", *STATUSES, "hang", "garbage")
FORCES = ("in", "out")
_INFO_PATH = "/passport/web/account/info/"
_STUDIO_PATH = "/tiktokstudio/upload"
_FORCED_PAGES = {"logged_in": "in", "logged_out": "out"}
_FORCE_OF = _FORCED_PAGES | {"conflict": "out"}
_WAIT_MAX_MS = 60_000
_HANG_SECONDS = 30
_BODY_MAX = 4096
_ECHO_MAX = 100
_SESSION_EXPIRED = {
    "error_code": 13,
    "name": "session_expired",
    "description": "session expired, please sign in again",
}
# What every guest has, and whether it is hidden from scripts.
_GUEST_COOKIES = {
    "ttwid": True, "msToken": False, "tt_chain_token": True, "tt_csrf_token": False, "odin_tt": True,
}  # fmt: skip
_GUEST_SECONDS = 365 * 86_400
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; base-uri 'none'"
    ),
}


class Refused(Exception):
    """A request that asks for something the site does not have."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


async def visit(world: World, request: Request, path: str, page: Work) -> Response:
    """Count the request, answer it, and treat the caller as a guest of the site."""
    world.site_visits[path] += 1
    try:
        answer = await page(world, request)
    except Refused as refusal:
        answer = PlainTextResponse(refusal.text, refusal.status)
    answer.headers.update(_HEADERS)
    for name, is_hidden in _GUEST_COOKIES.items():
        if name not in request.cookies:
            answer.set_cookie(
                name, secrets.token_urlsafe(24), _GUEST_SECONDS, httponly=is_hidden, samesite="lax"
            )
    return answer


def _known(what: str, value: str, names: tuple[str, ...]) -> str:
    if value not in names:
        raise Refused(404, f"there is no {what} {value[:_ECHO_MAX]!r}; known: {', '.join(names)}")
    return value


def _page_of(request: Request) -> str:
    name = request.query_params.get("page") or request.cookies.get("sim_page") or "auto"
    return _known("page", name, PAGES)


def _milliseconds(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    try:
        return min(max(int(text), 0), _WAIT_MAX_MS)
    except ValueError:
        raise Refused(400, f"{name} is a number of milliseconds") from None


def _live_user(world: World, request: Request) -> User | None:
    login = site_logins.login_of(world, request)
    return None if login is None else world.state.users[login.user]


def _user_as(world: World, request: Request, force: str | None) -> User | None:
    """Return who is logged in, by force if need be."""
    if force == "out":
        return None
    user = _live_user(world, request)
    if user is None and force == "in":
        return next(iter(world.state.users.values()), User.named("demo"))
    return user


async def home(world: World, request: Request) -> Response:
    """Answer with the page that was asked for."""
    name = _page_of(request)
    match name:
        case "off_site":
            return RedirectResponse(_other_host(world, request), 302)
        case "to_login":
            return RedirectResponse("/login", 302)
        case "neither":
            return HTMLResponse(site_pages.bare())
        case "challenge":
            return HTMLResponse(site_pages.challenge())
        case "slow":
            await asyncio.sleep(_milliseconds(request, "delay_ms", 3000) / 1000)
        case _ if name in STATUSES:
            status = HTTPStatus(int(name))
            return HTMLResponse(site_pages.trouble(status.value, status.phrase), status)
    return HTMLResponse(_front(world, request, name))


def _other_host(world: World, request: Request) -> str:
    is_named = request.headers.get("host", "").startswith("localhost")
    return f"http://{'127.0.0.1' if is_named else 'localhost'}:{urlsplit(world.url).port}/elsewhere"


def _front(world: World, request: Request, name: str) -> str:
    force = _FORCE_OF.get(name)
    user = _user_as(world, request, "in" if name == "conflict" else force)
    asked = {"aid": "1459", "app_language": "en", "device_platform": "web_pc"}
    if force is not None:
        asked["force"] = force
    if "info" in request.query_params:
        asked["info"] = _known("info", request.query_params["info"], INFOS)
    put_ms = _milliseconds(request, "dom_ms", 150)
    if name == "skeleton":
        put_ms = _milliseconds(request, "swap_ms", 600)
        asked["delay_ms"] = str(put_ms)
    account = None if user is None else site_logins.context_of(user)
    plan = {"account": account, "infoUrl": f"{_INFO_PATH}?{urlencode(asked)}", "putMs": put_ms}
    if name == "skeleton":
        return site_pages.skeleton(plan)
    context = {
        "language": "en",
        "wid": secrets.token_hex(10),
        "odinId": secrets.token_hex(10),
        "csrfToken": secrets.token_hex(16),
    } | ({} if account is None else {"user": account})
    return site_pages.front({"__DEFAULT_SCOPE__": {"webapp.app-context": context}}, plan)


def _page_around(request: Request) -> str | None:
    """Return the page that an info call comes from."""
    try:
        query = parse_qs(urlsplit(request.headers.get("referer", "")).query, max_num_fields=20)
    except ValueError:
        query = {}
    return query.get("page", [request.cookies.get("sim_page")])[0]


async def account_info(world: World, request: Request) -> Response:
    """Say who is logged in, as the site's own script asks it."""
    variant = request.query_params.get("info") or request.cookies.get("sim_info") or "200"
    _known("info", variant, INFOS)
    page = _page_around(request)
    force = request.query_params.get("force") or _FORCE_OF.get(page or "")
    if force is not None:
        _known("force", force, FORCES)
    await asyncio.sleep(_milliseconds(request, "delay_ms", 0) / 1000)
    if variant == "hang":
        await asyncio.sleep(_HANG_SECONDS)
    if variant == "garbage":
        return PlainTextResponse("<html><body>upstream connect error</body></html>")
    if variant in STATUSES or page == "challenge":
        status = HTTPStatus(int(variant) if variant in STATUSES else 403)
        return PlainTextResponse(status.phrase, status)
    user = _user_as(world, request, force)
    if user is None:
        return JSONResponse({"message": "error", "data": _SESSION_EXPIRED})
    return JSONResponse({"message": "success", "data": site_logins.info_of(user)})


async def show_login(world: World, request: Request) -> Response:  # noqa: ARG001 - all pages are called alike
    """Show the form."""
    return HTMLResponse(site_pages.login_form())


async def take_login(world: World, request: Request) -> Response:
    """Log a known user in, with any password."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _BODY_MAX:
            raise Refused(413, f"a login form has at most {_BODY_MAX} bytes")
    name = form_of(request, bytes(body)).get("username", "").strip()
    if name not in world.state.users:
        return HTMLResponse(site_pages.login_form(name[:_ECHO_MAX], is_wrong=True))
    answer = RedirectResponse("/", 303)
    site_logins.set_login_cookies(answer, site_logins.log_in(world, name))
    return answer


async def log_out(world: World, request: Request) -> Response:
    """End this browser's login; harmless without one."""
    login = site_logins.login_of(world, request)
    if login is not None:
        site_logins.log_out(world, login)
    answer = RedirectResponse("/", 303)
    site_logins.expire_login_cookies(answer)
    return answer


async def studio(world: World, request: Request) -> Response:
    """Show the upload page to who is logged in, the login form to the others."""
    user = _user_as(world, request, _FORCED_PAGES.get(request.cookies.get("sim_page", "")))
    if user is None:
        return RedirectResponse(f"/login?redirect_url={_STUDIO_PATH}", 302)
    return HTMLResponse(site_pages.studio(user.nickname))


async def elsewhere(world: World, request: Request) -> Response:  # noqa: ARG001 - all pages are called alike
    """Be another site."""
    return HTMLResponse(site_pages.elsewhere())


ROUTES: tuple[tuple[tuple[str, ...], str, Work], ...] = (
    (("GET",), "/", home),
    (("GET",), _INFO_PATH, account_info),
    (("GET",), "/login", show_login),
    (("POST",), "/login", take_login),
    (("GET", "POST"), "/logout", log_out),
    (("GET",), _STUDIO_PATH, studio),
    (("GET",), "/elsewhere", elsewhere),
)
